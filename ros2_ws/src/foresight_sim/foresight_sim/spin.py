"""Runs an ordinary node until a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


def spin_until(node: Node, finished: Callable[[], bool]) -> bool:
    """Spin until `finished()` or SIGINT or SIGTERM; True when it was `finished`.

    The caller has initialised rclpy without its signal handlers: theirs end the context at once,
    and a node could not publish its last word.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: signals.append(received))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not signals:
            executor.spin_once(timeout_sec=0.1)
            if finished():
                return True
    except ExternalShutdownException:
        pass
    finally:
        executor.shutdown()
    return False
