"""The robot's links and joints, for viewers and for tf_static: robot_state_publisher."""

from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

from foresight_bringup.arguments import declared, value
from foresight_bringup.processes import node, required, started


def _publisher(context: LaunchContext) -> list[Action]:
    try:
        import xacro

        get_package_prefix("robot_state_publisher")
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        raise RuntimeError(
            "xacro or robot_state_publisher is not installed; they come with ROS: apt install "
            "ros-jazzy-xacro ros-jazzy-robot-state-publisher"
        ) from error
    file = Path(get_package_share_directory("foresight_description"), "urdf", "robot.urdf.xacro")
    profile = LaunchConfiguration("robot").perform(context)
    robot = xacro.process_file(str(file), mappings={"profile": profile}).toxml()
    parameters = {
        "robot_description": ParameterValue(robot, value_type=str),
        "use_sim_time": value("use_sim_time", bool),
    }
    publisher = node(
        "robot_state_publisher",
        "robot_state_publisher",
        [parameters],
        # it would publish beside the robot's namespace
        remappings=[("/tf", "tf"), ("/tf_static", "tf_static")],
        on_exit=required("robot_state_publisher ended"),
    )
    return started(publisher)


def generate_launch_description() -> LaunchDescription:
    """Its only process is the publisher; give the profile of your robot as `robot`."""
    return LaunchDescription(
        [
            *declared("robot", "namespace", "use_sim_time", "log_level"),
            OpaqueFunction(function=_publisher),
        ]
    )
