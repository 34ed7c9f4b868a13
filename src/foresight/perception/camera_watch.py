"""Detects black and frozen camera pictures."""

from __future__ import annotations

import numpy as np

from foresight.perception.image import ImageError, Rgb

DARK = 16
"""Grey levels (of 255): a picture without a brighter point is black."""
STILL_MPS, STILL_RADPS = 0.05, 0.1
"""Below these speeds a picture may stay the same."""


class CameraWatch:
    """Refuses pictures that cannot be the present view, however fresh their stamps are.

    A real camera has noise, so no two of its pictures are equal bit by bit; a simulated one may
    have none. A picture may therefore stay the same while the robot stands. Once it has stayed the
    same for too long while the robot moved, it is refused until a different one arrives, also at
    rest.
    """

    def __init__(self) -> None:
        self._last: Rgb | None = None
        self._since_s = 0.0
        self._frozen = False

    def check(
        self, rgb: Rgb, stamp_s: float, linear: float, angular: float, limit_s: float
    ) -> None:
        """Check a picture (h, w, 3) uint8; call it in the order of the stamps.

        Args:
            stamp_s: time of exposure, s.
            linear, angular: the robot's speeds at that time, m/s and rad/s.
            limit_s: how long it may stay the same while the robot moves, s.

        Raises:
            ImageError: it is black, or has not changed.
        """
        if rgb.max() < DARK:
            raise ImageError(
                f"image is black (its brightest point is {rgb.max()} of 255); uncover the lens, "
                f"or give light"
            )
        moves = abs(linear) > STILL_MPS or abs(angular) > STILL_RADPS
        same = self._last is not None and np.array_equal(rgb, self._last)
        if not same or not (moves or self._frozen):
            self._last, self._since_s, self._frozen = rgb, stamp_s, False
        age_s = stamp_s - self._since_s
        self._frozen |= age_s > limit_s
        if self._frozen:
            raise ImageError(
                f"image has not changed for {age_s:.1f} s although the robot moves, at most "
                f"{limit_s:.1f} s are allowed; the camera or its driver hangs: restart it"
            )
