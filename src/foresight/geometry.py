"""Poses in the plane (SE(2)) and angles. Metres and radians; axes of REP-103."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Pose = tuple[float, float, float]
"""x m, y m, yaw rad."""
Angle = TypeVar("Angle", float, np.ndarray)


def wrap(angle_rad: Angle) -> Angle:
    """The same angle, or angles, from -pi on, below pi."""
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi


def compose(first: Sequence[float], second: Sequence[float]) -> Pose:
    """The pose `second`, which is seen from `first`, in the frame that `first` is given in."""
    x, y, yaw = first
    cos, sin = math.cos(yaw), math.sin(yaw)
    along, across, turn = second
    return x + cos * along - sin * across, y + sin * along + cos * across, wrap(yaw + turn)


def inverse(pose: Sequence[float]) -> Pose:
    """The frame's origin, seen from a pose in it."""
    x, y, yaw = pose
    cos, sin = math.cos(yaw), math.sin(yaw)
    return -cos * x - sin * y, sin * x - cos * y, wrap(-yaw)


def relative(pose: Sequence[float], origin: Sequence[float]) -> Pose:
    """`pose` seen from `origin`, both in one frame."""
    return compose(inverse(origin), pose)


def yaw_of(x: float, y: float, z: float, w: float) -> float:
    """The heading (rad, -pi to pi) of a quaternion: the direction of its x axis in the plane.

    It holds for a tilted robot, too; of a quaternion of length zero it is 0.
    """
    return math.atan2(2.0 * (w * z + x * y), w * w + x * x - y * y - z * z)
