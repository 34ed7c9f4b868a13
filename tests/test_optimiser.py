"""The search by itself, with a dynamics and an objective that are neither learned nor of a
differential drive: a point that moves freely in the plane, and where it is to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foresight.bodies.body import ActionBounds
from foresight.bundle.manifest import PlannerSpec
from foresight.solvers.icem import ICEM
from foresight.solvers.protocols import Candidates, Prediction

BOUNDS = ActionBounds(names=("x_mps", "y_mps", "z_mps"), low=(-1, -1, -1), high=(1, 1, 1))
SETTINGS = PlannerSpec(samples=64, proposals=8, iterations=12, horizon=6, elites=8, kept=4)
PLAN = (SETTINGS.horizon, 3)


class Point(nn.Module):
    """The latent is where it is (3,) m; an action moves it by as many metres."""

    def forward(self, latent: Tensor, proprioception: Tensor, actions: Tensor) -> Prediction:
        places = (latent + actions.cumsum(1)).transpose(0, 1)
        nothing = torch.zeros(places.shape[:2])
        return Prediction(places, nothing, nothing + 1)


class BeThere(nn.Module):
    """To be at a point at the end. Its task: that point (1, 3)."""

    def cost(self, candidates: Candidates, *task: Tensor) -> Tensor:
        return self.report(candidates, *task)[0][-1]

    def report(self, candidates: Candidates, *task: Tensor) -> tuple[Tensor, Tensor]:
        energy = (candidates.foreseen.latents - task[0]).norm(dim=2)
        return energy, candidates.foreseen.bumps


def plan_to(goal: list[float], committed: Tensor, delay: float) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return ICEM(Point(), BeThere(), BOUNDS, SETTINGS)(
        torch.zeros(1, 3),
        torch.zeros(1, 4),
        torch.tensor([goal]),
        committed,
        torch.tensor([delay]),
        torch.zeros(1, *PLAN),
        torch.rand(SETTINGS.proposals, *PLAN, generator=generator) * 2 - 1,
        torch.randn(SETTINGS.iterations, SETTINGS.samples - 1, *PLAN, generator=generator),
    )


def test_the_search_finds_what_is_wanted() -> None:
    actions, energy, places, collision, uncertainty = plan_to([2, -1, 1], torch.zeros(1, 3), 0.0)
    assert actions.shape == (1, *PLAN) and places.shape == (1, *PLAN)
    torch.testing.assert_close(places[0, -1], torch.tensor([2.0, -1.0, 1.0]), atol=0.15, rtol=0)
    assert float(energy[0, -1]) < 0.2 < float(energy[0, 0])
    assert float(collision.max()) == 0 and float(uncertainty.min()) == 1


def test_a_plan_keeps_the_bounds() -> None:
    actions, *_ = plan_to([100, 0, 0], torch.zeros(1, 3), 0.0)
    assert float(actions.max()) <= 1
    assert float(actions[..., 0].min()) > 0.5


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0])
def test_what_is_past_changing_is_imagined(delay: float) -> None:
    """Of the first action, that share is what the robot does anyway."""
    anyway = torch.tensor([[-1.0, 0.5, 0.0]])
    actions, _, places, _, _ = plan_to([2, -1, 1], anyway, delay)
    first = (1 - delay) * actions[:, 0] + delay * anyway
    torch.testing.assert_close(places[:, 0], first)
