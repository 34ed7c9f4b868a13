"""Driving through an unknown home until nothing new is in reach, then back to the start.

The explorer is a state machine. From `LookAround` it goes to `Choose`, which picks a viewpoint (see
`frontiers`) and starts `DriveToFrontier`, which ends in `LookAround` again. Without a viewpoint, or
when the time is nearly up, `Choose` starts `ReturnHome`, which ends in `Ended`; where no path leads
out, `WaitForExit`. A bump, or a path that cannot be driven, leads to `Recover`, and from there to
`Choose`. All it needs is scan, bumper and wheel odometry; no model of the home.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import cv2
import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.control.recovery import (
    ADVANCE_M,
    BACK_OFF_M,
    OpenHeadings,
    manoeuvre,
    remaining,
)
from foresight.control.safety import Plan
from foresight.exploration.frontiers import (
    MIN_VIEW_GAIN_M2,
    ViewpointSearch,
    same_target,
    travel_s,
)
from foresight.exploration.surroundings import Surroundings
from foresight.exploration.traversability import RAY_RAD, RAYS, SIGHT_M, TERRAIN_M
from foresight.geometry import wrap
from foresight.planning.path_following import follow, turn

HOME_M = 0.3  # the robot is back when it is so near to its start by its own map
_HOME_TARGET_M = 0.1
_ARRIVED_M = 0.2
_MIN_GAIN_M2 = 0.25  # less is not worth a drive ...
_THOROUGH_GAIN_M2 = 0.1  # ... while there is more elsewhere, and at all
_FACING_RAD = 0.15
_STARE_S = 0.7  # what stays unseen although the camera faces it so long cannot be seen
_LOOK_S = 20.0
_REVIEW_S = 0.5  # how often a drive's purpose and path are looked at again
_REPLAN_S = 4.0
_PAUSE_S = 0.25  # planning is expensive: without a path, not at every update
_STUCK_S = 5.0  # no nearer for this long: the path cannot be driven ...
_STUCK_BESIDES_TURNING_S = 1.5  # ... but so long besides a half turn, which brings no nearer
_NEARER_M = 0.1
_BLOCKED_AFTER = 5  # paths in a row that could not be driven
_TURN_AWAY_RAD = 0.42  # from what was bumped into
_MOVED_M = 0.5  # failures farther apart than this are not in a row
_CELL_M2 = TERRAIN_M**2
_ROOM_M2 = 0.3  # with less floor in reach the robot is enclosed
_WAIT_S = 10.0  # so long it waits for an exit to open
_HOME_RESERVE_S = 4.0
_CORNER_POINTS = 5  # of a path: turns between stretches so long are no jags of the grid
_MOST_NOVEL = 10.0  # more says no more
_NEWS_S = 10.0  # how long the reason tells of a new map
_MARGIN_M = 0.15  # paths keep so far inside of the radius


class ExplorationStatus(Enum):
    """Where an exploration stands; DONE and BLOCKED are final."""

    EXPLORING = "exploring"
    RETURNING = "returning"
    DONE = "done"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class ExplorationStep:
    """What to do now.

    actions (H, 2) m/s, rad/s, the first one to start at the update's stamp, zeros once it is over;
    covered_m2: floor that the camera has seen; distance_m from the start, by the own map; reason:
    one sentence; maps: how many were begun, 1 unless the robot was carried elsewhere.
    """

    status: ExplorationStatus
    actions: np.ndarray
    covered_m2: float
    distance_m: float
    reason: str
    maps: int


def check_bounds(time_limit_s: float, radius_m: float) -> None:
    """Whether an exploration can be bounded so.

    Raises:
        ValueError: a number is not finite or out of range.
    """
    if not (math.isfinite(time_limit_s) and time_limit_s > 0):
        raise ValueError(f"time_limit_s is {time_limit_s}; give a number greater than 0")
    if not (math.isfinite(radius_m) and radius_m >= 0):
        raise ValueError(f"radius_m is {radius_m}; give 0 (no bound) or a number of metres")


# ----- modes: times in s since the first update, points in m in the map's frame -----------------


@dataclass
class LookAround:
    """Turn to whatever is still unseen from here, where the robot drove to see `target` (2,)."""

    since_s: float
    target: np.ndarray
    facing_since_s: float | None = None


@dataclass(frozen=True)
class Choose:
    """Stand still until a path has been found."""


@dataclass(frozen=True)
class WaitForExit:
    """Enclosed: no path leads out of here. Stand still until one opens."""

    since_s: float


@dataclass
class _FollowPath:
    """Along a path (n, 2). `nearest_m` was left of it at best, reached at `nearest_s`."""

    path: np.ndarray
    nearest_m: float
    nearest_s: float

    @property
    def target(self) -> np.ndarray:
        return self.path[-1]


@dataclass
class DriveToFrontier(_FollowPath):
    """Along a path to a viewpoint from which `gain_m2` were to be gained when it was chosen."""

    gain_m2: float


@dataclass
class ReturnHome(_FollowPath):
    """Along a path to the start, or to as near to it as a path leads."""


@dataclass(frozen=True)
class Recover:
    """Execute a recovery manoeuvre to its end."""

    manoeuvre: Plan


@dataclass(frozen=True)
class Ended:
    """Stay at rest, for good."""


Drive = DriveToFrontier | ReturnHome
Mode = LookAround | Choose | WaitForExit | Drive | Recover | Ended


@dataclass
class _Failures:
    """Paths in a row that could not be driven, the first one given up at `at` (2,) m."""

    count: int = 0
    at: np.ndarray = field(default_factory=lambda: np.zeros(2))


class Explorer:
    """Explores once. Times are counted from the first update; the clock may be set back."""

    def __init__(
        self,
        profile: RobotProfile,
        angles: np.ndarray,
        time_limit_s: float,
        radius_m: float = 0.0,
        action_s: float = 0.5,
        horizon: int = 8,
    ) -> None:
        """Begin where the first update finds the robot.

        Args:
            profile: footprint, limits, the camera's field of view.
            angles: (beams,) rad of the scan's beams, counter-clockwise from straight ahead.
            time_limit_s: after this it is over; the robot is back before, if it can.
            radius_m: how far from the start it may go; 0: no bound.
            action_s, horizon: length and number of the actions of a step.

        Raises:
            ValueError: a number is not finite or out of range.
        """
        check_bounds(time_limit_s, radius_m)
        if not (0 < action_s <= 5.0 and horizon >= 1 and np.isfinite(angles).all()):
            raise ValueError("actions need a length of 0 to 5 s and a count, beams finite angles")
        self._profile, self._angles = profile, np.asarray(angles, float)
        self._directions = np.stack([np.cos(self._angles), np.sin(self._angles)], 1)
        self._limit_s, self._radius_m = time_limit_s, radius_m
        self._action_s, self._horizon = action_s, horizon
        limits = profile.limits
        self._low = np.array([limits.linear_min_mps, -limits.angular_max_radps])
        self._high = np.array([limits.linear_max_mps, limits.angular_max_radps])
        half_turn_s = travel_s(limits, 0.0, math.pi)
        self._stuck_s = max(_STUCK_S, half_turn_s + _STUCK_BESIDES_TURNING_S)
        self._stamp_s: float | None = None
        self._now_s = 0.0  # since the first update
        self._maps = 0
        self._reason = "looking around"
        self._pressed = False
        self._begin_map()

    def update(
        self,
        stamp_s: float,
        ranges: np.ndarray,
        odometry: np.ndarray,
        twist: np.ndarray,
        bumped: bool,
        novelty: float = 0.0,
    ) -> ExplorationStep:
        """What to do from `stamp_s` on; call it about ten times a second.

        Args:
            stamp_s: when the scan was taken, s.
            ranges: (beams,) m; +inf nothing seen; NaN, -inf, zero and below no reading.
            odometry: (3,) m, m, rad at that time, in any fixed frame; it may drift.
            twist: (2,) m/s, rad/s as measured.
            bumped: whether the bumper is pressed.
            novelty: surprise of the world model, 1 the upper end of what is usual; 0: none known.

        Raises:
            ValueError: the scan has another number of beams, odometry or twist another shape.
        """
        ranges, odometry = np.asarray(ranges, float), np.asarray(odometry, float)
        twist = np.asarray(twist, float)
        if ranges.shape != self._angles.shape or odometry.shape != (3,) or twist.shape != (2,):
            raise ValueError(
                f"expected {len(self._angles)} ranges, a pose of 3 and a twist of 2 numbers; "
                f"got {ranges.shape}, {odometry.shape}, {twist.shape}"
            )
        self._pass_time(stamp_s)
        if isinstance(self._mode, Ended):
            return self._step(self._rest)
        if not np.isfinite(odometry).all():
            self._reason = "odometry is not a number: waiting at rest"
            return self._step(self._rest)
        ranges = np.where(ranges > 0, ranges, np.nan)
        ranges[ranges > self._profile.scan.range_max_m] = np.inf
        novelty = min(max(novelty, 0.0), _MOST_NOVEL) if math.isfinite(novelty) else 0.0
        self._sense(ranges, odometry, bumped, novelty)
        self._heed_events(ranges, float(np.nan_to_num(twist[0])), bumped)
        return self._step(self._act(ranges))

    @property
    def _rest(self) -> np.ndarray:
        return np.zeros((self._horizon, 2))

    # ----- senses ---------------------------------------------------------------------------

    def _pass_time(self, stamp_s: float) -> None:
        """Time only runs forward; a clock that is set back costs nothing."""
        if self._stamp_s is not None and math.isfinite(stamp_s):
            self._now_s += max(0.0, stamp_s - self._stamp_s)
        if math.isfinite(stamp_s):
            self._stamp_s = stamp_s

    def _begin_map(self) -> None:
        """Forget all that was known; the robot's place becomes the start."""
        self._around = Surroundings(self._profile, self._angles, self._radius_m)
        self._viewpoints = ViewpointSearch(self._profile.limits)
        self._status = ExplorationStatus.EXPLORING
        self._mode: Mode = LookAround(self._now_s, np.zeros(2))
        self._maps += 1
        self._begun_s = self._now_s
        self._thorough = False  # the second round, for smaller gains
        self._failures = _Failures()
        self._open_headings = OpenHeadings(self._profile.footprint_radius_m)
        self._reviewed_s, self._planned_s = self._now_s, -math.inf
        # How long the path home took when it was last estimated, and when that was.
        self._home_s = travel_s(self._profile.limits, 0.0, math.pi)
        self._home_at_s = self._now_s

    def _sense(
        self, ranges: np.ndarray, odometry: np.ndarray, bumped: bool, novelty: float
    ) -> None:
        if self._around.lost:
            self._begin_map()
        self._around.update(self._now_s, ranges, odometry, bumped, novelty)

    # ----- modes ----------------------------------------------------------------------------

    def _heed_events(self, ranges: np.ndarray, speed_mps: float, bumped: bool) -> None:
        """What ends any mode: the time limit, a bump, the time to return."""
        if self._now_s >= self._limit_s:
            away_m = self._around.origin_m
            self._mode = self._finish(f"the time was up {away_m:.2f} m from the start")
        elif bumped and not self._pressed:
            self._mode = self._back_off(ranges, speed_mps)
        self._pressed = bumped
        if not isinstance(self._mode, Recover | Ended):
            self._turn_back_in_time()

    def _act(self, ranges: np.ndarray) -> np.ndarray:
        """The next actions (H, 2): those of the present mode, or of the one that it leads to."""
        while True:
            match self._mode:
                case Recover() as mode:
                    actions = self._recover(mode)
                case LookAround() as mode:
                    actions = self._look_around(mode)
                case Choose() | WaitForExit() as mode:
                    actions = self._choose(mode)
                case DriveToFrontier() | ReturnHome() as mode:
                    actions = self._follow_path(mode, ranges)
                case Ended():
                    actions = self._rest
            if actions is not None:
                return actions

    def _recover(self, mode: Recover) -> np.ndarray | None:
        actions = remaining(mode.manoeuvre, self._now_s, self._horizon)
        if actions.any():
            return actions
        self._mode = Choose()
        self._turn_back_in_time()
        return None

    def _look_around(self, mode: LookAround) -> np.ndarray | None:
        """Turn to where most is unseen from here, until there is no more."""
        around = self._around
        here = around.terrain.cells(around.position[None])
        views = around.terrain.visible_gain(here, *around.gain(self._thorough))[0]
        bearing, gain_m2 = self._best_view(views)
        facing = abs(bearing) < _FACING_RAD
        if not facing or mode.facing_since_s is None:
            mode.facing_since_s = self._now_s
        stared = facing and self._now_s - mode.facing_since_s > _STARE_S
        if stared or gain_m2 < MIN_VIEW_GAIN_M2 or self._now_s - mode.since_s > _LOOK_S:
            around.give_up(np.stack([around.position, mode.target]), self._thorough)
            self._mode = Choose()
            return None
        self._reason = f"looking around: {gain_m2:.1f} m2 to be seen from here"
        return turn(bearing, self._profile.limits, self._action_s, self._horizon)

    def _best_view(self, views: np.ndarray) -> tuple[float, float]:
        """Bearing (rad) of the camera view that shows most, and what it shows (m2).

        `views` (RAYS,) m2 by direction. Of views about as good the one that takes the least
        turning is best.
        """
        half = int(0.4 * math.radians(self._profile.camera.hfov_deg) / (2 * math.pi) * RAYS)
        sums = np.sum([np.roll(views, k) for k in range(-half, half + 1)], 0)
        bearings = wrap(RAY_RAD - self._around.pose[2])
        best = int(np.argmax(sums - 0.15 * np.abs(bearings) * (sums > MIN_VIEW_GAIN_M2)))
        return float(bearings[best]), float(sums[best])

    def _choose(self, mode: Choose | WaitForExit) -> np.ndarray | None:
        if self._now_s - self._planned_s < _PAUSE_S:
            return self._rest
        self._mode = self._plan(mode)
        return None

    def _follow_path(self, mode: Drive, ranges: np.ndarray) -> np.ndarray | None:
        """Along the path; give it up when it has lost its purpose, or cannot be driven."""
        if self._must_replan(mode):
            self._mode = self._plan(mode)
            return None
        position = self._around.position
        away_m = float(np.hypot(*(mode.target - position)))
        if isinstance(mode, ReturnHome) and away_m < _HOME_TARGET_M:
            self._mode = self._arrive_home()
            return None
        if isinstance(mode, DriveToFrontier) and away_m < _ARRIVED_M:
            self._mode = LookAround(self._now_s, mode.target)
            return self._rest
        left_m = _left_m(mode.path, position)
        if left_m < mode.nearest_m - _NEARER_M:
            mode.nearest_m, mode.nearest_s = left_m, self._now_s
        if self._now_s - mode.nearest_s > self._stuck_s:
            self._mode = self._give_up_path(mode, ranges)
            return None
        pose, limits = self._around.pose, self._profile.limits
        return self._within_radius(follow(mode.path, pose, limits, self._action_s, self._horizon))

    def _within_radius(self, actions: np.ndarray) -> np.ndarray:
        """Nothing that leads out: the path keeps inside, but its pursuit cuts corners."""
        if not self._radius_m or self._around.origin_m < self._radius_m - 0.05:
            return actions
        heading = self._around.pose[2]
        if self._around.position @ (math.cos(heading), math.sin(heading)) > 0:
            actions[:, 0] = 0.0
        return actions

    # ----- returning and ending -------------------------------------------------------------

    def _turn_back_in_time(self) -> None:
        """Return when the path home takes the time that is left."""
        if self._status is not ExplorationStatus.EXPLORING:
            return
        mode = self._mode
        # looking around leads no further away
        moved_s = mode.since_s if isinstance(mode, LookAround) else self._now_s
        left_s = self._limit_s - self._now_s
        if left_s < self._home_s + (moved_s - self._home_at_s) + _HOME_RESERVE_S:
            self._return(f"the time is nearly up ({left_s:.0f} s left)")
            self._mode = Choose()

    def _return(self, why: str) -> None:
        self._status, self._why_home = ExplorationStatus.RETURNING, why

    def _arrive_home(self) -> Ended:
        """At the end of the path back: at the start, or as near to it as a path leads."""
        away_m = self._around.origin_m
        if away_m < HOME_M:
            return self._finish(f"back at the start, {away_m:.2f} m from it")
        return self._block(f"no known path leads back to the start, {away_m:.1f} m away")

    def _finish(self, reason: str) -> Ended:
        self._status = ExplorationStatus.DONE
        self._reason = f"{reason}; {self._around.covered_m2:.1f} m2 of floor seen"
        return Ended()

    def _block(self, reason: str) -> Ended:
        self._status, self._reason = ExplorationStatus.BLOCKED, reason
        return Ended()

    # ----- choosing where to go -------------------------------------------------------------

    @property
    def _least_gain_m2(self) -> float:
        return _THOROUGH_GAIN_M2 if self._thorough else _MIN_GAIN_M2

    def _must_replan(self, mode: Drive) -> bool:
        """Whether the drive has lost its purpose or its path, or it is time to think again."""
        if self._now_s - self._planned_s > _REPLAN_S:
            return True
        if self._now_s - self._reviewed_s < _REVIEW_S:
            return False
        self._reviewed_s = self._now_s
        terrain, path = self._around.terrain, mode.path
        cells = terrain.cells(path)
        open_floor = cv2.dilate(terrain.passable.astype(np.uint8), np.ones((3, 3), np.uint8))
        ahead = int(np.argmin(np.hypot(*(path - self._around.position).T))) + 3
        if not open_floor[cells[ahead:, 0], cells[ahead:, 1]].all():
            return True
        if isinstance(mode, ReturnHome):
            return False
        left_m2 = float(terrain.visible_gain(cells[-1:], *self._around.gain(self._thorough)).sum())
        return left_m2 < max(0.5 * mode.gain_m2, self._least_gain_m2)

    def _plan(self, present: Choose | WaitForExit | Drive) -> Mode:
        """The mode after the present one: drive to a viewpoint; without one, return home; wait or
        end where neither is possible."""
        self._planned_s = self._reviewed_s = self._now_s
        around = self._around
        costs = around.terrain.path_costs(around.position, around.within_radius(_MARGIN_M))
        self._estimate_return(costs)
        if self._status is ExplorationStatus.EXPLORING:
            room_m2 = float((np.isfinite(costs) & around.terrain.passable).sum()) * _CELL_M2
            if room_m2 <= _ROOM_M2:
                return self._wait_for_exit(present, room_m2)
            drive = self._plan_drive(costs, present)
            if drive is not None:
                return drive
            self._return("nothing new is in reach")
            present = Choose()
        return self._plan_return(costs, present)

    def _estimate_return(self, costs: np.ndarray) -> None:
        """Note how long the path home takes from here, if one is known: to face it, to drive it,
        and to turn at its corners."""
        terrain = self._around.terrain
        home = terrain.cells(np.zeros(2))
        if not np.isfinite(costs[tuple(home)]):
            return
        legs = np.diff(terrain.path_to(home, costs)[::_CORNER_POINTS], axis=0)
        turns = np.abs(wrap(np.diff(np.arctan2(legs[:, 1], legs[:, 0]))))
        turns_rad = math.pi + float(turns.sum())
        self._home_s = travel_s(self._profile.limits, float(costs[tuple(home)]), turns_rad)
        self._home_at_s = self._now_s

    def _wait_for_exit(self, present: Mode, room_m2: float) -> WaitForExit | Ended:
        since_s = present.since_s if isinstance(present, WaitForExit) else self._now_s
        reason = f"no path leads out of here: {room_m2:.1f} m2 of floor in reach"
        if self._now_s - since_s > _WAIT_S:
            return self._block(reason)
        self._reason = f"{reason}; waiting"
        return WaitForExit(since_s)

    def _plan_drive(self, costs: np.ndarray, present: Mode) -> DriveToFrontier | None:
        """Drive to the best viewpoint; without one worth it, begin the thorough round."""
        around = self._around
        target = present.target if isinstance(present, DriveToFrontier) else None
        while True:
            best = self._viewpoints.best(
                around.terrain,
                costs,
                around.gain(self._thorough),
                self._least_gain_m2,
                self._now_s,
                target,
            )
            if best is not None:
                break
            if self._thorough:
                return None
            self._thorough = True
        left_m = _left_m(best.path, around.position)
        self._reason = f"driving {left_m:.1f} m to where {best.gain_m2:.1f} m2 would be new"
        return DriveToFrontier(best.path, *self._progress(best.path, present), best.gain_m2)

    def _plan_return(self, costs: np.ndarray, present: Mode) -> ReturnHome | Ended:
        around, terrain = self._around, self._around.terrain
        if around.origin_m < _HOME_TARGET_M:
            return self._finish(f"{self._why_home}, and the start is {around.origin_m:.2f} m away")
        home = terrain.cells(np.zeros(2))
        if not np.isfinite(costs[tuple(home)]):  # tighter than it likes, or out of the radius
            narrow = around.terrain_for(self._profile.footprint_radius_m - 0.06)
            loose = narrow.path_costs(around.position)
            costs = loose if np.isfinite(loose[tuple(home)]) else costs
        if np.isfinite(costs[tuple(home)]):
            path = np.concatenate([terrain.path_to(home, costs), np.zeros((1, 2))])
        else:  # as near as it can
            cells = np.argwhere(np.isfinite(costs))
            gaps = np.hypot(*terrain.points(cells).T)
            path = terrain.path_to(cells[np.argmin(gaps)], costs)
        left_m = _left_m(path, around.position)
        self._reason = f"{self._why_home}: {left_m:.1f} m back to the start"
        return ReturnHome(path, *self._progress(path, present))

    def _progress(self, path: np.ndarray, present: Mode) -> tuple[float, float]:
        """What is left of a new path at best (m), and since when (s): a new path to the same target
        is no progress."""
        left_m = _left_m(path, self._around.position)
        if isinstance(present, Drive) and same_target(path[-1], present.target):
            return min(present.nearest_m, left_m + _NEARER_M), present.nearest_s
        return left_m, self._now_s

    # ----- recovering -----------------------------------------------------------------------

    def _back_off(self, ranges: np.ndarray, speed_mps: float) -> Recover:
        """Away from what was bumped into; what the scan does not show is remembered."""
        reversing = speed_mps < -0.02
        self._around.feel(self._now_s, ranges, reversing)
        self._reason = "backing off after a bump"
        turn_rad = math.copysign(_TURN_AWAY_RAD, self._open_side(ranges))
        return self._recovery(
            back_off_m=-BACK_OFF_M if reversing else BACK_OFF_M, turn_rad=turn_rad
        )

    def _open_side(self, ranges: np.ndarray) -> float:
        """Positive where there is more room to the left, on average, than to the right."""
        sideways = np.sin(self._angles)
        left, right = (
            float(np.nanmean(np.minimum(part, SIGHT_M))) if np.isfinite(part).any() else 0.0
            for part in (ranges[sideways > 0.3], ranges[sideways < -0.3])
        )
        return left - right

    def _give_up_path(self, mode: Drive, ranges: np.ndarray) -> Recover | Ended:
        """Leave a path that cannot be driven, and its target for a while.

        Out of a gap that is too tight to go on, open floor leads.
        """
        if isinstance(mode, DriveToFrontier):
            self._viewpoints.exclude(mode.target, self._now_s)
        position, away_m = self._around.position, self._around.origin_m
        if np.hypot(*(position - self._failures.at)) > _MOVED_M:
            self._failures = _Failures(0, position.copy())
            self._open_headings.forget()
        self._failures.count += 1
        if self._failures.count >= _BLOCKED_AFTER:
            if away_m < HOME_M and isinstance(mode, ReturnHome):
                return self._finish(f"back at the start, {away_m:.2f} m from it")
            return self._block(f"{self._failures.count} paths in a row could not be driven")
        self._reason = f"no nearer for {self._stuck_s:.0f} s: leaving this path"
        echo = np.isfinite(ranges)
        points = self._directions[echo] * ranges[echo, None]
        turn_rad = self._open_headings.choose(points, float(self._around.pose[2]))
        return self._recovery(turn_rad=turn_rad, advance_m=ADVANCE_M)

    def _recovery(self, **legs: float) -> Recover:
        return Recover(manoeuvre(self._now_s, self._action_s, self._low, self._high, **legs))

    # ----- telling --------------------------------------------------------------------------

    def _step(self, actions: np.ndarray) -> ExplorationStep:
        reason = self._reason
        if self._maps > 1 and self._now_s - self._begun_s < _NEWS_S:
            reason = f"carried elsewhere, began a new map here: {reason}"
        return ExplorationStep(
            self._status,
            np.clip(actions, self._low, self._high),
            self._around.covered_m2,
            self._around.origin_m,
            reason,
            self._maps,
        )


def _left_m(path: np.ndarray, position: np.ndarray) -> float:
    """What is left of a path (n, 2) m for a robot near it."""
    k = int(np.argmin(np.hypot(*(path - position).T)))
    rest = path[k:]
    return float(np.hypot(*np.diff(rest, axis=0).T).sum() + np.hypot(*(path[k] - position)))
