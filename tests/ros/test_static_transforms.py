"""Scanner and camera are where tf_static says, else where the robot profile does; what does not fit
is told, and the robot does not move on a guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from harness import Bench
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from tf2_msgs.msg import TFMessage

from foresight_actuation.node import ActuationNode
from foresight_interfaces.msg import ActuationStatus, Plan
from foresight_node.messages import LATCHED, LATEST, floats
from foresight_node.static_transforms import STATIC, WAIT_S
from foresight_perception.node import PerceptionNode
from foresight_planning.node import PlanningNode

pytestmark = pytest.mark.timeout(60)

BEAMS = 60
AHEAD = 0
"""The robot drives to where beam 0 of a scanner at base_link looks."""
WALL_M = 0.15
"""From the robot's centre: it stands close before it."""


def transform(
    child: str,
    parent: str = "base_link",
    at: tuple[float, float, float] = (0.0, 0.0, 0.2),
    yaw_deg: float = 0.0,
    roll_deg: float = 0.0,
) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = at
    yaw, roll = math.radians(yaw_deg) / 2, math.radians(roll_deg) / 2
    turn.x, turn.y = math.cos(yaw) * math.sin(roll), math.sin(yaw) * math.sin(roll)
    turn.z, turn.w = math.sin(yaw) * math.cos(roll), math.cos(yaw) * math.cos(roll)
    return message


class Robot:
    """Drivers and a planner; the plan leads ahead, and `wall` is the beam that something is near
    in, or None."""

    def __init__(self, bench: Bench, frame: str) -> None:
        self.bench, self.frame = bench, frame
        self.wall: int | None = None
        self.blind_m = 0.02
        peer = bench.peer
        self.statuses = bench.collect(ActuationStatus, "actuation_status", LATCHED)
        self.diagnostics = bench.collect(DiagnosticArray, "diagnostics")
        self._plans = peer.create_publisher(Plan, "action_plan", LATEST)
        self._odometry = peer.create_publisher(Odometry, "odom", 10)
        self._scans = peer.create_publisher(LaserScan, "scan", 10)
        self._static = peer.create_publisher(TFMessage, "tf_static", STATIC)
        self._moving = peer.create_publisher(TFMessage, "tf", 10)
        peer.create_timer(0.05, self._drive)

    def _drive(self) -> None:
        stamp = self.bench.now()
        odometry = Odometry()
        odometry.header.stamp = stamp
        self._odometry.publish(odometry)
        scan = LaserScan(angle_increment=math.tau / BEAMS, range_max=6.0)
        scan.range_min = self.blind_m
        scan.header.stamp, scan.header.frame_id = stamp, self.frame
        ranges = np.full(BEAMS, math.inf)
        if self.wall is not None:
            ranges[self.wall] = WALL_M
        scan.ranges = floats(ranges)
        self._scans.publish(scan)
        plan = Plan(action_duration_s=0.3, linear=floats([0.3] * 8), angular=floats([0.0] * 8))
        plan.header.stamp = plan.observation_stamp = stamp
        self._plans.publish(plan)

    def publish(self, *transforms: TransformStamped) -> None:
        self._static.publish(TFMessage(transforms=transforms))

    def publish_moving(self, *transforms: TransformStamped) -> None:
        self._moving.publish(TFMessage(transforms=transforms))

    def drives(self) -> None:
        self._comes_to(ActuationStatus.DRIVING, "following the plan")

    def is_stopped_by_the_wall(self) -> None:
        self._comes_to(ActuationStatus.STOPPED, "the path is closed in the scan")

    def _comes_to(self, state: int, reason: str) -> None:
        def there() -> bool:
            last = self.statuses[-1] if self.statuses else None
            return last is not None and last.state == state and reason in last.reason

        self.bench.wait_for(there)

    def rests(self, duration_s: float) -> None:
        """For a while nothing is driven."""
        self.statuses.clear()
        self.bench.spin(duration_s)
        assert all(status.state != ActuationStatus.DRIVING for status in self.statuses)

    def told(self, *parts: str) -> Callable[[], bool]:
        """Whether diagnostics told one sentence with all these parts."""

        def heard() -> bool:
            statuses = [status for array in self.diagnostics for status in array.status]
            texts = [s.message for s in statuses if s.level != DiagnosticStatus.OK]
            texts += [pair.value for s in statuses for pair in s.values if "mount" in pair.key]
            return any(all(part in text for part in parts) for text in texts)

        return heard

    def fact(self, key: str) -> str:
        values = {pair.key: pair.value for pair in self.diagnostics[-1].status[0].values}
        return values.get(key, "")


def profile_with(tmp_path: Path, homebot: Path, mount: dict[str, Any] | None) -> str:
    content = yaml.safe_load(homebot.read_text())
    content["scan"]["mount"] = mount
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.fixture
def robot(bench: Bench, homebot: Path) -> Robot:
    """Its scanner's frame is laser; actuation runs, and knows nothing of it yet."""
    robot = Robot(bench, "laser")
    bench.bring_up(ActuationNode, robot=str(homebot))
    return robot


@pytest.mark.parametrize(
    ("yaw_deg", "roll_deg", "beam"),
    [(90.0, 0.0, 3 * BEAMS // 4), (0.0, 180.0, AHEAD), (90.0, 180.0, BEAMS // 4)],
)
def test_a_wall_ahead_stops_the_robot_however_the_scanner_is_turned(
    robot: Robot, yaw_deg: float, roll_deg: float, beam: int
) -> None:
    robot.publish(transform("laser", yaw_deg=yaw_deg, roll_deg=roll_deg))
    robot.wall = (beam + BEAMS // 2) % BEAMS  # behind
    robot.drives()
    robot.wall = beam
    robot.is_stopped_by_the_wall()


def test_a_scanner_beside_the_centre_measures_from_where_it_is(robot: Robot) -> None:
    robot.publish(transform("mast"), transform("laser", "mast", at=(-0.12, 0.0, 0.1)))
    robot.wall = AHEAD  # 0.03 m ahead of the centre: within the robot
    robot.is_stopped_by_the_wall()
    robot.publish(transform("laser", "mast", at=(0.0, 0.4, 0.1)))
    robot.drives()  # it is beside the path now


def test_nothing_moves_before_it_is_known_where_the_scanner_sits(robot: Robot) -> None:
    robot.rests(0.5 * WAIT_S)
    robot.publish(transform("laser"))
    robot.drives()


def test_without_a_transform_the_profile_says_it_and_that_is_told(robot: Robot) -> None:
    robot.drives()
    told = robot.told("scan: tf_static does not connect its frame 'laser' with 'base_link'", "prof")
    robot.bench.wait_for(told)
    robot.bench.wait_for(lambda: "(robot profile)" in robot.fact("scan mount"))
    assert robot.fact("problems: frame of scan") == "1"


def test_a_transform_that_comes_late_replaces_the_profile(robot: Robot) -> None:
    robot.drives()
    robot.wall = 3 * BEAMS // 4
    robot.publish(transform("laser", yaw_deg=90.0))
    robot.is_stopped_by_the_wall()
    robot.bench.wait_for(lambda: "yaw 90.0 deg (tf_static)" in robot.fact("scan mount"))


def test_without_transform_and_profile_nothing_moves_and_the_remedy_is_told(
    bench: Bench, homebot: Path, tmp_path: Path
) -> None:
    robot = Robot(bench, "laser")
    bench.bring_up(ActuationNode, robot=profile_with(tmp_path, homebot, None))
    bench.wait_for(robot.told("'laser'", "robot_state_publisher", "add scan.mount to the profile"))
    robot.rests(0.5)
    robot.publish(transform("laser"))
    robot.drives()


def test_the_profile_says_how_the_scanner_is_turned(
    bench: Bench, homebot: Path, tmp_path: Path
) -> None:
    robot = Robot(bench, "")
    mount = {"yaw_deg": 90.0, "upside_down": True}
    bench.bring_up(ActuationNode, robot=profile_with(tmp_path, homebot, mount))
    robot.drives()
    bench.wait_for(robot.told("scan: its frame_id is empty", "set it in the driver"))
    robot.wall = BEAMS // 4
    robot.is_stopped_by_the_wall()


def test_a_tilted_scanner_is_refused(robot: Robot) -> None:
    robot.publish(transform("laser", roll_deg=12.0))
    robot.bench.wait_for(robot.told("the scanner is tilted by 12.0 deg, at most 5 deg"))
    robot.rests(0.5)


def test_a_scanner_with_two_parents_is_refused(robot: Robot) -> None:
    robot.publish(transform("laser"), transform("mast"), transform("laser", "mast"))
    robot.bench.wait_for(robot.told("frame 'laser' has more than one parent", "'mast'"))
    robot.rests(0.5)


def test_frames_in_a_circle_are_told(robot: Robot) -> None:
    robot.publish(transform("laser", "mast"), transform("mast", "laser"))
    robot.bench.wait_for(robot.told("frames run in a circle on tf_static"))
    robot.rests(0.5)


def test_a_scanner_that_is_published_as_if_it_moved_is_told(robot: Robot) -> None:
    told = robot.told("its frame 'laser' comes on tf, as of a sensor that moves", "on tf_static")

    def publish_and_look() -> bool:
        robot.publish_moving(transform("laser", yaw_deg=90.0))
        return told()

    robot.bench.wait_for(publish_and_look)


def test_a_leading_slash_is_read_and_told(robot: Robot) -> None:
    robot.frame = "/laser"
    robot.publish(transform("/laser", yaw_deg=90.0))
    robot.wall = 3 * BEAMS // 4
    robot.is_stopped_by_the_wall()
    robot.bench.wait_for(robot.told("frame_id '/laser' begins with a slash"))


def test_a_transform_without_a_rotation_is_told(robot: Robot) -> None:
    broken = transform("laser")
    broken.transform.rotation.w = 0.0
    robot.publish(broken)
    robot.bench.wait_for(robot.told("tf_static: 'base_link' -> 'laser'", "no pose"))


def test_a_node_that_is_configured_anew_still_knows_the_transforms(
    bench: Bench, homebot: Path
) -> None:
    robot = Robot(bench, "laser")
    node = bench.bring_up(ActuationNode, robot=str(homebot))
    robot.publish(transform("laser", yaw_deg=90.0))
    robot.drives()
    for step in ("deactivate", "cleanup", "configure", "activate"):
        assert getattr(node, f"trigger_{step}")() == TransitionCallbackReturn.SUCCESS
    robot.statuses.clear()
    robot.wall = 3 * BEAMS // 4
    robot.is_stopped_by_the_wall()


def test_what_a_scanner_near_the_edge_cannot_see_is_told(
    robot: Robot, capfd: pytest.CaptureFixture[str]
) -> None:
    """0.06 m are within the robot for a scanner at its centre, not for one close to its edge."""
    robot.blind_m = 0.06
    robot.publish(transform("laser", at=(0.15, 0.0, 0.2)))
    said = "the scan shows nothing nearer than 0.06 m, but the robot and its margin reach to 0.04 m"
    robot.bench.wait_for(lambda: said in capfd.readouterr().err)


# --- planning


@pytest.fixture
def planning(bench: Bench, passthrough: Path, homebot: Path) -> Any:
    return bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot))


def test_plans_keep_clear_of_what_a_turned_scanner_sees(bench: Bench, planning: Any) -> None:
    robot = Robot(bench, "laser")
    robot.wall = 3 * BEAMS // 4
    robot.publish(transform("laser", at=(0.1, 0.0, 0.2), yaw_deg=90.0))
    bench.wait_for(lambda: planning.senses.scans)
    _, points = planning.senses.scans[-1]
    np.testing.assert_allclose(points, [[0.1 + WALL_M, 0.0]], atol=1e-6)


def test_an_exploration_takes_the_camera_to_be_where_its_frame_is(
    bench: Bench, planning: Any
) -> None:
    robot = Robot(bench, "laser")
    infos = bench.publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
    robot.publish(transform("camera_link", at=(0.2, 0.0, 0.5)))

    def told() -> bool:
        info = CameraInfo()
        info.header.frame_id = "camera_link"
        infos.publish(info)
        return planning.profile.camera.x_m == pytest.approx(0.2)

    bench.wait_for(told)
    assert planning.profile.camera.z_m == pytest.approx(0.5)


# --- the camera


@pytest.mark.parametrize(
    ("x_m", "differs"), [(0.12, False), (0.2, True)], ids=["as the profile", "elsewhere"]
)
def test_a_camera_that_is_not_where_the_model_had_it_is_told(
    bench: Bench, passthrough: Path, homebot: Path, x_m: float, differs: bool
) -> None:
    robot = Robot(bench, "laser")
    bench.bring_up(PerceptionNode, bundle=str(passthrough), robot=str(homebot))
    images = bench.publisher(Image, "image", qos_profile_sensor_data)
    robot.publish(transform("camera_link", at=(x_m, 0.0, 0.28)))

    def sent(condition: Callable[[], bool]) -> Callable[[], bool]:
        def send() -> bool:
            image = Image(height=240, width=320, encoding="rgb8", step=960)
            image.header.stamp, image.header.frame_id = bench.now(), "camera_link"
            image.data.frombytes(bytes(240 * 960))
            images.publish(image)
            return condition()

        return send

    bench.wait_for(
        sent(lambda: bool(robot.diagnostics) and "tf_static" in robot.fact("image mount"))
    )
    told = robot.told("camera sits at x 0.200 m", "x 0.120 m", "train a model for this mount")
    if differs:
        bench.wait_for(sent(told))
    else:
        bench.spin(1.2)  # a report of diagnostics and more
        assert not told()
    levels = {status.level for array in robot.diagnostics for status in array.status}
    assert levels <= {DiagnosticStatus.OK, DiagnosticStatus.WARN}
