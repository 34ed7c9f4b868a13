"""The actuation node: it drives by plan, and every fault brings the robot to rest and is told."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from harness import Bench
from launch import LaunchDescription
from launch.actions import RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch_pytest.actions import ReadyToTest
from launch_ros.actions import Node
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from foresight.bodies.profile import RobotProfile
from foresight_actuation.node import ActuationNode
from foresight_interfaces.msg import ActuationStatus, ExecutedAction, Plan
from foresight_node.messages import LATCHED, LATEST, floats, seconds

pytestmark = pytest.mark.timeout(60)

HOMEBOT = Path(__file__).parents[2] / "config" / "robots" / "homebot.yaml"
LIMITS = RobotProfile.load(HOMEBOT).limits
LINEAR, ANGULAR = 0.4, 0.5
SLACK_S = 1.0
"""What a busy machine may add; the exact times are those of the controller's own tests."""


class Robot:
    """Drivers and a planner that keep actuation content, each of which can be silenced."""

    def __init__(self, bench: Bench, kind: type = Twist) -> None:
        self.bench = bench
        self.plan: tuple[float, float] | None = (LINEAR, ANGULAR)
        self.odom: float | None = 0.0
        self.scan: float | None = math.inf
        self.picture_age_s = 0.0
        self.blind_m = 0.05
        self.commands: list[tuple[float, float, float]] = []
        peer = bench.peer
        peer.create_subscription(kind, "cmd_vel", self._on_command, 100)
        self.statuses: list[ActuationStatus] = bench.collect(
            ActuationStatus, "actuation_status", LATCHED
        )
        self.plans = peer.create_publisher(Plan, "action_plan", LATEST)
        self.odoms = peer.create_publisher(Odometry, "odom", 10)
        self.scans = peer.create_publisher(LaserScan, "scan", 10)
        peer.create_timer(0.05, self._send_odom)
        peer.create_timer(0.1, self._send_scan)
        peer.create_timer(0.2, self._send_plan)

    def _on_command(self, message: Any) -> None:
        twist = message.twist if isinstance(message, TwistStamped) else message
        self.commands.append((time.monotonic(), twist.linear.x, twist.angular.z))

    def _send_odom(self) -> None:
        if self.odom is not None:
            message = Odometry()
            message.header.stamp = self.bench.now()
            message.twist.twist.linear.x = self.odom
            self.odoms.publish(message)

    def _send_scan(self) -> None:
        if self.scan is not None:
            message = LaserScan(angle_increment=0.1, range_min=self.blind_m, range_max=6.0)
            message.header.stamp = self.bench.now()
            message.ranges = floats(np.full(63, self.scan))
            self.scans.publish(message)

    def _send_plan(self) -> None:
        if self.plan is not None:
            self.send_plan([self.plan[0]] * 8, [self.plan[1]] * 8)

    def send_plan(self, linear: list[float], angular: list[float]) -> None:
        message = Plan(action_duration_s=0.3, linear=floats(linear), angular=floats(angular))
        message.header.stamp = self.bench.now()
        seen = Time.from_msg(message.header.stamp) - Duration(seconds=self.picture_age_s)
        message.observation_stamp = seen.to_msg()
        self.plans.publish(message)

    def drive(self) -> None:
        """Wait until the robot holds full speed."""
        full = [(pytest.approx(LINEAR), pytest.approx(ANGULAR))] * 4
        self.bench.wait_for(lambda: [command[1:] for command in self.commands[-4:]] == full)

    def told(self, state: int, text: str) -> bool:
        return any(s.state == state and text in s.reason for s in self.statuses)

    def stops(self, state: int, text: str, within_s: float) -> None:
        """The status says it, and the robot is at rest, within a time from now on."""
        began_s = time.monotonic()
        self.bench.wait_for(lambda: self.told(state, text) and self.commands[-1][1:] == (0.0, 0.0))
        stop_s = LINEAR / LIMITS.linear_decel_mps2 + 0.2
        assert self.commands[-1][0] - began_s <= within_s + stop_s + SLACK_S
        check_ramp(self.commands)
        count = len(self.commands)
        self.bench.spin(0.3)
        assert {command[1:] for command in self.commands[count:]} == {(0.0, 0.0)}


def check_ramp(commands: list[tuple[float, float, float]]) -> None:
    """The speed falls from full to zero in steps that the profile's deceleration allows.

    However late a step comes, it may use no more than 0.1 s.
    """
    moving = max(i for i, command in enumerate(commands) if command[1] == pytest.approx(LINEAR))
    speeds = np.array(commands[moving:])[:, 1]
    highest = LIMITS.linear_decel_mps2 * 0.1 + 1e-6
    assert (np.abs(np.diff(speeds)) <= highest).all()
    assert len(speeds) > LINEAR / highest


@pytest.fixture
def robot(bench: Bench) -> Robot:
    robot = Robot(bench)
    bench.bring_up(ActuationNode, robot=str(HOMEBOT))
    return robot


@pytest.fixture
def outside(domain: int) -> Iterator[Bench]:
    """Another participant, without a node under test."""
    outside = Bench(domain)
    yield outside
    outside.close()


def test_it_drives_the_plan_and_says_so(robot: Robot) -> None:
    robot.drive()
    robot.bench.wait_for(lambda: robot.told(ActuationStatus.DRIVING, "following the plan"))
    speeds = np.array(robot.commands)[:, 1:]
    # Between steps of uneven length jerk outranks the target: a trace of overshoot is allowed.
    assert (speeds <= [LINEAR + 0.02, ANGULAR + 0.1]).all()


def test_a_new_plan_is_acted_on_at_once(robot: Robot, bench: Bench) -> None:
    """Not at the next tick: with its clock stopped for good, a plan brings one command."""
    robot.drive()
    robot.plan, node = None, bench._nodes[0]
    node._timer.cancel()
    node._timer.reset = lambda: None
    bench.spin(0.4)  # what is on its way arrives
    count = len(robot.commands)
    bench.spin(0.2)
    assert len(robot.commands) == count
    robot.send_plan([LINEAR] * 8, [ANGULAR] * 8)
    bench.wait_for(lambda: len(robot.commands) > count)
    bench.spin(0.2)
    assert len(robot.commands) == count + 1


def test_it_stops_when_plans_stop(robot: Robot) -> None:
    robot.drive()
    robot.plan = None
    robot.stops(ActuationStatus.STOPPED, "no fresh plan", within_s=1.0)


def test_it_stops_when_odometry_stops(robot: Robot) -> None:
    robot.drive()
    robot.odom = None
    robot.stops(ActuationStatus.STOPPED, "no fresh odometry", within_s=0.5)


def test_it_stops_when_the_scan_stops(robot: Robot) -> None:
    robot.drive()
    robot.scan = None
    robot.stops(ActuationStatus.STOPPED, "no fresh scan", within_s=0.5)


def test_it_stops_for_odometry_that_is_not_a_number(robot: Robot) -> None:
    robot.drive()
    robot.odom = math.nan
    robot.stops(ActuationStatus.STOPPED, "odometry holds an impossible number", within_s=0.05)


def test_it_stops_for_a_plan_that_is_not_a_number(robot: Robot) -> None:
    robot.drive()
    robot.plan = (math.nan, 0.0)
    robot.stops(ActuationStatus.STOPPED, "plan refused", within_s=0.2)


def test_it_stops_for_plans_that_rest_on_an_old_picture(robot: Robot) -> None:
    robot.drive()
    robot.picture_age_s = 1.5
    robot.stops(ActuationStatus.STOPPED, "rests on an old picture", within_s=0.2)


def test_it_backs_away_from_a_bump_and_goes_on(robot: Robot, bench: Bench) -> None:
    """The planner knows nothing of it and leads on; the wheels do not turn, so time ends it."""
    bumper = bench.publisher(Bool, "bumper", qos_profile_sensor_data)
    robot.drive()
    bumper.publish(Bool(data=True))
    bench.wait_for(lambda: robot.told(ActuationStatus.DRIVING, "backing off after a bump"))
    bench.wait_for(lambda: robot.commands[-1][1] < -0.05)
    bumper.publish(Bool(data=False))
    bench.wait_for(lambda: robot.told(ActuationStatus.DRIVING, "turning away after a bump"))
    count = len(robot.commands)
    bench.wait_for(lambda: robot.commands[-1][1] == pytest.approx(LINEAR), 10.0)
    assert max(command[2] for command in robot.commands[count:]) > ANGULAR


def test_it_stops_for_a_plan_of_uneven_lengths(robot: Robot) -> None:
    robot.drive()
    robot.plan = None
    robot.send_plan([LINEAR] * 8, [ANGULAR] * 7)
    robot.stops(ActuationStatus.STOPPED, "not pairs", within_s=0.1)


def test_it_stops_when_the_scan_closes_the_path(robot: Robot) -> None:
    robot.plan = (LINEAR, 0.0)
    robot.bench.wait_for(lambda: robot.commands and robot.commands[-1][1] == pytest.approx(LINEAR))
    robot.scan = 0.18
    robot.stops(ActuationStatus.STOPPED, "closed in the scan", within_s=0.1)


def test_an_empty_plan_is_rest_without_a_fault(robot: Robot) -> None:
    robot.drive()
    robot.plan = None
    robot.send_plan([], [])
    robot.stops(ActuationStatus.HOLDING, "nothing to do", within_s=0.1)
    assert not any(status.state == ActuationStatus.STOPPED for status in robot.statuses)


def test_deactivation_brakes_before_it_ends(robot: Robot, bench: Bench) -> None:
    robot.drive()
    node = bench._nodes[0]
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    bench.wait_for(lambda: robot.told(ActuationStatus.STOPPED, "deactivated"))
    bench.spin(0.3)
    assert robot.commands[-1][1:] == (0.0, 0.0)
    check_ramp(robot.commands)
    count = len(robot.commands)
    bench.spin(0.3)
    assert len(robot.commands) == count


def test_emergency_stop_holds_until_reset(robot: Robot, bench: Bench) -> None:
    button = bench.publisher(Bool, "emergency_stop")
    reset = bench.peer.create_client(Trigger, "reset_emergency_stop")
    robot.drive()
    button.publish(Bool(data=True))
    robot.stops(ActuationStatus.EMERGENCY, "emergency stop", within_s=0.1)
    refused = call(bench, reset)
    assert not refused.success and "release it first" in refused.message
    button.publish(Bool(data=False))
    bench.spin(0.3)
    assert robot.commands[-1][1:] == (0.0, 0.0)
    assert call(bench, reset).success
    robot.drive()


def test_emergency_stop_outlasts_a_new_configuration(robot: Robot, bench: Bench) -> None:
    button = bench.publisher(Bool, "emergency_stop")
    node = bench._nodes[0]
    node.trigger_deactivate()
    button.publish(Bool(data=True))
    button.publish(Bool(data=False))
    bench.spin(0.3)
    node.trigger_cleanup()
    node.trigger_configure()
    node.trigger_activate()
    bench.wait_for(lambda: robot.told(ActuationStatus.EMERGENCY, "emergency stop"))
    bench.spin(0.5)
    assert robot.commands[-1][1:] == (0.0, 0.0)


def test_a_latched_emergency_stop_is_heard_by_a_node_that_starts_after_it(bench: Bench) -> None:
    button = bench.peer.create_publisher(Bool, "emergency_stop", LATCHED)
    button.publish(Bool(data=True))
    robot = Robot(bench)
    bench.bring_up(ActuationNode, robot=str(HOMEBOT))
    bench.wait_for(lambda: robot.told(ActuationStatus.EMERGENCY, "emergency stop"))
    refused = call(bench, bench.peer.create_client(Trigger, "reset_emergency_stop"))
    assert not refused.success and "release it first" in refused.message


def test_a_bump_is_heard_while_the_node_is_not_active(bench: Bench) -> None:
    bumper = bench.peer.create_publisher(Bool, "bumper", 10)
    node = bench.start(ActuationNode, robot=str(HOMEBOT))
    bench.wait_for(lambda: bumper.get_subscription_count() > 0)
    bumper.publish(Bool(data=True))
    bench.spin(0.3)
    robot = Robot(bench)
    robot.plan = (LINEAR, 0.0)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    bench.wait_for(lambda: robot.told(ActuationStatus.STOPPED, "bumper pressed"))
    assert max(command[1] for command in robot.commands) == 0.0


def test_a_button_of_another_type_is_told(bench: Bench, outside: Bench) -> None:
    outside.peer.create_publisher(String, "emergency_stop", 10)
    node = bench.start(ActuationNode, robot=str(HOMEBOT))
    bench.wait_for(lambda: any("type of /emergency_stop" in p for p in node.health._problems))


def test_a_scanner_that_is_blind_beside_the_robot_is_told(
    robot: Robot, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    robot.blind_m = 0.4
    bench.wait_for(lambda: "the scan shows nothing nearer than 0.40 m" in capfd.readouterr().err)


def call(bench: Bench, client: Any) -> Trigger.Response:
    bench.wait_for(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    bench.wait_for(future.done)
    return future.result()


def test_executed_action_tells_what_was_commanded(robot: Robot, bench: Bench) -> None:
    executed: list[ExecutedAction] = bench.collect(ExecutedAction, "executed_action")
    robot.drive()
    bench.spin(1.0)
    starts = np.array([seconds(message.header.stamp) for message in executed])
    assert np.diff(starts) == pytest.approx(0.1, abs=2e-6)
    assert executed[-1].duration_s == pytest.approx(0.1)
    assert executed[-1].linear == pytest.approx(LINEAR)
    assert executed[-1].angular == pytest.approx(ANGULAR)
    assert 0.0 <= executed[0].linear < LINEAR


def test_stamped_commands_by_parameter(bench: Bench) -> None:
    robot = Robot(bench, TwistStamped)
    bench.bring_up(ActuationNode, robot=str(HOMEBOT), stamped="true")
    robot.drive()


def test_a_listener_of_the_other_type_is_told(bench: Bench, outside: Bench) -> None:
    bench.bring_up(ActuationNode, robot=str(HOMEBOT))
    reports: list[DiagnosticArray] = bench.collect(DiagnosticArray, "diagnostics")
    outside.collect(TwistStamped, "cmd_vel")
    text = "takes it as geometry_msgs/msg/TwistStamped"
    bench.wait_for(lambda: any(text in report.status[0].message for report in reports))


def test_nothing_is_sent_before_activation(bench: Bench) -> None:
    robot = Robot(bench)
    node = bench.start(ActuationNode, robot=str(HOMEBOT))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    bench.spin(1.0)
    assert robot.commands == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"robot": "absent.yaml"},
        {"robot": str(HOMEBOT), "rate_hz": 1.0},
        {"robot": str(HOMEBOT), "stamped": "perhaps"},
    ],
)
def test_wrong_parameters_fail_configuration(bench: Bench, wrong: dict[str, Any]) -> None:
    node = bench.start(ActuationNode, **wrong)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE


# ---- as a process ----

processes: list[int] = []


@launch_pytest.fixture
def process(domain: int) -> LaunchDescription:
    processes.clear()
    actuation = Node(
        package="foresight_actuation",
        executable="actuation",
        parameters=[{"robot": str(HOMEBOT)}],
        output="screen",
    )
    started = OnProcessStart(
        target_action=actuation, on_start=lambda event, _: processes.append(event.pid)
    )
    return LaunchDescription([RegisterEventHandler(started), actuation, ReadyToTest()])


def change(bench: Bench, transition: int) -> None:
    client = bench.peer.create_client(ChangeState, "actuation/change_state")
    bench.wait_for(client.service_is_ready)
    future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
    bench.wait_for(future.done)
    assert future.result().success


def is_running(pid: int) -> bool:
    """A process that has ended may still wait for its parent to take note."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.launch(fixture=process)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_brakes_the_robot_before_the_process_ends(
    outside: Bench, number: signal.Signals
) -> None:
    robot = Robot(outside)
    change(outside, Transition.TRANSITION_CONFIGURE)
    change(outside, Transition.TRANSITION_ACTIVATE)
    robot.drive()
    began_s = time.monotonic()
    os.kill(processes[0], number)
    gone: Callable[[], bool] = lambda: not is_running(processes[0])  # noqa: E731
    outside.wait_for(gone, 5.0)
    outside.spin(0.2)
    assert robot.commands[-1][1:] == (0.0, 0.0)
    check_ramp(robot.commands)
    stop_s = LINEAR / LIMITS.linear_decel_mps2 + 0.2
    assert robot.commands[-1][0] - began_s <= stop_s + SLACK_S
