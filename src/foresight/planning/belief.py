"""The belief: what the robot takes its state to be, and how surprised it is by what it sees."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from foresight.bundle import Bundle
from foresight.planning.world_model import WorldModel

_SMOOTHING = 0.8  # per observation: uncertainty averages surprise over the last half second


@dataclass(frozen=True)
class Belief:
    """State at `stamp_s`: latent (D,), proprioception (P,).

    surprise: prediction error of the last action, 1 = what 99% of normal driving stays below.
    uncertainty: running mean of the surprise.
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
    """Compares every observation with what was expected one action earlier."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._world_model = WorldModel(bundle, threads)
        self._duration_s = bundle.manifest.action.duration_s
        self._scale = bundle.manifest.calibration.surprise_scale
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
        surprise = self._surprise(stamp_s, latent)
        self._past.append(_Observed(stamp_s, latent, proprioception))
        while self._past[0].stamp_s < stamp_s - 2 * self._duration_s:
            self._past.popleft()
        self._uncertainty += (1 - _SMOOTHING) * (surprise - self._uncertainty)
        return Belief(stamp_s, latent, proprioception, surprise, self._uncertainty)

    def _surprise(self, stamp_s: float, latent: np.ndarray) -> float:
        """Error of the prediction made one action ago; 0 while there is no such observation."""
        then = stamp_s - self._duration_s
        start = min(self._past, key=lambda seen: abs(seen.stamp_s - then), default=None)
        if start is None or abs(start.stamp_s - then) > 0.1 * self._duration_s:
            return 0.0
        action = self._mean_command(start.stamp_s, stamp_s)
        if action is None:
            return 0.0
        expected = self._world_model.imagine(
            start.latent, start.proprioception, action[None, None]
        ).latents[0, 0]
        return float(np.mean((expected - latent) ** 2)) / self._scale

    def _mean_command(self, start_s: float, end_s: float) -> np.ndarray | None:
        """Mean executed (v, w) over an interval; None unless most of it is known."""
        total, known = np.zeros(2), 0.0
        for stamp, duration, linear, angular in self._commands:
            overlap = min(end_s, stamp + duration) - max(start_s, stamp)
            if overlap > 0:
                total += overlap * np.array([linear, angular])
                known += overlap
        return total / known if known > 0.7 * (end_s - start_s) else None
