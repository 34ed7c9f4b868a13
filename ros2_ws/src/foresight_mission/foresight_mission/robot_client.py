"""The robot as a mission sees it: the stack's actions and services, and the camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from foresight.missions.image_store import save
from foresight.perception import image
from foresight.perception.image import Rgb
from foresight_interfaces.action import Explore, NavigateToPlace
from foresight_interfaces.srv import Recall, Remember
from foresight_mission.jobs import ActionJob, PictureJob, ServiceJob
from foresight_node.messages import LATCHED


class RosRobot:
    """Implements `foresight.missions.Robot` on a node's executor."""

    def __init__(self, node: Node, patience_s: float, pictures: str, compressed: bool) -> None:
        """
        Args:
            node: has the clients and subscriptions.
            patience_s: how long a job waits for its server, s.
            pictures: folder for pictures.
            compressed: take CompressedImage from '<image>/compressed', not Image from 'image',
                wherever that is remapped to.
        """
        self.patience_s = patience_s
        self._node, self._pictures, self._compressed = node, pictures, compressed
        self._state = ""
        self._ending: list[tuple[ActionClient, Future]] = []
        self._navigate = ActionClient(node, NavigateToPlace, "navigate_to_place")
        self._explore = ActionClient(node, Explore, "explore")
        self._remember = node.create_client(Remember, "remember")
        self._recall = node.create_client(Recall, "recall")
        node.create_subscription(String, "system_state", self._on_state, LATCHED)

    # --- requests of a mission

    def now_s(self) -> float:
        return self._node.get_clock().now().nanoseconds * 1e-9

    def find(self, place: str) -> ServiceJob:
        return ServiceJob(self, self._recall, "recall", Recall.Request(name=place), False)

    def go(self, place: str, timeout_s: float) -> ActionJob:
        def goal(left_s: float) -> NavigateToPlace.Goal:
            return NavigateToPlace.Goal(name=place, timeout_s=left_s)

        return ActionJob(self, self._navigate, "navigate_to_place", goal, timeout_s)

    def explore(self, time_limit_s: float, radius_m: float) -> ActionJob:
        def goal(left_s: float) -> Explore.Goal:
            return Explore.Goal(time_limit_s=left_s, radius_m=radius_m)

        return ActionJob(self, self._explore, "explore", goal, time_limit_s)

    def remember(self, place: str) -> ServiceJob:
        # The name is valid, so a refusal is temporary: no observation has arrived yet.
        return ServiceJob(self, self._remember, "remember", Remember.Request(name=place), True)

    def photograph(self, file: str) -> PictureJob:
        return PictureJob(self, self._subscribe, lambda message: self._keep(message, file))

    # --- for the jobs and the node

    def why_unavailable(self, name: str, ready: bool) -> str:
        """Why `name` cannot be requested now; empty if it can.

        The lifecycle manager, if there is one, notices a death long before the node disappears from
        the ROS graph.
        """
        if self._state not in ("", "active"):
            return f"the stack is {self._state}, not active"
        return "" if ready else f"{name} is not available"

    def let_end(self, server: ActionClient, ended: Future) -> None:
        """`settled` waits for this future as long as its server is up."""
        self._ending.append((server, ended))

    @property
    def settled(self) -> bool:
        """Whether everything that was cancelled has ended."""
        self._ending = [
            (server, ended)
            for server, ended in self._ending
            if not ended.done() and server.server_is_ready()
        ]
        return not self._ending

    def destroy(self) -> None:
        """Destroy the action clients; the node destroys the rest."""
        self._navigate.destroy()
        self._explore.destroy()

    def _on_state(self, state: String) -> None:
        self._state = state.data

    def _subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        kind, topic = Image, self._node.resolve_topic_name("image")
        if self._compressed:  # as image_transport does: it moves with the image
            kind, topic = CompressedImage, f"{topic}/compressed"
        subscription = self._node.create_subscription(
            kind, topic, callback, qos_profile_sensor_data
        )
        return lambda: self._node.destroy_subscription(subscription)

    def _keep(self, message: Image | CompressedImage, file: str) -> str:
        return f"saved as {save(_pixels(message), self._pictures, file)}"


def _pixels(message: Image | CompressedImage) -> Rgb:
    if isinstance(message, CompressedImage):
        return image.decode_compressed(message.data)
    return image.decode(message.data, message.width, message.height, message.step, message.encoding)
