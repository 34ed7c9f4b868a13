"""A mission, beside the stack that runs already: its end leaves the stack as it is."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from foresight_bringup.security import enclave, secured

FLAGS = ["true", "false"]


def _check_mission(context: LaunchContext) -> None:
    file = Path(LaunchConfiguration("mission").perform(context))
    if not file.is_file():
        raise FileNotFoundError(
            f"mission is {file}, which does not exist; give a file like config/missions/patrol.yaml"
        )


def _value(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def _process(context: LaunchContext) -> list[SetEnvironmentVariable | Node]:
    keystore = LaunchConfiguration("security").perform(context)
    node = Node(
        package="foresight_mission",
        executable="mission",
        name="mission",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        arguments=[
            "--ros-args",
            "--log-level",
            LaunchConfiguration("log_level"),
            *enclave(keystore, "mission"),
        ],
        parameters=[
            {
                "mission": _value("mission", str),
                "autostart": _value("autostart", bool),
                "pictures": _value("pictures", str),
                "patience_s": _value("patience", float),
                "image_transport": _value("image_transport", str),
                "use_sim_time": _value("use_sim_time", bool),
            }
        ],
    )
    return [*secured(keystore, ["mission"]), node]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("mission", description="YAML file of the mission."),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=FLAGS,
                description="Begin as soon as the stack is active.",
            ),
            DeclareLaunchArgument(
                "pictures",
                default_value="results/mission",
                description="Folder for the pictures.",
            ),
            DeclareLaunchArgument(
                "patience",
                default_value="30.0",
                description="How long a step waits for the node that does it, s.",
            ),
            DeclareLaunchArgument(
                "image_transport",
                default_value="raw",
                choices=["raw", "compressed"],
                description="Take pictures from image, or from image/compressed.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot."
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                choices=FLAGS,
                description="Take the time from /clock, as in a simulation.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="Least severe messages to log.",
            ),
            DeclareLaunchArgument(
                "security",
                default_value="",
                description="SROS2 keystore with the enclaves of config/security; empty: none.",
            ),
            OpaqueFunction(function=_check_mission),
            OpaqueFunction(function=_process),
        ]
    )
