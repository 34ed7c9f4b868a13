"""The Foresight stack alone, for a robot whose drivers run already (or for a simulation)."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["true", "false"]

# In the order of bring-up: every node finds what it listens to.
NODES = ("perception", "world_model", "planning", "actuation")
MODELS = {"perception", "world_model", "planning"}
PROFILES = {"perception", "planning", "actuation"}


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
            description="Start a node again that died.",
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


def _node(name: str, package: str, *parameters: object) -> Node:
    return Node(
        package=package,
        executable=name,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[*parameters, {"use_sim_time": _flag("use_sim_time")}],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=1.0,
        output="screen",
    )


def _flag(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=bool)


def _text(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def _stack_node(name: str) -> Node:
    files = {}
    if name in MODELS:
        files["bundle"] = _text("bundle")
    if name in PROFILES:
        files["robot"] = _text("robot")
    return _node(name, f"foresight_{name}", LaunchConfiguration("params_file"), files)


def generate_launch_description() -> LaunchDescription:
    """The four nodes and the lifecycle manager, all in one namespace."""
    manager = {
        "node_names": list(NODES),
        "autostart": _flag("autostart"),
        "respawn": _flag("use_respawn"),
    }
    return LaunchDescription(
        [
            *_arguments(),
            OpaqueFunction(function=_check_params_file),
            *[_stack_node(name) for name in NODES],
            _node("lifecycle_manager", "foresight_lifecycle", manager),
        ]
    )
