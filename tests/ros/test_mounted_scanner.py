"""The whole graph explores with a scanner whose mount only tf_static tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from harness import Bench
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from rclpy.action import ActionClient
from std_msgs.msg import Bool, String

from foresight_interfaces.action import Explore
from foresight_node.messages import LATCHED

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]

LAUNCH = Path(__file__).parents[2] / "launch"
MOUNT = {"x_m": 0.1, "z_m": 0.16, "yaw_deg": 90.0, "upside_down": True}
BRING_UP_S, EXPLORE_S = 60.0, 90.0
DRIVEN_M = 4.0
"""So far the robot explores home 0, past furniture."""


@pytest.fixture(scope="module")
def profiles(homebot: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What the simulator knows of the robot, and what the stack is told: nothing of the mount."""
    folder = tmp_path_factory.mktemp("profiles")
    content = yaml.safe_load(homebot.read_text())
    files = []
    for name, mount in (("mounted", MOUNT), ("untold", None)):
        content["scan"]["mount"] = mount
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(content))
    return files[0], files[1]


@launch_pytest.fixture(scope="module")
def graph(module_domain: int, profiles: tuple[Path, Path], apartment: Path) -> LaunchDescription:
    def include(name: str, **arguments: object) -> IncludeLaunchDescription:
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH / f"{name}.launch.py")),
            launch_arguments=[(key, str(value)) for key, value in arguments.items()],
        )

    simulator, stack = profiles
    given = {"bundle": apartment, "use_sim_time": "true", "memory": "false"}
    return LaunchDescription(
        [
            include("simulation", robot=simulator),
            include("foresight", robot=stack, **given),
            ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def bench(module_domain: int) -> Iterator[Bench]:
    bench = Bench(module_domain)
    yield bench
    bench.close()


@pytest.mark.slow
@pytest.mark.launch(fixture=graph)
def test_the_robot_explores_without_a_bump(bench: Bench) -> None:
    states = bench.collect(String, "system_state", LATCHED)
    bumps = bench.collect(Bool, "bumper", 50)
    diagnostics = bench.collect(DiagnosticArray, "diagnostics", 50)

    def mounts() -> dict[str, str]:
        return {
            status.name: pair.value
            for array in diagnostics
            for status in array.status
            for pair in status.values
            if pair.key == "scan mount"
        }

    bench.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    said = "x 0.100 m, y 0.000 m, yaw 90.0 deg, upside down (tf_static)"
    bench.wait_for(lambda: mounts() == {"/actuation": said, "/planning": said}, BRING_UP_S)
    feedback: list[Any] = []
    client = ActionClient(bench.peer, Explore, "explore")
    bench.wait_for(client.server_is_ready)
    client.send_goal_async(
        Explore.Goal(time_limit_s=600.0),
        feedback_callback=lambda message: feedback.append(message.feedback),
    )
    bench.wait_for(lambda: feedback and feedback[-1].distance_travelled_m > DRIVEN_M, EXPLORE_S)
    client.destroy()
    assert bumps and not any(bump.data for bump in bumps)
