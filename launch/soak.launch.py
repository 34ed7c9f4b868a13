"""A simulated robot, the stack and a mission without end, watched by a node that only listens."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ROOT = Path(__file__).resolve().parents[1]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("world", default_value="0", description="Number of the home."),
            DeclareLaunchArgument(
                "seed", default_value="0", description="Seed of the tour whose start is taken."
            ),
            DeclareLaunchArgument(
                "results",
                default_value="results/soak",
                description="Folder for the memory and the mission's pictures.",
            ),
            DeclareLaunchArgument(
                "mission",
                default_value=str(ROOT / "config" / "missions" / "soak.yaml"),
                description="YAML file of the mission.",
            ),
            DeclareLaunchArgument(
                "bundle",
                default_value=str(ROOT / "models" / "apartment"),
                description="Folder of the world model.",
            ),
            DeclareLaunchArgument(
                "robot",
                default_value=str(ROOT / "config" / "robots" / "homebot.yaml"),
                description="YAML file of the robot profile.",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(ROOT / "config" / "foresight.yaml"),
                description="YAML file with the nodes' parameters.",
            ),
            DeclareLaunchArgument(
                "use_composition",
                default_value="false",
                choices=["true", "false"],
                description="Run the stack's nodes in one process.",
            ),
            DeclareLaunchArgument(
                "period", default_value="10.0", description="Time between two samples, s."
            ),
            _included("simulation", "world", "seed", "robot"),
            _included(
                "foresight",
                "bundle",
                "robot",
                "params_file",
                "use_composition",
                use_sim_time="true",
                memory_file=[LaunchConfiguration("results"), "/memory/places.db"],
            ),
            _included(
                "mission",
                "mission",
                patience="120.0",  # a busy machine takes its time to bring all up
                use_sim_time="true",
                pictures=[LaunchConfiguration("results"), "/pictures"],
            ),
            Node(
                package="foresight_demo",
                executable="soak_watch",
                name="soak_watch",
                output="screen",
                parameters=[
                    {"period_s": ParameterValue(LaunchConfiguration("period"), value_type=float)}
                ],
                on_exit=Shutdown(reason="nobody watches the soak any more"),
            ),
        ]
    )


def _included(name: str, *passed: str, **given: object) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    arguments = {argument: LaunchConfiguration(argument) for argument in passed} | given
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())
