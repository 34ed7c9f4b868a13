"""What ROS 2's launch does to the surprise of its users: the underlay must surprise them, too."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from domain_coordinator import domain_id
from launch import LaunchDescription, LaunchService
from launch.actions import (
    ExecuteProcess,
    GroupAction,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnExecutionComplete, OnProcessIO, OnShutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParameter, SetRemap
from launch_ros.descriptions import ParameterFile, ParameterValue

LAUNCH = """
import signal, sys
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess, TimerAction, LogInfo
service = LaunchService(noninteractive={noninteractive})
{before}
service.include_launch_description(LaunchDescription([
    ExecuteProcess(
        cmd=[sys.executable, '-u', '-c', {child!r}], sigterm_timeout='0.5', output='screen'
    ),
]))
sys.exit(service.run())
"""
CHILD = """
import os, signal, sys, time
def report(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit()
signal.signal(signal.SIGINT, report)
signal.signal(signal.SIGTERM, report)
print('pid', os.getpid(), flush=True)
time.sleep(30)
"""


class Launched:
    """A launch in a process of its own, whose only child has told its process id."""

    def __init__(self, before: str = "", noninteractive: bool = False) -> None:
        code = LAUNCH.format(before=before, noninteractive=noninteractive, child=CHILD)
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        line = ""
        while "] pid" not in line:
            line = self.process.stdout.readline()
            assert line, "the launch ended early"
        self.child = int(line.split()[-1])

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        if runs(self.child):
            os.kill(self.child, signal.SIGKILL)
        self.process.communicate()


def runs(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_but_sigint_ends_launch_alone(number):
    with Launched() as launched:
        launched.process.send_signal(number)
        assert launched.process.wait(10) == -number
        time.sleep(0.3)
        assert runs(launched.child)


@pytest.mark.parametrize(
    "handler",
    [
        "lambda number, frame: None",
        "signal.default_int_handler",
        "lambda number, frame: service.shutdown(force_sync=True)",
        "lambda number, frame: signal.raise_signal(signal.SIGINT)",
    ],
)
def test_sigterm_with_a_handler_cancels_the_launch_and_leaves_its_processes(handler):
    with Launched(f"signal.signal(signal.SIGTERM, {handler})") as launched:
        launched.process.send_signal(signal.SIGTERM)
        assert launched.process.wait(10) == 1
        time.sleep(0.3)
        assert runs(launched.child)


def test_sigterm_can_be_kept_from_launch():
    """What `foresight launch` does, in order to stop as by Ctrl-C."""
    before = """
import asyncio
from launch.actions import OpaqueFunction
from launch.utilities import AsyncSafeSignalManager as Manager
handle = Manager.handle
Manager.handle = lambda self, number, handler: (
    None if number == signal.SIGTERM else handle(self, number, handler)
)
def stop():
    service.shutdown(force_sync=True)
service.include_launch_description(LaunchDescription([OpaqueFunction(
    function=lambda context: context.asyncio_loop.add_signal_handler(signal.SIGTERM, stop)
)]))
"""
    with Launched(before) as launched:
        launched.process.send_signal(signal.SIGTERM)
        output, _ = launched.process.communicate(timeout=10)
        assert launched.process.returncode == 0
        assert "] SIGINT\n" in output
        assert not runs(launched.child)


@pytest.mark.parametrize(
    ("noninteractive", "first"), [(False, "] SIGTERM\n"), (True, "] SIGINT\n")]
)
def test_sigint_to_launch_alone_reaches_processes_only_if_noninteractive(noninteractive, first):
    with Launched(noninteractive=noninteractive) as launched:
        launched.process.send_signal(signal.SIGINT)
        output, _ = launched.process.communicate(timeout=10)
        assert launched.process.returncode == 0
        assert first in output


def test_a_cancelled_launch_leaves_its_processes():
    service = LaunchService()
    process = ExecuteProcess(cmd=["sleep", "30"])
    service.include_launch_description(LaunchDescription([process]))
    loop = asyncio.new_event_loop()

    async def main() -> int:
        run = asyncio.ensure_future(service.run_async())
        await asyncio.sleep(0.5)
        run.cancel()
        return await run

    assert loop.run_until_complete(main()) == 1
    pid = process.process_details["pid"]
    try:
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        loop.run_until_complete(asyncio.wait([process.get_asyncio_future()], timeout=5.0))


# processes


def test_only_the_process_itself_is_told_to_stop(run, python, tmp_path):
    """What it started stays, and does not hold the launch up by its open output."""
    pid_file = tmp_path / "pid"
    grandchild = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid()))"
    grandchild += "; print('up', flush=True); time.sleep(30)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}])"
    process = ExecuteProcess(cmd=python(f"{code}; time.sleep(30)"))
    stop = RegisterEventHandler(OnProcessIO(on_stdout=lambda event: Shutdown()))
    started = time.monotonic()
    assert run(stop, process) == 0
    assert time.monotonic() - started < 10.0
    pid = int(pid_file.read_text())
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)


def test_processes_are_in_the_process_group_of_launch(run, python):
    process = ExecuteProcess(cmd=python("import os; print(os.getpgrp())"), cached_output=True)
    run(process)
    assert int(process.get_stdout()) == os.getpgrp()


def test_a_process_that_cannot_start_is_not_started_again_nor_does_it_end(run):
    exits = []
    assert (
        run(
            ExecuteProcess(
                cmd=["/no/such/executable"],
                respawn=True,
                on_exit=lambda event, context: exits.append("ended"),
            )
        )
        == 0
    )
    assert exits == []


def test_timeouts_are_those_at_shutdown_not_those_of_the_group(run, python):
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up')"
    process = ExecuteProcess(cmd=python(f"{code}; time.sleep(30)"), cached_output=True)
    stop = RegisterEventHandler(OnProcessIO(on_stdout=lambda event: Shutdown()))
    started = time.monotonic()
    run(
        stop,
        GroupAction([process], launch_configurations={"sigterm_timeout": "30"}),
        SetLaunchConfiguration("sigterm_timeout", "0.2"),
    )
    assert process.return_code == -signal.SIGTERM
    assert time.monotonic() - started < 10.0


def test_a_group_does_not_give_its_processes_a_terminal(run, python):
    code = "import sys; print(sys.stdout.isatty())"
    inside, outside = (ExecuteProcess(cmd=python(code), cached_output=True) for _ in range(2))
    run(GroupAction([inside], launch_configurations={"emulate_tty": "true"}))
    run(SetLaunchConfiguration("emulate_tty", "true"), outside)
    assert inside.get_stdout().split() == ["False"]
    assert outside.get_stdout().split() == ["True"]


def test_the_period_of_a_timer_in_a_group_is_that_outside(run):
    seen = []

    def note(what):
        return OpaqueFunction(function=lambda context: seen.append(what))

    run(
        SetLaunchConfiguration("delay", "0.6"),
        GroupAction(
            [TimerAction(period=LaunchConfiguration("delay"), actions=[note("group's")])],
            launch_configurations={"delay": "0.05"},
        ),
        TimerAction(period=0.3, actions=[note("other")]),
    )
    assert seen == ["other", "group's"]


# the service


def test_a_service_runs_processes_only_once():
    service = LaunchService()
    processes = [ExecuteProcess(cmd=["true"]) for _ in range(2)]
    for process in processes:
        service.include_launch_description(LaunchDescription([process]))
        assert service.run() == 0
    assert processes[0].return_code == 0
    assert processes[1].return_code is None


def test_shutdown_within_the_loop_must_be_awaited():
    service = LaunchService()
    process = ExecuteProcess(cmd=["sleep", "30"])
    service.include_launch_description(LaunchDescription([process]))

    async def main() -> int:
        run = asyncio.ensure_future(service.run_async())
        await asyncio.sleep(0.5)
        telling = service.shutdown()
        await asyncio.sleep(0.5)
        assert process.return_code is None
        await telling
        return await run

    assert asyncio.new_event_loop().run_until_complete(main()) == 0
    assert process.return_code == -signal.SIGINT


def test_an_exception_that_nobody_catches_fails_the_launch_but_does_not_end_it(run):
    seen = []

    def fail() -> None:
        raise RuntimeError("on purpose")

    code = run(
        OpaqueFunction(function=lambda context: (context.asyncio_loop.call_soon(fail), None)[1]),
        TimerAction(
            period=0.1, actions=[OpaqueFunction(function=lambda context: seen.append("later"))]
        ),
    )
    assert (code, seen) == (1, ["later"])


def test_every_shutdown_that_is_asked_for_is_announced(run):
    reasons = []
    handler = OnShutdown(on_shutdown=lambda event, context: reasons.append(event.reason))
    run(RegisterEventHandler(handler), Shutdown(reason="one"), Shutdown(reason="two"))
    assert reasons == ["one", "two"]


def test_the_end_of_an_action_is_that_of_its_process(run):
    order = []
    process = ExecuteProcess(cmd=["true"], on_exit=lambda event, context: order.append("exit"))
    message = LogInfo(msg="hello")
    names = {id(process): "process", id(message): "message"}
    handler = OnExecutionComplete(
        target_action=lambda action: id(action) in names,
        on_completion=lambda event, context: order.append(names[id(event.action)]),
    )
    run(RegisterEventHandler(handler), process, message)
    assert order == ["message", "exit", "process"]


# parameters and remappings


def words_of(node: Node) -> list[str]:
    return json.loads(node.get_stdout())


def echo(**kwargs) -> Node:
    arguments = ["-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]
    return Node(executable=sys.executable, arguments=arguments, cached_output=True, **kwargs)


def test_parameters_and_remappings_of_a_group_stay_in_it_only_if_they_are_the_first(run):
    settings = [SetParameter("a", 2), SetRemap("b", "d")]
    first, second = echo(), echo()
    run(GroupAction(settings), first)
    run(SetParameter("a", 1), SetRemap("b", "c"), GroupAction(settings), second)
    assert words_of(first) == ["--ros-args"]
    assert words_of(second) == [
        *["--ros-args", "-p", "a:=1", "-p", "a:=2"],
        *["-r", "b:=c", "-r", "b:=d"],
    ]


def test_what_set_parameter_writes(run):
    node = echo()
    values = {"a": True, "b": [1, 2], "c": "true", "d": "two words", "e": ["x"], "f": 0.5}
    run(*(SetParameter(*item) for item in values.items()), node)
    assert words_of(node)[2::2] == [
        *["a:=True", "b:=(1, 2)", "c:=true", "d:=two words", "e:=('x',)", "f:=0.5"]
    ]


READ = """
import json, rclpy
rclpy.init()
node = rclpy.create_node('n', automatically_declare_parameters_from_overrides=True)
print(json.dumps({name: list(value.value) if hasattr(value.value, 'typecode') else value.value
                  for name, value in node.get_parameters_by_prefix('').items()
                  if name != 'use_sim_time' and 'qos' not in name and 'start_type' not in name}))
rclpy.shutdown()
"""


def test_words_that_a_node_reads_as_something_else(run):
    """rcl takes a bare y for true; PyYAML quotes yes and 3, but no y."""
    with domain_id() as domain:
        node = Node(
            executable=sys.executable,
            arguments=["-c", READ],
            parameters=[{"a": "y", "b": "yes", "c": "3", "d": ["n", "y"], "e": [1, 2]}],
            additional_env={
                "ROS_DOMAIN_ID": str(domain),
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            },
            cached_output=True,
        )
        assert run(SetParameter("f", "true"), SetParameter("g", [1, 2]), node) == 0
    assert json.loads(node.get_stdout()) == {
        "a": True,
        "b": "yes",
        "c": "3",
        "d": [False, True],
        "e": [1, 2],
        "f": True,
        "g": "(1, 2)",
    }


def test_files_and_values_of_parameters_are_evaluated_once(run, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text("/**: {ros__parameters: {a: $(var a)}}")
    file = ParameterFile(path, allow_substs=True)
    value = ParameterValue(LaunchConfiguration("a"), value_type=str)
    nodes = [echo(parameters=[file, {"b": value}]) for _ in range(2)]
    texts = []

    def read(node: Node) -> OpaqueFunction:
        def note(context) -> None:
            files = [word for word in node.cmd if "launch_params_" in word]
            texts.append("".join(Path(name).read_text() for name in files))

        return OpaqueFunction(function=note)

    run(
        *[SetLaunchConfiguration("a", "1"), nodes[0], read(nodes[0])],
        *[SetLaunchConfiguration("a", "2"), nodes[1], read(nodes[1])],
    )
    assert "1" in texts[0]
    assert texts[0] == texts[1]
