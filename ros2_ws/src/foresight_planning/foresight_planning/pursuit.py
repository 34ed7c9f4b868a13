"""The pursuit of one action goal: its clock, the distance driven, and its one ending."""

from __future__ import annotations

import math
import time

from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future

from foresight.planning import NavigationStep
from foresight_interfaces.action import NavigateToImage

MAX_STRIDE_M = 1.0
"""Odometry that jumps farther than this between two messages was reset, not driven."""


class Pursuit:
    """Lives from a goal's acceptance to its result. Times are ROS time in seconds.

    Attributes:
        handle: the action server's.
        started_s, timeout_s: when it was accepted, and how long it may take.
        arrived_s: when it was accepted, on the steady clock.
        ready: the goal image is encoded, so that plans can be made.
        planned_stamp_s: stamp of the belief of the latest plan.
        step: the latest plan.
        result: a Future of NavigateToImage.Result.
    """

    def __init__(self, handle: ServerGoalHandle, now_s: float, timeout_s: float) -> None:
        self.handle = handle
        self.started_s, self.timeout_s = now_s, timeout_s
        self.arrived_s = time.monotonic()
        self.ready = False
        self.planned_stamp_s = -math.inf
        self.step: NavigationStep | None = None
        self.result = Future()
        self.held_reason = ""
        self._held_since_s = math.inf
        self._driven_m = 0.0
        self._position: tuple[float, float] | None = None

    def begin(self) -> None:
        """The goal image is encoded."""
        self.ready = True

    def moved_to(self, x: float, y: float) -> None:
        """A position (m) in the odometry frame; what is no number is passed over."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        if self._position is not None:
            stride = math.hypot(x - self._position[0], y - self._position[1])
            self._driven_m += stride if stride < MAX_STRIDE_M else 0.0
        self._position = (x, y)

    def held(self, reason: str | None, now_s: float) -> None:
        """Actuation stops the robot for this reason, or (None) no longer does."""
        if reason is None:
            self._held_since_s = math.inf
        else:
            self._held_since_s = min(self._held_since_s, now_s)
            self.held_reason = reason

    def held_for_s(self, now_s: float) -> float:
        """How long actuation has kept the robot at rest, s; below 0 when it does not."""
        return now_s - self._held_since_s

    def feedback(self, now_s: float) -> NavigateToImage.Feedback:
        """The present state, for the client."""
        left_s = self.step.eta_s if self.step is not None else math.nan
        return NavigateToImage.Feedback(
            energy=self._energy(),
            estimated_s_left=left_s if math.isfinite(left_s) else -1.0,
            distance_travelled_m=self._driven_m,
            elapsed_s=now_s - self.started_s,
        )

    def finish(self, code: int, message: str, now_s: float) -> None:
        """Give the goal its result; the robot must have been told to hold."""
        if code == NavigateToImage.Result.REACHED:
            self.handle.succeed()
        elif code == NavigateToImage.Result.CANCELLED:
            self.handle.canceled()
        else:
            self.handle.abort()
        self.result.set_result(
            NavigateToImage.Result(
                code=code,
                message=message,
                energy=self._energy(),
                distance_travelled_m=self._driven_m,
                elapsed_s=now_s - self.started_s,
            )
        )

    def _energy(self) -> float:
        return float(self.step.energy[-1]) if self.step is not None else math.nan
