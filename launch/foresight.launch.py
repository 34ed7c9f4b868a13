"""The Foresight stack alone, for a robot whose drivers run already (or for a simulation)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile

from foresight_bringup.respawn import BackOff, respawning
from foresight_bringup.security import enclave, secured

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["true", "false"]

EXECUTABLES = {
    "perception": "foresight_perception",
    "world_model": "foresight_world_model",
    "memory": "foresight_memory",
    "planning": "foresight_planning",
    "actuation": "foresight_actuation",
    "lifecycle_manager": "foresight_lifecycle",
}
"""The package of each, in the order of bring-up; a node has the name of its executable."""


def _arguments() -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the whole robot."
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=FLAGS,
            description="Take the time from /clock, as in a simulation.",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(ROOT / "config" / "foresight.yaml"),
            description="YAML file with the nodes' parameters.",
        ),
        DeclareLaunchArgument(
            "robot",
            default_value=str(ROOT / "config" / "robots" / "homebot.yaml"),
            description="YAML file of the robot profile.",
        ),
        DeclareLaunchArgument(
            "bundle",
            default_value=str(ROOT / "models" / "apartment"),
            description="Folder of the world model.",
        ),
        DeclareLaunchArgument(
            "memory",
            default_value="true",
            choices=FLAGS,
            description="Remember places, too.",
        ),
        DeclareLaunchArgument(
            "memory_file",
            default_value="",
            description="File of the memory; empty: places.db in the user's state folder.",
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=FLAGS,
            description="Bring the nodes to active as soon as they run.",
        ),
        DeclareLaunchArgument(
            "use_respawn",
            default_value="false",
            choices=FLAGS,
            description="Start a process again that ended, and bring all up again.",
        ),
        DeclareLaunchArgument(
            "use_composition",
            default_value="false",
            choices=FLAGS,
            description="Run all nodes in one process.",
        ),
        DeclareLaunchArgument(
            "security",
            default_value="",
            description="SROS2 keystore with the enclaves of config/security; empty: none.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severe messages to log.",
        ),
    ]


def _check_params_file(context: LaunchContext) -> None:
    """A node that is given a missing file would only warn, and run with other values."""
    file = Path(LaunchConfiguration("params_file").perform(context))
    if not file.is_file():
        raise FileNotFoundError(
            f"params_file is {file}, which does not exist; give a file like config/foresight.yaml"
        )


def _processes(context: LaunchContext) -> list[Action]:
    """All nodes, each in a process or all in one; without memory, if that is not wanted."""
    keystore = LaunchConfiguration("security").perform(context)
    remembers = LaunchConfiguration("memory").perform(context) == "true"
    nodes = {n: package for n, package in EXECUTABLES.items() if remembers or n != "memory"}
    managed = SetLaunchConfiguration("managed", ", ".join(list(nodes)[:-1]))
    if LaunchConfiguration("use_composition").perform(context) == "true":
        left_out = [] if remembers else ["--without", "memory"]
        stack = partial(_process, "foresight_bringup", "stack", keystore, left_out)
        return [managed, *secured(keystore, ["stack"]), _kept_alive(stack)]
    why = "the lifecycle manager ended, and nobody watches the nodes: all end"
    unwatched = [LogInfo(msg=why), Shutdown(reason=why)]
    processes = [
        _kept_alive(
            partial(_process, package, n, keystore, [], name=n),
            unwatched if n == "lifecycle_manager" else [],
        )
        for n, package in nodes.items()
    ]
    return [managed, *secured(keystore, list(nodes)), *processes]


def _kept_alive(make: Callable[..., Node], at_last: Sequence[Action] = ()) -> Action:
    """A process, started again when it ends if `use_respawn` says so; then `at_last`."""

    def start(context: LaunchContext) -> list[Action]:
        if LaunchConfiguration("use_respawn").perform(context) == "true":
            return respawning(make, context, BackOff(), at_last)
        return [SetLaunchConfiguration("respawned", "false"), make(on_exit=list(at_last))]

    return OpaqueFunction(function=start)


def _process(
    package: str, executable: str, keystore: str, options: Sequence[str] = (), **which: object
) -> Node:
    """One node or all of them: they get the same parameters, which are sorted by node."""
    return Node(
        package=package,
        executable=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            ParameterFile(ROOT / "launch" / "arguments.yaml", allow_substs=True),
        ],
        arguments=[
            *options,
            "--ros-args",
            "--log-level",
            LaunchConfiguration("log_level"),
            *enclave(keystore, executable),
        ],
        output="screen",
        **which,
    )


def generate_launch_description() -> LaunchDescription:
    """The lifecycle nodes and their manager, all in one namespace."""
    return LaunchDescription(
        [
            *_arguments(),
            OpaqueFunction(function=_check_params_file),
            OpaqueFunction(function=_processes),
        ]
    )
