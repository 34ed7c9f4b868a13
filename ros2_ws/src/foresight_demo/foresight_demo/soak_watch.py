"""Watches a soak from inside the graph: one line of JSON on stdout every period.

It also plays the person who names the places that the mission drives to: while the robot explores
for the first time, it has the memory remember three of them.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus, GoalStatusArray
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_action_status_default
from rclpy.task import Future
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String

from foresight_interfaces.msg import MissionStatus
from foresight_interfaces.srv import Remember
from foresight_node.messages import LATCHED, seconds
from foresight_node.parameters import ParameterServer, parameter
from foresight_node.spin import Interrupted, Spinner, init

ACTIONS = ("navigate_to_place", "navigate_to_image", "explore")
PLACES = ("first place", "second place", "third place")
APART_M = 1.5
"""Places are named at least so far, by odometry, from the start and from each other."""
STATES = {
    getattr(MissionStatus, name): name.lower()
    for name in ("IDLE", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED")
}
_SENT = "_ms"  # ends the keys under which health tells each latency once


@dataclass(frozen=True)
class Parameters:
    period_s: float = parameter(10.0, "Time between two samples, s.", minimum=0.5, maximum=600.0)
    startup_timeout_s: float = parameter(
        600.0, "Time for the stack to become active, s.", minimum=1.0, maximum=3600.0
    )


class SoakWatch(Node):
    """Listens; `sample` says what has come since the one before."""

    def __init__(self) -> None:
        super().__init__("soak_watch", automatically_declare_parameters_from_overrides=True)
        self.values = ParameterServer(self, Parameters).values
        self.state, self._activations = "", 0
        self._began_s = self._now_s = math.nan
        self._where: tuple[float, float] | None = None
        self._driven_m = 0.0
        self._mission = MissionStatus()
        self._figures: dict[str, dict[str, float]] = {}
        self._latencies: dict[str, list[float]] = defaultdict(list)
        self._unwell: dict[str, int] = defaultdict(int)
        self._goals: dict[str, dict[bytes, int]] = {action: {} for action in ACTIONS}
        self._ended = {action: {"reached": 0, "failed": 0} for action in ACTIONS}
        self._named: list[tuple[float, float]] = []
        self._naming: Future | None = None
        self._remember = self.create_client(Remember, "remember")
        every = QoSProfile(depth=100)
        self.create_subscription(String, "system_state", self._on_state, LATCHED)
        self.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, every)
        self.create_subscription(MissionStatus, "mission_status", self._on_mission, LATCHED)
        self.create_subscription(Odometry, "odom", self._on_odometry, every)
        self.create_subscription(ClockMessage, "/clock", self._on_clock, every)
        for action in ACTIONS:
            self.create_subscription(
                GoalStatusArray,
                f"{action}/_action/status",
                lambda message, action=action: self._on_goals(action, message),
                qos_profile_action_status_default,
            )

    def every_period(self, act: Any) -> None:
        """Call `act` again and again, by a steady clock."""
        self.create_timer(self.values.period_s, act, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def sample(self) -> dict[str, Any]:
        """State, mission, goals, and each node's figures; latencies since the last sample."""
        mission = self._mission
        row = {
            "sim_s": round(self._now_s - self._began_s, 2),
            "driven_m": round(self._driven_m, 2),
            "state": self.state,
            "activations": self._activations,
            "mission": {
                "state": STATES[mission.state],
                "round": mission.round,
                "doing": mission.doing,
                "skipped": mission.skipped,
                "message": mission.message,
            },
            "goals": {action: dict(ended) for action, ended in self._ended.items()},
            "nodes": {name: dict(figures) for name, figures in self._figures.items()},
            "unwell": dict(self._unwell),
            "latency_ms": {name: _spread(times) for name, times in sorted(self._latencies.items())},
        }
        self._latencies.clear()
        return row

    def _on_state(self, state: String) -> None:
        self._activations += state.data == "active" and self.state != "active"
        self.state = state.data

    def _on_clock(self, clock: ClockMessage) -> None:
        self._now_s = seconds(clock.clock)
        if math.isnan(self._began_s):
            self._began_s = self._now_s

    def _on_mission(self, mission: MissionStatus) -> None:
        self._mission = mission

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.rsplit("/")[-1]
            self._unwell[name] += status.level != DiagnosticStatus.OK
            figures = self._figures.setdefault(name, {})
            for pair in status.values:
                if pair.key.endswith(_SENT):
                    latency = pair.key.removesuffix(_SENT).replace("_", " ")
                    self._latencies[f"{name}: {latency}"] += map(float, pair.value.split())
                elif "(ms)" not in pair.key:
                    with suppress(ValueError):  # a fact in words
                        figures[pair.key] = float(pair.value)

    def _on_goals(self, action: str, message: GoalStatusArray) -> None:
        """Count each goal when it ends; the server forgets it some time after that."""
        known, now = self._goals[action], {}
        for status in message.status_list:
            goal = bytes(status.goal_info.goal_id.uuid)
            now[goal] = status.status
            if status.status != known.get(goal) and status.status >= GoalStatus.STATUS_SUCCEEDED:
                well = status.status == GoalStatus.STATUS_SUCCEEDED
                self._ended[action]["reached" if well else "failed"] += 1
        self._goals[action] = now

    def _on_odometry(self, message: Odometry) -> None:
        here = (message.pose.pose.position.x, message.pose.pose.position.y)
        if self._where is not None:
            self._driven_m += math.dist(here, self._where)
        else:
            self._named.append(here)  # the start has its name from the mission
        self._where = here
        self._name_place(here)

    def _name_place(self, here: tuple[float, float]) -> None:
        missing = PLACES[len(self._named) - 1 :]
        if not missing or self._naming is not None or self._mission.state != MissionStatus.RUNNING:
            return
        if min(math.dist(here, place) for place in self._named) < APART_M:
            return
        if not self._remember.service_is_ready():
            return
        self._naming = self._remember.call_async(Remember.Request(name=missing[0]))
        self._naming.add_done_callback(lambda answer: self._on_named(missing[0], here, answer))

    def _on_named(self, name: str, here: tuple[float, float], answer: Future) -> None:
        self._naming = None
        reply = answer.result()
        if reply.success:
            self._named.append(here)
        else:  # the next odometry tries again
            text = f"could not name the {name}: {reply.message}"
            self.get_logger().warning(text, throttle_duration_sec=5.0)


def _spread(times_ms: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(times_ms, [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "count": len(times_ms)}


def main() -> int:
    """Watch until a signal comes; 1 if the stack did not become active or ceased to be."""
    init()
    try:
        watch = SoakWatch()
    except ValueError as error:
        get_logger("soak_watch").fatal(str(error))
        return 1
    spinner, limit_s = Spinner(watch), watch.values.startup_timeout_s
    try:
        spinner.until(lambda: watch.state in ("active", "failed"), limit_s)
        if watch.state != "active":
            state = watch.state or "silent"
            print(f"the stack is not active but {state} within {limit_s:.0f} s", flush=True)
            return 1
        print(json.dumps(watch.sample()), flush=True)
        watch.every_period(lambda: print(json.dumps(watch.sample()), flush=True))
        spinner.until(lambda: watch.state != "active")
        print(json.dumps(watch.sample()), flush=True)
        print(f"the stack is {watch.state}, no longer active", flush=True)
        return 1
    except Interrupted:
        return 0
    finally:
        watch.destroy_node()
        rclpy.try_shutdown()
