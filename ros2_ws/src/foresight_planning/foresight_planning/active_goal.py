"""What the goals of all actions have in common: a clock, the distance driven, one ending."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import numpy as np
from rclpy.action.server import ServerGoalHandle
from rclpy.client import Client
from rclpy.task import Future
from sensor_msgs.msg import LaserScan

from foresight.bodies.profile import RobotProfile
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import Belief, Subgoal
from foresight_node import Health, Worker
from foresight_planning.goal_planner import GoalPlanner
from foresight_planning.parameters import Parameters
from foresight_planning.sensor_buffer import Pulse, SensorBuffer

Code = NavigateToImage.Result
"""Its constants: the numbers mean the same in every action. 0 is success."""
STAMP_JITTER_S = 0.02
"""Sensors keep their rates, not exactly: a period just short of the asked one will do."""
MAX_STRIDE_M = 1.0
"""Odometry that jumps farther than this between two messages was reset, not driven."""
WAKE_S = 3.0
"""The senses wake up together with planning, and the robot rests until they have."""

Ending = tuple[int, str]
"""A code and one sentence."""


class Host(Protocol):
    """What a pursuit needs of its node."""

    worker: Worker
    health: Health
    senses: SensorBuffer
    helm: GoalPlanner
    profile: RobotProfile
    action_s: float
    guide: Client

    @property
    def values(self) -> Parameters: ...

    def now_s(self) -> float:
        """ROS time, s."""

    def drive(
        self, pursuit: ActiveGoal, stamp_s: float, actions: np.ndarray, energy: np.ndarray | None
    ) -> None:
        """Publish a plan whose first action begins at a stamp: (H, 2) m/s, rad/s; (0, 2): rest."""

    def finish(self, pursuit: ActiveGoal, code: int, message: str) -> None:
        """End a pursuit, unless it has ended before."""

    def fail(self, pursuit: ActiveGoal, error: Exception) -> None:
        """End a pursuit because of what a job on the worker raised."""

    def is_driving(self, pursuit: ActiveGoal) -> bool:
        """Whether the robot may still move for it: it has not ended, and is not cancelled."""


class ActiveGoal:
    """Lives from a goal's acceptance to its result; a subclass says how the robot is driven.

    The node calls `begin`, then what comes from the sensors, `ending` ten times a second, and
    `finish`; in between perhaps `interrupt` and `resume`. Times are ROS time in seconds.

    Attributes:
        handle: the action server's.
        began: when it was accepted.
        since: since when it has been pursued without a break: what is heard is awaited from here.
        interrupted: planning is not active; the robot rests.
        result: a Future of the action's result.
    """

    ACTION: ClassVar[Any]
    NAME: ClassVar[str]

    def __init__(self, host: Host, handle: ServerGoalHandle) -> None:
        self.host, self.handle = host, handle
        self.began, self.since = Pulse(), Pulse()
        self.began.beat(host.now_s())
        self.since.beat(host.now_s())
        self.interrupted = False
        self.result = Future()
        self._planned_stamp_s = -math.inf
        self._held_reason = ""
        self._held_since_s = math.inf
        self._driven_m = 0.0
        self._position: tuple[float, float] | None = None

    # --- for subclasses to override

    def fault(self) -> str:
        """What is wrong with the request, in a sentence; empty when it can be pursued."""
        raise NotImplementedError

    def begin(self) -> None:
        """Start; what takes time goes to the worker."""

    def trouble(self, now_s: float) -> Ending | None:
        """What of its own ends it now, if anything does: silence, or time."""
        raise NotImplementedError

    def doing(self) -> str:
        """What it is at, in a few words, for diagnostics."""
        raise NotImplementedError

    def on_belief(self, belief: Belief, stamp_s: float) -> None:
        """A belief of this bundle has come."""

    def on_scan(self, scan: LaserScan, stamp_s: float) -> None:
        """A scan has come."""

    def on_aim(self, aim: Subgoal) -> None:
        """Memory says where to drive next."""

    def leave(self) -> None:
        """It ends: call off what was asked of others."""

    def progress(self) -> dict[str, float]:
        """The action's own fields of the feedback."""
        return {}

    def outcome(self) -> dict[str, float]:
        """The action's own fields of the result."""
        return {}

    # --- what is shared

    def allowed_s(self, heard: Pulse, usual_s: float) -> float:
        """How long nothing may come; `WAKE_S` more before the first since planning is active."""
        waking = heard.arrived_s < self.host.senses.begun_s
        return usual_s + WAKE_S if waking else usual_s

    @property
    def elapsed_s(self) -> float:
        """Time since the goal was accepted."""
        return self.host.now_s() - self.began.stamp_s

    def is_due(self, stamp_s: float, period_s: float) -> bool:
        """Whether what has this stamp is to be planned from: once in a period."""
        if 0 <= stamp_s - self._planned_stamp_s < period_s - STAMP_JITTER_S:
            return False
        self._planned_stamp_s = stamp_s
        return True

    def moved_to(self, x: float, y: float) -> None:
        """A position (m) in the odometry frame; what is no number is passed over."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        if self._position is not None:
            stride = math.hypot(x - self._position[0], y - self._position[1])
            self._driven_m += stride if stride < MAX_STRIDE_M else 0.0
        self._position = (x, y)

    def interrupt(self) -> None:
        """Planning is deactivated; the robot has been told to rest."""
        self.interrupted = True

    def resume(self) -> None:
        """Planning is active again; what was heard before need not be true now."""
        self.interrupted = False
        self.since = Pulse()
        self.since.beat(self.host.now_s())
        self._planned_stamp_s = -math.inf
        self.held(None)

    def on_time_jump(self, jump_s: float) -> None:
        """ROS time has jumped, as it does when /clock begins: what was timed starts over."""
        self.began.stamp_s += jump_s
        if not self.interrupted:
            self.resume()

    def held(self, reason: str | None) -> None:
        """Actuation stops the robot for this reason, or (None) no longer does."""
        if reason is None:
            self._held_since_s = math.inf
        else:
            self._held_since_s = min(self._held_since_s, self.host.now_s())
            self._held_reason = reason

    def ending(self) -> Ending | None:
        """The code and message of what ends the pursuit now, if anything does."""
        now_s, held_s = self.host.now_s(), self.host.values.held_timeout_s
        if self.handle.is_cancel_requested:
            return Code.CANCELLED, "cancelled by the client"
        trouble = self.trouble(now_s)
        if trouble is None and now_s - self._held_since_s > held_s:
            held = f"actuation kept the robot at rest for {held_s:.1f} s: {self._held_reason}"
            return Code.BLOCKED, held
        return trouble

    def tell(self) -> None:
        """Send the feedback."""
        message = self.ACTION.Feedback(
            distance_travelled_m=self._driven_m,
            elapsed_s=self.elapsed_s,
            interrupted=self.interrupted,
            **self.progress(),
        )
        self.handle.publish_feedback(message)

    def finish(self, code: int, message: str) -> None:
        """Give the goal its result; the robot must have been told to hold."""
        self.leave()
        if code == 0:
            self.handle.succeed()
        elif code == Code.CANCELLED:
            self.handle.canceled()
        else:
            self.handle.abort()
        self.result.set_result(
            self.ACTION.Result(
                code=code,
                message=message,
                distance_travelled_m=self._driven_m,
                elapsed_s=self.elapsed_s,
                **self.outcome(),
            )
        )
