"""The planning node: plans, and every way in which a goal ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from harness import Bench
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import Bool, String

from foresight import bundle
from foresight.bodies.profile import RobotProfile
from foresight.exploration.explorer import Explorer
from foresight_interfaces.action import Explore, NavigateToImage, NavigateToPlace
from foresight_interfaces.msg import ActuationStatus, Belief, Plan, Subgoal
from foresight_interfaces.srv import Guide
from foresight_node.messages import LATCHED, LATEST, to_stamp
from foresight_planning import navigation
from foresight_planning.node import PlanningNode
from passthrough import HORIZON, SPEED

Result = NavigateToImage.Result
HERE, THERE = (0.2, 0.4, 0.6), (0.3, 0.5, 0.7)


def picture(colour: tuple[float, float, float] = THERE, width: int = 320, height: int = 240) -> Any:
    """A view with structure, whose mean is `colour`."""
    stripes = np.where(np.arange(width) // 20 % 2, 1.2, 0.8)[None, :, None]
    pixels = np.broadcast_to(stripes * np.array(colour) * 255, (height, width, 3))
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(pixels.round().astype(np.uint8).tobytes())
    return message


class Client:
    """Sends goals, and the beliefs that a robot would have."""

    KINDS = {
        NavigateToImage: "navigate_to_image",
        NavigateToPlace: "navigate_to_place",
        Explore: "explore",
    }

    def __init__(self, bench: Bench, digest: str) -> None:
        self.bench, self.digest = bench, digest
        self.actions = {kind: ActionClient(bench.peer, kind, n) for kind, n in self.KINDS.items()}
        self.beliefs = bench.publisher(Belief, "belief", LATEST)
        self.odom = bench.publisher(Odometry, "odom")
        self.plans: list[Plan] = bench.collect(Plan, "action_plan", LATEST)
        self.feedback: list[Any] = []
        self.latent, self.surprise = HERE, 0.0
        self.stamps: list[Any] = []  # of the beliefs that were sent
        for action in self.actions.values():
            bench.wait_for(action.server_is_ready)
        bench.wait_for(lambda: bench.peer.count_publishers("action_plan") > 0)

    def close(self) -> None:
        for action in self.actions.values():
            action.destroy()

    def believe(self, age_s: float = 0.0) -> None:
        now = self.bench.peer.get_clock().now() - Duration(seconds=age_s)
        belief = Belief(bundle_digest=self.digest, surprise=self.surprise)
        belief.header.stamp = now.to_msg()
        self.stamps.append(belief.header.stamp)
        belief.latent = [float(value) for value in self.latent]
        belief.proprioception = [0.0, 0.0, 0.0]
        self.beliefs.publish(belief)

    def keep_believing(self) -> Any:
        return self.bench.peer.create_timer(0.1, self.believe)

    def send(self, image: Any, timeout_s: float = 0.0) -> Any:
        """The handle of a goal image, once it is accepted or rejected."""
        return self.ask(NavigateToImage, image=image, timeout_s=timeout_s)

    def ask(self, kind: Any, **goal: Any) -> Any:
        """The handle of any goal, once it is accepted or rejected."""
        future = self.actions[kind].send_goal_async(
            kind.Goal(**goal), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        return self._wait(future)

    def result(self, handle: Any) -> Any:
        """The goal's status and result, once it has ended."""
        return self._wait(handle.get_result_async())

    def _wait(self, future: Any) -> Any:
        self.bench.wait_for(future.done)
        return future.result()


@pytest.fixture
def planning(bench: Bench, passthrough: Path, homebot: Path) -> Any:
    return bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot))


@pytest.fixture
def client(bench: Bench, planning: Any, passthrough: Path) -> Iterator[Client]:
    client = Client(bench, bundle.load(passthrough).digest)
    yield client
    client.close()


def check_ending(client: Client, answer: Any, code: int, status: int, says: str) -> None:
    assert answer.result.code == code, answer.result.message
    assert answer.status == status
    assert says in answer.result.message and "\n" not in answer.result.message
    client.bench.wait_for(lambda: client.plans)
    assert len(client.plans[-1].linear) == 0  # actuation holds at once


def test_plans_follow_the_beliefs_stamps_until_the_goal_is_reached(
    bench: Bench, client: Client
) -> None:
    client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: len(client.plans) >= 3 and client.feedback)
    first = client.plans[0]
    assert first.header.stamp == first.observation_stamp
    assert first.observation_stamp in client.stamps  # to the nanosecond
    assert first.goal_id == handle.goal_id
    np.testing.assert_allclose(first.linear, [SPEED] * HORIZON)
    np.testing.assert_allclose(first.angular, 0.0)
    np.testing.assert_allclose(first.energy, 1.0, atol=0.02)  # ten times the colours' 0.1
    assert first.action_duration_s == 0.5
    stamps = np.array([p.header.stamp.sec + p.header.stamp.nanosec * 1e-9 for p in client.plans])
    assert (np.diff(stamps) >= 0.27).all()  # replan_period_s, less the jitter of stamps
    client.latent = THERE
    answer = client.result(handle)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")
    last = client.feedback[-1]
    assert last.elapsed_s > 0.4 and 1.5 < last.estimated_s_left < 2.0  # expm1(1)


def test_plans_are_made_around_the_scan_of_the_beliefs_time(
    bench: Bench, planning: Any, client: Client
) -> None:
    """Of two scans, the one nearest to the belief; without one near, none."""
    scans = bench.publisher(LaserScan, "scan")
    for stamp_s, metres in ((10.0, 2.0), (10.2, 1.0)):
        scan = LaserScan(angle_increment=math.pi / 2, ranges=[metres, math.inf, math.nan, 0.0])
        scan.header.stamp = to_stamp(stamp_s)
        scans.publish(scan)
    bench.wait_for(lambda: len(planning.senses.scans) == 2)
    np.testing.assert_allclose(planning.senses.obstacles_at(10.02), [[2.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(planning.senses.obstacles_at(10.25), [[1.0, 0.0]], atol=1e-6)
    assert planning.senses.obstacles_at(11.0) is None


def test_the_distance_driven_comes_from_odometry(bench: Bench, client: Client) -> None:
    client.keep_believing()
    handle = client.send(picture())
    for x in (5.0, 5.3, float("nan"), 5.7, 105.7):  # the last one was a reset, not a drive
        odometry = Odometry()
        odometry.pose.pose.position.x = x
        client.odom.publish(odometry)
    bench.wait_for(lambda: client.feedback and client.feedback[-1].distance_travelled_m > 0.69)
    client.latent = THERE
    assert client.result(handle).result.distance_travelled_m == pytest.approx(0.7, abs=1e-4)


def test_cancel(bench: Bench, client: Client) -> None:
    client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: client.plans)
    handle.cancel_goal_async()
    answer = client.result(handle)
    check_ending(client, answer, Result.CANCELLED, GoalStatus.STATUS_CANCELED, "cancelled")


def test_a_second_goal_takes_over(bench: Bench, client: Client) -> None:
    client.keep_believing()
    first = client.send(picture())
    bench.wait_for(lambda: client.plans)
    second = client.send(picture((0.4, 0.5, 0.6)))
    answer = client.result(first)
    assert (answer.result.code, answer.status) == (Result.PREEMPTED, GoalStatus.STATUS_ABORTED)
    bench.wait_for(lambda: client.plans[-1].goal_id == second.goal_id)
    assert all(len(plan.linear) for plan in client.plans)  # no stop in between
    client.latent = (0.4, 0.5, 0.6)
    answer = client.result(second)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")


def test_time_runs_out(client: Client) -> None:
    client.keep_believing()
    answer = client.result(client.send(picture(), timeout_s=0.5))
    check_ending(client, answer, Result.TIMED_OUT, GoalStatus.STATUS_ABORTED, "within 0.5 s")


def test_silent_sensors(bench: Bench, planning: Any, client: Client) -> None:
    planning.set_parameters([Parameter("belief_timeout_s", value=0.4)])
    timer = client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: client.plans)
    timer.cancel()
    answer = client.result(handle)
    check_ending(client, answer, Result.STALE_SENSORS, GoalStatus.STATUS_ABORTED, "at most 0.4 s")


def test_beliefs_that_come_late_are_stale_too(bench: Bench, planning: Any, client: Client) -> None:
    planning.set_parameters([Parameter("belief_timeout_s", value=0.4)])
    bench.peer.create_timer(0.1, lambda: client.believe(age_s=2.0))
    answer = client.result(client.send(picture()))
    check_ending(client, answer, Result.STALE_SENSORS, GoalStatus.STATUS_ABORTED, "no fresh belief")


def test_actuation_that_stays_at_rest_ends_the_goal(
    bench: Bench, planning: Any, client: Client
) -> None:
    planning.set_parameters([Parameter("held_timeout_s", value=0.5)])
    status = bench.publisher(ActuationStatus, "actuation_status", LATCHED)
    client.keep_believing()
    handle = client.send(picture())
    status.publish(
        ActuationStatus(state=ActuationStatus.EMERGENCY, reason="emergency stop: release it")
    )
    answer = client.result(handle)
    check_ending(client, answer, Result.BLOCKED, GoalStatus.STATUS_ABORTED, "emergency stop")


def _grey() -> Image:
    message = Image(height=240, width=320, encoding="rgb8", step=960)
    message.data.frombytes(bytes([127]) * (240 * 960))
    return message


def _cut() -> Image:
    message = picture()
    message.data = message.data[:-5]
    return message


def _in_floats() -> Image:
    message = picture()
    message.encoding = "32FC3"
    return message


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_grey, "blank"),
        (_cut, "230395 bytes"),
        (_in_floats, "'32FC3'"),
        (lambda: picture(width=240), "240x240"),
        (lambda: picture(width=64, height=48), "64x48"),
        (Image, "encoding ''"),
    ],
)
def test_a_bad_goal_image_is_answered(client: Client, make: Callable[[], Image], says: str) -> None:
    client.keep_believing()
    answer = client.result(client.send(make()))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, says)
    client.latent = THERE  # the node goes on
    answer = client.result(client.send(picture()))
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf")])
def test_a_bad_timeout_is_answered(client: Client, timeout_s: float) -> None:
    answer = client.result(client.send(picture(), timeout_s=timeout_s))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, "timeout_s")


def test_a_fault_in_the_planner_is_told(
    planning: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(planning.helm.navigator, "update", fail)
    client.keep_believing()
    answer = client.result(client.send(picture()))
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, "ZeroDivisionError")


def test_beliefs_of_another_bundle_are_refused(bench: Bench, planning: Any, client: Client) -> None:
    planning.set_parameters([Parameter("belief_timeout_s", value=0.5)])
    client.digest = "0" * 64
    client.keep_believing()
    answer = client.result(client.send(picture()))
    assert answer.result.code == Result.STALE_SENSORS
    assert "same bundle" in planning.health.status().message


# ----- interruptions


def interrupt(bench: Bench, planning: Any, client: Client) -> Any:
    """The handle of a goal that waits, for planning was deactivated while it drove there."""
    client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: client.plans and len(client.plans[-1].linear))
    planning.trigger_deactivate()
    bench.wait_for(lambda: rests(client))
    return handle


def test_a_goal_outlives_a_deactivation_and_its_client_is_told(
    bench: Bench, planning: Any, client: Client
) -> None:
    handle = interrupt(bench, planning, client)
    bench.wait_for(lambda: client.feedback and client.feedback[-1].interrupted)
    assert not client.send(picture()).accepted
    client.plans.clear()
    bench.spin(1.5)  # longer than the oldest belief that a goal survives
    assert not client.plans
    planning.trigger_activate()
    bench.wait_for(lambda: client.plans and len(client.plans[-1].linear))
    bench.wait_for(lambda: not client.feedback[-1].interrupted)
    client.latent = THERE
    answer = client.result(handle)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")


def test_senses_that_wake_up_later_than_planning_are_waited_for(
    bench: Bench, planning: Any, client: Client
) -> None:
    timer = client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: client.plans and len(client.plans[-1].linear))
    planning.trigger_deactivate()
    timer.cancel()
    bench.wait_for(lambda: client.feedback and client.feedback[-1].interrupted)
    planning.set_parameters([Parameter("belief_timeout_s", value=0.1)])
    planning.trigger_activate()
    client.feedback.clear()
    bench.wait_for(lambda: len(client.feedback) > 1)  # 0.5 s without any belief, and it lives
    planning.set_parameters([Parameter("belief_timeout_s", value=1.0)])
    client.latent = THERE
    client.keep_believing()
    assert client.result(handle).result.code == Result.REACHED


def test_a_picture_that_is_still_being_encoded_is_kept(
    bench: Bench, planning: Any, client: Client
) -> None:
    client.keep_believing()
    handle = client.send(picture())
    planning.trigger_deactivate()
    bench.wait_for(lambda: client.feedback and client.feedback[-1].interrupted)
    planning.trigger_activate()
    client.latent = THERE
    assert client.result(handle).result.code == Result.REACHED


def test_a_goal_that_came_before_the_first_clock_has_all_its_time(
    bench: Bench, passthrough: Path, homebot: Path
) -> None:
    """As after the death of planning, which is sent its goal anew before it hears /clock."""
    bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot), use_sim_time=True)
    client = Client(bench, bundle.load(passthrough).digest)
    clock = bench.publisher(Clock, "/clock", qos_profile_sensor_data)
    handle = client.send(picture(), timeout_s=20.0)

    def tick() -> None:
        clock.publish(Clock(clock=bench.peer.get_clock().now().to_msg()))
        client.believe()

    bench.peer.create_timer(0.1, tick)
    bench.wait_for(lambda: client.plans and len(client.plans[-1].linear))
    bench.spin(1.0)
    assert 0.0 <= client.feedback[-1].elapsed_s < 20.0
    client.latent = THERE
    assert client.result(handle).result.code == Result.REACHED
    client.close()


def test_an_interruption_is_not_waited_out_for_ever(
    bench: Bench, planning: Any, client: Client
) -> None:
    planning.set_parameters([Parameter("resume_timeout_s", value=0.5)])
    answer = client.result(interrupt(bench, planning, client))
    says = "interrupted, and planning has been inactive for 0.5 s"
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, says)
    client.plans.clear()
    planning.trigger_activate()
    bench.spin(0.5)
    assert not client.plans


@pytest.mark.parametrize("state", ["waiting for reset", "failed", "down"])
def test_a_goal_ends_when_the_stack_will_not_come_back_by_itself(
    bench: Bench, planning: Any, client: Client, state: str
) -> None:
    states = bench.publisher(String, "system_state", LATCHED)
    states.publish(String(data="stopping"))
    handle = interrupt(bench, planning, client)
    states.publish(String(data=state))
    answer = client.result(handle)
    says = f"interrupted, and the stack is {state}"
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, says)


def test_an_interrupted_goal_can_be_cancelled(bench: Bench, planning: Any, client: Client) -> None:
    handle = interrupt(bench, planning, client)
    handle.cancel_goal_async()
    answer = client.result(handle)
    check_ending(client, answer, Result.CANCELLED, GoalStatus.STATUS_CANCELED, "by the client")


def test_a_goal_ends_when_planning_is_taken_down(
    bench: Bench, planning: Any, client: Client
) -> None:
    handle = interrupt(bench, planning, client)
    planning.trigger_cleanup()
    answer = client.result(handle)
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, "taken down")


# ----- memory leads


class Memory:
    """Answers `guide`, and sends the aim that it is set to while it sends any."""

    def __init__(self, bench: Bench, client: Client, planning: Any) -> None:
        self.bench, self.client = bench, client
        self.requests: list[Guide.Request] = []
        self.refusal = ""
        self.latent: tuple[float, ...] | None = None
        self.final, self.expected_s, self.digest = False, -1.0, client.digest
        self.goal_id: Any = None
        self._service = bench.peer.create_service(Guide, "guide", self._on_request)
        self._aims = bench.publisher(Subgoal, "subgoal", LATEST)
        bench.peer.create_timer(0.1, self._aim)
        bench.wait_for(planning.guide.service_is_ready)

    def stop(self) -> None:
        """Send no more aims."""
        self.latent = None

    def lead(
        self, latent: tuple[float, ...], final: bool = False, expected_s: float = -1.0
    ) -> None:
        """From now on; () to look around."""
        self.latent, self.final, self.expected_s = latent, final, expected_s

    def _on_request(self, request: Guide.Request, response: Guide.Response) -> Guide.Response:
        self.requests.append(request)
        if request.start:
            self.goal_id = request.goal_id
        response.success, response.message = not self.refusal, self.refusal
        return response

    def _aim(self) -> None:
        if self.latent is None or self.goal_id is None:
            return
        aim = Subgoal(goal_id=self.goal_id, final=self.final, expected_s=self.expected_s)
        aim.header.stamp, aim.bundle_digest = self.bench.now(), self.digest
        aim.latent = [float(value) for value in self.latent]
        self._aims.publish(aim)


@pytest.fixture
def memory(bench: Bench, client: Client, planning: Any) -> Memory:
    client.keep_believing()
    return Memory(bench, client, planning)


ON_THE_WAY = (0.25, 0.45, 0.65)
"""By the passthrough's figures, log(1 + s) from HERE: 0.5 to it, 1.0 to THERE."""


def drives_towards(client: Client, energy: float) -> bool:
    """Whether the newest plan leads to what is so far away."""
    return bool(client.plans and len(client.plans[-1].energy)) and (
        abs(client.plans[-1].energy[-1] - energy) < 0.02
    )


def turns(client: Client) -> bool:
    """Whether the newest plan only turns."""
    last = client.plans[-1] if client.plans else Plan()
    return len(last.linear) > 0 and not any(last.linear) and min(last.angular) > 0.1


def rests(client: Client) -> bool:
    return bool(client.plans) and not len(client.plans[-1].linear)


def test_a_place_is_driven_to_by_memorys_aims(bench: Bench, client: Client, memory: Memory) -> None:
    memory.lead(ON_THE_WAY, expected_s=7.0)
    handle = client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: drives_towards(client, 0.5))
    bench.wait_for(lambda: client.feedback and client.feedback[-1].estimated_s_left == 7.0)
    client.latent = ON_THE_WAY  # a place on the way is passed by
    bench.wait_for(lambda: drives_towards(client, 0.0))
    bench.spin(0.7)
    memory.lead(THERE, final=True)
    bench.wait_for(lambda: drives_towards(client, 0.5))
    client.latent = THERE
    answer = client.result(handle)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")
    bench.wait_for(lambda: len(memory.requests) == 2)
    begun, ended = memory.requests
    assert begun.start and begun.name == "kitchen" and not len(begun.latent)
    assert not ended.start
    assert begun.goal_id == ended.goal_id == handle.goal_id
    assert begun.bundle_digest == client.digest


def test_memory_is_asked_anew_after_an_interruption(
    bench: Bench, planning: Any, client: Client, memory: Memory
) -> None:
    memory.lead(ON_THE_WAY)
    handle = client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: drives_towards(client, 0.5))
    planning.trigger_deactivate()
    bench.wait_for(lambda: rests(client))
    memory.stop()
    memory.requests.clear()
    planning.trigger_activate()
    bench.wait_for(lambda: [r.name for r in memory.requests if r.start] == ["kitchen"])
    memory.lead(THERE, final=True)
    client.latent = THERE
    assert client.result(handle).result.code == Result.REACHED


def test_a_place_that_memory_refuses(client: Client, memory: Memory) -> None:
    memory.refusal = "no place is called 'cellar'"
    answer = client.result(client.ask(NavigateToPlace, name="cellar"))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, memory.refusal)


def test_a_place_without_a_memory(client: Client) -> None:
    client.keep_believing()
    answer = client.result(client.ask(NavigateToPlace, name="kitchen"))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, "no node serves")


def test_a_place_without_a_name(client: Client, memory: Memory) -> None:
    answer = client.result(client.ask(NavigateToPlace))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, "name is empty")
    assert not memory.requests


def test_without_an_aim_to_drive_to_the_robot_looks_around(
    bench: Bench, client: Client, memory: Memory
) -> None:
    memory.lead(())
    client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: turns(client))
    memory.lead(ON_THE_WAY)
    bench.wait_for(lambda: drives_towards(client, 0.5))


def test_when_memory_falls_silent_the_robot_rests_and_then_gives_up(
    bench: Bench, client: Client, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(navigation, "LOST_AIM_S", 1.5)
    memory.lead(ON_THE_WAY)
    handle = client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: drives_towards(client, 0.5))
    memory.stop()
    bench.wait_for(lambda: rests(client))
    memory.lead(ON_THE_WAY)  # again, in time
    bench.wait_for(lambda: drives_towards(client, 0.5))
    memory.stop()
    answer = client.result(handle)
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, "no aim for")


def test_aims_for_others_and_of_another_bundle_are_not_followed(
    bench: Bench, planning: Any, client: Client, memory: Memory
) -> None:
    client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: memory.requests)
    memory.digest = "0" * 64
    memory.lead(ON_THE_WAY)
    bench.wait_for(lambda: "same bundle" in planning.health.status().message)
    memory.digest, memory.latent = client.digest, (0.1, 0.2)
    bench.wait_for(lambda: "2 numbers" in planning.health.status().message)
    memory.lead(ON_THE_WAY)
    memory.goal_id = type(memory.goal_id)()
    bench.spin(0.5)
    assert rests(client)


def test_a_cancelled_place_ends_the_guidance(bench: Bench, client: Client, memory: Memory) -> None:
    memory.lead(ON_THE_WAY)
    handle = client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: drives_towards(client, 0.5))
    handle.cancel_goal_async()
    answer = client.result(handle)
    check_ending(client, answer, Result.CANCELLED, GoalStatus.STATUS_CANCELED, "cancelled")
    bench.wait_for(lambda: [request.start for request in memory.requests] == [True, False])


def test_a_second_place_takes_over_memory_too(bench: Bench, client: Client, memory: Memory) -> None:
    memory.lead(ON_THE_WAY)
    first = client.ask(NavigateToPlace, name="kitchen")
    bench.wait_for(lambda: drives_towards(client, 0.5))
    second = client.ask(NavigateToPlace, name="hall")
    assert client.result(first).result.code == Result.PREEMPTED
    bench.wait_for(lambda: len(memory.requests) == 3)
    asked = [(request.goal_id, request.start) for request in memory.requests]
    assert asked == [(first.goal_id, True), (first.goal_id, False), (second.goal_id, True)]
    bench.wait_for(
        lambda: drives_towards(client, 0.5) and client.plans[-1].goal_id == second.goal_id
    )


def test_a_picture_is_driven_to_as_memory_leads(
    bench: Bench, planning: Any, client: Client, memory: Memory
) -> None:
    planning.set_parameters([Parameter("use_memory", value=True)])
    handle = client.send(picture())
    bench.wait_for(lambda: drives_towards(client, 1.0))  # at once, whatever memory says later
    (request,) = memory.requests
    assert request.start and not request.name and request.bundle_digest == client.digest
    np.testing.assert_allclose(request.latent, THERE, atol=0.01)
    memory.lead(ON_THE_WAY)
    bench.wait_for(lambda: drives_towards(client, 0.5))
    memory.stop()
    bench.wait_for(lambda: drives_towards(client, 1.0))  # and on alone
    assert all(len(plan.linear) for plan in client.plans)  # no stop in between
    client.latent = THERE
    answer = client.result(handle)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")
    bench.wait_for(lambda: [request.start for request in memory.requests] == [True, False])


def test_a_picture_needs_no_memory_that_refuses(
    bench: Bench, planning: Any, client: Client, memory: Memory
) -> None:
    planning.set_parameters([Parameter("use_memory", value=True)])
    memory.refusal = "nothing was observed yet"
    handle = client.send(picture())
    bench.wait_for(lambda: memory.requests and drives_towards(client, 1.0))
    client.latent = THERE
    answer = client.result(handle)
    check_ending(client, answer, Result.REACHED, GoalStatus.STATUS_SUCCEEDED, "reached")


def test_memory_is_left_out_unless_asked_for(bench: Bench, client: Client, memory: Memory) -> None:
    handle = client.send(picture())
    bench.wait_for(lambda: drives_towards(client, 1.0))
    client.latent = THERE
    assert client.result(handle).result.code == Result.REACHED
    assert not memory.requests


def test_towards_a_picture_the_robot_looks_around_once_only(
    bench: Bench, planning: Any, client: Client, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning.set_parameters([Parameter("use_memory", value=True)])
    monkeypatch.setattr(navigation, "LOOK_AROUND_S", 0.8)
    memory.lead(())
    client.send(picture())
    bench.wait_for(lambda: turns(client))
    bench.wait_for(lambda: drives_towards(client, 1.0))


# ----- exploring


class Room:
    """A robot that starts in the middle of a square room and drives as planned."""

    HALF_M, BEAMS, PERIOD_S = 2.0, 60, 0.05

    def __init__(self, bench: Bench, client: Client) -> None:
        self.bench, self.client = bench, client
        self.x = self.y = self.yaw = 0.0
        self.senses = {"odom", "scan"}
        self.beams = self.BEAMS
        self._scans = bench.publisher(LaserScan, "scan")
        self.bumper = bench.publisher(Bool, "bumper")
        self._ticks = 0
        bench.peer.create_timer(self.PERIOD_S, self._tick)

    def _tick(self) -> None:
        plans = self.client.plans
        speed, rate = 0.0, 0.0
        if plans and len(plans[-1].linear):
            speed, rate = plans[-1].linear[0], plans[-1].angular[0]
        self.yaw += rate * self.PERIOD_S
        self.x += speed * self.PERIOD_S * math.cos(self.yaw)
        self.y += speed * self.PERIOD_S * math.sin(self.yaw)
        if "odom" in self.senses:
            self._tell_odometry(speed, rate)
        self._ticks += 1
        if "scan" in self.senses and self._ticks % 2 == 0:
            self._tell_scan()

    def _tell_odometry(self, speed: float, rate: float) -> None:
        odometry = Odometry()
        odometry.header.stamp = self.bench.now()
        at, q = odometry.pose.pose.position, odometry.pose.pose.orientation
        at.x, at.y = self.x, self.y
        q.z, q.w = math.sin(self.yaw / 2), math.cos(self.yaw / 2)
        odometry.twist.twist.linear.x, odometry.twist.twist.angular.z = speed, rate
        self.client.odom.publish(odometry)

    def _tell_scan(self) -> None:
        step = math.tau / self.beams
        scan = LaserScan(angle_increment=step, range_max=6.0)
        scan.header.stamp = self.bench.now()
        angles = self.yaw + step * np.arange(self.beams)
        c, s = np.cos(angles), np.sin(angles)
        to_x = (np.copysign(self.HALF_M, c) - self.x) / np.where(c == 0, 1e-9, c)
        to_y = (np.copysign(self.HALF_M, s) - self.y) / np.where(s == 0, 1e-9, s)
        scan.ranges = np.minimum(to_x, to_y).astype(np.float32).tolist()
        self._scans.publish(scan)


@pytest.fixture
def room(bench: Bench, client: Client) -> Room:
    return Room(bench, client)


def test_exploring_drives_within_the_limits_and_ends_before_its_time(
    bench: Bench, client: Client, room: Room, homebot: Path
) -> None:
    client.surprise = 0.5
    client.keep_believing()
    handle = client.ask(Explore, time_limit_s=13.0)  # eight are kept for the way back
    answer = client.result(handle)
    check_ending(client, answer, Explore.Result.COMPLETED, GoalStatus.STATUS_SUCCEEDED, "nearly up")
    limits = RobotProfile.load(homebot).limits
    plans = [plan for plan in client.plans if len(plan.linear)]
    assert len(plans) > 15 and any(plan.angular[0] for plan in plans)
    for plan in plans:
        assert plan.goal_id == handle.goal_id and len(plan.linear) == len(plan.angular) == 8
        assert limits.linear_min_mps <= min(plan.linear)
        assert max(plan.linear) <= limits.linear_max_mps
        assert np.abs(plan.angular).max() <= limits.angular_max_radps
    stamps = np.array([p.header.stamp.sec + p.header.stamp.nanosec * 1e-9 for p in plans])
    assert (np.diff(stamps) > 0.07).all()  # ten times a second, less the jitter of stamps
    assert client.feedback[-1].surprise == pytest.approx(0.5)
    assert 1.0 < answer.result.elapsed_s < 13.0


def test_exploring_needs_no_belief_and_completes_when_its_time_is_up(
    bench: Bench, client: Client, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Explorer, "_turn_back_in_time", lambda _self: None)
    answer = client.result(client.ask(Explore, time_limit_s=1.5))
    check_ending(
        client, answer, Explore.Result.COMPLETED, GoalStatus.STATUS_SUCCEEDED, "the time was up"
    )
    assert client.feedback[-1].surprise == 0.0
    assert any(len(plan.linear) for plan in client.plans)


def test_the_explorer_is_told_of_surprise_and_of_a_short_bump(
    bench: Bench, client: Client, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[bool, float]] = []
    update = Explorer.update

    def spy(self: Explorer, *arguments: Any) -> Any:
        told.append((arguments[4], arguments[5]))
        return update(self, *arguments)

    monkeypatch.setattr(Explorer, "update", spy)
    client.surprise = 2.0
    client.keep_believing()
    client.ask(Explore, time_limit_s=30.0)
    bench.wait_for(lambda: told and told[-1] == (False, 2.0))
    for pressed in (True, False):  # between two updates
        room.bumper.publish(Bool(data=pressed))
    bench.wait_for(lambda: any(bumped for bumped, _ in told))
    bench.wait_for(lambda: client.plans[-1].linear and client.plans[-1].linear[0] < 0.0)
    bench.wait_for(lambda: not told[-1][0])


def test_a_cancelled_exploration(bench: Bench, client: Client, room: Room) -> None:
    handle = client.ask(Explore, time_limit_s=60.0)
    bench.wait_for(lambda: client.plans)
    handle.cancel_goal_async()
    answer = client.result(handle)
    check_ending(client, answer, Result.CANCELLED, GoalStatus.STATUS_CANCELED, "cancelled")


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ({}, "time_limit_s is 0"),
        ({"time_limit_s": -1.0}, "time_limit_s is -1"),
        ({"time_limit_s": math.inf}, "time_limit_s is inf"),
        ({"time_limit_s": 5.0, "radius_m": -1.0}, "radius_m is -1"),
        ({"time_limit_s": 5.0, "radius_m": math.nan}, "radius_m is nan"),
    ],
)
def test_bad_bounds_of_an_exploration(client: Client, goal: dict[str, float], says: str) -> None:
    answer = client.result(client.ask(Explore, **goal))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, says)


@pytest.mark.parametrize(("silent", "says"), [("odom", "odometry"), ("scan", "scan")])
def test_exploring_ends_without_fresh_sensors(
    bench: Bench, planning: Any, client: Client, room: Room, silent: str, says: str
) -> None:
    planning.set_parameters([Parameter("sensor_timeout_s", value=0.5)])
    handle = client.ask(Explore, time_limit_s=60.0)
    bench.wait_for(lambda: client.plans)
    room.senses.remove(silent)
    answer = client.result(handle)
    check_ending(
        client, answer, Result.STALE_SENSORS, GoalStatus.STATUS_ABORTED, f"no fresh {says} for"
    )


def test_a_scan_that_changes_its_layout_counts_as_silence(
    bench: Bench, planning: Any, client: Client, room: Room
) -> None:
    handle = client.ask(Explore, time_limit_s=60.0)
    bench.wait_for(lambda: client.plans)
    room.beams = 30
    answer = client.result(handle)
    check_ending(client, answer, Result.STALE_SENSORS, GoalStatus.STATUS_ABORTED, "no fresh scan")
    assert "30 beams" in planning.health.status().message


def test_exploring_that_is_held_is_blocked(
    bench: Bench, planning: Any, client: Client, room: Room
) -> None:
    planning.set_parameters([Parameter("held_timeout_s", value=0.5)])
    status = bench.publisher(ActuationStatus, "actuation_status", LATCHED)
    handle = client.ask(Explore, time_limit_s=60.0)
    bench.wait_for(lambda: client.plans)
    status.publish(ActuationStatus(state=ActuationStatus.STOPPED, reason="the path is closed"))
    answer = client.result(handle)
    check_ending(client, answer, Result.BLOCKED, GoalStatus.STATUS_ABORTED, "path is closed")


def test_exploring_and_navigating_take_over_from_each_other(
    bench: Bench, client: Client, room: Room
) -> None:
    client.keep_believing()
    first = client.send(picture())
    bench.wait_for(lambda: client.plans)
    second = client.ask(Explore, time_limit_s=60.0)
    assert client.result(first).result.code == Result.PREEMPTED
    bench.wait_for(lambda: client.plans[-1].goal_id == second.goal_id)
    third = client.send(picture())
    assert client.result(second).result.code == Result.PREEMPTED
    bench.wait_for(lambda: client.plans[-1].goal_id == third.goal_id)
    assert all(len(plan.linear) for plan in client.plans)  # no stop in between
    client.latent = THERE
    assert client.result(third).result.code == Result.REACHED


def test_exploring_needs_a_scanner(bench: Bench, passthrough: Path, homebot: Path) -> None:
    bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot), use_scan=False)
    client = Client(bench, bundle.load(passthrough).digest)
    answer = client.result(client.ask(Explore, time_limit_s=5.0))
    check_ending(client, answer, Result.BAD_GOAL, GoalStatus.STATUS_ABORTED, "use_scan is false")
    client.close()
