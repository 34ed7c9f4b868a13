"""Spins an ordinary node until something has happened or a signal comes."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable

import rclpy
from rclpy.action.server import RCLError
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from foresight_node import process


class Interrupted(Exception):
    """This process shall end: a signal came, or its launch has ended."""


def init(args: list[str] | None = None) -> None:
    """Start rclpy without its signal handlers: they would end the context in mid-sentence.

    Raises:
        SystemExit: it cannot start; one sentence on standard error has said why.
    """
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RCLError as error:
        remedy = "; set HOME or ROS_LOG_DIR to a folder for logs" if "logging" in str(error) else ""
        sys.exit(f"[FATAL] [foresight]: ROS does not start: {sentence(error)}{remedy}")


def sentence(error: Exception) -> str:
    """What an error of rcl says, without the place in its source."""
    return " ".join(re.sub(r", at /\S+:\d+", "", str(error)).split())


class Spinner:
    """Runs a node's callbacks in the calling thread."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._interrupted = False
        process.on_stop(self._interrupt)

    def until(self, happened: Callable[[], bool], timeout_s: float = math.inf) -> bool:
        """Spin until `happened()` is true; False if it is not within the time (steady clock).

        Raises:
            Interrupted: this process shall end.
        """
        deadline = time.monotonic() + timeout_s
        while not happened():
            if self._interrupted:
                raise Interrupted
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True

    def _interrupt(self) -> None:
        self._interrupted = True
