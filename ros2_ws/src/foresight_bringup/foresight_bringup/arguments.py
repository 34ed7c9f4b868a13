"""What the launch files' arguments are made of, and those that several files share.

An argument that one file alone takes is declared there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

from foresight_bringup.preflight import check

SHARE = Path(get_package_share_directory("foresight_bringup"))
"""Holds launch, config and models."""
TRUE, FALSE = ("true", "True", "1"), ("false", "False", "0")


@dataclass(frozen=True)
class Argument:
    """What a launch file takes.

    Attributes:
        default: None if it has to be given.
        example: of a file or folder, in the share; if there is one, what is given must exist.
    """

    description: str
    default: str | None = ""
    choices: tuple[str, ...] = ()
    example: str = ""


def flag(description: str, default: str = "false") -> Argument:
    """An argument that is true or false, in whichever of the ways that people write these."""
    return Argument(description, default, (*TRUE, *FALSE))


def shipped(path: str, description: str) -> Argument:
    """An argument that names a file or folder, if not given this one in the share."""
    return Argument(description, str(SHARE / path), example=path)


SHARED = {
    "namespace": Argument("Namespace of the whole robot."),
    "use_sim_time": flag("Take the time from /clock, as in a simulation."),
    "params_file": shipped("config/foresight.yaml", "YAML file with the nodes' parameters."),
    "robot": shipped("config/robots/homebot.yaml", "YAML file of the robot profile."),
    "bundle": shipped("models/apartment", "Folder of the world model."),
    "use_composition": flag("Run the stack's nodes in one process."),
    "security": Argument(
        "SROS2 keystore with the enclaves of config/security; empty: none.",
    ),
    "log_level": Argument(
        "Least severe messages to log.", "info", ("debug", "info", "warn", "error", "fatal")
    ),
    "world": Argument("Number of the home.", "0"),
    "seed": Argument("Seed that the start (and the demonstration's goals) are drawn from.", "0"),
    "start_x": Argument(
        "Start in the home's frame, m; below 0 the one drawn from the seed.", "-1.0"
    ),
    "start_y": Argument("Start in the home's frame, m.", "-1.0"),
    "start_yaw": Argument("Start heading, rad.", "0.0"),
    "noise_seed": Argument("Seed of the sensors' noise.", "0"),
}
"""Those that several launch files take."""


def declared(*shared: str, **own: Argument) -> list[Action]:
    """A launch file's arguments: shared ones by name, and its own.

    When they are visited, flags become true or false, what shall exist is looked for, and the
    machine is checked; a fault ends the launch with one sentence.
    """
    arguments = {name: SHARED[name] for name in shared} | own

    def settle(context: LaunchContext) -> None:
        given = context.launch_configurations
        for name, argument in arguments.items():
            if TRUE[0] in argument.choices:
                given[name] = "true" if given[name] in TRUE else "false"
            if argument.example and not Path(given[name]).exists():
                raise FileNotFoundError(
                    f"{name} is {given[name]}, which does not exist; give one like "
                    f"{argument.example}"
                )
        check(context.environment)

    return [
        *(
            DeclareLaunchArgument(
                name,
                default_value=argument.default,
                description=argument.description,
                choices=list(argument.choices) or None,
            )
            for name, argument in arguments.items()
        ),
        OpaqueFunction(function=settle),
    ]


def value(name: str, kind: type = str) -> ParameterValue:
    """An argument as a node's parameter of this type."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def included(file: str, *passed: str, **given: object) -> IncludeLaunchDescription:
    """The launch file of this name, with some of our own arguments passed on, and others given."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / f"{file}.launch.py"))
    arguments = {name: LaunchConfiguration(name) for name in passed} | given
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())
