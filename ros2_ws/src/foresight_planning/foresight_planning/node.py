"""Goals in, time-stamped plans out: what the three actions share, and the topics."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, LaserScan
from std_msgs.msg import Bool, String

from foresight import bundle
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Runtime
from foresight.perception.camera_mount import CameraMount
from foresight.perception.frames import FrameError
from foresight.perception.image import ImageError
from foresight.perception.scan import ScanMount
from foresight.planning import Navigator
from foresight_interfaces.msg import ActuationStatus, Belief, Plan, Subgoal
from foresight_interfaces.srv import Guide
from foresight_node import ERROR, ForesightNode, run
from foresight_node.messages import LATCHED, LATEST, fault_of, floats, seconds, to_stamp
from foresight_node.static_transforms import SensorMount, StaticTransforms
from foresight_planning.active_goal import ActiveGoal, Code, Ending
from foresight_planning.exploration import Exploration
from foresight_planning.goal_planner import GoalPlanner
from foresight_planning.navigation import REST, ToImage, ToPlace
from foresight_planning.parameters import Parameters
from foresight_planning.sensor_buffer import SensorBuffer, stamped
from foresight_planning.viewing import Viewing

ACTIONS: tuple[type[ActiveGoal], ...] = (ToImage, ToPlace, Exploration)
TIME_JUMP = JumpThreshold(
    min_forward=Duration(seconds=1), min_backward=Duration(nanoseconds=-1), on_clock_change=False
)
"""No step of /clock while it runs: it begins, or the simulation starts over."""
WATCH_PERIOD_S = 0.1
FEEDBACK_PERIOD_S = 0.5
RESULT_KEPT_S = 60
_STAMPS_KEPT = 50
COMES_BACK = ("", "active", "stopping", "waiting", "starting")
"""States of the stack, none without a manager, in which an interrupted goal waits."""


class PlanningNode(ForesightNode[Parameters]):
    """Pursues one goal at a time, of whatever action; a newer one takes over.

    How a goal is pursued is its `ActiveGoal`'s matter. Here each one begins in `_on_accepted` and
    ends in `finish`. It is the `Host` of the pursuits.
    """

    def __init__(self, **options: object) -> None:
        super().__init__("planning", Parameters, **options)
        self._pursuit: ActiveGoal | None = None
        self._stamps: dict[float, Time] = {}  # of the last beliefs, by their seconds
        self._results: dict[bytes, Future] = {}
        self._held_reason: str | None = None
        self._interrupted_s = 0.0
        self._system_state = ""
        self.senses = SensorBuffer()
        self._transforms = StaticTransforms(self)
        self._jumps = self.get_clock().create_jump_callback(TIME_JUMP, post_callback=self._on_jump)
        # A goal may end in any state of the lifecycle, and its client shall hear of it.
        self._servers = [self._serve(kind) for kind in ACTIONS]
        self.create_subscription(String, "system_state", self._on_system_state, LATCHED)

    def configure(self) -> None:
        values = self.values
        runtime = Runtime(values.provider, values.half, self.get_logger().info)
        loaded = bundle.load(values.bundle, runtime)
        self.profile = RobotProfile.load(values.robot)
        loaded.check_robot(self.profile)
        self._camera_known: tuple[str, str, int] | None = None
        self._manifest = loaded.manifest
        self.action_s = loaded.manifest.action_s
        self.worker = self.start_worker()
        # On the thread that will plan: a captured CUDA graph belongs to one thread.
        self.helm = self.worker.call(
            lambda: GoalPlanner(
                loaded,
                self.profile,
                Navigator(loaded, values.seed, values.threads, values.planner),
            )
        )
        self.health.fact("bundle", loaded.digest)
        self.health.fact("providers", ", ".join(self.helm.navigator.providers))
        self._plans = self.advertise(Plan, "action_plan", LATEST)
        self._viewing = Viewing(self)
        self.guide = self.create_client(Guide, "guide")
        self.release_later(lambda: self.destroy_client(self.guide))
        self._listen()
        self.every(WATCH_PERIOD_S, self._watch, always=True)
        self.every(FEEDBACK_PERIOD_S, self._give_feedback, always=True)

    def activate(self) -> None:
        # what was true before the pause need not be true now, but for the frame's name
        self.senses = SensorBuffer(self.senses.base_frame)
        if self._pursuit is not None:
            self._pursuit.resume()
            self.get_logger().info("planning is active again; the goal goes on")

    def deactivate(self) -> None:
        """The robot rests; the goal waits, unless the process ends."""
        if self.leaving:
            self._finish(Code.INTERNAL, "planning ends; send the goal when it is active again")
        elif self._pursuit is not None:
            self._publish(self._pursuit, self.now_s(), REST, None)
            self._pursuit.interrupt()
            self._interrupted_s = time.monotonic()
            self.get_logger().info("planning was deactivated; the goal waits")

    def cleanup(self) -> None:
        self._finish(Code.INTERNAL, "planning was taken down; send the goal when it is active")

    def destroy_node(self) -> None:
        self._jumps.unregister()
        for server in self._servers:
            server.destroy()
        super().destroy_node()

    def _listen(self) -> None:
        self.listen(Belief, "belief", self._on_belief, LATEST)
        self.listen(Subgoal, "subgoal", self._on_aim, LATEST)
        self.listen(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        if self.values.use_scan:
            fallback = ScanMount.of_profile(self.profile.scan)
            self._scanner = SensorMount(self, self._transforms, "scan", ScanMount.of_pose, fallback)
            self.listen(LaserScan, "scan", self._on_scan, qos_profile_sensor_data)
        self.listen(Bool, "bumper", self._on_bumper, qos_profile_sensor_data)
        self.listen(CameraInfo, "camera_info", self._on_camera_info, qos_profile_sensor_data)
        self.listen(ActuationStatus, "actuation_status", self._on_status, LATCHED)

    def _serve(self, kind: type[ActiveGoal]) -> ActionServer:
        return ActionServer(
            self,
            kind.ACTION,
            kind.NAME,
            execute_callback=self._result,
            goal_callback=self._on_request,
            handle_accepted_callback=partial(self._on_accepted, kind),
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,  # `_watch` sees to it
            result_timeout=RESULT_KEPT_S,
        )

    # --- goals

    def _on_request(self, _goal: object) -> GoalResponse:
        if not self.active:
            self.get_logger().warning("goal rejected: planning is not active; activate it first")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, kind: type[ActiveGoal], handle: ServerGoalHandle) -> None:
        # Here, not in the execute callback: the executor may run two of those in reverse order.
        self._finish(Code.PREEMPTED, "a newer goal took over", hold=False)
        pursuit = self._pursuit = kind(self, handle)
        pursuit.held(self._held_reason)
        self._results[bytes(handle.goal_id.uuid)] = pursuit.result
        handle.execute()
        fault = pursuit.fault()
        if fault:
            self._finish(Code.BAD_GOAL, fault)
        else:
            pursuit.begin()

    async def _result(self, handle: ServerGoalHandle) -> object:
        # Awaiting suspends this coroutine only; the executor goes on.
        return await self._results.pop(bytes(handle.goal_id.uuid))

    def _watch(self) -> None:
        pursuit = self._pursuit
        if pursuit is not None:
            ending = self._break_off(pursuit) if pursuit.interrupted else pursuit.ending()
            if ending is not None:
                self._finish(*ending)
        self.health.fact("doing", self._doing)

    @property
    def _doing(self) -> str:
        return self._pursuit.doing() if self._pursuit else "nothing"

    def _break_off(self, pursuit: ActiveGoal) -> Ending | None:
        """What ends an interrupted pursuit now, if anything does."""
        if pursuit.handle.is_cancel_requested:
            return Code.CANCELLED, "cancelled by the client"
        if self._system_state not in COMES_BACK:
            why = f"the stack is {self._system_state}"
        elif time.monotonic() - self._interrupted_s > self.values.resume_timeout_s:
            why = f"planning has been inactive for {self.values.resume_timeout_s:g} s"
        else:
            return None
        return Code.INTERNAL, f"interrupted, and {why}; send the goal when the stack is active"

    def _give_feedback(self) -> None:
        if self._pursuit is not None:
            self._pursuit.tell()

    def _finish(self, code: int, message: str, *, hold: bool = True) -> None:
        """End the pursuit, if there is one; the robot is told to hold before the client hears."""
        pursuit, self._pursuit = self._pursuit, None
        if pursuit is None:
            return
        if hold:
            self._publish(pursuit, self.now_s(), REST, None)
        pursuit.finish(code, message)
        self.get_logger().info(f"goal ended: {message}")

    # --- for pursuits, see `Host`

    def is_driving(self, pursuit: ActiveGoal) -> bool:
        resting = pursuit.interrupted or pursuit.handle.is_cancel_requested
        return pursuit is self._pursuit and not resting

    def drive(
        self, pursuit: ActiveGoal, stamp_s: float, actions: np.ndarray, energy: np.ndarray | None
    ) -> None:
        if self.is_driving(pursuit):
            self._publish(pursuit, stamp_s, actions, energy)
            self._viewing.show_goal(pursuit.handle.request)
            self.health.event("plans")

    def finish(self, pursuit: ActiveGoal, code: int, message: str) -> None:
        if pursuit is self._pursuit:
            self._finish(code, message)

    def fail(self, pursuit: ActiveGoal, error: Exception) -> None:
        if pursuit is not self._pursuit:
            return
        if isinstance(error, ImageError):
            self._finish(Code.BAD_GOAL, f"the goal cannot be used: {error}")
            return
        text = f"planning failed: {type(error).__name__}: {error}"
        self.get_logger().error("".join(traceback.format_exception(error)))
        self.health.problem("planner", text, ERROR)
        self._finish(Code.INTERNAL, text)

    def _publish(
        self, pursuit: ActiveGoal, stamp_s: float, actions: np.ndarray, energy: np.ndarray | None
    ) -> None:
        # Whoever follows an image to the command finds it by its stamp, to the nanosecond.
        stamp = self._stamps.get(stamp_s) or to_stamp(stamp_s)
        plan = Plan(observation_stamp=stamp, goal_id=pursuit.handle.goal_id)
        plan.header.stamp, plan.header.frame_id = stamp, self.senses.base_frame
        plan.action_duration_s = self.action_s
        plan.linear, plan.angular = floats(actions[:, 0]), floats(actions[:, 1])
        if energy is not None:
            plan.energy = floats(energy)
        self._plans.publish(plan)

    # --- what is heard

    def _on_jump(self, jump: TimeJump) -> None:
        jump_s = jump.delta.nanoseconds * 1e-9
        if self._pursuit is not None:
            self.get_logger().info(f"ROS time jumped by {jump_s:.1f} s; the goal goes on")
            self._pursuit.on_time_jump(jump_s)
            self._pursuit.held(self._held_reason)

    def _on_system_state(self, state: String) -> None:
        self._system_state = state.data

    def _on_belief(self, belief: Belief) -> None:
        fault = fault_of(belief, self._manifest, self.helm.digest, "planning")
        if fault:
            self.health.problem("belief", fault, ERROR)
            return
        stamp_s = seconds(belief.header.stamp)
        self._stamps = dict(list(self._stamps.items())[-_STAMPS_KEPT:])
        self._stamps[stamp_s] = belief.header.stamp
        self.senses.on_belief(stamp_s, belief.surprise)
        if self._pursuit is not None:
            self._pursuit.on_belief(belief, stamp_s)

    def _on_aim(self, aim: Subgoal) -> None:
        if self._pursuit is not None:
            self._pursuit.on_aim(aim)

    def _on_odometry(self, odometry: Odometry) -> None:
        if not self.senses.on_odometry(odometry, self.now_s()):
            self.health.problem("odom", "odom has numbers that are not finite; check its source")
        if self._pursuit is not None:
            position = odometry.pose.pose.position
            self._pursuit.moved_to(position.x, position.y)

    def _on_scan(self, scan: LaserScan) -> None:
        mount = self._scanner.at(scan.header.frame_id, self.senses.base_frame)
        if mount is None:
            return
        now_s = self.now_s()
        self.senses.on_scan(scan, mount, now_s)
        if self._pursuit is not None:
            self._pursuit.on_scan(scan, stamped(scan.header.stamp, now_s))

    def _on_bumper(self, bumper: Bool) -> None:
        self.senses.on_bumper(bumper.data)

    def _on_camera_info(self, info: CameraInfo) -> None:
        try:
            self.helm.calibrate(info)
        except ImageError as error:
            self.health.problem("camera_info", str(error))
        self._place_camera(info.header.frame_id)

    def _place_camera(self, frame: str) -> None:
        """Take the camera to sit where tf_static says, which decides what of the floor it sees;
        perception tells what does not fit."""
        known = frame, self.senses.base_frame, self._transforms.tree.version
        if known == self._camera_known:
            return
        self._camera_known = known
        with suppress(FrameError):
            pose = self._transforms.pose(frame, self.senses.base_frame)
            if pose is not None:
                camera = CameraMount.of_pose(pose).applied(self.profile.camera)
                self.profile = self.profile.model_copy(update={"camera": camera})

    def _on_status(self, status: ActuationStatus) -> None:
        stopped = status.state in (ActuationStatus.STOPPED, ActuationStatus.EMERGENCY)
        self._held_reason = status.reason if stopped else None
        if self._pursuit is not None:
            self._pursuit.held(self._held_reason)
        self._viewing.show_status(status, self._doing, self.senses.base_frame)


def main() -> int:
    return run(PlanningNode)
