"""Driving to a goal latent: replan, notice arrival, get out of dead ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from foresight.bundle import Bundle

ARRIVED_M = 0.2
ARRIVED_RAD = math.radians(18)
ARRIVED_TWICE = 2
STALL_S = 5.0
STALL_MOVED_S = 0.8  # seconds to go that must be gained (or lost) within STALL_S
BLOCKED_AFTER_STALLS = 6


class Status(Enum):
    """Where a drive stands."""

    DRIVING = "driving"
    REACHED = "reached"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class NavigationStep:
    """What to do now.

    actions (H, 2) m/s, rad/s, the first one to start at the belief's stamp; energy (H,) predicted
    log1p(seconds to go) after each; collision (H,) probabilities; eta_s seconds to go by the
    learned distance; offset: the goal as decoded from here (x m, y m, yaw rad), meaningful only
    if `close` (probability that goal and robot are within a few seconds) is high.
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

    def __init__(self, bundle: Bundle, seed: int = 0, threads: int = 1) -> None:
        manifest = bundle.manifest
        self._session = bundle.session("planner", threads)
        self.providers: list[str] = self._session.get_providers()
        self._low = np.array(manifest.action.low, np.float32)
        self._high = np.array(manifest.action.high, np.float32)
        self._duration_s = manifest.action.duration_s
        shapes = {entry.name: entry.shape for entry in self._session.get_inputs()}
        self._noise_shape, self._proposal_shape = shapes["noise"], shapes["proposals"]
        self._arrived_gap = manifest.calibration.arrived_gap
        self._rng = np.random.default_rng(seed)
        self.clear_goal()

    def clear_goal(self) -> None:
        """Forget the goal and the plan."""
        self._goal: np.ndarray | None = None
        self._plan: np.ndarray | None = None
        self._planned_at_s = 0.0
        self._arrivals = self._stalls = 0
        self._history: list[tuple[float, float]] = []

    def set_goal(self, latent: np.ndarray) -> None:
        """Drive to where the camera would see `latent` (D,) from now on."""
        self.clear_goal()
        self._goal = latent.astype(np.float32)

    def update(
        self, stamp_s: float, latent: np.ndarray, proprioception: np.ndarray
    ) -> NavigationStep:
        """Plan from a belief: latent (D,), proprioception (P,).

        Raises:
            RuntimeError: no goal is set.
        """
        if self._goal is None:
            raise RuntimeError("no goal is set; call set_goal first")
        actions, energy, latents, collision, gap, relation = self._session.run(
            ["actions", "energy", "latents", "collision", "gap", "relation"],
            {
                "latent": latent[None].astype(np.float32),
                "proprioception": proprioception[None].astype(np.float32),
                "goal": self._goal[None],
                "warm_start": self._shifted_plan(stamp_s)[None],
                "proposals": self._proposals(),
                "noise": self._rng.standard_normal(self._noise_shape, np.float32),
            },
        )
        self._plan, self._planned_at_s = actions[0], stamp_s
        x, y, sin, cos, close_logit = map(float, relation[0])
        offset = (x, y, math.atan2(sin, cos))
        close = 1.0 / (1.0 + math.exp(-close_logit))
        status = self._judge(stamp_s, float(gap[0]), offset, close)
        if status is not Status.DRIVING:
            self._plan = np.zeros_like(actions[0])
        return NavigationStep(
            status,
            self._plan,
            energy[0],
            collision[0],
            latents[0],
            math.expm1(float(gap[0])),
            offset,
            close,
        )

    def _judge(
        self, stamp_s: float, gap: float, offset: tuple[float, float, float], close: float
    ) -> Status:
        """Arrival needs the learned distance and the decoded displacement to agree, twice."""
        near = math.hypot(offset[0], offset[1]) < ARRIVED_M and abs(offset[2]) < ARRIVED_RAD
        here = near and close > 0.5 and gap < self._arrived_gap
        self._arrivals = self._arrivals + 1 if here else 0
        if self._arrivals >= ARRIVED_TWICE:
            return Status.REACHED
        if self._stalled(stamp_s, math.expm1(gap)):
            self._stalls += 1
            self._plan = None  # the warm start is what keeps it there
            if self._stalls >= BLOCKED_AFTER_STALLS:
                return Status.BLOCKED
        return Status.DRIVING

    def _stalled(self, stamp_s: float, eta_s: float) -> bool:
        """Whether the seconds to go hardly changed for STALL_S."""
        self._history.append((stamp_s, eta_s))
        self._history = [entry for entry in self._history if entry[0] >= stamp_s - STALL_S]
        if stamp_s - self._history[0][0] < 0.9 * STALL_S:
            return False
        etas = [eta for _, eta in self._history]
        stalled = max(etas) - min(etas) < STALL_MOVED_S
        if stalled:
            self._history = []
        return stalled

    def _shifted_plan(self, stamp_s: float) -> np.ndarray:
        """The last plan, moved on by the time that has passed (H, A); zeros without one."""
        horizon = self._noise_shape[2]
        if self._plan is None:
            return np.zeros((horizon, 2), np.float32)
        passed = (stamp_s - self._planned_at_s) / self._duration_s
        index = np.minimum(np.arange(horizon) + int(round(passed)), horizon - 1)
        return self._plan[index].astype(np.float32)

    def _proposals(self) -> np.ndarray:
        """Sequences (M, H, A) that hold one action, then another: coherent motion to start from."""
        count, horizon, size = self._proposal_shape
        pair = self._rng.uniform(self._low, self._high, (2, count, size))
        switch = self._rng.integers(1, horizon + 1, count)
        late = np.arange(horizon)[None] >= switch[:, None]
        return np.where(late[..., None], pair[1][:, None], pair[0][:, None]).astype(np.float32)
