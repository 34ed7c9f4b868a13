"""Where `image` is remapped, its compressed pictures are heard beside it, as image_transport sends
them: by perception and by missions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from harness import Bench
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage

from foresight_interfaces.msg import Observation
from foresight_mission.robot_client import RosRobot
from foresight_node.messages import LATEST
from foresight_perception.node import PerceptionNode

pytestmark = pytest.mark.timeout(60)

CASES = [
    ((), "/image/compressed"),
    (("image:=/camera/image_raw",), "/camera/image_raw/compressed"),
    (("image:=front/image", "__ns:=/robot1"), "/robot1/front/image/compressed"),
    (("image/compressed:=/camera/jpeg",), "/camera/jpeg"),
]


def remapped(*rules: str) -> dict[str, Any]:
    return {"cli_args": ["--ros-args", *(part for rule in rules for part in ("-r", rule))]}


def picture(bench: Bench) -> CompressedImage:
    _, png = cv2.imencode(".png", np.full((240, 320, 3), (204, 102, 51), np.uint8))
    message = CompressedImage(format="png")
    message.header.stamp = bench.now()
    message.data.frombytes(png.tobytes())
    return message


@pytest.mark.parametrize(("rules", "topic"), CASES, ids=lambda case: " ".join(case) or "none")
def test_perception_hears_the_compressed_pictures_of_a_remapped_image(
    bench: Bench, passthrough: Path, homebot: Path, rules: tuple[str, ...], topic: str
) -> None:
    node = bench.bring_up(
        partial(PerceptionNode, **remapped(*rules)),
        bundle=str(passthrough),
        robot=str(homebot),
        image_transport="compressed",
    )
    images = bench.publisher(CompressedImage, topic, qos_profile_sensor_data)
    odometry = bench.publisher(Odometry, node.resolve_topic_name("odom"))
    observations = bench.collect(Observation, node.resolve_topic_name("observation"), LATEST)

    def seen() -> bool:
        message = Odometry()
        message.header.stamp = bench.now()
        odometry.publish(message)
        bench.spin(0.05)
        images.publish(picture(bench))
        bench.spin(0.05)
        return bool(observations)

    bench.wait_for(seen)


@pytest.mark.parametrize(("rules", "topic"), CASES, ids=lambda case: " ".join(case) or "none")
def test_a_mission_photographs_from_the_compressed_pictures_of_a_remapped_image(
    bench: Bench, tmp_path: Path, rules: tuple[str, ...], topic: str
) -> None:
    node = Node("mission", context=bench.context, **remapped(*rules))
    bench.executor.add_node(node)
    robot = RosRobot(node, 10.0, str(tmp_path), compressed=True)
    heard: list[CompressedImage] = []
    leave = robot._subscribe(heard.append)
    images = bench.publisher(CompressedImage, topic, qos_profile_sensor_data)
    images.publish(picture(bench))
    bench.wait_for(lambda: heard)
    leave()
    robot.destroy()
    bench.executor.remove_node(node)
    node.destroy_node()


def test_a_camera_that_is_missing_is_named_by_the_topic_that_is_listened_to(
    bench: Bench, passthrough: Path, homebot: Path
) -> None:
    node = bench.bring_up(
        partial(PerceptionNode, **remapped("image:=/camera/image_raw")),
        bundle=str(passthrough),
        robot=str(homebot),
        image_transport="compressed",
    )
    said = "no image comes on /camera/image_raw/compressed, for nobody publishes it"
    bench.wait_for(lambda: said in node.health.status().message)
