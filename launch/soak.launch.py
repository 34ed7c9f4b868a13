"""A simulated robot, the stack and a mission without end, watched by a node that only listens."""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from foresight_bringup.arguments import Argument, declared, included, shipped, value
from foresight_bringup.processes import node, required, started

RESULTS = LaunchConfiguration("results")
PATIENCE_S = "120.0"
"""A busy machine takes its time to bring all up."""


def generate_launch_description() -> LaunchDescription:
    watch = node(
        "foresight_demo",
        "soak_watch",
        [{"period_s": value("period", float)}],
        name="soak_watch",
        on_exit=required("nobody watches the soak any more"),
    )
    return LaunchDescription(
        [
            *declared("world", "seed", "bundle", "robot", "params_file", "use_composition"),
            *declared(
                "namespace",
                "log_level",
                results=Argument(
                    "Folder for the memory and the mission's pictures.", "results/soak"
                ),
                mission=shipped("config/missions/soak.yaml", "YAML file of the mission."),
                period=Argument("Time between two samples, s.", "10.0"),
            ),
            included("simulation", "world", "seed", "robot", "namespace", "log_level"),
            included(
                "foresight",
                "bundle",
                "robot",
                "params_file",
                "use_composition",
                "namespace",
                "log_level",
                use_sim_time="true",
                memory_file=[RESULTS, "/memory/places.db"],
            ),
            included(
                "mission",
                "mission",
                "namespace",
                "log_level",
                patience=PATIENCE_S,
                use_sim_time="true",
                pictures=[RESULTS, "/pictures"],
            ),
            *started(watch),
        ]
    )
