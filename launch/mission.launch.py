"""A mission, beside the stack that runs already: its end leaves the stack as it is."""

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import OpaqueFunction

from foresight_bringup.arguments import Argument, declared, flag, value
from foresight_bringup.processes import node, noted, started
from foresight_bringup.security import secured


def _process(context: LaunchContext) -> list[Action]:
    keystore = context.launch_configurations["security"]
    parameters = {
        "mission": value("mission"),
        "autostart": value("autostart", bool),
        "pictures": value("pictures"),
        "patience_s": value("patience", float),
        "image_transport": value("image_transport"),
        "use_sim_time": value("use_sim_time", bool),
    }
    mission = node(
        "foresight_mission",
        "mission",
        [parameters],
        keystore=keystore,
        name="mission",
        on_exit=noted("the mission node ended"),
    )
    return [*secured(keystore, ["mission"]), *started(mission)]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declared(
                "namespace",
                "use_sim_time",
                "log_level",
                "security",
                mission=Argument(
                    "YAML file of the mission.", None, example="config/missions/patrol.yaml"
                ),
                autostart=flag("Begin as soon as the stack is active.", "true"),
                pictures=Argument("Folder for the pictures.", "results/mission"),
                patience=Argument("How long a step waits for the node that does it, s.", "30.0"),
                image_transport=Argument(
                    "Take pictures from image, or from image/compressed.",
                    "raw",
                    ("raw", "compressed"),
                ),
            ),
            OpaqueFunction(function=_process),
        ]
    )
