"""The recovery manoeuvre: what its legs do, and where it turns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.control.recovery import ADVANCE_M, BACK_OFF_M, OpenHeadings, manoeuvre, remaining
from foresight.control.safety import Plan

LOW, HIGH = np.array([-0.2, -1.4]), np.array([0.5, 1.4])
RADIUS_M = 0.17
NOTHING = np.zeros((0, 2))


def recovery(back_off_m: float, turn_rad: float, advance_m: float, action_s: float = 0.5) -> Plan:
    return manoeuvre(
        10.0,
        action_s,
        LOW,
        HIGH,
        back_off_m=back_off_m,
        turn_rad=turn_rad,
        advance_m=advance_m,
    )


def wall(bearing_rad: float, away_m: float) -> np.ndarray:
    """Points (N, 2) m of a wall of 2 m, square to a bearing."""
    along = np.stack([np.full(41, away_m), np.linspace(-1.0, 1.0, 41)], 1)
    c, s = math.cos(bearing_rad), math.sin(bearing_rad)
    return along @ np.array([[c, s], [-s, c]])


# ----- legs


@given(
    back_off_m=st.floats(-0.5, 0.5),
    turn_rad=st.floats(-math.pi, math.pi),
    advance_m=st.floats(0.0, 1.0),
    action_s=st.floats(0.05, 2.0),
)
def test_it_drives_the_distances_and_the_turn_within_the_limits(
    back_off_m: float, turn_rad: float, advance_m: float, action_s: float
) -> None:
    actions = recovery(back_off_m, turn_rad, advance_m, action_s).actions
    assert (actions >= LOW).all() and (actions <= HIGH).all()
    assert (actions == 0).any(1).all(), "it drives or turns, not both at once"
    assert action_s * actions[:, 1].sum() == pytest.approx(turn_rad, abs=1e-9)
    assert action_s * actions[:, 0].sum() == pytest.approx(advance_m - back_off_m, abs=1e-9)


def test_it_backs_off_first_then_turns_then_drives_on() -> None:
    linear, angular = recovery(BACK_OFF_M, 1.0, ADVANCE_M).actions.T
    turning = np.flatnonzero(angular)
    assert (linear[: turning[0]] < 0).all() and turning[0] > 0
    assert (linear[turning[-1] + 1 :] > 0).all() and turning[-1] < len(linear) - 1


def test_after_a_bump_from_behind_it_drives_forward_first() -> None:
    actions = recovery(-BACK_OFF_M, 1.0, 0.0).actions
    assert actions[0, 0] > 0
    assert (actions[:, 0] >= 0).all()


def test_a_robot_that_cannot_reverse_only_turns_and_drives_on() -> None:
    plan = manoeuvre(
        0.0, 0.5, (0.0, -1.4), HIGH, back_off_m=BACK_OFF_M, turn_rad=0.5, advance_m=ADVANCE_M
    )
    assert (plan.actions[:, 0] >= 0).all() and plan.actions[0, 1] > 0


def test_what_remains_begins_with_the_action_whose_time_it_is() -> None:
    plan = recovery(BACK_OFF_M, 1.0, ADVANCE_M)
    np.testing.assert_array_equal(remaining(plan, 10.0, 20)[: len(plan.actions)], plan.actions)
    np.testing.assert_array_equal(remaining(plan, 10.6, 2), plan.actions[1:3])
    assert remaining(plan, 10.0, 3).shape == (3, 2)
    assert not remaining(plan, plan.end_s, 8).any()
    np.testing.assert_array_equal(remaining(plan, 9.0, 4), plan.actions[:4])


# ----- where to turn


@pytest.mark.parametrize("open_rad", [0.0, math.pi / 2, -math.pi / 2, math.pi])
def test_it_turns_to_the_side_without_a_wall(open_rad: float) -> None:
    walls = [wall(k * math.pi / 2, 0.25) for k in range(4)]
    walls.pop(round(open_rad / (math.pi / 2)) % 4)
    turn_rad = OpenHeadings(RADIUS_M).choose(np.concatenate(walls), 0.0)
    assert abs(np.angle(np.exp(1j * (turn_rad - open_rad)))) < 0.3


def test_on_open_floor_it_does_not_turn() -> None:
    assert OpenHeadings(RADIUS_M).choose(NOTHING, 2.0) == 0.0


def test_a_heading_that_was_ruled_out_is_left_to_the_nearer_side() -> None:
    headings = OpenHeadings(RADIUS_M)
    headings.rule_out(2.2)
    assert -1.1 < headings.choose(NOTHING, 2.0) < -0.7


def test_choices_in_a_row_lead_all_around() -> None:
    headings = OpenHeadings(RADIUS_M)
    chosen = np.exp(1j * np.array([headings.choose(NOTHING, 0.0) for _ in range(5)]))
    apart = np.abs(np.angle(chosen[:, None] / chosen)) + 10 * np.eye(5)
    assert apart.min() > 0.9


def test_forgotten_headings_may_be_tried_again() -> None:
    headings = OpenHeadings(RADIUS_M)
    assert headings.choose(NOTHING, 0.0) != headings.choose(NOTHING, 0.0)
    headings.forget()
    assert headings.choose(NOTHING, 0.0) == 0.0
