"""Proprioception at the time of a picture: the twist by odometry, and contacts of the bumper."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque


class ProprioceptionError(ValueError):
    """Odometry cannot be used; the message is one sentence."""


class ProprioceptionBuffer:
    """Keeps recent odometry and bumper contacts.

    Times are stamps in seconds; speeds are those of base_link in m/s and rad/s.
    """

    FIELDS = ("linear_mps", "angular_radps", "bump")
    KEEP = 200

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._twists: deque[tuple[float, float, float]] = deque(maxlen=self.KEEP)
        self._pressed = False
        self._contacts = 0
        self._told = 0

    def reset(self) -> None:
        """Forget everything, as when time goes back."""
        self._twists.clear()
        self._told = self._contacts

    def odometry(self, stamp_s: float, linear: float, angular: float) -> None:
        """Raises ProprioceptionError when a speed is not a number."""
        if not (math.isfinite(linear) and math.isfinite(angular)):
            raise ProprioceptionError(
                f"odom has the twist linear.x {linear}, angular.z {angular}, but finite numbers "
                f"are expected; check the odometry's source"
            )
        if self._twists and stamp_s < self._twists[-1][0]:
            self._twists.clear()
        self._twists.append((stamp_s, linear, angular))

    def bumper(self, pressed: bool) -> None:
        """A contact counts until an observation has told of it, however short it was."""
        self._pressed = pressed
        self._contacts += pressed

    def at(self, stamp_s: float) -> tuple[dict[str, float], int]:
        """The body at a picture's time: the latest twist not after it, and contacts.

        Returns:
            A value for each of `FIELDS`, and a mark for `told`.

        Raises:
            ProprioceptionError: no odometry from shortly before the picture.
        """
        known = bisect_right(self._twists, stamp_s, key=lambda twist: twist[0])
        if not known:
            raise ProprioceptionError(
                "odom has sent nothing from before the image's stamp; start the odometry, and "
                "check that it and the camera share a clock"
            )
        stamp, linear, angular = self._twists[known - 1]
        if stamp_s - stamp > self._max_age_s:
            raise ProprioceptionError(
                f"odom is {stamp_s - stamp:.2f} s older than the image, but at most "
                f"{self._max_age_s:.2f} s are allowed; check the odometry's source"
            )
        bump = float(self._pressed or self._contacts > self._told)
        return dict(zip(self.FIELDS, (linear, angular, bump), strict=True)), self._contacts

    def told(self, mark: int) -> None:
        """An observation with the contacts up to `mark` was sent."""
        self._told = max(self._told, mark)
