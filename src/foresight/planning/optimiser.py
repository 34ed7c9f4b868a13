"""The planner's optimiser as one PyTorch module, which exports to one ONNX graph.

Cross-entropy method (Rubinstein 1999) over action sequences, improved as in iCEM (Pinneri et al.
2020): noise that is coloured along the horizon, a warm start from the last plan, and elites that
stay in the race; besides, proposals that hold an action for several steps.
Imported for export only: the robot runs the graph. `foresight.planning.reference` is the same
algorithm in NumPy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foresight.bundle.manifest import ActionSpec, PlannerSpec
from foresight.dynamics.networks import WorldModel
from foresight.dynamics.travel import seconds_to_pose
from foresight.planning.colour import colouring
from foresight.planning.rollout import Remaining, Rollout

HOMING_M = 0.8  # closer than this, a decoded pose is sharper than the learned distance


class Optimiser(nn.Module):
    """latent (1, D), proprioception (1, P), goal (1, D); goal_pose (1, 3), x m, y m, yaw rad in the
    robot's frame as far as it is known, and the trust (1,) in it, 0 to 1; obstacles (K, 2) m in the
    robot's frame (what is not there lies far off); committed (1, A), the mean command of the first
    `delay` (1,) of the first action, 0 to 1, which is past changing; warm_start (1, H, A),
    proposals (M, H, A), noise (I, N - 1, H, A) standard normal -> what `forward` names. Actions in
    SI units.
    """

    low: Tensor
    high: Tensor
    weight: Tensor
    colour: Tensor

    def __init__(self, model: WorldModel, action: ActionSpec, settings: PlannerSpec) -> None:
        super().__init__()
        self.rollout, self.remaining = Rollout(model.predictor), Remaining(model.distance_net)
        self.settings, self.action_s = settings, action.duration_s
        self.register_buffer("low", torch.tensor(action.low))
        self.register_buffer("high", torch.tensor(action.high))
        weight = torch.ones(settings.horizon // settings.judged_every)
        weight[-1] = settings.final_weight
        self.register_buffer("weight", weight / weight.sum())
        colour = colouring(settings.horizon, settings.noise_exponent)
        self.register_buffer("colour", torch.from_numpy(colour))

    def forward(
        self,
        latent: Tensor,
        proprioception: Tensor,
        goal: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
        obstacles: Tensor,
        committed: Tensor,
        delay: Tensor,
        warm_start: Tensor,
        proposals: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, ...]:
        """actions (1, H, A), energy (1, H), latents (1, H, D), collision (1, H), uncertainty (1, H)
        expected squared error per latent component."""
        situation = (latent, proprioception, goal, goal_pose, trust, obstacles, committed, delay)
        first, *others = noise.split(1)
        state = self.begin(*situation, warm_start, proposals, first)
        for white in others:
            state = self.go_on(*situation, *state, white)
        return self.end(*situation, state[0])

    # Export takes these three apart: it would take minutes for all rounds in one.

    def begin(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The first round: the situation, warm_start, proposals, noise (1, N - 1, H, A) -> mean
        (1, H, A), spread (1, H, A), and the best so far, (kept, H, A) with their costs (kept,)."""
        *situation, mean, proposals, white = inputs
        spread = ((self.high - self.low) / 4).expand_as(mean)
        drawn = self._draw(mean, spread, white)[self.settings.proposals :]
        candidates = torch.cat([mean, proposals, drawn])
        return self._select(candidates, self.evaluate(candidates, *situation))

    def go_on(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Another round: the situation, what the last round gave, noise -> the same."""
        *situation, mean, spread, kept, kept_cost, white = inputs
        candidates = torch.cat([mean, self._draw(mean, spread, white)])
        cost = self.evaluate(candidates, *situation)
        return self._select(torch.cat([candidates, kept]), torch.cat([cost, kept_cost]))

    def end(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The situation, mean -> what `forward` gives.

        The mean, not the best sample: a single sample wins by the model's errors.
        """
        *situation, mean = inputs
        return mean, *self.foresee(1, mean, *situation)[:-1]

    def _draw(self, mean: Tensor, spread: Tensor, white: Tensor) -> Tensor:
        return (mean + spread * (self.colour @ white[0])).clamp(self.low, self.high)

    def _select(self, candidates: Tensor, cost: Tensor) -> tuple[Tensor, ...]:
        settings = self.settings
        best = torch.topk(cost, settings.elites, largest=False)
        elite = candidates[best.indices]
        spread = elite.std(0, keepdim=True) + settings.spread_floor * (self.high - self.low) / 4
        kept = settings.kept
        return elite.mean(0, keepdim=True), spread, elite[:kept], best.values[:kept]

    def evaluate(self, actions: Tensor, *situation: Tensor) -> Tensor:
        """Cost (N,) of action sequences (N, H, A)."""
        settings = self.settings
        every = settings.judged_every
        energy, _, collision, uncertainty, jerk = self.foresee(every, actions, *situation)
        return (
            (energy * self.weight).sum(1)
            + settings.collision_weight * collision.mean(1)
            + settings.uncertainty_weight * uncertainty.mean(1)
            + settings.roughness_weight * jerk
        )

    def foresee(
        self,
        every: int,
        actions: Tensor,
        latent: Tensor,
        proprioception: Tensor,
        goal: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
        obstacles: Tensor,
        committed: Tensor,
        delay: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Plans (N, H, A) -> energy after `every` so many actions (N, H / every), latents
        (N, H, D), collision (N, H), uncertainty (N, H), jerk (N,)."""
        count = actions.shape[0]
        before = torch.cat([proprioception[:, None, :2].expand(count, -1, -1), actions[:, :-1]], 1)
        jerk = ((actions - before) / (self.high - self.low)).square().sum(-1).mean(1)
        first = torch.lerp(actions[:, :1], committed[:, None].expand(count, 1, -1), delay)
        actions = torch.cat([first, actions[:, 1:]], 1)
        imagined = self.rollout(latent, proprioception, actions)
        place, heading = self._way(actions)
        collision = torch.maximum(imagined.bumps, self._blocked(place, obstacles))
        learned = self.remaining(imagined.latents[:, every - 1 :: every], goal)
        ends = slice(2 * every - 1, None, 2 * every)
        energy = self._homing(learned, place[:, ends], heading[:, ends], goal_pose, trust)
        return energy, imagined.latents, collision, imagined.errors, jerk

    def _way(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Where actions (N, H, A) lead by the unicycle, in the robot's frame: place (N, 2H, 2) m
        and heading (N, 2H) rad, halfway through each action and at its end."""
        half = actions.repeat_interleave(2, 1) * (self.action_s / 2)
        turn = half[..., 1]
        heading = turn.cumsum(1)
        middle = heading - turn / 2
        x = (half[..., 0] * middle.cos()).cumsum(1)
        y = (half[..., 0] * middle.sin()).cumsum(1)
        return torch.stack([x, y], -1), heading

    def _homing(
        self, learned: Tensor, place: Tensor, heading: Tensor, goal_pose: Tensor, trust: Tensor
    ) -> Tensor:
        """log1p(seconds to the goal), (N, H), where actions lead: place (N, H, 2), heading (N, H).

        From afar the learned distance counts, (N, H). Where the robot is close to the goal and
        knows its pose, the time that this pose takes counts instead: it is the sharper of the two.
        One of them counts for all ways: where they disagree, a step from one to the other along the
        way would be a wall or a pit.
        """
        away = goal_pose[:, None, :2] - place
        cos, sin = heading.cos(), heading.sin()
        x = cos * away[..., 0] + sin * away[..., 1]
        y = cos * away[..., 1] - sin * away[..., 0]
        now_m = goal_pose[:, None, :2].norm(dim=-1)
        near = trust * torch.sigmoid((HOMING_M - now_m) / (HOMING_M / 5))
        seconds = seconds_to_pose(x, y, goal_pose[:, 2:] - heading)
        return torch.lerp(learned, torch.log1p(seconds), near)

    def _blocked(self, place: Tensor, obstacles: Tensor) -> Tensor:
        """Whether the disc would touch what the scan shows by then, (N, H) from 0 to 1, on its way
        over places (N, 2H, 2).

        Where the robot already stands closer than its margin, only coming closer counts. Once
        blocked, a way stays blocked: what the model imagines behind an obstacle will not happen.
        """
        settings = self.settings
        flat = place.flatten(0, 1)
        squared = (
            flat.square().sum(1, keepdim=True) - 2 * flat @ obstacles.T + obstacles.square().sum(1)
        )
        gap_m = squared.amin(1).clamp(min=0).sqrt().view(len(place), -1, 2).amin(2)
        now_m = obstacles.square().sum(1).amin(0).sqrt()
        least_m = (now_m - 0.01).clamp(max=settings.radius_m + settings.margin_m)
        touching = torch.sigmoid((least_m - gap_m) / 0.01)
        by_then = torch.tril(torch.ones(settings.horizon, settings.horizon))
        return (touching[:, None] * by_then).amax(2)
