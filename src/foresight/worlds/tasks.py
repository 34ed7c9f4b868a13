"""Navigation tasks on the privileged floor plan: starts, goals, and when a goal counts as reached.

For evaluation and the demonstration only; nothing here is known to the robot. Poses are
(x m, y m, yaw rad) in the world frame of the apartment; grids are (n, n) and indexed [y, x].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.worlds.apartments.apartment import Apartment, free_space

Pose = tuple[float, float, float]
Suite = Literal["near", "room", "house"]
SUITES: tuple[Suite, ...] = ("near", "room", "house")

CELL_M = 0.05
REACHED_M = 0.3
REACHED_DEG = 30.0
CLEARANCE_M = 0.12  # between the footprint of a start or goal and the nearest obstacle
PASSAGE_M = 0.06  # free on each side on the way: the safety controller enters nothing narrower
VIEW_M = 0.6  # what the camera of a goal has free ahead: a place is photographed, not plaster
_VIEW_SPREAD_RAD = 0.25
_FAR_M = 0.7  # nothing from beyond this counts as solved, whatever its heading
_DEMO_GOALS = 3
_DEMO_RANGE_M = (0.7, 4.0)
_NAMES_APART_M = 1.5
_DOORWAY_M = 0.6  # so near to its middle one stands in a doorway, not in a room
_CARRIED_M = 1.0
_TRIES = 1000
# Cells from a cell to its neighbours; staying is no step.
_STEPS = np.array([[2**0.5, 1, 2**0.5], [1, np.inf, 1], [2**0.5, 1, 2**0.5]])


@dataclass(frozen=True)
class Task:
    """Drive from `start` until the camera sees what it would see at `goal`.

    Attributes:
        start, goal: poses (m, m, rad).
        path_m: length of the shortest way that leaves PASSAGE_M beside the robot's footprint.
    """

    start: Pose
    goal: Pose
    path_m: float


def sample_tasks(
    apartment: Apartment, profile: RobotProfile, suite: Suite, count: int, seed: int
) -> list[Task]:
    """Draw `count` tasks; the same arguments give the same tasks everywhere.

    No task starts solved, see `unsolved`. Suites: `near`, a way of 0.7 to 2 m; `room`, in the same
    room 2 to 4 m apart as the crow flies and turned by over 45 degrees; `house`, in another room.

    Raises:
        ValueError: the suite is unknown, or the apartment has no such tasks.
    """
    if suite not in SUITES:
        raise ValueError(f"suite is {suite!r}; choose one of {', '.join(SUITES)}")
    plan = _Plan(apartment, profile)
    rng = np.random.default_rng([53, SUITES.index(suite), apartment.seed, seed])
    tasks: list[Task] = []
    for _ in range(count * _TRIES):
        if len(tasks) == count:
            return tasks
        start = plan.draw_start(rng)
        task = _draw_task(plan, suite, start, rng)
        if task is not None:
            tasks.append(task)
    if len(tasks) == count:
        return tasks
    raise ValueError(f"apartment {apartment.seed} has no tasks of the suite {suite!r}")


def demo_task(apartment: Apartment, profile: RobotProfile, seed: int) -> tuple[Pose, list[Pose]]:
    """A start and three goals to visit in turn, each 0.7 to 4 m from the one before.

    At least one goal cannot be seen from the start.

    Raises:
        ValueError: the apartment has no such tour.
    """
    plan = _Plan(apartment, profile)
    rng = np.random.default_rng([59, apartment.seed, seed])
    for _ in range(_TRIES):
        start = plan.draw_start(rng)
        stations = [start]
        for _ in range(_DEMO_GOALS):
            task = plan.draw_goal(stations[-1], _DEMO_RANGE_M, rng, _far_enough(stations[-1]))
            if task is None:
                break
            stations.append(task.goal)
        goals = stations[1:]
        hidden = [not line_of_sight(plan.occupied, start, goal) for goal in goals]
        if len(goals) == _DEMO_GOALS and any(hidden):
            return start, goals
    raise ValueError(f"apartment {apartment.seed} has no tour with a goal out of sight")


class Naming:
    """Which of the poses that a robot comes by are worth a name.

    They lie in other rooms than the start, spread over those rooms, 1.5 m apart, in no doorway, and
    each could be a goal of the suite `house`.

    Attributes:
        given: poses that have a name.
    """

    def __init__(
        self, apartment: Apartment, profile: RobotProfile, start: Pose, count: int
    ) -> None:
        """`count`: how many names there are to give.

        Raises:
            ValueError: the apartment has no other room.
        """
        self._plan, self._count = _Plan(apartment, profile), count
        self._home = apartment.room_of(start[0], start[1])
        others = len(apartment.rooms) - 1
        if not others:
            raise ValueError(f"apartment {apartment.seed} has no room but the start's")
        self._in_a_room = math.ceil(count / others)
        self.given: list[Pose] = []

    @property
    def complete(self) -> bool:
        """Whether all names are given."""
        return len(self.given) >= self._count

    def wants(self, pose: Pose) -> bool:
        """Whether this pose is worth one of the names that are left."""
        plan, (x, y, _) = self._plan, pose
        rooms = [plan.apartment.room_of(a, b) for a, b, _ in self.given]
        room = plan.apartment.room_of(x, y)
        return (
            not self.complete
            and room != self._home
            and rooms.count(room) < self._in_a_room
            and all(pose_error(pose, other)[0] >= _NAMES_APART_M for other in self.given)
            and all(math.hypot(x - d.x, y - d.y) > _DOORWAY_M for d in plan.apartment.doors)
            and plan.is_goal(pose)
        )


def put_down(apartment: Apartment, profile: RobotProfile, seed: int, before: Pose) -> Pose:
    """Where a robot that was switched off at a pose is switched on again.

    In the same room, a metre or more away.

    Raises:
        ValueError: the room has no such place.
    """
    plan, rng = _Plan(apartment, profile), np.random.default_rng([67, apartment.seed, seed])
    room = apartment.room_of(before[0], before[1])
    for _ in range(_TRIES):
        pose = plan.draw_start(rng)
        away_m, _turn = pose_error(pose, before)
        if apartment.room_of(pose[0], pose[1]) == room and away_m >= _CARRIED_M:
            return pose
    raise ValueError(f"apartment {apartment.seed} has no room to put the robot down elsewhere")


def pose_error(pose: Pose, goal: Pose) -> tuple[float, float]:
    """Distance (m) and absolute heading difference (deg, 0 to 180) between two poses."""
    distance = math.hypot(pose[0] - goal[0], pose[1] - goal[1])
    turn = (pose[2] - goal[2] + math.pi) % (2 * math.pi) - math.pi
    return distance, abs(math.degrees(turn))


def reached(pose: Pose, goal: Pose) -> bool:
    """Whether a pose counts as the goal: within 0.3 m and 30 degrees."""
    distance, heading = pose_error(pose, goal)
    return distance <= REACHED_M and heading <= REACHED_DEG


def unsolved(start: Pose, goal: Pose) -> bool:
    """Whether a start leaves something to do: 0.7 m away, or 0.3 m and turned by 30 degrees."""
    distance, heading = pose_error(start, goal)
    return distance > _FAR_M or (distance > REACHED_M and heading > REACHED_DEG)


def line_of_sight(
    occupied: np.ndarray, a: tuple[float, ...], b: tuple[float, ...], cell_m: float = CELL_M
) -> bool:
    """Whether nothing stands on the straight line between two points (m; further entries ignored).

    Args:
        occupied: (n, n) bool of `Apartment.occupied`. All furniture is taller than the camera.
        cell_m: the grid's resolution.
    """
    steps = max(2, math.ceil(math.hypot(b[0] - a[0], b[1] - a[1]) / (0.4 * cell_m)))
    share = np.linspace(0.0, 1.0, steps)
    columns = _cells(a[0] + share * (b[0] - a[0]), occupied.shape[1], cell_m)
    rows = _cells(a[1] + share * (b[1] - a[1]), occupied.shape[0], cell_m)
    return not bool(occupied[rows, columns].any())


def path_lengths(
    free: np.ndarray,
    goal: tuple[float, ...],
    limit_m: float = math.inf,
    cell_m: float = CELL_M,
) -> np.ndarray:
    """Length of the shortest 8-connected way from every cell to the goal.

    The solution is Dijkstra's, found by relaxing the whole grid at once (Bellman-Ford), which is
    the faster way in NumPy.

    Args:
        free: (n, n) bool, where the robot's centre may be (`free_space`).
        goal: a point (x m, y m, ...).
        limit_m: ways longer than this need not be found.
        cell_m: the grid's resolution.

    Returns:
        (n, n) float32 in m; inf where there is no way, and perhaps beyond the limit.
    """
    rows, columns = free.shape
    straight, diagonal = np.float32(cell_m), np.float32(cell_m * math.sqrt(2))
    blocked = ~free
    lengths = np.full((rows + 2, columns + 2), np.inf, np.float32)
    inner = lengths[1:-1, 1:-1]
    row, column = int(_cells(goal[1], rows, cell_m)), int(_cells(goal[0], columns, cell_m))
    if blocked[row, column]:
        return inner.copy()
    inner[row, column] = 0.0
    # Each pass settles all ways of one more step, so that no way needs more passes than cells.
    for step in range(1, free.size):
        if step * cell_m > limit_m:
            break
        pairs = np.minimum(lengths[:, :-2], lengths[:, 2:])  # left and right neighbours
        beside = np.minimum(pairs[1:-1], np.minimum(lengths[:-2, 1:-1], lengths[2:, 1:-1]))
        across = np.minimum(pairs[:-2], pairs[2:])
        shorter = np.minimum(beside + straight, across + diagonal)
        shorter[blocked] = np.inf
        improved = shorter < inner
        if not improved.any():
            break
        np.copyto(inner, shorter, where=improved)
    return inner.copy()


def shortest_way(
    lengths: np.ndarray, start: tuple[float, ...], goal: tuple[float, ...], cell_m: float = CELL_M
) -> np.ndarray | None:
    """The shortest way on the grid, its kinks pulled straight where the straight line is free.

    Args:
        lengths: (n, n) of `path_lengths` to the goal, without a limit.
        start, goal: points (x m, y m, ...).

    Returns:
        Corners (N, 2) in m, from start to goal; None where there is no way.
    """
    blocked = ~np.isfinite(lengths)
    row, column = (int(_cells(at, len(lengths), cell_m)) for at in (start[1], start[0]))
    if blocked[row, column]:
        return None
    padded = np.pad(lengths, 1, constant_values=np.inf)
    points = [start[:2]]
    while lengths[row, column] > 0:
        around = padded[row : row + 3, column : column + 3] + _STEPS * cell_m
        down, across = divmod(int(np.argmin(around)), 3)
        row, column = row + down - 1, column + across - 1
        points.append(((column + 0.5) * cell_m, (row + 0.5) * cell_m))
    points.append(goal[:2])
    corners, at = [points[0]], 0
    while at < len(points) - 1:
        beyond = range(len(points) - 1, at, -1)
        free = (k for k in beyond if line_of_sight(blocked, points[at], points[k], cell_m))
        at = next(free, at + 1)
        corners.append(points[at])
    return np.array(corners)


def driving_seconds(way: np.ndarray, start: Pose, goal: Pose, profile: RobotProfile) -> float:
    """What a way (N, 2) m takes at 90% of the robot's speed and 80% of its rate of turn.

    Turning at start, corners and goal included; the whole way forwards or the whole way in reverse,
    whichever is faster.
    """
    legs = np.diff(way, axis=0)
    legs = legs[np.hypot(*legs.T) > 0]
    length_m = float(np.hypot(*legs.T).sum())
    course = np.arctan2(legs[:, 1], legs[:, 0])
    limits, seconds = profile.limits, []
    for speed, flip in ((limits.linear_max_mps, 0.0), (-limits.linear_min_mps, math.pi)):
        turns = np.diff(np.concatenate([[start[2]], course + flip, [goal[2]]]))
        turned = np.abs((turns + math.pi) % (2 * math.pi) - math.pi).sum()
        drive_s = length_m / (0.9 * speed) if speed else math.inf
        seconds.append(drive_s + float(turned) / (0.8 * limits.angular_max_radps))
    return min(seconds)


def draw_poses(apartment: Apartment, profile: RobotProfile, count: int, seed: int) -> list[Pose]:
    """Places to put the robot down, with clearance, uniform over the floor."""
    plan, rng = _Plan(apartment, profile), np.random.default_rng([61, apartment.seed, seed])
    return [plan.draw_start(rng) for _ in range(count)]


class _Plan:
    """The floor plan as the sampler needs it."""

    def __init__(self, apartment: Apartment, profile: RobotProfile) -> None:
        self.apartment = apartment
        self.occupied = apartment.occupied(CELL_M)
        self._free = free_space(self.occupied, profile.footprint_radius_m + PASSAGE_M, CELL_M)
        # One cell more: the grid rounds outlines, and poses lie anywhere within their cell.
        margin = profile.footprint_radius_m + CLEARANCE_M + CELL_M
        self._standable = free_space(self.occupied, margin, CELL_M)
        self._stands = np.argwhere(self._standable)
        self._view_m = VIEW_M + max(0.0, profile.camera.x_m)
        if not len(self._stands):
            raise ValueError(f"apartment {apartment.seed} has no room for {profile.name}")

    def draw_start(self, rng: np.random.Generator) -> Pose:
        """A pose with clearance, uniform over the floor."""
        return _pose_in(self._stands[int(rng.integers(len(self._stands)))], rng)

    def is_goal(self, pose: Pose) -> bool:
        """Whether a goal may lie here: with clearance, and more in view than plaster."""
        rows, columns = self._standable.shape
        cell = int(_cells(pose[1], rows, CELL_M)), int(_cells(pose[0], columns, CELL_M))
        return bool(self._standable[cell]) and self._sees(pose)

    def draw_goal(
        self,
        start: Pose,
        range_m: tuple[float, float],
        rng: np.random.Generator,
        wanted: Callable[[Pose], bool],
    ) -> Task | None:
        """A wanted goal, the length of its way uniform over the range; None if none is found."""
        low, high = range_m
        lengths = path_lengths(self._free, start, high + 0.3)
        lengths[~self._standable] = np.inf
        high = min(high, float(np.max(lengths, where=np.isfinite(lengths), initial=0.0)))
        for _ in range(30 if high > low else 0):
            aim = rng.uniform(low, high)
            near = np.argwhere(np.abs(lengths - aim) < CELL_M)
            if not len(near):
                continue
            cell = near[int(rng.integers(len(near)))]
            goal, path_m = _pose_in(cell, rng), float(lengths[tuple(cell)])
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


def _draw_task(plan: _Plan, suite: Suite, start: Pose, rng: np.random.Generator) -> Task | None:
    room = plan.apartment.room_of(start[0], start[1])

    def in_room(goal: Pose) -> bool:
        distance, turn = pose_error(start, goal)
        at_home = plan.apartment.room_of(goal[0], goal[1]) == room
        return at_home and 2.0 <= distance <= 4.0 and turn > 45.0

    def elsewhere(goal: Pose) -> bool:
        return plan.apartment.room_of(goal[0], goal[1]) != room

    if suite == "near":
        return plan.draw_goal(start, (0.7, 2.0), rng, lambda goal: True)
    if suite == "room":
        return plan.draw_goal(start, (2.0, 6.0), rng, in_room)
    return plan.draw_goal(start, (0.7, math.inf), rng, elsewhere)


def _far_enough(start: Pose) -> Callable[[Pose], bool]:
    return lambda goal: pose_error(start, goal)[0] >= _DEMO_RANGE_M[0]


def _pose_in(cell: np.ndarray, rng: np.random.Generator) -> Pose:
    y, x = (cell + rng.uniform(0.0, 1.0, 2)) * CELL_M
    return float(x), float(y), float(rng.uniform(-math.pi, math.pi))


def _cells(at_m: float | np.ndarray, count: int, cell_m: float) -> np.ndarray:
    return np.clip(np.floor(np.asarray(at_m) / cell_m).astype(int), 0, count - 1)
