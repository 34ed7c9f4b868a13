"""Where fixed sensors sit on the robot: tf_static says it, else the robot profile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from tf2_msgs.msg import TFMessage

from foresight.perception.frames import FrameError, FrameTree, bare, rigid
from foresight_node.health import ERROR
from foresight_node.node import ForesightNode

STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""As tf2 listens: every broadcaster has latched its own."""

WAIT_S = 2.0
"""For the transform of a sensor that sends already; latched ones come within moments."""

M = TypeVar("M")


class StaticTransforms:
    """What a node hears on tf_static, from its making on: what is latched comes only once.

    The sensors are fixed, so all that is needed of tf is to tell that a sensor's frame is published
    there by mistake; it is heard only until every sensor is found, or missed.
    """

    def __init__(self, node: ForesightNode[Any]) -> None:
        self.tree = FrameTree()
        self.moving: set[str] = set()
        self._node, self._awaited, self._moving_heard = node, set[str](), None
        node.listen(TFMessage, "tf_static", self._on_static, STATIC, always=True)

    def pose(self, frame: str, base: str) -> np.ndarray | None:
        """Where `frame` sits in `base`, (4, 4); None when it is not known, or not yet.

        Raises:
            FrameError: the transforms contradict each other.
        """
        return self.tree.pose(frame, base)

    def await_sensor(self, topic: str) -> None:
        """This sensor is not found yet: hear who publishes frames that move."""
        self._awaited.add(topic)
        if self._moving_heard is None:
            self._moving_heard = self._node.create_subscription(
                TFMessage, "tf", self._on_moving, qos_profile_sensor_data
            )

    def settle(self, topic: str) -> None:
        """This sensor is found, or missed."""
        self._awaited.discard(topic)
        if self._moving_heard is not None and not self._awaited:
            self._node.destroy_subscription(self._moving_heard)
            self._moving_heard = None

    def _on_static(self, message: TFMessage) -> None:
        for each in message.transforms:
            at, turn = each.transform.translation, each.transform.rotation
            try:
                pose = rigid((at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w))
                self.tree.add(each.header.frame_id, each.child_frame_id, pose)
            except FrameError as error:
                names = f"{each.header.frame_id!r} -> {each.child_frame_id!r}"
                self._node.health.problem("tf_static", f"tf_static: {names}: {error}")

    def _on_moving(self, message: TFMessage) -> None:
        self.moving.update(bare(each.child_frame_id) for each in message.transforms)


class SensorMount(Generic[M]):
    """Where one sensor sits. Made anew whenever the node is configured."""

    def __init__(
        self,
        node: ForesightNode[Any],
        transforms: StaticTransforms,
        topic: str,
        read: Callable[[np.ndarray], M],
        fallback: M | None,
    ) -> None:
        """
        Args:
            topic: the sensor's messages, for what is told.
            read: the mount from a pose (4, 4) in the base frame; raises FrameError when that is no
                mount for such a sensor.
            fallback: the robot profile's; None when it has none.
        """
        self._health, self._transforms, self._topic = node.health, transforms, topic
        self._read, self._fallback = read, fallback
        self._mount: M | None = None
        self._settled: tuple[str, str, int] | None = None
        self._told = ""
        self._asked_s = math.inf
        transforms.await_sensor(topic)

    def at(self, frame_id: str, base: str) -> M | None:
        """Where the sensor sits that sends messages with this frame; None when that is not known,
        or not yet: then they are of no use."""
        asked = frame_id, base, self._transforms.tree.version
        if asked != self._settled:
            self._find(*asked)
        return self._mount

    def _find(self, frame_id: str, base: str, version: int) -> None:
        self._asked_s = min(self._asked_s, time.monotonic())
        frame, waited_s = bare(frame_id), time.monotonic() - self._asked_s
        try:
            pose = self._transforms.pose(frame, base) if frame else None
            found = None if pose is None else self._read(pose)
        except FrameError as error:
            self._settle(None, f"{self._topic}: {error}", lasting=True)
        else:
            if found is not None:
                self._settle(found, self._slash(frame_id), source="tf_static")
            elif frame and waited_s < WAIT_S:
                self._mount = None
                return
            else:
                missing = self._missing(frame, base)
                self._settle(self._fallback, missing, lasting=self._fallback is None)
        self._settled = frame_id, base, version

    def _settle(
        self, mount: M | None, told: str, source: str = "robot profile", lasting: bool = False
    ) -> None:
        """Take a mount, None for none, and tell what is wrong, once."""
        self._mount = mount
        self._transforms.settle(self._topic)
        known = f"{mount} ({source})" if mount is not None else "unknown"
        # The sentence stays to be read there, when other problems have taken its place.
        self._health.fact(f"{self._topic} mount", f"{known}; {told}" if told else known)
        if told != self._told:
            self._told = told
            self._health.solved(f"frame of {self._topic}")
            if told and lasting:
                self._health.problem(f"frame of {self._topic}", told, ERROR, lasting=True)
            elif told:
                self._health.problem(f"frame of {self._topic}", told)

    def _missing(self, frame: str, base: str) -> str:
        """That no transform says where the sensor sits, and what follows."""
        if not frame:
            what, remedy = "its frame_id is empty", "set it in the driver"
        elif frame in self._transforms.moving:
            what = f"its frame {frame!r} comes on tf, as of a sensor that moves"
            remedy = "publish it on tf_static"
        else:
            what = f"tf_static does not connect its frame {frame!r} with {base!r}"
            remedy = "publish it there, by robot_state_publisher or static_transform_publisher"
        if self._fallback is not None:
            return f"{self._topic}: {what}, so the robot profile's mount is taken; {remedy}"
        return (
            f"{self._topic}: {what}, and the robot profile says nothing of its mount, so it is not "
            f"used; {remedy}, or add {self._topic}.mount to the profile"
        )

    def _slash(self, frame_id: str) -> str:
        if frame_id == bare(frame_id):
            return ""
        return (
            f"{self._topic}: its frame_id {frame_id!r} begins with a slash, which tf2 does not "
            f"allow, and is taken as {bare(frame_id)!r}; correct it in the driver"
        )
