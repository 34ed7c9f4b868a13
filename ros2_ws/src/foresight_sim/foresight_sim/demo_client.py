"""Sends the robot to three places by their photographs, watches, and reports."""

from __future__ import annotations

import os
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.task import Future
from rich.console import Console
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Bool, String

from foresight.perception import image
from foresight.robot import RobotProfile
from foresight.sim import pictures, report, tasks
from foresight.sim.apartment import Apartment
from foresight.sim.report import DemoLog
from foresight.sim.robot import Simulator
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import Belief, Observation, Plan
from foresight_node.messages import LATCHED
from foresight_node.parameters import ParameterServer, parameter
from foresight_sim.spin import Interrupted, Spinner, init

Result = NavigateToImage.Result
CODES = {
    getattr(Result, name): name
    for name in (
        "REACHED",
        "TIMED_OUT",
        "BLOCKED",
        "CANCELLED",
        "PREEMPTED",
        "STALE_SENSORS",
        "BAD_GOAL",
        "INTERNAL",
    )
}
FRAMES_PER_S = 5.0
GRACE_S = 15.0
"""The stack ends a goal that takes too long; it is given up when it has not done so after this."""
REST_S = 1.1
"""The robot is at rest when it has not moved for so long; by then diagnostics have come, too."""
ANSWER_S = 5.0
"""Within this the stack must answer a goal, and be well again."""
TABLE_COLUMNS = 80


@dataclass(frozen=True)
class Parameters:
    robot: str = parameter("", "YAML file of the robot profile.", required=True)
    results: str = parameter("results/demo", "Folder for report, picture and video.", required=True)
    world_seed: int = parameter(0, "Number of the apartment.", minimum=0)
    tour_seed: int = parameter(0, "Seed that start and goals are drawn from.", minimum=0)
    goal_timeout_s: float = parameter(90.0, "Time for one goal, s.", minimum=1.0, maximum=3600.0)
    startup_timeout_s: float = parameter(
        60.0, "Time for the stack to become active, s.", minimum=1.0, maximum=3600.0
    )
    progress_period_s: float = parameter(
        2.0, "Time between two lines of progress, s; a terminal has one live line.", minimum=0.1
    )


class StackFailure(Exception):
    """The stack does not answer as it should; the message is one sentence."""


class DemoClient(Node):
    """Everything that it measures goes into `log`; the true pose goes nowhere else."""

    def __init__(self) -> None:
        super().__init__("demo_client", automatically_declare_parameters_from_overrides=True)
        self.values = ParameterServer(self, Parameters).values
        self.log = _draw_tour(self.values)
        self._spinner = Spinner(self)
        self._progress = _Progress(self.values.progress_period_s)
        self._action = ActionClient(self, NavigateToImage, "navigate_to_image")
        self._feedback: NavigateToImage.Feedback | None = None
        self._state = ""
        self._believes = False
        self._last_frame_ns = 0
        self._moved_at = time.monotonic()
        self._listen()

    def _listen(self) -> None:
        log = self.log
        # Deep: what counts must not be lost while this node has no time.
        every = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        offered = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        kind = TwistStamped if log.profile.stamped_cmd_vel else Twist

        # The senders' times come with the messages: this node's own load does not count.
        def on_clock(message: Clock, info: dict[str, int]) -> None:
            log.clock(_ns(message.clock), info["source_timestamp"])

        def on_plan(plan: Plan, info: dict[str, int]) -> None:
            if plan.linear:  # an empty one rests on no image
                log.planned(_ns(plan.observation_stamp), info["source_timestamp"])

        def on_command(_command: Twist | TwistStamped, info: dict[str, int]) -> None:
            log.commanded(info["source_timestamp"])

        def on_observation(observation: Observation) -> None:
            log.observed(_ns(observation.header.stamp))
            log.bundle_digest = observation.bundle_digest

        def on_belief(_belief: Belief) -> None:
            self._believes = True

        self.create_subscription(Clock, "/clock", on_clock, every)
        self.create_subscription(Plan, "plan", on_plan, every)
        self.create_subscription(kind, "cmd_vel", on_command, every)
        self.create_subscription(Observation, "observation", on_observation, every)
        self.create_subscription(Belief, "belief", on_belief, every)
        self.create_subscription(Odometry, "ground_truth", self._on_truth, every)
        self.create_subscription(String, "system_state", self._on_state, LATCHED)
        self.create_subscription(Bool, "bumper", lambda m: log.bumped(m.data), every)
        self.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, every)
        self.create_subscription(Image, "image", self._on_image, qos_profile_sensor_data)
        self.create_subscription(
            CameraInfo, "camera_info", lambda m: log.captured(_ns(m.header.stamp)), offered
        )

    def _on_truth(self, truth: Odometry) -> None:
        pose, twist = truth.pose.pose, truth.twist.twist
        yaw = 2 * np.arctan2(pose.orientation.z, pose.orientation.w)
        where = (pose.position.x, pose.position.y, float(yaw))
        self.log.moved(_ns(truth.header.stamp), where)
        if abs(twist.linear.x) > 0.01 or abs(twist.angular.z) > 0.03:
            self._moved_at = time.monotonic()

    def _on_state(self, state: String) -> None:
        self._state = state.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.rsplit("/")[-1] == "planning":
                for pair in status.values:
                    if pair.key == "plan_ms":
                        self.log.planning_took(float(ms) for ms in pair.value.split())

    def _on_image(self, message: Image) -> None:
        stamp = _ns(message.header.stamp)
        if stamp - self._last_frame_ns > 0.95e9 / FRAMES_PER_S:
            self._last_frame_ns = stamp
            self.log.saw(
                stamp,
                image.decode(
                    message.data, message.width, message.height, message.step, message.encoding
                ),
            )

    # --- the tour

    def drive(self) -> None:
        """Visit the goals.

        Raises:
            StackFailure: the stack did not start, or it stopped.
            Interrupted: a signal came.
        """
        self._await_stack()
        for index in range(len(self.log.legs)):
            self._feedback = None
            self._visit(index, self._send(index))
            self._spinner.until(lambda: time.monotonic() - self._moved_at > REST_S, 5.0)
            self.log.end()
            self._progress.say(self._verdict(index))

    def _await_stack(self) -> None:
        self._progress.say("waiting for the simulated robot and its stack ...")
        limit_s = self.values.startup_timeout_s
        if not self._spinner.until(lambda: bool(self.log.path and self.log.now_ns), limit_s):
            raise StackFailure(
                f"no ground_truth and /clock came within {limit_s:.0f} s: the simulator does not "
                f"run; its messages say why"
            )
        settled = self._spinner.until(lambda: self._state in ("active", "failed"), limit_s)
        if self._state == "failed":
            raise StackFailure(
                "the stack could not be brought up; the messages of its nodes say why"
            )
        if not settled:
            raise StackFailure(
                f"the stack did not become active within {limit_s:.0f} s (its lifecycle manager "
                f"says: {self._state or 'nothing'}); the messages of its nodes say why"
            )
        if not self._spinner.until(self._action.server_is_ready, limit_s):
            raise StackFailure("the stack is active, but nobody offers navigate_to_image")
        # Nodes find each other in their own time: a goal before the first belief is a stale one.
        if not self._spinner.until(lambda: self._believes, limit_s):
            raise StackFailure("the stack is active, but no belief comes; its messages say why")

    def _send(self, index: int) -> Any:
        goal = NavigateToImage.Goal(timeout_s=self.values.goal_timeout_s)
        goal.image = _to_message(self.log.legs[index].photo)
        self.log.begin(index)
        answer = self._action.send_goal_async(goal, self._on_feedback)
        if not self._spinner.until(answer.done, ANSWER_S) or not answer.result().accepted:
            word = "rejected" if answer.done() else f"not answered within {ANSWER_S:.0f} s"
            raise StackFailure(f"goal {index + 1} was {word}; planning's messages say why")
        return answer.result()

    def _on_feedback(self, message: Any) -> None:
        self._feedback = message.feedback
        self.log.expects(message.feedback.energy)

    def _visit(self, index: int, handle: Any) -> None:
        result: Future = handle.get_result_async()
        begun = well = time.monotonic()
        while not self._spinner.until(result.done, 0.2):
            now = time.monotonic()
            well = now if self._state == "active" else well
            down = now - well > ANSWER_S
            if down or now - begun > self.values.goal_timeout_s + GRACE_S:
                reason = f"the stack is {self._state}" if down else "planning does not answer"
                self.log.finish("LOST", f"{reason}: the goal has no result", 0.0)
                self.log.end()
                raise StackFailure(f"goal {index + 1} has no result: {reason}")
            self._progress.show(self._words(index))
        outcome = result.result().result
        code = CODES.get(outcome.code, str(outcome.code))
        self.log.finish(code, outcome.message, outcome.distance_travelled_m)

    # --- words

    def _words(self, index: int) -> str:
        elapsed = (self.log.now_ns - self.log.legs[index].begin_ns) * 1e-9
        text = f"goal {index + 1}/{len(self.log.legs)}   {elapsed:4.0f} s"
        told = self._feedback
        if told is not None:
            text += f"   {told.distance_travelled_m:4.1f} m driven   energy {told.energy:6.3f}"
            if told.estimated_s_left >= 0:
                text += f"   about {told.estimated_s_left:.0f} s to go"
        return text

    def _verdict(self, index: int) -> str:
        leg = self.log.legs[index]
        distance, heading = tasks.pose_error(leg.final_pose or leg.begin_pose, leg.goal)
        word = "reached" if leg.reached else "missed"
        seconds = (leg.end_ns - leg.begin_ns) * 1e-9
        text = f"goal {index + 1}/{len(self.log.legs)}   {word} after {seconds:.0f} s: "
        text += f"{distance:.2f} m and {heading:.0f} degrees off"
        return text if leg.code == "REACHED" else f"{text} ({leg.message})"


class _Progress:
    """One live line on a terminal, else a plain line now and then."""

    def __init__(self, period_s: float) -> None:
        self._live = sys.stdout.isatty()
        self._period_s = 0.2 if self._live else period_s
        self._shown_at = -self._period_s

    def show(self, text: str) -> None:
        now = time.monotonic()
        if now - self._shown_at >= self._period_s:
            self._shown_at = now
            print(f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\r{text}\x1b[K" if self._live else text, flush=True)


def _draw_tour(values: Parameters) -> DemoLog:
    """Start, goals and their photographs, which a camera takes that is not the robot's."""
    profile = RobotProfile.load(values.robot)
    apartment = Apartment(values.world_seed)
    start, goals = tasks.demo_task(apartment, profile, values.tour_seed)
    photographer = Simulator(apartment, profile, seed=values.tour_seed + 1)
    photographed = [(goal, photographer.render_at(goal)) for goal in goals]
    photographer.close()
    return DemoLog(apartment, profile, values.tour_seed, start, photographed)


def _to_message(rgb: np.ndarray) -> Image:
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array("B", rgb.tobytes())
    return message


def _ns(stamp: Any) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def _publish_results(log: DemoLog, folder: Path) -> dict[str, Any]:
    summary = log.report()
    report.save(summary, folder)
    if any(frame.goal >= 0 for frame in log.frames):
        pictures.draw_trajectory(log, folder / "trajectory.png")
        pictures.write_video(log, folder / "demo.mp4", FRAMES_PER_S)
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console() if known else Console(width=TABLE_COLUMNS)
    console.print(report.table(summary))
    return summary


def main() -> int:
    """Run the demonstration; 0 when all goals were reached, else 1."""
    init()
    try:
        client = DemoClient()
    except (ValueError, OSError) as error:
        get_logger("demo_client").fatal(str(error))
        return 1
    try:
        client.drive()
    except StackFailure as failure:
        client.log.failure = str(failure)
        print(f"the demonstration failed: {failure}", flush=True)
    except Interrupted:
        return 1
    folder = Path(client.values.results)
    summary = _publish_results(client.log, folder)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", flush=True)
    client.destroy_node()
    rclpy.try_shutdown()
    return 0 if summary["all_reached"] else 1
