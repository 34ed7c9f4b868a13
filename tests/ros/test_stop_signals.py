"""Whatever ends a launch, a robot at full speed comes to rest, and no process is left.

The simulated robot has a launch of its own; that of the stack is struck. FORESIGHT_STOPS=20 strikes
20 times in each way, and allows nothing for a busy machine.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import launch_pytest
import psutil
import pytest
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from launch_ros.actions import SetRemap
from rig import REMAPS, START, Rig

from foresight.bodies.profile import RobotProfile

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

pytestmark = pytest.mark.timeout(60 + STOPS * (BRING_UP_S + TAKE_DOWN_S))
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
@pytest.mark.parametrize("composed", ["false", "true"], ids=["apart", "composed"])
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        pytest.param(FORESIGHT, signal.SIGTERM, 0, id="foresight_launch_SIGTERM"),
        pytest.param(FORESIGHT, signal.SIGHUP, 0, id="foresight_launch_SIGHUP"),
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
            zeros = [s for s, linear, _ in rig.commands if s > struck_s and linear == 0.0]
            assert zeros, "no command to stop was heard: the robot's driver stopped it"
            commanded.append(zeros[0] - struck_s)
            assert stack.code_at_the_end() == code, stack.output.decode()
        finally:
            stack.close()
    text = f"{number.name}: the command was zero after {_told(commanded)}, at rest {_told(rested)}"
    print(text)
    assert max(rested) <= REST_S + SLACK_S, text


def _told(seconds: list[float]) -> str:
    return f"{median(seconds):.3f} s (median), {max(seconds):.3f} s (longest)"
