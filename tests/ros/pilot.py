"""Stands in for the stack in tests of the demonstration: knows the true pose, drives by the plan.

Answers navigate_to_image as planning does, and publishes plan, observation, cmd_vel, diagnostics.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.worlds import tasks
from foresight.worlds.floor_plan import free_space, path_lengths
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import Belief, Observation, Plan
from foresight_node.messages import LATCHED

PROFILE = RobotProfile.load(Path(__file__).parents[2] / "config/robots/homebot.yaml")
LOOK_M = 0.2


class Pilot(Node):
    """Visits the goals of the tour; the goal numbers in `gives_up` it leaves out."""

    def __init__(self, seed: int, gives_up: set[int]) -> None:
        super().__init__("planning")
        plan = worlds.plan_of(0)
        self._goals = tasks.demo_task(plan, PROFILE, seed)[1]
        self._free = free_space(plan.occupied(), PROFILE.footprint_radius_m + 0.08)
        self._gives_up, self._accepted = gives_up, -1
        self._ending: Future | None = None
        self._commands = self.create_publisher(Twist, "cmd_vel", 1)
        self._plans = self.create_publisher(Plan, "action_plan", 1)
        self._observations = self.create_publisher(Observation, "observation", 1)
        self._beliefs = self.create_publisher(Belief, "belief", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "diagnostics", 1)
        self.create_subscription(Odometry, "ground_truth", self._on_truth, 1)
        self.create_subscription(
            CameraInfo, "camera_info", self._on_camera, qos_profile_sensor_data
        )
        self._server = ActionServer(
            self,
            NavigateToImage,
            "navigate_to_image",
            execute_callback=self._execute,
        )
        states = self.create_publisher(String, "system_state", LATCHED)
        states.publish(String(data="active"))

    async def _execute(self, handle: object) -> NavigateToImage.Result:
        self._accepted += 1
        self._lengths = path_lengths(self._free, self._goals[self._accepted])
        handle.publish_feedback(
            NavigateToImage.Feedback(energy=0.5, estimated_s_left=9.0, distance_travelled_m=0.1)
        )
        self._ending = Future()
        reached = await self._ending
        (handle.succeed if reached else handle.abort)()
        codes = NavigateToImage.Result
        return codes(
            code=codes.REACHED if reached else codes.BLOCKED,
            message="reached" if reached else "no way on was found",
            distance_travelled_m=1.5,
        )

    def _on_camera(self, info: CameraInfo) -> None:
        self._beliefs.publish(Belief(bundle_digest="0123"))
        observation = Observation(bundle_digest="0123")
        observation.header.stamp = info.header.stamp
        self._observations.publish(observation)
        if self._ending is not None:
            self._plans.publish(Plan(observation_stamp=info.header.stamp, linear=[0.1]))
            values = [KeyValue(key="plan_ms", value="20.5 21.5")]
            status = DiagnosticStatus(name="/planning", values=values)
            self._diagnostics.publish(DiagnosticArray(status=[status]))

    def _on_truth(self, truth: Odometry) -> None:
        if self._ending is None:
            return
        at, q = truth.pose.pose.position, truth.pose.pose.orientation
        pose = (at.x, at.y, 2 * math.atan2(q.z, q.w))
        command = self._steer(pose, self._goals[self._accepted])
        if command is None or self._accepted + 1 in self._gives_up:
            self._commands.publish(Twist())
            self._ending.set_result(command is None)
            self._ending = None
            return
        twist = Twist()
        twist.linear.x, twist.angular.z = command
        self._commands.publish(twist)

    def _steer(self, pose: tasks.Pose, goal: tasks.Pose) -> tuple[float, float] | None:
        """Down the path lengths, then turn to the goal's heading; None when there."""
        x, y, yaw = pose
        if tasks.pose_error(pose, goal)[0] > 0.15:
            headings = [2 * math.pi * k / 32 for k in range(32)]
            ahead = [(x + LOOK_M * math.cos(h), y + LOOK_M * math.sin(h)) for h in headings]
            left = [self._lengths.at(*point) for point in ahead]
            error = _wrapped(headings[left.index(min(left))] - yaw)
            return 0.4 * max(0.0, math.cos(error)) ** 2, max(-1.2, min(1.2, 2 * error))
        error = _wrapped(goal[2] - yaw)
        return None if abs(error) < 0.1 else (0.0, max(-0.7, min(0.7, 1.5 * error)))


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


if __name__ == "__main__":
    rclpy.init()
    pilot = Pilot(int(sys.argv[1]), {int(number) for number in sys.argv[2:]})
    try:
        rclpy.spin(pilot)
    except (KeyboardInterrupt, ExternalShutdownException):
        pilot.destroy_node()
