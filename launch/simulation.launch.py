"""The simulated robot alone: what its drivers would publish, and cmd_vel."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ROOT = Path(__file__).resolve().parents[1]


def generate_launch_description() -> LaunchDescription:
    def number(name: str, kind: type) -> ParameterValue:
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "robot",
                default_value=str(ROOT / "config" / "robots" / "homebot.yaml"),
                description="YAML file of the robot profile.",
            ),
            DeclareLaunchArgument("world", default_value="0", description="Number of the home."),
            DeclareLaunchArgument(
                "seed", default_value="0", description="Seed of the tour whose start is taken."
            ),
            DeclareLaunchArgument(
                "start_x",
                default_value="-1.0",
                description="Start in the home's frame, m; below 0 the start of the tour.",
            ),
            DeclareLaunchArgument(
                "start_y", default_value="-1.0", description="Start in the home's frame, m."
            ),
            DeclareLaunchArgument(
                "start_yaw", default_value="0.0", description="Start heading, rad."
            ),
            DeclareLaunchArgument(
                "noise_seed", default_value="0", description="Seed of the sensors' noise."
            ),
            DeclareLaunchArgument(
                "real_time_factor", default_value="1.0", description="Simulated seconds a second."
            ),
            DeclareLaunchArgument(
                "encoding",
                default_value="rgb8",
                choices=["rgb8", "bgr8", "mono8"],
                description="Encoding of the image.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot."
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="Least level that is logged."
            ),
            Node(
                package="foresight_sim",
                executable="sim",
                name="sim",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                parameters=[
                    {
                        "robot": LaunchConfiguration("robot"),
                        "world_seed": number("world", int),
                        "tour_seed": number("seed", int),
                        "start_x": number("start_x", float),
                        "start_y": number("start_y", float),
                        "start_yaw": number("start_yaw", float),
                        "noise_seed": number("noise_seed", int),
                        "real_time_factor": number("real_time_factor", float),
                        "encoding": LaunchConfiguration("encoding"),
                    }
                ],
                on_exit=Shutdown(reason="the simulated robot ended"),
            ),
        ]
    )
