"""Spins an ordinary node until something has happened or a signal comes."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


class Interrupted(Exception):
    """SIGINT or SIGTERM came."""


def init() -> None:
    """Start rclpy without its signal handlers: they would end the context in mid-sentence."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)


class Spinner:
    """Runs a node's callbacks in the calling thread."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._signals: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _frame: self._signals.append(received))

    def until(self, happened: Callable[[], bool], timeout_s: float = math.inf) -> bool:
        """Spin until `happened()` is true; False if it is not within the time (steady clock).

        Raises:
            Interrupted: a signal came.
        """
        deadline = time.monotonic() + timeout_s
        while not happened():
            if self._signals:
                raise Interrupted
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True
