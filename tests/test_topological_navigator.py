"""Localisation, mapping and topological navigation.

Views are poses here, and the learned relation knows them exactly, within a camera's reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from foresight.geometry import Pose, compose, inverse
from foresight.memory import Places
from foresight.memory.localiser import Localiser, Where
from foresight.memory.mapper import Mapper
from foresight.memory.topological_navigator import TopologicalNavigator
from foresight.runtime.dynamics import Compared

PICTURE = np.zeros((6, 8, 3), np.uint8)
SIGHT_M, SIGHT_RAD = 1.2, 1.2  # further apart, views have nothing in common


def view(pose: Pose) -> np.ndarray:
    """What the camera sees there, encoded."""
    x, y, yaw = pose
    return np.array([x, y, math.cos(yaw), math.sin(yaw)], np.float32)


def pose_of(latent: np.ndarray) -> Pose:
    x, y, cos, sin = map(float, latent)
    return x, y, math.atan2(sin, cos)


def relation(latent: np.ndarray, other: np.ndarray) -> Compared:
    offsets = [compose(inverse(pose_of(a)), pose_of(b)) for a, b in zip(latent, other, strict=True)]
    away = np.array([math.hypot(x, y) for x, y, _ in offsets])
    turn = np.array([abs(yaw) for *_, yaw in offsets])
    close = ((away < SIGHT_M) & (turn < SIGHT_RAD)).astype(np.float32)
    return Compared(np.log1p(away / 0.4 + turn / 1.1), np.array(offsets), 0.98 * close + 0.01)


@dataclass(frozen=True)
class Door:
    """A closed door, 2 m wide, along x."""

    x: float
    y: float

    def hides(self, a: Pose, b: Pose) -> bool:
        """Whether it lies between the two poses."""
        beside = min(abs(a[0] - self.x), abs(b[0] - self.x)) > 1
        return (a[1] - self.y) * (b[1] - self.y) < 0 and not beside

    def stops(self, a: Pose, b: Pose) -> bool:
        """Whether it blocks a stride from `a` to `b`."""
        nearer = abs(b[1] - self.y) < min(0.25, abs(a[1] - self.y))
        return abs(a[0] - self.x) < 1 and nearer

    def relation(self, latent: np.ndarray, other: np.ndarray) -> Compared:
        """It blocks the view, and the learned distance leads around it."""
        seen = relation(latent, other)
        pairs = zip(latent, other, strict=True)
        hidden = np.array([self.hides(pose_of(a), pose_of(b)) for a, b in pairs])
        close = np.where(hidden, 0.01, seen.close)
        return Compared(np.where(hidden, np.log1p(9.0), seen.gap), seen.displacement, close)


class Robot:
    """Drives as commanded, localises and maps."""

    def __init__(self, file: Path, door: Door | None = None) -> None:
        self.door, self.relation = door, relation if door is None else door.relation
        self.places = Places.open(file, "encoder", 4)
        self.localiser = Localiser(self.places, self.relation)
        self.mapper = Mapper(self.places, self.localiser, self.relation)
        self.pose: Pose = (0.0, 0.0, 0.0)
        self.odometry: Pose = (0.0, 0.0, 0.0)
        self.now_s = 0.0
        self.true: dict[int, Pose] = {}
        self.where: Where | None = None

    def look(self, surprise: float = 0.0) -> Where | None:
        latent = view(self.pose)
        self.where = self.localiser.update(latent, self.odometry, surprise)
        added = self.mapper.observe(self.now_s, latent, PICTURE, self.odometry, self.where, 1e9)
        if added is not None:
            self.true[added] = self.pose
            self.where = self.localiser.update(latent, self.odometry)
        return self.where

    def go(self, *points: tuple[float, float], stride_m: float = 0.1) -> None:
        """Turn, drive, turn, drive; a look every now and then."""
        for x, y in points:
            here = self.pose
            bearing = math.atan2(y - here[1], x - here[0])
            turn = math.remainder(bearing - here[2], math.tau)
            for _ in range(max(1, round(abs(turn) / 0.2))):
                self.move((0.0, 0.0, turn / max(1, round(abs(turn) / 0.2))))
            distance = math.dist(here[:2], (x, y))
            for _ in range(max(1, round(distance / stride_m))):
                self.move((distance / max(1, round(distance / stride_m)), 0.0, 0.0))

    def move(self, step: Pose) -> None:
        self.pose, self.odometry = compose(self.pose, step), compose(self.odometry, step)
        self.now_s += 0.3
        self.look()

    def carry(self, pose: Pose) -> None:
        """Move it without turning the wheels."""
        self.pose = pose

    def error_m(self) -> float:
        assert self.where is not None
        return math.dist(self.true[self.where.place][:2], self.pose[:2])


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[Robot]:
    """Has been driven once around a square of 4 m, and back."""
    robot = Robot(tmp_path / "places.db")
    square = [(4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)]
    robot.go(*square, *square[-2::-1], (0.0, 0.0))
    yield robot
    robot.places.close()


def test_knows_where_the_robot_is(robot: Robot) -> None:
    for corner in [(4.0, 0.0), (4.0, 4.0), (2.0, 4.0)]:
        robot.go(corner)
        assert robot.where is not None
        assert robot.error_m() < 0.5
        assert robot.where.confidence > 0.8


def test_place_does_not_change_at_rest(robot: Robot) -> None:
    robot.go((1.5, 0.0))
    assert robot.where is not None
    told, rng = robot.where.place, np.random.default_rng(0)
    for _ in range(2000):
        noisy = view(robot.pose) + 0.05 * rng.standard_normal(4).astype(np.float32)
        where = robot.localiser.update(noisy, robot.odometry)
        assert where is not None
        assert where.place == told


def test_relocalises_after_being_carried(robot: Robot) -> None:
    robot.go((2.0, 0.0))
    robot.carry((4.0, 3.0, math.pi / 2))
    for _ in range(12):
        where = robot.localiser.update(view(robot.pose), robot.odometry)
    assert where is not None
    assert math.dist(robot.true[where.place][:2], robot.pose[:2]) < 0.5


def test_reports_no_place_while_memory_is_empty(tmp_path: Path) -> None:
    with Places.open(tmp_path / "p.db", "encoder", 4) as places:
        assert Localiser(places, relation).update(view((0, 0, 0)), (0, 0, 0)) is None


def test_driving_a_known_path_adds_no_places(robot: Robot) -> None:
    before = len(robot.places)
    robot.go((4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0))
    assert len(robot.places) <= 1.1 * before


def test_edges_join_only_nearby_places(robot: Robot) -> None:
    for edge in robot.places.edge_table():
        a, b = robot.true[int(edge["a"])], robot.true[int(edge["b"])]
        assert math.dist(a[:2], b[:2]) < 1.5
        expected = compose(inverse(a), b)
        assert math.dist(expected[:2], (edge["x"], edge["y"])) < 0.6


def test_every_place_is_reachable_from_every_other(robot: Robot) -> None:
    goal = int(robot.places.ids[0])
    assert np.isfinite(robot.places.costs_to(goal).costs).all()


def follow(robot: Robot, navigator: TopologicalNavigator) -> int:
    """Drive to the subgoals until a final one is near; the number of steps."""
    for step in range(700):
        subgoal = navigator.update(robot.now_s, view(robot.pose), robot.look(), robot.odometry)
        if subgoal.latent is None:
            robot.move((0.0, 0.0, 0.4))
            continue
        x, y, yaw = compose(inverse(robot.pose), pose_of(subgoal.latent))
        away = math.hypot(x, y)
        if subgoal.final and away < 0.3:
            return step
        bearing = math.atan2(y, x) if away > 0.1 else yaw
        stride = min(0.12, away) if abs(bearing) < 0.5 else 0.0
        turn = max(-0.4, min(0.4, bearing))
        ahead = compose(robot.pose, (stride, 0.0, 0.0))
        stopped = robot.door is not None and robot.door.stops(robot.pose, ahead)
        robot.move((0.0 if stopped else stride, 0.0, turn))
    return step


def test_leads_to_a_goal_beyond_the_horizon(robot: Robot) -> None:
    goal = (4.0, 4.0, math.pi / 2)
    navigator = TopologicalNavigator(robot.places, relation, view(goal))
    assert follow(robot, navigator) < 150
    assert math.dist(robot.pose[:2], goal[:2]) < 0.3


def test_leads_to_a_remembered_place(robot: Robot) -> None:
    place = min(robot.true, key=lambda p: math.dist(robot.true[p][:2], (4.0, 4.0)))
    assert follow(robot, TopologicalNavigator(robot.places, relation, place)) < 150
    assert math.dist(robot.pose[:2], robot.true[place][:2]) < 0.4


def test_uses_the_learned_distance_while_lost(robot: Robot) -> None:
    navigator = TopologicalNavigator(robot.places, relation, view((4.0, 4.0, 0.0)))
    subgoal = navigator.update(0.0, view((40.0, 40.0, 0.0)), None, robot.odometry)
    assert subgoal.final
    np.testing.assert_array_equal(subgoal.latent, view((4.0, 4.0, 0.0)))


def test_tries_the_learned_distance_before_a_long_detour(robot: Robot) -> None:
    """Three sides of the square are known; the fourth is free floor."""
    navigator = TopologicalNavigator(robot.places, relation, view((0.0, 3.0, math.pi / 2)))
    robot.go((4.0, 0.0), (4.0, 2.0))
    subgoal = navigator.update(robot.now_s, view(robot.pose), robot.where, robot.odometry)
    assert subgoal.final


def test_takes_a_detour_around_a_door_that_was_closed(robot: Robot, tmp_path: Path) -> None:
    """The next drive hardly tries the door again."""
    for point in [(2.0, 0.0), (4.0, 0.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0), (0.0, 4.0)]:
        robot.go(point)
        for _ in range(20):
            robot.move((0.0, 0.0, math.tau / 20))
    robot.places.close()
    later = Robot(tmp_path / "places.db", Door(4.0, 2.0))
    goal = (4.0, 4.0, math.pi / 2)
    for limit in (500, 250):
        later.go((3.0, 0.0))
        assert follow(later, TopologicalNavigator(later.places, later.relation, view(goal))) < limit
        assert math.dist(later.pose[:2], goal[:2]) < 0.3
        later.go((0.0, 4.0), (0.0, 0.0))
    later.places.close()
