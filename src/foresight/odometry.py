"""Odometry of the last moments, to be asked for any time in them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

import numpy as np

from foresight.geometry import wrap

_KEPT_S = 2.0
_MOST = 2000  # entries, of a sender whose clock stands, too
_AHEAD_S = 0.3  # so long after the last odometry the robot is taken to go on as it moved


class OdometryBuffer:
    """Poses in the odometry frame with their times."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=_MOST)

    def add(self, stamp_s: float, pose: np.ndarray, twist: np.ndarray) -> bool:
        """Take a pose (3,) m, m, rad and a twist (2,) m/s, rad/s; a stamp before the last one says
        that the clock was set back, and everything older is forgotten.

        Returns:
            False when a number is not finite: then it is left out.
        """
        if not (np.isfinite(pose).all() and np.isfinite(twist).all() and math.isfinite(stamp_s)):
            return False
        if self._entries and stamp_s < self._entries[-1][0]:
            self._entries.clear()
        self._entries.append((stamp_s, pose.astype(float), twist.astype(float)))
        while self._entries[0][0] < stamp_s - _KEPT_S:
            self._entries.popleft()
        return True

    def at(self, stamp_s: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Pose (3,) and twist (2,) at a time; None when it is not known."""
        known = bisect_right(self._entries, stamp_s, key=lambda entry: entry[0])
        if not known:
            return None
        begin_s, pose, twist = self._entries[known - 1]
        if known < len(self._entries):
            end_s, end, end_twist = self._entries[known]
            share = (stamp_s - begin_s) / (end_s - begin_s)
            step = end - pose
            step[2] = wrap(step[2])
            return pose + share * step, twist + share * (end_twist - twist)
        if stamp_s - begin_s > _AHEAD_S:
            return None
        return _moved(pose, twist, stamp_s - begin_s), twist.copy()


def _moved(pose: np.ndarray, twist: np.ndarray, seconds: float) -> np.ndarray:
    """Where a pose (3,) comes to with a twist (2,) that lasts."""
    way_m, turned = twist * seconds
    middle = pose[2] + turned / 2
    return pose + np.array([way_m * math.cos(middle), way_m * math.sin(middle), turned])
