"""The planner's optimiser as one PyTorch module, which exports to one ONNX graph.

Cross-entropy method (Rubinstein 1999) over action sequences, improved as in iCEM (Pinneri et al.
2020): noise that is coloured along the horizon, a warm start from the last plan, and elites that
stay in the race; elites weigh the more the cheaper they are (Hansen et al. 2022); besides,
proposals that hold an action for several steps.
Imported for export only: the robot runs the graph. `foresight.planning.reference` is the same
algorithm in NumPy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foresight.bundle.manifest import ActionSpec, PlannerSpec
from foresight.solvers.coloured_noise import colouring
from foresight.world_model.networks import WorldModel
from foresight.world_model.rollout import Remaining, Rollout
from foresight.world_model.travel import angle, turn_drive_turn

HOMING_M = 0.8  # closer than this, a decoded pose is sharper than the learned distance


class ICEM(nn.Module):
    """latent (1, D), proprioception (1, P), goal (1, D); goal_pose (1, 3), x m, y m, yaw rad in the
    robot's frame as far as it is known, and the trust (1,) in it, 0 to 1; obstacles (K, 2) m in the
    robot's frame (what is not there lies far off); committed (1, A), the mean command of the first
    `delay` (1,) of the first action, 0 to 1, which is past changing; warm_start (1, H, A),
    proposals (M, H, A), noise (I, N - 1, H, A) standard normal -> what `forward` names. Actions in
    SI units.
    """

    low: Tensor
    high: Tensor
    colour: Tensor
    weights: Tensor
    roughness: Tensor
    turned: Tensor
    driven: Tensor

    def __init__(self, model: WorldModel, action: ActionSpec, settings: PlannerSpec) -> None:
        super().__init__()
        self.rollout, self.remaining = Rollout(model.predictor), Remaining(model.distance_net)
        self.settings, self.action_s = settings, action.duration_s
        self.register_buffer("low", torch.tensor(action.low))
        self.register_buffer("high", torch.tensor(action.high))
        horizon = settings.horizon
        energy = torch.ones(horizon // settings.judged_every)
        energy[-1] = settings.final_weight
        each = torch.ones(horizon) / horizon
        weights = [energy / energy.sum()]
        weights += [settings.collision_weight * each, settings.uncertainty_weight * each]
        self.register_buffer("weights", torch.cat(weights))
        rough = settings.roughness_weight / (self.high - self.low).square() / horizon
        self.register_buffer("roughness", rough.repeat(horizon))
        # Halves of actions: the turn up to the middle of each, then up to its end; the stride.
        half = torch.eye(horizon).repeat_interleave(2, 0) * (self.action_s / 2)
        after = half.cumsum(0)
        self.register_buffer("turned", torch.cat([after - half / 2, after]))
        self.register_buffer("driven", half)
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
        return mean, *(part.transpose(0, 1) for part in self.foresee(1, mean, *situation))

    def _draw(self, mean: Tensor, spread: Tensor, white: Tensor) -> Tensor:
        return (mean + spread * (self.colour @ white[0])).clamp(self.low, self.high)

    def _select(self, candidates: Tensor, cost: Tensor) -> tuple[Tensor, ...]:
        settings = self.settings
        best = torch.topk(cost, settings.elites, largest=False)
        elite = candidates[best.indices]
        weight = torch.softmax(-best.values / settings.temperature, 0)
        mean = (weight @ elite.flatten(1)).view(1, *elite.shape[1:])
        variance = (weight @ (elite - mean).square().flatten(1)).view_as(mean)
        spread = variance.sqrt() + settings.spread_floor * (self.high - self.low) / 4
        return mean, spread, elite[: settings.kept], best.values[: settings.kept]

    def evaluate(self, actions: Tensor, *situation: Tensor) -> Tensor:
        """Cost (N,) of action sequences (N, H, A)."""
        proprioception = situation[1]
        energy, _, collision, uncertainty = self.foresee(
            self.settings.judged_every, actions, *situation
        )
        steps = self.weights @ torch.cat([energy, collision, uncertainty])
        now = proprioception[:, None, :2].expand(len(actions), -1, -1)
        jerk = (actions - torch.cat([now, actions[:, :-1]], 1)).square()
        return steps + jerk.flatten(1) @ self.roughness

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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plans (N, H, A) -> energy after `every` so many actions (H / every, N), latents
        (H, N, D), collision (H, N), uncertainty (H, N)."""
        late = nn.functional.pad(delay, (0, self.settings.horizon - 1))[:, None]
        actions = actions + late * (committed - actions)
        imagined = self.rollout(latent, proprioception, actions)
        x, y, heading = self._way(actions)
        collision = torch.maximum(imagined.bumps, self._blocked(x, y, obstacles))
        learned = self.remaining(imagined.latents[every - 1 :: every], goal)
        ends = slice(2 * every - 1, None, 2 * every)
        energy = self._homing(learned, x[ends], y[ends], heading[ends], goal_pose, trust)
        return energy, imagined.latents, collision, imagined.errors

    def _way(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where actions (N, H, A) lead by the unicycle, in the robot's frame: x m, y m and heading
        rad, each (2H, N), halfway through each action and at its end."""
        speed, rate = actions.permute(2, 1, 0)
        middle, heading = (self.turned @ rate).chunk(2)
        stride = self.driven @ speed
        x, y = (stride * middle.cos()).cumsum(0), (stride * middle.sin()).cumsum(0)
        return x, y, heading

    def _homing(
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
        One of them counts for all ways: where they disagree, a step from one to the other along the
        way would be a wall or a pit.
        """
        goal_x, goal_y, goal_yaw = goal_pose[0].unbind()
        near = trust * torch.sigmoid(
            (HOMING_M - goal_pose[:, :2].square().sum(1).sqrt()) / (HOMING_M / 5)
        )
        way_x, way_y = goal_x - x, goal_y - y
        now_x, now_y = heading.cos(), heading.sin()
        then_x, then_y = goal_yaw.cos().expand_as(x), goal_yaw.sin().expand_as(x)
        # Angles from the heading to the way, from the way to the goal's heading, from first to last
        from_x, from_y = torch.cat([now_x, way_x, now_x]), torch.cat([now_y, way_y, now_y])
        to_x, to_y = torch.cat([way_x, then_x, then_x]), torch.cat([way_y, then_y, then_y])
        turns = angle(from_x * to_x + from_y * to_y, from_x * to_y - from_y * to_x)
        seconds = turn_drive_turn((way_x.square() + way_y.square()).sqrt(), *turns.chunk(3))
        return learned + near * (torch.log1p(seconds) - learned)

    def _blocked(self, x: Tensor, y: Tensor, obstacles: Tensor) -> Tensor:
        """Whether the disc would touch what the scan shows by then, (H, N) from 0 to 1, on its way
        over places x, y (2H, N).

        Where the robot already stands closer than its margin, only coming closer counts. Once
        blocked, a way stays blocked: what the model imagines behind an obstacle will not happen.
        """
        settings = self.settings
        far = obstacles.square().sum(1)
        place = torch.stack([x.flatten(), y.flatten()])
        nearest = torch.addmm(far, place.T, obstacles.T, alpha=-2).amin(1)  # of |o - p|^2 - |p|^2
        gap_m = (nearest + place.square().sum(0)).clamp(min=0).sqrt()
        gap_m = gap_m.view(settings.horizon, 2, -1).amin(1)
        least_m = (far.amin(0).sqrt() - 0.01).clamp(max=settings.radius_m + settings.margin_m)
        touching = torch.sigmoid((least_m - gap_m) / 0.01)
        by_then = torch.tril(torch.ones(settings.horizon, settings.horizon))
        return (touching * by_then[..., None]).amax(1)
