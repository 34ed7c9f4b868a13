"""One node under test and a peer that talks to it, in this process and a domain of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

TIMEOUT_S = 10.0


class Bench:
    """Spins a node and its peer in the test's own thread: what a test waits for, it drives."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.peer = Node("peer", context=self.context)
        self.executor.add_node(self.peer)
        self._nodes: list[Any] = []

    def start(self, kind: Callable[..., Any], **parameters: Any) -> Any:
        """A node of `kind` with these parameters, unconfigured."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = kind(context=self.context, parameter_overrides=overrides)
        self.executor.add_node(node)
        self._nodes.append(node)
        return node

    def bring_up(self, kind: Callable[..., Any], **parameters: Any) -> Any:
        """A node of `kind`, active."""
        node = self.start(kind, **parameters)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        return node

    def collect(self, kind: type, topic: str, qos: QoSProfile | int = 10) -> list[Any]:
        """A list that grows with each message on `topic`."""
        messages: list[Any] = []
        self.peer.create_subscription(kind, topic, messages.append, qos)
        return messages

    def publisher(self, kind: type, topic: str, qos: QoSProfile | int = 10) -> Any:
        """A publisher that the node under test has found."""
        publisher = self.peer.create_publisher(kind, topic, qos)
        self.wait_for(lambda: publisher.get_subscription_count() > 0)
        return publisher

    def wait_for(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Spin until `condition` holds; the test fails when it does not in time."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not within {timeout_s} s"
            self.executor.spin_once(timeout_sec=0.05)

    def spin(self, duration_s: float) -> None:
        """Spin for a while, for what must not happen."""
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def now(self) -> Any:
        """The present stamp."""
        return self.peer.get_clock().now().to_msg()

    def close(self) -> None:
        """Take everything down."""
        for node in self._nodes:
            node.take_down()
        self.executor.shutdown()
        for node in [*self._nodes, self.peer]:
            node.destroy_node()
        rclpy.shutdown(context=self.context)
