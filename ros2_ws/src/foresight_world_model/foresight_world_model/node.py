"""Observations and executed actions in, belief and imagination out."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.qos import QoSProfile

from foresight import bundle
from foresight.bundle import Runtime
from foresight.runtime.belief import Belief as TrackedBelief
from foresight.runtime.belief import BeliefTracker
from foresight.runtime.dynamics import Imagined
from foresight_interfaces.msg import Belief, ExecutedAction, Imagination, Observation, Plan
from foresight_interfaces.srv import Imagine
from foresight_node import ERROR, BundleParameters, ForesightNode, parameter, run
from foresight_node.messages import LATEST, fault_of, floats, seconds, to_stamp

MAX_STEPS = 64
"""Longest action sequence that the service imagine answers."""
KEPT_BELIEFS = 30
LIMIT_SLACK = 1e-3
"""Bounds of actions pass through float32 on their way."""


@dataclass(frozen=True)
class Parameters(BundleParameters):
    imagination_period_s: float = parameter(
        0.5, "Shortest time between imaginations, s.", minimum=0.1, maximum=60.0, live=True
    )
    belief_max_age_s: float = parameter(
        1.0, "Oldest belief that is imagined from, s.", minimum=0.1, maximum=60.0, live=True
    )
    surprise_limit: float = parameter(
        1.0, "Surprise above this is an anomaly.", minimum=0.1, maximum=100.0, live=True
    )


class WorldModelNode(ForesightNode[Parameters]):
    """Sends one belief for each observation, with its stamp.

    The dynamics of one sequence take a few milliseconds, so they run in the callbacks.
    """

    def __init__(self, **options: object) -> None:
        super().__init__("world_model", Parameters, **options)
        self._base_frame = "base_link"

    def configure(self) -> None:
        values = self.values
        runtime = Runtime(values.provider, values.half, self.get_logger().info)
        loaded = bundle.load(values.bundle, runtime)
        self._manifest, self._digest = loaded.manifest, loaded.digest
        self._tracker = BeliefTracker(loaded)
        self._beliefs: deque[TrackedBelief] = deque(maxlen=KEPT_BELIEFS)
        self._imagined_at_s = -math.inf
        self.health.fact("bundle", loaded.digest)
        self.health.fact("providers", ", ".join(self._tracker.world_model.providers))
        self._publisher = self.advertise(Belief, "belief", LATEST)
        self._imaginations = self.advertise(Imagination, "imagination", LATEST)
        self._paths = self.advertise(Path, "imagination_path", LATEST)
        self.listen(
            Observation,
            "observation",
            self._on_observation,
            LATEST,
            lost="observations dropped: node busy",
        )
        self.listen(
            ExecutedAction,
            "executed_action",
            self._on_executed,
            QoSProfile(depth=50),
            lost="actions dropped: node busy",
        )
        self.health.count("observations dropped: refused", 0)
        self.listen(Plan, "action_plan", self._on_plan, LATEST)
        service = self.create_service(Imagine, "imagine", self._on_imagine)
        self.release_later(lambda: self.destroy_service(service))

    # --- belief

    def _on_executed(self, action: ExecutedAction) -> None:
        numbers = (action.duration_s, action.linear, action.angular)
        if not all(map(math.isfinite, numbers)) or action.duration_s <= 0:
            self.health.problem(
                "executed_action",
                f"executed_action holds duration_s, linear, angular {numbers}, but finite numbers "
                f"and a positive duration are expected; check actuation",
            )
            return
        self._base_frame = action.header.frame_id or self._base_frame
        self._tracker.add_command(seconds(action.header.stamp), *numbers)

    def _on_observation(self, observation: Observation) -> None:
        fault = fault_of(observation, self._manifest, self._digest, "world_model")
        if fault:
            self.health.problem("observation", fault, ERROR)
            self.health.count("observations dropped: refused")
            return
        start_s = time.perf_counter()
        belief = self._tracker.update(
            seconds(observation.header.stamp),
            np.asarray(observation.latent, dtype=np.float32),
            np.asarray(observation.proprioception, dtype=np.float32),
        )
        self.health.latency("belief", time.perf_counter() - start_s)
        if self._beliefs and belief.stamp_s <= self._beliefs[-1].stamp_s:  # time went back
            self._beliefs.clear()
        self._beliefs.append(belief)
        self._publisher.publish(
            Belief(
                header=observation.header,
                latent=floats(belief.latent),
                proprioception=floats(belief.proprioception),
                surprise=belief.surprise,
                uncertainty=belief.uncertainty,
                bundle_digest=self._digest,
            )
        )
        self._tell_surprise(belief)

    def _tell_surprise(self, belief: TrackedBelief) -> None:
        self.health.event("beliefs")
        self.health.fact("surprise", f"{belief.surprise:.2f}")
        if belief.surprise > self.values.surprise_limit:
            self.health.count("anomalies")
            self.health.problem(
                "surprise",
                f"the world did not answer as expected (surprise {belief.surprise:.1f}, usual "
                f"below {self.values.surprise_limit:.1f}): blocked, slipping, moved or unseen",
            )

    # --- imagination

    def _on_plan(self, plan: Plan) -> None:
        wanted = self._imaginations.get_subscription_count() + self._paths.get_subscription_count()
        if not wanted:
            return
        if not len(plan.linear):  # the drive ended: viewers shall not show an old path
            self._publish_imagination(plan, None)
            return
        fault = _fault_of(plan)
        if fault:
            self.health.problem("plan", fault)
            return
        belief = self._belief_at(seconds(plan.observation_stamp))
        now_s = time.monotonic()
        if belief is None or now_s - self._imagined_at_s < self.values.imagination_period_s:
            return
        self._imagined_at_s = now_s
        actions = np.stack([plan.linear, plan.angular], axis=-1)
        imagined = self._imagine(belief, actions)
        self._publish_imagination(plan, imagined)

    def _belief_at(self, stamp_s: float) -> TrackedBelief | None:
        near = (b for b in self._beliefs if abs(b.stamp_s - stamp_s) < 1e-3)
        return next(near, None)

    def _imagine(self, belief: TrackedBelief, actions: npt.NDArray[np.floating]) -> Imagined:
        return self._tracker.world_model.imagine(
            belief.latent, belief.proprioception, actions[None]
        )

    def _publish_imagination(self, plan: Plan, imagined: Imagined | None) -> None:
        message = Imagination(header=plan.header, action_duration_s=plan.action_duration_s)
        path = Path(header=plan.header)
        if imagined is not None:
            message.candidates, message.horizon = imagined.collision.shape
            message.actions = floats(np.stack([plan.linear, plan.angular], axis=-1))
            message.latents = floats(imagined.latents)
            message.collision = floats(imagined.collision)
            if len(plan.energy):  # a plan that only looks around has none
                message.energy = floats([np.mean(plan.energy)])
            path = self._path(imagined, seconds(plan.header.stamp), plan.header.frame_id)
        self._imaginations.publish(message)
        self._paths.publish(path)

    def _path(self, imagined: Imagined, start_s: float, frame: str) -> Path:
        """Poses after each step of the first sequence, in the base frame at the start."""
        path = Path()
        path.header.stamp, path.header.frame_id = to_stamp(start_s), frame
        duration_s = self._manifest.action_s
        for k, (x, y, yaw) in enumerate(imagined.displacement[0].astype(float), start=1):
            pose = PoseStamped()
            pose.header.frame_id = frame
            pose.header.stamp = to_stamp(start_s + k * duration_s)
            pose.pose.position.x, pose.pose.position.y = x, y
            pose.pose.orientation.z, pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
            path.poses.append(pose)
        return path

    def _on_imagine(self, request: Imagine.Request, response: Imagine.Response) -> Imagine.Response:
        response.message = self._refusal(request)
        response.success = not response.message
        if response.success:
            belief = self._beliefs[-1]
            actions = np.stack([request.linear, request.angular], axis=-1)
            imagined = self._imagine(belief, actions)
            response.latents = floats(imagined.latents)
            response.collision = floats(imagined.collision)
            response.path = self._path(imagined, belief.stamp_s, self._base_frame)
        return response

    def _refusal(self, request: Imagine.Request) -> str:
        """Why a request cannot be answered; empty when it can."""
        if not self.active:
            return "world_model is not active; activate it first"
        counts = len(request.linear), len(request.angular)
        if counts[0] != counts[1] or not 1 <= counts[0] <= MAX_STEPS:
            return (
                f"linear and angular hold {counts[0]} and {counts[1]} numbers; "
                f"give equally many, 1 to {MAX_STEPS}"
            )
        actions = np.stack([request.linear, request.angular], axis=-1)
        bounds = self._manifest.body.action
        low, high = np.array(bounds.low) - LIMIT_SLACK, np.array(bounds.high) + LIMIT_SLACK
        if not ((actions >= low) & (actions <= high)).all():
            return (
                f"an action is not within the bundle's bounds, {list(bounds.low)} to "
                f"{list(bounds.high)} (linear m/s, angular rad/s); the model knows no others"
            )
        if not self._beliefs:
            return "there is no belief yet; check camera, odometry and perception"
        age_s = self.now_s() - self._beliefs[-1].stamp_s
        if age_s > self.values.belief_max_age_s:
            return (
                f"the latest belief is {age_s:.1f} s old, at most "
                f"{self.values.belief_max_age_s:.1f} s are allowed; check camera and odometry"
            )
        return ""


def _fault_of(plan: Plan) -> str:
    """Why a plan cannot be imagined, in one sentence; empty when it can."""
    counts = len(plan.linear), len(plan.angular)
    if counts[0] != counts[1] or counts[0] > MAX_STEPS:
        return (
            f"plan holds {counts[0]} linear and {counts[1]} angular speeds, but equally many, at "
            f"most {MAX_STEPS}, are expected; check planning"
        )
    if not np.isfinite([plan.linear, plan.angular]).all():
        return "plan holds a speed that is not finite; check planning"
    return ""


def main() -> int:
    return run(WorldModelNode)
