"""The search of the exported planner.

Cross-entropy method (Rubinstein 1999) over action sequences, improved as in iCEM (Pinneri et al.
2020): noise that is coloured along the horizon, a warm start from the last plan, and elites that
stay in the race; elites weigh the more the cheaper they are (Hansen et al. 2022); besides,
proposals that hold an action for several steps.
Imported for export only: the robot runs the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foresight.bodies.body import ActionBounds
from foresight.bundle.manifest import PlannerSpec
from foresight.solvers.coloured_noise import colouring
from foresight.solvers.protocols import Candidates, Dynamics, Objective


class ICEM(nn.Module):
    """A `Solver`: searches with any dynamics for what any objective wants."""

    low: Tensor
    high: Tensor
    colour: Tensor

    def __init__(
        self,
        dynamics: Dynamics,
        objective: Objective,
        bounds: ActionBounds,
        settings: PlannerSpec,
    ) -> None:
        super().__init__()
        self.dynamics, self.objective, self.settings = dynamics, objective, settings
        self.register_buffer("low", torch.tensor(bounds.low))
        self.register_buffer("high", torch.tensor(bounds.high))
        colour = colouring(settings.horizon, settings.noise_exponent)
        self.register_buffer("colour", torch.from_numpy(colour))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The situation, warm_start (1, H, A), proposals (M, H, A), noise (I, N - 1, H, A) of all
        rounds -> what `end` gives."""
        *situation, warm_start, proposals, noise = inputs
        first, *others = noise.split(1)
        state = self.begin(*situation, warm_start, proposals, first)
        for white in others:
            state = self.go_on(*situation, *state, white)
        return self.end(*situation, state[0])

    def begin(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Solver`. The state is mean (1, H, A), spread (1, H, A), and the best so far,
        (kept, H, A) with their costs (kept,)."""
        *situation, mean, proposals, white = inputs
        spread = ((self.high - self.low) / 4).expand_as(mean)
        drawn = self._draw(mean, spread, white)[self.settings.proposals :]
        candidates = torch.cat([mean, proposals, drawn])
        return self._select(candidates, self.cost(candidates, *situation))

    def go_on(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Solver`."""
        *situation, mean, spread, kept, kept_cost, white = inputs
        candidates = torch.cat([mean, self._draw(mean, spread, white)])
        cost = self.cost(candidates, *situation)
        return self._select(torch.cat([candidates, kept]), torch.cat([cost, kept_cost]))

    def end(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Solver`. The plan is the mean, not the best sample: a single sample wins by the
        model's errors."""
        *situation, mean = inputs
        candidates, task = self._foresee(mean, *situation)
        energy, collision = self.objective.report(candidates, *task)
        latents, _, uncertainty = candidates.foreseen
        told = (energy, latents, collision, uncertainty)
        return mean, *(part.transpose(0, 1) for part in told)

    def cost(self, actions: Tensor, *situation: Tensor) -> Tensor:
        """Of action sequences (N, H, A): (N,)."""
        candidates, task = self._foresee(actions, *situation)
        return self.objective.cost(candidates, *task)

    def _foresee(self, actions: Tensor, *situation: Tensor) -> tuple[Candidates, list[Tensor]]:
        """What action sequences (N, H, A) lead to, and the objective's share of the situation."""
        latent, proprioception, *task, committed, delay = situation
        late = nn.functional.pad(delay, (0, self.settings.horizon - 1))[:, None]
        driven = actions + late * (committed - actions)
        foreseen = self.dynamics(latent, proprioception, driven)
        return Candidates(actions, driven, foreseen, proprioception), task

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
