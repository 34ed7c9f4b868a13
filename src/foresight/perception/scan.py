"""Scans of a planar scanner, mounted anywhere on the robot, in base_link.

Scans follow REP-117: +inf means no echo; NaN, -inf, zero and below mean no reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foresight.bodies.profile import Scan
from foresight.perception.frames import FrameError

TILT_DEG = 5.0
"""A scanner that is tilted further sees floor and ceiling instead of obstacles."""


@dataclass(frozen=True)
class ScanMount:
    """Mount of a scanner: x m, y m, and the bearing of its beam of angle 0, rad, in base_link.

    `upside_down`: its beams run clockwise.
    """

    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    upside_down: bool = False

    @classmethod
    def of_profile(cls, scan: Scan) -> ScanMount | None:
        """The mount in the robot profile; None if it has none."""
        at = scan.mount
        if at is None:
            return None
        return cls(at.x_m, at.y_m, math.radians(at.yaw_deg), at.upside_down)

    @classmethod
    def of_pose(cls, pose: np.ndarray) -> ScanMount:
        """Of a scanner's pose (4, 4) in base_link, beams in the plane of its x and y.

        Raises:
            FrameError: it is tilted by more than TILT_DEG.
        """
        upright = float(pose[2, 2])
        tilt_deg = math.degrees(math.acos(min(abs(upright), 1.0)))
        if tilt_deg > TILT_DEG:
            raise FrameError(
                f"the scanner is tilted by {tilt_deg:.1f} deg, at most {TILT_DEG:.0f} deg are "
                f"allowed; mount it level, or correct its transform"
            )
        yaw_rad = math.atan2(pose[1, 0], pose[0, 0])
        return cls(float(pose[0, 3]), float(pose[1, 3]), yaw_rad, upright < 0.0)

    @property
    def distance_m(self) -> float:
        """Distance from base_link's axis, m."""
        return math.hypot(self.x_m, self.y_m)

    def __str__(self) -> str:
        side = ", upside down" if self.upside_down else ""
        yaw_deg = math.degrees(self.yaw_rad)
        return f"x {self.x_m:.3f} m, y {self.y_m:.3f} m, yaw {yaw_deg:.1f} deg{side}"


CENTRED = ScanMount()
"""A scanner at base_link that faces forward."""


@lru_cache(maxsize=8)
def beam_directions(
    beams: int, angle_min: float, angle_increment: float, mount: ScanMount = CENTRED
) -> np.ndarray:
    """Unit vectors (beams, 2) of a scan's beams in base_link; read-only. Angles in rad."""
    sign = -1.0 if mount.upside_down else 1.0
    bearing = mount.yaw_rad + sign * (angle_min + angle_increment * np.arange(beams))
    directions = np.stack([np.cos(bearing), np.sin(bearing)], 1)
    directions.setflags(write=False)
    return directions


def scan_points(
    ranges: np.ndarray,
    angle_min: float,
    angle_increment: float,
    range_min_m: float = 0.0,
    mount: ScanMount = CENTRED,
) -> np.ndarray:
    """The echoes of a scan (beams,) m as points (N, 2) m in base_link. Beams without an echo, or
    below the scanner's range, are left out."""
    echo = np.isfinite(ranges) & (ranges > range_min_m)
    directions = beam_directions(len(ranges), angle_min, angle_increment, mount)
    return ranges[echo, None] * directions[echo] + (mount.x_m, mount.y_m)
