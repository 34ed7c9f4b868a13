import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch import LaunchDescription, LaunchService
from launch.actions import (
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart, OnShutdown
from launch.events import matches_action
from launch.events.process import ProcessExited, ShutdownProcess, SignalProcess
from launch.substitutions import LaunchConfiguration

# reports the signals it gets and survives all but the last of `survived`
STUBBORN = """
import signal, sys, time
def report(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number not in {survived}:
        raise SystemExit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, report)
sys.stdout.write('up\\n')
while True:
    time.sleep(0.05)
"""


def stop_when_up(action: ExecuteProcess, *entities) -> RegisterEventHandler:
    """End the launch once the process has written its `up`."""

    def on_stdout(event):
        return (list(entities) or [Shutdown()]) if event.text.startswith(b"up") else None

    return RegisterEventHandler(OnProcessIO(target_action=action, on_stdout=on_stdout))


def test_output_code_and_events(run, python):
    events = []
    process = ExecuteProcess(
        cmd=python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"),
        cached_output=True,
    )
    code = run(
        RegisterEventHandler(
            OnProcessStart(
                target_action=process, on_start=lambda e, c: events.append(("start", e.pid))
            )
        ),
        RegisterEventHandler(
            OnProcessExit(
                target_action=process, on_exit=lambda e, c: events.append(("exit", e.returncode))
            )
        ),
        process,
    )
    assert code == 0  # a child's failure is not the launch's
    assert events == [("start", process.process_details["pid"]), ("exit", 3)]
    assert process.get_stdout() == "out\n"
    assert process.get_stderr() == "err\n"
    assert process.return_code == 3


def test_output_is_kept_only_on_demand(run):
    process = ExecuteProcess(cmd=["true"])
    run(process)
    with pytest.raises(RuntimeError):
        process.get_stdout()


def test_handlers_see_output_and_any_process(run):
    outputs, exits = [], []
    run(
        RegisterEventHandler(
            OnProcessIO(
                on_stdout=lambda e: outputs.append(e.text),
                on_stderr=lambda e: outputs.append(e.process_name),
            )
        ),
        RegisterEventHandler(
            OnProcessExit(on_exit=lambda e, c: exits.append(e.cmd[0]), handle_once=True)
        ),
        ExecuteProcess(cmd=["echo", "hello"]),
    )
    assert outputs == [b"hello\n"]
    assert exits == ["echo"]


def test_on_exit_takes_actions_and_functions(run):
    chain = []

    def second(event, context):
        chain.append(event.returncode)
        return [ExecuteProcess(cmd=["true"], on_exit=[OpaqueFunction(function=third)])]

    def third(context):
        chain.append(isinstance(context.locals.event, ProcessExited))

    run(ExecuteProcess(cmd=["false"], on_exit=second))
    assert chain == [1, True]


def test_a_required_process_ends_the_launch(run, python):
    started = time.monotonic()
    other = ExecuteProcess(cmd=["sleep", "30"])
    assert run(other, ExecuteProcess(cmd=["true"], on_exit=Shutdown())) == 0
    assert other.return_code == -signal.SIGINT
    assert time.monotonic() - started < 5.0


def test_command_environment_and_folder(run, python, tmp_path):
    code = "import os; print(*map(os.environ.get, 'ABC'), os.getcwd())"
    inherited = ExecuteProcess(
        cmd=python(code), additional_env={"B": LaunchConfiguration("b")}, cached_output=True
    )
    replaced = ExecuteProcess(
        cmd=[sys.executable, "-I", "-S", "-c", code],
        env={"A": "only"},
        additional_env={"C": "more"},
        cwd=[str(tmp_path)],
        cached_output=True,
    )
    run(
        SetLaunchConfiguration("b", "from-b"),
        GroupAction([SetEnvironmentVariable("A", "set"), inherited]),
        replaced,
    )
    assert inherited.get_stdout() == f"set from-b None {os.getcwd()}\n"
    assert replaced.get_stdout() == f"only None more {tmp_path}\n"


def test_shell_and_prefix(run):
    shell = ExecuteProcess(cmd=["echo a", "&& echo $((1 + 1))"], shell=True, cached_output=True)
    prefixed = ExecuteProcess(cmd=["echo", "b"], prefix="env X=1", cached_output=True)
    run(shell, prefixed)
    assert shell.get_stdout() == "a\n2\n"
    assert prefixed.get_stdout() == "b\n"
    assert prefixed.process_details["cmd"] == ["env", "X=1", "echo", "b"]


def test_emulated_terminal(run):
    code = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    process = ExecuteProcess(cmd=[sys.executable, "-c", code], emulate_tty=True, cached_output=True)
    run(process)
    assert process.get_stdout().split() == ["True", "True"]


def test_unknown_executable_does_not_end_the_launch(run):
    exits = []
    missing = ExecuteProcess(cmd=["/no/such/executable"], on_exit=lambda e, c: exits.append("no"))
    assert run(missing, ExecuteProcess(cmd=["true"], on_exit=lambda e, c: exits.append("yes"))) == 0
    assert exits == ["yes"]
    assert missing.return_code is None


def test_an_action_starts_its_process_once(run):
    process = ExecuteProcess(cmd=["true"])
    assert run(process) == 0
    assert run(process) == 1


def test_respawn_until_retries_are_used_up(run):
    starts = []
    process = ExecuteProcess(
        cmd=["false"], respawn=True, respawn_delay=0.2, respawn_max_retries=2, cached_output=True
    )
    handler = OnProcessStart(
        target_action=process, on_start=lambda e, c: starts.append((time.monotonic(), e.pid))
    )
    assert run(RegisterEventHandler(handler), process) == 0
    assert len({pid for _, pid in starts}) == 3
    assert starts[1][0] - starts[0][0] >= 0.2


def test_respawn_by_configuration_and_not_after_shutdown(run):
    starts = []
    process = ExecuteProcess(
        cmd=["sleep", "30"], respawn=LaunchConfiguration("use_respawn"), respawn_delay=0.1
    )
    never = ExecuteProcess(cmd=["true"], respawn=LaunchConfiguration("no_respawn"))
    kill = EmitEvent(
        event=SignalProcess(signal_number="SIGKILL", process_matcher=matches_action(process))
    )
    run(
        SetLaunchConfiguration("use_respawn", "true"),
        SetLaunchConfiguration("no_respawn", "false"),
        RegisterEventHandler(OnProcessStart(on_start=lambda e, c: starts.append(e.cmd[0]))),
        process,
        never,
        TimerAction(period=0.5, actions=[kill]),
        TimerAction(period=1.5, actions=[Shutdown()]),
    )
    assert sorted(starts) == ["sleep", "sleep", "true"]


def test_shutdown_interrupts_first(run, python):
    process = ExecuteProcess(cmd=python(STUBBORN.format(survived=())), cached_output=True)
    assert run(stop_when_up(process), process) == 0
    assert process.get_stdout().split() == ["up", "SIGINT"]
    assert process.return_code == 7


@pytest.mark.parametrize("by_configuration", [False, True])
def test_shutdown_escalates(run, python, by_configuration):
    timeouts = {"sigterm_timeout": "0.4", "sigkill_timeout": "0.6"}
    given = {} if by_configuration else timeouts
    settings = [SetLaunchConfiguration(*item) for item in timeouts.items()]
    patient = ExecuteProcess(
        cmd=python(STUBBORN.format(survived=(signal.SIGINT.value,))), cached_output=True, **given
    )
    stubborn = ExecuteProcess(
        cmd=python(STUBBORN.format(survived=(signal.SIGINT.value, signal.SIGTERM.value))),
        cached_output=True,
        **given,
    )
    times = {}

    def note(key):
        times[key] = time.monotonic()

    code = run(
        *(settings if by_configuration else ()),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda e, c: note("asked"))),
        RegisterEventHandler(OnProcessExit(on_exit=lambda e, c: note(e.action))),
        # by then both have set their handlers up
        stop_when_up(stubborn, TimerAction(period=1.0, actions=[Shutdown()])),
        patient,
        stubborn,
    )
    assert code == 0
    assert patient.get_stdout().split() == ["up", "SIGINT", "SIGTERM"]
    assert stubborn.get_stdout().split() == ["up", "SIGINT", "SIGTERM"]
    assert (patient.return_code, stubborn.return_code) == (7, -signal.SIGKILL)
    assert 0.35 < times[patient] - times["asked"] < 0.95
    assert 0.95 < times[stubborn] - times["asked"] < 3.0


def test_one_process_can_be_stopped_alone(run, python):
    stopped = ExecuteProcess(cmd=python(STUBBORN.format(survived=())), cached_output=True)
    exits = []
    run(
        stop_when_up(
            stopped, EmitEvent(event=ShutdownProcess(process_matcher=matches_action(stopped)))
        ),
        stopped,
        ExecuteProcess(cmd=["sleep", "1.5"], on_exit=lambda e, c: exits.append(e.returncode)),
    )
    assert stopped.return_code == 7
    assert exits == [0]


def test_nothing_starts_once_shutdown_began(run):
    late = ExecuteProcess(cmd=["true"])
    run(RegisterEventHandler(OnShutdown(on_shutdown=[late])), ExecuteProcess(cmd=["true"]))
    assert late.return_code is None


def test_service_can_be_shut_down_and_run_asynchronously():
    import asyncio

    service = LaunchService()
    process = ExecuteProcess(cmd=["sleep", "30"])
    service.include_launch_description(LaunchDescription([process]))

    async def main():
        run = asyncio.ensure_future(service.run_async())
        await asyncio.sleep(0.5)
        waiting = service.shutdown()
        if waiting is not None:
            await waiting
        return await run

    assert service.shutdown() is None  # nothing runs yet
    assert asyncio.new_event_loop().run_until_complete(main()) == 0
    assert process.return_code == -signal.SIGINT


PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess, LogInfo
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([
    LogInfo(msg='hello from launch'),
    ExecuteProcess(cmd=[sys.executable, '-u', '-c', {first!r}], name='first', output='screen'),
    ExecuteProcess(cmd=[sys.executable, '-u', '-c', {second!r}], name='second'),
]))
sys.exit(service.run())
"""


def test_ctrl_c_stops_everything_at_once(python):
    """One SIGINT to launch alone: every process ends, the code is 0, nothing is left."""
    first = "import os\nprint('pid', os.getpid())\n" + STUBBORN.format(survived=())
    second = "import sys, time; print(6 * 7); print('shown', file=sys.stderr); time.sleep(30)"
    with subprocess.Popen(
        python(PROGRAM.format(first=first, second=second)), stdout=subprocess.PIPE, text=True
    ) as launched:
        lines = []
        while not {"[first-1] up", "[second-2] shown"} <= set(lines):
            lines.append(launched.stdout.readline().rstrip())
            assert launched.poll() is None, lines
        launched.send_signal(signal.SIGINT)
        interrupted = time.monotonic()
        rest = launched.stdout.read()
        assert launched.wait() == 0
    assert time.monotonic() - interrupted < 4.0
    assert "[first-1] SIGINT" in rest.splitlines()
    assert "hello from launch" in "".join(lines)
    assert "[second-2] 42" not in lines + rest.splitlines()  # output='log' shows only errors
    (pid,) = (line.split()[-1] for line in lines if line.startswith("[first-1] pid"))
    assert not Path("/proc", pid).exists()


def test_log_info_is_an_action_like_any_other(run):
    assert run(LogInfo(msg=["a", LaunchConfiguration("x", default="b")])) == 0
