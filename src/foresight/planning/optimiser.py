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


@dataclass(frozen=True)
class Settings:
    """Shape of the search and weights of the cost.

    samples N per round, of which the first round takes `proposals` M from outside; rounds I;
    horizon H; elites E. Costs are per step, in units of log1p(seconds to the goal).
    """

    samples: int = 128
    proposals: int = 64
    iterations: int = 5
    horizon: int = 8
    elites: int = 12
    final_weight: float = 2.5
    collision_weight: float = 3.0
    uncertainty_weight: float = 0.3
    roughness_weight: float = 0.1
    spread_floor: float = 0.12


class Optimiser(nn.Module):
    """latent (1, D), proprioception (1, P), goal (1, D), warm_start (1, H, A), proposals (M, H, A),
    noise (I, N - 1, H, A) standard normal -> what `forward` names. Actions in SI units.
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
            cost, *_ = self.evaluate(candidates, latent, proprioception, goal)
            elite = candidates[torch.topk(cost, settings.elites, largest=False).indices]
            mean = elite.mean(0, keepdim=True)
            spread = elite.std(0, keepdim=True) + settings.spread_floor * (self.high - self.low) / 4
        # The mean, not the best sample: a single sample wins by the model's errors.
        _, energy, latents, collision, uncertainty = self.evaluate(
            mean, latent, proprioception, goal
        )
        gap = self.model.distance_energy(latent, goal)
        displacement, close = self.model.relation(latent, goal)
        relation = torch.cat([displacement, close[:, None]], -1)
        return mean, energy, latents, collision, uncertainty, gap, relation

    def evaluate(
        self, actions: Tensor, latent: Tensor, proprioception: Tensor, goal: Tensor
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
        latents, collision = torch.stack(states, 1), torch.stack(bumps, 1)
        uncertainty = torch.stack(errors, 1)
        energy = self.model.distance_energy(latents.flatten(0, 1), goal).view(count, -1)
        before = torch.cat([proprioception[:, None, :2].expand(count, -1, -1), actions[:, :-1]], 1)
        jerk = ((actions - before) / (self.high - self.low)).square().sum(-1).mean(1)
        cost = (
            (energy * self.weight).sum(1)
            + self.settings.collision_weight * collision.mean(1)
            + self.settings.uncertainty_weight * uncertainty.mean(1)
            + self.settings.roughness_weight * jerk
        )
        return cost, energy, latents, collision, uncertainty
