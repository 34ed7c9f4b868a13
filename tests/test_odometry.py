"""Odometry of the last moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foresight.odometry import OdometryBuffer

REST = np.zeros(2)


def pose(x: float, yaw: float = 0.0) -> np.ndarray:
    return np.array([x, 0.0, yaw])


@pytest.fixture
def track() -> OdometryBuffer:
    """One metre in a second, then turned across the cut at pi."""
    track = OdometryBuffer()
    track.add(10.0, pose(0.0), np.array([1.0, 0.0]))
    track.add(11.0, pose(1.0, 3.0), np.array([0.5, 1.0]))
    track.add(11.5, pose(1.0, -3.0), np.array([0.5, 0.0]))
    return track


def test_between_two_times_it_is_between_two_poses(track: OdometryBuffer) -> None:
    at, twist = track.at(10.5)
    np.testing.assert_allclose(at, [0.5, 0.0, 1.5])
    np.testing.assert_allclose(twist, [0.75, 0.5])
    turned = track.at(11.25)[0][2]
    assert math.cos(turned) == pytest.approx(-1.0)  # the short way round


def test_shortly_after_the_last_one_the_robot_goes_on(track: OdometryBuffer) -> None:
    track.add(12.0, pose(0.0), np.array([1.0, 1.0]))
    at, twist = track.at(12.2)
    np.testing.assert_allclose(at, [0.2 * math.cos(0.1), 0.2 * math.sin(0.1), 0.2])
    np.testing.assert_allclose(twist, [1.0, 1.0])


def test_what_is_not_known_is_not_told(track: OdometryBuffer) -> None:
    assert track.at(9.9) is None
    assert track.at(12.0) is None
    assert OdometryBuffer().at(0.0) is None
    track.add(20.0, pose(0.0), REST)  # the rest is too old to be kept
    assert track.at(11.0) is None


def test_what_is_no_number_is_left_out(track: OdometryBuffer) -> None:
    assert not track.add(12.0, pose(math.nan), REST)
    assert not track.add(12.0, pose(0.0), np.array([0.0, math.inf]))
    assert not track.add(math.nan, pose(0.0), REST)
    np.testing.assert_allclose(track.at(11.5)[0], pose(1.0, -3.0))


def test_a_clock_that_is_set_back_begins_anew(track: OdometryBuffer) -> None:
    track.add(5.0, pose(7.0), REST)
    assert track.at(11.0) is None
    np.testing.assert_allclose(track.at(5.0)[0], pose(7.0))


def test_the_same_time_twice_takes_the_last_one(track: OdometryBuffer) -> None:
    assert track.add(11.5, pose(2.0), REST)
    np.testing.assert_allclose(track.at(11.5)[0], pose(2.0))
