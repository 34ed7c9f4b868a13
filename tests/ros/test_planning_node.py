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
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, LaserScan

from foresight import bundle
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import Belief, Plan, Status
from foresight_node.messages import LATCHED, LATEST, to_stamp
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

    def __init__(self, bench: Bench, digest: str) -> None:
        self.bench, self.digest = bench, digest
        self.actions = ActionClient(bench.peer, NavigateToImage, "navigate_to_image")
        self.beliefs = bench.publisher(Belief, "belief", LATEST)
        self.odom = bench.publisher(Odometry, "odom")
        self.plans: list[Plan] = bench.collect(Plan, "plan", LATEST)
        self.feedback: list[NavigateToImage.Feedback] = []
        self.latent = HERE
        bench.wait_for(self.actions.server_is_ready)
        bench.wait_for(lambda: bench.peer.count_publishers("plan") > 0)

    def believe(self, age_s: float = 0.0) -> None:
        stamp = self.bench.peer.get_clock().now().nanoseconds * 1e-9 - age_s
        belief = Belief(bundle_digest=self.digest)
        belief.header.stamp = to_stamp(stamp)
        belief.latent = [float(value) for value in self.latent]
        belief.proprioception = [0.0, 0.0, 0.0]
        self.beliefs.publish(belief)

    def keep_believing(self) -> Any:
        return self.bench.peer.create_timer(0.1, self.believe)

    def send(self, image: Any, timeout_s: float = 0.0) -> Any:
        """The goal's handle, once it is accepted or rejected."""
        goal = NavigateToImage.Goal(image=image, timeout_s=timeout_s)
        future = self.actions.send_goal_async(
            goal, feedback_callback=lambda m: self.feedback.append(m.feedback)
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
    client.actions.destroy()


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
    status = bench.publisher(Status, "status", LATCHED)
    client.keep_believing()
    handle = client.send(picture())
    status.publish(Status(state=Status.EMERGENCY, reason="emergency stop: release it"))
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


def test_deactivation_ends_the_goal_and_goals_are_then_rejected(
    bench: Bench, planning: Any, client: Client
) -> None:
    client.keep_believing()
    handle = client.send(picture())
    bench.wait_for(lambda: client.plans)
    planning.trigger_deactivate()
    answer = client.result(handle)
    check_ending(client, answer, Result.INTERNAL, GoalStatus.STATUS_ABORTED, "deactivated")
    assert not client.send(picture()).accepted
