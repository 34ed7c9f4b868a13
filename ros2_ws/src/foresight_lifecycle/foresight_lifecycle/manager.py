"""Brings the lifecycle nodes of one robot up in order, watches them and takes them down.

Their heartbeats carry their states; the manager compares them with the wanted ones and requests
one transition at a time. It never waits in a callback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight_interfaces.msg import Heartbeat
from foresight_lifecycle.board import Board
from foresight_lifecycle.managed import ACTIVE, INACTIVE, UNCONFIGURED, UNKNOWN, Managed, Step
from foresight_node import ERROR, OK, WARN, Health, parameter, run
from foresight_node.messages import LATCHED
from foresight_node.parameters import ParameterServer

PERIOD_S = 0.05
STOP_LIMIT_S = 5.0
"""A node that takes longer to stop is skipped."""
QUIT_LIMIT_S = 3.0
"""After a signal: less than launch waits before it escalates."""


class Phase(Enum):
    """State of the stack; the value is published on `system_state`."""

    DOWN = "down"
    STARTING = "starting"
    ACTIVE = "active"
    STOPPING = "stopping"
    WAITING = "waiting"  # for a lost node to come back
    RESET = "waiting for reset"  # by a person: the node that drives the robot was lost
    FAILED = "failed"


AT_REST = (Phase.WAITING, Phase.RESET, Phase.FAILED)
"""No node stays active, whichever comes back in whatever state."""


@dataclass(frozen=True)
class Parameters:
    node_names: tuple[str, ...] = parameter(
        (),
        "The nodes in the order of bring-up, relative to this one's namespace; the last one drives "
        "the robot.",
        required=True,
    )
    autostart: bool = parameter(True, "Bring the nodes up at once.")
    respawn: bool = parameter(False, "Bring all nodes up again when a lost one comes back.")
    respawned: bool = parameter(False, "This process has been started again: wait for a reset.")
    heartbeat_timeout_s: float = parameter(
        1.0,
        "A node whose process lives is lost when it is silent for longer, s.",
        minimum=0.3,
        maximum=60.0,
    )
    startup_timeout_s: float = parameter(
        60.0, "Longest time for bringing all nodes up, s.", minimum=1.0, maximum=3600.0
    )


class LifecycleManager(Node):
    """Brings nodes up, watches them, takes them down.

    The last of the nodes drives the robot. With respawning, all nodes are brought up again after
    the loss of any other one; after the loss of the driving one, or of a manager, a person must
    call the service startup.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(
            "lifecycle_manager", automatically_declare_parameters_from_overrides=True, **options
        )
        values = ParameterServer(self, Parameters).values
        self._heartbeat_timeout_s = values.heartbeat_timeout_s
        self._startup_timeout_s = values.startup_timeout_s
        here = self.get_namespace().rstrip("/")
        names = [n if n.startswith("/") else f"{here}/{n}" for n in values.node_names]
        self._nodes = {name: Managed(self, name, self._advance) for name in names}
        *_, self._driver = self._nodes.values()
        self._health = Health(self)
        self._states = self.create_publisher(String, "system_state", LATCHED)
        self._board = Board(self, list(self._nodes))
        self._reason = ""
        self._after_loss = Phase.WAITING if values.respawn else Phase.FAILED
        self._deadline_s = 0.0
        self._floor = INACTIVE
        self._next = Phase.DOWN
        self._automatic = False
        """Whether the present bring-up started without a person's call."""
        self._enter(Phase.DOWN)
        self.create_subscription(Heartbeat, "heartbeat", self._on_heartbeat, 50)
        self.create_service(Trigger, "~/startup", self._on_startup)
        self.create_service(Trigger, "~/shutdown", self._on_shutdown)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD_S, self._look, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        if values.respawned:
            self._demand_reset("the manager itself was lost and has been started again")
        elif values.autostart:
            self.start(automatic=True)

    def start(self, *, automatic: bool = False) -> None:
        """Bring all nodes to active, in order; `automatic`: not requested by a person."""
        self._deadline_s = time.monotonic() + self._startup_timeout_s
        self._automatic = automatic
        for node in self._nodes.values():
            node.refused = None
            node.fell = False
        self._health.solved("stack")
        self._reason = ""
        self._enter(Phase.STARTING)

    def stop(self, floor: int, then: Phase) -> None:
        """Deactivate all nodes, last one first; with the floor UNCONFIGURED, also clean them up."""
        self._floor, self._next = floor, then
        self._enter(Phase.STOPPING)

    def end(self, spin_once: Callable[[float], None]) -> None:
        """Take all nodes down, as far as they answer in time; see `foresight_node.Runnable`."""
        self.stop(UNCONFIGURED, Phase.DOWN)
        give_up_s = time.monotonic() + QUIT_LIMIT_S
        while self._phase is not Phase.DOWN and time.monotonic() < give_up_s:
            spin_once(PERIOD_S)

    # ---- inputs ----

    def _on_heartbeat(self, beat: Heartbeat, info: Mapping[str, int]) -> None:
        node = self._nodes.get(beat.node)
        if node is None:
            return
        unseen = node.state == UNKNOWN
        node.beat(beat, info["source_timestamp"])
        if unseen and node.state in (INACTIVE, ACTIVE) and self._phase is Phase.STARTING:
            self._find_up(node)
        self._advance()

    def _find_up(self, node: Managed) -> None:
        """The manager that brought it up is gone, for an unknown reason: do not drive on."""
        if self._automatic:
            self._demand_reset(
                f"{node.name} was {node.state_name} before this manager asked for it: "
                f"another manager was lost"
            )

    def _on_startup(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._phase is not Phase.ACTIVE:
            self.start()
        response.success = True
        response.message = f"{self._phase.value}; the topic system_state reports the progress"
        return response

    def _on_shutdown(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.stop(UNCONFIGURED, Phase.DOWN)
        response.success = True
        response.message = "stopping; the topic system_state reports the progress"
        return response

    # ---- transitions ----

    def _look(self) -> None:
        for node in self._nodes.values():
            node.look()
        self._advance()

    def _advance(self) -> None:
        if self._phase is not Phase.DOWN:
            self._look_for_losses()
        if any(node.busy and self._is_fresh(node) for node in self._nodes.values()):
            return
        if self._phase is Phase.STARTING:
            self._go_up()
        elif self._phase is Phase.STOPPING:
            self._go_down()
        elif self._phase in AT_REST and not self._ask_first(
            self._reachable(), ACTIVE, Step.DEACTIVATE
        ):
            self._wait()

    def _look_for_losses(self) -> None:
        for node in self._nodes.values():
            how = node.loss(self._heartbeat_timeout_s)
            if how:
                node.lose()
                self._lose(node, how)

    def _lose(self, node: Managed, how: str) -> None:
        bound_for = self._next if self._phase is Phase.STOPPING else self._phase
        if bound_for not in (Phase.STARTING, Phase.ACTIVE, Phase.WAITING):
            return  # nothing will move until somebody calls startup
        lost, waits = f"lost {node.name}: {how}", self._after_loss is Phase.WAITING
        if node is self._driver and waits:
            self._demand_reset(lost)
        elif bound_for is not Phase.WAITING:
            then = "all start again when it is back" if waits else "call startup to continue"
            self._rest(f"{lost}; stopping the others, {then}", self._after_loss)

    def _demand_reset(self, why: str) -> None:
        self._rest(f"{why}; the robot rests until {self.get_name()}/startup is called", Phase.RESET)

    def _rest(self, why: str, then: Phase) -> None:
        """Stop all, for a reason that is reported until the next bring-up."""
        self._health.solved("stack")  # each reason is logged
        self._health.problem("stack", why, ERROR, lasting=True)
        self._reason = why
        self.stop(INACTIVE, then)

    def _go_up(self) -> None:
        nodes = self._nodes.values()
        late = [node for node in nodes if node.state != ACTIVE]
        refusing = next((node for node in late if node.refused is not None), None)
        if not late:
            self._enter(Phase.ACTIVE)
            self.get_logger().info("Foresight is active")
        elif refusing is not None and refusing.refused is not None:
            self._fail(f"{refusing.name} refused to {refusing.refused.verb}; its log says why")
        elif time.monotonic() > self._deadline_s:
            last = min(late, key=lambda node: node.state)
            self._fail(
                f"{last.name} is {last.state_name} after {self._startup_timeout_s:g} s instead of "
                f"active; see its log"
            )
        elif any(node.state == UNKNOWN for node in late):
            pass  # wait until all have been heard
        elif not self._ask_first(nodes, UNCONFIGURED, Step.CONFIGURE):
            # Configuring takes time: all are configured before the first is activated.
            self._ask_first(nodes, INACTIVE, Step.ACTIVATE)

    def _fail(self, text: str) -> None:
        self._rest(f"bring-up failed: {text}", Phase.FAILED)

    def _go_down(self) -> None:
        """A node that is silent or refuses is skipped: the next one matters more."""
        nodes = self._reachable()
        if self._ask_first(nodes, ACTIVE, Step.DEACTIVATE):
            return
        if self._floor == UNCONFIGURED and self._ask_first(nodes, INACTIVE, Step.CLEANUP):
            return
        for node in self._nodes.values():
            if node.refused is not None:
                text = f"{node.name} refused to {node.refused.verb}; its log says why"
                self._health.problem(f"refusal of {node.name}", text, ERROR)
        self._enter(self._next)

    def _wait(self) -> None:
        nodes = self._nodes.values()
        back = all(self._is_fresh(node) and node.state != UNKNOWN for node in nodes)
        if self._phase is Phase.WAITING and back:
            self.get_logger().info("all nodes are back; starting again")
            self.start(automatic=True)

    def _ask_first(self, nodes: Iterable[Managed], state: int, step: Step) -> bool:
        """Request the step of the first node in this state; False if there is none."""
        node = next((node for node in nodes if node.state == state), None)
        if node is not None:
            node.ask(step)
        return node is not None

    def _reachable(self) -> list[Managed]:
        """The nodes to stop, in this order."""
        nodes = reversed(self._nodes.values())
        return [node for node in nodes if self._is_fresh(node) and node.refused is None]

    def _is_fresh(self, node: Managed) -> bool:
        return node.is_fresh(*self._patience_s)

    @property
    def _patience_s(self) -> tuple[float, float]:
        """Time limits for an idle node and for one in a transition, s."""
        starting = self._phase is Phase.STARTING
        return self._heartbeat_timeout_s, self._startup_timeout_s if starting else STOP_LIMIT_S

    # ---- reports ----

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if phase is Phase.STOPPING:
            for node in self._nodes.values():
                node.refused = None
        self._states.publish(String(data=phase.value))
        self._publish_health()

    def _publish_health(self) -> None:
        level = {Phase.ACTIVE: OK, Phase.RESET: ERROR, Phase.FAILED: ERROR}.get(self._phase, WARN)
        silent = {name: node.silence(*self._patience_s) for name, node in self._nodes.items()}
        self._board.publish(self._phase.value, level, self._reason, silent)

    def _report(self) -> None:
        self._health.fact("system", self._phase.value)
        for node in self._nodes.values():
            self._health.fact(node.name, node.state_name if self._is_fresh(node) else "silent")
        self._health.publish()
        self._publish_health()


def main() -> int:
    return run(LifecycleManager)
