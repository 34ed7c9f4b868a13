"""A robot at full speed whose messages a test may drop or alter.

Between the simulated robot and the stack sits a tap; a pilot replaces the planner; the truth is the
simulator's. All run in the test's own thread, and progress while the test waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist
from harness import Bench
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from foresight.bodies.profile import Limits
from foresight_interfaces.msg import ActuationStatus, Belief, Plan
from foresight_node.messages import LATCHED, LATEST, floats, seconds

Change = Callable[[Any], Any]
"""Returns another message, or None to lose it; may alter it in place."""

Info = Mapping[str, int]
"""The middleware's information on a message."""

DRIVER = "driver/"
"""Where the simulated robot's drivers are remapped to."""
TAPPED: dict[str, tuple[type, QoSProfile | int]] = {
    "image": (Image, qos_profile_sensor_data),
    "camera_info": (CameraInfo, qos_profile_sensor_data),
    "odom": (Odometry, 10),
    "scan": (LaserScan, qos_profile_sensor_data),
    "bumper": (Bool, 10),
    "/clock": (Clock, 10),
}
REMAPS = tuple((topic, f"/{DRIVER}{topic.strip('/')}") for topic in TAPPED)

CENTRE_M, RADIUS_M = (4.80, 1.85), 1.0
"""A circle in the open of home 0; nothing is closer to it than 0.7 m."""
START = (CENTRE_M[0] + RADIUS_M, CENTRE_M[1], math.pi / 2)
STEPS, STEP_S = 8, 0.3
PULL_M = 0.5
"""At this distance from the circle, the robot heads for it at 45 degrees."""
ASKS_A_PERSON = ("waiting for reset", "failed")
PATIENCE_S = 5.0
AT_REST = 0.01
"""m/s and rad/s."""
FULL = 0.97
"""This share of the highest speed counts as full."""


class Truth(NamedTuple):
    """The simulator's ground truth: send time (steady clock), stamp and speeds."""

    said_s: float
    stamp_s: float
    linear: float
    angular: float

    @property
    def at_rest(self) -> bool:
        return abs(self.linear) < AT_REST and abs(self.angular) < AT_REST


def said_s(info: Info) -> float:
    """Send time of a message on the steady clock: the test may receive it late."""
    return time.monotonic() - (time.time_ns() - info["source_timestamp"]) * 1e-9


class Tap:
    """A topic whose messages may be altered."""

    def __init__(self, publisher: Any) -> None:
        self.change: Change | None = None
        self.altered_s = math.inf
        self.came_s = self.sent_s = -math.inf
        self._publisher = publisher

    def pass_on(self, message: Any) -> None:
        """Publish the altered message."""
        self.came_s = time.monotonic()
        if self.change is not None:
            message = self.change(message)
            self.altered_s = min(self.altered_s, time.monotonic())
        if message is not None:
            self._publisher.publish(message)
            self.sent_s = time.monotonic()


class Rig:
    """A test's access to the robot.

    Attributes:
        taps: by topic: those of `TAPPED`, and the plan's.
        piloting: whether plans are sent.
        truth: of the last minutes; `commands`: likewise: send time (steady clock), m/s, and the
            publisher's count.
        reports: texts that were published, and when (steady clock).
    """

    def __init__(self, domain: int, limits: Limits) -> None:
        self.bench = Bench(domain)
        self.limits = limits
        self.piloting = True
        self.truth: list[Truth] = []
        self.commands: list[tuple[float, float, int]] = []
        self.reports: list[tuple[float, str]] = []
        self.system = ""
        self._pose = START
        peer = self.bench.peer
        self.taps = {"plan": Tap(peer.create_publisher(Plan, "action_plan", LATEST))}
        for topic, (kind, qos) in TAPPED.items():
            tap = self.taps[topic] = Tap(peer.create_publisher(kind, topic, qos))
            peer.create_subscription(kind, f"/{DRIVER}{topic.strip('/')}", tap.pass_on, qos)
        self._services = {
            name: peer.create_client(Trigger, f"lifecycle_manager/{name}")
            for name in ("startup", "shutdown")
        }
        peer.create_subscription(Odometry, "ground_truth", self._on_truth, 10)
        peer.create_subscription(Twist, "cmd_vel", self._on_command, 100)
        peer.create_subscription(Belief, "belief", self._on_belief, LATEST)
        peer.create_subscription(ActuationStatus, "actuation_status", self._on_status, LATCHED)
        peer.create_subscription(String, "system_state", self._on_system, LATCHED)
        peer.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, 50)
        peer.create_subscription(DiagnosticArray, "system_health", self._on_health, LATCHED)

    def close(self) -> None:
        self.bench.close()

    # --- actions

    @contextmanager
    def altered(self, **changes: Change) -> Iterator[None]:
        """Alter messages on these topics; clock stands for /clock."""
        taps = {self.taps["/clock" if t == "clock" else t]: c for t, c in changes.items()}
        for tap, change in taps.items():
            tap.change, tap.altered_s = change, math.inf
        try:
            yield
        finally:
            for tap in taps:
                tap.change = None

    @contextmanager
    def without_pilot(self) -> Iterator[None]:
        """Stop the plans, as when the planner is gone."""
        self.piloting = False
        try:
            yield
        finally:
            self.piloting = True

    def report(self, source: str, text: str, said_s: float | None = None) -> None:
        """Record a report, now or at a time of the steady clock."""
        said_s = time.monotonic() if said_s is None else said_s
        self.reports.append((said_s, f"{source}: {text}"))

    # --- waiting

    def reach_full_speed(self, timeout_s: float) -> None:
        """Drive with the pilot up to full true speed; call startup if a reset is needed."""
        called_s = -math.inf

        def fast() -> bool:
            nonlocal called_s
            if self.system in ASKS_A_PERSON and time.monotonic() - called_s > PATIENCE_S:
                called_s = time.monotonic()
                self.call("startup")
            return self._is_fast()

        try:
            self.bench.wait_for(fast, timeout_s)
        except AssertionError:
            raise AssertionError(f"not at full speed in {timeout_s} s: {self.seen()}") from None

    def call(self, service: str) -> None:
        """Have the manager bring the stack up (startup) or down (shutdown)."""
        client = self._services[service]
        self.bench.wait_for(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.bench.wait_for(future.done)
        assert future.result().success

    def rest_after(self, since_s: float, timeout_s: float) -> Truth:
        """The first report after a time that the robot is at rest and stays so."""
        found: list[Truth] = []

        def rested() -> bool:
            found[:] = [t for t in self.truth if t.said_s > since_s and t.at_rest][:1]
            return bool(found)

        self.bench.wait_for(rested, timeout_s)
        return found[0]

    def told_after(self, since_s: float, *texts: str) -> tuple[float, str] | None:
        """Time and text of the first report after a time that has one of these texts."""
        return next(
            (
                (s, words)
                for s, words in self.reports
                if s > since_s and any(text in words for text in texts)
            ),
            None,
        )

    def seen(self) -> str:
        """For failures: age of each topic's last message, and the last reports."""
        now_s = time.monotonic()
        taps = ", ".join(
            f"{topic} {now_s - tap.came_s:.1f}/{now_s - tap.sent_s:.1f}"
            for topic, tap in self.taps.items()
        )
        told = [f"{now_s - s:.1f} s ago {words}" for s, words in self.reports[-5:]]
        return f"{self.system}; came/sent s ago: {taps}; told: {told}"

    @property
    def stamp_s(self) -> float:
        """The simulator's time in its last message, s."""
        return self.truth[-1].stamp_s

    def _is_fast(self) -> bool:
        fast = FULL * self.limits.linear_max_mps
        return len(self.truth) > 3 and all(t.linear > fast for t in self.truth[-3:])

    # --- subscriptions

    def _on_truth(self, message: Odometry, info: Info) -> None:
        twist, at, q = (
            message.twist.twist,
            message.pose.pose.position,
            message.pose.pose.orientation,
        )
        self._pose = at.x, at.y, 2 * math.atan2(q.z, q.w)
        stamp_s = seconds(message.header.stamp)
        self.truth.append(Truth(said_s(info), stamp_s, twist.linear.x, twist.angular.z))
        del self.truth[:-4000]

    def _on_command(self, message: Twist, info: Info) -> None:
        number = info["publication_sequence_number"]
        self.commands.append((said_s(info), message.linear.x, number))
        del self.commands[:-4000]

    def _on_status(self, message: ActuationStatus, info: Info) -> None:
        self.report("status", message.reason, said_s(info))

    def _on_system(self, message: String, info: Info) -> None:
        self.system = message.data
        self.report("system_state", message.data, said_s(info))

    def _on_health(self, message: DiagnosticArray, info: Info) -> None:
        self._report_problems("system_health", message, info)

    def _on_diagnostics(self, message: DiagnosticArray, info: Info) -> None:
        self._report_problems("diagnostics", message, info)

    def _report_problems(self, source: str, message: DiagnosticArray, info: Info) -> None:
        for status in message.status:
            if status.level != DiagnosticStatus.OK:
                self.report(source, status.message, said_s(info))

    # --- the pilot

    def _on_belief(self, belief: Belief) -> None:
        """One plan for each picture: around the circle at full speed."""
        if not self.piloting:
            return
        linear, angular = self._round_the_ring()
        stamp = belief.header.stamp
        plan = Plan(action_duration_s=STEP_S, observation_stamp=stamp)
        plan.header.stamp, plan.header.frame_id = stamp, "base_link"
        plan.linear, plan.angular = floats([linear] * STEPS), floats([angular] * STEPS)
        self.taps["plan"].pass_on(plan)

    def _round_the_ring(self) -> tuple[float, float]:
        x, y, yaw = self._pose
        east, north = x - CENTRE_M[0], y - CENTRE_M[1]
        off_m = math.hypot(east, north) - RADIUS_M
        wanted = math.atan2(north, east) + math.pi / 2 + math.atan(off_m / PULL_M)
        error = math.remainder(wanted - yaw, math.tau)
        highest, fastest = self.limits.linear_max_mps, self.limits.angular_max_radps
        if abs(error) > 1.0:
            return 0.0, math.copysign(fastest, error)
        return highest, max(-fastest, min(fastest, highest / RADIUS_M + 1.5 * error))
