"""The belief: what the robot takes its state to be, and how surprised it is by what it sees."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from foresight.bundle import Bundle
from foresight.bundle.manifest import Calibration
from foresight.planning.world_model import WorldModel

_SMOOTHING = 0.8  # per observation: uncertainty averages surprise over the last half second


@dataclass(frozen=True)
class Belief:
    """State at `stamp_s`: latent (D,), proprioception (P,).

    surprise: how far the last action's outcome was from what was expected; in 99 of 100 minutes of
    normal driving it stays below 1. uncertainty: running mean of the surprise.
    """

    stamp_s: float
    latent: np.ndarray
    proprioception: np.ndarray
    surprise: float
    uncertainty: float


@dataclass(frozen=True)
class _Observed:
    stamp_s: float
    latent: np.ndarray
    proprioception: np.ndarray


class BeliefTracker:
    """Compares every observation with what was expected one action earlier.

    Surprise is the largest of three: the latent differs from the predicted one by more than the
    model expected of itself (carried away, something new); the displacement seen between the two
    views differs from what the wheels counted (slipping, a picture that stands still); the wheels
    turned otherwise than commanded although the bumper is free (blocked).
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._world_model = WorldModel(bundle, threads)
        self._duration_s = bundle.manifest.action.duration_s
        self._calibration = bundle.manifest.calibration
        self.reset()

    @property
    def world_model(self) -> WorldModel:
        """The model behind it, for callers that imagine with the same session."""
        return self._world_model

    def reset(self) -> None:
        """Forget the past."""
        self._past: deque[_Observed] = deque()
        self._commands: deque[tuple[float, float, float, float]] = deque()
        self._uncertainty = 0.0

    def add_command(
        self, stamp_s: float, duration_s: float, linear_mps: float, angular_radps: float
    ) -> None:
        """A command that was executed from `stamp_s` for `duration_s`."""
        self._commands.append((stamp_s, duration_s, linear_mps, angular_radps))
        while self._commands and self._commands[0][0] < stamp_s - 4 * self._duration_s:
            self._commands.popleft()

    def update(self, stamp_s: float, latent: np.ndarray, proprioception: np.ndarray) -> Belief:
        """Take in an observation; stamps must increase (an older one starts over)."""
        if self._past and stamp_s <= self._past[-1].stamp_s:
            self.reset()
        self._past.append(_Observed(stamp_s, latent, proprioception))
        while self._past[0].stamp_s < stamp_s - 2 * self._duration_s:
            self._past.popleft()
        surprise = self._surprise()
        self._uncertainty += (1 - _SMOOTHING) * (surprise - self._uncertainty)
        return Belief(stamp_s, latent, proprioception, surprise, self._uncertainty)

    def _surprise(self) -> float:
        """The latest observation's; 0 while there is none from one action ago."""
        seen = self._past[-1]
        then = seen.stamp_s - self._duration_s
        start = min(self._past, key=lambda past: abs(past.stamp_s - then))
        if abs(start.stamp_s - then) > 0.1 * self._duration_s:
            return 0.0
        action = self._mean_command(start.stamp_s, seen.stamp_s)
        if action is None:
            return 0.0
        since = [past for past in self._past if past.stamp_s > start.stamp_s]
        stamps = np.array([start.stamp_s, *(past.stamp_s for past in since)])
        body = np.array([past.proprioception for past in since])
        wheels = integrate(body[:, :2], np.diff(stamps))
        mean_twist = np.diff(stamps) @ body[:, :2] / (stamps[-1] - stamps[0])
        touched = bool(body[:, 2].any() or start.proprioception[2])
        imagined = self._world_model.imagine(start.latent, start.proprioception, action[None, None])
        seen_from_start = self._world_model.compare(start.latent[None], seen.latent[None])
        parts = surprise_parts(
            np.mean((imagined.latents[0, 0] - seen.latent) ** 2) / imagined.expected_error[0, 0],
            seen_from_start.displacement[0] - wheels,
            np.zeros(2) if touched else mean_twist - action,
            self._calibration,
        )
        return float(parts.max())

    def _mean_command(self, start_s: float, end_s: float) -> np.ndarray | None:
        """Mean executed (v, w) over an interval; None unless most of it is known."""
        total, known = np.zeros(2), 0.0
        for stamp, duration, linear, angular in self._commands:
            overlap = min(end_s, stamp + duration) - max(start_s, stamp)
            if overlap > 0:
                total += overlap * np.array([linear, angular])
                known += overlap
        return total / known if known > 0.7 * (end_s - start_s) else None


def surprise_parts(
    latent_error: np.ndarray | float,
    motion_gap: np.ndarray,
    twist_gap: np.ndarray,
    calibration: Calibration,
) -> np.ndarray:
    """The three surprises (..., 3), each 1 at its threshold.

    Args:
        latent_error: (...) squared prediction error over the expected one.
        motion_gap: (..., 3) x m, y m, yaw rad seen minus counted by the wheels.
        twist_gap: (..., 2) m/s, rad/s measured minus commanded.
    """
    motion = np.square(motion_gap / np.array(calibration.motion_spread)).mean(-1)
    twist = np.square(twist_gap / np.array(calibration.twist_spread)).mean(-1)
    return np.stack(
        [
            np.asarray(latent_error) / calibration.latent_surprise,
            motion / calibration.motion_surprise,
            twist / calibration.twist_surprise,
        ],
        -1,
    )


def integrate(twists: np.ndarray, durations_s: np.ndarray) -> np.ndarray:
    """Displacement (..., 3: x m, y m, yaw rad) after twists (..., T, 2), each for its time (T,)."""
    turned = twists[..., 1] * durations_s
    heading = np.cumsum(turned, -1) - turned / 2
    driven = twists[..., 0] * durations_s
    x, y = (driven * np.cos(heading)).sum(-1), (driven * np.sin(heading)).sum(-1)
    return np.stack([x, y, turned.sum(-1)], -1)
