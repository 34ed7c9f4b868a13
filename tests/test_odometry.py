"""Odometry of the last moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foresight.odometry import OdometryBuffer

REST = (0.0, 0.0)


def pose(x: float, yaw: float = 0.0) -> tuple[float, float, float]:
    return x, 0.0, yaw


@pytest.fixture
def driven() -> OdometryBuffer:
    """One metre in a second, then turned across the cut at pi."""
    driven = OdometryBuffer(2.0, reach_s=0.5)
    driven.add(10.0, pose(0.0), (1.0, 0.0))
    driven.add(11.0, pose(1.0, 3.0), (0.5, 1.0))
    driven.add(11.5, pose(1.0, -3.0), (0.5, 0.0))
    return driven


def test_between_two_times_pose_and_twist_are_interpolated(driven: OdometryBuffer) -> None:
    at, twist = driven.at(10.5)
    np.testing.assert_allclose(at, [0.5, 0.0, 1.5])
    np.testing.assert_allclose(twist, [0.75, 0.5])
    turned = driven.at(11.25)[0][2]
    assert math.cos(turned) == pytest.approx(-1.0)  # the shorter turn


def test_shortly_after_the_last_message_the_robot_drives_on(driven: OdometryBuffer) -> None:
    driven.add(12.0, pose(0.5), (1.0, 1.0))
    at, twist = driven.at(12.2)
    np.testing.assert_allclose(at, [0.5 + 0.2 * math.cos(0.1), 0.2 * math.sin(0.1), 0.2])
    np.testing.assert_allclose(twist, [1.0, 1.0])


def test_a_time_far_from_all_odometry_is_not_known(driven: OdometryBuffer) -> None:
    assert driven.at(9.4) is None and driven.silence_s(9.4) == pytest.approx(0.6)
    assert driven.at(12.1) is None
    np.testing.assert_allclose(driven.at(9.6)[0], pose(0.0))  # it stood where it began
    assert OdometryBuffer(2.0).at(0.0) is None
    assert OdometryBuffer(2.0).silence_s(0.0) == math.inf


def test_what_is_older_than_it_keeps_is_forgotten(driven: OdometryBuffer) -> None:
    driven.add(20.0, pose(5.0), REST)
    assert driven.at(10.5) is None


@pytest.mark.parametrize(
    ("stamp_s", "at", "twist"),
    [
        (12.0, pose(math.nan), REST),
        (12.0, pose(0.0), (0.0, math.inf)),
        (math.nan, pose(0.0), REST),
    ],
)
def test_a_number_that_is_not_finite_is_refused(
    driven: OdometryBuffer, stamp_s: float, at: tuple[float, ...], twist: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="finite numbers are expected; check"):
        driven.add(stamp_s, at, twist)
    np.testing.assert_allclose(driven.at(11.5)[0], pose(1.0, -3.0))


def test_odometry_begins_anew_when_time_goes_back_or_the_pose_jumps(driven: OdometryBuffer) -> None:
    assert driven.add(5.0, pose(7.0), REST)
    assert driven.at(11.0) is None
    np.testing.assert_allclose(driven.at(5.0)[0], pose(7.0))
    assert driven.add(5.1, pose(12.0), REST)
    assert not driven.add(5.2, pose(12.1), REST)
    np.testing.assert_allclose(driven.at(5.05)[0], pose(12.0))


def test_of_two_messages_for_one_time_the_last_counts(driven: OdometryBuffer) -> None:
    assert not driven.add(11.5, pose(1.5), REST)
    np.testing.assert_allclose(driven.at(11.5)[0], pose(1.5))


def test_fast_odometry_is_thinned_out_and_loses_nothing_of_its_span() -> None:
    driven = OdometryBuffer(2.0)
    for tick in range(20_000):  # at 2 kHz, 1 m/s
        driven.add(tick * 5e-4, pose(tick * 5e-4), (1.0, 0.0))
    np.testing.assert_allclose(driven.at(8.1)[0], pose(8.1), atol=1e-9)
    assert len(driven._times) < 600


def test_poses_are_reckoned_from_twists_where_odometry_has_no_pose() -> None:
    """A quarter of a circle of 1 m radius, told at 50 Hz."""
    driven = OdometryBuffer(2.0)
    rate = math.pi / 2
    for tick in range(51):
        driven.drive(tick / 50, (rate, rate))
    driven.drive(0.5, (9.0, 9.0))  # too late to count
    np.testing.assert_allclose(driven.at(1.0)[0], [1.0, 1.0, math.pi / 2], atol=1e-3)
