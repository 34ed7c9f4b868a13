"""The health of the whole stack in one message: the first thing to look at."""

from __future__ import annotations

import time
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from foresight_node import ERROR, OK
from foresight_node.messages import LATCHED

FRESH_S = 3.0
"""Diagnostics are published once a second."""
STALE = DiagnosticStatus.STALE


class Board:
    """Collects `diagnostics` and publishes `system_health` whenever it has changed."""

    def __init__(self, node: Node, names: list[str]) -> None:
        """
        Args:
            node: has the publisher and the subscription.
            names: of the nodes to report, fully qualified.
        """
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "system_health", LATCHED)
        self._heard = dict.fromkeys(names, (DiagnosticStatus(), float("-inf")))
        self._published: list[DiagnosticStatus] = []
        node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, 50)

    def publish(self, state: str, level: bytes, reason: str, silent: Mapping[str, str]) -> None:
        """
        Args:
            state: of the stack, a word.
            level: of the stack itself; the published one is no better than the worst node's.
            reason: why it is in this state, a sentence; may be empty.
            silent: nodes that cannot report, and why.
        """
        nodes = [self._status_of(name, silent.get(name, "")) for name in self._heard]
        worst = max(nodes, key=lambda status: _rank(status.level))
        if not reason and worst.level != OK:
            reason = f"{worst.name}: {worst.message}"
        system = DiagnosticStatus(
            level=max(level, _rank(worst.level)) if state == "active" else level,
            name="system",
            message=f"{state}: {reason}" if reason else state,
            values=[KeyValue(key="state", value=state)],
        )
        statuses = [system, *nodes]
        if statuses == self._published:
            return
        self._published = statuses
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _status_of(self, name: str, silent: str) -> DiagnosticStatus:
        status, heard_s = self._heard[name]
        if silent:
            return DiagnosticStatus(level=ERROR, name=name, message=silent)
        if time.monotonic() - heard_s > FRESH_S:
            return DiagnosticStatus(level=STALE, name=name, message="no diagnostics were received")
        return DiagnosticStatus(level=status.level, name=name, message=status.message)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name in self._heard:
                self._heard[status.name] = (status, time.monotonic())


def _rank(level: bytes) -> bytes:
    """A node without diagnostics counts as one in error."""
    return ERROR if level == STALE else level
