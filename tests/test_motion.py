"""How a body moves: where its actions lead, and how long it takes from place to place."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from foresight.bodies.differential_drive import TravelSpeeds
from foresight.world_model.losses import displacement
from foresight.world_model.motion import DifferentialMotion, motion_of
from passthrough import ACTION_S, BODY

MOTION = motion_of(BODY)
metres = st.floats(-5, 5)
turns = st.floats(-3.1, 3.1)


def there(x: float, y: float, yaw: float) -> Tensor:
    return torch.tensor([x, y, math.sin(yaw), math.cos(yaw)], dtype=torch.float64)


def seconds(x: float, y: float, yaw: float) -> float:
    return float(MOTION.seconds(there(x, y, yaw)))


def test_actions_lead_where_a_unicycle_goes() -> None:
    """A quarter turn left, then half a metre on, in actions of half a second."""
    actions = torch.tensor([0.4, 0.0]).repeat(1, 8, 1)
    actions[0, :2] = torch.tensor([[0.0, math.pi], [1.0, 0.0]])
    x, y, heading = MOTION.path(8, ACTION_S)(actions)
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.25], [0.0, 0.5]])
    torch.testing.assert_close(torch.stack([x, y], 2)[:4, 0], expected, atol=1e-6, rtol=0)
    quarter = math.pi / 2
    expected = torch.tensor([quarter / 2, quarter, quarter, quarter])
    torch.testing.assert_close(heading[:4, 0], expected, atol=1e-6, rtol=0)


def test_staying_takes_no_time() -> None:
    assert seconds(0, 0, 0) == pytest.approx(0, abs=1e-5)


@given(metres, metres, turns)
def test_going_elsewhere_takes_time(x: float, y: float, yaw: float) -> None:
    found = seconds(x, y, yaw)
    assert math.isfinite(found)
    assert found >= math.hypot(x, y) / BODY.action.high[0] - 1e-9


@given(turns, st.floats(0, 5), st.floats(0.01, 1))
def test_farther_along_a_straight_line_takes_longer(
    bearing: float, metres: float, more: float
) -> None:
    def towards(distance: float) -> float:
        return seconds(distance * math.cos(bearing), distance * math.sin(bearing), 0.0)

    assert towards(metres + more) > towards(metres)


@given(st.floats(0, 3.0), st.floats(0.01, 0.1))
def test_turning_further_takes_longer(yaw: float, more: float) -> None:
    assert seconds(0, 0, yaw + more) > seconds(0, 0, yaw)


@given(metres, metres, turns, metres, metres, turns)
def test_a_plan_and_the_teacher_count_the_same_seconds(
    x: float, y: float, yaw: float, goal_x: float, goal_y: float, goal_yaw: float
) -> None:
    here, goal = torch.tensor([x, y, yaw]).double(), torch.tensor([goal_x, goal_y, goal_yaw])
    planned = MOTION.seconds_from(*here.view(3, 1, 1), goal.double())
    taught = MOTION.seconds(displacement(here, goal.double()))
    assert float(planned) == pytest.approx(float(taught), abs=1e-3)


def test_a_robot_takes_the_seconds_of_its_own_speeds() -> None:
    """Ahead at cruising speed, back in reverse, round at turning speed."""
    speeds = TravelSpeeds(cruise_mps=0.25, reverse_mps=0.1, turn_radps=0.5)
    motion = DifferentialMotion(speeds)
    ahead, back, round = (
        float(motion.seconds(there(*pose))) for pose in ((2, 0, 0), (-0.5, 0, 0), (0, 0, 1))
    )
    assert ahead == pytest.approx(2 / 0.25, abs=0.05)
    assert back == pytest.approx(0.5 / 0.1, abs=0.8)
    assert round == pytest.approx(1 / 0.5, abs=0.01)


def test_a_robot_that_cannot_reverse_turns_round() -> None:
    speeds = TravelSpeeds(cruise_mps=0.4, reverse_mps=0, turn_radps=1.1)
    needed = float(DifferentialMotion(speeds).seconds(there(-1, 0, 0)))
    assert needed == pytest.approx(1 / 0.4 + 2 * math.pi / 1.1, rel=0.05)
    assert math.isfinite(float(DifferentialMotion(speeds).seconds(there(0, 0, 0))))
