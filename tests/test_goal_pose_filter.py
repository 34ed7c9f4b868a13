"""Where the goal is taken to be: sightings, moved along with the robot and averaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.planning.goal_pose_filter import GoalPoseFilter

STILL = np.zeros(2)


def test_the_first_sighting_is_believed() -> None:
    sight = GoalPoseFilter()
    sight.update(0.0, STILL, np.array([0.4, -0.2, 0.3]), 0.9)
    np.testing.assert_allclose(sight.pose, [0.4, -0.2, 0.3], atol=1e-9)
    assert sight.trust == pytest.approx(0.9)


def test_flicker_is_averaged_out() -> None:
    """A pose that jumps by 0.1 m from view to view moves the estimate by less than half of that."""
    sight = GoalPoseFilter()
    found = []
    for k in range(20):
        sight.update(0.3 * k, STILL, np.array([0.2 + 0.05 * (-1) ** k, 0.0, 0.0]), 0.95)
        found.append(sight.pose[0])
    assert np.ptp(found[-6:]) < 0.05
    assert np.mean(found[-6:]) == pytest.approx(0.2, abs=0.02)


@given(
    st.floats(-0.2, 0.5),
    st.floats(-1.4, 1.4),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-3, 3)),
)
def test_a_goal_that_is_out_of_sight_stays_where_it_was(
    linear: float, angular: float, goal: tuple[float, float, float]
) -> None:
    """Driving along an arc with the view lost, against arithmetic on complex numbers."""
    sight, twist = GoalPoseFilter(), np.array([linear, angular])
    sight.update(0.0, twist, np.array(goal), 1.0)
    nonsense = np.array([9.0, 9.0, 1.0])
    for k in range(1, 5):
        sight.update(0.1 * k, twist, nonsense, 0.0)
    turned, robot = 0.4 * angular, 0j
    for k in range(400):
        robot += 0.001 * linear * complex(math.cos(k * turned / 400), math.sin(k * turned / 400))
    away = (complex(goal[0], goal[1]) - robot) * complex(math.cos(turned), -math.sin(turned))
    assert sight.pose[:2] == pytest.approx([away.real, away.imag], abs=5e-3)
    assert math.cos(sight.pose[2] - goal[2] + turned) == pytest.approx(1.0, abs=1e-4)


def test_trust_fades_when_the_goal_is_lost_and_comes_back() -> None:
    sight, seen = GoalPoseFilter(), np.array([0.3, 0.0, 0.0])
    sight.update(0.0, STILL, seen, 1.0)
    sight.update(0.3, STILL, seen, 0.0)
    once = sight.trust
    for k in range(2, 12):
        sight.update(0.3 * k, STILL, seen, 0.0)
    assert 0.2 < once < 1.0
    assert sight.trust < 0.05
    for k in range(12, 24):
        sight.update(0.3 * k, STILL, seen, 1.0)
    assert sight.trust > 0.95


@pytest.mark.parametrize("rate_hz", [3.0, 10.0, 30.0])
def test_how_long_the_past_counts_does_not_depend_on_the_rate(rate_hz: float) -> None:
    """0.6 s after the goal was lost, about 1/e of the trust is left."""
    sight, period_s = GoalPoseFilter(), 1 / rate_hz
    for k in range(round(3 * rate_hz)):
        sight.update(k * period_s, STILL, np.array([0.3, 0.0, 0.0]), 1.0)
    for k in range(round(3 * rate_hz), round(3.6 * rate_hz)):
        sight.update(k * period_s, STILL, np.array([0.3, 0.0, 0.0]), 0.0)
    assert sight.trust == pytest.approx(np.exp(-1), abs=0.06)


def test_views_that_err_towards_near_count_no_more() -> None:
    sight, found = GoalPoseFilter(), []
    for k in range(40):
        sight.update(0.1 * k, STILL, np.array([0.3 + 0.2 * (-1) ** k, 0.0, 0.0]), 1.0)
        found.append(sight.pose[0])
    assert np.mean(found[-20:]) == pytest.approx(0.3, abs=0.03)


def test_headings_are_averaged_across_the_back() -> None:
    sight = GoalPoseFilter()
    for k in range(20):
        sight.update(0.3 * k, STILL, np.array([0.2, 0.0, math.pi - 0.1 * (-1) ** k]), 1.0)
    assert abs(sight.pose[2]) > 2.9
