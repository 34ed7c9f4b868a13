"""The demonstration: a simulated robot, the stack, and a client with three photographs.

The demonstration of memory is two of these launches with the same `results`: `part:=explore`, then
`part:=visit`.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ROOT = Path(__file__).resolve().parents[1]
MEMORY = "memory/places.db"
SHARED = ("robot", "namespace", "log_level")
PARTS = ("photographs", "explore", "visit")
SIMULATED = ("world", "seed", "start_x", "start_y", "start_yaw", "noise_seed")


def generate_launch_description() -> LaunchDescription:
    shared = {name: LaunchConfiguration(name) for name in SHARED}
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "seed", default_value="0", description="Seed that start and goals are drawn from."
            ),
            DeclareLaunchArgument("world", default_value="0", description="Number of the home."),
            DeclareLaunchArgument(
                "results",
                default_value="results/demo",
                description="Folder for report.json, trajectory.png and demo.mp4.",
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
                "part",
                default_value="photographs",
                choices=list(PARTS),
                description="Find three photographs; or explore and name places; or, in a later "
                "launch, visit those. All but visit begin without a memory.",
            ),
            DeclareLaunchArgument(
                "start_x",
                default_value="-1.0",
                description="Start in the home's frame, m; below 0 the one drawn from the seed.",
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
                "use_composition",
                default_value="false",
                choices=["true", "false"],
                description="Run the stack's nodes in one process.",
            ),
            DeclareLaunchArgument(
                "goal_timeout", default_value="90.0", description="Time for one goal, s."
            ),
            DeclareLaunchArgument(
                "places", default_value="3", description="Places to name while exploring."
            ),
            DeclareLaunchArgument(
                "explore_limit", default_value="900.0", description="Time for exploring, s."
            ),
            DeclareLaunchArgument(
                "progress_period", default_value="2.0", description="Time between two lines, s."
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot."
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="Least level that is logged."
            ),
            OpaqueFunction(function=_begin_without_memory),
            _included(
                "simulation",
                shared | {name: LaunchConfiguration(name) for name in SIMULATED},
            ),
            _included(
                "foresight",
                shared
                | {name: LaunchConfiguration(name) for name in ("bundle", "use_composition")}
                | {"use_sim_time": "true"}
                | {"memory_file": [LaunchConfiguration("results"), f"/{MEMORY}"]},
            ),
            Node(
                package="foresight_demo",
                executable="demo_client",
                name="demo_client",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                parameters=[
                    {
                        "robot": LaunchConfiguration("robot"),
                        "results": LaunchConfiguration("results"),
                        "part": LaunchConfiguration("part"),
                        "world_seed": _number("world", int),
                        "tour_seed": _number("seed", int),
                        "goal_timeout_s": _number("goal_timeout", float),
                        "places": _number("places", int),
                        "explore_limit_s": _number("explore_limit", float),
                        "progress_period_s": _number("progress_period", float),
                    }
                ],
                on_exit=Shutdown(reason="the demonstration is over"),
            ),
        ]
    )


def _begin_without_memory(context: LaunchContext) -> None:
    """What an earlier one remembered shall not help, unless that is the point."""
    if LaunchConfiguration("part").perform(context) == "visit":
        return
    results = Path(LaunchConfiguration("results").perform(context))
    for ending in ("-wal", "-shm", ""):
        (results / f"{MEMORY}{ending}").unlink(missing_ok=True)


def _number(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def _included(name: str, arguments: dict[str, object]) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())
