"""The belief: what the robot takes its state to be, and how surprised it is by what it sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresight.bundle import Bundle
from foresight.bundle.manifest import Calibration
from foresight.runtime.dynamics import LatentDynamics

_MOST = 1000  # kept of anything, even when a sender's clock stands or goes back
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

    Surprise is the largest of three, see `evidence`, each on a scale from its median in normal
    driving (0) to where it alarms (1).
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._world_model = LatentDynamics(bundle, threads)
        self._duration_s = bundle.manifest.action_s
        self._calibration = bundle.manifest.calibration
        self.reset()

    @property
    def world_model(self) -> LatentDynamics:
        """The model behind it, for callers that imagine with the same session."""
        return self._world_model

    def reset(self) -> None:
        """Forget the past."""
        self._past: deque[_Observed] = deque(maxlen=_MOST)
        self._view_evidence: deque[tuple[float, float, float]] = deque(maxlen=_MOST)
        self._commands: deque[tuple[float, float, np.ndarray]] = deque(maxlen=_MOST)
        self._uncertainty = 0.0

    def add_command(self, stamp_s: float, duration_s: float, *command: float) -> None:
        """A command, one number for each of the body's actions, was executed from `stamp_s` for
        `duration_s`."""
        self._commands.append((stamp_s, duration_s, np.array(command)))
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
        mean_twist = np.diff(stamps) @ body[:, :-1] / (stamps[-1] - stamps[0])
        touched = bool(body[:, -1].any() or start.proprioception[-1])
        imagined = self._world_model.imagine(start.latent, start.proprioception, action[None, None])
        latent_error, no_effect, twist_error = evidence(
            start.latent,
            imagined.latents[0, 0],
            seen.latent,
            imagined.expected_error[0, 0],
            mean_twist - action,
            np.array(touched),
            self._calibration.twist_spread,
        )
        recent = self._view_evidence
        share = min(1.0, (seen.stamp_s - self._past[-2].stamp_s) / self._duration_s)
        recent.append((seen.stamp_s, share * float(latent_error), share * float(no_effect)))
        while recent[0][0] <= then + 0.1 * self._duration_s:
            recent.popleft()
        _, latent_error, no_effect = np.sum(recent, 0)
        parts = surprise_parts(latent_error, no_effect, twist_error, self._calibration)
        return float(parts.max())

    def _mean_command(self, start_s: float, end_s: float) -> np.ndarray | None:
        """Mean executed command (A,) over an interval; None unless most of it is known."""
        total, known = np.zeros(len(self._calibration.twist_spread)), 0.0
        for stamp, duration, command in self._commands:
            overlap = min(end_s, stamp + duration) - max(start_s, stamp)
            if overlap > 0:
                total += overlap * command
                known += overlap
        return total / known if known > 0.7 * (end_s - start_s) else None


def evidence(
    start: np.ndarray,
    expected: np.ndarray,
    seen: np.ndarray,
    expected_error: np.ndarray | float,
    twist_gap: np.ndarray,
    touched: np.ndarray,
    twist_spread: Sequence[float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What speaks against the world having answered an action as usual.

    Args:
        start, expected, seen: (..., D) latent before the action, predicted, and after it.
        expected_error: (...) that the model expects of its prediction.
        twist_gap: (..., A) measured minus commanded speeds, in the units of the body's actions.
        touched: (...) whether the bumper was pressed, which explains it if nothing happens.
        twist_spread: (A,) usual size of twist_gap.

    Returns:
        latent_error (...): squared error over the expected one (carried away, something new).
        no_effect (...): how much better than the prediction "nothing has happened" explains what
        is seen, a log-likelihood ratio per component (slipping, blocked, a picture that stands
        still); about 0 at rest, where nothing speaks for either.
        twist_error (...): squared, in units of the spread (blocked).
    """
    error = np.square(expected - seen).mean(-1) / expected_error
    change = np.square(start - seen).mean(-1) / expected_error
    no_effect = np.where(touched, np.minimum(error - change, 0), error - change)
    twist_error = np.square(twist_gap / np.array(twist_spread)).mean(-1)
    return error, no_effect, np.where(touched, 0, twist_error)


def surprise_parts(
    latent_error: np.ndarray | float,
    no_effect: np.ndarray | float,
    twist_error: np.ndarray | float,
    calibration: Calibration,
) -> np.ndarray:
    """The three surprises (..., 3) from `evidence`: 0 when usual, 1 where it alarms. latent_error
    and no_effect are to be means over the length of an action."""
    scales = calibration.latent_surprise, calibration.no_effect, calibration.twist_surprise
    usual = np.array([scale.usual for scale in scales])
    alarm = np.array([scale.alarm for scale in scales])
    parts = np.stack([latent_error, no_effect, twist_error], -1)
    return np.maximum((parts - usual) / (alarm - usual), 0)
