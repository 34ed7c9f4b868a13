"""Goals as images in, time-stamped plans out."""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image, LaserScan

from foresight import bundle
from foresight.bundle import PROVIDERS, Runtime
from foresight.bundle.manifest import PLANNER
from foresight.perception import image
from foresight.perception.camera import CameraView
from foresight.perception.encoder import Encoder
from foresight.perception.image import ImageError
from foresight.planning import NavigationStep, Navigator, scan_points
from foresight.planning import Status as NavigationStatus
from foresight.robot import RobotProfile
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import Belief, Plan, Status
from foresight_node import ERROR, ForesightNode, parameter, run
from foresight_node.messages import LATCHED, LATEST, floats, seconds
from foresight_planning.pursuit import Pursuit

Result = NavigateToImage.Result

WATCH_PERIOD_S = 0.1
FEEDBACK_PERIOD_S = 0.5
STAMP_JITTER_S = 0.02
"""Beliefs come at the camera's rate, not exactly: a period just short of the asked one will do."""
SILENCE_FACTOR = 3.0
"""A stopped /clock hides a belief's age; silence on the steady clock may last this much longer."""
FIRST_DELAY_S, DELAY_SMOOTHING = 0.1, 0.2
"""From a belief's stamp to its plan; what the robot does until then is imagined as part of it."""
RESULT_KEPT_S = 60
SCANS_KEPT = 10
SCAN_APART_S = 0.3
"""A scan farther in time from the belief shows another place."""


@dataclass(frozen=True)
class Parameters:
    bundle: str = parameter("", "Folder of the world model.", required=True)
    provider: str = parameter(
        "auto",
        "Where graphs run: the fastest there is (auto), or this one or not at all.",
        choices=("auto", *PROVIDERS),
    )
    half: bool = parameter(False, "Let TensorRT compute in half precision.")
    robot: str = parameter("", "YAML file of the robot profile.", required=True)
    seed: int = parameter(0, "Seed of the search.", minimum=0, maximum=2**31 - 1)
    threads: int = parameter(1, "Threads of one plan.", minimum=1, maximum=64)
    planner: str = parameter(
        PLANNER, "Which of the bundle's planners: planner, fast, thorough ...", required=True
    )
    use_scan: bool = parameter(True, "Plan around what the scan shows, while there is one.")
    replan_period_s: float = parameter(
        0.3, "Shortest time between plans, s.", minimum=0.0, maximum=2.0, live=True
    )
    default_timeout_s: float = parameter(
        120.0, "Time for a goal that asks for 0, s.", minimum=1.0, maximum=86400.0, live=True
    )
    belief_timeout_s: float = parameter(
        1.0, "Oldest belief that a goal survives, s.", minimum=0.1, maximum=10.0, live=True
    )
    held_timeout_s: float = parameter(
        30.0,
        "A goal ends when actuation stops the robot for this long, s.",
        minimum=0.5,
        maximum=600.0,
        live=True,
    )


class PlanningNode(ForesightNode[Parameters]):
    """Drives to one goal at a time; a newer one takes over.

    Only the worker touches the navigator, and every goal ends in `_finish`.
    """

    def __init__(self, **options: object) -> None:
        super().__init__("planning", Parameters, **options)
        self._pursuit: Pursuit | None = None
        self._results: dict[bytes, Future] = {}
        self._belief_stamp_s = -math.inf
        self._belief_arrived_s = -math.inf
        self._planned_stamp_s = -math.inf
        self._base_frame = "base_link"
        self._held_reason: str | None = None
        self._scans: deque[tuple[float, np.ndarray]] = deque(maxlen=SCANS_KEPT)

    def configure(self) -> None:
        values = self.values
        runtime = Runtime(values.provider, values.half, self.get_logger().info)
        loaded = bundle.load(values.bundle, runtime)
        profile = RobotProfile.load(self.values.robot)
        self._digest = loaded.digest
        self._action_s = loaded.manifest.action.duration_s
        self._view = CameraView(loaded.manifest.image, profile.camera)
        self._encoder = Encoder(loaded)
        self._worker = self.start_worker()
        # On the thread that will plan: a captured CUDA graph belongs to one thread.
        self._navigator = self._worker.call(
            lambda: Navigator(loaded, values.seed, values.threads, values.planner)
        )
        self._delay_s = FIRST_DELAY_S
        self.health.fact("bundle", loaded.digest)
        self.health.fact("providers", ", ".join(self._navigator.providers))
        self._plans = self.advertise(Plan, "plan", LATEST)
        self.listen(Belief, "belief", self._on_belief, LATEST)
        self.listen(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        if self.values.use_scan:
            self.listen(LaserScan, "scan", self._on_scan, qos_profile_sensor_data)
        self.listen(CameraInfo, "camera_info", self._on_camera_info, qos_profile_sensor_data)
        self.listen(Status, "status", self._on_status, LATCHED)
        self.every(WATCH_PERIOD_S, self._watch)
        self.every(FEEDBACK_PERIOD_S, self._give_feedback)
        server = ActionServer(
            self,
            NavigateToImage,
            "navigate_to_image",
            execute_callback=self._result,
            goal_callback=self._on_request,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,  # `_watch` sees to it
            result_timeout=RESULT_KEPT_S,
        )
        self.release_later(server.destroy)

    def deactivate(self) -> None:
        self._finish(Result.INTERNAL, "planning was deactivated; activate it, then send the goal")

    # --- goals

    def _on_request(self, _goal: NavigateToImage.Goal) -> GoalResponse:
        if not self.active:
            self.get_logger().warning("goal rejected: planning is not active; activate it first")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        # Here, not in the execute callback: the executor may run two of those in reverse order.
        self._finish(Result.PREEMPTED, "a newer goal took over", hold=False)
        timeout_s = handle.request.timeout_s or self.values.default_timeout_s
        pursuit = self._pursuit = Pursuit(handle, self.now_s(), timeout_s)
        pursuit.held(self._held_reason, self.now_s())
        self._results[bytes(handle.goal_id.uuid)] = pursuit.result
        handle.execute()
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            self._finish(
                Result.BAD_GOAL, f"timeout_s is {timeout_s}; give seconds, or 0 for the default"
            )
            return
        picture = handle.request.image
        self._worker.submit(
            lambda: self._set_goal(picture),
            lambda _none: pursuit.begin(),
            lambda error: self._fail(pursuit, error),
        )

    async def _result(self, handle: ServerGoalHandle) -> Result:
        # Awaiting suspends this coroutine only; the executor goes on.
        return await self._results.pop(bytes(handle.goal_id.uuid))

    def _set_goal(self, picture: Image) -> None:
        rgb = image.decode(
            picture.data, picture.width, picture.height, picture.step, picture.encoding
        )
        self._navigator.set_goal(self._encoder(self._view.goal(rgb)))

    def _fail(self, pursuit: Pursuit, error: Exception) -> None:
        if pursuit is not self._pursuit:
            return
        if isinstance(error, ImageError):
            self._finish(Result.BAD_GOAL, f"the goal cannot be used: {error}")
            return
        text = f"planning failed: {type(error).__name__}: {error}"
        self.get_logger().error("".join(traceback.format_exception(error)))
        self.health.problem("planner", text, ERROR)
        self._finish(Result.INTERNAL, text)

    def _finish(self, code: int, message: str, *, hold: bool = True) -> None:
        """End the pursuit, if there is one; the robot is told to hold before the client hears."""
        pursuit, self._pursuit = self._pursuit, None
        if pursuit is None:
            return
        if hold:
            self._publish(pursuit, self.get_clock().now().to_msg(), None)
        pursuit.finish(code, message, self.now_s())
        self.get_logger().info(f"goal ended: {message}")

    # --- plans

    def _on_belief(self, belief: Belief) -> None:
        if belief.bundle_digest != self._digest:
            self.health.problem(
                "belief",
                f"belief comes from the bundle {belief.bundle_digest[:12]!r}, but planning runs "
                f"{self._digest[:12]!r}; start all nodes with the same bundle",
                ERROR,
            )
            return
        stamp_s = seconds(belief.header.stamp)
        self._belief_stamp_s, self._belief_arrived_s = stamp_s, time.monotonic()
        pursuit = self._pursuit
        if pursuit is None or not pursuit.ready:
            return
        since_s = stamp_s - pursuit.planned_stamp_s
        if 0 <= since_s < self.values.replan_period_s - STAMP_JITTER_S:
            return
        pursuit.planned_stamp_s = stamp_s
        obstacles = self._obstacles_at(stamp_s)
        latent = np.asarray(belief.latent, dtype=np.float32)
        proprioception = np.asarray(belief.proprioception, dtype=np.float32)

        def plan() -> tuple[NavigationStep, float]:
            start = time.perf_counter()
            step = self._navigator.update(stamp_s, latent, proprioception, obstacles, self._delay_s)
            return step, time.perf_counter() - start

        def done(planned: tuple[NavigationStep, float]) -> None:
            step, took_s = planned
            self.health.latency("plan", took_s)
            self._on_step(pursuit, belief.header.stamp, step)

        if self._worker.submit(plan, done, lambda error: self._fail(pursuit, error)):
            self.health.count("beliefs dropped: planner busy")

    def _on_step(self, pursuit: Pursuit, stamp: Time, step: NavigationStep) -> None:
        if pursuit is not self._pursuit or pursuit.handle.is_cancel_requested:
            return
        pursuit.step = step
        left = f"{step.eta_s:.1f} s from the goal by the learned distance"
        if step.status == NavigationStatus.REACHED:
            self._finish(Result.REACHED, f"reached, {left}")
        elif step.status == NavigationStatus.BLOCKED:
            self._finish(Result.BLOCKED, f"no way on was found, {left}")
        else:
            self._publish(pursuit, stamp, step)
            self.health.event("plans")
            took_s = self.now_s() - seconds(stamp)
            self.health.latency("image to plan", took_s)
            usual_s = min(max(took_s, 0.0), self._action_s)  # whatever a clock that was set says
            self._delay_s += DELAY_SMOOTHING * (usual_s - self._delay_s)

    def _publish(self, pursuit: Pursuit, stamp: Time, step: NavigationStep | None) -> None:
        """Without a step: an empty plan, which tells actuation to hold."""
        plan = Plan(observation_stamp=stamp, goal_id=pursuit.handle.goal_id)
        plan.header.stamp, plan.header.frame_id = stamp, self._base_frame
        plan.action_duration_s = self._action_s
        if step is not None:
            plan.linear, plan.angular = floats(step.actions[:, 0]), floats(step.actions[:, 1])
            plan.energy = floats(step.energy)
        self._plans.publish(plan)

    # --- what is watched

    def _watch(self) -> None:
        pursuit = self._pursuit
        if pursuit is None:
            return
        ending = self._ending(pursuit)
        if ending is not None:
            self._finish(*ending)

    def _ending(self, pursuit: Pursuit) -> tuple[int, str] | None:
        """The code and message of what ends the pursuit now, if anything does."""
        values, now_s = self.values, self.now_s()
        if pursuit.handle.is_cancel_requested:
            return Result.CANCELLED, "cancelled by the client"
        silent_s = self._belief_age_s(pursuit)
        if silent_s > values.belief_timeout_s:
            return Result.STALE_SENSORS, (
                f"no fresh belief for {silent_s:.1f} s, at most {values.belief_timeout_s:.1f} s "
                f"are allowed; check camera, odometry, perception and world_model"
            )
        if now_s - pursuit.started_s > pursuit.timeout_s:
            step = pursuit.step
            left = f"{step.eta_s:.1f} s were left to drive" if step else "no plan was made"
            return Result.TIMED_OUT, f"not reached within {pursuit.timeout_s:.1f} s; {left}"
        if pursuit.held_for_s(now_s) > values.held_timeout_s:
            return Result.BLOCKED, (
                f"actuation kept the robot at rest for {values.held_timeout_s:.1f} s: "
                f"{pursuit.held_reason}"
            )
        return None

    def _belief_age_s(self, pursuit: Pursuit) -> float:
        """Age of the latest belief, counted from the goal's start at the earliest."""
        silent_s = time.monotonic() - max(self._belief_arrived_s, pursuit.arrived_s)
        if silent_s > SILENCE_FACTOR * self.values.belief_timeout_s:
            return silent_s
        return self.now_s() - max(self._belief_stamp_s, pursuit.started_s)

    def _give_feedback(self) -> None:
        if self._pursuit is not None:
            self._pursuit.handle.publish_feedback(self._pursuit.feedback(self.now_s()))

    def _on_odometry(self, odometry: Odometry) -> None:
        self._base_frame = odometry.child_frame_id or self._base_frame
        if self._pursuit is not None:
            position = odometry.pose.pose.position
            self._pursuit.moved_to(position.x, position.y)

    def _on_scan(self, scan: LaserScan) -> None:
        points = scan_points(
            np.asarray(scan.ranges), scan.angle_min, scan.angle_increment, scan.range_min
        )
        self._scans.append((seconds(scan.header.stamp), points))

    def _obstacles_at(self, stamp_s: float) -> np.ndarray | None:
        """The scan nearest in time to a belief, (N, 2) m; None if none is near.

        Actuation still stops before what a plan made without a scan would run into.
        """
        nearest = min(self._scans, key=lambda scan: abs(scan[0] - stamp_s), default=None)
        if nearest is None or abs(nearest[0] - stamp_s) > SCAN_APART_S:
            return None
        return nearest[1]

    def _on_camera_info(self, info: CameraInfo) -> None:
        try:
            self._view.calibrate(info)
        except ImageError as error:
            self.health.problem("camera_info", str(error))

    def _on_status(self, status: Status) -> None:
        stopped = status.state in (Status.STOPPED, Status.EMERGENCY)
        self._held_reason = status.reason if stopped else None
        if self._pursuit is not None:
            self._pursuit.held(self._held_reason, self.now_s())


def main() -> int:
    return run(PlanningNode)
