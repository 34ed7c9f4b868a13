"""Asks the running stack how it is: exit code 0 when it is OK or WARN, 1 with one sentence else.

    health.py [--namespace NAMESPACE] [--timeout SECONDS]

Reads `system_health` (diagnostic_msgs/DiagnosticArray, latched), whose first status is the stack.
The lifecycle manager sends it on every change only, so its age says nothing: what has to be fresh
is the manager's own `diagnostics`, once a second.

Without --namespace it is the `namespace:=` that process 1 was started with, which is the launch in
a container. The stack has to run on this machine, with the same ROS_DOMAIN_ID.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions

HEALTHY = (DiagnosticStatus.OK, DiagnosticStatus.WARN)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MANAGER = "lifecycle_manager"


class Ill(Exception):
    """The stack is not well; the message says why."""


def namespace_of(arguments: Iterable[str]) -> str:
    """The last `namespace:=` of launch arguments, else the root."""
    named = [a.removeprefix("namespace:=") for a in arguments if a.startswith("namespace:=")]
    return "/" + (named[-1] if named else "").strip("/")


def process_1() -> list[str]:
    """The command line of process 1; empty where it may not be read."""
    try:
        return Path("/proc/1/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


class Listener:
    """Keeps the last status of the stack, and whether its manager is at work."""

    def __init__(self, node: Node) -> None:
        self.stack: DiagnosticStatus | None = None
        self.manager_works = False
        self._manager = f"{node.get_namespace().rstrip('/')}/{MANAGER}"
        node.create_subscription(DiagnosticArray, "system_health", self._on_health, LATCHED)
        node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, 10)

    def _on_health(self, message: DiagnosticArray) -> None:
        if message.status:
            self.stack = message.status[0]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.manager_works |= any(status.name == self._manager for status in message.status)


def ask(namespace: str, timeout_s: float) -> str:
    """What the stack in a namespace says of itself.

    Raises:
        Ill: it says nothing in time, or that it is not well.
    """
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node(
        f"health_{os.getpid()}",
        namespace=namespace,
        context=context,
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        listener = Listener(node)
        spin_until(
            executor, lambda: listener.stack is not None and listener.manager_works, timeout_s
        )
        return judge(listener, namespace, timeout_s)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def spin_until(
    executor: SingleThreadedExecutor, done: Callable[[], bool], timeout_s: float
) -> None:
    end_s = time.monotonic() + timeout_s
    while not done() and (left_s := end_s - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left_s)


def judge(listener: Listener, namespace: str, timeout_s: float) -> str:
    """The stack's own words; Ill unless it is well and heard."""
    if listener.stack is None:
        raise Ill(
            f"nothing was heard on {namespace.rstrip('/')}/system_health for {timeout_s:g} s: the "
            f"stack is not running here, or has another namespace or ROS_DOMAIN_ID"
        )
    if not listener.manager_works:
        raise Ill(
            f"the lifecycle manager has sent no diagnostics for {timeout_s:g} s: it hangs; its "
            f"last word was: {listener.stack.message}"
        )
    if listener.stack.level not in HEALTHY:
        raise Ill(listener.stack.message)
    return listener.stack.message


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the running stack how it is.")
    parser.add_argument("--namespace", help="of the robot; default: process 1's namespace:=")
    parser.add_argument("--timeout", type=float, default=8.0, help="seconds to listen, default 8")
    options = parser.parse_args()
    # Only this machine, and no shared memory: another user's could not be opened.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SYSTEM_DEFAULT"
    os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(Path(__file__).with_name("udp.xml"))
    arguments = process_1() if options.namespace is None else [f"namespace:={options.namespace}"]
    try:
        print(ask(namespace_of(arguments), options.timeout))
    except (Ill, InvalidNamespaceException) as reason:
        print(f"unhealthy: {' '.join(str(reason).split())}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
