"""Where the camera sits is read from its frame, optical or not, and held against the profile."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresight.bodies.profile import RobotProfile
from foresight.perception.camera_mount import CameraMount
from foresight.perception.frames import rigid

OPTICAL = rigid((0.0, 0.0, 0.0), (-0.5, 0.5, -0.5, 0.5))
"""From a camera's body (x ahead, y left, z up) to its optical frame (x right, y down, z ahead)."""


def body(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """The body frame of a camera 0.12 m ahead, 0.02 m left and 0.28 m up, turned: yaw first."""
    pose = np.eye(4)
    for axis, degrees in ((2, yaw_deg), (1, pitch_deg), (0, roll_deg)):
        half = math.radians(degrees) / 2
        pose = pose @ rigid((0, 0, 0), (*(math.sin(half) * np.eye(3)[axis]), math.cos(half)))
    pose[:3, 3] = 0.12, 0.02, 0.28
    return pose


@pytest.mark.parametrize("frame", [np.eye(4), OPTICAL], ids=["body", "optical"])
@pytest.mark.parametrize(
    "turns", [(0.0, 0.0, 0.0), (90.0, 0.0, 0.0), (0.0, 20.0, 0.0), (-30.0, 10.0, 5.0)]
)
def test_the_mount_is_read_from_either_frame_of_a_camera(
    frame: np.ndarray, turns: tuple[float, float, float]
) -> None:
    mount = CameraMount.of_pose(body(*turns) @ frame)
    assert (mount.x_m, mount.y_m, mount.z_m) == pytest.approx((0.12, 0.02, 0.28))
    assert (mount.yaw_deg, mount.pitch_deg, mount.roll_deg) == pytest.approx(turns, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "differs"),
    [
        ("x_m", 0.14, False),
        ("x_m", 0.16, True),
        ("y_m", -0.05, True),
        ("z_m", 0.26, False),
        ("z_m", 0.2, True),
        ("yaw_deg", 358.0, False),
        ("yaw_deg", 90.0, True),
        ("pitch_deg", 10.0, True),
        ("roll_deg", 180.0, True),
    ],
)
def test_a_mount_differs_beyond_what_training_varies(
    homebot: Path, field: str, value: float, differs: bool
) -> None:
    mount = CameraMount.of_profile(RobotProfile.load(homebot).camera)
    assert not mount.differs(mount)
    assert replace(mount, **{field: value}).differs(mount) is differs


def test_an_explorer_gets_the_camera_where_it_really_is(homebot: Path) -> None:
    camera = RobotProfile.load(homebot).camera
    moved = CameraMount.of_pose(body(pitch_deg=15.0)).applied(camera)
    assert (moved.x_m, moved.z_m, moved.pitch_deg) == pytest.approx((0.12, 0.28, 15.0))
    assert moved.hfov_deg == camera.hfov_deg
