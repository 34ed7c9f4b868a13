"""Navigation tasks on any floor plan: starts, goals, and when a goal counts as reached.

For evaluation and the demonstration only; nothing here is known to the robot. Poses are
(x m, y m, yaw rad) in the frame of the world.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.geometry import Pose, wrap
from foresight.interfaces import FloorPlan
from foresight.worlds.floor_plan import CELL_M, free_space, line_of_sight, path_lengths

Suite = Literal["near", "room", "house"]
SUITES: tuple[Suite, ...] = ("near", "room", "house")

REACHED_M = 0.3
REACHED_DEG = 30.0
CLEARANCE_M = 0.12  # between the footprint of a start or goal and the nearest obstacle
PASSAGE_M = 0.06  # free on each side of a path: the safety controller enters nothing narrower
VIEW_M = 0.6  # what the camera of a goal has free ahead: a place is photographed, not plaster
_VIEW_SPREAD_RAD = 0.25
_FAR_M = 0.7  # nothing from beyond this counts as solved, whatever its heading
_DEMO_GOALS = 3
_DEMO_RANGE_M = (0.7, 4.0)
_NAMES_APART_M = 1.5
_DOORWAY_M = 0.6  # so near to its middle one stands in a doorway, not in a room
_CARRIED_M = 1.0
_TRIES = 1000


@dataclass(frozen=True)
class Task:
    """Drive from `start` until the camera sees what it would see at `goal`.

    Attributes:
        start, goal: poses (m, m, rad).
        path_m: length of the shortest path that leaves PASSAGE_M beside the robot's footprint.
    """

    start: Pose
    goal: Pose
    path_m: float


def sample_tasks(
    plan: FloorPlan, profile: RobotProfile, suite: Suite, count: int, seed: int
) -> list[Task]:
    """Draw `count` tasks; the same arguments give the same tasks everywhere.

    No task starts solved, see `unsolved`. Suites: `near`, a path of 0.7 to 2 m; `room`, in the same
    room 2 to 4 m apart as the crow flies and turned by over 45 degrees; `house`, in another room.

    Raises:
        ValueError: the suite is unknown, or the world has no such tasks.
    """
    if suite not in SUITES:
        raise ValueError(f"suite is {suite!r}; choose one of {', '.join(SUITES)}")
    sampler = _Sampler(plan, profile)
    rng = np.random.default_rng([53, SUITES.index(suite), plan.seed, seed])
    tasks: list[Task] = []
    for _ in range(count * _TRIES):
        if len(tasks) == count:
            return tasks
        start = sampler.draw_start(rng)
        task = _draw_task(sampler, suite, start, rng)
        if task is not None:
            tasks.append(task)
    if len(tasks) == count:
        return tasks
    raise ValueError(f"world {plan.name} has no tasks of the suite {suite!r}")


def demo_task(plan: FloorPlan, profile: RobotProfile, seed: int) -> tuple[Pose, list[Pose]]:
    """A start and three goals to visit in turn, each 0.7 to 4 m from the one before.

    At least one goal cannot be seen from the start.

    Raises:
        ValueError: the world has no such tour.
    """
    sampler = _Sampler(plan, profile)
    rng = np.random.default_rng([59, plan.seed, seed])
    for _ in range(_TRIES):
        start = sampler.draw_start(rng)
        stations = [start]
        for _ in range(_DEMO_GOALS):
            task = sampler.draw_goal(stations[-1], _DEMO_RANGE_M, rng, _far_enough(stations[-1]))
            if task is None:
                break
            stations.append(task.goal)
        goals = stations[1:]
        hidden = [not line_of_sight(sampler.occupied, start, goal) for goal in goals]
        if len(goals) == _DEMO_GOALS and any(hidden):
            return start, goals
    raise ValueError(f"world {plan.name} has no tour with a goal out of sight")


def draw_poses(plan: FloorPlan, profile: RobotProfile, count: int, seed: int) -> list[Pose]:
    """Poses to put the robot down at, with clearance, uniform over the floor."""
    sampler, rng = _Sampler(plan, profile), np.random.default_rng([61, plan.seed, seed])
    return [sampler.draw_start(rng) for _ in range(count)]


def draw_elsewhere(plan: FloorPlan, profile: RobotProfile, seed: int, before: Pose) -> Pose:
    """A pose for a robot that is carried while it is off: in the same room, a metre or more away.

    Raises:
        ValueError: the room has no such place.
    """
    sampler, rng = _Sampler(plan, profile), np.random.default_rng([67, plan.seed, seed])
    room = plan.room_of(before[0], before[1])
    for _ in range(_TRIES):
        pose = sampler.draw_start(rng)
        away_m, _turn = pose_error(pose, before)
        if plan.room_of(pose[0], pose[1]) == room and away_m >= _CARRIED_M:
            return pose
    raise ValueError(f"the room in world {plan.name} has no other place to put the robot down")


class Naming:
    """Which of the poses that a robot comes by are worth a name.

    They lie in other rooms than the start, spread over those rooms, 1.5 m apart, in no doorway, and
    each could be a goal of the suite `house`.

    Attributes:
        given: poses that have a name.
    """

    def __init__(self, plan: FloorPlan, profile: RobotProfile, start: Pose, count: int) -> None:
        """`count`: how many names there are to give.

        Raises:
            ValueError: the world has no other room.
        """
        self._plan, self._sampler, self._count = plan, _Sampler(plan, profile), count
        self._home = plan.room_of(start[0], start[1])
        others = plan.room_count - 1
        if not others:
            raise ValueError(f"world {plan.name} has no room but the start's")
        self._in_a_room = math.ceil(count / others)
        self.given: list[Pose] = []

    @property
    def complete(self) -> bool:
        """Whether all names are given."""
        return len(self.given) >= self._count

    def wants(self, pose: Pose) -> bool:
        """Whether this pose is worth one of the names that are left."""
        plan, (x, y, _) = self._plan, pose
        rooms = [plan.room_of(a, b) for a, b, _ in self.given]
        room = plan.room_of(x, y)
        return (
            not self.complete
            and room != self._home
            and rooms.count(room) < self._in_a_room
            and all(pose_error(pose, other)[0] >= _NAMES_APART_M for other in self.given)
            and all(math.hypot(x - a, y - b) > _DOORWAY_M for a, b in plan.doors)
            and self._sampler.is_goal(pose)
        )


def pose_error(pose: Pose, goal: Pose) -> tuple[float, float]:
    """Distance (m) and absolute heading difference (deg, 0 to 180) between two poses."""
    distance = math.hypot(pose[0] - goal[0], pose[1] - goal[1])
    return distance, abs(math.degrees(wrap(pose[2] - goal[2])))


def reached(pose: Pose, goal: Pose) -> bool:
    """Whether a pose counts as the goal: within 0.3 m and 30 degrees."""
    distance, heading = pose_error(pose, goal)
    return distance <= REACHED_M and heading <= REACHED_DEG


def unsolved(start: Pose, goal: Pose) -> bool:
    """Whether a start leaves something to do: 0.7 m away, or 0.3 m and turned by 30 degrees."""
    distance, heading = pose_error(start, goal)
    return distance > _FAR_M or (distance > REACHED_M and heading > REACHED_DEG)


def driving_seconds(path: np.ndarray, start: Pose, goal: Pose, profile: RobotProfile) -> float:
    """What a path (N, 2) m takes at 90% of the robot's speed and 80% of its rate of turn.

    Turning at start, corners and goal included; the whole path forwards or the whole path in
    reverse, whichever is faster.
    """
    legs = np.diff(path, axis=0)
    legs = legs[np.hypot(*legs.T) > 0]
    length_m = float(np.hypot(*legs.T).sum())
    course = np.arctan2(legs[:, 1], legs[:, 0])
    limits, seconds = profile.limits, []
    for speed, flip in ((limits.linear_max_mps, 0.0), (-limits.linear_min_mps, math.pi)):
        turns = np.diff(np.concatenate([[start[2]], course + flip, [goal[2]]]))
        drive_s = length_m / (0.9 * speed) if speed else math.inf
        turned = float(np.abs(wrap(turns)).sum())
        seconds.append(drive_s + turned / (0.8 * limits.angular_max_radps))
    return min(seconds)


class _Sampler:
    """Draws starts and goals on one floor plan, for one robot.

    Attributes:
        plan: the floor plan.
        occupied: its grid.
    """

    def __init__(self, plan: FloorPlan, profile: RobotProfile) -> None:
        self.plan = plan
        self.occupied = plan.occupied(CELL_M)
        self._free = free_space(self.occupied, profile.footprint_radius_m + PASSAGE_M)
        # One cell more: the grid rounds outlines, and poses lie anywhere within their cell.
        margin = profile.footprint_radius_m + CLEARANCE_M + CELL_M
        self._standable = free_space(self.occupied, margin)
        self._stands = np.argwhere(self._standable.cells)
        self._view_m = VIEW_M + max(0.0, profile.camera.x_m)
        if not len(self._stands):
            raise ValueError(f"world {plan.name} has no room for {profile.name}")

    def draw_start(self, rng: np.random.Generator) -> Pose:
        """A pose with clearance, uniform over the floor."""
        return self._pose_in(self._stands[int(rng.integers(len(self._stands)))], rng)

    def is_goal(self, pose: Pose) -> bool:
        """Whether a goal may lie here: with clearance, and more in view than plaster."""
        return bool(self._standable.at(pose[0], pose[1])) and self._sees(pose)

    def draw_goal(
        self,
        start: Pose,
        range_m: tuple[float, float],
        rng: np.random.Generator,
        wanted: Callable[[Pose], bool],
    ) -> Task | None:
        """A wanted goal, the length of its path uniform over the range; None if none is found."""
        low, high = range_m
        lengths = path_lengths(self._free, start, high + 0.3).cells
        lengths[~self._standable.cells] = np.inf
        high = min(high, float(np.max(lengths, where=np.isfinite(lengths), initial=0.0)))
        for _ in range(30 if high > low else 0):
            about_m = rng.uniform(low, high)
            near = np.argwhere(np.abs(lengths - about_m) < CELL_M)
            if not len(near):
                continue
            cell = near[int(rng.integers(len(near)))]
            goal, path_m = self._pose_in(cell, rng), float(lengths[tuple(cell)])
            if (
                low <= path_m <= high
                and unsolved(start, goal)
                and wanted(goal)
                and self._sees(goal)
            ):
                return Task(start, goal, path_m)
        return None

    def _sees(self, pose: Pose) -> bool:
        x, y, yaw = pose
        return all(
            line_of_sight(
                self.occupied,
                pose,
                (x + self._view_m * math.cos(heading), y + self._view_m * math.sin(heading)),
            )
            for heading in (yaw - _VIEW_SPREAD_RAD, yaw, yaw + _VIEW_SPREAD_RAD)
        )

    def _pose_in(self, cell: np.ndarray, rng: np.random.Generator) -> Pose:
        x, y = self.occupied.point(*(cell + rng.uniform(0.0, 1.0, 2)))
        return float(x), float(y), float(rng.uniform(-math.pi, math.pi))


def _draw_task(
    sampler: _Sampler, suite: Suite, start: Pose, rng: np.random.Generator
) -> Task | None:
    room_of = sampler.plan.room_of
    room = room_of(start[0], start[1])

    def in_room(goal: Pose) -> bool:
        distance, turn = pose_error(start, goal)
        return room_of(goal[0], goal[1]) == room and 2.0 <= distance <= 4.0 and turn > 45.0

    def elsewhere(goal: Pose) -> bool:
        return room_of(goal[0], goal[1]) != room

    if suite == "near":
        return sampler.draw_goal(start, (0.7, 2.0), rng, lambda goal: True)
    if suite == "room":
        return sampler.draw_goal(start, (2.0, 6.0), rng, in_room)
    return sampler.draw_goal(start, (0.7, math.inf), rng, elsewhere)


def _far_enough(start: Pose) -> Callable[[Pose], bool]:
    return lambda goal: pose_error(start, goal)[0] >= _DEMO_RANGE_M[0]
