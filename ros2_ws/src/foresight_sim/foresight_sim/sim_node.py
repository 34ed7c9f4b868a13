"""The simulated robot as its drivers would appear in the graph."""

from __future__ import annotations

import math
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from foresight import worlds
from foresight.bodies.profile import RobotProfile, ScannerMount
from foresight.interfaces import FloorPlan, Observation
from foresight.perception.image import pinhole
from foresight.worlds import tasks
from foresight.worlds.floor_plan import free_space
from foresight.worlds.realtime import TICK_S, MotorDriver, Pace, Rate
from foresight.worlds.simulation import SCAN_HEIGHT_M
from foresight_node.messages import floats
from foresight_node.parameters import ParameterServer, parameter
from foresight_node.spin import Interrupted, Spinner, init

CAMERA_FRAME = "camera_optical_frame"
SCAN_FRAME = "laser"
CATCH_UP_TICKS = 3
"""Ticks in one turn of the executor at most, so that commands are heard between them."""
CHECK_PERIOD_S = 2.0
_CONVERSIONS = {"rgb8": None, "bgr8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_RGB2GRAY}


@dataclass(frozen=True)
class Parameters:
    robot: str = parameter("", "YAML file of the robot profile.", required=True)
    world_seed: int = parameter(0, "Number of the apartment.", minimum=0)
    tour_seed: int = parameter(0, "Seed of the tour whose start is taken.", minimum=0)
    start_x: float = parameter(
        -1.0, "Start in the apartment's frame, m; below 0 the start of the tour is taken."
    )
    start_y: float = parameter(-1.0, "Start in the apartment's frame, m.")
    start_yaw: float = parameter(0.0, "Start heading in the apartment's frame, rad.")
    noise_seed: int = parameter(0, "Seed of the sensors' noise.", minimum=0)
    real_time_factor: float = parameter(
        1.0, "Simulated seconds in a second.", minimum=0.05, maximum=20.0
    )
    encoding: str = parameter("rgb8", "Encoding of the image.", choices=tuple(_CONVERSIONS))


class SimNode(Node):
    """Publishes image, camera_info, odom, scan, bumper, ground_truth, /clock and TF.

    Simulated time begins at the system's time. The driver's clock is simulated time.
    """

    def __init__(self) -> None:
        super().__init__("sim", automatically_declare_parameters_from_overrides=True)
        values = ParameterServer(self, Parameters).values
        self._encoding = values.encoding
        profile = self._profile = RobotProfile.load(values.robot)
        self._robot, self._truth = worlds.make(
            values.world_seed, profile, seed=values.noise_seed, mounted_scan=True
        )
        self._truth.place(_start_pose(values, self._truth.floor_plan, profile))
        self._seen = self._robot.observe()
        self._epoch_ns = time.time_ns()
        self._driver = MotorDriver(profile.driver_timeout_s)
        self._pace = Pace(values.real_time_factor)
        self._wanted_factor = values.real_time_factor
        self._advertise()
        self._subscribe()
        self._camera_info = _camera_info(profile)
        self._image_rate = Rate(profile.camera.rate_hz)
        self._scan_rate = Rate(profile.scan.rate_hz)
        self._odometry_rate = Rate(profile.odometry.rate_hz)
        self._static_tf.publish(static_transforms(profile, self._stamp()))
        _ = self._seen.image  # the first picture takes long: the clock has not started yet
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_S / values.real_time_factor, self._advance, clock=steady)
        self.create_timer(CHECK_PERIOD_S, self._check, clock=steady)
        x, y, yaw = self._truth.pose
        self.get_logger().info(
            f"{profile.name} in apartment {values.world_seed} at "
            f"({x:.2f} m, {y:.2f} m, {math.degrees(yaw):.0f} deg)"
        )

    def close(self) -> None:
        """Free the renderer and leave the graph."""
        self._robot.close()
        self.destroy_node()

    def _advertise(self) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock = self.create_publisher(ClockMessage, "/clock", 10)
        self._image = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._scan = self.create_publisher(LaserScan, "scan", qos_profile_sensor_data)
        self._odom = self.create_publisher(Odometry, "odom", 10)
        self._bumper = self.create_publisher(Bool, "bumper", 10)
        self._ground_truth = self.create_publisher(Odometry, "ground_truth", 10)
        self._tf = self.create_publisher(TFMessage, "tf", 10)
        self._static_tf = self.create_publisher(TFMessage, "tf_static", latched)

    def _subscribe(self) -> None:
        if self._profile.stamped_cmd_vel:
            kind, on_command = TwistStamped, lambda message: self._on_command(message.twist)
        else:
            kind, on_command = Twist, self._on_command
        self._commands = self.create_subscription(kind, "cmd_vel", on_command, 1)
        self._command_type = f"geometry_msgs/msg/{kind.__name__}"
        self._strangers: set[str] = set()

    def _on_command(self, twist: Twist) -> None:
        linear, angular = twist.linear.x, twist.angular.z
        if not self._driver.obey(linear, angular, self._seen.time_s):
            self.get_logger().warning(
                f"cmd_vel ({linear} m/s, {angular} rad/s) is not finite and is ignored",
                throttle_duration_sec=5.0,
            )

    # --- time

    def _advance(self) -> None:
        for _ in range(CATCH_UP_TICKS):
            if not self._pace.due(time.monotonic(), self._seen.time_s):
                return
            self._tick()

    def _tick(self) -> None:
        before = self._seen
        seen = self._seen = self._robot.step(self._driver.command(before.time_s), TICK_S)
        stamp, now_s = self._stamp(), seen.time_s
        self._clock.publish(ClockMessage(clock=stamp))
        odometry_due = self._odometry_rate.due(now_s)
        if odometry_due:
            self._publish_motion(seen, stamp)
        if odometry_due or seen.bumper != before.bumper:
            self._bumper.publish(Bool(data=seen.bumper))
        if self._scan_rate.due(now_s):
            self._publish_scan(seen, stamp)
        if self._image_rate.due(now_s):
            self._publish_image(seen, stamp)

    def _stamp(self) -> Time:
        ns = self._epoch_ns + round(self._seen.time_s * 1e9)
        return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)

    def _check(self) -> None:
        factor = self._pace.achieved(time.monotonic(), self._seen.time_s)
        if factor < 0.95 * self._wanted_factor:
            self.get_logger().warning(
                f"this machine is too busy: simulated time runs at {factor:.2f} of real time "
                f"instead of {self._wanted_factor:.2f}",
                throttle_duration_sec=10.0,
            )
        for publisher in self.get_publishers_info_by_topic("cmd_vel"):
            kind = publisher.topic_type
            if kind != self._command_type and kind not in self._strangers:
                self._strangers.add(kind)
                self.get_logger().warning(
                    f"node '{publisher.node_name}' publishes cmd_vel as {kind}, but this robot "
                    f"takes {self._command_type}; set 'stamped_cmd_vel' of the robot profile"
                )

    # --- sensors

    def _publish_motion(self, seen: Observation, stamp: Time) -> None:
        reading = seen.odometry
        twist = (reading.linear, reading.angular)
        self._odom.publish(_odometry("odom", stamp, reading.pose, twist))
        transform = _transform("odom", "base_link", stamp, (reading.x, reading.y, 0.0))
        transform.transform.rotation = _heading(reading.yaw)
        self._tf.publish(TFMessage(transforms=[transform]))
        truth = self._truth
        self._ground_truth.publish(_odometry("world", stamp, truth.pose, truth.velocity))

    def _publish_scan(self, seen: Observation, stamp: Time) -> None:
        scan = self._profile.scan
        message = LaserScan(range_min=0.0, range_max=scan.range_max_m)
        message.header.stamp, message.header.frame_id = stamp, SCAN_FRAME
        message.angle_increment = 2 * math.pi / scan.beams
        message.angle_max = 2 * math.pi * (scan.beams - 1) / scan.beams
        message.scan_time = 1.0 / scan.rate_hz
        message.ranges = floats(seen.scan)
        self._scan.publish(message)

    def _publish_image(self, seen: Observation, stamp: Time) -> None:
        pixels = _encode(seen.image, self._encoding)
        height, width = pixels.shape[:2]
        message = Image(height=height, width=width, encoding=self._encoding)
        message.header.stamp, message.header.frame_id = stamp, CAMERA_FRAME
        message.step = pixels.nbytes // height
        message.data = array("B", pixels.tobytes())  # any other type is checked byte by byte
        self._camera_info.header = message.header
        self._image.publish(message)
        self._info.publish(self._camera_info)


def _start_pose(values: Parameters, plan: FloorPlan, profile: RobotProfile) -> tasks.Pose:
    if values.start_x < 0:
        return tasks.demo_task(plan, profile, values.tour_seed)[0]
    x, y = values.start_x, values.start_y
    free = free_space(plan.occupied(), profile.footprint_radius_m)
    if not (free.holds(x, y) and free.at(x, y)):
        raise ValueError(
            f"start_x, start_y: the robot does not fit at ({x:.2f} m, {y:.2f} m) of apartment "
            f"{plan.name}; choose a free place, or leave them out to start where the tour does"
        )
    return x, y, values.start_yaw


def _encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    conversion = _CONVERSIONS[encoding]
    return rgb if conversion is None else cv2.cvtColor(rgb, conversion)


def _heading(yaw: float) -> Quaternion:
    return Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))


def _odometry(frame: str, stamp: Time, pose: tasks.Pose, twist: tuple[float, float]) -> Odometry:
    message = Odometry(child_frame_id="base_link")
    message.header.stamp, message.header.frame_id = stamp, frame
    message.pose.pose.position.x, message.pose.pose.position.y = pose[:2]
    message.pose.pose.orientation = _heading(pose[2])
    message.twist.twist.linear.x, message.twist.twist.angular.z = twist
    return message


def _transform(
    frame: str, child: str, stamp: Time, position_m: tuple[float, float, float]
) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, frame
    translation = message.transform.translation
    translation.x, translation.y, translation.z = position_m
    return message


def static_transforms(profile: RobotProfile, stamp: Time) -> TFMessage:
    """Where camera and scanner sit; the camera's frame is optical (REP-103: z ahead, x right)."""
    camera = _transform(
        "base_link", CAMERA_FRAME, stamp, (profile.camera.x_m, 0.0, profile.camera.z_m)
    )
    # Turned by the pitch about y, then from (forward, left, up) to (right, down, forward).
    half = math.radians(profile.camera.pitch_deg) / 2
    c, s = math.cos(half) / 2, math.sin(half) / 2
    camera.transform.rotation = Quaternion(x=-c - s, y=c + s, z=-c + s, w=c - s)
    at = profile.scan.mount or ScannerMount(z_m=SCAN_HEIGHT_M)
    scanner = _transform("base_link", SCAN_FRAME, stamp, (at.x_m, at.y_m, at.z_m))
    turn = _heading(math.radians(at.yaw_deg))
    if at.upside_down:  # half a turn about x first
        turn = Quaternion(x=turn.w, y=turn.z, z=0.0, w=0.0)
    scanner.transform.rotation = turn
    return TFMessage(transforms=[camera, scanner])


def _camera_info(profile: RobotProfile) -> CameraInfo:
    """An ideal pinhole."""
    camera = profile.camera
    k = pinhole(camera.width, camera.height, camera.hfov_deg)
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob")
    message.d = [0.0] * 5
    message.k = k.ravel()
    message.r = np.eye(3).ravel()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel()
    return message


def main() -> int:
    """Run the simulated robot until a signal; 1 when it cannot start."""
    init()
    try:
        node = SimNode()
    except (ValueError, OSError) as error:
        get_logger("sim").fatal(str(error))
        return 1
    with suppress(Interrupted):
        Spinner(node).until(lambda: False)
    node.close()
    rclpy.try_shutdown()
    return 0
