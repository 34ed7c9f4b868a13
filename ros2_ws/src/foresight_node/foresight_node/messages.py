"""Between ROS messages and plain numbers."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from foresight.bundle import Manifest
from foresight.perception.image import Rgb
from foresight_interfaces.msg import Belief, Observation

LATEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""For observation, belief and plan: none may be lost on the way, but only the last one counts."""

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For status: a late subscriber gets the last one."""

EARLIEST_S, LATEST_S = -(2.0**31), 2.0**31 - 1
"""What a stamp can hold, s."""


def seconds(stamp: Time) -> float:
    """A stamp in seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def to_stamp(seconds: float) -> Time:
    """The inverse of `seconds`, to the microsecond; what no stamp can hold becomes the nearest one.

    Foreign stamps come close to those limits, and sums of them beyond.
    """
    micros = round(min(max(seconds, EARLIEST_S), LATEST_S) * 1e6)
    return Time(sec=micros // 1_000_000, nanosec=micros % 1_000_000 * 1000)


def floats(values: npt.ArrayLike) -> array[float]:
    """A float32[] field, flattened row-major; rclpy takes it without looking at every number."""
    return array("f", np.ascontiguousarray(values, dtype=np.float32).tobytes())


def fault_of(message: Observation | Belief, manifest: Manifest, digest: str, node: str) -> str:
    """Why `node`, which runs the bundle of this manifest and digest, cannot take an observation or
    a belief, in one sentence; empty when it can."""
    kind = type(message).__name__.lower()
    if message.bundle_digest != digest:
        return (
            f"{kind} comes from the bundle {message.bundle_digest[:12]!r}, but "
            f"{node} runs {digest[:12]!r}; start all nodes with the same bundle"
        )
    sizes = len(message.latent), len(message.proprioception)
    expected = manifest.latent_size, len(manifest.body.proprioception)
    if sizes != expected:
        return (
            f"{kind} holds {sizes[0]} latent and {sizes[1]} body numbers, but the bundle "
            f"says {expected[0]} and {expected[1]}; check its sender"
        )
    numbers = np.concatenate([message.latent, message.proprioception])
    if not np.isfinite(numbers).all():
        return f"{kind} holds a number that is not finite; check its sender"
    return ""


def picture_message(picture: Rgb, header: Header) -> Image:
    """A picture (h, w, 3) uint8 as a message."""
    height, width = picture.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array("B", picture.tobytes())
    return message
