"""What a viewer sees of planning: the goal's picture, and what the robot does, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Bench
from rclpy.action import ActionClient
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker

from foresight import bundle
from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import ActuationStatus, Belief, Plan
from foresight_node.messages import LATCHED, LATEST
from foresight_planning.node import PlanningNode

pytestmark = pytest.mark.timeout(60)


def picture(brightness: int) -> Image:
    """Stripes, which a goal's picture must have something like."""
    pixels = np.full((240, 320, 3), brightness, np.uint8)
    pixels[:, ::40] //= 2
    message = Image(height=240, width=320, encoding="rgb8", step=960)
    message.data.frombytes(pixels.tobytes())
    return message


class Robot:
    """Believes to be somewhere, and sends goals."""

    def __init__(self, bench: Bench, digest: str) -> None:
        self.bench, self._digest = bench, digest
        self._beliefs = bench.publisher(Belief, "belief", LATEST)
        self._statuses = bench.peer.create_publisher(ActuationStatus, "actuation_status", LATCHED)
        self.plans = bench.collect(Plan, "action_plan", LATEST)
        self.action = ActionClient(bench.peer, NavigateToImage, "navigate_to_image")
        bench.wait_for(self.action.server_is_ready)
        bench.peer.create_timer(0.1, self._believe)

    def _believe(self) -> None:
        belief = Belief(bundle_digest=self._digest, latent=[0.2, 0.4, 0.6])
        belief.header.stamp = self.bench.now()
        belief.proprioception = [0.0, 0.0, 0.0]
        self._beliefs.publish(belief)

    def ask(self, image: Image) -> Any:
        sent = self.action.send_goal_async(NavigateToImage.Goal(image=image))
        self.bench.wait_for(sent.done)
        return sent.result()

    def tell(self, state: int, reason: str) -> None:
        self._statuses.publish(ActuationStatus(state=state, reason=reason))


@pytest.fixture
def robot(bench: Bench, passthrough: Path, homebot: Path) -> Iterator[Robot]:
    bench.bring_up(PlanningNode, bundle=str(passthrough), robot=str(homebot))
    robot = Robot(bench, bundle.load(passthrough).digest)
    yield robot
    robot.action.destroy()


def test_a_viewer_that_comes_later_sees_the_goal_that_is_driven_to(robot: Robot) -> None:
    robot.ask(picture(80))
    robot.bench.wait_for(lambda: any(len(plan.linear) for plan in robot.plans))
    robot.ask(picture(160))
    robot.plans.clear()
    robot.bench.wait_for(lambda: sum(len(plan.linear) > 0 for plan in robot.plans) > 3)
    seen = robot.bench.collect(Image, "goal_image", LATCHED)
    robot.bench.wait_for(lambda: seen)
    robot.bench.spin(0.5)
    (shown,) = seen  # once for a goal, not with every plan
    assert bytes(shown.data) == bytes(picture(160).data)


def test_a_picture_that_cannot_be_used_is_not_shown(robot: Robot) -> None:
    seen = robot.bench.collect(Image, "goal_image", LATCHED)
    broken = picture(80)
    broken.step = 12
    result = robot.ask(broken).get_result_async()
    robot.bench.wait_for(result.done)
    assert result.result().result.code == NavigateToImage.Result.BAD_GOAL
    assert not seen


def test_the_text_over_the_robot_says_what_it_does_and_why_it_stands(robot: Robot) -> None:
    texts = robot.bench.collect(Marker, "status_text", LATEST)
    robot.bench.wait_for(lambda: robot.bench.peer.count_publishers("status_text"))

    def says(*parts: str) -> bool:
        robot.tell(ActuationStatus.STOPPED, "the path is closed in the scan")
        robot.bench.spin(0.05)
        return bool(texts) and all(part in texts[-1].text for part in parts)

    robot.bench.wait_for(lambda: says("nothing", "STOPPED: the path is closed in the scan"))
    robot.ask(picture(80))
    robot.bench.wait_for(lambda: says("navigate_to_image: to the goal", "STOPPED"))
    assert texts[-1].header.frame_id == "base_link" and texts[-1].frame_locked
    assert texts[-1].color.g < 0.5
