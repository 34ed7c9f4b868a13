"""The actual mount of the camera, compared with the robot profile's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foresight.bodies.profile import Camera

TOLERANCE_M, TOLERANCE_DEG = 0.03, 3.0
"""Training varies the camera's mount within these; a model has not seen mounts beyond them."""
_UPRIGHT = 0.7  # of an optical frame z looks ahead; where z looks up, x does


@dataclass(frozen=True)
class CameraMount:
    """A camera on base_link: m; yaw left, pitch down and roll to the right, deg."""

    x_m: float
    y_m: float
    z_m: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float

    @classmethod
    def of_profile(cls, camera: Camera) -> CameraMount:
        """The mount in the robot profile."""
        return cls(camera.x_m, 0.0, camera.z_m, 0.0, camera.pitch_deg, 0.0)

    @classmethod
    def of_pose(cls, pose: np.ndarray) -> CameraMount:
        """Of a camera's pose (4, 4) in base_link: that of its optical frame (z ahead, x to the
        right), or of its body (x ahead, z up), which some drivers name instead."""
        x, y, z = pose[:3, :3].T
        ahead, left = (x, y) if z[2] > _UPRIGHT else (z, -x)
        up = np.cross(ahead, left)
        return cls(
            x_m=float(pose[0, 3]),
            y_m=float(pose[1, 3]),
            z_m=float(pose[2, 3]),
            yaw_deg=math.degrees(math.atan2(ahead[1], ahead[0])),
            pitch_deg=math.degrees(math.asin(min(max(-ahead[2], -1.0), 1.0))),
            roll_deg=math.degrees(math.atan2(left[2], up[2])),
        )

    def differs(self, other: CameraMount) -> bool:
        """Whether a model trained for one mount cannot be used with the other."""
        a, b = self, other
        apart_m = math.dist((a.x_m, a.y_m, a.z_m), (b.x_m, b.y_m, b.z_m))
        turns = (a.yaw_deg - b.yaw_deg, a.pitch_deg - b.pitch_deg, a.roll_deg - b.roll_deg)
        turned_deg = max(abs(math.remainder(turn, 360.0)) for turn in turns)
        return apart_m > TOLERANCE_M or turned_deg > TOLERANCE_DEG

    def applied(self, camera: Camera) -> Camera:
        """A profile's camera, moved here as far as a profile can express: x, z and pitch."""
        moved = {"x_m": self.x_m, "z_m": self.z_m, "pitch_deg": self.pitch_deg}
        return camera.model_copy(update=moved)

    def __str__(self) -> str:
        return (
            f"x {self.x_m:.3f} m, y {self.y_m:.3f} m, z {self.z_m:.3f} m, yaw {self.yaw_deg:.1f}, "
            f"pitch {self.pitch_deg:.1f}, roll {self.roll_deg:.1f} deg"
        )
