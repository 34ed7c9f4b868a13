"""The perception node: what it sends, and what it answers to bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Bench
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool

from foresight import bundle
from foresight_interfaces.msg import Observation
from foresight_node.messages import LATEST, seconds, to_stamp
from foresight_perception.node import PerceptionNode
from foresight_perception.proprioception import ProprioceptionBuffer, ProprioceptionError


class Drivers:
    """What a robot's drivers publish."""

    def __init__(self, bench: Bench, compressed: bool = False) -> None:
        self.bench = bench
        self.odom = bench.publisher(Odometry, "odom")
        self.bumper = bench.publisher(Bool, "bumper")
        self.camera_info = bench.publisher(CameraInfo, "camera_info")
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self.image = bench.publisher(kind, topic)
        self.problems = bench.collect(DiagnosticArray, "diagnostics")
        self.observations = bench.collect(Observation, "observation", LATEST)

    def drive(self, node: Any, linear: float = 0.1, angular: float = -0.2) -> float:
        """One odometry message that the node has taken in; returns its stamp in s."""
        message = Odometry()
        message.header.stamp = self.bench.now()
        message.twist.twist.linear.x, message.twist.twist.angular.z = linear, angular
        before = len(node._sensed._twists)
        self.odom.publish(message)
        self.bench.wait_for(lambda: len(node._sensed._twists) > before)
        return seconds(message.header.stamp)

    def look(self, colour: tuple[int, int, int] = (10, 20, 30), stamp: Time | None = None) -> Image:
        message = Image(height=240, width=320, encoding="rgb8", step=960)
        message.header.stamp = stamp or self.bench.now()
        message.header.frame_id = "camera"
        message.data.frombytes(bytes(colour) * (240 * 320))
        self.image.publish(message)
        return message

    def told(self, text: str) -> bool:
        statuses = [array.status[0] for array in self.problems]
        return any(text in s.message and s.level != DiagnosticStatus.OK for s in statuses)


@pytest.fixture
def perception(bench: Bench, passthrough: Path, homebot: Path) -> Any:
    return bench.bring_up(PerceptionNode, bundle=str(passthrough), robot=str(homebot))


@pytest.fixture
def drivers(bench: Bench, perception: Any) -> Drivers:
    return Drivers(bench)


def test_an_image_becomes_an_observation(
    bench: Bench, perception: Any, drivers: Drivers, passthrough: Path
) -> None:
    drivers.drive(perception, linear=0.25, angular=-0.5)
    sent = drivers.look(colour=(51, 102, 204))
    bench.wait_for(lambda: drivers.observations)
    (observation,) = drivers.observations
    assert observation.header == sent.header
    assert observation.bundle_digest == bundle.load(passthrough).digest
    np.testing.assert_allclose(observation.latent, [0.2, 0.4, 0.8], atol=1e-5)
    np.testing.assert_allclose(observation.proprioception, [0.25, -0.5, 0.0])


def test_who_listens_gets_the_view_that_was_encoded(
    bench: Bench, perception: Any, drivers: Drivers
) -> None:
    drivers.drive(perception)
    drivers.look()
    bench.wait_for(lambda: drivers.observations)
    views = bench.collect(Image, "model_image", qos_profile_sensor_data)
    bench.wait_for(lambda: perception._views.get_subscription_count())
    drivers.drive(perception)
    sent = drivers.look(colour=(51, 102, 204))
    bench.wait_for(lambda: views)
    (view,) = views
    assert (view.header, view.encoding) == (sent.header, "rgb8")
    assert (view.height, view.width, view.step) == (60, 80, 240)
    assert bytes(view.data) == bytes((51, 102, 204)) * (60 * 80)


def test_a_camera_that_nobody_started_is_told(bench: Bench, perception: Any) -> None:
    problems = bench.collect(DiagnosticArray, "diagnostics")
    told = "no image comes on /image,"
    bench.wait_for(lambda: any(told in a.status[0].message for a in problems))
    assert "nobody publishes it" in problems[-1].status[0].message


def test_a_camera_that_is_silent_is_told(bench: Bench, perception: Any, drivers: Drivers) -> None:
    drivers.drive(perception)
    drivers.look()
    bench.wait_for(lambda: drivers.observations)
    bench.wait_for(lambda: drivers.told("although a driver is connected"))


def test_a_short_contact_is_told_once(bench: Bench, perception: Any, drivers: Drivers) -> None:
    for pressed in (True, False):
        drivers.bumper.publish(Bool(data=pressed))
    bench.wait_for(lambda: perception._sensed._contacts and not perception._sensed._pressed)
    for count in (1, 2):
        drivers.drive(perception)
        drivers.look(colour=(10, 20, 30 + count))
        bench.wait_for(lambda count=count: len(drivers.observations) == count)
    assert [o.proprioception[2] for o in drivers.observations] == [1.0, 0.0]


def test_compressed_images(bench: Bench, passthrough: Path, homebot: Path) -> None:
    node = bench.bring_up(
        PerceptionNode,
        bundle=str(passthrough),
        robot=str(homebot),
        image_transport="compressed",
    )
    drivers = Drivers(bench, compressed=True)
    drivers.drive(node)
    _, png = cv2.imencode(".png", np.full((240, 320, 3), (204, 102, 51), np.uint8))
    message = CompressedImage(format="png")
    message.header.stamp = bench.now()
    message.data.frombytes(png.tobytes())
    drivers.image.publish(message)
    bench.wait_for(lambda: drivers.observations)
    np.testing.assert_allclose(drivers.observations[0].latent, [0.2, 0.4, 0.8], atol=1e-5)


def test_another_camera_is_rectified(bench: Bench, perception: Any, drivers: Drivers) -> None:
    info = CameraInfo(width=320, height=240, distortion_model="plumb_bob", d=[0.0] * 5)
    focal = 110.0  # a view of 111 degrees, of which the model takes the middle 90
    info.k = [focal, 0.0, 159.5, 0.0, focal, 119.5, 0.0, 0.0, 1.0]
    drivers.camera_info.publish(info)
    bench.wait_for(lambda: not perception._view._rectify.identity)
    drivers.drive(perception)
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, 50:270] = 255  # 2 * 110 px wide: just what the model sees
    message = Image(height=240, width=320, encoding="rgb8", step=960)
    message.header.stamp = bench.now()
    message.data.frombytes(picture.tobytes())
    drivers.image.publish(message)
    bench.wait_for(lambda: drivers.observations)
    np.testing.assert_allclose(drivers.observations[0].latent, 1.0, atol=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoding": "32FC1"}, "'32FC1'"),
        ({"height": 241}, "rows of 960 bytes"),
        ({"step": 12}, "step 12"),
        ({"width": 0, "height": 0}, "0x0"),
        ({"width": 240, "height": 240, "step": 960}, "240x240"),
    ],
)
def test_a_bad_image_is_answered_and_the_next_one_works(
    bench: Bench, perception: Any, drivers: Drivers, change: dict[str, Any], says: str
) -> None:
    drivers.drive(perception)
    message = Image(height=240, width=320, encoding="rgb8", step=960)
    message.header.stamp = bench.now()
    message.data.frombytes(bytes(240 * 960))
    for name, value in change.items():
        setattr(message, name, value)
    drivers.image.publish(message)
    bench.wait_for(lambda: drivers.told(says))
    assert not drivers.observations
    drivers.drive(perception)
    drivers.look()
    bench.wait_for(lambda: drivers.observations)


def test_a_camera_that_repeats_itself_while_the_robot_moves_is_found_out(
    bench: Bench, perception: Any, drivers: Drivers
) -> None:
    def look_until(condition: Callable[[], object], colour: int) -> None:
        def looked() -> object:
            drivers.drive(perception)
            drivers.look(colour=(colour, 20, 30))
            bench.spin(0.05)
            return condition()

        bench.wait_for(looked)

    look_until(lambda: drivers.told("image has not changed"), 10)
    drivers.observations.clear()
    look_until(lambda: drivers.observations, 11)


def test_odometry_that_is_no_number_is_answered(
    bench: Bench, perception: Any, drivers: Drivers
) -> None:
    message = Odometry()
    message.header.stamp = bench.now()
    message.twist.twist.linear.x = float("nan")
    drivers.odom.publish(message)
    bench.wait_for(lambda: drivers.told("linear.x nan"))
    drivers.look()
    bench.wait_for(lambda: drivers.told("odom has sent nothing"))
    assert not drivers.observations
    drivers.drive(perception)
    drivers.look()
    bench.wait_for(lambda: drivers.observations)


@pytest.mark.parametrize(("shift_s", "says"), [(-2.0, "2.0"), (3.0, "ahead")])
def test_an_image_from_another_time_is_dropped(
    bench: Bench, perception: Any, drivers: Drivers, shift_s: float, says: str
) -> None:
    stamp = drivers.drive(perception) + shift_s
    drivers.look(stamp=to_stamp(stamp))
    bench.wait_for(lambda: drivers.told(says))
    assert not drivers.observations


def test_the_same_image_twice_counts_once(bench: Bench, perception: Any, drivers: Drivers) -> None:
    drivers.drive(perception)
    stamp = bench.now()
    drivers.look(stamp=stamp)
    drivers.look(stamp=stamp)

    def dropped() -> bool:
        values = {value.key: value.value for value in perception.health.status().values}
        return values.get("images dropped: stamp") == "1"

    bench.wait_for(dropped)
    bench.wait_for(lambda: drivers.observations)
    assert len(drivers.observations) == 1


def test_nothing_is_sent_before_activation(bench: Bench, passthrough: Path, homebot: Path) -> None:
    node = bench.start(PerceptionNode, bundle=str(passthrough), robot=str(homebot))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    drivers = Drivers(bench)
    odometry = Odometry()
    odometry.header.stamp = bench.now()
    drivers.odom.publish(odometry)
    drivers.look()
    bench.spin(0.3)
    assert not drivers.observations
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    drivers.drive(node)
    drivers.look()
    bench.wait_for(lambda: drivers.observations)


# --- the body, without ROS


def test_the_body_takes_the_latest_twist_before_the_picture() -> None:
    body = ProprioceptionBuffer(max_age_s=0.5)
    for stamp, speed in ((1.0, 0.1), (1.1, 0.2), (1.2, 0.3)):
        body.odometry(stamp, speed, 0.0)
    values, _ = body.at(1.15)
    assert values == {"linear_mps": 0.2, "angular_radps": 0.0, "bump": 0.0}
    with pytest.raises(ProprioceptionError, match="nothing from before"):
        body.at(0.9)
    with pytest.raises(ProprioceptionError, match="0.80 s older"):
        body.at(2.0)


def test_a_contact_waits_for_an_observation_that_was_sent() -> None:
    body = ProprioceptionBuffer(max_age_s=1.0)
    body.odometry(1.0, 0.0, 0.0)
    body.bumper(True)
    body.bumper(False)
    assert body.at(1.0)[0]["bump"] == 1.0  # that observation was dropped on its way
    values, mark = body.at(1.1)
    assert values["bump"] == 1.0
    body.told(mark)
    assert body.at(1.2)[0]["bump"] == 0.0


def test_odometry_that_begins_anew_forgets_the_old() -> None:
    body = ProprioceptionBuffer(max_age_s=1.0)
    body.odometry(100.0, 0.4, 0.0)
    body.odometry(0.1, 0.1, 0.0)
    assert body.at(0.2)[0]["linear_mps"] == 0.1
