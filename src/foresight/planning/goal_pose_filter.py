"""Where the goal lies: poses decoded from views, carried along by what the wheels counted."""

from __future__ import annotations

import math

import numpy as np

_MEMORY_S = 0.6  # after this long a sighting counts 1/e
_NOISE_M, _NOISE_PER_M, _NOISE_PER_RAD = 0.05, 0.3, 0.1  # usual error of a decoded pose


class GoalPoseFilter:
    """The goal's pose in the robot's frame: x m, y m, yaw rad.

    A single view decodes to a pose with an error that grows with the distance; poses of the last
    moments, moved by odometry to where the robot is now, are averaged by their precision.

    Attributes:
        pose: (3,) as far as it is known.
        trust: how sure it is, 0 to 1, that the goal is close enough for a decoded pose to hold.
    """

    def __init__(self) -> None:
        self.pose = np.zeros(3)
        self.trust = 0.0
        self._precision = self._views = 0.0
        self._last: tuple[float, np.ndarray] | None = None

    def update(self, stamp_s: float, twist: np.ndarray, seen: np.ndarray, close: float) -> None:
        """A view at `stamp_s`, no older than the last one, taken at `twist` (2,) m/s, rad/s: the
        goal decodes to `seen` (3,), which holds with probability `close`."""
        keep, about = 0.0, seen
        if self._last is not None:
            passed_s = stamp_s - self._last[0]
            keep = math.exp(-passed_s / _MEMORY_S)
            self._carry(passed_s * (self._last[1] + twist) / 2)
            about = self.pose  # were it `seen`, views that err towards near would count more
        self._last = stamp_s, np.array(twist, float)
        noise = _NOISE_M + _NOISE_PER_M * math.hypot(*about[:2]) + _NOISE_PER_RAD * abs(about[2])
        before, new = keep * self._precision, (close + 1e-6) / noise**2
        change = seen - self.pose
        change[2] = math.remainder(change[2], math.tau)
        self.pose = self.pose + new / (before + new) * change
        self.pose[2] = math.remainder(self.pose[2], math.tau)
        self._precision = before + new
        self._views = keep * self._views + 1
        self.trust += (close - self.trust) / self._views

    def _carry(self, moved: np.ndarray) -> None:
        """The robot has driven `moved` (2,) m, rad along an arc."""
        way, turn = moved
        x = self.pose[0] - way * math.cos(turn / 2)
        y = self.pose[1] - way * math.sin(turn / 2)
        cos, sin = math.cos(turn), math.sin(turn)
        self.pose = np.array(
            [cos * x + sin * y, cos * y - sin * x, math.remainder(self.pose[2] - turn, math.tau)]
        )
