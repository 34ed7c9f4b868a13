"""The processes of a launch: what each is started with, and what happens when one ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from launch import LaunchContext
from launch.action import Action
from launch.actions import ExecuteProcess, LogInfo, RegisterEventHandler, Shutdown
from launch.event_handlers import OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.events.process import ProcessExited
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from foresight_bringup.arguments import SHARE
from foresight_bringup.security import enclave

OnExit = Callable[[ProcessExited, LaunchContext], list[Action] | None]

QUIET = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(SHARE / "config" / "fastdds.xml"),
}
"""What holds for our processes unless it is set: nothing leaves the machine, and pictures have room
in the shared memory of Fast DDS; other middleware ignores that one."""

BRAKING_S = 1.0
"""After so long, a robot whose launch has died is at rest, and the other processes end."""


class LaunchFailure(RuntimeError):
    """A process has ended that a launch cannot be without."""


def node(
    package: str,
    executable: str,
    parameters: Sequence[object],
    options: Sequence[str] = (),
    keystore: str = "",
    drives: bool = False,
    **more: object,
) -> Node:
    """A process of ours, as the launch arguments `namespace` and `log_level` say.

    Args:
        options: words of its command line before those for ROS.
        keystore: of SROS2, where its enclave is; empty: none.
        drives: it drives the robot, and has the processor to itself to brake if the launch dies.
        more: of launch_ros's Node.
    """
    environment = {
        name: EnvironmentVariable(name, default_value=default) for name, default in QUIET.items()
    }
    return Node(
        package=package,
        executable=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=list(parameters),
        arguments=[
            *options,
            "--ros-args",
            "--log-level",
            LaunchConfiguration("log_level"),
            *enclave(keystore, executable),
        ],
        additional_env=environment | _launch(0.0 if drives else BRAKING_S),
        output="screen",
        **more,
    )


def _launch(outlives_s: float) -> dict[str, str]:
    """Who we are, so that a process of ours ends when we do, even killed (foresight_node.process).

    Not from there: it would load what nodes need, and `ros2 launch` may have another Python.
    """
    try:
        namespace, stat = os.readlink("/proc/self/ns/pid"), Path("/proc/self/stat").read_text()
    except OSError:  # no Linux
        return {}
    number, began = stat.split()[0], stat.rpartition(")")[2].split()[19]
    return {"FORESIGHT_LAUNCH": f"{namespace} {number} {began} {outlives_s}"}


def started(process: ExecuteProcess) -> list[Action]:
    """What starts a process, and brings it down for certain when the launch gets SIGINT.

    launch takes it that a terminal, where there is one, has sent that to all: SIGINT from elsewhere
    would reach a process only as SIGTERM, five seconds later.
    """

    def pass_on(event: ShutdownEvent, context: LaunchContext) -> None:
        number = (process.process_details or {}).get("pid")
        believed = event.due_to_sigint and not context.noninteractive
        if believed and number is not None and process.return_code is None:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGINT)

    return [RegisterEventHandler(OnShutdown(on_shutdown=pass_on)), process]


def required(reason: str) -> OnExit:
    """What to do when a process ends that the launch cannot be without: end, for this reason.

    The launch has failed unless the process's exit code is 0.
    """

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Action] | None:
        if context.is_shutdown:
            return None
        if event.returncode:
            raise LaunchFailure(f"{reason}; its exit code was {event.returncode}, see above why")
        return [LogInfo(msg=reason), Shutdown(reason=reason)]

    return on_exit


def noted(reason: str) -> OnExit:
    """What to do when a process ends that nothing depends on: the launch goes on.

    It ends with 1 at last unless the process's exit code is 0.
    """

    def on_exit(event: ProcessExited, context: LaunchContext) -> None:
        if event.returncode and not context.is_shutdown:
            text = f"{reason}; its exit code was {event.returncode}, see above why"
            context.asyncio_loop.call_exception_handler({"message": text})

    return on_exit
