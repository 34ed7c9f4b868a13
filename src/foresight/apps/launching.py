"""Runs launch files in the environment of their workspace."""

from __future__ import annotations

import argparse
import os
import re
import reprlib
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from foresight import resources

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription, LaunchService
    from launch.actions import DeclareLaunchArgument

_DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_MIDDLEWARE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_FAULT = re.compile(r"^foresight launch: |\[(?:ERROR|FATAL)\]")  # of a launch's output
_STOP_S = 20.0  # for a launch to bring everything down, before it is killed
# launch configurations that every launch file has without declaring them
_ALWAYS_KNOWN = frozenset(
    {"emulate_tty", "launch-prefix", "launch-prefix-filter", "sigkill_timeout", "sigterm_timeout"}
)


class UsageError(ValueError):
    """A launch file or one of its arguments is wrong."""


def launch_environment() -> dict[str, str]:
    """Return this process's environment with the workspace sourced on top of it.

    Unless set, ROS_AUTOMATIC_DISCOVERY_RANGE becomes LOCALHOST, so that nothing leaves the machine,
    and FASTRTPS_DEFAULT_PROFILES_FILE the shipped config/fastdds.xml.

    Raises:
        ResourceError: the workspace is not built or not sourced, or its setup.bash fails.
    """
    defaults = {
        _DISCOVERY: "LOCALHOST",
        _MIDDLEWARE: str(resources.share() / "config" / "fastdds.xml"),
    }
    if (workspace := resources.workspace()) is None:
        return defaults | dict(os.environ)
    setup = workspace / "install" / "setup.bash"
    command = ["bash", "-c", 'source "$1" >&2 && env -0', "bash", str(setup)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, errors="surrogateescape"
    )
    if result.returncode:
        raise resources.ResourceError(f"{setup} failed: {result.stderr.strip() or 'no message'}")
    entries = (entry.partition("=") for entry in result.stdout.split("\0") if entry)
    return defaults | {name: value for name, _, value in entries}


def own_domain() -> str:
    """A ROS_DOMAIN_ID derived from the process id: another launch on this machine has another one,
    but for one time in a hundred."""
    return str(1 + os.getpid() % 100)


@contextmanager
def launched(
    name: str, arguments: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a shipped launch file, with its output on `stdout`; on exit, bring everything down.

    It has its own ROS domain unless `environment` or this process's names one, so that another
    robot on this machine is neither heard nor moved. Meanwhile SIGTERM and SIGHUP end this process
    as Ctrl-C does.

    Args:
        name: such as "demo" for launch/demo.launch.py.
        arguments: launch arguments.
        environment: variables on top of this process's.

    Raises:
        ResourceError: the workspace is not built.
    """
    file = resources.share() / "launch" / f"{name}.launch.py"
    command = [sys.executable, "-P", "-m", "foresight.apps.launching", "--", str(file)]
    command += [f"{argument}:={value}" for argument, value in arguments.items()]
    variables = launch_environment() | {"PYTHONUNBUFFERED": "1"} | dict(environment or {})
    variables.setdefault("ROS_DOMAIN_ID", own_domain())
    before = {number: signal.signal(number, signal.default_int_handler) for number in _stopping()}
    process = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Signals reach the launch only from here; it brings its nodes down in order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _bring_down(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def faults_in(output: str) -> list[str]:
    """The lines of a launch's output that report faults."""
    return [line.strip() for line in output.splitlines() if _FAULT.search(line)]


def _bring_down(process: subprocess.Popen[str]) -> None:
    """End the launch and everything that it started, if it still runs."""
    import psutil  # installed with the simulator; a robot's launch does not get here

    if process.poll() is not None:
        return
    # Each has its own process group.
    started = psutil.Process(process.pid).children(recursive=True)
    # If its output has ended, it is about to exit by itself.
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_STOP_S)  # keeps reading: a full pipe would block the launch
    except BaseException as error:  # a second Ctrl-C, too
        for one in [process, *started]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _stopping() -> list[signal.Signals]:
    """The signals besides SIGINT that bring everything down; under nohup not SIGHUP."""
    hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGHUP] if hung_up else [signal.SIGTERM]


def launch(file: Path, arguments: Sequence[str] = (), show_args: bool = False) -> NoReturn:
    """Run a launch file in place of this process, in the workspace's environment.

    `arguments` are `name:=value`. The process ends with 0, 1 if the launch failed, or 2 if the
    file or an argument is wrong. Raises UsageError or ResourceError if it cannot even start.
    """
    parse_arguments(arguments)
    if not file.is_file() and file.name == str(file):  # a shipped one, by name
        file = resources.share() / "launch" / file
    if not file.is_file():
        raise UsageError(f"launch file {file} does not exist")
    options = ["--show-args"] if show_args else []
    # -P: files in the current folder must not be imported as modules
    interpreter = [sys.executable, "-P", "-m", "foresight.apps.launching"]
    command = [*interpreter, *options, "--", str(file), *arguments]
    environment = launch_environment()
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def launch_command(
    file: Annotated[
        Path,
        typer.Argument(help="Launch file, or the name of a shipped one.", show_default=False),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME:=VALUE", help="Launch arguments.", show_default=False),
    ] = None,
    show_args: Annotated[
        bool, typer.Option("--show-args", "-s", help="Show the file's arguments and exit.")
    ] = False,
) -> None:
    """Run a launch file; Ctrl-C, SIGTERM and SIGHUP stop everything that it started.

    Nodes communicate on this machine only, unless ROS_AUTOMATIC_DISCOVERY_RANGE is set.
    """
    try:
        launch(file, arguments or (), show_args)
    except (UsageError, resources.ResourceError) as error:
        typer.echo(f"foresight launch: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def parse_arguments(arguments: Iterable[str]) -> dict[str, str]:
    """Return `name:=value` texts as a dictionary, the last of a name; UsageError if malformed."""
    parsed = {}
    for argument in arguments:
        name, separator, value = argument.partition(":=")
        if not separator or not name:
            raise UsageError(
                f"launch argument {reprlib.repr(argument)} is malformed: write name:=value"
            )
        parsed[name] = value
    return parsed


def _main(file: Path, arguments: Sequence[str], show_args: bool) -> int:
    """Run a launch file in this process, with whichever launch is installed."""
    from launch import LaunchContext, LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription, OpaqueFunction
    from launch.launch_description_sources import AnyLaunchDescriptionSource
    from launch.logging import get_logger

    try:
        get_logger("launch")
    except OSError as error:
        raise resources.ResourceError(
            f"there is no folder for logs ({error}); set HOME or ROS_LOG_DIR to one"
        ) from error
    source = AnyLaunchDescriptionSource(str(file))
    try:
        description = source.get_launch_description(LaunchContext())
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"cannot load {file}: {message}") from error
    if show_args:
        _show_arguments(file, description)
        return 0
    given = parse_arguments(arguments)
    _check_arguments(file, description, given)
    # without a terminal only launch passes a signal on to the nodes
    service = LaunchService(argv=list(arguments), noninteractive=not sys.stdin.isatty())
    include = IncludeLaunchDescription(source, launch_arguments=given.items())
    stoppable = OpaqueFunction(function=_stop_by_signals, args=[service])
    service.include_launch_description(LaunchDescription([stoppable, include]))
    _spare_sigterm()
    return service.run()


def _stop_by_signals(context: LaunchContext, service: LaunchService) -> None:
    """Make SIGTERM and SIGHUP shut the running launch down in order, as SIGINT does.

    launch hears SIGINT in its loop, beside Python's handler. The usual one raises KeyboardInterrupt
    wherever asyncio happens to be, which may lose the wakeup of a task: launch would hang.
    """
    from launch.logging import get_logger

    def stop(number: signal.Signals) -> None:
        get_logger("launch").warning(f"{number.name}: shutting down")
        service.shutdown(force_sync=True)

    signal.signal(signal.SIGINT, lambda number, frame: None)
    for number in _stopping():
        context.asyncio_loop.add_signal_handler(number, stop, number)


def _spare_sigterm() -> None:
    """launch answers SIGTERM by leaving its processes behind: let it not see that one."""
    from launch.utilities import AsyncSafeSignalManager as Manager

    handle = Manager.handle

    def handle_others(self: Manager, number: int, handler: object) -> object:
        return None if number == signal.SIGTERM else handle(self, number, handler)

    Manager.handle = handle_others


def _check_arguments(file: Path, description: LaunchDescription, given: dict[str, str]) -> None:
    """Raise UsageError for an argument that is unknown, missing or not among the choices."""
    from launch.actions import DeclareLaunchArgument

    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    for name, value in given.items():
        if name not in declared and name not in _ALWAYS_KNOWN:
            known = ", ".join(declared) or "none"
            raise UsageError(f"{file.name} has no launch argument {name!r}; it has: {known}")
        choices = declared[name].choices if name in declared else None
        if choices and value not in choices:
            raise UsageError(
                f"launch argument {name} must be one of {', '.join(choices)}, got {value!r}"
            )
    for entity in description.entities:
        if (
            isinstance(entity, DeclareLaunchArgument)
            and entity.condition is None
            and entity.default_value is None
            and entity.name not in given
        ):
            raise UsageError(f"{file.name} needs {entity.name}:=... ({entity.description})")


def _show_arguments(file: Path, description: LaunchDescription) -> None:
    arguments = description.get_launch_arguments()
    print(f"{file.name} takes {'these, each as name:=value' if arguments else 'no arguments'}")
    for argument in arguments:
        if argument.default_value is None:
            default = "required"
        else:
            default = "default " + " + ".join(part.describe() for part in argument.default_value)
        choices = f"; one of {', '.join(argument.choices)}" if argument.choices else ""
        print(f"  {argument.name} ({default}{choices})\n      {description_of(argument)}")


def description_of(argument: DeclareLaunchArgument) -> str:
    """What its launch file says of a launch argument, without the choices that launch adds."""
    return argument.description.partition(" Valid choices are: ")[0]


if __name__ == "__main__":
    # While this loads, a signal ends it without a traceback; a running launch handles its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() == 1:  # in a container: the kernel ignores them by default
        for first in (signal.SIGINT, *_stopping()):
            signal.signal(first, lambda number, _frame: os._exit(128 + number))
    parser = argparse.ArgumentParser()
    parser.add_argument("--show-args", action="store_true")
    parser.add_argument("file", type=Path)
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    try:
        sys.exit(_main(options.file, options.arguments, options.show_args))
    except (UsageError, resources.ResourceError) as error:
        print(f"foresight launch: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
