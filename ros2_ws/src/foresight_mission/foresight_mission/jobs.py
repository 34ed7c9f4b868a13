"""What the robot was asked for, followed over ROS: actions, services and a picture.

Whoever does it may not be there yet, or no longer: planning starts up, or is started again. A job
asks again until the robot's patience is over. It never waits in a call.
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
"""The codes mean the same in every action; 0 is success. A job that cancels is not polled again:
where these come, somebody else has interfered."""
AGAIN_S = 0.5
"""Between two attempts to ask."""
ANSWER_S = 5.0
"""Whoever is there must accept or answer within this."""
SILENCE_S = 3.0
"""Feedback comes twice a second while a goal lives, also while it is interrupted: when none has
come for so long, whoever pursued it is gone, and the goal with it."""
GRACE_S = 15.0
"""An action that has not ended so long after its time was over is given up."""


class Surroundings(Protocol):
    """What a job must know of the robot."""

    patience_s: float
    """How long a job waits for whoever does it."""

    def now_s(self) -> float:
        """ROS time, s."""

    def hindrance(self, name: str, ready: bool) -> str:
        """Why this cannot be asked for now, as a sentence; empty when it can."""

    def let_end(self, server: ActionClient, ended: Future) -> None:
        """Something was cancelled; the future comes when it has ended."""


class PatientJob:
    """A job that waits for whoever does it; a subclass says in `advance` how it goes on."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._outcome: Outcome | None = None
        self._begun_s = time.monotonic()
        self._again_s = self._begun_s

    def poll(self) -> Outcome | None:
        """See `foresight.missions.Job`."""
        if self._outcome is None and time.monotonic() >= self._again_s:
            self.advance()
        return self._outcome

    def advance(self) -> None:
        """Look what has come, and ask for what is next."""
        raise NotImplementedError

    @property
    def waited_s(self) -> float:
        """Time since the job began, s, on the steady clock."""
        return time.monotonic() - self._begun_s

    @property
    def patient(self) -> bool:
        """Whether it may be asked for again."""
        return self.waited_s < self.around.patience_s

    def end(self, ok: bool, message: str, *, preempted: bool = False) -> None:
        """This is how it ended."""
        self._outcome = Outcome(ok, message, preempted)

    def not_yet(self, why: str) -> None:
        """Ask again in a moment, or give up."""
        self._again_s = time.monotonic() + AGAIN_S
        if not self.patient:
            self.end(False, f"{why} (waited {self.waited_s:.0f} s)")


class ActionJob(PatientJob):
    """One goal, from asking to its result; sent anew for the time left when its server dies."""

    def __init__(
        self,
        around: Surroundings,
        client: ActionClient,
        name: str,
        goal_for: Callable[[float], Any],
        limit_s: float,
    ) -> None:
        """
        Args:
            around: the robot.
            client: of the action.
            name: the action's, for sentences.
            goal_for: gives the request that allows so many seconds.
            limit_s: the time in all, from when it is accepted first, s.
        """
        super().__init__(around)
        self._client, self._name, self._goal_for = client, name, goal_for
        self._limit_s = limit_s
        self._answer: Future | None = None
        self._handle: Any = None
        self._result: Future | None = None
        self._asked_s = self._heard_s = 0.0
        self._accepted_s: float | None = None

    def advance(self) -> None:
        hindrance = self.around.hindrance(self._name, self._client.server_is_ready())
        if self._result is not None and self._result.done():
            self._conclude(self._result.result())
        elif self._handle is not None and time.monotonic() - self._heard_s > SILENCE_S:
            self.cancel()  # in case that whoever served it still drives
            self._begun_s = time.monotonic()  # it was there: patience begins anew
            self.not_yet(f"{self._name} was lost on the way")
        elif self._handle is not None:
            if self._left_s < -GRACE_S:
                self.cancel()
                text = f"{self._name} gave no result {GRACE_S:g} s after its time was over"
                self.end(False, text)
        elif self._left_s <= 0:
            self._drop()
            self.end(False, f"{self._name} was lost on the way, and its time is over")
        elif hindrance:
            self._drop()
            self.not_yet(hindrance)
        elif self._answer is None:
            self._asked_s = time.monotonic()
            goal = self._goal_for(self._left_s)
            self._answer = self._client.send_goal_async(goal, feedback_callback=self._on_feedback)
        else:
            self._await_acceptance(self._answer)

    @property
    def _left_s(self) -> float:
        """Of the time that the goal allows."""
        if self._accepted_s is None:
            return self._limit_s
        return self._limit_s - (self.around.now_s() - self._accepted_s)

    def _on_feedback(self, _feedback: object) -> None:
        self._heard_s = time.monotonic()

    def cancel(self) -> None:
        """Cancel the goal, also one that is accepted only later."""
        if self._result is not None and not self._result.done():
            self._handle.cancel_goal_async()
            self.around.let_end(self._client, self._result)
        self._drop()

    def _drop(self) -> None:
        """Forget the present attempt; a goal that is accepted after this is cancelled."""
        answer, accepted = self._answer, self._handle is not None
        self._answer = self._handle = self._result = None
        if answer is not None and not accepted:
            ended = Future()
            self.around.let_end(self._client, ended)
            answer.add_done_callback(lambda late: _cancel_late(late, ended))

    def _await_acceptance(self, answer: Future) -> None:
        if answer.done():
            if answer.result().accepted:
                self._handle, self._heard_s = answer.result(), time.monotonic()
                if self._accepted_s is None:
                    self._accepted_s = self.around.now_s()
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
            self.not_yet(message)  # right after the stack has started
        else:
            self.end(succeeded, message, preempted=answer.result.code in TAKEN)


def _cancel_late(answer: Future, ended: Future) -> None:
    """Cancel a goal that nobody wants any more, if it was accepted; `ended` comes when it ended."""
    handle = None if answer.exception() else answer.result()
    if handle is None or not handle.accepted:
        ended.set_result(None)
        return
    handle.get_result_async().add_done_callback(lambda _result: ended.set_result(None))
    handle.cancel_goal_async()


class ServiceJob(PatientJob):
    """One request, from asking to its response, which must have `success` and `message`."""

    def __init__(
        self, around: Surroundings, client: Client, name: str, request: Any, insistent: bool
    ) -> None:
        """
        Args:
            around: the robot.
            client: of the service.
            name: the service's, for sentences.
            request: what to send.
            insistent: ask again after a refusal, which may be one of this moment only.
        """
        super().__init__(around)
        self._client, self._name, self._request = client, name, request
        self._insistent = insistent
        self._answer: Future | None = None
        self._asked_s = 0.0

    def advance(self) -> None:
        hindrance = self.around.hindrance(self._name, self._client.service_is_ready())
        if self._answer is not None and self._answer.done():
            self._conclude(self._answer.result())
        elif hindrance:
            self.cancel()
            self.not_yet(hindrance)
        elif self._answer is None:
            self._asked_s = time.monotonic()
            self._answer = self._client.call_async(self._request)
        elif time.monotonic() - self._asked_s > ANSWER_S:
            self.cancel()
            self.not_yet(f"{self._name} did not answer within {ANSWER_S:g} s")

    def cancel(self) -> None:
        """Forget the request; a service cannot be called off."""
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
        around: Surroundings,
        subscribe: Callable[[Callable[[Any], None]], Callable[[], None]],
        keep: Callable[[Any], str],
    ) -> None:
        """
        Args:
            around: the robot.
            subscribe: has the given function called with each image; returns what ends that.
            keep: stores an image and says where; raises ValueError or OSError when it cannot.
        """
        super().__init__(around)
        self._image: Any = None
        self._keep = keep
        self._unsubscribe: Callable[[], None] | None = subscribe(self._on_image)

    def advance(self) -> None:
        if self._image is None:
            self.not_yet("no picture came from the camera")
        else:
            try:
                self.end(True, self._keep(self._image))
            except (ValueError, OSError) as error:
                self.end(False, str(error))
        if self._outcome is not None:
            self.cancel()

    def cancel(self) -> None:
        """Listen no longer."""
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()

    def _on_image(self, image: Any) -> None:
        if self._image is None:
            self._image = image
            self._again_s = time.monotonic()
