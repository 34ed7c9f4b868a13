"""The simulated robot as a graph sees it: topics and rates, frames, and a driver that stops."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from geometry_msgs.msg import Twist, TwistStamped
from harness import Bench
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from foresight import resources, worlds
from foresight.bodies.profile import RobotProfile
from foresight.perception.image import decode
from foresight.worlds import tasks

LAUNCH = Path(__file__).parents[2] / "launch" / "simulation.launch.py"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAMESPACE = "/robot1"


def _full(topic: str) -> str:
    return topic if topic.startswith("/") else f"{NAMESPACE}/{topic}"


def seconds(stamp: Any) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


@pytest.fixture(scope="module")
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


@launch_pytest.fixture(scope="module")
def graph(module_domain: int) -> LaunchDescription:
    arguments = {"world": "0", "seed": "1", "namespace": NAMESPACE}
    source = PythonLaunchDescriptionSource(str(LAUNCH))
    included = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([included, ReadyToTest()])


class Robot:
    """Everything that the simulated robot publishes, and its wheels."""

    def __init__(self, domain: int) -> None:
        self.bench = Bench(domain)
        sensor = qos_profile_sensor_data
        self.received: dict[str, list[Any]] = {
            topic: self.bench.collect(kind, _full(topic), qos)
            for topic, kind, qos in (
                ("/clock", Clock, 500),
                ("image", Image, sensor),
                ("camera_info", CameraInfo, sensor),
                ("scan", LaserScan, sensor),
                ("odom", Odometry, 10),
                ("bumper", Bool, 10),
                ("ground_truth", Odometry, 10),
                ("tf", TFMessage, 10),
                ("tf_static", TFMessage, LATCHED),
            )
        }

    def wheels(self) -> Any:
        """A publisher of commands."""
        return self.bench.publisher(Twist, _full("cmd_vel"), 1)

    def latest(self, topic: str) -> Any:
        """The next message on a topic."""
        messages = self.received[topic]
        messages.clear()
        self.bench.wait_for(lambda: messages)
        return messages[-1]

    def turn(self) -> float:
        """True yaw rate, rad/s."""
        return self.latest("ground_truth").twist.twist.angular.z


@pytest.fixture(scope="module")
def robot(module_domain: int) -> Iterator[Robot]:
    robot = Robot(module_domain)
    yield robot
    robot.bench.close()


@pytest.mark.launch(fixture=graph)
def test_every_sensor_keeps_its_rate(robot: Robot, profile: RobotProfile) -> None:
    for messages in robot.received.values():
        robot.bench.wait_for(lambda messages=messages: messages, 30.0)
    expected = {
        "/clock": 50.0,
        "image": profile.camera.rate_hz,
        "camera_info": profile.camera.rate_hz,
        "scan": profile.scan.rate_hz,
        "odom": profile.odometry.rate_hz,
        "tf": profile.odometry.rate_hz,
        "ground_truth": profile.odometry.rate_hz,
    }
    for topic in expected:
        robot.received[topic].clear()
    begin = seconds(robot.latest("/clock").clock)
    robot.bench.spin(3.0)
    # By the simulation's own clock: a busy machine makes it slow, but leaves nothing out.
    passed_s = seconds(robot.received["/clock"][-1].clock) - begin
    for topic, hertz in expected.items():
        assert len(robot.received[topic]) == pytest.approx(hertz * passed_s, abs=3), topic
    assert hertz_of_stamps(robot.received["image"]) == pytest.approx(profile.camera.rate_hz, 0.01)


def hertz_of_stamps(messages: list[Any]) -> float:
    stamps = [seconds(message.header.stamp) for message in messages]
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


@pytest.mark.launch(fixture=graph)
def test_images_show_the_start_and_are_stamped_at_capture(
    robot: Robot, profile: RobotProfile
) -> None:
    message = robot.latest("image")
    ticks = robot.received["/clock"]
    robot.bench.wait_for(lambda: any(tick.clock == message.header.stamp for tick in ticks))
    assert abs(seconds(message.header.stamp) - time.time()) < 60.0  # begins at the system's time
    assert message.encoding == "rgb8" and message.header.frame_id == "camera_optical_frame"
    seen = decode(message.data, message.width, message.height, message.step, message.encoding)
    environment, truth = worlds.make(0, profile)
    expected = truth.render_at(tasks.demo_task(truth.floor_plan, profile, seed=1)[0])
    environment.close()
    assert np.abs(seen.astype(int) - expected).mean() < 10  # but for the camera's gain


@pytest.mark.launch(fixture=graph)
def test_camera_info_scan_and_frames_describe_the_profile(
    robot: Robot, profile: RobotProfile
) -> None:
    info, camera = robot.latest("camera_info"), profile.camera
    assert (info.width, info.height) == (camera.width, camera.height)
    hfov = 2 * math.atan(camera.width / 2 / info.k[0])
    assert math.degrees(hfov) == pytest.approx(camera.hfov_deg)
    scan = robot.latest("scan")
    assert len(scan.ranges) == profile.scan.beams
    assert scan.angle_min + (profile.scan.beams - 1) * scan.angle_increment == pytest.approx(
        scan.angle_max
    )
    robot.bench.wait_for(lambda: robot.received["tf_static"])
    static = {t.child_frame_id: t for t in robot.received["tf_static"][-1].transforms}
    assert {t.header.frame_id for t in static.values()} == {"base_link"}
    assert scan.header.frame_id in static
    optical = static["camera_optical_frame"].transform
    q = np.array([getattr(optical.rotation, axis) for axis in "xyzw"])
    assert rotated(q, (0, 0, 1)) == pytest.approx([1, 0, 0], abs=1e-6)  # z looks ahead
    assert rotated(q, (1, 0, 0)) == pytest.approx([0, -1, 0], abs=1e-6)  # x to the right
    assert (optical.translation.x, optical.translation.z) == (camera.x_m, camera.z_m)
    laser = static[scan.header.frame_id].transform.translation
    mount = profile.scan.mount
    assert (laser.x, laser.y, laser.z) == (mount.x_m, mount.y_m, mount.z_m)


def rotated(q: np.ndarray, vector: tuple[float, float, float]) -> np.ndarray:
    axis, v = q[:3], np.array(vector, float)
    return v + 2 * np.cross(axis, np.cross(axis, v) + q[3] * v)


@pytest.mark.launch(fixture=graph)
def test_it_obeys_cmd_vel_and_stops_half_a_second_after_silence(
    robot: Robot, profile: RobotProfile
) -> None:
    commands = robot.wheels()
    twist = Twist()
    twist.angular.z = 0.8
    for _ in range(20):
        commands.publish(twist)
        robot.bench.spin(0.05)
    assert robot.turn() > 0.6
    odometry = robot.latest("odom")
    assert odometry.twist.twist.angular.z > 0.5
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("odom", "base_link")
    transform = robot.latest("tf").transforms[0]
    assert transform.transform.rotation.z > 0.2

    last = seconds(robot.latest("ground_truth").header.stamp)
    commands.publish(twist)
    robot.received["ground_truth"].clear()
    robot.bench.spin(1.5)
    still = [
        seconds(truth.header.stamp) - last
        for truth in robot.received["ground_truth"]
        if abs(truth.twist.twist.angular.z) < 0.1
    ]
    assert profile.driver_timeout_s - 0.05 < min(still) < profile.driver_timeout_s + 0.4
    assert abs(robot.turn()) < 0.02


@pytest.mark.launch(fixture=graph)
def test_a_command_that_is_no_number_moves_nothing(robot: Robot) -> None:
    commands = robot.wheels()
    twist = Twist()
    twist.linear.x, twist.angular.z = math.nan, 1.0
    for _ in range(10):
        commands.publish(twist)
        robot.bench.spin(0.05)
    assert abs(robot.turn()) < 0.05


def run_node(*parameters: str) -> subprocess.CompletedProcess[str]:
    executable = resources.workspace() / "install/foresight_sim/lib/foresight_sim/sim"
    values = [part for parameter in parameters for part in ("-p", parameter)]
    command = [str(executable), "--ros-args", *values]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (("robot:=nowhere.yaml",), "nowhere.yaml: No such file or directory"),
        (("encoding:=yuv422",), "parameter 'encoding' has the value 'yuv422'"),
        (("start_x:=0.05", "start_y:=0.05"), "does not fit at (0.05 m, 0.05 m) of apartment 0"),
        (("start_x:=50.0", "start_y:=1.0"), "does not fit at (50.00 m, 1.00 m) of apartment 0"),
        (("world_sed:=3",), "parameter 'world_sed' is unknown; did you mean 'world_seed'"),
    ],
)
def test_bad_parameters_are_answered_in_a_sentence(
    domain: int, homebot: Path, parameters: tuple[str, ...], complaint: str
) -> None:
    ended = run_node(f"robot:={homebot}", *parameters)
    assert ended.returncode == 1
    assert complaint in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_a_stranger_is_named(
    domain: int, homebot: Path, number: signal.Signals
) -> None:
    executable = resources.workspace() / "install/foresight_sim/lib/foresight_sim/sim"
    command = [str(executable), "--ros-args", "-p", f"robot:={homebot}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    bench = Bench(domain)
    try:
        bench.peer.create_publisher(TwistStamped, "cmd_vel", 1)
        images = bench.collect(Image, "image", qos_profile_sensor_data)
        # three seconds: it has looked around
        bench.wait_for(lambda: len(images) > 30, timeout_s=40.0)
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        bench.close()
    assert process.returncode == 0
    assert "publishes cmd_vel as geometry_msgs/msg/TwistStamped" in output
    assert "Traceback" not in output and "Exception" not in output
