"""What the planner wants: to be at a goal soon, without touching anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foresight.bodies import AnyBody
from foresight.bundle.manifest import PlannerSpec
from foresight.solvers.protocols import Candidates
from foresight.world_model.motion import motion_of
from foresight.world_model.networks import PairNetwork

HOMING_M = 0.8  # closer than this, a decoded pose is sharper than the learned distance


class ReachGoal(nn.Module):
    """An `Objective`. Its task: goal (1, D); goal_pose (1, 3) x m, y m, yaw rad in the robot's
    frame as far as it is known, and the trust (1,) in it, 0 to 1; obstacles (K, 2) m in the robot's
    frame (what is not there lies far off).

    The cost of a sequence: mean seconds to go (as log1p) over its steps, the last one counting
    more; collisions, by the model and by the scan; the error that the model expects; roughness.
    """

    weights: Tensor
    roughness: Tensor

    def __init__(
        self, distance: PairNetwork, body: AnyBody, action_s: float, settings: PlannerSpec
    ) -> None:
        super().__init__()
        self.remaining, self.settings = Remaining(distance), settings
        self.radius_m, self.actions = body.footprint_radius_m, len(body.action.names)
        self.motion = motion_of(body)
        horizon = settings.horizon
        energy = torch.ones(horizon // settings.judged_every)
        energy[-1] = settings.final_weight
        each = torch.ones(horizon) / horizon
        weights = [energy / energy.sum()]
        weights += [settings.collision_weight * each, settings.uncertainty_weight * each]
        self.register_buffer("weights", torch.cat(weights))
        span = torch.tensor(body.action.high) - torch.tensor(body.action.low)
        rough = settings.roughness_weight / span.square() / horizon
        self.register_buffer("roughness", rough.repeat(horizon))
        self.path = self.motion.path(horizon, action_s)

    def cost(self, candidates: Candidates, *task: Tensor) -> Tensor:
        """See `Objective`."""
        energy, collision = self.judge(self.settings.judged_every, candidates, *task)
        steps = self.weights @ torch.cat([energy, collision, candidates.foreseen.errors])
        actions = candidates.planned
        now = candidates.proprioception[:, None, : self.actions].expand(len(actions), -1, -1)
        jerk = (actions - torch.cat([now, actions[:, :-1]], 1)).square()
        return steps + jerk.flatten(1) @ self.roughness

    def report(self, candidates: Candidates, *task: Tensor) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        return self.judge(1, candidates, *task)

    def judge(
        self,
        every: int,
        candidates: Candidates,
        goal: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
        obstacles: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Energy after `every` so many actions (H / every, N), and collision (H, N)."""
        x, y, heading = self.path(candidates.driven)
        collision = torch.maximum(candidates.foreseen.bumps, self.blocked(x, y, obstacles))
        learned = self.remaining(candidates.foreseen.latents[every - 1 :: every], goal)
        ends = slice(2 * every - 1, None, 2 * every)
        energy = self.homing(learned, x[ends], y[ends], heading[ends], goal_pose, trust)
        return energy, collision

    def homing(
        self,
        learned: Tensor,
        x: Tensor,
        y: Tensor,
        heading: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
    ) -> Tensor:
        """log1p(seconds to the goal), (H, N), where actions lead: x, y, heading (H, N).

        From afar the learned distance counts, (H, N). Where the robot is close to the goal and
        knows its pose, the time that this pose takes counts instead: it is the sharper of the two.
        One of them counts for all paths: where they disagree, a step from one to the other along
        the path would be a wall or a pit.
        """
        near = trust * torch.sigmoid(
            (HOMING_M - goal_pose[:, :2].square().sum(1).sqrt()) / (HOMING_M / 5)
        )
        seconds = self.motion.seconds_from(x, y, heading, goal_pose[0])
        return learned + near * (torch.log1p(seconds) - learned)

    def blocked(self, x: Tensor, y: Tensor, obstacles: Tensor) -> Tensor:
        """Whether the footprint would touch what the scan shows by then, (H, N) from 0 to 1, on a
        path over places x, y (2H, N).

        Where the robot already stands closer than its margin, only coming closer counts. Once
        blocked, a path stays blocked: what the model imagines behind an obstacle will not happen.
        """
        settings = self.settings
        far = obstacles.square().sum(1)
        place = torch.stack([x.flatten(), y.flatten()])
        nearest = torch.addmm(far, place.T, obstacles.T, alpha=-2).amin(1)  # of |o - p|^2 - |p|^2
        gap_m = (nearest + place.square().sum(0)).clamp(min=0).sqrt()
        gap_m = gap_m.view(settings.horizon, 2, -1).amin(1)
        least_m = (far.amin(0).sqrt() - 0.01).clamp(max=self.radius_m + settings.margin_m)
        touching = torch.sigmoid((least_m - gap_m) / 0.01)
        by_then = torch.tril(torch.ones(settings.horizon, settings.horizon))
        return (touching * by_then[..., None]).amax(1)


class Remaining(nn.Module):
    """The learned distance to one goal: latents (..., D), goal (1, D) -> log1p(seconds) (...).

    What `WorldModel.distance_energy` computes, arranged so that the goal's share is computed once.
    """

    def __init__(self, distance: PairNetwork) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, latents: Tensor, goal: Tensor) -> Tensor:
        net, rows = self.distance, latents.flatten(0, -2)
        at_goal = net.second(goal) + net.first.bias
        here = torch.addmm(at_goal, rows, net.first.weight.T)
        features = torch.addmm(here, (rows - goal).abs(), net.gap.weight.T)
        return nn.functional.softplus(net.rest(features)[:, 0]).view(latents.shape[:-1])
