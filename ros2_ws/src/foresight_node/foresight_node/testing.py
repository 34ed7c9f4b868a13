"""For tests of ROS packages: an installed program in a process of its own, seen from outside."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import domain_coordinator
import rclpy
from ament_index_python.packages import get_package_prefix
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from foresight_interfaces.msg import Heartbeat

TIMEOUT_S = 60.0
"""For whatever is waited for: generous, since a machine that tests is busy."""


def installed(package: str, executable: str, **parameters: Any) -> list[str]:
    """The command that runs a package's program with these parameters, as `ros2 run` would."""
    program = Path(get_package_prefix(package), "lib", package, executable)
    settings = [f"{name}:={json.dumps(value)}" for name, value in parameters.items()]
    options = [option for setting in settings for option in ("-p", setting)]
    return [str(program), "--ros-args", *options]


class Program:
    """A program that runs, and a peer in its ROS domain that listens. See `started`."""

    def __init__(self, command: Sequence[str], folder: Path, domain: int) -> None:
        self._output = folder / "output.txt"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        context = Context()
        rclpy.init(context=context, domain_id=domain)
        self._peer = Node("peer", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._peer)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def collect(self, kind: type, topic: str, qos: QoSProfile | int = 10) -> list[Any]:
        """A list that grows with each message on `topic`."""
        messages: list[Any] = []
        self._peer.create_subscription(kind, topic, messages.append, qos)
        return messages

    def wait_for(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Spin the peer until `condition` holds; fail when it does not in time, or the program
        has ended before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self._process.poll() is None, f"it ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s"
            self._executor.spin_once(timeout_sec=0.05)

    def wait_for_heartbeat(self, state: int = State.PRIMARY_STATE_UNCONFIGURED) -> None:
        """Wait until a node's heartbeat tells this lifecycle state."""
        beats = self.collect(Heartbeat, "heartbeat")
        self.wait_for(lambda: any(beat.lifecycle_state == state for beat in beats))

    def configure(self, node: str) -> bool:
        """Ask a lifecycle node to configure; whether it could."""
        client = self._peer.create_client(ChangeState, f"{node}/change_state")
        self.wait_for(client.service_is_ready)
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        answer = client.call_async(request)
        self.wait_for(answer.done)
        return bool(answer.result().success)

    def interrupt(self) -> int:
        """Send it Ctrl-C; its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(TIMEOUT_S)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._executor.shutdown()
        self._peer.destroy_node()
        rclpy.shutdown(context=self._peer.context)
        sys.stdout.write(self.output)  # pytest shows it when the test fails


@contextmanager
def started(command: Sequence[str]) -> Iterator[Program]:
    """Run a program in a ROS domain that no other test has, and keep its files and messages to
    itself: nothing leaves the machine."""
    candidates = itertools.count(os.getpid())
    with ExitStack() as stack:
        selector = domain_coordinator.domain_id(lambda: next(candidates) % 100 + 1)
        domain = stack.enter_context(selector)
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        own = {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": folder,
            "XDG_STATE_HOME": folder,
        }
        stack.enter_context(patch.dict(os.environ, own))
        program = Program(command, Path(folder), domain)
        stack.callback(program.close)
        yield program
