"""What viewers see of a goal: its picture, and in words what the robot does about it."""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker

from foresight.control.safety import State
from foresight_interfaces.msg import ActuationStatus
from foresight_node import ForesightNode
from foresight_node.messages import LATCHED, LATEST

TEXT_M, ABOVE_M = 0.12, 0.7
"""Height of the letters, and of the text over base_link."""
SHOWN_S = 3.0
"""Actuation tells its status every second; an older one is none."""
_NAMES = {int(state): state.name for state in State}
_STOPPED = (State.STOPPED, State.EMERGENCY)


class Viewing:
    """Publishes `goal_image` and, while somebody listens, `status_text`."""

    def __init__(self, node: ForesightNode[Any]) -> None:
        self._node = node
        self._pictures = node.advertise(Image, "goal_image", LATCHED)
        self._texts = node.advertise(Marker, "status_text", LATEST)
        self._shown: object = None

    def show_goal(self, request: Any) -> None:
        """Show the picture of an action's goal that is being driven to, once; others have none."""
        picture = getattr(request, "image", None)
        if picture is None or picture is self._shown:
            return
        self._shown = picture
        picture.header.stamp = self._node.get_clock().now().to_msg()
        self._pictures.publish(picture)

    def show_status(self, status: ActuationStatus, doing: str, base_frame: str) -> None:
        """Over the robot, what planning is doing and what actuation says to it."""
        if not self._texts.get_subscription_count():
            return
        text = Marker(ns="status", type=Marker.TEXT_VIEW_FACING, frame_locked=True)
        text.header.frame_id = base_frame  # without a stamp: wherever the robot is now
        text.text = f"{doing}\n{_NAMES.get(status.state, status.state)}: {status.reason}"
        text.pose.position.z, text.pose.orientation.w = ABOVE_M, 1.0
        text.scale.z = TEXT_M
        text.color.a = text.color.r = 1.0
        text.color.g = text.color.b = 0.3 if status.state in _STOPPED else 1.0
        text.lifetime = Duration(seconds=SHOWN_S).to_msg()
        self._texts.publish(text)
