"""What the underlay does beside ROS 2's launch: it refuses clearly, and leaves nothing running."""

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import launch
import launch_ros
import pytest
from domain_coordinator import domain_id
from launch import UnsupportedFeatureError
from launch.actions import ExecuteProcess, GroupAction, IncludeLaunchDescription
from launch_ros.actions import LifecycleNode, Node, SetParameter, SetRemap
from launch_ros.descriptions import ParameterFile


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("launch", "LaunchIntrospector"),
        ("launch.actions", "OpaqueCoroutine"),
        ("launch.conditions", "LaunchConfigurationEquals"),
        ("launch.event_handlers", "OnExecutionComplete"),
        ("launch.substitutions", "Command"),
        ("launch_ros.actions", "ComposableNodeContainer"),
        ("launch_ros.actions", "LoadComposableNodes"),
        ("launch_ros.descriptions", "ComposableNode"),
        ("launch_ros", "events"),
    ],
)
def test_missing_names_are_refused_by_name(module, name):
    with pytest.raises(UnsupportedFeatureError, match=name):
        exec(f"from {module} import {name}", {})


def test_unknown_names_are_unknown():
    with pytest.raises(ImportError):
        exec("from launch.actions import NoSuchAction", {})
    assert not hasattr(launch_ros, "nothing")


@pytest.mark.parametrize(
    ("make", "feature"),
    [
        (lambda: GroupAction([], forwarding=False), "forwarding"),
        (lambda: ExecuteProcess(cmd=["true"], output_format="{line}"), "output_format"),
        (
            lambda: LifecycleNode(name="n", namespace="", executable="x", autostart=True),
            "autostart",
        ),
    ],
)
def test_missing_options_are_refused_by_name(make, feature):
    with pytest.raises(UnsupportedFeatureError, match=feature):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: ExecuteProcess(cmd=["true"], output="own_log"),
        lambda path: IncludeLaunchDescription(str(path.with_suffix(".xml"))),
        lambda path: Node(executable="true", parameters=[ParameterFile(path, allow_substs=True)]),
    ],
)
def test_what_shows_while_launching_is_refused_too(run, tmp_path, make, capsys):
    path = tmp_path / "parameters.yaml"
    path.write_text("a: $(anon x)")
    assert run(make(path)) == 1
    assert "not supported by Foresight's launch underlay" in capsys.readouterr().out


def test_words_that_rcl_takes_for_booleans_stay_words(run):
    """ROS 2's launch writes a bare y, which the node then reads as true."""
    code = (
        "import rclpy; rclpy.init(); node = rclpy.create_node('n');"
        "node.declare_parameter('word', ''); node.declare_parameter('words', ['']);"
        "print(node.get_parameter('word').value, *node.get_parameter('words').value)"
    )
    with domain_id() as domain:
        node = Node(
            executable=sys.executable,
            arguments=["-c", code],
            parameters=[{"word": "y", "words": ["n", "on"]}],
            additional_env={"ROS_DOMAIN_ID": str(domain)},
            cached_output=True,
        )
        assert run(node) == 0
    assert node.get_stdout() == "y n on\n", node.get_stderr()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("$(var robot", "closed"), ("$(env 'A)", "closed"), ("$(nonsense x)", "nonsense")],
)
def test_malformed_substitutions_in_files_are_told(text, problem):
    with pytest.raises(ValueError, match=problem):
        importlib.import_module("launch.frontend").parse_substitution(text)


def test_what_a_process_leaves_behind_is_stopped(run, tmp_path):
    """The process ends by itself, its child ignores SIGINT and SIGTERM."""
    pid_file = tmp_path / "pid"
    child = f"trap '' INT TERM; echo $$ > {pid_file}; while :; do sleep 0.1; done"
    process = ExecuteProcess(
        cmd=[
            sys.executable,
            "-c",
            f"import subprocess, time; subprocess.Popen(['sh', '-c', {child!r}]); time.sleep(0.5)",
        ]
    )
    assert run(process) == 0
    assert process.return_code == 0
    assert _ended(int(pid_file.read_text()))


PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess
service = LaunchService()
service.include_launch_description(LaunchDescription([
    ExecuteProcess(cmd=['sh', '-c', 'echo pid $$; exec sleep 30'], output='screen'),
]))
sys.exit(service.run())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_ending_signal_stops_the_processes(python, number):
    with subprocess.Popen(python(PROGRAM), stdout=subprocess.PIPE, text=True) as launched:
        line = ""
        while "] pid" not in line:
            line = launched.stdout.readline()
            assert line, "the launch ended early"
        launched.send_signal(number)
        launched.stdout.read()
        assert launched.wait() == 0
    assert _ended(int(line.split()[-1]))


def test_a_cancelled_launch_kills_its_processes():
    import asyncio

    service = launch.LaunchService()
    process = ExecuteProcess(cmd=["sh", "-c", "trap '' INT TERM; while :; do sleep 0.1; done"])
    service.include_launch_description(launch.LaunchDescription([process]))

    async def main() -> int:
        run = asyncio.ensure_future(service.run_async())
        await asyncio.sleep(0.5)
        run.cancel()
        return await run

    assert asyncio.run(main()) == 1
    assert _ended(process.process_details["pid"])


FAILING = """
import launch, launch_pytest, pytest
from launch.actions import OpaqueFunction
from launch_pytest.actions import ReadyToTest

@launch_pytest.fixture
def failing():
    def fail(context):
        raise RuntimeError('on purpose')
    return launch.LaunchDescription({entities})

@pytest.mark.launch(fixture=failing)
def test(): pass
"""


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("[OpaqueFunction(function=fail), ReadyToTest()]", "ended before it was ready"),
        ("[ReadyToTest(), OpaqueFunction(function=fail)]", "ended with code 1"),
    ],
)
def test_a_launch_that_fails_fails_its_test(tmp_path, entities, message):
    path = tmp_path / "test_it.py"
    path.write_text(FAILING.format(entities=entities))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert message in result.stdout


def test_parameters_and_remappings_of_a_group_stay_in_it(run):
    code = "import sys; print(*sys.argv[1:])"
    node = Node(executable=sys.executable, arguments=["-c", code], cached_output=True)
    run(
        SetParameter("a", 1),
        SetRemap("b", "c"),
        GroupAction([SetParameter("a", 2), SetRemap("b", "d")]),
        node,
    )
    assert node.get_stdout().split() == ["--ros-args", "-p", "a:=1", "-r", "b:=c"]


def _ended(pid: int) -> bool:
    """Return whether a process has ended, be it a zombie, within a second."""
    status = Path("/proc", str(pid), "stat")
    for _ in range(20):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
