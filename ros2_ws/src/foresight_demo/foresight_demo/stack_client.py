"""The demonstration's side of the graph: it sends goals to the stack and records what is sent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Bool, String

from foresight.apps.demo_report import DemoLog
from foresight.perception import image
from foresight_interfaces.msg import Belief, Observation, Plan
from foresight_node.messages import LATCHED
from foresight_node.parameters import ParameterServer, parameter
from foresight_node.spin import Spinner

FRAMES_PER_S = 5.0
GRACE_S = 15.0
"""How long after a goal's time limit its result may come, by the simulation's clock."""
REST_S = 1.1
"""The robot is at rest when it has not moved for so long; by then diagnostics have come, too."""
ANSWER_S = 5.0
"""Within this the stack must answer a goal, and be active again after a fault."""
FROZEN_S = 15.0
"""A clock that stands still for so long belongs to a simulator that hangs."""
PARTS = ("photographs", "explore", "visit")


@dataclass(frozen=True)
class Parameters:
    robot: str = parameter("", "YAML file of the robot profile.", required=True)
    results: str = parameter("results/demo", "Folder for report, picture and video.", required=True)
    part: str = parameter(
        "photographs",
        "Find three photographs; or explore and name places; or, started anew, visit those.",
        choices=PARTS,
    )
    world_seed: int = parameter(0, "Number of the apartment.", minimum=0)
    tour_seed: int = parameter(0, "Seed that start and goals are drawn from.", minimum=0)
    goal_timeout_s: float = parameter(90.0, "Time for one goal, s.", minimum=1.0, maximum=3600.0)
    places: int = parameter(3, "Places to name while exploring.", minimum=1, maximum=5)
    explore_limit_s: float = parameter(
        900.0, "Time for exploring, s.", minimum=1.0, maximum=86400.0
    )
    startup_timeout_s: float = parameter(
        60.0, "Time for the stack to become active, s.", minimum=1.0, maximum=3600.0
    )
    progress_period_s: float = parameter(
        2.0, "Time between two lines of progress, s; a terminal has one live line.", minimum=0.1
    )


class StackFailure(Exception):
    """The stack does not answer as it should; the message is one sentence."""


@dataclass(frozen=True)
class SentGoal:
    """A goal under way.

    Attributes:
        name: in messages, as in "goal 2".
        limit_s: its time limit, by the simulation's clock.
        progress: gives the line that tells how it stands.
        meanwhile: is called ten times a second.
    """

    name: str
    limit_s: float
    progress: Callable[[], str]
    meanwhile: Callable[[], None] = lambda: None


class StackClient(Node):
    """Sends goals, and records in a log what robot and stack publish.

    The true pose goes into the log and nowhere else.

    Attributes:
        values: the parameters.
        feedback: the latest of the goal under way.
        speed: the robot's true one, (m/s, rad/s).
        believes: whether a belief has come.
        remembered: how many places memory says that it knows.
    """

    def __init__(self) -> None:
        super().__init__("demo_client", automatically_declare_parameters_from_overrides=True)
        self.values = ParameterServer(self, Parameters).values
        self.feedback: Any = None
        self.speed = (0.0, 0.0)
        self.believes = False
        self.remembered = 0
        self.until = Spinner(self).until
        progress = _Progress(self.values.progress_period_s)
        self.say, self.show = progress.say, progress.show
        self._state = ""
        self._last_frame_ns = 0
        self._moved_at = time.monotonic()

    def record(self, log: DemoLog) -> None:
        """Fill the log from now on."""
        self.log = log
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
            self.believes = True

        self.create_subscription(Clock, "/clock", on_clock, every)
        self.create_subscription(Plan, "action_plan", on_plan, every)
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
        self.speed = twist.linear.x, twist.angular.z
        if abs(twist.linear.x) > 0.01 or abs(twist.angular.z) > 0.03:
            self._moved_at = time.monotonic()

    def _on_state(self, state: String) -> None:
        self._state = state.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            told = {pair.key: pair.value for pair in status.values}
            match status.name.rsplit("/")[-1]:
                case "planning" if "plan_ms" in told:
                    self.log.planning_took(float(ms) for ms in told["plan_ms"].split())
                case "memory" if "places" in told:
                    self.remembered = int(told["places"])

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

    # --- goals

    def await_stack(self, ready: Callable[[], bool], offers: str) -> None:
        """Wait until the simulated robot runs, the stack is active and `ready()`.

        Args:
            ready: whether all that the goals need is there.
            offers: what that is, for the message.

        Raises:
            StackFailure: that takes longer than the parameter startup_timeout_s.
        """
        self.say("waiting for the simulated robot and its stack ...")
        limit_s = self.values.startup_timeout_s
        if not self.until(lambda: bool(self.log.path and self.log.now_ns), limit_s):
            raise StackFailure(
                f"no ground_truth and /clock came within {limit_s:.0f} s: the simulator does not "
                f"run; its messages say why"
            )
        settled = self.until(lambda: self._state in ("active", "failed"), limit_s)
        if self._state == "failed":
            raise StackFailure(
                "the stack could not be brought up; the messages of its nodes say why"
            )
        if not settled:
            raise StackFailure(
                f"the stack did not become active within {limit_s:.0f} s (its lifecycle manager "
                f"says: {self._state or 'nothing'}); the messages of its nodes say why"
            )
        if not self.until(ready, limit_s):
            raise StackFailure(f"the stack is active, but nobody offers {offers}")
        # Nodes take a while to find each other: a goal before the first belief would be refused.
        if not self.until(lambda: self.believes, limit_s):
            raise StackFailure("the stack is active, but no belief comes; its messages say why")

    def send(self, action: ActionClient, goal: Any, name: str) -> ClientGoalHandle:
        """The accepted goal.

        Raises:
            StackFailure: it was not accepted.
        """
        self.feedback = None
        answer = action.send_goal_async(goal, self._on_feedback)
        if not self.until(answer.done, ANSWER_S) or not answer.result().accepted:
            word = "rejected" if answer.done() else f"not answered within {ANSWER_S:.0f} s"
            raise StackFailure(f"{name} was {word}; planning's messages say why")
        return answer.result()

    def await_result(self, handle: ClientGoalHandle, goal: SentGoal) -> Any:
        """The action's result; progress is shown meanwhile.

        Raises:
            StackFailure: there is none: the stack stopped, or does not end the goal.
        """
        result, log = handle.get_result_async(), self.log
        begun_ns = log.now_ns
        active_at = ticked_at = time.monotonic()
        tick_ns = begun_ns
        while not self.until(result.done, 0.1):
            now = time.monotonic()
            active_at = now if self._state == "active" else active_at
            if log.now_ns != tick_ns:
                tick_ns, ticked_at = log.now_ns, now
            reason = ""
            if now - active_at > ANSWER_S:
                reason = f"the stack is {self._state}"
            elif now - ticked_at > FROZEN_S:
                reason = "the simulation's clock stands still"
            elif (tick_ns - begun_ns) * 1e-9 > goal.limit_s + GRACE_S:
                reason = "planning does not answer"
            if reason:
                raise StackFailure(f"{goal.name} has no result: {reason}")
            goal.meanwhile()
            self.show(goal.progress())
        return result.result().result

    def await_rest(self) -> None:
        """Wait until the robot is at rest."""
        self.until(lambda: time.monotonic() - self._moved_at > REST_S, 5.0)

    def _on_feedback(self, message: Any) -> None:
        self.feedback = message.feedback
        self.log.expects(getattr(message.feedback, "energy", np.nan))


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


def _ns(stamp: Any) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec
