"""The world_model node: belief, surprise, imagination, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Bench
from nav_msgs.msg import Path as PathMessage
from rclpy.lifecycle import TransitionCallbackReturn

from foresight import bundle
from foresight_interfaces.msg import Belief, ExecutedAction, Imagination, Observation, Plan
from foresight_interfaces.srv import Imagine
from foresight_node.messages import LATEST, to_stamp
from foresight_world_model.node import WorldModelNode

LATENT = (0.25, 0.5, 0.75)


class Robot:
    """What perception, actuation and planning send to the node."""

    def __init__(self, bench: Bench, digest: str) -> None:
        self.bench, self.digest = bench, digest
        self.observations = bench.publisher(Observation, "observation", LATEST)
        self.executed = bench.publisher(ExecutedAction, "executed_action")
        self.plans = bench.publisher(Plan, "action_plan", LATEST)
        self.beliefs: list[Belief] = bench.collect(Belief, "belief", LATEST)
        self.imagine = bench.peer.create_client(Imagine, "imagine")
        bench.wait_for(self.imagine.service_is_ready)
        bench.wait_for(lambda: bench.peer.count_publishers("belief") > 0)

    def now_s(self) -> float:
        return self.bench.peer.get_clock().now().nanoseconds * 1e-9

    def observe(
        self,
        stamp_s: float,
        latent: tuple[float, ...] = LATENT,
        body: tuple[float, ...] = (0.1, -0.2, 0.0),
    ) -> Observation:
        message = Observation(latent=latent, proprioception=body)
        message.bundle_digest = self.digest
        message.header.stamp, message.header.frame_id = to_stamp(stamp_s), "camera"
        self.observations.publish(message)
        return message

    def believe(self, *observed: Any) -> Belief:
        """Observe, and wait for the belief."""
        count = len(self.beliefs)
        self.observe(*observed)
        self.bench.wait_for(lambda: len(self.beliefs) > count)
        return self.beliefs[-1]

    def ask(self, linear: list[float], angular: list[float]) -> Imagine.Response:
        future = self.imagine.call_async(Imagine.Request(linear=linear, angular=angular))
        self.bench.wait_for(future.done)
        return future.result()


@pytest.fixture
def world_model(bench: Bench, passthrough: Path) -> Any:
    return bench.bring_up(WorldModelNode, bundle=str(passthrough))


@pytest.fixture
def robot(bench: Bench, world_model: Any, passthrough: Path) -> Iterator[Robot]:
    yield Robot(bench, bundle.load(passthrough).digest)


def test_each_observation_becomes_a_belief_with_its_stamp(robot: Robot) -> None:
    sent = robot.observe(robot.now_s())
    robot.bench.wait_for(lambda: robot.beliefs)
    (belief,) = robot.beliefs
    assert belief.header == sent.header
    assert belief.bundle_digest == robot.digest
    np.testing.assert_allclose(belief.latent, LATENT)
    np.testing.assert_allclose(belief.proprioception, [0.1, -0.2, 0.0], atol=1e-7)
    assert belief.surprise == 0.0


def test_a_world_that_answers_otherwise_surprises(world_model: Any, robot: Robot) -> None:
    """Told to stay, and its wheels do; this model says that the view stays, too."""
    start, still = robot.now_s(), (0.0, 0.0, 0.0)
    action = ExecutedAction(duration_s=1.0, linear=0.0, angular=0.0)
    action.header.stamp, action.header.frame_id = to_stamp(start), "robot1/base_link"
    robot.executed.publish(action)
    robot.bench.wait_for(lambda: world_model._base_frame == "robot1/base_link")
    robot.believe(start, LATENT, still)
    assert robot.believe(start + 0.5, LATENT, still).surprise == pytest.approx(0.0)
    moved = tuple(value + 0.2 for value in LATENT)
    belief = robot.believe(start + 1.0, moved, still)
    assert belief.surprise == pytest.approx(0.2**2 / 0.01, rel=1e-3)
    assert 0 < belief.uncertainty < belief.surprise
    assert "surprise 4.0" in world_model.health.status().message


def test_the_plan_is_imagined_when_somebody_looks(bench: Bench, robot: Robot) -> None:
    imaginations = bench.collect(Imagination, "imagination", LATEST)
    paths = bench.collect(PathMessage, "imagination_path", LATEST)
    bench.wait_for(lambda: bench.peer.count_publishers("imagination_path") > 0)
    stamp_s = robot.now_s()
    belief = robot.believe(stamp_s)
    plan = Plan(observation_stamp=belief.header.stamp, action_duration_s=0.5)
    plan.header.stamp, plan.header.frame_id = belief.header.stamp, "base_link"
    plan.linear, plan.angular, plan.energy = [0.2, 0.4], [0.0, 0.0], [2.0, 1.0]

    def both() -> bool:
        robot.plans.publish(plan)  # once more, until the peer's subscriptions are known
        bench.spin(0.05)
        return bool(imaginations and paths)

    bench.wait_for(both)
    seen = imaginations[0]
    assert (seen.candidates, seen.horizon) == (1, 2)
    np.testing.assert_allclose(seen.actions, [0.2, 0.0, 0.4, 0.0])
    np.testing.assert_allclose(np.reshape(seen.latents, (2, 3)), [LATENT, LATENT])
    np.testing.assert_allclose(seen.energy, [1.5])
    assert paths[0].header == plan.header
    np.testing.assert_allclose([p.pose.position.x for p in paths[0].poses], [0.1, 0.3], atol=1e-6)
    robot.plans.publish(Plan(header=plan.header))
    bench.wait_for(lambda: imaginations[-1].candidates == 0)


def test_the_service_imagine_drives_a_quarter_turn(robot: Robot) -> None:
    robot.believe(robot.now_s())
    turn = np.pi / 2 / 0.5 / 4
    answer = robot.ask([0.0] * 4 + [0.4], [turn] * 4 + [0.0])
    assert answer.success, answer.message
    assert len(answer.latents) == 5 * 3 and len(answer.collision) == 5
    end = answer.path.poses[-1].pose
    assert (end.position.x, end.position.y) == pytest.approx((0.0, 0.2), abs=1e-5)
    assert (end.orientation.z, end.orientation.w) == pytest.approx((0.7071, 0.7071), abs=1e-4)


@pytest.mark.parametrize(
    ("linear", "angular", "says"),
    [
        ([], [], "0 and 0 numbers"),
        ([0.1, 0.1], [0.0], "2 and 1 numbers"),
        ([0.1] * 65, [0.0] * 65, "1 to 64"),
        ([0.1, float("nan")], [0.0, 0.0], "bounds"),
        ([9.0], [0.0], "bounds"),
    ],
)
def test_a_request_that_cannot_be_imagined_is_answered(
    robot: Robot, linear: list[float], angular: list[float], says: str
) -> None:
    robot.believe(robot.now_s())
    answer = robot.ask(linear, angular)
    assert not answer.success and says in answer.message


def test_imagine_needs_a_fresh_belief(world_model: Any, robot: Robot) -> None:
    assert "no belief yet" in robot.ask([0.1], [0.0]).message
    robot.believe(robot.now_s() - 5.0)
    assert "5.0 s old" in robot.ask([0.1], [0.0]).message
    assert world_model.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert "not active" in robot.ask([0.1], [0.0]).message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bundle_digest": "f" * 64}, "'ffffffffffff'"),
        ({"latent": [0.1, 0.2]}, "2 latent"),
        ({"latent": [0.1, 0.2, float("nan")]}, "not finite"),
        ({"proprioception": [0.0] * 7}, "7 body numbers"),
    ],
)
def test_observations_that_do_not_fit_are_refused(
    world_model: Any, robot: Robot, change: dict[str, Any], says: str
) -> None:
    observation = Observation(bundle_digest=robot.digest, latent=LATENT)
    observation.proprioception = [0.0, 0.0, 0.0]
    observation.header.stamp = robot.bench.now()
    for name, value in change.items():
        setattr(observation, name, value)
    robot.observations.publish(observation)
    robot.bench.wait_for(lambda: says in world_model.health.status().message)
    assert not robot.beliefs
    robot.believe(robot.now_s())  # the node goes on


def test_an_executed_action_that_is_no_number_is_answered(world_model: Any, robot: Robot) -> None:
    robot.executed.publish(ExecutedAction(duration_s=0.1, linear=float("inf"), angular=0.0))
    robot.bench.wait_for(lambda: "inf" in world_model.health.status().message)
    robot.believe(robot.now_s())
