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

HOMING_M = 0.5  # closer than this, a decoded pose is sharper than the learned distance


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
    """latent (1, D), proprioception (1, P), goal (1, D), obstacles (K, 2) m in the robot's frame
    (what is not there lies far off), warm_start (1, H, A), proposals (M, H, A), noise (I, N - 1, H,
    A) standard normal -> what `forward` names. Actions in SI units.
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
        obstacles: Tensor,
        warm_start: Tensor,
        proposals: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, ...]:
        """actions (1, H, A), energy (1, H), latents (1, H, D), collision (1, H), uncertainty (1, H)
        expected squared error per latent component, and for the latent as it is: gap (1,) energy,
        relation (1, 5: goal's x m, y m, sin, cos, close logit)."""
        settings = self.settings
        mean, spread = warm_start, (self.high - self.low).expand_as(warm_start) / 4
        for k in range(settings.iterations):
            drawn = (mean + spread * noise[k]).clamp(self.low, self.high)
            if k == 0:
                drawn = torch.cat([proposals, drawn[settings.proposals :]])
            candidates = torch.cat([mean, drawn])
            cost, *_ = self.evaluate(candidates, latent, proprioception, goal, obstacles)
            elite = candidates[torch.topk(cost, settings.elites, largest=False).indices]
            mean = elite.mean(0, keepdim=True)
            spread = elite.std(0, keepdim=True) + settings.spread_floor * (self.high - self.low) / 4
        # The mean, not the best sample: a single sample wins by the model's errors.
        _, energy, latents, collision, uncertainty = self.evaluate(
            mean, latent, proprioception, goal, obstacles
        )
        gap = self.model.distance_energy(latent, goal)
        displacement, close = self.model.relation(latent, goal)
        relation = torch.cat([displacement, close[:, None]], -1)
        return mean, energy, latents, collision, uncertainty, gap, relation

    def evaluate(
        self,
        actions: Tensor,
        latent: Tensor,
        proprioception: Tensor,
        goal: Tensor,
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
        collision = torch.maximum(torch.stack(bumps, 1), self._blocked(actions, obstacles))
        energy = self._energy(latents.flatten(0, 1), goal).view(count, -1)
        before = torch.cat([proprioception[:, None, :2].expand(count, -1, -1), actions[:, :-1]], 1)
        jerk = ((actions - before) / (self.high - self.low)).square().sum(-1).mean(1)
        cost = (
            (energy * self.weight).sum(1)
            + self.settings.collision_weight * collision.mean(1)
            + self.settings.uncertainty_weight * uncertainty.mean(1)
            + self.settings.roughness_weight * jerk
        )
        return cost, energy, latents, collision, uncertainty

    def _energy(self, latents: Tensor, goal: Tensor) -> Tensor:
        """log1p(seconds to the goal) of latents (B, D), (B,).

        From afar the learned distance counts. Close by, where the goal's pose can be decoded, the
        time that this pose takes counts instead: it is the sharper of the two.
        """
        offset, close = self.model.relation(latents, goal)
        gap_m = offset[:, :2].norm(dim=1)
        near = torch.sigmoid(close) * torch.sigmoid((HOMING_M - gap_m) / (HOMING_M / 5))
        decoded = torch.log1p(travel_seconds(offset))
        return torch.lerp(self.model.distance_energy(latents, goal), decoded, near)

    def _blocked(self, actions: Tensor, obstacles: Tensor) -> Tensor:
        """Whether the disc would touch what the scan shows by then, (N, H) from 0 to 1.

        Poses follow from the actions (unicycle), two for each. Where the robot already stands
        closer than its margin, only coming closer counts. Once blocked, a way stays blocked: what
        the model imagines behind an obstacle will not happen.
        """
        settings = self.settings
        half = actions.repeat_interleave(2, 1) * (settings.action_s / 2)
        turn = half[..., 1]
        heading = turn.cumsum(1) - turn / 2
        x = (half[..., 0] * heading.cos()).cumsum(1)
        y = (half[..., 0] * heading.sin()).cumsum(1)
        place = torch.stack([x, y], -1).flatten(0, 1)
        squared = (
            place.square().sum(1, keepdim=True)
            - 2 * place @ obstacles.T
            + obstacles.square().sum(1)
        )
        gap_m = squared.amin(1).clamp(min=0).sqrt().view(len(actions), -1, 2).amin(2)
        now_m = obstacles.square().sum(1).amin(0).sqrt()
        least_m = (now_m - 0.01).clamp(max=settings.radius_m + settings.margin_m)
        touching = torch.sigmoid((least_m - gap_m) / 0.01)
        blocked = [touching[:, 0]]
        for k in range(1, settings.horizon):
            blocked.append(torch.maximum(blocked[-1], touching[:, k]))
        return torch.stack(blocked, 1)
