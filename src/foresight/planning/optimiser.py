"""The planner's optimiser as one PyTorch module, which exports to one ONNX graph.

Cross-entropy method (Rubinstein 1999) over action sequences, with a warm start and proposals that
hold an action for several steps (coherent motion, as the coloured noise of iCEM, Pinneri et al.
2020, gives).
Imported for export only: the robot runs the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foresight.dynamics.networks import WorldModel
from foresight.dynamics.travel import travel_seconds

HOMING_M = 0.8  # closer than this, a decoded pose is sharper than the learned distance


@dataclass(frozen=True)
class Settings:
    """Shape of the search and weights of the cost.

    samples N per round, of which the first round takes `proposals` M from outside; rounds I;
    horizon H; elites E; obstacles K, points of a scan. Costs are per step, in units of
    log1p(seconds to the goal). The robot is a disc of `radius_m` and keeps `margin_m` more free.
    """

    samples: int = 128
    proposals: int = 64
    iterations: int = 5
    horizon: int = 8
    elites: int = 12
    obstacles: int = 128
    action_s: float = 0.5
    radius_m: float = 0.17
    margin_m: float = 0.03
    final_weight: float = 2.5
    collision_weight: float = 1.5
    uncertainty_weight: float = 0.1
    roughness_weight: float = 0.1
    spread_floor: float = 0.12


class Optimiser(nn.Module):
    """latent (1, D), proprioception (1, P), goal (1, D); goal_pose (1, 3), x m, y m, yaw rad in the
    robot's frame as far as it is known, and the trust (1,) in it, 0 to 1; obstacles (K, 2) m in the
    robot's frame (what is not there lies far off); warm_start (1, H, A), proposals (M, H, A), noise
    (I, N - 1, H, A) standard normal -> what `forward` names. Actions in SI units.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    def __init__(
        self, model: WorldModel, low: list[float], high: list[float], settings: Settings
    ) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))
        weight = torch.ones(settings.horizon)
        weight[-1] = settings.final_weight
        self.register_buffer("weight", weight / weight.sum())

    def forward(
        self,
        latent: Tensor,
        proprioception: Tensor,
        goal: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
        obstacles: Tensor,
        warm_start: Tensor,
        proposals: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, ...]:
        """actions (1, H, A), energy (1, H), latents (1, H, D), collision (1, H), uncertainty (1, H)
        expected squared error per latent component."""
        settings = self.settings
        situation = (latent, proprioception, goal, goal_pose, trust, obstacles)
        mean, spread = warm_start, (self.high - self.low).expand_as(warm_start) / 4
        for k in range(settings.iterations):
            drawn = (mean + spread * noise[k]).clamp(self.low, self.high)
            if k == 0:
                drawn = torch.cat([proposals, drawn[settings.proposals :]])
            candidates = torch.cat([mean, drawn])
            cost, *_ = self.evaluate(candidates, *situation)
            elite = candidates[torch.topk(cost, settings.elites, largest=False).indices]
            mean = elite.mean(0, keepdim=True)
            spread = elite.std(0, keepdim=True) + settings.spread_floor * (self.high - self.low) / 4
        # The mean, not the best sample: a single sample wins by the model's errors.
        _, energy, latents, collision, uncertainty = self.evaluate(mean, *situation)
        return mean, energy, latents, collision, uncertainty

    def evaluate(
        self,
        actions: Tensor,
        latent: Tensor,
        proprioception: Tensor,
        goal: Tensor,
        goal_pose: Tensor,
        trust: Tensor,
        obstacles: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(N, H, A) -> cost (N,), energy (N, H), latents (N, H, D), collision (N, H), uncertainty
        (N, H)."""
        count = actions.shape[0]
        state, body = latent.expand(count, -1), proprioception.expand(count, -1)
        states, bumps, errors = [], [], []
        for k in range(self.settings.horizon):
            step = self.model.predictor(state, body, actions[:, k])
            state, body = step.latent, step.proprioception
            states.append(state)
            bumps.append(body[:, -1])
            errors.append(step.log_error.exp())
        latents, uncertainty = torch.stack(states, 1), torch.stack(errors, 1)
        place, heading = self._way(actions)
        collision = torch.maximum(torch.stack(bumps, 1), self._blocked(place, obstacles))
        learned = self.model.distance_energy(latents.flatten(0, 1), goal).view(count, -1)
        energy = self._homing(learned, place[:, 1::2], heading[:, 1::2], goal_pose, trust)
        before = torch.cat([proprioception[:, None, :2].expand(count, -1, -1), actions[:, :-1]], 1)
        jerk = ((actions - before) / (self.high - self.low)).square().sum(-1).mean(1)
        cost = (
            (energy * self.weight).sum(1)
            + self.settings.collision_weight * collision.mean(1)
            + self.settings.uncertainty_weight * uncertainty.mean(1)
            + self.settings.roughness_weight * jerk
        )
        return cost, energy, latents, collision, uncertainty

    def _way(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Where actions (N, H, A) lead by the unicycle, in the robot's frame: place (N, 2H, 2) m
        and heading (N, 2H) rad, halfway through each action and at its end."""
        half = actions.repeat_interleave(2, 1) * (self.settings.action_s / 2)
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
        yaw = goal_pose[:, 2:] - heading
        offset = torch.stack(
            [
                cos * away[..., 0] + sin * away[..., 1],
                cos * away[..., 1] - sin * away[..., 0],
                yaw.sin(),
                yaw.cos(),
            ],
            -1,
        )
        now_m = goal_pose[:, None, :2].norm(dim=-1)
        near = trust * torch.sigmoid((HOMING_M - now_m) / (HOMING_M / 5))
        return torch.lerp(learned, torch.log1p(travel_seconds(offset)), near)

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
        blocked = [touching[:, 0]]
        for k in range(1, settings.horizon):
            blocked.append(torch.maximum(blocked[-1], touching[:, k]))
        return torch.stack(blocked, 1)
