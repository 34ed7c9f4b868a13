"""The demonstration's client, with a pilot that knows the way in the stack's place."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from launch_pytest.tools import process as tools
from launch_ros.actions import Node
from typer import Typer
from typer.testing import CliRunner

from foresight.apps import demo, demo_report

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]

LAUNCH = Path(__file__).parents[2] / "launch"
SEED = 3
SPEED = 2.0  # simulated seconds in a second


@pytest.fixture
def client(homebot: Path, tmp_path: Path) -> Node:
    return Node(
        package="foresight_demo",
        executable="demo_client",
        name="demo_client",
        parameters=[
            {
                "robot": str(homebot),
                "results": str(tmp_path / "results"),
                "tour_seed": SEED,
                "startup_timeout_s": 8.0,
                "progress_period_s": 0.5,
            }
        ],
        cached_output=True,
        output="screen",
    )


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    return tmp_path / "results" / "report.json"


def simulation() -> IncludeLaunchDescription:
    arguments = {"seed": str(SEED), "real_time_factor": str(SPEED)}
    source = PythonLaunchDescriptionSource(str(LAUNCH / "simulation.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def pilot(*leaves_out: int) -> ExecuteProcess:
    script = Path(__file__).with_name("pilot.py")
    return ExecuteProcess(cmd=[sys.executable, str(script), str(SEED), *map(str, leaves_out)])


@launch_pytest.fixture
def whole_tour(domain: int, client: Node) -> LaunchDescription:
    return LaunchDescription([simulation(), pilot(), client, ReadyToTest()])


@launch_pytest.fixture
def without_the_second(domain: int, client: Node) -> LaunchDescription:
    return LaunchDescription([simulation(), pilot(2), client, ReadyToTest()])


@launch_pytest.fixture
def without_a_stack(domain: int, client: Node) -> LaunchDescription:
    return LaunchDescription([simulation(), client, ReadyToTest()])


@pytest.mark.launch(fixture=whole_tour)
def test_a_tour_is_driven_measured_and_shown(
    client: Node, launch_context: Any, report_file: Path
) -> Iterator[None]:
    assert tools.wait_for_exit_sync(launch_context, client, timeout=90.0)
    yield
    assert client.return_code == 0
    content = json.loads(report_file.read_text())
    assert content["all_reached"] and content["failure"] is None
    assert 0.2 < content["real_time_factor"] < 1.1 * SPEED  # less on a busy machine
    for goal in content["goals"]:
        assert goal["code"] == "REACHED" and goal["final_distance_m"] < 0.3
        assert goal["shortest_way_m"] / 0.4 < goal["seconds"] < 60
        assert goal["plan_ms"] == {"p50": 21.0, "p95": 21.5}
        assert 0 < goal["image_to_command_ms"]["p50"] < 500
        assert goal["frames"] == pytest.approx(10 * goal["seconds"], abs=3)
    assert not all(goal["in_sight_from_start"] for goal in content["goals"])
    assert (report_file.parent / "trajectory.png").stat().st_size > 50_000
    assert (report_file.parent / "demo.mp4").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.launch(fixture=without_the_second)
def test_a_missed_goal_is_a_failure_and_the_tour_goes_on(
    client: Node, launch_context: Any, report_file: Path
) -> Iterator[None]:
    assert tools.wait_for_output_sync(
        launch_context,
        client,
        lambda text: re.search(r"goal 1/3 +\d+ s +0.1 m driven +energy  0.500", text),
        timeout=60.0,
    )
    assert tools.wait_for_output_sync(
        launch_context, client, lambda text: "(no way on was found)" in text, timeout=60.0
    )
    assert tools.wait_for_exit_sync(launch_context, client, timeout=90.0)
    yield
    assert client.return_code == 1
    goals = json.loads(report_file.read_text())["goals"]
    assert [goal["reached"] for goal in goals] == [True, False, True]
    assert goals[1]["code"] == "BLOCKED" and goals[1]["message"] == "no way on was found"


@pytest.mark.slow
@pytest.mark.launch(fixture=without_a_stack)
def test_a_stack_that_does_not_come_up_is_named(
    client: Node, launch_context: Any, report_file: Path
) -> Iterator[None]:
    assert tools.wait_for_exit_sync(launch_context, client, timeout=90.0)
    yield
    assert client.return_code == 1
    content = json.loads(report_file.read_text())
    assert "did not become active within 8 s" in content["failure"]
    assert content["goals_reached"] == 0 and len(content["goals"]) == 3


def failed_demo(folder: Path, bundle: Path) -> str:
    """What `foresight demo` prints with a bundle that cannot be used."""
    app = Typer()
    app.command()(demo.demo_command)
    result = CliRunner().invoke(app, ["--results", str(folder), "--bundle", str(bundle)])
    assert result.exit_code == 1
    assert "[INFO]" not in result.output and "Traceback" not in result.output
    return result.output


@pytest.mark.slow
def test_the_command_says_why_a_demonstration_cannot_run(domain: int, tmp_path: Path) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    output = failed_demo(out, empty)
    assert output.count(str(empty)) <= 3, "each node says it once"
    assert "perception: cannot configure" in output
    assert "the demonstration failed: the stack could not be brought up" in output
    assert "[INFO]" in (out / demo.LAUNCH_LOG).read_text()


def test_a_bundle_that_does_not_exist_ends_the_demonstration_at_once(
    domain: int, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    assert f"bundle is {nowhere}, which does not exist" in failed_demo(tmp_path / "out", nowhere)


@pytest.mark.slow
def test_a_place_that_was_named_is_found_again_after_everything_was_restarted(
    domain: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    demo.remember(
        {
            "world": "0",
            "seed": "27",
            "results": str(tmp_path),
            "places": "1",
            "explore_limit": "30",
        },
        tmp_path,
    )
    said = capfd.readouterr().out
    assert said.count("starting on ROS_DOMAIN_ID") == 2
    assert re.search(r"exploring +\d+ s .*places remembered, 0/1 named", said)
    content = demo_report.load(tmp_path)
    assert content["exploration"]["code"] == "COMPLETED"
    assert content["exploration"]["seconds"] < 32
    (goal,) = content["goals"]
    assert goal["name"] == "kitchen" and goal["code"] == "REACHED", goal["message"]
    assert goal["reached"] and content["all_reached"]
    assert (tmp_path / "trajectory.png").stat().st_size > 50_000
