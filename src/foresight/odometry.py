"""Odometry of the last moments, to be asked for any time in them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from foresight.geometry import Pose, wrap

Twist = tuple[float, float]
"""Forward m/s and counter-clockwise rad/s, of base_link."""
_KEPT = 256
_JUMP_M, _JUMP_MPS = 1.0, 10.0  # no robot drives that far and that fast between two messages


class OdometryBuffer:
    """Poses in the odometry frame (x m, y m, yaw rad) and twists, with their times in seconds.

    Between two times they are interpolated; after the last one the robot is taken to go on along
    the arc that it drove. What is older than `lasting_s` may be forgotten, and what comes faster
    than `lasting_s` / 256 is thinned out.
    """

    def __init__(self, lasting_s: float, reach_s: float = math.inf) -> None:
        """`reach_s`: farther in time from all odometry, nothing is known."""
        self._lasting_s, self._reach_s = lasting_s, reach_s
        self._times: deque[float] = deque(maxlen=2 * _KEPT)
        self._states: deque[tuple[Pose, Twist]] = deque(maxlen=2 * _KEPT)

    def add(self, stamp_s: float, pose: Sequence[float], twist: Sequence[float]) -> bool:
        """Take in what odometry says.

        Returns:
            Whether odometry began anew: the pose has jumped, or time went back. What was before
            is forgotten.

        Raises:
            ValueError: a number is not finite; it is left out.
        """
        if not all(map(math.isfinite, (stamp_s, *pose, *twist))):
            raise ValueError(
                f"odom has the pose {_words(pose)} and the twist {_words(twist)}, but finite "
                "numbers are expected; check the odometry's source"
            )
        x, y, yaw = map(float, pose)
        linear, angular = map(float, twist)
        anew = bool(self._times) and self._has_jumped(stamp_s, x, y)
        if anew:
            self._times.clear()
            self._states.clear()
        self._append(stamp_s, (x, y, yaw), (linear, angular))
        return anew

    def drive(self, stamp_s: float, twist: Twist) -> None:
        """Take in a twist alone: the pose is reckoned from the twists before. A time that is no
        later than the last one is left out."""
        if self._times and stamp_s <= self._times[-1]:
            return
        before = self.at(stamp_s)
        self._append(stamp_s, before[0] if before is not None else (0.0, 0.0, 0.0), twist)

    def at(self, stamp_s: float) -> tuple[Pose, Twist] | None:
        """Pose and twist at a time; None when they are not known."""
        if not self._times or self.silence_s(stamp_s) > self._reach_s:
            return None
        after = bisect_right(self._times, stamp_s)
        if after == 0:
            return self._states[0]
        pose, twist = self._states[after - 1]
        since_s = stamp_s - self._times[after - 1]
        if after == len(self._times):
            return _carried_on(pose, twist, since_s), twist
        share = since_s / (self._times[after] - self._times[after - 1])
        (x, y, yaw), (linear, angular) = self._states[after]
        return (
            (
                pose[0] + share * (x - pose[0]),
                pose[1] + share * (y - pose[1]),
                pose[2] + share * wrap(yaw - pose[2]),
            ),
            (twist[0] + share * (linear - twist[0]), twist[1] + share * (angular - twist[1])),
        )

    def silence_s(self, stamp_s: float) -> float:
        """How far a time is from all that is known; infinite without any odometry."""
        after = bisect_right(self._times, stamp_s)
        around = (self._times[k] for k in (after - 1, after) if 0 <= k < len(self._times))
        return min((abs(stamp_s - then) for then in around), default=math.inf)

    def _has_jumped(self, stamp_s: float, x: float, y: float) -> bool:
        since_s = stamp_s - self._times[-1]
        before = self._states[-1][0]
        return since_s < 0 or math.dist(before[:2], (x, y)) > _JUMP_M + _JUMP_MPS * since_s

    def _append(self, stamp_s: float, pose: Pose, twist: Twist) -> None:
        times, states = self._times, self._states
        # The last one goes when it stands too close to the one before, or for the same time.
        spacing_s = self._lasting_s / _KEPT
        if times and (
            stamp_s == times[-1] or (len(times) > 1 and times[-1] - times[-2] < spacing_s)
        ):
            times.pop()
            states.pop()
        times.append(stamp_s)
        states.append((pose, twist))
        while len(times) > 1 and times[1] <= stamp_s - self._lasting_s:
            times.popleft()
            states.popleft()


def _carried_on(pose: Pose, twist: Twist, seconds: float) -> Pose:
    """Where a twist that lasts leads: along an arc, to second order."""
    (x, y, yaw), (linear, angular) = pose, twist
    heading = yaw + angular * seconds / 2
    length_m = linear * seconds
    return (
        x + length_m * math.cos(heading),
        y + length_m * math.sin(heading),
        yaw + angular * seconds,
    )


def _words(numbers: Sequence[float]) -> str:
    return "(" + ", ".join(f"{float(number):g}" for number in numbers) + ")"
