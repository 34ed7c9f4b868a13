"""The demonstration: a simulated robot, the stack, and a client with three photographs.

The demonstration of memory is two of these launches with the same `results`: `part:=explore`, then
`part:=visit`.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration

from foresight_bringup.arguments import Argument, declared, included, value
from foresight_bringup.processes import node, required, started

MEMORY = "memory/places.db"
ALL = ("robot", "namespace", "log_level")
SIMULATED = ("world", "seed", "start_x", "start_y", "start_yaw", "noise_seed")


def generate_launch_description() -> LaunchDescription:
    parameters = {
        "robot": value("robot"),
        "results": value("results"),
        "part": value("part"),
        "world_seed": value("world", int),
        "tour_seed": value("seed", int),
        "goal_timeout_s": value("goal_timeout", float),
        "places": value("places", int),
        "explore_limit_s": value("explore_limit", float),
        "progress_period_s": value("progress_period", float),
    }
    client = node(
        "foresight_demo",
        "demo_client",
        [parameters],
        name="demo_client",
        on_exit=required("the demonstration is over"),
    )
    return LaunchDescription(
        [
            *declared(*ALL, *SIMULATED, "bundle", "use_composition"),
            *declared(
                results=Argument(
                    "Folder for report.json, trajectory.png and demo.mp4.", "results/demo"
                ),
                part=Argument(
                    "Find three photographs; or explore and name places; or, in a later launch, "
                    "visit those. All but visit begin without a memory.",
                    "photographs",
                    ("photographs", "explore", "visit"),
                ),
                goal_timeout=Argument("Time for one goal, s.", "90.0"),
                places=Argument("Places to name while exploring.", "3"),
                explore_limit=Argument("Time for exploring, s.", "900.0"),
                progress_period=Argument("Time between two lines, s.", "2.0"),
            ),
            OpaqueFunction(function=_begin_without_memory),
            included("simulation", *ALL, *SIMULATED),
            included(
                "foresight",
                *ALL,
                "bundle",
                "use_composition",
                use_sim_time="true",
                memory_file=[LaunchConfiguration("results"), f"/{MEMORY}"],
            ),
            *started(client),
        ]
    )


def _begin_without_memory(context: LaunchContext) -> None:
    """What an earlier one remembered shall not help, unless that is the point."""
    given = context.launch_configurations
    if given["part"] == "visit":
        return
    for ending in ("-wal", "-shm", ""):
        Path(given["results"], f"{MEMORY}{ending}").unlink(missing_ok=True)
