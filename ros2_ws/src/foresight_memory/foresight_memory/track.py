"""Where odometry says that the robot was."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque

from foresight.memory.records import Pose

KEEP = 400
JUMP_M, JUMP_MPS = 1.0, 10.0
"""No robot drives that far and that fast between two messages: odometry began anew."""


class TrackError(ValueError):
    """Odometry cannot be used; the message is one sentence."""


class Track:
    """Keeps recent poses (x m, y m, yaw rad) of odometry. Times are stamps in seconds."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._poses: deque[tuple[float, Pose]] = deque(maxlen=KEEP)

    def add(self, stamp_s: float, pose: Pose) -> bool:
        """Take in a pose.

        Returns:
            whether odometry began anew: it has jumped, or time went back.

        Raises:
            TrackError: the pose is not finite.
        """
        if not all(map(math.isfinite, pose)):
            raise TrackError(
                f"odom has the pose {pose}, but finite numbers are expected; check the "
                f"odometry's source"
            )
        anew = bool(self._poses) and self._jumped(stamp_s, pose)
        if anew:
            self._poses.clear()
        self._poses.append((stamp_s, pose))
        return anew

    def at(self, stamp_s: float) -> Pose:
        """The pose at a time: between two, or the nearest one at the ends.

        Raises:
            TrackError: no odometry from near that time.
        """
        if not self._poses:
            raise TrackError("odom has sent nothing; start the odometry")
        after = bisect_left(self._poses, stamp_s, key=lambda entry: entry[0])
        around = [self._poses[k] for k in (after - 1, after) if 0 <= k < len(self._poses)]
        gap_s = min(abs(stamp_s - then) for then, _ in around)
        if gap_s > self._max_age_s:
            raise TrackError(
                f"odom has sent nothing within {gap_s:.2f} s of the observation, but at most "
                f"{self._max_age_s:.2f} s are allowed; check the odometry's source"
            )
        return _between(*around, stamp_s) if len(around) == 2 else around[0][1]

    def _jumped(self, stamp_s: float, pose: Pose) -> bool:
        then_s, before = self._poses[-1]
        since_s = stamp_s - then_s
        return since_s < 0 or math.dist(before[:2], pose[:2]) > JUMP_M + JUMP_MPS * since_s


def _between(first: tuple[float, Pose], second: tuple[float, Pose], stamp_s: float) -> Pose:
    (start_s, (x, y, yaw)), (end_s, (to_x, to_y, to_yaw)) = first, second
    share = (stamp_s - start_s) / max(end_s - start_s, 1e-9)
    turn = math.remainder(to_yaw - yaw, math.tau)
    return x + share * (to_x - x), y + share * (to_y - y), yaw + share * turn
