"""What the underlay does beside ROS 2's launch: it refuses what it lacks, and where that hangs."""

import importlib
import subprocess
import sys

import launch_ros
import pytest
from launch import LaunchDescription, LaunchService, UnsupportedFeatureError
from launch.actions import (
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterFile


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("launch", "LaunchIntrospector"),
        ("launch.actions", "OpaqueCoroutine"),
        ("launch.conditions", "LaunchConfigurationEquals"),
        ("launch.event_handlers", "OnIncludeLaunchDescription"),
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("one\n$(var robot", "line 2: .* closed"),
        ("$(env 'A)", "closed"),
        ("$(var  x)", "one space"),
        ("$(nonsense x)", "nonsense"),
        ("$(not)", "0 arguments"),
    ],
)
def test_malformed_substitutions_in_files_are_told(text, problem):
    with pytest.raises(ValueError, match=problem):
        importlib.import_module("launch.frontend").parse_substitution(text)


# with ROS 2's launch each of these goes on for ever

WORD = LaunchConfiguration("word")
HANGING = {
    "a period that is no number": lambda: [TimerAction(period=WORD, actions=[])],
    "a period that is not set": lambda: [
        TimerAction(period=LaunchConfiguration("unset"), actions=[])
    ],
    "a period that is set in the timer's group only": lambda: [
        GroupAction(
            [TimerAction(period=LaunchConfiguration("delay"), actions=[])],
            launch_configurations={"delay": "0.1"},
        )
    ],
    "a timer that is visited twice at once": lambda: [TimerAction(period=0.2, actions=[])] * 2,
    "a delay that is no number": lambda: [
        ExecuteProcess(cmd=["true"], respawn=True, respawn_delay="0.1")
    ],
    "a timeout that is no number": lambda: [
        ExecuteProcess(cmd=["sleep", "30"], sigterm_timeout=WORD),
        TimerAction(period=0.3, actions=[Shutdown()]),
    ],
    "an emulate_tty that is no boolean": lambda: [
        SetLaunchConfiguration("emulate_tty", "maybe"),
        ExecuteProcess(cmd=["true"]),
    ],
}


@pytest.mark.parametrize("what", HANGING)
def test_what_hangs_with_ros_fails_here(run, what):
    assert run(SetLaunchConfiguration("word", "left"), *HANGING[what]()) == 1


def test_a_running_service_refuses_events_from_its_own_thread(run):
    service = LaunchService()
    refused = []

    def include(context) -> None:
        with pytest.raises(RuntimeError, match="emit_event_sync"):
            service.include_launch_description(LaunchDescription([]))
        refused.append(True)

    service.include_launch_description(LaunchDescription([OpaqueFunction(function=include)]))
    assert service.run() == 0
    assert refused == [True]


TESTS = """
import launch, launch_pytest, pytest
from launch.actions import OpaqueFunction
from launch_pytest.actions import ReadyToTest

def fail(context):
    raise RuntimeError('on purpose')

@launch_pytest.fixture(shutdown_when_idle=False)
def description():
    return launch.LaunchDescription({entities})

{test}
"""
PASS = "@pytest.mark.launch(fixture=description)\ndef test(): pass"
TWO_SCOPES = """
@launch_pytest.fixture(scope='module', shutdown_when_idle=False)
def shared():
    return launch.LaunchDescription([])

@pytest.mark.launch(fixture=shared)
def test_shared(): pass

@pytest.mark.launch(fixture=description)
def test_other(): pass
"""


@pytest.mark.parametrize(
    ("entities", "test", "message"),
    [
        ("[OpaqueFunction(function=fail), ReadyToTest()]", PASS, "ended before it was ready"),
        ("[ReadyToTest(), OpaqueFunction(function=fail)]", PASS, "ended with code 1"),
        ("[]", "@pytest.mark.launch\ndef test(): pass", "needs fixture="),
        (
            "[]",
            "@pytest.mark.launch(fixture=description)\ndef test():\n    if False: yield",
            "must yield once",
        ),
        ("[]", TWO_SCOPES, "would hang with ROS 2's launch"),
    ],
)
def test_launch_tests_that_hang_or_pass_with_ros_fail_here(tmp_path, entities, test, message):
    path = tmp_path / "test_it.py"
    path.write_text(TESTS.format(entities=entities, test=test))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode in (1, 2), result.stdout
    assert message in result.stdout


SIGINT_INSIDE_ASYNCIO = """
import signal, sys
from asyncio.base_events import BaseEventLoop
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessIO

call_soon = BaseEventLoop._call_soon

def interrupted(self, *arguments):
    BaseEventLoop._call_soon = call_soon
    signal.raise_signal(signal.SIGINT)
    return call_soon(self, *arguments)

def interrupt_the_next(event):
    BaseEventLoop._call_soon = interrupted

service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([
    ExecuteProcess(cmd=[sys.executable, "-uc", "import time; print('up'); time.sleep(30)"]),
    RegisterEventHandler(OnProcessIO(on_stdout=interrupt_the_next)),
]))
sys.exit(service.run())
"""


def test_sigint_inside_asyncio_does_not_hang_the_launch():
    """With ROS 2's launch Python's handler raises there, and a task is never woken."""
    command = [sys.executable, "-c", SIGINT_INSIDE_ASYNCIO]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("SIGINT: shutting down") == 1
