"""One node as the manager sees it: heartbeats, state, and requested transitions."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from math import inf

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.task import Future

from foresight_interfaces.msg import Heartbeat
from foresight_node import process
from foresight_node.process import ProcessState

LOST_REQUEST_S = 2.0
"""A node that sends heartbeats this long after an unanswered request never received it."""
SETTLE_S = 10.0
"""A heartbeat that was sent before an answer carries the earlier state, and is handled at most
this long after the answer."""
LONGEST_LOOK_S = 0.1
"""Longest silence that is counted between two looks."""
STILL_S = 0.1
"""A process may be stopped this long: a profiler stops it for moments."""

UNKNOWN = State.PRIMARY_STATE_UNKNOWN
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
NAMES = {
    UNKNOWN: "not seen",
    UNCONFIGURED: "unconfigured",
    INACTIVE: "inactive",
    ACTIVE: "active",
    State.PRIMARY_STATE_FINALIZED: "finalized",
}


class Step(Enum):
    """A transition: its `number`, and the state that it `leads_to`."""

    CONFIGURE = (Transition.TRANSITION_CONFIGURE, INACTIVE)
    ACTIVATE = (Transition.TRANSITION_ACTIVATE, ACTIVE)
    DEACTIVATE = (Transition.TRANSITION_DEACTIVATE, INACTIVE)
    CLEANUP = (Transition.TRANSITION_CLEANUP, UNCONFIGURED)

    def __init__(self, number: int, leads_to: int) -> None:
        self.number = number
        self.leads_to = leads_to

    @property
    def verb(self) -> str:
        return self.name.lower().replace("cleanup", "clean up")


class Managed:
    """A node's heartbeats, and its process as the kernel reports it, if it runs on this machine.
    The kernel knows of a death at once, and does not mistake a busy process for a dead one.

    Attributes:
        name: fully qualified.
        dead: its process has ended or stands still.
        state: the last one known, of lifecycle_msgs/State's PRIMARY_STATE constants.
        fell: it went to a lower state unasked, as after a quick restart.
        refused: the transition that it refused, or None.
    """

    def __init__(self, manager: Node, name: str, on_answer: Callable[[], None]) -> None:
        """
        Args:
            manager: has the client.
            name: fully qualified, of the node.
            on_answer: called when it has answered a request.
        """
        self.name = name
        self.state = UNKNOWN
        self.fell = False
        self.refused: Step | None = None
        self.dead = False
        self._on_answered = on_answer
        self._client = manager.create_client(ChangeState, f"{name}/change_state")
        self._asked_s = self._answered_s = -inf
        self._silent_s = inf
        self._looked_s = time.monotonic()
        self._answered_ns = 0
        self._process = ""
        self._number: int | None = None
        self._process_state = ProcessState.RUNS
        self._still_since_s = inf
        self._asked: Step | None = None
        self._answer: Future | None = None
        self._in_doubt = False
        """After a refusal, perhaps of a repeated request, until the next heartbeat resolves it."""

    # ---- its state ----

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited or in doubt."""
        return self._asked is not None or self._in_doubt

    def is_fresh(self, silence_s: float, work_s: float) -> bool:
        """Whether its process lives and it was heard within `silence_s`, or has been busy with a
        transition, during which a node is silent, for at most `work_s`."""
        now_s = time.monotonic()
        if self.dead:
            return False
        if self._asked is not None:
            return now_s - self._asked_s <= work_s
        return self._silent_s <= silence_s

    def loss(self, silence_s: float) -> str:
        """How it was lost since its state was last known, as a clause; empty if it was not."""
        if self.fell:
            return f"it has become {self.state_name} by itself"
        if self.state == UNKNOWN:
            return ""
        if self.dead:
            return f"its process {self._process_state.value}"
        if self._asked is None and not self.is_fresh(silence_s, inf):
            return f"it has been silent for {silence_s:g} s"
        return ""

    def silence(self, silence_s: float, work_s: float) -> str:
        """Why it is not heard, as a sentence; empty if it is fresh."""
        if self.is_fresh(silence_s, work_s):
            return ""
        if self.dead:
            return f"its process {self._process_state.value}"
        return "it has not been heard yet" if self._silent_s == inf else "it is silent"

    @property
    def state_name(self) -> str:
        return NAMES.get(self.state, "unsettled")

    # ---- inputs ----

    def look(self) -> None:
        """Ask the kernel about its process and count its silence; called at a steady rate."""
        now_s, state = time.monotonic(), ProcessState.RUNS
        # a manager that is late itself has heartbeats waiting
        self._silent_s += min(now_s - self._looked_s, LONGEST_LOOK_S)
        self._looked_s = now_s
        if self._number is not None:
            state = process.state_of(self._number)
        still_since_s = min(self._still_since_s, now_s)
        self._still_since_s = still_since_s if state is ProcessState.STOPPED else inf
        self._process_state = state
        self.dead = state is ProcessState.GONE or now_s - self._still_since_s > STILL_S

    def beat(self, beat: Heartbeat, sent_ns: int) -> None:
        """Handle a heartbeat that was sent at this time of the system clock, ns."""
        state = beat.lifecycle_state
        if beat.process != self._process:
            self._process, self._number = beat.process, process.look_up(beat.process)
            self.look()
        now_s, self._silent_s = time.monotonic(), 0.0
        if self._asked is not None and now_s - self._asked_s > LOST_REQUEST_S:
            self._forget_request()
        old = sent_ns < self._answered_ns and now_s - self._answered_s < SETTLE_S
        if self._asked is None and not old:
            self.fell |= state != self.state and (state < self.state or self.state == ACTIVE)
            self.state, self._in_doubt = state, False
            if self.refused is not None and state == self.refused.leads_to:
                self.refused = None

    # ---- requests ----

    def ask(self, step: Step) -> None:
        """Request a transition if the node's service is ready."""
        if not self._client.service_is_ready():
            return
        self._asked, self._asked_s = step, time.monotonic()
        request = ChangeState.Request(transition=Transition(id=step.number))
        self._answer = self._client.call_async(request)
        self._answer.add_done_callback(lambda answer: self._on_answer(step, answer))

    def lose(self) -> None:
        """Forget its state and its request; the next heartbeat, if any, tells its state."""
        self._forget_request()
        self.state, self.fell = UNKNOWN, False

    def _on_answer(self, step: Step, answer: Future) -> None:
        if self._answer is not answer:
            return
        self._asked = self._answer = None
        self._answered_s, self._silent_s = time.monotonic(), 0.0
        self._answered_ns = time.time_ns()
        response = answer.result()
        if response is not None and response.success:
            self.state = step.leads_to
        else:
            self.refused, self._in_doubt = step, True
        self._on_answered()

    def _forget_request(self) -> None:
        if self._answer is not None:
            self._client.remove_pending_request(self._answer)
        self._asked = self._answer = None
