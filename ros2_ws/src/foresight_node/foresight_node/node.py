"""The base of every Foresight node."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action.server import RCLError
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.timer import Timer
from rclpy.topic_endpoint_info import TopicEndpointInfo

from foresight_interfaces.msg import Heartbeat
from foresight_node import process, spin
from foresight_node.health import ERROR, Health
from foresight_node.parameters import ParameterServer
from foresight_node.worker import Worker

P = TypeVar("P")

HEARTBEAT_PERIOD_S = 0.1
DIAGNOSTICS_PERIOD_S = 1.0
FLUSHES = 20
LAST_WORDS_S = 0.5
"""How long a node waits at most for all to have what it said last, before its publishers go."""
GOING_DOWN = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)


class ForesightNode(LifecycleNode, Generic[P]):
    """A lifecycle node with checked parameters, a heartbeat and diagnostics.

    A subclass overrides `configure`, `activate`, `deactivate` and `cleanup`, and says what is wrong
    by raising: the message is logged, and the transition fails. What it makes in `configure` with
    `listen`, `advertise`, `every` and `start_worker` works only while the node is active and is
    released by the base.
    """

    def __init__(self, name: str, parameters: type[P], **options: Any) -> None:
        """
        Args:
            name: the node's default name.
            parameters: a dataclass made of `foresight_node.parameter` fields.
            options: passed on to rclpy's node (context, namespace, parameter_overrides ...).
        """
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self._parameters_server = ParameterServer(self, parameters)
        self.active = False
        self.health = Health(self)
        self._heartbeats = self.create_publisher(Heartbeat, "heartbeat", 10)
        self._releases: list[Callable[[], object]] = []
        self._advertised: list[Publisher] = []
        # Who is at the other end of what `listen` and `advertise` made, by topic and type.
        self._ends: dict[tuple[str, type], Callable[[], list[TopicEndpointInfo]]] = {}
        self._process = process.own_name()
        self._configured = self.leaving = False
        # A ROS clock stands still with /clock; a sign of life must not.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(HEARTBEAT_PERIOD_S, self._beat, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=steady)
        self._survive_impossible_transitions()

    # --- for subclasses to override

    def configure(self) -> None:
        """Load what is needed and make publishers and subscriptions; raise when that fails."""

    def activate(self) -> None:
        """Begin; raise when that fails."""

    def deactivate(self) -> None:
        """Bring what runs to a good end. Called on shutdown too."""

    def cleanup(self) -> None:
        """Release what `configure` loaded. Called on shutdown, and after a failed `configure`."""

    # --- for subclasses to use

    @property
    def values(self) -> P:
        """The parameters' present values; raises ParameterError when a start value was wrong."""
        return self._parameters_server.values

    def now_s(self) -> float:
        """ROS time in seconds."""
        return self.get_clock().now().nanoseconds * 1e-9

    def advertise(self, kind: type, topic: str, qos: QoSProfile | int) -> Publisher:
        """A publisher that is silent while the node is not active."""
        mine = qos if isinstance(qos, QoSProfile) else QoSProfile(depth=qos)

        def mismatch(_event: object) -> None:
            for other in self.get_subscriptions_info_by_topic(publisher.topic_name):
                self._tell_mismatch(publisher.topic_name, other, mine, other.qos_profile)

        events = PublisherEventCallbacks(incompatible_qos=mismatch)
        publisher = self.create_lifecycle_publisher(kind, topic, mine, event_callbacks=events)
        name = publisher.topic_name
        self._ends[name, kind] = lambda: self.get_subscriptions_info_by_topic(name)
        self._advertised.append(publisher)
        self._releases.append(lambda: self._ends.pop((name, kind), None))
        self._releases.append(lambda: self._advertised.remove(publisher))
        self._releases.append(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def listen(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile | int,
        lost: str = "",
        *,
        always: bool = False,
    ) -> None:
        """A subscription whose callback is called only while the node is active, or `always`: then
        it is one for the whole life of the node.

        On a topic that has one publisher, `lost` names the count of messages that were sent while
        the node was active and never came.
        """
        sequence = Sequence()
        if lost:
            self.health.count(lost, 0)

        def when_active(message: Any, info: Mapping[str, Any]) -> None:
            missing = sequence.missing_before(info["publication_sequence_number"])
            if self.active or always:
                if lost and missing:
                    self.health.count(lost, missing)
                callback(message)

        mine = qos if isinstance(qos, QoSProfile) else QoSProfile(depth=qos)

        def mismatch(_event: object) -> None:
            for other in self.get_publishers_info_by_topic(subscription.topic_name):
                self._tell_mismatch(subscription.topic_name, other, other.qos_profile, mine)

        events = SubscriptionEventCallbacks(incompatible_qos=mismatch)
        subscription = self.create_subscription(
            kind, topic, when_active, mine, event_callbacks=events
        )
        name = subscription.topic_name
        self._ends[name, kind] = lambda: self.get_publishers_info_by_topic(name)
        if not always:
            self._releases.append(lambda: self._ends.pop((name, kind), None))
            self._releases.append(lambda: self.destroy_subscription(subscription))

    def every(
        self,
        period_s: float,
        callback: Callable[[], None],
        *,
        steady: bool = True,
        always: bool = False,
    ) -> Timer:
        """A timer that calls only while the node is active, or `always` while it is configured; on
        a steady clock or on ROS time."""

        def when_active() -> None:
            if self.active or always:
                callback()

        clock = Clock(clock_type=ClockType.STEADY_TIME) if steady else self.get_clock()
        timer = self.create_timer(period_s, when_active, clock=clock)
        self._releases.append(lambda: self.destroy_timer(timer))
        return timer

    def start_worker(self) -> Worker:
        """A background thread for inference."""
        worker = Worker(self, f"{self.get_name()} worker")
        self._releases.append(worker.stop)
        return worker

    def release_later(self, release: Callable[[], object]) -> None:
        """Call `release` when the node is cleaned up, the last one first."""
        self._releases.append(release)

    # --- lifecycle; rclpy would swallow what is raised here without a word

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.health.reset()
        self._configured = True
        try:
            self.configure()
        except Exception as error:
            self._say("configure", error)
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        # Publishers first: `activate` may want to publish.
        result = super().on_activate(state)
        try:
            self.activate()
        except Exception as error:
            self._say("activate", error)
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.deactivate()
        except Exception as error:
            self._say("deactivate", error)
            return TransitionCallbackReturn.ERROR
        finally:
            self.active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self.active:
            self.on_deactivate(state)
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed deactivation: back to unconfigured, from where the node can start anew."""
        self.active = False
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def leave_active(self) -> None:
        """Begin to end: deactivate the node if it is active."""
        self.leaving = True
        if self.lifecycle_state == State.PRIMARY_STATE_ACTIVE:
            self.trigger_deactivate()

    def end(self, spin_once: Callable[[float], None]) -> None:
        """See `Runnable`."""
        self.leave_active()
        for _ in range(FLUSHES):  # what deactivation had to answer, such as a goal's result
            spin_once(0.005)
        self.take_down()

    def take_down(self) -> None:
        """Walk to the state `finalized`, from wherever the node is."""
        self.leave_active()
        if self.lifecycle_state == State.PRIMARY_STATE_INACTIVE:
            self.trigger_cleanup()
        if self.lifecycle_state == State.PRIMARY_STATE_UNCONFIGURED:
            self.trigger_shutdown()

    @property
    def lifecycle_state(self) -> int:
        """One of lifecycle_msgs/State's PRIMARY_STATE constants."""
        return int(self._state_machine.current_state[0])

    def _wait_until_heard(self) -> None:
        """A publisher takes with it what is still under way, such as the last command: to stand."""
        give_up_s = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < give_up_s:
            # Without a timeout, for rclpy holds up all threads meanwhile.
            if all(publisher.wait_for_all_acked(Duration()) for publisher in self._advertised):
                return
            time.sleep(0.005)

    def _release(self) -> None:
        if not self._configured:
            return
        self._configured = False
        try:
            self.cleanup()
        except Exception as error:
            self._say("clean up", error)
        self._wait_until_heard()
        while self._releases:
            self._releases.pop()()

    def _say(self, verb: str, error: Exception) -> None:
        text = f"cannot {verb}: {error}"
        # A ValueError or OSError is an answer to bad input: its sentence is all there is to know.
        if not isinstance(error, ValueError | OSError):
            text += "\n" + "".join(traceback.format_exception(error))
        self.get_logger().error(text)

    def _tell_mismatch(
        self, topic: str, other: TopicEndpointInfo, offered: QoSProfile, asked: QoSProfile
    ) -> None:
        verdict, reasons = qos_check_compatible(_core(offered), _core(asked))
        if verdict != QoSCompatibility.ERROR:
            return
        reason = reasons.split(";")[0].removeprefix("ERROR: ")
        self.health.problem(
            f"qos of {topic}",
            f"{topic}: nothing will pass between {self.get_fully_qualified_name()} and "
            f"{_full_name(other)} ({reason[0].lower()}{reason[1:]}); change the quality of service "
            "of one of them",
            ERROR,
        )

    def _report(self) -> None:
        self._tell_other_types()
        self.health.publish()

    def _tell_other_types(self) -> None:
        """Endpoints of different types never meet, and no event says so."""
        for (topic, kind), others in self._ends.items():
            ours = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            for other in others():
                if other.topic_type != ours:
                    self.health.problem(
                        f"type of {topic} at {_full_name(other)}",
                        f"{topic}: nothing will pass between {self.get_fully_qualified_name()}, "
                        f"which takes it as {ours}, and {_full_name(other)}, which takes it as "
                        f"{other.topic_type}; change the type of one of them",
                        ERROR,
                    )

    def _survive_impossible_transitions(self) -> None:
        """Answer them: in rclpy, a request that does not fit the state raises out of spin."""
        service = next(s for s in self.services if s.srv_type is ChangeState)
        change = service.callback

        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            if self.leaving and request.transition.id in GOING_DOWN:
                response.success = True  # a manager that ends too asks for what happens anyway
                return response
            try:
                return change(request, response)
            except RCLError as error:
                wish = request.transition.label or request.transition.id
                self.get_logger().warning(f"transition {wish} is not possible now: {error}")
                response.success = False
                return response

        service.callback = answer

    def _beat(self) -> None:
        if self.leaving:  # a manager that is told to end too must not take this for a fault
            return
        beat = Heartbeat(
            node=self.get_fully_qualified_name(),
            lifecycle_state=self.lifecycle_state,
            process=self._process,
        )
        beat.header.stamp = self.get_clock().now().to_msg()
        self._heartbeats.publish(beat)


class Sequence:
    """Numbers of the messages of one publisher."""

    UNKNOWN = 2**63
    """A middleware that does not count gives a number beyond this."""

    def __init__(self) -> None:
        self._last: int | None = None

    def missing_before(self, number: int) -> int:
        """How many were sent between the last one and this one; a new publisher begins anew."""
        if number >= self.UNKNOWN:
            return 0
        last, self._last = self._last, number
        return 0 if last is None or number <= last else number - last - 1


def _full_name(other: TopicEndpointInfo) -> str:
    return f"{other.node_namespace.rstrip('/')}/{other.node_name}"


def _core(qos: QoSProfile) -> QoSProfile:
    """What is set here: discovery reports the other policies in ways that seem to differ."""
    return QoSProfile(depth=1, reliability=qos.reliability, durability=qos.durability)


class Runnable(Protocol):
    """A node that `run` can run, made of rclpy's `Node`."""

    def end(self, spin_once: Callable[[float], None]) -> None:
        """Come to a good end; `spin_once(timeout_s)` answers what others ask meanwhile."""

    def destroy_node(self) -> None: ...
    def get_logger(self) -> RcutilsLogger: ...
    def get_name(self) -> str: ...


def run(*makers: Callable[[], Runnable], args: list[str] | None = None) -> int:
    """Run nodes in this process until it shall end (see `process.on_stop`), then end them, the last
    one first.

    Each node has an executor and a thread of its own, as if it had a process of its own: one that
    blocks, to load a bundle or to brake, holds up no other. An error that one of them did not
    expect ends them all.

    Returns:
        The process's exit code: 0 when it was told to end, 1 after an error.
    """
    spin.init(args)
    codes: SimpleQueue[int] = SimpleQueue()  # unlike an Event, safe where a handler interrupts it
    process.on_stop(lambda: codes.put(0))
    try:
        nodes = [make() for make in makers]
    except (ValueError, ParameterException, RCLError) as error:  # bad input: no traceback
        rclpy.logging.get_logger("foresight").fatal(spin.sentence(error))
        rclpy.try_shutdown()
        return 1
    threads = [_Thread(node, codes) for node in nodes]
    for thread in threads:
        thread.start()
    code = codes.get()  # of a signal, or of a node that ended by itself
    for thread in reversed(threads):
        thread.end()
        code = max(code, thread.code)
    rclpy.try_shutdown()
    return code


class _Thread(threading.Thread):
    """Spins one node, and ends it when told to or after an error; `code` is as in `run`."""

    def __init__(self, node: Runnable, codes: SimpleQueue[int]) -> None:
        super().__init__(name=node.get_name())
        self.code = 1  # until the node has come to a good end
        self._node, self._codes = node, codes
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._told = False

    def end(self) -> None:
        """Have the node end; returns when it has."""
        self._told = True
        self.join()

    def run(self) -> None:
        try:
            code = self._spin()
            self._node.end(self._executor.spin_once)
            self._executor.shutdown()
            self._node.destroy_node()
            self.code = code
        except Exception:
            print(traceback.format_exc(), file=sys.stderr)
        finally:
            self._codes.put(self.code)

    def _spin(self) -> int:
        try:
            while not self._told:  # each node has a timer that ends the wait soon
                self._executor.spin_once()
        except ExternalShutdownException:
            pass
        except Exception:
            text = f"unexpected error, shutting down:\n{traceback.format_exc()}"
            self._node.get_logger().fatal(text)
            return 1
        return 0
