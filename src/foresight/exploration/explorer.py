"""Driving through an unknown home until nothing new is in reach, then back to the start.

Frontier-based (Yamauchi, "A frontier-based approach for autonomous exploration", CIRA 1997): the
robot drives to where most would be new for the time that it takes, looks around there until its
camera has seen what there is, and goes on. New are a frontier, floor that the camera has not seen,
floor that the robot has not been near to, and what surprised the world model. All it needs is
scan, bumper and wheel odometry; no model of the home.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.control.safety import free_distance
from foresight.exploration.coverage import Coverage
from foresight.exploration.occupancy_grid import OccupancyGrid
from foresight.exploration.traversability import (
    NEAR_M,
    RAY_RAD,
    RAYS,
    SIGHT_M,
    TERRAIN_M,
    TraversabilityMap,
)
from foresight.geometry import wrap
from foresight.planning.path_following import follow, turn

HOME_M = 0.3  # the robot is back when it is so near to its start by its own map
_HOME_AIM_M = 0.1
_THERE_M = 0.2
_SILENT_M = 3.0  # free floor that a beam without an echo shows
_MIN_GAIN_M2 = 0.25  # less is not worth a drive ...
_THOROUGH_GAIN_M2 = 0.1  # ... while there is more elsewhere, and at all
_MIN_LOOK_M2 = 0.1  # less is not worth a turn
_FACING_RAD = 0.15
_STARE_S = 0.7  # what stays unseen although the camera faces it so long cannot be seen
_LOOK_S = 20.0
_REVIEW_S = 0.5  # how often a drive's purpose and way are looked at again
_REPLAN_S = 4.0
_PAUSE_S = 0.25  # planning is dear: without a way, not at every update
_LOYALTY = 1.4  # how much better another target must be to leave the present one
_OVERHEAD_S = 3.0  # of every drive, for choosing between near and far
_PACE = 0.7  # share of the highest speed that a drive makes on average
_CANDIDATES = 250
_STUCK_S = 5.0  # no nearer for this long: the way cannot be driven
_NEARER_M = 0.1
_BARRED_S, _BARRED_M = 60.0, 0.5  # targets about one that could not be reached
_FOR_GOOD_S = 1e9  # a bar that ends later never ends
_BUMP_S = 120.0  # how long something that only the bumper felt is driven around
_BLOCKED_AFTER = 5  # ways in a row that could not be driven
_MOVED_M = 0.5  # having come so far makes it no row any more
_CELL_M2 = TERRAIN_M**2
_ROOM_M2 = 0.3  # less floor in reach is no way out
_ESCAPES_RAD = np.linspace(0.0, math.pi, 25)
_ESCAPE_ROOM_M = 0.6  # more room than this is no better
_SIDE_M = 0.01  # beside the footprint, as the safety controller counts it
_WAIT_S = 10.0  # so long it waits for a way out to open
_HOME_RESERVE_S = 4.0
_CORNER_POINTS = 5  # of a way: turns between stretches so long are no jags of the grid
_MOST_NOVEL = 10.0  # more says no more
_NEWS_S = 10.0  # how long the reason tells of a new map


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


@dataclass
class _Drive:
    """One drive to a place. `costs_m` as `TraversabilityMap.travel`; `gain_m2` is why."""

    way: np.ndarray
    gain_m2: float
    nearest_m: float
    nearer_s: float

    @property
    def target(self) -> np.ndarray:
        return self.way[-1]


@dataclass(frozen=True)
class _Bar:
    """A target that could not be reached is not tried again before `until_s`."""

    at: np.ndarray
    until_s: float


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
        self._limit_s, self._radius_m = time_limit_s, radius_m
        self._action_s, self._horizon = action_s, horizon
        self._stamp_s: float | None = None
        self._now_s = 0.0  # since the first update
        self._maps = 0
        self._status = ExplorationStatus.EXPLORING
        self._reason = "looking around"
        self._pressed = False
        self._failures, self._failed_at = 0, np.zeros(2)
        self._escapes: list[float] = []  # headings tried in a row, rad in the own map
        self._begin_map(np.zeros(3))
        self._origin: np.ndarray | None = None

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
        self._tick(stamp_s)
        if self._over:
            return self._step(np.zeros((self._horizon, 2)))
        if not np.isfinite(odometry).all():
            self._reason = "odometry is not a number: waiting at rest"
            return self._step(np.zeros((self._horizon, 2)))
        ranges = np.where(ranges > 0, ranges, np.nan)
        ranges[ranges > self._profile.scan.range_max_m] = np.inf
        novelty = min(max(novelty, 0.0), _MOST_NOVEL) if math.isfinite(novelty) else 0.0
        self._sense(ranges, odometry, bumped, novelty)
        if self._now_s >= self._limit_s:
            self._finish(f"the time was up {self._distance_m:.2f} m from the start")
        elif bumped and not self._pressed:
            self._bump(ranges, float(np.nan_to_num(twist[0])))
        self._pressed = bumped
        actions = np.zeros((self._horizon, 2)) if self._over else self._act(ranges)
        return self._step(actions)

    # ----- senses ---------------------------------------------------------------------------

    def _tick(self, stamp_s: float) -> None:
        """Time only runs forward; a clock that is set back costs nothing."""
        if self._stamp_s is not None and math.isfinite(stamp_s):
            self._now_s += max(0.0, stamp_s - self._stamp_s)
        if math.isfinite(stamp_s):
            self._stamp_s = stamp_s

    def _begin_map(self, odometry: np.ndarray) -> None:
        """Forget all that was known; the robot's place becomes the start."""
        self._map = OccupancyGrid(
            self._angles, self._profile.footprint_radius_m, _SILENT_M, careful=True
        )
        self._coverage = Coverage(self._angles, self._profile.camera)
        self._origin = odometry.copy()
        self._maps += 1
        self._begun_s = self._now_s
        self._known = (-1, -1)  # scans and bumps that the terrain rests on
        self._bumps: list[_Bar] = []
        self._bars: list[_Bar] = []
        self._drive: _Drive | None = None
        self._recovery: tuple[float, np.ndarray] | None = None
        self._looking_since_s: float | None = self._now_s
        self._staring_since_s: float | None = None
        self._enclosed_since_s: float | None = None
        self._reviewed_s, self._planned_s = self._now_s, -math.inf
        self._home_s, self._home_at_s = self._turning_s(np.zeros((1, 2))), self._now_s
        self._covered_m2 = 0.0
        self._thorough = False
        self._came_to = np.zeros(2)

    def _sense(
        self, ranges: np.ndarray, odometry: np.ndarray, bumped: bool, novelty: float
    ) -> None:
        if self._origin is None:
            self._origin = odometry.copy()
        if self._map.lost:
            self._begin_map(odometry)
            self._status = ExplorationStatus.EXPLORING
        self._map.update(ranges, _relative(odometry, self._origin), bumped)
        self._coverage.update(self._map.pose, ranges, novelty)
        self._bumps = [bump for bump in self._bumps if bump.until_s > self._now_s]
        known = (self._map.scans_kept, len(self._bumps))
        if known != self._known:
            self._terrain = self._terrain_for(self._profile.footprint_radius_m)
            self._known = known
            self._covered_m2 = float(self._coverage.seen(self._terrain).sum()) * _CELL_M2

    def _terrain_for(self, radius_m: float) -> TraversabilityMap:
        bumps = np.array([bump.at for bump in self._bumps]).reshape(-1, 2)
        return TraversabilityMap.of(self._map.evidence, radius_m, bumps)

    @property
    def _at(self) -> np.ndarray:
        return self._map.pose[:2]

    @property
    def _distance_m(self) -> float:
        return float(np.hypot(*self._at))

    @property
    def _over(self) -> bool:
        return self._status in (ExplorationStatus.DONE, ExplorationStatus.BLOCKED)

    # ----- what to do -----------------------------------------------------------------------

    def _act(self, ranges: np.ndarray) -> np.ndarray:
        """The next actions (H, 2)."""
        if self._recovery is not None:
            rest = self._rest_of_recovery(*self._recovery)
            if rest.any():
                return rest
            self._recovery = None
        if self._status is ExplorationStatus.EXPLORING and self._time_to_return():
            self._return(f"the time is nearly up ({self._limit_s - self._now_s:.0f} s left)")
        if self._looking_since_s is not None:
            actions = self._look()
            if actions is not None:
                return actions
        if self._drive is None and self._now_s - self._planned_s < _PAUSE_S:
            return np.zeros((self._horizon, 2))
        if self._drive is None or self._reconsider(self._drive):
            self._plan()
        if self._drive is None or self._over:
            return np.zeros((self._horizon, 2))
        return self._go_on(self._drive, ranges)

    def _go_on(self, drive: _Drive, ranges: np.ndarray) -> np.ndarray:
        """Along the way; look around at its end, give it up when it cannot be driven."""
        away_m = float(np.hypot(*(drive.target - self._at)))
        returning = self._status is ExplorationStatus.RETURNING
        if returning and away_m < _HOME_AIM_M:
            self._come_home()
            return np.zeros((self._horizon, 2))
        if not returning and away_m < _THERE_M:
            self._drive, self._looking_since_s, self._came_to = None, self._now_s, drive.target
            return np.zeros((self._horizon, 2))
        left_m = _left_m(drive.way, self._at)
        if left_m < drive.nearest_m - _NEARER_M:
            drive.nearest_m, drive.nearer_s = left_m, self._now_s
        if self._now_s - drive.nearer_s > _STUCK_S:
            return self._abandon(drive, ranges)
        return self._within_radius(
            follow(drive.way, self._map.pose, self._profile.limits, self._action_s, self._horizon)
        )

    def _within_radius(self, actions: np.ndarray) -> np.ndarray:
        """Nothing that leads out: the way keeps inside, but a pursuit cuts corners."""
        if not self._radius_m or self._distance_m < self._radius_m - 0.05:
            return actions
        heading = self._map.pose[2]
        if self._at @ (math.cos(heading), math.sin(heading)) > 0:
            actions[:, 0] = 0.0
        return actions

    def _time_to_return(self) -> bool:
        """Whether the way home takes the time that is left."""
        moved_s = self._now_s if self._looking_since_s is None else self._looking_since_s
        since_s = moved_s - self._home_at_s  # looking around leads no further away
        return self._limit_s - self._now_s < self._home_s + since_s + _HOME_RESERVE_S

    def _turning_s(self, way: np.ndarray) -> float:
        """What turning on the spot takes along a way (n, 2) m: to face it, and at its corners."""
        legs = np.diff(way[::_CORNER_POINTS], axis=0)
        turns = np.abs(wrap(np.diff(np.arctan2(legs[:, 1], legs[:, 0]))))
        return (math.pi + float(turns.sum())) / (_PACE * self._profile.limits.angular_max_radps)

    def _return(self, why: str) -> None:
        self._status = ExplorationStatus.RETURNING
        self._why_home = why
        self._drive = self._looking_since_s = None

    def _finish(self, reason: str) -> None:
        self._status = ExplorationStatus.DONE
        self._reason = f"{reason}; {self._covered_m2:.1f} m2 of floor seen"

    def _block(self, reason: str) -> None:
        self._status, self._reason = ExplorationStatus.BLOCKED, reason

    # ----- looking around -------------------------------------------------------------------

    def _look(self) -> np.ndarray | None:
        """Turn to where most is unseen from here; None when there is no more."""
        assert self._looking_since_s is not None
        here = self._terrain.cells(self._map.pose[None, :2])
        gains = self._terrain.outlook(here, *self._worth())[0]
        bearing, gain_m2 = self._best_view(gains)
        facing = abs(bearing) < _FACING_RAD
        if not facing or self._staring_since_s is None:
            self._staring_since_s = self._now_s
        stared = facing and self._now_s - self._staring_since_s > _STARE_S
        if stared or gain_m2 < _MIN_LOOK_M2 or self._now_s - self._looking_since_s > _LOOK_S:
            self._end_look()
            return None
        self._reason = f"looking around: {gain_m2:.1f} m2 to be seen from here"
        return turn(bearing, self._profile.limits, self._action_s, self._horizon)

    def _best_view(self, gains: np.ndarray) -> tuple[float, float]:
        """Bearing (rad) of the view that shows most, and what it shows (m2).

        Of views about as good the one that takes the least turning is best.
        """
        half = int(0.4 * math.radians(self._profile.camera.hfov_deg) / (2 * math.pi) * RAYS)
        sums = np.sum([np.roll(gains, k) for k in range(-half, half + 1)], 0)
        bearings = (RAY_RAD - self._map.pose[2] + math.pi) % (2 * math.pi) - math.pi
        best = int(np.argmax(sums - 0.15 * np.abs(bearings) * (sums > _MIN_LOOK_M2)))
        return float(bearings[best]), float(sums[best])

    def _end_look(self) -> None:
        """What stays unseen from here, and from the target close by, is given up."""
        for cell in self._terrain.cells(np.stack([self._at, self._came_to])):
            view = self._terrain.in_view(cell)
            near = np.zeros(view.shape, np.uint8)
            cv2.circle(near, (int(cell[1]), int(cell[0])), round(NEAR_M / TERRAIN_M), 1, -1)
            self._coverage.give_up(self._terrain, view, near > 0, self._thorough)
        self._looking_since_s = self._staring_since_s = None

    # ----- choosing where to go -------------------------------------------------------------

    @property
    def _worthwhile_m2(self) -> float:
        return _THOROUGH_GAIN_M2 if self._thorough else _MIN_GAIN_M2

    def _worth(self) -> tuple[np.ndarray, np.ndarray]:
        return self._coverage.worth(self._terrain, self._allowed(0.0), self._thorough)

    def _allowed(self, margin_m: float) -> np.ndarray:
        """(h, w) bool: cells within the radius less a margin."""
        shape = self._terrain.solid.shape
        if not self._radius_m:
            return np.ones(shape, bool)
        at = self._terrain.points(np.moveaxis(np.indices(shape), 0, -1))
        return np.hypot(at[..., 0], at[..., 1]) < self._radius_m - margin_m

    def _reconsider(self, drive: _Drive) -> bool:
        """Whether the drive has lost its purpose or its way, or it is time to think again."""
        if self._now_s - self._planned_s > _REPLAN_S:
            return True
        if self._now_s - self._reviewed_s < _REVIEW_S:
            return False
        self._reviewed_s = self._now_s
        cells = self._terrain.cells(drive.way)
        open_way = cv2.dilate(self._terrain.passable.astype(np.uint8), np.ones((3, 3), np.uint8))
        ahead = int(np.argmin(np.hypot(*(drive.way - self._at).T))) + 3
        if not open_way[cells[ahead:, 0], cells[ahead:, 1]].all():
            return True
        if self._status is ExplorationStatus.RETURNING:
            return False
        left_m2 = float(self._terrain.outlook(cells[-1:], *self._worth()).sum())
        return left_m2 < max(0.5 * drive.gain_m2, self._worthwhile_m2)

    def _plan(self) -> None:
        """Choose the way to go; without one, go home, or be blocked."""
        self._planned_s = self._reviewed_s = self._now_s
        terrain = self._terrain
        costs = terrain.travel(self._at, self._allowed(0.15))
        home = terrain.cells(np.zeros(2))
        if np.isfinite(costs[tuple(home)]):
            drive_s = float(costs[tuple(home)]) / (_PACE * self._profile.limits.linear_max_mps)
            self._home_s = drive_s + self._turning_s(terrain.way(costs, home))
            self._home_at_s = self._now_s
        if self._status is ExplorationStatus.EXPLORING:
            if self._enclosed(costs):
                return
            if self._set_out(terrain, costs):
                return
            if not self._thorough:
                self._thorough = True
                if self._set_out(terrain, costs):
                    return
            self._return("nothing new is in reach")
        self._set_out_home(terrain, costs, home)

    def _enclosed(self, costs: np.ndarray) -> bool:
        """Whether there is no way out of here; BLOCKED when it lasts."""
        room_m2 = float((np.isfinite(costs) & self._terrain.passable).sum()) * _CELL_M2
        if room_m2 > _ROOM_M2:
            self._enclosed_since_s = None
            return False
        if self._enclosed_since_s is None:
            self._enclosed_since_s = self._now_s
        self._drive = None
        self._reason = f"no way leads out of here: {room_m2:.1f} m2 of floor in reach; waiting"
        if self._now_s - self._enclosed_since_s > _WAIT_S:
            self._block(f"no way leads out of here: {room_m2:.1f} m2 of floor in reach")
        return True

    def _set_out(self, terrain: TraversabilityMap, costs: np.ndarray) -> bool:
        """Drive to the best place, if there is one."""
        worth, near = self._worth()
        cells = self._candidates(terrain, costs, worth, near)
        for first in range(0, len(cells), _CANDIDATES):
            some = cells[first : first + _CANDIDATES]
            rays = terrain.outlook(some, worth, near)
            score = self._score(terrain, costs, some, rays)
            best = int(np.argmax(score))
            if score[best] > 0.0:
                way, gain_m2 = terrain.way(costs, some[best]), float(rays[best].sum())
                self._start_drive(way, gain_m2)
                left_m = _left_m(way, self._at)
                self._reason = f"driving {left_m:.1f} m to where {gain_m2:.1f} m2 would be new"
                return True
        return False

    def _score(
        self, terrain: TraversabilityMap, costs: np.ndarray, cells: np.ndarray, rays: np.ndarray
    ) -> np.ndarray:
        """What there is to see from cells (n, 2) per second that it takes: (n,); 0: too little."""
        gains, limits = rays.sum(1), self._profile.limits
        seconds = costs[cells[:, 0], cells[:, 1]] / (_PACE * limits.linear_max_mps)
        turns = (rays > _MIN_LOOK_M2 / RAYS).mean(1) * 2 * math.pi
        seconds = seconds + turns / (_PACE * limits.angular_max_radps) + _OVERHEAD_S
        score = np.where(gains > self._worthwhile_m2, gains / seconds, 0.0)
        if self._drive is not None:
            away = np.hypot(*(terrain.points(cells) - self._drive.target).T)
            score[away < 0.3] *= _LOYALTY
        return score

    def _start_drive(self, way: np.ndarray, gain_m2: float) -> None:
        """A new way to the same target is the same drive, as far as its progress goes."""
        left_m, before = _left_m(way, self._at), self._drive
        self._drive = _Drive(way, gain_m2, left_m, self._now_s)
        if before is not None and np.hypot(*(before.target - way[-1])) < 0.3:
            self._drive.nearer_s = before.nearer_s
            self._drive.nearest_m = min(before.nearest_m, left_m + _NEARER_M)

    def _candidates(
        self, terrain: TraversabilityMap, costs: np.ndarray, worth: np.ndarray, near: np.ndarray
    ) -> np.ndarray:
        """Cells (n, 2) within reach from which something might be new, the most likely first."""
        about = _sums_within(worth, SIGHT_M) + _sums_within(near, NEAR_M)
        eligible = np.isfinite(costs) & terrain.passable & (about > self._worthwhile_m2)
        rows, columns = np.nonzero(eligible)
        coarse = (rows % 2 == 0) & (columns % 2 == 0)
        cells = np.stack([rows[coarse], columns[coarse]], 1)
        cells = self._without_barred(terrain, cells)
        here = 2.0 + costs[cells[:, 0], cells[:, 1]]
        return cells[np.argsort(-about[cells[:, 0], cells[:, 1]] / here)]

    def _without_barred(self, terrain: TraversabilityMap, cells: np.ndarray) -> np.ndarray:
        """Less those about targets that could not be reached; where only such are left, those
        that are barred for a while are tried again."""
        points, left = terrain.points(cells), cells
        for until_s in (self._now_s, _FOR_GOOD_S):
            keep = np.ones(len(cells), bool)
            for bar in self._bars:
                if bar.until_s > until_s:
                    keep &= np.hypot(*(points - bar.at).T) > _BARRED_M
            left = cells[keep]
            if len(left):
                break
        return left

    def _set_out_home(
        self, terrain: TraversabilityMap, costs: np.ndarray, home: np.ndarray
    ) -> None:
        if self._distance_m < _HOME_AIM_M:
            self._finish(f"{self._why_home}, and the start is {self._distance_m:.2f} m away")
            return
        if not np.isfinite(costs[tuple(home)]):  # tighter than it likes, or out of the radius
            loose = self._terrain_for(self._profile.footprint_radius_m - 0.06).travel(self._at)
            costs = loose if np.isfinite(loose[tuple(home)]) else costs
        if np.isfinite(costs[tuple(home)]):
            way = np.concatenate([terrain.way(costs, home), np.zeros((1, 2))])
        else:  # as near as it can
            cells = np.argwhere(np.isfinite(costs))
            gaps = np.hypot(*terrain.points(cells).T)
            way = terrain.way(costs, cells[np.argmin(gaps)])
        self._start_drive(way, 0.0)
        self._reason = f"{self._why_home}: {_left_m(way, self._at):.1f} m back to the start"

    def _come_home(self) -> None:
        """At the end of the way back: at the start, or as near to it as a way leads."""
        if self._distance_m < HOME_M:
            self._finish(f"back at the start, {self._distance_m:.2f} m from it")
        else:
            self._block(f"no known way leads back to the start, {self._distance_m:.1f} m away")

    # ----- recovering -----------------------------------------------------------------------

    def _bump(self, ranges: np.ndarray, speed_mps: float) -> None:
        """Back off and turn; what the scan does not show is remembered."""
        reversing = speed_mps < -0.02
        radius_m, (x, y, yaw) = self._profile.footprint_radius_m, self._map.pose
        if not np.any(ranges < radius_m + 0.06):
            away_m = (radius_m + 0.05) * (-1 if reversing else 1)
            at = np.array([x + away_m * math.cos(yaw), y + away_m * math.sin(yaw)])
            self._bumps.append(_Bar(at, self._now_s + _BUMP_S))
        self._reason = "backing off after a bump"
        self._recover(ranges, reversing)

    def _recover(self, ranges: np.ndarray, reversing: bool) -> None:
        limits = self._profile.limits
        speed = 0.3 * limits.linear_max_mps if reversing else 0.7 * limits.linear_min_mps
        left, right = (
            float(np.nanmean(np.minimum(part, SIGHT_M))) if np.isfinite(part).any() else 0.0
            for part in (ranges[np.sin(self._angles) > 0.3], ranges[np.sin(self._angles) < -0.3])
        )
        side = math.copysign(0.6 * limits.angular_max_radps, left - right)
        moves = [(speed, 0.0)] * max(1, round(1.0 / self._action_s))
        moves += [(0.0, side)] * max(1, round(0.5 / self._action_s))
        self._recovery = (self._now_s, np.array(moves))
        self._drive = self._looking_since_s = None

    def _rest_of_recovery(self, began_s: float, moves: np.ndarray) -> np.ndarray:
        done = int((self._now_s - began_s) / self._action_s)
        actions = np.zeros((self._horizon, 2))
        rest = moves[done:][: self._horizon]
        actions[: len(rest)] = rest
        return actions

    def _abandon(self, drive: _Drive, ranges: np.ndarray) -> np.ndarray:
        """Leave a way that cannot be driven, and its target for a while; twice: for good."""
        again = any(np.hypot(*(bar.at - drive.target)) < _BARRED_M for bar in self._bars)
        if self._status is ExplorationStatus.EXPLORING:
            until_s = math.inf if again else self._now_s + _BARRED_S
            self._bars.append(_Bar(drive.target, until_s))
        if np.hypot(*(self._at - self._failed_at)) > _MOVED_M:
            self._failures, self._failed_at = 0, self._at.copy()
        self._failures += 1
        if self._failures >= _BLOCKED_AFTER:
            if self._distance_m < HOME_M and self._status is ExplorationStatus.RETURNING:
                self._finish(f"back at the start, {self._distance_m:.2f} m from it")
            else:
                self._block(f"{self._failures} ways in a row could not be driven")
            return np.zeros((self._horizon, 2))
        self._reason = f"no nearer for {_STUCK_S:.0f} s: leaving this way"
        self._escape(ranges)
        assert self._recovery is not None
        return self._rest_of_recovery(*self._recovery)

    def _escape(self, ranges: np.ndarray) -> None:
        """Turn to where the scan shows the most room, and drive there a little; out of a gap
        that is too tight to go on, that leads. Where it was tried in vain it isn't tried again."""
        if self._failures == 1:
            self._escapes = []
        echo = np.isfinite(ranges)
        bearings = np.concatenate([_ESCAPES_RAD, -_ESCAPES_RAD[1:]])
        points = ranges[echo, None] * np.stack(
            [np.cos(self._angles[echo]), np.sin(self._angles[echo])], 1
        )
        radius_m = self._profile.footprint_radius_m + _SIDE_M
        room_m = np.array([_room(points, bearing, radius_m) for bearing in bearings])
        for tried in self._escapes:
            apart = np.abs((bearings + self._map.pose[2] - tried + math.pi) % (2 * math.pi))
            room_m[np.abs(apart - math.pi) < 1.0] -= _ESCAPE_ROOM_M
        bearing = float(bearings[np.argmax(room_m)])
        self._escapes.append(bearing + float(self._map.pose[2]))
        limits = self._profile.limits
        turning_s = abs(bearing) / (0.8 * limits.angular_max_radps)
        slots = max(1, math.ceil(turning_s / self._action_s))
        moves = [(0.0, bearing / (slots * self._action_s))] * slots
        moves += [(0.4 * limits.linear_max_mps, 0.0)] * max(1, round(1.5 / self._action_s))
        self._recovery = (self._now_s, np.array(moves))
        self._drive = self._looking_since_s = None

    # ----- telling --------------------------------------------------------------------------

    def _step(self, actions: np.ndarray) -> ExplorationStep:
        limits, reason = self._profile.limits, self._reason
        low = (limits.linear_min_mps, -limits.angular_max_radps)
        high = (limits.linear_max_mps, limits.angular_max_radps)
        if self._maps > 1 and self._now_s - self._begun_s < _NEWS_S:
            reason = f"carried elsewhere, began a new map here: {reason}"
        return ExplorationStep(
            self._status,
            np.clip(actions, low, high),
            self._covered_m2,
            self._distance_m,
            reason,
            self._maps,
        )


def _room(points: np.ndarray, bearing: float, radius_m: float) -> float:
    """How far a disc can go straight in a direction (rad) before it touches points (n, 2), m."""
    c, s = math.cos(bearing), math.sin(bearing)
    turned = points @ np.array([[c, -s], [s, c]])
    return min(free_distance(turned, 1.0, 0.0, radius_m), _ESCAPE_ROOM_M)


def _relative(pose: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """A pose (3,) m, m, rad as seen from another one."""
    c, s = math.cos(origin[2]), math.sin(origin[2])
    dx, dy = pose[:2] - origin[:2]
    return np.array([c * dx + s * dy, c * dy - s * dx, pose[2] - origin[2]])


def _left_m(way: np.ndarray, at: np.ndarray) -> float:
    """What is left of a way (n, 2) m for somebody near it."""
    k = int(np.argmin(np.hypot(*(way - at).T)))
    rest = way[k:]
    return float(np.hypot(*np.diff(rest, axis=0).T).sum() + np.hypot(*(way[k] - at)))


def _sums_within(worth: np.ndarray, reach_m: float) -> np.ndarray:
    """What all cells (h, w) within a square about each one are worth together, m2."""
    side = 2 * round(reach_m / TERRAIN_M) + 1
    return cv2.boxFilter(worth, -1, (side, side), normalize=False) * _CELL_M2
