"""Driving to a goal latent: replan, notice arrival, recover where planning leads nowhere."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

from foresight.bundle import Bundle, BundleError
from foresight.bundle.manifest import PLANNER
from foresight.control.recovery import (
    ADVANCE_M,
    BACK_OFF_M,
    OpenHeadings,
    manoeuvre,
    remaining,
)
from foresight.control.safety import Plan
from foresight.planning.goal_pose_filter import GoalPoseFilter
from foresight.runtime.dynamics import Relation

ARRIVED_M, ARRIVED_RAD = 0.12, math.radians(12)
NEARLY_M, NEARLY_RAD = 0.2, math.radians(18)
SETTLE_S = 1.2  # being nearly there this long without getting closer counts as arrival
STUCK_S, STUCK_M = 4.0, 0.15  # hardly driven and no nearer for this long: stuck
ASTRAY_S = 12.0  # driven about, but no nearer for this long: astray
FAR_M = 100.0  # where obstacles are put that are not there
PROGRESS_S = 0.5  # nearer means this many seconds less to go than ever before
BLOCKED_AFTER_RECOVERIES = 8


class Status(Enum):
    """Where a drive stands."""

    DRIVING = "driving"
    REACHED = "reached"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class NavigationStep:
    """What to do now.

    actions (H, A) in the units of the bundle's body, the first one to start at the belief's stamp;
    energy (H,) predicted log1p(seconds to go) after each; collision (H,) probabilities; eta_s
    seconds to go by the learned distance; offset: the goal from here (x m, y m, yaw rad), by the
    views of the last moments, meaningful only if `close` (probability, by the last view, that goal
    and robot are within a few seconds) is high.
    """

    status: Status
    actions: np.ndarray
    energy: np.ndarray
    collision: np.ndarray
    latents: np.ndarray
    eta_s: float
    offset: tuple[float, float, float]
    close: float


class Navigator:
    """Plans towards one goal at a time with the bundle's planner graph."""

    def __init__(
        self, bundle: Bundle, seed: int = 0, threads: int = 1, planner: str = PLANNER
    ) -> None:
        """`planner` is one of the bundle's; `threads` are for one plan.

        Raises:
            BundleError: the bundle has no such planner, or it cannot be used.
        """
        manifest = bundle.manifest
        if planner not in manifest.planners:
            raise BundleError(
                f"{bundle.path}: there is no planner '{planner}'; choose one of "
                f"{', '.join(manifest.planners)}"
            )
        self._session = bundle.session(planner, threads)
        self._relation = Relation(bundle)
        self.providers = self._session.providers
        self._low = np.array(manifest.body.action.low, np.float32)
        self._high = np.array(manifest.body.action.high, np.float32)
        self._duration_s = manifest.action_s
        self._spec = manifest.planners[planner]
        self._noise_shape = self._session.inputs["noise"]
        self._arrived_gap = manifest.calibration.arrived_gap
        self._rng = np.random.default_rng(seed)
        self._open_headings = OpenHeadings(manifest.body.footprint_radius_m)
        self.clear_goal()

    def clear_goal(self) -> None:
        """Forget the goal and the plan."""
        self._stamp_s = -math.inf
        self._plan: np.ndarray | None = None
        self._sent: np.ndarray | None = None  # what was to be done from then on
        self._planned_at_s = 0.0
        self._recovery: Plan | None = None
        self._heading_rad = 0.0  # by dead reckoning from here on
        self._driven: deque[tuple[float, float]] = deque(maxlen=1000)
        self._begin(None, True)

    def set_goal(self, latent: np.ndarray) -> None:
        """Drive to where the camera would see `latent` (D,) from now on."""
        self.clear_goal()
        self._begin(latent, True)

    def redirect(self, latent: np.ndarray, final: bool = True) -> None:
        """As `set_goal`, but without a halt in between: what was planned goes on until it is
        replaced. A goal that is not final is passed by: it is never reported as reached, nor as
        blocked. The same goal once more changes nothing but that."""
        if self._goal is not None and np.array_equal(latent.astype(np.float32), self._goal):
            self._final = final
        else:
            self._begin(latent, final)

    def _begin(self, latent: np.ndarray | None, final: bool) -> None:
        """Nothing is known yet of how the goal lies and how the drive there goes."""
        self._goal = None if latent is None else latent.astype(np.float32)
        self._final = final
        self._sight = GoalPoseFilter()
        self._arrivals = self._recoveries = 0
        self._open_headings.forget()
        self._nearly_since_s: float | None = None
        self._best_eta_s, self._best_at_s = math.inf, 0.0

    def update(
        self,
        stamp_s: float,
        latent: np.ndarray,
        proprioception: np.ndarray,
        obstacles: np.ndarray | None = None,
        delay_s: float = 0.0,
    ) -> NavigationStep:
        """Plan from a belief: latent (D,), proprioception (P,).

        Args:
            obstacles: (N, 2) m, what a scan shows at that time, in the robot's frame; None or
                empty without a scanner. Plans keep clear of it.
            delay_s: after the belief's stamp, until the robot follows this plan; one action at
                most. So long it still does what was planned before, and that is imagined, too.

        Raises:
            RuntimeError: no goal is set.
        """
        if self._goal is None:
            raise RuntimeError("no goal is set; call set_goal first")
        if stamp_s < self._stamp_s:  # the clock was set back: what was before is no past
            goal, final = self._goal, self._final
            self.clear_goal()
            self._begin(goal, final)
        if math.isfinite(self._stamp_s):
            self._heading_rad += float(proprioception[1]) * (stamp_s - self._stamp_s)
        self._stamp_s = stamp_s
        delay_s = min(max(delay_s, 0.0), self._duration_s)
        seen = self._relation(latent[None], self._goal[None])
        gap, close = float(seen.gap[0]), float(seen.close[0])
        sight = self._sight
        sight.update(stamp_s, proprioception[:-1], seen.displacement[0], close)
        actions, energy, latents, collision = self._session.run(
            ["actions", "energy", "latents", "collision"],
            {
                "latent": latent[None].astype(np.float32),
                "proprioception": proprioception[None].astype(np.float32),
                "goal": self._goal[None],
                "goal_pose": sight.pose[None].astype(np.float32),
                "trust": np.array([sight.trust], np.float32),
                "obstacles": nearest_by_sector(obstacles, self._spec.obstacles),
                "committed": self._committed(stamp_s, delay_s, proprioception)[None],
                "delay": np.array([delay_s / self._duration_s], np.float32),
                "warm_start": self._shifted_plan(stamp_s)[None],
                "proposals": self._proposals(),
                "noise": self._rng.standard_normal(self._noise_shape, np.float32),
            },
        )
        self._plan, self._planned_at_s = actions[0], stamp_s
        eta_s = math.expm1(gap)
        x, y, yaw = map(float, sight.pose)
        arrived = self._arrived(stamp_s, gap, (x, y, yaw), close)
        if arrived and self._final:
            status, chosen = Status.REACHED, np.zeros_like(actions[0])
        else:
            speed_mps = abs(float(proprioception[0]))
            status, chosen = self._drive_on(stamp_s, eta_s, speed_mps, actions[0], obstacles)
        self._sent = chosen
        return NavigationStep(
            status, chosen, energy[0], collision[0], latents[0], eta_s, (x, y, yaw), close
        )

    def _arrived(
        self, stamp_s: float, gap: float, offset: tuple[float, float, float], close: float
    ) -> bool:
        """Arrival needs the learned distance and the goal's pose to agree, twice.

        Being nearly there for SETTLE_S will do: closer is not to be had then.
        """
        away_m, turn = math.hypot(offset[0], offset[1]), abs(offset[2])
        nearly = away_m < NEARLY_M and turn < NEARLY_RAD and close > 0.5
        nearly = nearly and gap < self._arrived_gap
        exactly = nearly and away_m < ARRIVED_M and turn < ARRIVED_RAD
        self._arrivals = self._arrivals + 1 if exactly else 0
        if not nearly:
            self._nearly_since_s = None
        elif self._nearly_since_s is None:
            self._nearly_since_s = stamp_s
        settled = self._nearly_since_s is not None and stamp_s - self._nearly_since_s >= SETTLE_S
        return self._arrivals >= 2 or settled

    def _drive_on(
        self,
        stamp_s: float,
        eta_s: float,
        speed_mps: float,
        planned: np.ndarray,
        obstacles: np.ndarray | None,
    ) -> tuple[Status, np.ndarray]:
        """The plan (H, A), or a recovery manoeuvre where planning leads nowhere."""
        if self._recovery is not None:
            rest = self._rest_of_recovery(self._recovery, stamp_s, planned)
            if rest.any():
                return Status.DRIVING, rest
            self._recovery, self._best_at_s = None, stamp_s
            self._driven.clear()
        if not self._stuck(stamp_s, eta_s, speed_mps):
            return Status.DRIVING, planned
        self._recoveries += 1
        if self._recoveries > BLOCKED_AFTER_RECOVERIES and self._final:
            return Status.BLOCKED, np.zeros_like(planned)
        self._plan = None  # as a warm start it would lead back
        self._recovery = self._plan_recovery(stamp_s, obstacles)
        return Status.DRIVING, self._rest_of_recovery(self._recovery, stamp_s, planned)

    def _rest_of_recovery(self, recovery: Plan, stamp_s: float, planned: np.ndarray) -> np.ndarray:
        """Its next actions, as many and of the same type as those of a plan (H, A)."""
        return remaining(recovery, stamp_s, len(planned)).astype(planned.dtype)

    def _stuck(self, stamp_s: float, eta_s: float, speed_mps: float) -> bool:
        """Standing, or driving about, without coming nearer to the goal."""
        if eta_s < self._best_eta_s - PROGRESS_S:
            self._best_eta_s, self._best_at_s, self._recoveries = eta_s, stamp_s, 0
            self._open_headings.forget()
        if self._nearly_since_s is not None:
            self._best_at_s = stamp_s
        self._driven.append((stamp_s, speed_mps))
        while self._driven[0][0] < stamp_s - STUCK_S:
            self._driven.popleft()
        lost_s = stamp_s - self._best_at_s
        driven_m = STUCK_S * sum(speed for _, speed in self._driven) / len(self._driven)
        return lost_s >= ASTRAY_S or (lost_s >= STUCK_S and driven_m < STUCK_M)

    def _plan_recovery(self, stamp_s: float, obstacles: np.ndarray | None) -> Plan:
        """Back off, turn to open floor elsewhere than ahead, drive on."""
        points = np.zeros((0, 2)) if obstacles is None else obstacles
        points = points[np.isfinite(points).all(1)]
        self._open_headings.rule_out(self._heading_rad)
        turn_rad = self._open_headings.choose(points + (BACK_OFF_M, 0.0), self._heading_rad)
        return manoeuvre(
            stamp_s,
            self._duration_s,
            self._low,
            self._high,
            back_off_m=BACK_OFF_M,
            turn_rad=turn_rad,
            advance_m=ADVANCE_M,
        )

    def _committed(self, stamp_s: float, delay_s: float, proprioception: np.ndarray) -> np.ndarray:
        """Mean command (A,) of what was planned before, over `delay_s` from now on; without a plan
        for this goal, the robot goes on as it moves."""
        if self._sent is None:
            return proprioception[:-1].astype(np.float32).clip(self._low, self._high)
        times = stamp_s + delay_s * (np.arange(4) + 0.5) / 4
        steps = ((times - self._planned_at_s) / self._duration_s).astype(int)
        return self._sent[steps.clip(0, len(self._sent) - 1)].mean(0)

    def _shifted_plan(self, stamp_s: float) -> np.ndarray:
        """The last plan, moved on by the time that has passed (H, A); zeros without one."""
        horizon = self._spec.horizon
        if self._plan is None:
            return np.zeros((horizon, len(self._low)), np.float32)
        passed = (stamp_s - self._planned_at_s) / self._duration_s
        at = np.clip(np.arange(horizon) + passed, 0, horizon - 1)
        before, share = np.floor(at).astype(int), (at % 1.0)[:, None]
        after = np.minimum(before + 1, horizon - 1)
        shifted = (1 - share) * self._plan[before] + share * self._plan[after]
        return shifted.astype(np.float32)

    def _proposals(self) -> np.ndarray:
        """Sequences (M, H, A) that hold one action, then another: coherent motion to start from."""
        count, horizon = self._spec.proposals, self._spec.horizon
        pair = self._rng.uniform(self._low, self._high, (2, count, len(self._low)))
        switch = self._rng.integers(1, horizon + 1, count)
        late = np.arange(horizon)[None] >= switch[:, None]
        return np.where(late[..., None], pair[1][:, None], pair[0][:, None]).astype(np.float32)


def nearest_by_sector(points: np.ndarray | None, count: int) -> np.ndarray:
    """The nearest of the points (N, 2) in each of `count` equal sectors around the origin; points
    that are not finite are left out.

    Returns:
        (count, 2) float32, FAR_M away where there is none.
    """
    found = np.full((count, 2), FAR_M, np.float32)
    if points is None:
        return found
    points = points[np.isfinite(points).all(1)]
    order = np.argsort(-np.square(points).sum(1))  # the nearest of a sector is written last
    bearing = np.arctan2(points[order, 1], points[order, 0]) % (2 * math.pi)
    found[(bearing * (count / (2 * math.pi))).astype(int) % count] = points[order]
    return found
