"""The Foresight stack alone, for a robot whose drivers run already (or for a simulation)."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["true", "false"]

EXECUTABLES = {
    "perception": "foresight_perception",
    "world_model": "foresight_world_model",
    "planning": "foresight_planning",
    "actuation": "foresight_actuation",
    "lifecycle_manager": "foresight_lifecycle",
}
"""The package of each; a node has the name of its executable."""


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
            "autostart",
            default_value="true",
            choices=FLAGS,
            description="Bring the nodes to active as soon as they run.",
        ),
        DeclareLaunchArgument(
            "use_respawn",
            default_value="false",
            choices=FLAGS,
            description="Start a process again that died.",
        ),
        DeclareLaunchArgument(
            "use_composition",
            default_value="false",
            choices=FLAGS,
            description="Run all nodes in one process.",
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


def _process(package: str, executable: str, **which: object) -> Node:
    """One node or all of them: they get the same parameters, which are sorted by node."""
    return Node(
        package=package,
        executable=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            ParameterFile(ROOT / "launch" / "arguments.yaml", allow_substs=True),
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=1.0,
        output="screen",
        **which,
    )


def generate_launch_description() -> LaunchDescription:
    """The four nodes and the lifecycle manager, all in one namespace."""
    composed = LaunchConfiguration("use_composition")
    return LaunchDescription(
        [
            *_arguments(),
            OpaqueFunction(function=_check_params_file),
            _process("foresight_bringup", "stack", condition=IfCondition(composed)),
            *[
                _process(package, name, name=name, condition=UnlessCondition(composed))
                for name, package in EXECUTABLES.items()
            ],
        ]
    )
