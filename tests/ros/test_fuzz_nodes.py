"""Whatever is sent to a node, it neither raises nor grows, and goes on working.

FORESIGHT_FUZZ is how many series of messages each node gets.
"""

from __future__ import annotations

import inspect
import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged, damages, stamp
from geometry_msgs.msg import Twist
from harness import Bench
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan
from std_msgs.msg import String
from std_srvs.srv import Trigger
from unique_identifier_msgs.msg import UUID

from foresight import bundle
from foresight_actuation.node import ActuationNode
from foresight_interfaces.action import Explore, NavigateToImage, NavigateToPlace
from foresight_interfaces.msg import (
    Belief,
    ExecutedAction,
    Heartbeat,
    Imagination,
    MissionStatus,
    Observation,
    Place,
    Plan,
    Subgoal,
)
from foresight_interfaces.srv import Forget, Guide, Imagine, Recall, Remember, Route
from foresight_lifecycle.manager import LifecycleManager
from foresight_memory.node import MemoryNode
from foresight_mission.node import MissionNode
from foresight_node.messages import LATCHED, LATEST, floats
from foresight_perception.node import PerceptionNode
from foresight_planning.exploration import Exploration
from foresight_planning.navigation import ToImage, ToPlace
from foresight_planning.node import PlanningNode
from foresight_world_model.node import WorldModelNode
from fuzzing import bombard

pytestmark = pytest.mark.timeout(0 if "FORESIGHT_FUZZ" in os.environ else 60)

SERIES = int(os.environ.get("FORESIGHT_FUZZ", 40))
MOST_MESSAGES = 6
GOAL = UUID(uuid=np.arange(16, dtype=np.uint8))


@dataclass
class Target:
    """A node, what it gets (damaged), and what it must still do afterwards.

    `good` makes well-formed messages (of any type that the node listens to or serves) of now;
    `answers` grows when it works, once `good` ones come.
    """

    node: Any
    good: Callable[[], list[Any]]
    answers: list[Any]
    extra: Callable[[Any], None] | None = None
    extras: tuple[Any, ...] = ()


def _picture(now: Any) -> Image:
    """Another one each time, as from a camera."""
    pixels = np.random.default_rng(now.nanosec).integers(0, 255, (48, 64, 3), np.uint8)
    message = Image(height=48, width=64, encoding="rgb8", step=192)
    message.data.frombytes(pixels.tobytes())
    message.header.stamp = now
    return message


def _calibration(now: Any) -> CameraInfo:
    info = CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.stamp, info.k = now, [32.0, 0.0, 32.0, 0.0, 32.0, 24.0, 0.0, 0.0, 1.0]
    return info


def _odometry(now: Any) -> Odometry:
    message = Odometry(child_frame_id="base_link")
    message.header.stamp, message.header.frame_id = now, "odom"
    message.pose.pose.orientation.w = 1.0
    return message


def _scan(now: Any) -> LaserScan:
    scan = LaserScan(angle_increment=2 * np.pi / 360, range_min=0.05, range_max=10.0)
    scan.header.stamp, scan.ranges = now, floats([3.0] * 360)
    return scan


def _plan(now: Any) -> Plan:
    plan = Plan(action_duration_s=0.5, observation_stamp=now, goal_id=GOAL)
    plan.linear, plan.angular = floats([0.1] * 4), floats([0.0] * 4)
    plan.energy = floats([1.0] * 4)
    plan.header.stamp, plan.header.frame_id = now, "base_link"
    return plan


class Good:
    """Well-formed messages of the moment."""

    def __init__(self, folder: Path) -> None:
        self.digest = bundle.load(folder).digest

    def body(self, kind: type) -> Any:
        now = stamp(time.time())
        message = kind(bundle_digest=self.digest)
        message.header.stamp = now
        message.latent, message.proprioception = floats([0.2, 0.4, 0.6]), floats([0.0] * 3)
        return message

    def aim(self) -> Subgoal:
        aim = Subgoal(bundle_digest=self.digest, goal_id=GOAL)
        aim.header.stamp, aim.latent = stamp(time.time()), floats([0.2, 0.4, 0.6])
        return aim


def perception(bench: Bench, passthrough: Path, homebot: Path, _folder: Path) -> Target:
    node = bench.bring_up(PerceptionNode, bundle=str(passthrough), robot=str(homebot))
    answers = bench.collect(Observation, "observation", LATEST)
    bench.wait_for(lambda: bench.peer.count_publishers("observation"))

    def good() -> list[Any]:
        now = stamp(time.time())
        return [_calibration(now), _odometry(now), _picture(now)]

    return Target(node, good, answers)


def perception_compressed(bench: Bench, passthrough: Path, homebot: Path, _folder: Path) -> Target:
    import cv2

    node = bench.bring_up(
        PerceptionNode, bundle=str(passthrough), robot=str(homebot), image_transport="compressed"
    )
    answers = bench.collect(Observation, "observation", LATEST)

    def good() -> list[Any]:
        now = stamp(time.time())
        pixels = np.random.default_rng(now.nanosec).integers(0, 255, (48, 64, 3), np.uint8)
        png = cv2.imencode(".png", pixels)[1].tobytes()
        message = CompressedImage(format="png")
        message.data.frombytes(png)
        message.header.stamp = now
        return [_calibration(now), _odometry(now), message]

    return Target(node, good, answers)


def world_model(bench: Bench, passthrough: Path, _homebot: Path, _folder: Path) -> Target:
    node = bench.bring_up(WorldModelNode, bundle=str(passthrough))
    answers = bench.collect(Belief, "belief", LATEST)
    imagined = bench.collect(Imagination, "imagination", LATEST)
    good = Good(passthrough)
    bench.wait_for(lambda: node._imaginations.get_subscription_count())

    def messages() -> list[Any]:
        del imagined[:]
        observation = good.body(Observation)
        action = ExecutedAction(duration_s=0.1, linear=0.1)
        action.header.stamp = observation.header.stamp
        request = Imagine.Request(linear=floats([0.1] * 4), angular=floats([0.0] * 4))
        return [action, observation, _plan(observation.header.stamp), request]

    return Target(node, messages, answers)


def memory(bench: Bench, passthrough: Path, _homebot: Path, folder: Path) -> Target:
    node = bench.bring_up(MemoryNode, bundle=str(passthrough), file=str(folder / "places.db"))
    answers = bench.collect(Place, "current_place", LATCHED)
    good = Good(passthrough)

    def messages() -> list[Any]:
        observation = good.body(Observation)
        now = observation.header.stamp
        guide = Guide.Request(start=True, goal_id=GOAL, bundle_digest=good.digest)
        guide.latent = floats([0.2, 0.4, 0.6])
        named = [kind.Request(name="dock") for kind in (Remember, Recall, Route, Forget)]
        # a remembered place is never far from its picture: without one nothing is learned
        return [_odometry(now), good.body(Belief), _picture(now), observation, guide, *named]

    return Target(node, messages, answers)


class Handle:
    """A goal that the action server has accepted."""

    def __init__(self, request: Any) -> None:
        self.request, self.goal_id, self.is_cancel_requested = request, GOAL, False

    def execute(self) -> None: ...
    def succeed(self) -> None: ...
    def abort(self) -> None: ...
    def canceled(self) -> None: ...
    def publish_feedback(self, feedback: Any) -> None:
        assert feedback is not None


PURSUITS = {
    NavigateToImage.Goal: ToImage,
    NavigateToPlace.Goal: ToPlace,
    Explore.Goal: Exploration,
}


def planning(bench: Bench, passthrough: Path, homebot: Path, _folder: Path) -> Target:
    node = bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot))
    answers = bench.collect(Plan, "action_plan", LATEST)
    good = Good(passthrough)

    def messages() -> list[Any]:
        belief = good.body(Belief)
        now = belief.header.stamp
        return [_calibration(now), _odometry(now), _scan(now), belief, good.aim()]

    def pursue(goal: Any) -> None:
        node._on_accepted(PURSUITS[type(goal)], Handle(goal))

    goals = (
        NavigateToImage.Goal(image=_picture(stamp(0.0))),
        NavigateToPlace.Goal(name="dock"),
        Explore.Goal(time_limit_s=60.0),
    )
    return Target(node, messages, answers, pursue, goals)


def actuation(bench: Bench, _passthrough: Path, homebot: Path, _folder: Path) -> Target:
    node = bench.bring_up(ActuationNode, robot=str(homebot))
    velocities = bench.collect(Twist, "cmd_vel", LATEST)

    def good() -> list[Any]:
        now = stamp(time.time())
        assert all(np.isfinite([v.linear.x, v.angular.z]).all() for v in velocities)
        return [_odometry(now), _scan(now), _plan(now)]

    return Target(node, good, velocities)


def lifecycle_manager(bench: Bench, _passthrough: Path, _homebot: Path, _folder: Path) -> Target:
    node = bench.start(LifecycleManager, node_names=["a", "b"])
    node.take_down = lambda: None  # no lifecycle node
    answers = bench.collect(String, "system_state", LATCHED)
    return Target(node, lambda: [Heartbeat(node="/a"), Trigger.Request()], answers)


def mission(bench: Bench, _passthrough: Path, _homebot: Path, folder: Path) -> Target:
    file = folder / "mission.yaml"
    file.write_text("name: tour\nsteps:\n  - wait: 1\n")
    node = bench.start(MissionNode, mission=str(file), pictures=str(folder))
    node.take_down = lambda: None  # no lifecycle node
    answers = bench.collect(MissionStatus, "mission_status", LATCHED)

    def good() -> list[Any]:
        return [String(data="active"), _picture(stamp(time.time())), Trigger.Request()]

    return Target(node, good, answers)


INFO = {"publication_sequence_number": 1, "source_timestamp": 1}
"""What rclpy tells of each message."""
TARGETS = (
    perception,
    perception_compressed,
    world_model,
    memory,
    planning,
    actuation,
    lifecycle_manager,
    mission,
)


def _hear(node: Any, message: Any) -> None:
    """Hand a message to every subscription, or a request to every service, of its type."""
    for subscription in list(node.subscriptions):
        if isinstance(message, subscription.msg_type):
            wants_info = len(inspect.signature(subscription.callback).parameters) == 2
            subscription.callback(*([message, INFO] if wants_info else [message]))
    for service in list(node.services):
        if isinstance(message, service.srv_type.Request):
            response = service.callback(message, service.srv_type.Response())
            assert isinstance(response, service.srv_type.Response)


def _settle(bench: Bench, node: Any) -> None:
    """Let the worker finish, and the node do what it does in its own time."""
    worker = getattr(node, "_worker", None) or getattr(node, "worker", None)
    if worker is not None:
        bench.wait_for(lambda: not worker.busy)
        worker.call(lambda: None)
    for timer in list(node.timers):
        timer.callback()
    for _ in range(3):
        bench.executor.spin_once(timeout_sec=0)


def _samples(target: Target) -> dict[type, Any]:
    """A message of every type that the node listens to or serves, good where one is known."""
    heard = {s.msg_type: s.msg_type() for s in target.node.subscriptions}
    return heard | {type(message): message for message in (*target.good(), *target.extras)}


@pytest.mark.parametrize("make", TARGETS, ids=lambda make: make.__name__)
def test_node_survives_every_message(
    make: Callable[..., Target], bench: Bench, passthrough: Path, homebot: Path, tmp_path: Path
) -> None:
    target = make(bench, passthrough, homebot, tmp_path)
    node, kinds = target.node, list(_samples(target))
    series = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(st.just(kind), damages(kind)))

    def take(drawn: list[tuple[type, Any]]) -> None:
        samples = _samples(target)
        for kind, these in drawn:
            message = damaged(samples[kind], these)
            if target.extra is not None and kind in map(type, target.extras):
                target.extra(message)
            else:
                _hear(node, message)
        _settle(bench, node)

    bombard(st.lists(series, min_size=1, max_size=MOST_MESSAGES), take, SERIES)
    _works(bench, target)


def _works(bench: Bench, target: Target) -> None:
    del target.answers[:]
    end = time.monotonic() + 10.0
    while not target.answers:
        assert time.monotonic() < end, "the node no longer answers what is well-formed"
        for extra in target.extras[:1]:
            if target.node._pursuit is None:
                target.extra(extra)
        for message in target.good():
            _hear(target.node, message)
        _settle(bench, target.node)
        bench.executor.spin_once(timeout_sec=0.05)


@pytest.mark.parametrize("make", (world_model, planning), ids=lambda make: make.__name__)
def test_node_stays_small_when_a_senders_clock_stands(
    make: Callable[..., Target], bench: Bench, passthrough: Path, homebot: Path, tmp_path: Path
) -> None:
    target = make(bench, passthrough, homebot, tmp_path)
    frozen = [m for m in target.good() if isinstance(m, Odometry | ExecutedAction)]
    tracemalloc.start()
    try:
        for message in frozen * 4000:
            _hear(target.node, message)
        first = tracemalloc.get_traced_memory()[0]
        for message in frozen * 4000:
            _hear(target.node, message)
        growth = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert growth < 100_000, f"{growth} bytes more after 4000 messages with one stamp"
