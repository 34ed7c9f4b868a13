"""launch/foresight.launch.py: its arguments reach the nodes, and what is wrong is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
from harness import Bench
from launch import LaunchDescription, LaunchService
from launch.actions import (
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from rcl_interfaces.srv import GetParameters
from std_msgs.msg import String

from foresight_node.messages import LATCHED

pytestmark = pytest.mark.timeout(120)

FILE = Path(__file__).parents[2] / "launch" / "foresight.launch.py"
BRING_UP_S = 60.0


def stack(**arguments: object) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(FILE)),
        launch_arguments=[(key, str(value)) for key, value in arguments.items()],
    )


@launch_pytest.fixture
def in_a_namespace(domain: int, passthrough: Path, tmp_path: Path) -> LaunchDescription:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**/planning:\n  ros__parameters:\n    replan_period_s: 0.7\n")
    arguments = {"namespace": "robot1", "params_file": parameters, "bundle": passthrough}
    arguments["memory_file"] = tmp_path / "remembered.db"
    return LaunchDescription([stack(**arguments), ReadyToTest()])


@launch_pytest.fixture(params=["false", "true"], ids=["apart", "composed"])
def without_memory(
    domain: int, passthrough: Path, request: pytest.FixtureRequest
) -> LaunchDescription:
    arguments = {"bundle": passthrough, "memory": "false", "use_composition": request.param}
    return LaunchDescription([stack(**arguments), ReadyToTest()])


@launch_pytest.fixture
def with_an_altered_bundle(domain: int, altered: Path) -> LaunchDescription:
    return LaunchDescription([stack(bundle=altered), ReadyToTest()])


@pytest.fixture
def altered(passthrough: Path, tmp_path: Path) -> Path:
    """A bundle whose encoder is not the one of its manifest."""
    folder = tmp_path / "altered"
    folder.mkdir()
    for file in passthrough.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with (folder / "encoder.onnx").open("ab") as graph:
        graph.write(b"\0")
    return folder


@pytest.fixture
def peer(domain: int) -> Iterator[Bench]:
    peer = Bench(domain)
    yield peer
    peer.close()


@pytest.mark.launch(fixture=in_a_namespace)
def test_a_namespace_moves_the_whole_robot(peer: Bench, tmp_path: Path) -> None:
    states: list[String] = peer.collect(String, "/robot1/system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    client = peer.peer.create_client(GetParameters, "/robot1/planning/get_parameters")
    peer.wait_for(client.service_is_ready)
    names = ["replan_period_s", "default_timeout_s", "use_sim_time"]
    future = client.call_async(GetParameters.Request(names=names))
    peer.wait_for(future.done)
    period, timeout, sim_time = future.result().values
    assert (period.double_value, timeout.double_value) == (0.7, 120.0)
    assert not sim_time.bool_value
    ours = {"action_plan", "belief", "observation", "model_image", "current_place", "subgoal"}
    ours |= {"actuation_status", "cmd_vel"}
    ours |= {"heartbeat", "diagnostics"}

    def topics() -> set[str]:
        return {name for name, _ in peer.peer.get_topic_names_and_types()}

    peer.wait_for(lambda: {f"/robot1/{topic}" for topic in ours} <= topics())
    assert not {f"/{topic}" for topic in ours} & topics()
    assert (tmp_path / "remembered.db").exists()


@pytest.mark.launch(fixture=without_memory)
def test_a_robot_drives_without_memory(peer: Bench) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    assert "memory" not in peer.peer.get_node_names()


@pytest.mark.launch(fixture=with_an_altered_bundle)
def test_an_altered_bundle_keeps_everything_down(peer: Bench) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "failed", BRING_UP_S)
    assert "active" not in [state.data for state in states]


def test_without_respawn_a_dead_manager_ends_the_launch(
    domain: int, passthrough: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pids: dict[str, int] = {}

    def note(event: Any, _context: Any) -> None:
        pids[event.process_name.rsplit("-", 1)[0]] = event.pid

    def kill(_context: Any) -> None:
        os.kill(pids["lifecycle_manager"], signal.SIGKILL)

    service = LaunchService()
    service.include_launch_description(
        LaunchDescription(
            [
                RegisterEventHandler(OnProcessStart(on_start=note)),
                stack(bundle=passthrough, memory_file=tmp_path / "places.db"),
                TimerAction(period=3.0, actions=[OpaqueFunction(function=kill)]),
            ]
        )
    )
    service.run()
    captured = capfd.readouterr()
    assert "the lifecycle manager ended" in captured.out + captured.err
    assert len(pids) == 6


def test_a_missing_parameter_file_ends_the_launch(
    domain: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service = LaunchService()
    service.include_launch_description(
        LaunchDescription([stack(params_file=tmp_path / "absent.yaml")])
    )
    assert service.run() != 0
    captured = capfd.readouterr()
    assert "absent.yaml, which does not exist" in captured.out + captured.err
