"""Whatever ends a launch, a robot at full speed comes to rest, and no process is left.

The simulated robot has a launch of its own; that of the stack is struck. FORESIGHT_STOPS=20 strikes
20 times in each way, and allows nothing for a busy machine.
"""

from __future__ import annotations

import importlib.util
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import launch_pytest
import psutil
import pytest
from harness import Bench
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from launch_ros.actions import SetRemap
from rig import REMAPS, START, Rig

from foresight.bodies.profile import RobotProfile
from foresight_interfaces.msg import Heartbeat
from foresight_node.process import LAUNCH

ROOT = Path(__file__).parents[2]
STOPS = int(os.environ.get("FORESIGHT_STOPS", "1"))
SLACK_S = 0.0 if "FORESIGHT_STOPS" in os.environ else 1.0
"""What a busy machine may add where nothing is measured."""
REST_S = 0.7
"""From the signal to rest, at full speed."""
BRING_UP_S, TAKE_DOWN_S = 60.0, 30.0

PROFILE = RobotProfile.load(ROOT / "config" / "robots" / "homebot.yaml")
FORESIGHT = (sys.executable, "-m", "foresight.apps.cli", "launch", "foresight.launch.py")
ROS2 = ("ros2", "launch", "foresight_bringup", "foresight.launch.py")

pytestmark = [pytest.mark.alone, pytest.mark.timeout(60 + STOPS * (BRING_UP_S + TAKE_DOWN_S))]
with_ros2_launch = pytest.mark.skipif(
    importlib.util.find_spec("ros2launch") is None, reason="ROS 2's own ros2 launch is not here"
)


class Stack:
    """A launch of the stack, and all that it started."""

    def __init__(self, command: tuple[str, ...], **arguments: object) -> None:
        words = [f"{name}:={value}" for name, value in arguments.items()]
        self.output = b""
        self.launch = subprocess.Popen(
            [*command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.nodes: list[psutil.Process] = []

    def strike(self, number: signal.Signals) -> None:
        """Send launch, and nobody else, a signal."""
        self.nodes = psutil.Process(self.launch.pid).children(recursive=True)
        self.launch.send_signal(number)

    def code_at_the_end(self) -> int:
        """Launch's exit code, once all that it started has ended; fails if that does not happen."""
        self.output, _ = self.launch.communicate(timeout=TAKE_DOWN_S)
        _, left = psutil.wait_procs(self.nodes, timeout=TAKE_DOWN_S)
        assert not left, f"{left} outlived their launch"
        return self.launch.returncode

    def close(self) -> None:
        """In case that a test failed half way."""
        if self.launch.poll() is None:
            self.nodes += psutil.Process(self.launch.pid).children(recursive=True)
            self.launch.kill()
        for node in self.nodes:
            if node.is_running():
                node.kill()
        self.launch.communicate()


@launch_pytest.fixture(scope="module")
def drivers(module_domain: int) -> LaunchDescription:
    """The simulated robot, whose messages go through the rig."""
    x, y, yaw = START
    start = {"start_x": x, "start_y": y, "start_yaw": yaw}
    simulation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(ROOT / "launch" / "simulation.launch.py")),
        launch_arguments=[(name, str(value)) for name, value in start.items()],
    )
    remaps = [SetRemap(source, target) for source, target in REMAPS]
    return LaunchDescription([GroupAction([*remaps, simulation]), ReadyToTest()])


@pytest.fixture(scope="module")
def rig(module_domain: int) -> Iterator[Rig]:
    rig = Rig(module_domain, PROFILE.limits)
    yield rig
    rig.close()


@pytest.mark.launch(fixture=drivers)
@pytest.mark.parametrize(
    "composed",
    [
        pytest.param("false", id="apart"),
        pytest.param("true", id="composed", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        pytest.param(FORESIGHT, signal.SIGTERM, 0, id="foresight_launch_SIGTERM"),
        pytest.param(
            FORESIGHT, signal.SIGHUP, 0, id="foresight_launch_SIGHUP", marks=pytest.mark.slow
        ),
        pytest.param(FORESIGHT, signal.SIGKILL, -9, id="foresight_launch_SIGKILL"),
        pytest.param(ROS2, signal.SIGTERM, -15, id="ros2_launch_SIGTERM", marks=with_ros2_launch),
        pytest.param(ROS2, signal.SIGKILL, -9, id="ros2_launch_SIGKILL", marks=with_ros2_launch),
    ],
)
def test_a_robot_at_full_speed_comes_to_rest(
    rig: Rig,
    apartment: Path,
    composed: str,
    command: tuple[str, ...],
    number: signal.Signals,
    code: int,
) -> None:
    commanded, rested = [], []
    for _ in range(STOPS):
        arguments = {"bundle": apartment, "use_sim_time": "True", "memory": "False"}
        stack = Stack(command, **arguments, use_composition=composed)
        try:
            rig.reach_full_speed(BRING_UP_S)
            struck_s = time.monotonic()
            stack.strike(number)
            rested.append(rig.rest_after(struck_s, 10.0).said_s - struck_s)
            commanded.append(_zero_after(rig, struck_s) - struck_s)
            assert stack.code_at_the_end() == code, stack.output.decode()
        finally:
            stack.close()
    text = f"{number.name}: the command was zero after {_told(commanded)}, at rest {_told(rested)}"
    print(text)
    assert max(rested) <= REST_S + SLACK_S, text


def _zero_after(rig: Rig, struck_s: float) -> float:
    """When the first command to stand was sent; the robot may be at rest a moment earlier."""

    def zeros() -> list[float]:
        return [sent_s for sent_s, linear, _ in rig.commands if sent_s > struck_s and linear == 0.0]

    try:
        rig.bench.wait_for(zeros)
    except AssertionError:
        heard = [(f"{s - struck_s:.2f} s", f"{v:.3f} m/s", n) for s, v, n in rig.commands[-12:]]
        raise AssertionError(
            f"the robot's driver stopped it; the last commands: {heard}; {rig.seen()}"
        ) from None
    return zeros()[0]


def _told(seconds: list[float]) -> str:
    return f"{median(seconds):.3f} s (median), {max(seconds):.3f} s (longest)"


# --- one node, and who started it

ALONE = """
from launch import LaunchDescription
from foresight_bringup.arguments import declared
from foresight_bringup.processes import node, started

def generate_launch_description():
    alone = node("foresight_actuation", "actuation", [])
    return LaunchDescription([*declared("namespace", "log_level"), *started(alone)])
"""
SHELL_BETWEEN = """launch-prefix:=sh -c '"$0" "$@"; true'"""
FIRMER_S = 5.0
"""Who has not ended so long after SIGINT gets SIGTERM from launch."""
IDLE = (sys.executable, str(Path(__file__).with_name("idle_node.py")))


class Node:
    """A lifecycle node that somebody has started, known by its heartbeats."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._beats: list[Heartbeat] = bench.collect(Heartbeat, "heartbeat", 50)
        self.process: psutil.Process | None = None

    def wait_until_it_beats(self) -> psutil.Process:
        self._beats.clear()
        self._bench.wait_for(lambda: self._beats, BRING_UP_S)
        self.process = psutil.Process(int(self._beats[-1].process.split()[-1]))
        return self.process

    def close(self) -> None:
        if self.process is not None and self.process.is_running():
            self.process.kill()


@pytest.fixture
def alone(tmp_path: Path) -> list[str]:
    """A command that launches one node."""
    file = tmp_path / "alone.launch.py"
    file.write_text(ALONE)
    return [*FORESIGHT[:-1], str(file)]


@pytest.fixture
def node(bench: Bench) -> Iterator[Node]:
    node = Node(bench)
    yield node
    node.close()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="child"),
        pytest.param([SHELL_BETWEEN], id="grandchild", marks=pytest.mark.slow),
    ],
)
def test_a_node_ends_when_its_launch_is_killed(
    alone: list[str], node: Node, words: list[str]
) -> None:
    launch = subprocess.Popen([*alone, *words], stdin=subprocess.DEVNULL)
    process = node.wait_until_it_beats()
    assert (process.ppid() == launch.pid) == (not words)
    launch.kill()
    launch.wait()
    process.wait(TAKE_DOWN_S)


@pytest.mark.parametrize("gone", ["0", "1"], ids=["its_number_taken", "its_number_free"])
def test_a_node_ends_when_its_launch_was_gone_before_it_looked(domain: int, gone: str) -> None:
    number = os.getpid() if gone == "0" else _free_number()
    name = f"{os.readlink('/proc/self/ns/pid')} {number} 1 0"  # began a tick after the machine did
    ended = subprocess.run(
        IDLE, env=os.environ | {LAUNCH: name}, timeout=TAKE_DOWN_S, capture_output=True, check=False
    )
    assert ended.returncode == 0
    assert b"the launch that started this process has ended" in ended.stderr


def _free_number() -> int:
    with subprocess.Popen(["true"]) as ended:
        pass
    return ended.pid


def test_a_node_whose_launch_cannot_be_seen_lives(node: Node) -> None:
    with subprocess.Popen(IDLE, env=os.environ | {LAUNCH: "pid:[1] 1 1 0"}) as process:
        node.wait_until_it_beats()
        node.wait_until_it_beats()
        process.terminate()
    assert process.returncode == 0


def test_a_node_started_by_hand_outlives_its_shell(node: Node) -> None:
    subprocess.run(["sh", "-c", '"$0" "$1" &', *IDLE], check=True)
    process = node.wait_until_it_beats()
    assert process.is_running()
    process.send_signal(signal.SIGHUP)
    process.wait(TAKE_DOWN_S)


@pytest.mark.parametrize("nohup", [[], ["nohup"]], ids=["hung_up", "nohup"])
def test_a_hung_up_node_ends_unless_told_not_to(node: Node, nohup: list[str]) -> None:
    command = [*nohup, *IDLE]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        node.wait_until_it_beats()
        process.send_signal(signal.SIGHUP)
        if nohup:
            node.wait_until_it_beats()
            process.terminate()
    assert process.returncode == 0


def test_sigint_to_launch_alone_reaches_a_node_at_once(alone: list[str], node: Node) -> None:
    """In a terminal, launch leaves it to Ctrl-C to reach all."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(alone[0], alone)
    reader = threading.Thread(target=_read_on, args=(terminal,))
    reader.start()
    process = node.wait_until_it_beats()
    told_s = time.monotonic()
    os.kill(pid, signal.SIGINT)
    process.wait(TAKE_DOWN_S)
    assert time.monotonic() - told_s < FIRMER_S
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    reader.join()
    os.close(terminal)


def test_a_closed_terminal_ends_launch_and_node(alone: list[str], node: Node) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(alone[0], alone)
    process = node.wait_until_it_beats()
    os.close(terminal)
    process.wait(TAKE_DOWN_S)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _read_on(terminal: int) -> None:
    """Whoever writes to a full terminal would wait."""
    with suppress(OSError):  # how Linux tells the end of a terminal
        while os.read(terminal, 4096):
            pass
