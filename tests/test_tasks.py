"""Navigation tasks: what a start and a goal promise, and how paths are measured."""

from __future__ import annotations

import heapq
import math
from pathlib import Path

import numpy as np
import pytest

from foresight.bodies.profile import RobotProfile
from foresight.geometry import Pose
from foresight.interfaces import Grid
from foresight.worlds import tasks
from foresight.worlds.apartments.apartment import WALL_THICKNESS_M, Apartment
from foresight.worlds.floor_plan import (
    CELL_M,
    free_space,
    line_of_sight,
    path_lengths,
    shortest_path,
)

PROFILE = RobotProfile.load(Path(__file__).parents[1] / "config/robots/homebot.yaml")
WORLDS = (0, 1, 7, 1000)


def gap(apartment: Apartment, pose: Pose) -> float:
    """Exact distance (m) from a point to the nearest wall or furniture."""
    x, y, _ = pose
    gaps = []
    for wall in apartment.walls:
        along, cross = (x, y) if wall.along_x else (y, x)
        beyond = max(wall.start - along, along - wall.end, 0.0)
        gaps.append(math.hypot(beyond, max(abs(cross - wall.at) - WALL_THICKNESS_M / 2, 0.0)))
    for piece in apartment.furniture:
        dx, dy = x - piece.x, y - piece.y
        if piece.sy == 0:
            gaps.append(math.hypot(dx, dy) - piece.sx)
            continue
        c, s = math.cos(piece.yaw), math.sin(piece.yaw)
        outside = abs(c * dx + s * dy) - piece.sx, abs(c * dy - s * dx) - piece.sy
        gaps.append(math.hypot(*(max(side, 0.0) for side in outside)))
    return min(gaps)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("suite", tasks.SUITES)
def test_tasks_keep_the_promises_of_their_suite(world: int, suite: tasks.Suite) -> None:
    apartment = Apartment(world)
    drawn = tasks.sample_tasks(apartment, PROFILE, suite, 12, seed=3)
    assert len(drawn) == 12
    for task in drawn:
        distance, turn = tasks.pose_error(task.start, task.goal)
        same_room = apartment.room_of(*task.start[:2]) == apartment.room_of(*task.goal[:2])
        assert distance > 0.7 or (distance > 0.3 and turn > 30)  # no task starts solved
        assert task.path_m > distance - 0.08  # the grid's paths start in the middle of cells
        for pose in (task.start, task.goal):
            assert gap(apartment, pose) >= PROFILE.footprint_radius_m + tasks.CLEARANCE_M
        for ahead in np.arange(0.0, tasks.VIEW_M, 0.05):
            x, y, yaw = task.goal
            seen = (x + ahead * math.cos(yaw), y + ahead * math.sin(yaw), 0.0)
            assert gap(apartment, seen) > 0.0
        if suite == "near":
            assert 0.7 <= task.path_m <= 2.0
        elif suite == "room":
            assert same_room and 2.0 <= distance <= 4.0 and turn > 45.0
        else:
            assert not same_room


def test_the_same_seed_draws_the_same_tasks_and_another_seed_others() -> None:
    def draw(seed: int) -> list[tasks.Task]:
        return tasks.sample_tasks(Apartment(4), PROFILE, "near", 5, seed)

    assert draw(1) == draw(1)
    assert not set(draw(1)) & set(draw(2))


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="suite is 'far'; choose one of near, room, house"):
        tasks.sample_tasks(Apartment(0), PROFILE, "far", 1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
def test_a_demonstration_goes_out_of_sight_in_steps_of_at_most_four_metres(seed: int) -> None:
    apartment = Apartment(0)
    start, goals = tasks.demo_task(apartment, PROFILE, seed)
    assert (start, goals) == tasks.demo_task(Apartment(0), PROFILE, seed)
    occupied = apartment.occupied()
    free = free_space(occupied, PROFILE.footprint_radius_m)
    assert len(goals) == 3
    assert not all(line_of_sight(occupied, start, goal) for goal in goals)
    for here, goal in zip([start, *goals], goals, strict=False):
        length_m = path_lengths(free, goal).at(here[0], here[1])
        assert 0.7 <= length_m <= 4.1 and tasks.pose_error(here, goal)[0] >= 0.7
        assert gap(apartment, goal) >= PROFILE.footprint_radius_m + tasks.CLEARANCE_M
    assert start != tasks.demo_task(apartment, PROFILE, seed + 100)[0]


def test_a_demonstration_needs_a_world_with_room() -> None:
    wide = PROFILE.model_copy(update={"footprint_radius_m": 1.9})
    with pytest.raises(ValueError, match="no room for homebot|no tour"):
        tasks.demo_task(Apartment(0), wide, 0)


@pytest.mark.parametrize("world", [0, 1, 4])
def test_names_are_given_all_over_the_other_rooms_to_what_can_be_a_goal(world: int) -> None:
    home = Apartment(world)
    start, *passed = tasks.draw_poses(home, PROFILE, 400, seed=2)
    naming = tasks.Naming(home, PROFILE, start, 3)
    for pose in passed:
        if naming.wants(pose):
            naming.given.append(pose)
    assert naming.complete and len(naming.given) == 3
    named = {home.room_of(x, y) for x, y, _ in naming.given}
    assert home.room_of(*start[:2]) not in named
    assert len(named) == min(3, len(home.rooms) - 1)
    apart = [math.dist(a[:2], b[:2]) for a in naming.given for b in naming.given if a != b]
    assert min(apart) >= 1.5
    for pose in naming.given:
        assert gap(home, pose) >= PROFILE.footprint_radius_m + tasks.CLEARANCE_M
        assert min(math.hypot(pose[0] - d.x, pose[1] - d.y) for d in home.doors) > 0.6


@pytest.mark.parametrize("seed", range(5))
def test_a_robot_is_carried_to_another_place_of_the_same_room(seed: int) -> None:
    home, before = Apartment(0), (1.5, 4.0, 0.3)
    pose = tasks.draw_elsewhere(home, PROFILE, seed, before)
    assert pose == tasks.draw_elsewhere(home, PROFILE, seed, before)
    assert home.room_of(*pose[:2]) == home.room_of(*before[:2])
    assert math.dist(pose[:2], before[:2]) >= 1.0
    assert gap(home, pose) >= PROFILE.footprint_radius_m + tasks.CLEARANCE_M


def dijkstra(free: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    """Textbook Dijkstra over cells, for comparison."""
    lengths = np.full(free.shape, np.inf)
    lengths[goal] = 0.0
    queue = [(0.0, goal)]
    while queue:
        length, (row, column) = heapq.heappop(queue)
        for dr, dc in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
            r, c = row + dr, column + dc
            if 0 <= r < free.shape[0] and 0 <= c < free.shape[1] and free[r, c]:
                longer = length + CELL_M * math.hypot(dr, dc)
                if longer < lengths[r, c] - 1e-9:
                    lengths[r, c] = longer
                    heapq.heappush(queue, (longer, (r, c)))
    return lengths


def test_path_lengths_are_those_of_dijkstra() -> None:
    cells = np.random.default_rng(0).random((40, 40)) > 0.35
    cells[20, 20] = True
    free = Grid(cells, CELL_M)
    ours = path_lengths(free, free.point(20.5, 20.5)).cells
    expected = dijkstra(cells, (20, 20))
    assert np.isinf(expected[cells]).any() and np.isfinite(expected).sum() > 500
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    limited = path_lengths(free, free.point(20.5, 20.5), limit_m=0.5).cells
    within = expected < 0.5
    np.testing.assert_allclose(limited[within], expected[within], rtol=1e-5)


def test_no_task_starts_solved() -> None:
    """Near goals round a corner may be close by as the crow flies; then they need a turn, too."""
    for world in (0, 1):
        for suite in ("near", "room"):
            for task in tasks.sample_tasks(Apartment(world), PROFILE, suite, 60, seed=9):
                distance, turn = tasks.pose_error(task.start, task.goal)
                assert distance > 0.7 or (distance > 0.3 and turn > 30)
    assert not tasks.unsolved((0.0, 0.0, 0.0), (0.6, 0.0, math.radians(20)))
    assert tasks.unsolved((0.0, 0.0, 0.0), (0.6, 0.0, math.radians(40)))
    assert not tasks.unsolved((0.0, 0.0, 0.0), (0.2, 0.0, math.radians(180)))
    assert tasks.unsolved((0.0, 0.0, 0.0), (0.8, 0.0, 0.0))


def test_the_shortest_path_is_as_long_as_promised_and_keeps_to_free_space() -> None:
    free = free_space(Apartment(0).occupied(), 0.25)
    blocked = free.filled(~free.cells)
    for task in tasks.sample_tasks(Apartment(0), PROFILE, "house", 6, seed=2):
        lengths = path_lengths(free, task.goal)
        path = shortest_path(lengths, task.start, task.goal)
        assert path is not None
        np.testing.assert_allclose(path[[0, -1]], [task.start[:2], task.goal[:2]])
        length = np.hypot(*np.diff(path, axis=0).T).sum()
        promised = lengths.at(task.start[0], task.start[1])
        assert math.dist(task.start[:2], task.goal[:2]) <= length <= promised + 0.15
        legs = zip(path[:-1], path[1:], strict=True)
        assert all(line_of_sight(blocked, tuple(a), tuple(b)) for a, b in legs)


def test_no_path_leads_into_a_wall() -> None:
    free = free_space(Apartment(0).occupied(), 0.25)
    assert shortest_path(path_lengths(free, (1.0, 1.0)), (0.01, 0.01), (1.0, 1.0)) is None


def test_driving_takes_the_time_of_the_path_and_its_turns() -> None:
    """homebot: 0.5 m/s ahead, 0.2 m/s back, 1.4 rad/s; at 90% and 80% of that."""
    line = np.array([[0.0, 0.0], [0.9, 0.0]])
    ahead = tasks.driving_seconds(line, (0.0, 0.0, 0.0), (0.9, 0.0, 0.0), PROFILE)
    assert ahead == pytest.approx(2.0)
    turned = tasks.driving_seconds(line, (0.0, 0.0, math.pi / 2), (0.9, 0.0, 0.0), PROFILE)
    assert turned == pytest.approx(2.0 + (math.pi / 2) / 1.12)
    back = tasks.driving_seconds(line, (0.0, 0.0, math.pi), (0.9, 0.0, math.pi), PROFILE)
    assert back == pytest.approx(0.9 / 0.18)


def test_the_robot_is_put_down_with_clearance() -> None:
    poses = tasks.draw_poses(Apartment(3), PROFILE, 50, seed=1)
    assert len(set(poses)) == 50 and poses == tasks.draw_poses(Apartment(3), PROFILE, 50, seed=1)
    clear = PROFILE.footprint_radius_m + tasks.CLEARANCE_M
    assert all(gap(Apartment(3), pose) >= clear for pose in poses)


def test_nothing_leads_to_a_goal_in_a_wall() -> None:
    free = free_space(Apartment(0).occupied(), 0.17)
    assert np.isinf(path_lengths(free, (0.01, 0.01)).cells).all()


def test_line_of_sight_ends_at_a_wall_and_passes_a_gap() -> None:
    occupied = Grid(np.zeros((20, 20), bool), CELL_M)
    occupied.cells[:, 10] = True
    assert not line_of_sight(occupied, (0.2, 0.5), (0.9, 0.5))
    occupied.cells[9:12, 10] = False
    assert line_of_sight(occupied, (0.2, 0.5), (0.9, 0.5))
    assert not line_of_sight(occupied, (0.2, 0.2), (0.9, 0.3))


@pytest.mark.parametrize(
    ("pose", "is_reached"),
    [
        ((0.29, 0.0, math.pi - 0.01), True),
        ((0.0, 0.31, math.pi), False),
        ((0.0, 0.0, -math.pi + math.radians(29)), True),  # across the seam of the angle
        ((0.0, 0.0, -math.pi + math.radians(31)), False),
        ((0.0, 0.0, 3 * math.pi), True),
    ],
)
def test_reached_means_within_30_cm_and_30_degrees(pose: Pose, is_reached: bool) -> None:
    assert tasks.reached(pose, (0.0, 0.0, math.pi)) is is_reached
