"""The simulated robot alone: what its drivers would publish, and cmd_vel."""

from launch import LaunchDescription

from foresight_bringup.arguments import Argument, declared, value
from foresight_bringup.processes import node, required, started


def generate_launch_description() -> LaunchDescription:
    parameters = {
        "robot": value("robot"),
        "world_seed": value("world", int),
        "tour_seed": value("seed", int),
        "start_x": value("start_x", float),
        "start_y": value("start_y", float),
        "start_yaw": value("start_yaw", float),
        "noise_seed": value("noise_seed", int),
        "real_time_factor": value("real_time_factor", float),
        "encoding": value("encoding"),
    }
    robot = node(
        "foresight_sim",
        "sim",
        [parameters],
        name="sim",
        on_exit=required("the simulated robot ended"),
    )
    return LaunchDescription(
        [
            *declared("robot", "world", "seed", "start_x", "start_y", "start_yaw", "noise_seed"),
            *declared(
                "namespace",
                "log_level",
                real_time_factor=Argument("Simulated seconds a second.", "1.0"),
                encoding=Argument("Encoding of the image.", "rgb8", ("rgb8", "bgr8", "mono8")),
            ),
            *started(robot),
        ]
    )
