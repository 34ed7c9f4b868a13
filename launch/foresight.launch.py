"""The Foresight stack alone, for a robot whose drivers run already (or for a simulation)."""

from collections.abc import Callable, Sequence
from functools import partial

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile

from foresight_bringup.arguments import SHARE, Argument, declared, flag
from foresight_bringup.processes import OnExit, node, required, started
from foresight_bringup.respawn import BackOff, respawning
from foresight_bringup.security import secured

EXECUTABLES = {
    "perception": "foresight_perception",
    "world_model": "foresight_world_model",
    "memory": "foresight_memory",
    "planning": "foresight_planning",
    "actuation": "foresight_actuation",
    "lifecycle_manager": "foresight_lifecycle",
}
"""The package of each, in the order of bring-up; a node has the name of its executable."""
DRIVERS = ("actuation", "stack")
UNWATCHED = "the lifecycle manager ended, and nobody watches the nodes: all end"


def _processes(context: LaunchContext) -> list[Action]:
    """All nodes, each in a process or all in one; without memory, if that is not wanted."""
    given = context.launch_configurations
    keystore, remembers = given["security"], given["memory"] == "true"
    nodes = {n: package for n, package in EXECUTABLES.items() if remembers or n != "memory"}
    managed = SetLaunchConfiguration("managed", ", ".join(list(nodes)[:-1]))
    if given["use_composition"] == "true":
        left_out = [] if remembers else ["--without", "memory"]
        stack = partial(_process, "foresight_bringup", "stack", keystore, left_out)
        alone = required("the process of all nodes ended")
        return [managed, *secured(keystore, ["stack"]), *_kept_alive(stack, context, alone)]
    processes = [managed, *secured(keystore, list(nodes))]
    for name, package in nodes.items():
        make = partial(_process, package, name, keystore, name=name)
        at_last = required(UNWATCHED) if name == "lifecycle_manager" else None
        processes += _kept_alive(make, context, at_last)
    return processes


def _kept_alive(
    make: Callable[..., Node], context: LaunchContext, at_last: OnExit | None
) -> list[Action]:
    """A process, started again when it ends if `use_respawn` says so; then `at_last`."""
    if context.launch_configurations["use_respawn"] == "true":
        return respawning(make, context, BackOff(), at_last)
    return [SetLaunchConfiguration("respawned", "false"), *started(make(on_exit=at_last))]


def _process(
    package: str, executable: str, keystore: str, options: Sequence[str] = (), **more: object
) -> Node:
    """One node or all of them: they get the same parameters, which are sorted by node."""
    parameters = [
        LaunchConfiguration("params_file"),
        ParameterFile(SHARE / "launch" / "arguments.yaml", allow_substs=True),
    ]
    drives = executable in DRIVERS
    return node(package, executable, parameters, options, keystore, drives, **more)


def generate_launch_description() -> LaunchDescription:
    """The lifecycle nodes and their manager, all in one namespace."""
    return LaunchDescription(
        [
            *declared(
                "namespace",
                "use_sim_time",
                "params_file",
                "robot",
                "bundle",
                memory=flag("Remember places, too.", "true"),
                memory_file=Argument(
                    "File of the memory; empty: places.db in the user's state folder."
                ),
                autostart=flag("Bring the nodes to active as soon as they run.", "true"),
                use_respawn=flag("Start a process again that ended, and bring all up again."),
            ),
            *declared("use_composition", "security", "log_level"),
            OpaqueFunction(function=_processes),
        ]
    )
