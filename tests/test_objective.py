"""What the planner wants: it keeps clear of the scan and homes in on decoded poses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foresight.bundle.manifest import PlannerSpec
from foresight.training.export import fused
from foresight.world_model.networks import LATENT, WorldModel
from foresight.world_model.objective import HOMING_M, ReachGoal
from passthrough import ACTION_S, BODY

SETTINGS = PlannerSpec()
RADIUS_M = BODY.footprint_radius_m
AHEAD = torch.tensor([0.4, 0.0]).expand(1, SETTINGS.horizon, 2)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(BODY).eval()


@pytest.fixture(scope="module")
def objective(model: WorldModel) -> ReachGoal:
    return ReachGoal(model.distance_net, BODY, ACTION_S, SETTINGS).eval()


def far_but(*points: tuple[float, float]) -> Tensor:
    """Obstacles (K, 2) m: these, and nothing else near."""
    obstacles = torch.full((SETTINGS.obstacles, 2), 100.0)
    obstacles[: len(points)] = torch.tensor(points).view(-1, 2)
    return obstacles


def blocked(objective: ReachGoal, actions: Tensor, obstacles: Tensor) -> Tensor:
    """How far the path of actions (1, H, 2) is blocked, (1, H)."""
    x, y, _ = objective.path(actions)
    return objective.blocked(x, y, obstacles).T


def test_a_free_path_is_not_blocked(objective: ReachGoal) -> None:
    assert float(blocked(objective, AHEAD, far_but()).max()) < 1e-6


def test_a_path_is_blocked_from_the_obstacle_on(objective: ReachGoal) -> None:
    """At 0.4 m/s the disc of 0.17 m touches what is 1 m ahead in the fifth action, after 2 s."""
    found = blocked(objective, AHEAD, far_but((1.0, 0.0)))[0]
    assert float(found[:3].max()) < 0.01
    assert float(found[4:].min()) > 0.99  # beyond it, too


def test_what_stands_beside_the_path_does_not_block_it(objective: ReachGoal) -> None:
    beside = RADIUS_M + SETTINGS.margin_m
    assert float(blocked(objective, AHEAD, far_but((1.0, beside + 0.06))).max()) < 0.01
    assert float(blocked(objective, AHEAD, far_but((1.0, beside - 0.06))).max()) > 0.99


def test_a_wider_robot_does_not_fit_through(model: WorldModel) -> None:
    """A gap of half a metre lets a robot of 17 cm radius through, one of 25 cm it does not."""
    gap = far_but((1.0, 0.25), (1.0, -0.25))
    wide = BODY.model_copy(update={"footprint_radius_m": 0.25})
    slim, broad = (ReachGoal(model.distance_net, body, ACTION_S, SETTINGS) for body in (BODY, wide))
    assert float(blocked(slim, AHEAD, gap).max()) < 0.01 < 0.9 < blocked(broad, AHEAD, gap).max()


def test_turning_on_the_spot_is_free_even_beside_a_wall(objective: ReachGoal) -> None:
    turning = torch.tensor([0.0, 1.0]).expand(1, SETTINGS.horizon, 2)
    touching = far_but((RADIUS_M + 0.005, 0.0))
    assert float(blocked(objective, turning, touching).max()) < 0.3
    assert float(blocked(objective, AHEAD, touching).min()) > 0.99


def test_the_plan_keeps_clear_of_a_wall(model: WorldModel, objective: ReachGoal) -> None:
    """Whatever the untrained model hopes for: a wall of points 0.5 m ahead is not driven into."""
    wall = far_but(*[(0.5, 0.04 * k) for k in range(-60, 60)])
    generator = torch.Generator().manual_seed(1)
    plan = (SETTINGS.horizon, 2)
    low, high = torch.tensor(BODY.action.low), torch.tensor(BODY.action.high)
    held = torch.rand(SETTINGS.proposals, 1, 2, generator=generator).expand(-1, *plan)
    proposals = low + (high - low) * held
    with torch.no_grad():
        actions, *_ = fused(model, BODY, SETTINGS)(
            torch.zeros(1, LATENT),
            torch.zeros(1, 3),
            torch.ones(1, LATENT),
            torch.tensor([[1.5, 0.0, 0.0]]),
            torch.ones(1),
            wall,
            torch.zeros(1, 2),
            torch.zeros(1),
            AHEAD,
            proposals,
            torch.randn(SETTINGS.iterations, SETTINGS.samples - 1, *plan, generator=generator),
        )
    assert float(blocked(objective, actions, wall).max()) < 0.5


def test_close_by_the_pose_of_the_goal_counts(objective: ReachGoal) -> None:
    """Its place is trusted, and 0.2 m further on: half a second at cruising speed."""
    learned = torch.tensor([[1.7]])

    def energy(metres: float, trust: float) -> float:
        here = [torch.zeros(1, 1)] * 3
        goal_pose = torch.tensor([[metres, 0.0, 0.0]])
        return float(objective.homing(learned, *here, goal_pose, torch.tensor([trust])))

    assert energy(0.2, 1.0) == pytest.approx(math.log1p(0.2 / 0.4), abs=0.07)
    assert energy(0.2, 0.0) == pytest.approx(1.7)  # not sure that it is close
    assert energy(4 * HOMING_M, 1.0) == pytest.approx(1.7, abs=0.01)  # too far off


def test_close_by_turning_to_the_heading_of_the_goal_pays(objective: ReachGoal) -> None:
    learned = here = torch.zeros(1, 1)
    goal_pose, sure = torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1)
    energies = [
        float(objective.homing(learned, here, here, torch.full((1, 1), yaw), goal_pose, sure))
        for yaw in (-0.5, 0.0, 0.5, 1.0)
    ]
    assert sorted(energies, reverse=True) == energies
    assert energies[-1] < 0.05
