"""Requests to the robot over ROS: actions, services and a picture.

The server may not be up yet, or be down: planning starts, or is restarted. A job retries until the
robot's patience is used up. It never blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.task import Future

from foresight.missions import Outcome
from foresight_interfaces.action import NavigateToPlace

STALE_SENSORS = NavigateToPlace.Result.STALE_SENSORS
TAKEN = (NavigateToPlace.Result.PREEMPTED, NavigateToPlace.Result.CANCELLED)
"""The codes mean the same in every action; 0 is success. A cancelled job is not polled again, so
these codes mean that somebody else interfered."""
RETRY_S = 0.5
"""Between two attempts."""
ANSWER_S = 5.0
"""A server must accept or answer within this."""
SILENCE_S = 3.0
"""Feedback comes twice a second while a goal lives, also while it is interrupted. After this long
without any, the server is gone, and the goal with it."""
GRACE_S = 15.0
"""An action that has not ended this long after its time limit is given up."""


class RobotContext(Protocol):
    """What a job needs to know of the robot."""

    patience_s: float
    """How long a job waits for its server."""

    def now_s(self) -> float:
        """ROS time, s."""

    def why_unavailable(self, name: str, ready: bool) -> str:
        """Why this cannot be requested now, as a sentence; empty if it can."""

    def let_end(self, server: ActionClient, ended: Future) -> None:
        """Something was cancelled; the future is done when it has ended."""


class PatientJob:
    """A job that waits for its server; a subclass implements `advance`."""

    def __init__(self, robot: RobotContext) -> None:
        self.robot = robot
        self._outcome: Outcome | None = None
        self._begun_s = time.monotonic()
        self._again_s = self._begun_s

    def poll(self) -> Outcome | None:
        """See `foresight.missions.Job`."""
        if self._outcome is None and time.monotonic() >= self._again_s:
            self.advance()
        return self._outcome

    def advance(self) -> None:
        """Handle what has arrived, and send what comes next."""
        raise NotImplementedError

    @property
    def waited_s(self) -> float:
        """Time since the job started, s, on the steady clock."""
        return time.monotonic() - self._begun_s

    @property
    def patient(self) -> bool:
        """Whether there is time for another attempt."""
        return self.waited_s < self.robot.patience_s

    def end(self, ok: bool, message: str, *, preempted: bool = False) -> None:
        """Set the outcome."""
        self._outcome = Outcome(ok, message, preempted)

    def not_yet(self, why: str) -> None:
        """Retry in a moment, or give up."""
        self._again_s = time.monotonic() + RETRY_S
        if not self.patient:
            self.end(False, f"{why} (waited {self.waited_s:.0f} s)")


class ActionJob(PatientJob):
    """One goal, from request to result; sent again, with the time left, if its server dies."""

    def __init__(
        self,
        robot: RobotContext,
        client: ActionClient,
        name: str,
        goal_for: Callable[[float], Any],
        limit_s: float,
    ) -> None:
        """
        Args:
            robot: the robot.
            client: of the action.
            name: of the action, for messages.
            goal_for: makes the goal for this many seconds.
            limit_s: total time, from the first acceptance, s.
        """
        super().__init__(robot)
        self._client, self._name, self._goal_for = client, name, goal_for
        self._limit_s = limit_s
        self._answer: Future | None = None
        self._handle: Any = None
        self._result: Future | None = None
        self._asked_s = self._heard_s = 0.0
        self._accepted_s: float | None = None

    def advance(self) -> None:
        why_unavailable = self.robot.why_unavailable(self._name, self._client.server_is_ready())
        if self._result is not None and self._result.done():
            self._conclude(self._result.result())
        elif self._handle is not None and time.monotonic() - self._heard_s > SILENCE_S:
            self.cancel()  # in case its server is still driving
            self._begun_s = time.monotonic()  # it was up: patience starts again
            self.not_yet(f"{self._name} was lost during the drive")
        elif self._handle is not None:
            if self._left_s < -GRACE_S:
                self.cancel()
                text = f"{self._name} gave no result {GRACE_S:g} s after its time was over"
                self.end(False, text)
        elif self._left_s <= 0:
            self._drop()
            self.end(False, f"{self._name} was lost during the drive, and its time is over")
        elif why_unavailable:
            self._drop()
            self.not_yet(why_unavailable)
        elif self._answer is None:
            self._asked_s = time.monotonic()
            goal = self._goal_for(self._left_s)
            self._answer = self._client.send_goal_async(goal, feedback_callback=self._on_feedback)
        else:
            self._await_acceptance(self._answer)

    @property
    def _left_s(self) -> float:
        """What is left of the goal's time, s."""
        if self._accepted_s is None:
            return self._limit_s
        return self._limit_s - (self.robot.now_s() - self._accepted_s)

    def _on_feedback(self, _feedback: object) -> None:
        self._heard_s = time.monotonic()

    def cancel(self) -> None:
        """Cancel the goal, even one that is accepted only later."""
        if self._result is not None and not self._result.done():
            self._handle.cancel_goal_async()
            self.robot.let_end(self._client, self._result)
        self._drop()

    def _drop(self) -> None:
        """Forget the present attempt; a goal that is accepted after this is cancelled."""
        answer, accepted = self._answer, self._handle is not None
        self._answer = self._handle = self._result = None
        if answer is not None and not accepted:
            ended = Future()
            self.robot.let_end(self._client, ended)
            answer.add_done_callback(lambda late: _cancel_late(late, ended))

    def _await_acceptance(self, answer: Future) -> None:
        if answer.done():
            if answer.result().accepted:
                self._handle, self._heard_s = answer.result(), time.monotonic()
                if self._accepted_s is None:
                    self._accepted_s = self.robot.now_s()
                self._result = self._handle.get_result_async()
                return
            self._answer = None
            self.not_yet(f"{self._name} refused the goal; is its node active?")
        elif time.monotonic() - self._asked_s > ANSWER_S:
            self._drop()
            self.not_yet(f"{self._name} did not answer within {ANSWER_S:g} s")

    def _conclude(self, answer: Any) -> None:
        succeeded = answer.status == GoalStatus.STATUS_SUCCEEDED and answer.result.code == 0
        message = answer.result.message or f"{self._name} ended with code {answer.result.code}"
        self._answer = self._handle = self._result = None
        if not succeeded and answer.result.code == STALE_SENSORS and self.patient:
            self.not_yet(message)  # just after the stack has started
        else:
            self.end(succeeded, message, preempted=answer.result.code in TAKEN)


def _cancel_late(answer: Future, ended: Future) -> None:
    """Cancel a goal that is no longer wanted, if it was accepted; `ended` is done when it ended."""
    handle = None if answer.exception() else answer.result()
    if handle is None or not handle.accepted:
        ended.set_result(None)
        return
    handle.get_result_async().add_done_callback(lambda _result: ended.set_result(None))
    handle.cancel_goal_async()


class ServiceJob(PatientJob):
    """One service call; its response must have `success` and `message`."""

    def __init__(
        self, robot: RobotContext, client: Client, name: str, request: Any, insistent: bool
    ) -> None:
        """
        Args:
            robot: the robot.
            client: of the service.
            name: of the service, for messages.
            request: what to send.
            insistent: retry after a refusal, which may be temporary.
        """
        super().__init__(robot)
        self._client, self._name, self._request = client, name, request
        self._insistent = insistent
        self._answer: Future | None = None
        self._asked_s = 0.0

    def advance(self) -> None:
        why_unavailable = self.robot.why_unavailable(self._name, self._client.service_is_ready())
        if self._answer is not None and self._answer.done():
            self._conclude(self._answer.result())
        elif why_unavailable:
            self.cancel()
            self.not_yet(why_unavailable)
        elif self._answer is None:
            self._asked_s = time.monotonic()
            self._answer = self._client.call_async(self._request)
        elif time.monotonic() - self._asked_s > ANSWER_S:
            self.cancel()
            self.not_yet(f"{self._name} did not answer within {ANSWER_S:g} s")

    def cancel(self) -> None:
        """Forget the request; a service call cannot be cancelled."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._client.remove_pending_request(answer)

    def _conclude(self, response: Any) -> None:
        self._answer = None
        if response.success:
            self.end(True, response.message)
        elif self._insistent:
            self.not_yet(response.message)
        else:
            self.end(False, response.message)


class PictureJob(PatientJob):
    """The next picture of the camera."""

    def __init__(
        self,
        robot: RobotContext,
        subscribe: Callable[[Callable[[Any], None]], Callable[[], None]],
        keep: Callable[[Any], str],
    ) -> None:
        """
        Args:
            robot: the robot.
            subscribe: calls the given function with each image; returns a function that ends that.
            keep: stores an image and returns where; raises ValueError or OSError.
        """
        super().__init__(robot)
        self._image: Any = None
        self._keep = keep
        self._unsubscribe: Callable[[], None] | None = subscribe(self._on_image)

    def advance(self) -> None:
        if self._image is None:
            self.not_yet("no picture arrived from the camera")
        else:
            try:
                self.end(True, self._keep(self._image))
            except (ValueError, OSError) as error:
                self.end(False, str(error))
        if self._outcome is not None:
            self.cancel()

    def cancel(self) -> None:
        """Stop listening."""
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()

    def _on_image(self, image: Any) -> None:
        if self._image is None:
            self._image = image
            self._again_s = time.monotonic()
