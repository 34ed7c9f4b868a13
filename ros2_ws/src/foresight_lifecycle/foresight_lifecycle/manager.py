"""Brings the lifecycle nodes of one robot up in order, watches them and takes them down.

Their heartbeats say in which state they are; the manager compares that with what it wants and asks
for one transition at a time. It never waits in a callback.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight_interfaces.msg import Heartbeat
from foresight_node import ERROR, Health, run
from foresight_node.messages import LATCHED

PERIOD_S = 0.1
LOST_REQUEST_S = 2.0
"""A node that beats this long after a request, without an answer, never got it."""
SETTLE_S = 0.05
"""For this long after an answer a heartbeat may still be one from before it."""
STOP_LIMIT_S = 5.0
"""A node that takes longer to stop is left as it is."""
QUIT_LIMIT_S = 3.0
"""On a signal: less than launch waits before it sends a stronger one."""

UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
NAMES = {
    State.PRIMARY_STATE_UNKNOWN: "not seen",
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


class Phase(Enum):
    """What the manager is about; the value is what `system_state` says."""

    DOWN = "down"
    STARTING = "starting"
    ACTIVE = "active"
    STOPPING = "stopping"
    WAITING = "waiting"  # for a lost node to come back
    FAILED = "failed"


@dataclass
class Managed:
    """One node: what its heartbeats tell, and what it was asked for."""

    name: str
    client: Client
    state: int = State.PRIMARY_STATE_UNKNOWN
    heard_s: float = float("-inf")
    asked: Step | None = None
    asked_s: float = float("-inf")
    answered_s: float = float("-inf")
    answer: Future | None = None
    refused: Step | None = None
    in_doubt: bool = False
    """A refusal came: perhaps of a request that was made twice. The next heartbeat tells."""


class LifecycleManager(Node):
    """Parameters: `node_names` in the order of bring-up, the last ones stop the robot first."""

    def __init__(self, **options: object) -> None:
        super().__init__("lifecycle_manager", **options)
        self._autostart = self._flag("autostart", True, "Bring the nodes up at once.")
        self._respawn = self._flag(
            "respawn", False, "Bring all nodes up again when a lost one comes back."
        )
        self._heartbeat_timeout_s = self._seconds(
            "heartbeat_timeout_s", 1.0, 0.3, 60.0, "A node that is silent for longer is lost, s."
        )
        self._startup_timeout_s = self._seconds(
            "startup_timeout_s", 60.0, 1.0, 3600.0, "Longest time for bringing all nodes up, s."
        )
        self._nodes = [self._manage(name) for name in self._node_names()]
        self._health = Health(self)
        self._states = self.create_publisher(String, "system_state", LATCHED)
        self._deadline_s = 0.0
        self._floor = INACTIVE
        self._next = Phase.DOWN
        self._enter(Phase.DOWN)
        self.create_subscription(Heartbeat, "heartbeat", self._on_heartbeat, 50)
        self.create_service(Trigger, "~/startup", self._on_startup)
        self.create_service(Trigger, "~/shutdown", self._on_shutdown)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD_S, self._advance, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        if self._autostart:
            self.start()

    def start(self) -> None:
        """Bring all nodes to active, in order."""
        self._deadline_s = time.monotonic() + self._startup_timeout_s
        for node in self._nodes:
            node.refused = None
        self._enter(Phase.STARTING)

    def stop(self, floor: int, then: Phase) -> None:
        """Deactivate all nodes, the last first; with the floor UNCONFIGURED clean them up too."""
        self._floor, self._next = floor, then
        self._enter(Phase.STOPPING)

    def end(self, spin_once: Callable[[float], None]) -> None:
        """Take all nodes down, as far as they answer in time; see `foresight_node.Runnable`."""
        self.stop(UNCONFIGURED, Phase.DOWN)
        give_up_s = time.monotonic() + QUIT_LIMIT_S
        while self._phase is not Phase.DOWN and time.monotonic() < give_up_s:
            spin_once(PERIOD_S)

    # ---- parameters ----

    def _flag(self, name: str, default: bool, description: str) -> bool:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        return bool(self.declare_parameter(name, default, descriptor).value)

    def _seconds(
        self, name: str, default: float, low: float, high: float, description: str
    ) -> float:
        span = [FloatingPointRange(from_value=low, to_value=high)]
        descriptor = ParameterDescriptor(
            description=description, read_only=True, floating_point_range=span
        )
        return float(self.declare_parameter(name, default, descriptor).value)

    def _node_names(self) -> list[str]:
        descriptor = ParameterDescriptor(
            description="The nodes in the order of bring-up, relative to this one's namespace.",
            read_only=True,
            dynamic_typing=True,  # an empty list has no type
        )
        names = self.declare_parameter("node_names", None, descriptor).value
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not is_list or not names or len(set(names)) != len(names) or not all(names):
            raise ValueError(
                f"parameter 'node_names' has the value {names!r}, but a list of different names "
                f"is expected, such as [perception, world_model, planning, actuation]"
            )
        return list(names)

    def _manage(self, name: str) -> Managed:
        full = name if name.startswith("/") else f"{self.get_namespace().rstrip('/')}/{name}"
        return Managed(full, self.create_client(ChangeState, f"{full}/change_state"))

    # ---- what comes in ----

    def _on_heartbeat(self, beat: Heartbeat) -> None:
        now_s = time.monotonic()
        for node in self._nodes:
            if node.name != beat.node:
                continue
            node.heard_s = now_s
            if node.asked is not None and now_s - node.asked_s > LOST_REQUEST_S:
                self._forget_request(node)
            if node.asked is None and now_s - node.answered_s > SETTLE_S:
                node.state, node.in_doubt = beat.lifecycle_state, False
                if node.refused is not None and node.state == node.refused.leads_to:
                    node.refused = None
            self._advance()

    def _on_startup(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._phase is not Phase.ACTIVE:
            self.start()
        response.success = True
        response.message = f"{self._phase.value}; the topic system_state tells how it goes"
        return response

    def _on_shutdown(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.stop(UNCONFIGURED, Phase.DOWN)
        response.success = True
        response.message = "stopping; the topic system_state tells how it goes"
        return response

    # ---- what is done ----

    def _advance(self) -> None:
        busy = [node for node in self._nodes if node.asked is not None or node.in_doubt]
        if any(map(self._is_fresh, busy)):
            return
        if self._phase in (Phase.STARTING, Phase.ACTIVE):
            self._go_up()
        elif self._phase is Phase.STOPPING:
            self._go_down()
        elif self._phase is Phase.WAITING and all(map(self._is_fresh, self._nodes)):
            self.get_logger().info("all nodes are back; starting again")
            self.start()

    def _go_up(self) -> None:
        for node in self._nodes:
            if node.state != State.PRIMARY_STATE_UNKNOWN and not self._is_fresh(node):
                return self._lose(node, f"has been silent for {self._heartbeat_timeout_s:g} s")
        if self._phase is Phase.ACTIVE:
            for node in self._nodes:
                if node.state != ACTIVE:
                    return self._lose(node, f"has become {NAMES.get(node.state, 'unsettled')}")
            return None
        late = [node for node in self._nodes if node.state != ACTIVE]
        refusing = next((node for node in late if node.refused is not None), None)
        if not late:
            self._enter(Phase.ACTIVE)
            self.get_logger().info("Foresight is active")
        elif refusing is not None and refusing.refused is not None:
            self._fail(f"{refusing.name} refused to {refusing.refused.verb}; its log says why")
        elif time.monotonic() > self._deadline_s:
            last = min(late, key=lambda node: node.state)
            self._fail(
                f"{last.name} is {NAMES.get(last.state, 'unsettled')} after "
                f"{self._startup_timeout_s:g} s instead of active; look into its log"
            )
        elif any(node.state == State.PRIMARY_STATE_UNKNOWN for node in late):
            pass  # until all have been heard
        elif not self._ask_first(self._nodes, UNCONFIGURED, Step.CONFIGURE):
            # Configuring takes time: it is over for all before the first is activated.
            self._ask_first(self._nodes, INACTIVE, Step.ACTIVATE)
        return None

    def _go_down(self) -> None:
        """A node that is silent or refuses is left as it is: the next one matters more."""
        alive = [
            node for node in reversed(self._nodes) if self._is_fresh(node) and not node.refused
        ]
        if self._ask_first(alive, ACTIVE, Step.DEACTIVATE):
            return
        if self._floor == UNCONFIGURED and self._ask_first(alive, INACTIVE, Step.CLEANUP):
            return
        for node in self._nodes:
            if node.refused is not None:
                text = f"{node.name} refused to {node.refused.verb}; its log says why"
                self._health.problem(f"refusal of {node.name}", text, ERROR)
        self._enter(self._next)

    def _ask_first(self, nodes: list[Managed], state: int, step: Step) -> bool:
        """Ask the first node in this state for the step; False when there is none."""
        node = next((node for node in nodes if node.state == state), None)
        if node is None:
            return False
        if node.client.service_is_ready():
            request = ChangeState.Request(transition=Transition(id=step.number))
            node.asked, node.asked_s = step, time.monotonic()
            node.answer = node.client.call_async(request)
            node.answer.add_done_callback(lambda future: self._on_answer(node, step, future))
        return True

    def _on_answer(self, node: Managed, step: Step, answer: Future) -> None:
        if node.answer is not answer:
            return
        node.asked = node.answer = None
        node.heard_s = node.answered_s = time.monotonic()
        response = answer.result()
        if response is not None and response.success:
            node.state = step.leads_to
        else:
            node.refused, node.in_doubt = step, True
        self._advance()

    def _forget_request(self, node: Managed) -> None:
        if node.answer is not None:
            node.client.remove_pending_request(node.answer)
        node.asked = node.answer = None

    def _is_fresh(self, node: Managed) -> bool:
        """Heard of lately, or busy with a transition, during which a node is silent."""
        now_s = time.monotonic()
        if node.asked is not None:
            starting = self._phase is Phase.STARTING
            return now_s - node.asked_s <= (self._startup_timeout_s if starting else STOP_LIMIT_S)
        return now_s - node.heard_s <= self._heartbeat_timeout_s

    def _lose(self, node: Managed, how: str) -> None:
        then = "all start again when it is back" if self._respawn else "call startup to go on"
        text = f"lost {node.name}: it {how}; stopping the others, {then}"
        self._health.problem(f"lost {node.name}", text, ERROR)
        self._forget_request(node)
        if not self._is_fresh(node):
            node.state = State.PRIMARY_STATE_UNKNOWN
        self.stop(INACTIVE, Phase.WAITING if self._respawn else Phase.FAILED)
        self._advance()

    def _fail(self, text: str) -> None:
        self._health.problem("failed", f"bring-up failed: {text}", ERROR)
        self.stop(INACTIVE, Phase.FAILED)

    # ---- what is told ----

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if phase is Phase.STOPPING:
            for node in self._nodes:
                node.refused = None
        self._states.publish(String(data=phase.value))

    def _report(self) -> None:
        self._health.fact("system", self._phase.value)
        for node in self._nodes:
            state = NAMES.get(node.state, "unsettled") if self._is_fresh(node) else "silent"
            self._health.fact(node.name, state)
        self._health.publish()


def main() -> int:
    return run(LifecycleManager)
