"""How soon a death is noticed, and that a busy node is not taken for a dead one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest
from harness import Bench
from rclpy.parameter import Parameter
from std_msgs.msg import String

from foresight_lifecycle.manager import LifecycleManager
from foresight_node.messages import LATCHED

DEATHS = int(os.environ.get("FORESIGHT_DEATHS", "3"))
"""Of each kind; what docs/safety.md states was measured with 20."""
NOTICED_S = 0.3
BUSY_S = 0.8
BRING_UP_S = 30.0

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120 + 20 * DEATHS)]

PROGRAM = """
import sys, time
from foresight_node import ForesightNode, run
from idle_node import Nothing

def make():
    node = ForesightNode("idle", Nothing)
    if "busy" in sys.argv:
        node.every(1.0, lambda: time.sleep({busy_s}))
    return node

sys.exit(run(make))
"""


class Crew:
    """Two nodes as processes, their manager, and when it said what."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.said: list[tuple[float, str]] = []
        bench.peer.create_subscription(
            String,
            "system_state",
            lambda state: self.said.append((time.monotonic(), state.data)),
            LATCHED,
        )
        values = {"node_names": ["first", "driver"], "respawn": True}
        self.manager = LifecycleManager(
            context=bench.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        bench.executor.add_node(self.manager)

    def start(self, name: str, *words: str) -> None:
        program = PROGRAM.format(busy_s=BUSY_S)
        command = [sys.executable, "-c", program, *words, "--ros-args", "-r", f"__node:={name}"]
        self.processes[name] = subprocess.Popen(command, cwd=Path(__file__).parent)

    def wait_until_active(self) -> None:
        self.bench.wait_for(lambda: self.said and self.said[-1][1] == "active", BRING_UP_S)

    def seconds_to_notice(self, strike: Callable[[], object]) -> float:
        """From the strike to the manager's word that it stops the others."""
        self.wait_until_active()
        self.bench.spin(0.3)  # heartbeats are under way
        self.said.clear()
        struck_s = time.monotonic()
        strike()
        self.bench.wait_for(lambda: self.said)
        assert self.said[0][1] == "stopping"
        return self.said[0][0] - struck_s

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.manager.destroy_node()


@pytest.fixture
def crew(bench: Bench) -> Iterator[Crew]:
    crew = Crew(bench)
    yield crew
    crew.close()


def check(what: str, seconds: list[float]) -> None:
    text = f"{what}: noticed after {median(seconds):.3f} s (median), {max(seconds):.3f} s (longest)"
    print(text)
    assert median(seconds) < NOTICED_S, text


def test_a_killed_process_is_noticed_at_once(crew: Crew) -> None:
    crew.start("driver")
    seconds = []
    for _ in range(DEATHS):
        crew.start("first")
        seconds.append(crew.seconds_to_notice(crew.processes["first"].kill))
        crew.processes["first"].wait()
    check(f"{DEATHS} killed", seconds)


@pytest.mark.slow
def test_a_frozen_process_is_noticed_at_once_and_taken_in_again(crew: Crew) -> None:
    crew.start("driver")
    crew.start("first")
    process, seconds = crew.processes["first"], []
    for _ in range(DEATHS):
        seconds.append(crew.seconds_to_notice(lambda: process.send_signal(signal.SIGSTOP)))
        process.send_signal(signal.SIGCONT)
    crew.wait_until_active()
    check(f"{DEATHS} frozen", seconds)


@pytest.mark.slow
def test_a_node_that_is_busy_is_not_dead(crew: Crew) -> None:
    """As one that loads something, or whose interpreter collects garbage."""
    crew.start("driver")
    crew.start("first", "busy")
    crew.wait_until_active()
    crew.bench.spin(6.0)
    assert [state for _, state in crew.said][-1] == "active"
    assert "stopping" not in [state for _, state in crew.said]
