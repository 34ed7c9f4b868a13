"""Between ROS messages and plain numbers."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

LATEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""For observation, belief and plan: none may be lost on the way, but only the last one counts."""

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For status: a late subscriber gets the last one."""


def seconds(stamp: Time) -> float:
    """A stamp in seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def to_stamp(seconds: float) -> Time:
    """The inverse of `seconds`, to the microsecond."""
    micros = round(seconds * 1e6)
    return Time(sec=micros // 1_000_000, nanosec=micros % 1_000_000 * 1000)


def floats(values: npt.ArrayLike) -> array[float]:
    """A float32[] field, flattened row-major; rclpy takes it without looking at every number."""
    return array("f", np.ascontiguousarray(values, dtype=np.float32).tobytes())
