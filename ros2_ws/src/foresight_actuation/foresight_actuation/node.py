"""Executes plans by their stamps and keeps the robot safe: the ROS side of `SafetyController`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from foresight.bodies.profile import RobotProfile
from foresight.control.safety import (
    Command,
    CommandAverage,
    Plan,
    Reason,
    SafetyController,
    SafetySettings,
    State,
)
from foresight.perception.scan import ScanMount
from foresight_interfaces.msg import ActuationStatus, ExecutedAction
from foresight_interfaces.msg import Plan as PlanMessage
from foresight_node import ForesightNode, RobotParameters, parameter, run
from foresight_node.messages import LATCHED, LATEST, seconds, to_stamp
from foresight_node.static_transforms import SensorMount, StaticTransforms

EXECUTED_INTERVAL_S = 0.1
BUTTON_PERIOD_S = 0.2
LEAST_TICK_S = 0.002
"""A new plan is acted on at once, unless the last command was sent less than this ago."""
STATUS_PERIOD_S = 1.0
BRAKING_LIMIT_S = 30.0
"""More than the weakest brakes that a profile allows need."""


@dataclass(frozen=True)
class Parameters(RobotParameters):
    stamped: str = parameter(
        "profile",
        "Publish cmd_vel as TwistStamped (true) or Twist (false); 'profile' does as the robot "
        "profile's stamped_cmd_vel says.",
        choices=("profile", "true", "false"),
    )
    base_frame: str = parameter("base_link", "Frame of the commands.", required=True)
    rate_hz: float = parameter(
        20.0,
        "Rate of the commands, Hz; a new plan brings one more at once.",
        minimum=10.0,
        maximum=100.0,
    )
    plan_timeout_s: float = parameter(
        1.0, "Stop when no plan has come for this long, s.", minimum=0.1, maximum=10.0
    )
    belief_timeout_s: float = parameter(
        1.0,
        "Refuse a plan that rests on a picture older than this when it comes, s.",
        minimum=0.1,
        maximum=10.0,
    )
    odometry_timeout_s: float = parameter(
        0.5, "Stop when the last odometry is older, s.", minimum=0.05, maximum=5.0
    )
    use_scan: bool = parameter(True, "Demand a scan and never drive into what it shows.")
    scan_timeout_s: float = parameter(
        0.5, "Stop when the last scan is older, s.", minimum=0.05, maximum=5.0
    )
    obstacle_margin_m: float = parameter(
        0.02, "Gap kept to what the scan shows in the way, m.", minimum=0.001, maximum=1.0
    )


class ActuationNode(ForesightNode[Parameters]):
    """Feeds the safety controller, publishes what it commands and says why."""

    def __init__(self, **options: object) -> None:
        super().__init__("actuation", Parameters, **options)
        self._controller: SafetyController | None = None
        self._transforms = StaticTransforms(self)
        # Heard in every state of the lifecycle, and kept over a new configuration.
        self._stop_pressed = self._stop_latched = self._bumper_pressed = False
        self.listen(Bool, "emergency_stop", self._on_emergency_stop, 10, always=True)
        self.listen(Bool, "bumper", self._on_bumper, qos_profile_sensor_data, always=True)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._button_timer = self.create_timer(
            BUTTON_PERIOD_S, self._look_for_latched_button, clock=steady
        )
        self.create_service(Trigger, "reset_emergency_stop", self._on_reset)

    def configure(self) -> None:
        values = self.values
        profile = RobotProfile.load(values.robot)
        self._stamped = {"profile": profile.stamped_cmd_vel, "true": True, "false": False}[
            values.stamped
        ]
        self._edge_m = profile.footprint_radius_m + values.obstacle_margin_m
        self._controller = controller = SafetyController(
            profile,
            SafetySettings(
                plan_timeout_s=values.plan_timeout_s,
                belief_timeout_s=values.belief_timeout_s,
                odometry_timeout_s=values.odometry_timeout_s,
                scan_timeout_s=values.scan_timeout_s,
                margin_m=values.obstacle_margin_m,
                use_scan=values.use_scan,
            ),
        )
        controller.emergency_stop(self._stop_latched)
        controller.emergency_stop(self._stop_pressed)
        controller.on_bumper(time.monotonic(), self._bumper_pressed)
        self._told: tuple[State, str] | None = None
        self._told_s = self._entered_s = 0.0
        self._image_stamp_s: float | None = None
        self._average = CommandAverage(EXECUTED_INTERVAL_S, self._publish_executed)
        self._velocities = self.advertise(
            TwistStamped if self._stamped else Twist, "cmd_vel", LATEST
        )
        self._executed = self.advertise(ExecutedAction, "executed_action", 10)
        self._statuses = self.advertise(ActuationStatus, "actuation_status", LATCHED)
        self.health.fact("bundle", "none: it runs no model")
        self.health.fact("providers", "none")
        self.health.count("plans dropped: refused", 0)
        self.listen(
            PlanMessage, "action_plan", self._on_plan, LATEST, lost="plans dropped: node busy"
        )
        self.listen(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        if values.use_scan:
            self._scanner = SensorMount(
                self,
                self._transforms,
                "scan",
                ScanMount.of_pose,
                ScanMount.of_profile(profile.scan),
            )
            self.listen(LaserScan, "scan", self._on_scan, qos_profile_sensor_data)
        self._ticked_s = 0.0
        self._timer = self.every(1.0 / values.rate_hz, self._tick)

    def activate(self) -> None:
        self._the_controller.activate()

    def deactivate(self) -> None:
        """Brake to rest within the limits; this blocks, and sends what the timer would send."""
        period_s = 1.0 / self.values.rate_hz
        give_up_s = time.monotonic() + BRAKING_LIMIT_S
        try:
            self._the_controller.deactivate()
            while not self._tick().at_rest and time.monotonic() < give_up_s:
                time.sleep(period_s)
        finally:
            self._publish_velocity(0.0, 0.0)

    # ---- inputs ----

    @property
    def _the_controller(self) -> SafetyController:
        assert self._controller is not None, "used only between configure and cleanup"
        return self._controller

    def _on_plan(self, message: PlanMessage) -> None:
        if len(message.linear) == len(message.angular):
            actions = np.column_stack([message.linear, message.angular])
        else:
            actions = np.zeros((len(message.linear), 1))  # refused for its shape
        seen_s = seconds(message.observation_stamp) or None
        plan = Plan(seconds(message.header.stamp), message.action_duration_s, actions, seen_s)
        self._image_stamp_s = seen_s if len(actions) else None
        fault = self._the_controller.on_plan(time.monotonic(), plan)
        self.health.count("plans dropped: refused", fault is not None)
        self._note("plan", fault)
        if time.monotonic() - self._ticked_s >= LEAST_TICK_S:
            self._timer.reset()
            self._tick()

    def _on_odometry(self, message: Odometry) -> None:
        twist = message.twist.twist
        taken_s = self._steady_s(message.header.stamp)
        fault = self._the_controller.on_odometry(taken_s, twist.linear.x, twist.angular.z)
        self._note("odom", fault)

    def _on_scan(self, message: LaserScan) -> None:
        mount = self._scanner.at(message.header.frame_id, self.values.base_frame)
        if mount is None:
            return  # a scan from who knows where is none: the robot rests
        fault = self._the_controller.on_scan(
            self._steady_s(message.header.stamp),
            message.ranges,
            message.angle_min,
            message.angle_increment,
            message.range_min,
            mount,
        )
        self._note("scan", fault)
        edge_m = self._edge_m - mount.distance_m  # from the scanner, where that is nearest
        if message.range_min > edge_m:
            self.get_logger().warning(
                f"the scan shows nothing nearer than {message.range_min:.2f} m, but the robot and "
                f"its margin reach to {edge_m:.2f} m: what stands between is not seen",
                once=True,
            )

    def _on_bumper(self, message: Bool) -> None:
        self._bumper_pressed = message.data
        if self._controller is not None:
            self._controller.on_bumper(time.monotonic(), message.data)

    def _look_for_latched_button(self) -> None:
        """What a button said before this process began, where it is latched.

        Only then is there a subscription for it: others would be told that it does not fit theirs.
        """
        ends = self.get_publishers_info_by_topic(self.resolve_topic_name("emergency_stop"))
        if any(end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for end in ends):
            self.create_subscription(Bool, "emergency_stop", self._on_emergency_stop, LATCHED)
            self._button_timer.cancel()

    def _on_emergency_stop(self, message: Bool) -> None:
        self._stop_pressed = message.data
        self._stop_latched |= message.data
        if self._controller is not None:
            self._controller.emergency_stop(message.data)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._stop_pressed:
            response.message = "the emergency stop is still pressed; release it first"
            return response
        self._stop_latched = False
        if self._controller is not None:
            self._controller.reset_emergency_stop()
        response.success = True
        response.message = "the emergency stop is reset; the next plan will be driven"
        return response

    def _steady_s(self, stamp: Time) -> float:
        """A stamp on the steady clock. An empty stamp, or one from the future, counts as now."""
        stamp_s = seconds(stamp)
        age_s = max(self.now_s() - stamp_s, 0.0) if stamp_s else 0.0
        return time.monotonic() - age_s

    def _note(self, topic: str, fault: Reason | None) -> None:
        if fault is not None:
            self.health.problem(topic, f"{topic}: {fault.sentence}")

    # ---- outputs ----

    def _tick(self) -> Command:
        self._ticked_s = time.monotonic()
        command = self._the_controller.step(self._ticked_s, self.now_s())
        self._publish_velocity(command.linear, command.angular)
        self._publish_status(command)
        self.health.event("cmd_vel")
        if self._image_stamp_s is not None:
            self.health.latency("image to cmd_vel", self.now_s() - self._image_stamp_s)
            self._image_stamp_s = None
        return command

    def _publish_velocity(self, linear: float, angular: float) -> None:
        now = self.get_clock().now()
        twist = Twist()
        twist.linear.x, twist.angular.z = linear, angular
        if self._stamped:
            message = TwistStamped(twist=twist)
            message.header.stamp = now.to_msg()
            message.header.frame_id = self.values.base_frame
            self._velocities.publish(message)
        else:
            self._velocities.publish(twist)
        self._average.add(now.nanoseconds * 1e-9, linear, angular)

    def _publish_executed(
        self, start_s: float, duration_s: float, linear: float, angular: float
    ) -> None:
        message = ExecutedAction(duration_s=duration_s, linear=linear, angular=angular)
        message.header.stamp = to_stamp(start_s)
        message.header.frame_id = self.values.base_frame
        self._executed.publish(message)

    def _publish_status(self, command: Command) -> None:
        """On every change of state or reason, and once a second."""
        now_s = time.monotonic()
        changed = self._told is None or self._told != (command.state, command.reason.sentence)
        if not changed and now_s - self._told_s < STATUS_PERIOD_S:
            return
        faulty = command.state in (State.STOPPED, State.EMERGENCY)
        if faulty and command.reason is not Reason.DEACTIVATED:
            self.health.problem("stopped", f"{command.state.name}: {command.explanation}")
        if self._told is None or self._told[0] is not command.state:
            self._entered_s = self.now_s()
            if not faulty:
                self.get_logger().info(f"{command.state.name}: {command.explanation}")
        self._told, self._told_s = (command.state, command.reason.sentence), now_s
        message = ActuationStatus(state=int(command.state), reason=command.explanation)
        message.header.stamp = to_stamp(self._entered_s)
        message.header.frame_id = self.values.base_frame
        self._statuses.publish(message)


def main() -> int:
    return run(ActuationNode)
