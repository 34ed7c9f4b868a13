"""Exploring an unknown home: what the robot promises on a made-up floor, and in the simulator."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from foresight import worlds
from foresight.apps.cli import app
from foresight.bodies.profile import RobotProfile
from foresight.evaluation.driving import drive
from foresight.evaluation.explore_suite import measure
from foresight.evaluation.explorer_driver import ExplorerDriver
from foresight.exploration.coverage import Coverage, blind_m
from foresight.exploration.explorer import ExplorationStatus, ExplorationStep, Explorer
from foresight.exploration.traversability import TERRAIN_M, TraversabilityMap
from foresight.planning.path_following import follow, look_around, turn
from foresight.worlds.tasks import Task, draw_poses

HOMEBOT = Path(__file__).parents[1] / "config" / "robots" / "homebot.yaml"
PROFILE = RobotProfile.load(HOMEBOT)
LIMITS = PROFILE.limits
ANGLES = 2 * np.pi * np.arange(PROFILE.scan.beams) / PROFILE.scan.beams
CELL_M, PERIOD_S = 0.05, 0.1
EXPLORING, RETURNING = ExplorationStatus.EXPLORING, ExplorationStatus.RETURNING
DONE, BLOCKED = ExplorationStatus.DONE, ExplorationStatus.BLOCKED


# ----- a made-up floor


def room(width_m: float, depth_m: float) -> np.ndarray:
    """(rows, columns) bool: an empty room, walled."""
    floor = np.zeros((round(depth_m / CELL_M), round(width_m / CELL_M)), bool)
    floor[:3] = floor[-3:] = floor[:, :3] = floor[:, -3:] = True
    return floor


def two_rooms() -> np.ndarray:
    """6 m by 4 m, a wall across the middle with a doorway of 0.9 m at one end."""
    floor = room(6.0, 4.0)
    floor[:, 59:62] = True
    floor[8:26, 59:62] = False
    return floor


@dataclass
class Floor:
    """A robot on a floor plan that does at once what it is told; odometry is exact.

    `origin` (3,) m, m, rad: where odometry begins. `gone` collects its poses.
    """

    solid: np.ndarray
    pose: np.ndarray
    origin: np.ndarray = field(default_factory=lambda: np.array([7.0, -3.0, 2.0]))
    wheels: float = 1.0  # share of a command that the wheels drive
    gone: list[np.ndarray] = field(default_factory=list)
    bumped: bool = False

    def __post_init__(self) -> None:
        self.odometry = self.origin.copy()
        self.twist = np.zeros(2)
        rows, columns = np.nonzero(self.solid)
        self.middles = CELL_M * (np.stack([columns, rows], 1) + 0.5)

    def scan(self) -> np.ndarray:
        radii = np.arange(0.0, PROFILE.scan.range_max_m, 0.02)
        heading = self.pose[2] + ANGLES[:, None]
        rows = ((self.pose[1] + radii * np.sin(heading)) / CELL_M).astype(int)
        columns = ((self.pose[0] + radii * np.cos(heading)) / CELL_M).astype(int)
        inside = (rows >= 0) & (rows < self.solid.shape[0]) & (columns >= 0)
        inside &= columns < self.solid.shape[1]
        hit = inside & self.solid[np.where(inside, rows, 0), np.where(inside, columns, 0)]
        return np.where(hit.any(1), radii[hit.argmax(1)], np.inf)

    def drive(self, action: np.ndarray) -> None:
        linear, angular = self.wheels * action
        middle = self.pose[2] + angular * PERIOD_S / 2
        step = linear * PERIOD_S * np.array([math.cos(middle), math.sin(middle)])
        there = self.pose[:2] + step
        gap_m = np.min(np.hypot(*(self.middles - there).T)) - CELL_M / 2
        ahead = np.min(np.hypot(*(self.middles - self.pose[:2]).T)) - CELL_M / 2
        self.bumped = bool(gap_m < PROFILE.footprint_radius_m - 0.03 and gap_m < ahead)
        if self.bumped:
            linear = 0.0
        bearing = self.odometry[2] + angular * PERIOD_S / 2
        self.odometry = self.odometry + [
            linear * PERIOD_S * math.cos(bearing),
            linear * PERIOD_S * math.sin(bearing),
            angular * PERIOD_S,
        ]
        if not self.bumped:
            self.pose[:2] = there
        self.pose[2] += angular * PERIOD_S
        self.twist = np.array([linear, angular])
        self.gone.append(self.pose.copy())


def explorer(limit_s: float = 600.0, radius_m: float = 0.0) -> Explorer:
    return Explorer(PROFILE, ANGLES, limit_s, radius_m)


def explore(
    floor: Floor,
    robot: Explorer,
    seconds: float = 600.0,
    clock: Callable[[int], float] = lambda tick: 50.0 + PERIOD_S * tick,
    novelty: Callable[[np.ndarray], float] = lambda pose: 0.0,
) -> list[ExplorationStep]:
    """What the robot says until it is over, or for so long."""
    steps = []
    for tick in range(round(seconds / PERIOD_S)):
        steps.append(
            robot.update(
                clock(tick),
                floor.scan(),
                floor.odometry,
                floor.twist,
                floor.bumped,
                novelty(floor.pose),
            )
        )
        if steps[-1].status in (DONE, BLOCKED):
            break
        floor.drive(steps[-1].actions[0])
    return steps


def at(x: float, y: float, yaw: float = 0.3) -> np.ndarray:
    return np.array([x, y, yaw])


@pytest.fixture(scope="module")
def explored() -> tuple[Floor, list[ExplorationStep]]:
    """Two rooms, explored from one of them."""
    floor = Floor(two_rooms(), at(1.0, 2.5))
    return floor, explore(floor, explorer())


# ----- what it is for


def test_it_drives_through_all_rooms_until_nothing_new_is_in_reach(
    explored: tuple[Floor, list[ExplorationStep]],
) -> None:
    floor, steps = explored
    assert steps[-1].status is DONE
    rows, columns = np.nonzero(~floor.solid)
    standable = np.stack([columns + 0.5, rows + 0.5], 1) * CELL_M
    clear = np.array([np.min(np.hypot(*(floor.middles - p).T)) > 0.25 for p in standable])
    gone = np.array(floor.gone)[::3, :2]
    near = [np.min(np.hypot(*(gone - p).T)) < 1.0 for p in standable[clear]]
    assert np.mean(near) > 0.95
    assert {x > 3.0 for x in gone[:, 0]} == {True, False}


def test_it_ends_where_it_began(explored: tuple[Floor, list[ExplorationStep]]) -> None:
    floor, steps = explored
    assert np.hypot(*(floor.pose[:2] - (1.0, 2.5))) < 0.3
    assert steps[-1].distance_m < 0.3
    assert [s.status for s in steps].index(RETURNING) > 0
    assert "back at the start" in steps[-1].reason


def test_it_never_runs_into_a_wall_that_it_can_see(
    explored: tuple[Floor, list[ExplorationStep]],
) -> None:
    floor, _ = explored
    gaps = [np.min(np.hypot(*(floor.middles - pose[:2]).T)) for pose in floor.gone[::3]]
    assert min(gaps) > PROFILE.footprint_radius_m


def test_it_tells_how_much_its_camera_has_seen(
    explored: tuple[Floor, list[ExplorationStep]],
) -> None:
    _, steps = explored
    areas = np.array([step.covered_m2 for step in steps])
    assert areas[30] < 0.5 * areas[-1]
    assert 15.0 < areas[-1] < 23.0  # of 20.9 m2 between the walls, less a margin along them
    assert all(step.reason and step.maps == 1 for step in steps)


def test_in_an_empty_room_it_is_soon_done() -> None:
    floor = Floor(room(2.5, 2.5), at(1.2, 1.2))
    steps = explore(floor, explorer(), 120.0)
    assert steps[-1].status is DONE
    assert len(steps) * PERIOD_S < 90.0


def test_once_it_is_over_it_stays_at_rest() -> None:
    floor, robot = Floor(room(2.5, 2.5), at(1.2, 1.2)), explorer(5.0)
    explore(floor, robot, 20.0)
    for tick in range(20):
        step = robot.update(900.0 + tick, floor.scan(), floor.odometry, floor.twist, True, 5.0)
        assert step.status is DONE
        assert not step.actions.any()


# ----- bounds


@pytest.mark.parametrize("limit_s", [0.1, 8.0, 30.0])
def test_it_keeps_to_its_time(limit_s: float) -> None:
    floor = Floor(two_rooms(), at(1.0, 2.5))
    steps = explore(floor, explorer(limit_s), 60.0)
    assert steps[-1].status is DONE
    assert (len(steps) - 1) * PERIOD_S <= limit_s + PERIOD_S
    assert not steps[-1].actions.any()


def test_it_turns_back_in_time_to_be_home() -> None:
    floor = Floor(two_rooms(), at(1.0, 2.5))
    steps = explore(floor, explorer(45.0), 60.0)
    returning = next(s for s in steps if s.status is RETURNING)
    assert "time is nearly up" in returning.reason
    assert steps[-1].distance_m < 0.3


@pytest.mark.parametrize("limit_s", [60.0, 70.0])
def test_a_robot_that_turns_slowly_returns_earlier_to_be_back_in_time(limit_s: float) -> None:
    limits = LIMITS.model_copy(update={"angular_max_radps": 0.3})
    slow = PROFILE.model_copy(update={"limits": limits})
    steps = explore(Floor(two_rooms(), at(1.0, 2.5)), Explorer(slow, ANGLES, limit_s), 80.0)
    assert steps[-1].distance_m < 0.3
    assert any(step.distance_m > 1.0 for step in steps), "it did set out"
    assert not any("leaving this path" in step.reason for step in steps), (
        "turning is not being stuck"
    )


def test_it_stays_within_its_radius() -> None:
    floor = Floor(two_rooms(), at(1.2, 2.5))
    steps = explore(floor, explorer(radius_m=1.5), 300.0)
    away = np.hypot(*(np.array(floor.gone)[:, :2] - (1.2, 2.5)).T)
    assert away.max() < 1.5
    assert away.max() > 0.5
    assert steps[-1].status is DONE


@given(
    ranges=st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True),
        min_size=len(ANGLES),
        max_size=len(ANGLES),
    ),
    pose=st.tuples(*[st.floats(-5.0, 5.0)] * 3),
    twist=st.tuples(*[st.floats(allow_nan=True)] * 2),
    bumped=st.booleans(),
    novelty=st.floats(allow_nan=True),
)
@settings(max_examples=40, deadline=None)
def test_whatever_it_senses_commands_keep_to_the_limits(
    ranges: list[float],
    pose: tuple[float, ...],
    twist: tuple[float, ...],
    bumped: bool,
    novelty: float,
) -> None:
    robot = explorer()
    for tick in range(4):
        step = robot.update(
            float(tick), np.array(ranges), np.array(pose) * tick, np.array(twist), bumped, novelty
        )
        assert step.actions.shape == (8, 2)
        assert np.isfinite(step.actions).all()
        assert np.all(step.actions[:, 0] >= LIMITS.linear_min_mps)
        assert np.all(step.actions[:, 0] <= LIMITS.linear_max_mps)
        assert np.all(np.abs(step.actions[:, 1]) <= LIMITS.angular_max_radps)
        assert math.isfinite(step.distance_m) and math.isfinite(step.covered_m2)


def test_single_bad_readings_do_not_keep_it_from_exploring() -> None:
    floor, rng = Floor(two_rooms(), at(1.0, 2.5)), np.random.default_rng(0)
    whole = floor.scan

    def holed() -> np.ndarray:
        ranges = whole()
        ranges[rng.random(len(ranges)) < 0.1] = np.nan
        ranges[rng.random(len(ranges)) < 0.05] = -np.inf
        return ranges

    floor.scan = holed  # type: ignore[method-assign]
    steps = explore(floor, explorer())
    assert steps[-1].status is DONE
    assert max(pose[0] for pose in floor.gone) > 4.0


def test_odometry_that_is_no_number_means_rest() -> None:
    floor, robot = Floor(two_rooms(), at(1.0, 2.5)), explorer()
    explore(floor, robot, 3.0)
    step = robot.update(60.0, floor.scan(), np.full(3, np.nan), floor.twist, False)
    assert not step.actions.any()
    assert step.status is EXPLORING
    assert "odometry" in step.reason


def test_a_clock_that_is_set_back_costs_nothing() -> None:
    """Neither the map nor the time limit."""
    floor = Floor(two_rooms(), at(1.0, 2.5))
    steps = explore(
        floor,
        explorer(40.0),
        60.0,
        clock=lambda tick: 1000.0 + PERIOD_S * tick if tick < 150 else PERIOD_S * tick,
    )
    assert steps[-1].status is DONE
    assert 25.0 < len(steps) * PERIOD_S < 41.0
    assert steps[-1].distance_m < 0.3


# ----- when something is in the way


def test_enclosed_by_walls_it_waits_and_then_gives_up() -> None:
    floor = Floor(room(0.75, 0.75), at(0.375, 0.375))
    steps = explore(floor, explorer(), 60.0)
    assert steps[-1].status is BLOCKED
    assert "no path leads out" in steps[-1].reason
    assert 10.0 < len(steps) * PERIOD_S < 40.0  # somebody may open the door meanwhile


def test_after_a_bump_it_backs_off_and_turns_away() -> None:
    floor, robot = Floor(two_rooms(), at(1.0, 2.5)), explorer()
    explore(floor, robot, 10.0)
    actions = robot.update(60.0, floor.scan(), floor.odometry, np.array([0.3, 0.0]), True).actions
    assert actions[0, 0] < 0
    assert any(action[0] == 0 and action[1] != 0 for action in actions)
    backwards = robot.update(62.0, floor.scan(), floor.odometry, np.array([-0.1, 0.0]), False)
    assert backwards.status is EXPLORING


def test_after_a_bump_from_behind_it_drives_forward() -> None:
    floor, robot = Floor(two_rooms(), at(1.0, 2.5)), explorer()
    explore(floor, robot, 10.0)
    step = robot.update(60.0, floor.scan(), floor.odometry, np.array([-0.1, 0.0]), True)
    assert step.actions[0, 0] > 0


def test_it_drives_around_what_only_the_bumper_feels() -> None:
    floor = Floor(room(4.0, 2.5), at(0.8, 1.25, 0.0))
    glass = np.array([[2.0, 1.0 + 0.05 * k] for k in range(10)])
    floor.middles = np.concatenate([floor.middles, glass])
    steps = explore(floor, explorer())
    assert steps[-1].status is DONE
    assert max(pose[0] for pose in floor.gone) > 2.5


def test_wheels_that_slip_for_good_end_the_exploration() -> None:
    """It tries other paths, and at last gives up."""
    floor, robot = Floor(two_rooms(), at(1.0, 2.5)), explorer()
    explore(floor, robot, 12.0)
    floor.wheels = 0.0
    steps = explore(floor, robot, 200.0, clock=lambda tick: 70.0 + PERIOD_S * tick)
    assert any("leaving this path" in step.reason for step in steps)
    assert steps[-1].status is BLOCKED
    assert "could not be driven" in steps[-1].reason or "no path" in steps[-1].reason


@pytest.mark.parametrize("yaw", [0.2, 2.5, -1.5])
def test_it_gets_out_of_a_gap_that_is_nearly_too_tight(yaw: float) -> None:
    """It was put down between two round tables: 0.18 m from its middle to each."""
    start = (3.94, 6.985, yaw)
    world, driver = worlds.make(14, PROFILE, seed=4), ExplorerDriver(PROFILE, 60.0)
    done = drive(world, PROFILE, Task(start, start, 0.0), driver, 65.0)
    away = np.hypot(*(done.path[:, :2] - start[:2]).T)
    assert away.max() > 1.5
    assert driver.last is not None and driver.last.status is DONE
    assert "time was up" in driver.last.reason or done.error_m < 0.3


def test_carried_to_another_home_it_starts_a_new_map_and_says_so() -> None:
    floor, robot = Floor(two_rooms(), at(1.0, 2.5)), explorer()
    explore(floor, robot, 30.0)
    elsewhere = Floor(room(2.2, 1.5), at(1.1, 0.7, 2.0), origin=floor.odometry)
    steps = explore(elsewhere, robot, 300.0, clock=lambda tick: 90.0 + PERIOD_S * tick)
    assert steps[-1].maps == 2
    assert any("began a new map" in step.reason for step in steps)
    assert steps[-1].status is DONE


# ----- information gain


def scanned_room() -> TraversabilityMap:
    evidence = np.zeros((640, 640), np.float32)
    evidence[280:360, 280:360] = -3.0
    evidence[279, 280:360] = evidence[360, 280:360] = 3.0
    evidence[280:360, 279] = evidence[280:360, 360] = 3.0
    return TraversabilityMap.of(evidence, PROFILE.footprint_radius_m, np.zeros((0, 2)))


def test_the_camera_has_to_see_the_floor_not_the_scan_alone() -> None:
    terrain, coverage = scanned_room(), Coverage(ANGLES, PROFILE.camera)
    coverage.update(np.zeros(3), np.full(len(ANGLES), 6.0), 0.0)
    seen = coverage.seen(terrain)
    ahead, behind, beneath = (
        seen[tuple(terrain.cells(np.array([x, 0.0])))] for x in (1.0, -1.0, 0.2)
    )
    assert ahead and not behind and not beneath


def test_the_nearest_floor_in_the_picture_follows_from_the_camera() -> None:
    camera = PROFILE.camera
    half = math.atan(math.tan(math.radians(camera.hfov_deg / 2)) * camera.height / camera.width)
    assert blind_m(camera) == pytest.approx(camera.x_m + camera.z_m / math.tan(half))
    looking_up = camera.model_copy(update={"pitch_deg": -60.0})
    assert blind_m(looking_up) == math.inf


def test_surprise_makes_a_place_worth_another_look_until_the_robot_has_looked() -> None:
    terrain, coverage = scanned_room(), Coverage(ANGLES, PROFILE.camera)
    everywhere = np.ones(terrain.occupied.shape, bool)
    scan, east, west = np.full(len(ANGLES), 6.0), np.zeros(3), np.array([0.0, 0.0, math.pi])
    for _ in range(40):
        coverage.update(east, scan, 3.0)
        coverage.update(west, scan, 0.5)
    gain = coverage.gain(terrain, everywhere, False)
    ahead, behind = (gain.seen[tuple(terrain.cells(np.array([x, 0.0])))] for x in (1.2, -1.2))
    assert ahead > 0.5 and behind == 0.0
    coverage.give_up(terrain, everywhere, everywhere, False)
    assert not any(part.any() for part in coverage.gain(terrain, everywhere, False))


def test_exploration_ends_even_where_surprise_never_does() -> None:
    floor = Floor(two_rooms(), at(1.0, 2.5))
    steps = explore(floor, explorer(), novelty=lambda pose: 4.0)
    assert steps[-1].status is DONE


def test_surprise_draws_the_robot_to_the_room_where_it_was() -> None:
    def seconds_there(novelty: Callable[[np.ndarray], float]) -> int:
        floor = Floor(two_rooms(), at(1.0, 2.5))
        explore(floor, explorer(), novelty=novelty)
        return sum(pose[0] > 3.0 for pose in floor.gone)

    surprised = seconds_there(lambda pose: 3.0 if pose[0] > 3.0 else 0.0)
    assert surprised > seconds_there(lambda pose: 0.0)


def test_paths_keep_off_the_walls() -> None:
    terrain = scanned_room()
    costs = terrain.path_costs(np.array([-1.5, -1.5]))
    path = terrain.path_to(terrain.cells(np.array([1.5, 1.5])), costs)
    assert np.hypot(*(path[0] - (-1.5, -1.5))) < TERRAIN_M
    assert np.hypot(*(path[-1] - (1.5, 1.5))) < TERRAIN_M
    assert np.hypot(*np.diff(path, axis=0).T).max() < 0.15
    assert np.isinf(costs[tuple(terrain.cells(np.array([1.95, 0.0])))])


# ----- commands


def test_it_slows_down_at_the_end_of_a_path() -> None:
    path = np.stack([np.linspace(0.0, 1.0, 11), np.zeros(11)], 1)
    actions = follow(path, np.zeros(3), LIMITS, 0.5, 8)
    assert actions[0, 0] == pytest.approx(0.9 * LIMITS.linear_max_mps, rel=0.05)
    assert abs(actions[-1, 0]) < 0.1
    assert (actions[:, 0] * 0.5).sum() == pytest.approx(1.0, abs=0.1)


def test_it_turns_on_the_spot_to_a_path_that_begins_behind_it() -> None:
    path = np.stack([np.linspace(0.0, -1.0, 11), np.zeros(11)], 1)
    actions = follow(path, np.array([0.0, 0.0, 0.1]), LIMITS, 0.5, 8)
    assert actions[0, 0] == 0.0
    assert abs(actions[0, 1]) > 1.0


def test_looking_around_turns_slowly_and_does_not_drive() -> None:
    actions = look_around(LIMITS, 4)
    assert actions.shape == (4, 2) and not actions[:, 0].any()
    assert (actions[:, 1] > 0.1).all() and (actions[:, 1] < 0.5 * LIMITS.angular_max_radps).all()


def test_a_turn_ends_at_its_angle() -> None:
    actions = turn(-2.0, LIMITS, 0.5, 8)
    assert (actions[:, 1] * 0.5).sum() == pytest.approx(-2.0)
    assert not actions[:, 0].any() and not actions[-1].any()


# ----- how it is asked for


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0.0, 0.0), "time_limit_s"),
        ((math.nan, 0.0), "time_limit_s"),
        ((10.0, -1.0), "radius_m"),
        ((10.0, math.inf), "radius_m"),
    ],
)
def test_bad_limits_are_refused(arguments: tuple[float, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Explorer(PROFILE, ANGLES, *arguments)


def test_a_scan_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 120 ranges"):
        explorer().update(0.0, np.ones(90), np.zeros(3), np.zeros(2), False)


def test_it_needs_neither_torch_nor_simulator_nor_ros() -> None:
    blocked = ["torch", "mujoco", "rclpy", "matplotlib", "scipy", "h5py"]
    script = f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
    script += "import foresight.exploration.explorer"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


# ----- in the simulator


def test_in_an_apartment_it_covers_half_the_floor_in_a_minute_and_a_half() -> None:
    world, driver = worlds.make(0, PROFILE, seed=1), ExplorerDriver(PROFILE, 100.0)
    start = draw_poses(world.truth.floor_plan, PROFILE, 1, 5)[0]
    done = drive(world, PROFILE, Task(start, start, 0.0), driver, 105.0)
    covered = measure(world.truth.floor_plan, PROFILE, done.path)
    assert covered.share(covered.covered_s) > 0.5
    assert covered.share(covered.covered_s, 20.0) < covered.share(covered.covered_s)
    assert done.collisions <= 1
    assert done.error_m < 0.3
    assert driver.last is not None and driver.last.status is DONE


def evaluated(folder: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    file = folder / "explore.json"
    ran = CliRunner().invoke(
        app, ["evaluate", "--suite", "explore", "--json", str(file), *arguments]
    )
    return ran.exit_code, ran.output, json.loads(file.read_text()) if file.exists() else {}


def test_the_suite_needs_no_bundle_and_repeats_itself_for_a_seed(tmp_path: Path) -> None:
    arguments = ("--world", "3", "--minutes", "1", "--workers", "1")
    code, output, first = evaluated(tmp_path, *arguments, "--pictures", str(tmp_path))
    assert code == 0, output
    assert "explorer" in output and "wander" in output and "random" in output
    _, _, second = evaluated(tmp_path, *arguments)
    assert first["drives"] == second["drives"]
    (one,) = first["drives"]
    assert 0.0 < one["visited"] <= one["covered"] <= 1.0
    assert one["minutes"] <= 1.05
    assert set(one["baselines"]) == {"wander", "random"}
    assert (tmp_path / "explore-world-3-000.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("--suite", "near"),
        ("--suite", "explore", "--commission", "60"),
        ("--suite", "explore", "--minutes", "0"),
    ],
)
def test_options_that_do_not_fit_the_suite_are_bad_usage(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["evaluate", *arguments]).exit_code == 2


def test_fewer_episodes_than_homes_is_one_sentence() -> None:
    ran = CliRunner().invoke(
        app, ["evaluate", "--suite", "explore", "--world", "1,2", "--episodes", "1"]
    )
    assert ran.exit_code == 1
    assert "--episodes is 1" in ran.output
