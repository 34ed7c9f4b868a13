"""`foresight launch` as people use it: from any folder, in a shell that sourced nothing."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from foresight.apps.launching import UsageError, launch_environment, parse_arguments

LAUNCH = [str(Path(sys.executable).with_name("foresight")), "launch"]
LAUNCH_FILE = """
import sys
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.substitutions import FindPackageShare

CODE = '''
import time
try:
    print("up", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("stopped", flush=True)
'''

def fail(context):
    if LaunchConfiguration('mode').perform(context) == 'fail':
        raise RuntimeError('on purpose')
    if LaunchConfiguration('mode').perform(context) == 'run':
        return [ExecuteProcess(cmd=[sys.executable, '-c', CODE], output='screen', name='p')]

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('robot', description='which robot'),
        DeclareLaunchArgument('mode', default_value='end', choices=['end', 'fail', 'run']),
        LogInfo(msg=['robot is ', LaunchConfiguration('robot')]),
        LogInfo(msg=['range is ', EnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE')]),
        LogInfo(msg=['found ', FindPackageShare('foresight_interfaces')]),
        OpaqueFunction(function=fail),
    ])
"""


@pytest.fixture
def launch_file(tmp_path):
    path = tmp_path / "it.launch.py"
    path.write_text(LAUNCH_FILE)
    return path


@pytest.fixture
def bare_environment():
    """This environment as it is in a shell that sourced nothing."""
    sourced = r"(AMENT|COLCON|CMAKE)_.*PATH|PYTHONPATH|LD_LIBRARY_PATH|ROS_(DISTRO|VERSION|AUTO.*)"
    wheels = r"|_ROS_WHEELS.*"
    keep = {n: v for n, v in os.environ.items() if not re.fullmatch(sourced + wheels, n)}
    return keep


@pytest.fixture
def foresight(bare_environment, tmp_path):
    """Run `foresight launch` to its end."""

    def run(*arguments, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*LAUNCH, *map(str, arguments)],
            cwd=tmp_path,
            env=bare_environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_it_runs_a_launch_file(foresight, launch_file):
    result = foresight(launch_file, "robot:=tall")
    assert result.returncode == 0, result.stderr
    assert "robot is tall" in result.stdout
    assert "range is LOCALHOST" in result.stdout
    assert "found /" in result.stdout


def test_a_set_discovery_range_stays(foresight, launch_file):
    result = foresight(launch_file, "robot:=x", ROS_AUTOMATIC_DISCOVERY_RANGE="OFF")
    assert "range is OFF" in result.stdout


def test_a_failing_launch_gives_1(foresight, launch_file):
    result = foresight(launch_file, "robot:=x", "mode:=fail")
    assert result.returncode == 1
    assert "on purpose" in result.stdout


def test_it_shows_arguments(foresight, launch_file):
    result = foresight(launch_file, "--show-args")
    assert result.returncode == 0
    for part in ("robot (required)", "which robot", "mode (default 'end'; one of end, fail, run)"):
        assert part in result.stdout
    assert result.stdout.count("end, fail, run") == 1
    assert "robot is" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.launch.py"], ["nowhere.launch.py", "does not exist"]),
        (["it.launch.py"], ["robot:="]),
        (["it.launch.py", "robot"], ["'robot'", "name:=value"]),
        (["it.launch.py", "robot=x"], ["'robot=x'", "name:=value"]),
        (["it.launch.py", "robot:=x", "color:=red"], ["'color'", "robot, mode"]),
        (["it.launch.py", "robot:=x", "mode:=other"], ["mode", "end, fail, run", "'other'"]),
        (["broken.launch.py"], ["broken.launch.py", "SyntaxError"]),
    ],
)
def test_bad_usage_gives_2_and_one_sentence(foresight, launch_file, arguments, words):
    launch_file.with_name("broken.launch.py").write_text("x = (")
    result = foresight(*arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("foresight launch: ")
    assert all(word in line for word in words), line


@pytest.mark.parametrize("value", ["True", "false", "1"])
def test_flags_may_be_written_as_in_nav2(foresight, value):
    """The launch itself begins, and ends since no node could start."""
    result = foresight("foresight.launch.py", f"autostart:={value}", ROS_DOMAIN_ID="300")
    assert result.returncode == 1
    assert "ROS_DOMAIN_ID is '300'" in result.stdout


def test_a_flag_that_is_none_is_refused(foresight):
    result = foresight("foresight.launch.py", "autostart:=perhaps")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "autostart must be one of true, True, 1, false, False, 0, got 'perhaps'" in line


def test_logs_that_cannot_be_written_are_told(foresight, launch_file):
    result = foresight(launch_file, "robot:=x", ROS_LOG_DIR="/proc/logs")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "/proc/logs" in line
    assert "ROS_LOG_DIR" in line


def test_a_workspace_that_is_not_built_is_told(foresight, launch_file, tmp_path):
    result = foresight(launch_file, "robot:=x", FORESIGHT_WORKSPACE=str(tmp_path))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(tmp_path) in line
    assert "FORESIGHT_WORKSPACE" in line


def test_ctrl_c_in_a_terminal_is_clean(bare_environment, launch_file):
    """One press: the node ends, once, without a traceback, and the shell gets its prompt back."""
    command = [*LAUNCH, str(launch_file), "robot:=x", "mode:=run"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, bare_environment)
    output = b""
    while b"[p-1] up" not in output:
        output += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    pressed = time.monotonic()
    try:
        while data := os.read(terminal, 4096):
            output += data
    except OSError:  # how Linux tells the end of a terminal
        pass
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert time.monotonic() - pressed < 4.0
    assert output.count(b"[p-1] stopped") == 1
    assert b"Traceback" not in output


def test_ctrl_c_while_it_loads_is_clean(bare_environment, tmp_path):
    path = tmp_path / "slow.launch.py"
    path.write_text("import time\nopen('loading', 'w').close()\ntime.sleep(30)\n")
    command = [*LAUNCH, str(path)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=bare_environment, stderr=subprocess.PIPE, text=True
    ) as launched:
        while not (tmp_path / "loading").exists():
            time.sleep(0.05)
        launched.send_signal(signal.SIGINT)
        assert launched.wait(timeout=10) == -signal.SIGINT
        assert launched.stderr.read() == ""


@pytest.fixture
def launched(bare_environment, launch_file):
    """A launch with one process that is up."""
    command = [*LAUNCH, str(launch_file), "robot:=x", "mode:=run"]

    def start(*before, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [*before, *command],
            env=bare_environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        started.append(process)
        said = []
        for line in process.stdout:
            said.append(line)
            if "[p-1] up" in line:
                return process
        pytest.fail("".join(said))

    started = []
    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_launch_alone_stops_all_in_order(launched, number):
    launch = launched()
    launch.send_signal(number)
    output, _ = launch.communicate(timeout=20)
    assert output.count("[p-1] stopped") == 1
    assert launch.returncode == 0
    assert "Traceback" not in output


SIGINT_INSIDE_ASYNCIO = """
import signal, sys
from asyncio.base_events import BaseEventLoop
from launch import LaunchDescription
from launch.actions import ExecuteProcess, RegisterEventHandler
from launch.event_handlers import OnProcessIO

call_soon = BaseEventLoop._call_soon

def interrupted(self, *arguments):
    BaseEventLoop._call_soon = call_soon
    signal.raise_signal(signal.SIGINT)
    return call_soon(self, *arguments)

def interrupt_the_next(event):
    BaseEventLoop._call_soon = interrupted

def generate_launch_description():
    code = "import time; print('up'); time.sleep(30)"
    return LaunchDescription([
        ExecuteProcess(cmd=[sys.executable, "-uc", code]),
        RegisterEventHandler(OnProcessIO(on_stdout=interrupt_the_next)),
    ])
"""


def test_ctrl_c_at_an_awkward_moment_is_heard(bare_environment, tmp_path):
    """A KeyboardInterrupt inside asyncio would lose the wakeup of a task, and launch hang."""
    file = tmp_path / "awkward.launch.py"
    file.write_text(SIGINT_INSIDE_ASYNCIO)
    result = subprocess.run(
        [*LAUNCH, str(file)],
        env=bare_environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert result.returncode == 0, result.stderr


def test_under_nohup_it_survives_the_terminal(launched):
    launch = launched("nohup")
    launch.send_signal(signal.SIGHUP)
    launch.send_signal(signal.SIGTERM)
    output, _ = launch.communicate(timeout=20)
    assert "SIGTERM" in output
    assert "SIGHUP" not in output
    assert launch.returncode == 0


CONTAINER = ["unshare", "--kill-child", "--pid", "--mount-proc"]
"""What is started so has the process number 1, as in a container."""


@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make a namespace of processes",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_the_first_process_of_a_container_it_stops_all_in_order(launched, number):
    """There the kernel ignores a signal that has no handler."""
    container = launched(*CONTAINER)
    (launch,) = psutil.Process(container.pid).children()
    launch.send_signal(number)
    output, _ = container.communicate(timeout=20)
    assert "[p-1] stopped" in output
    assert container.returncode == 0


def test_the_environment_holds_the_workspace(monkeypatch):
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    environment = launch_environment()
    assert "foresight_interfaces" in environment["AMENT_PREFIX_PATH"]
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert Path(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    assert environment["HOME"] == os.environ["HOME"]


def test_arguments_are_parsed():
    assert parse_arguments(["a:=1", "b:=", "a:=2", "c:=x:=y"]) == {"a": "2", "b": "", "c": "x:=y"}
    for wrong in (":=x", "x", ""):
        with pytest.raises(UsageError):
            parse_arguments([wrong])
