"""Relative poses of places: views and odometry together are better than either."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foresight.geometry import Pose, compose, inverse
from foresight.memory.relative_poses import RelativePoses
from foresight.runtime.dynamics import Compared

PLACE = 7
AT: Pose = (3.0, 1.0, 0.5)
"""Where the place is."""


def seen(offset: Pose, close: float = 1.0) -> Compared:
    return Compared(np.zeros(1), np.array([offset]), np.array([close]))


def look(offsets: RelativePoses, robot: Pose, view: Compared, moved_m: float) -> tuple[Pose, float]:
    displacement, agreement = offsets.fuse(np.array([PLACE]), view, robot, moved_m)
    x, y, yaw = displacement[0].tolist()
    return (x, y, yaw), float(agreement[0])


def off_m(offset: Pose, robot: Pose) -> float:
    return math.dist(offset[:2], compose(inverse(robot), AT)[:2])


def drive(offsets: RelativePoses, error_m: float, seed: int = 0) -> list[float]:
    """Drive to the place in steps of 0.15 m, with random errors of views; how far off, by step."""
    random, found = np.random.default_rng(seed), []
    for step in range(16):
        robot = 0.6 + 0.15 * step, 1.0, 0.1 * math.sin(step)
        x, y, yaw = compose(inverse(robot), AT)
        dx, dy = error_m * random.normal(size=2)
        offset, _ = look(offsets, robot, seen((x + dx, y + dy, yaw)), 0.15)
        found.append(off_m(offset, robot))
    return found


def test_believes_the_first_view() -> None:
    offset, agreement = look(RelativePoses(), (0.0, 0.0, 1.0), seen((0.4, -0.2, 0.3)), math.inf)
    assert offset == pytest.approx((0.4, -0.2, 0.3)) and agreement == 1.0


def test_several_views_locate_a_place_better_than_each_one() -> None:
    ends = [np.mean(drive(RelativePoses(), 0.2, seed)[-5:]) for seed in range(20)]
    assert np.mean(ends) < 0.6 * 0.2 * math.sqrt(math.pi / 2), "of the mean error of one view"


def test_repeated_views_at_rest_count_as_one_view() -> None:
    offsets = RelativePoses()
    offsets.stand_at(PLACE, AT)
    offset = AT
    for _ in range(20_000):
        offset, _ = look(offsets, AT, seen((0.3, 0.0, 0.0)), 0.0)
    assert off_m(offset, AT) < 0.05


def test_a_view_that_contradicts_odometry_agrees_little() -> None:
    offsets = RelativePoses()
    drive(offsets, 0.05)
    robot = 2.85, 1.0, 0.0
    _, agrees = look(offsets, robot, seen(compose(inverse(robot), AT)), 0.0)
    _, contradicts = look(offsets, robot, seen((2.0, 2.0, 0.0)), 0.0)
    assert agrees > 0.9 and contradicts < 0.2


def test_believes_the_view_after_being_carried_to_a_place() -> None:
    offsets = RelativePoses()
    drive(offsets, 0.05)
    robot = 5.0, 2.0, 0.0  # by odometry, which knows nothing of it
    offset, agreement = look(offsets, robot, seen((0.3, 0.1, 0.2)), 0.15)
    assert offset == pytest.approx((0.3, 0.1, 0.2), abs=0.1) and agreement < 0.2


def test_notices_being_carried_a_little() -> None:
    offsets = RelativePoses()
    offsets.stand_at(PLACE, AT)
    offset, agreement = look(offsets, AT, seen((2.0, 0.0, 0.0)), 0.0)
    assert offset == pytest.approx((2.0, 0.0, 0.0)) and agreement < 0.2


def test_notices_being_turned_by_hand() -> None:
    offsets = RelativePoses()
    offsets.stand_at(PLACE, AT)
    offset, agreement = look(offsets, AT, seen((0.0, 0.0, 3.0)), 0.0)
    assert offset == pytest.approx((0.0, 0.0, 3.0)) and agreement < 0.2


def test_wraps_turns_over_half_a_circle() -> None:
    offsets = RelativePoses()
    (_, _, first), _ = look(offsets, (0.0, 0.0, 3.0), seen((0.0, 0.0, 0.2)), math.inf)
    (_, _, second), agreement = look(offsets, (0.0, 0.0, -3.1), seen((0.0, 0.0, 0.02)), 0.3)
    assert first == pytest.approx(0.2) and -0.1 < second < 0.1 and agreement > 0.9


def test_reset_forgets_where_places_were() -> None:
    offsets = RelativePoses()
    offsets.stand_at(PLACE, AT)
    offsets.reset()
    offset, agreement = look(offsets, AT, seen((0.7, 0.0, 0.0)), 0.15)
    assert offset == pytest.approx((0.7, 0.0, 0.0)) and agreement == 1.0


def test_an_untrusted_view_changes_nothing() -> None:
    offsets = RelativePoses()
    drive(offsets, 0.05)
    robot = 2.85, 1.0, 0.0
    _, agreement = look(offsets, robot, seen((5.0, 5.0, 0.0), close=0.1), 0.0)
    assert agreement == 1.0
    offset, agreement = look(offsets, robot, seen(compose(inverse(robot), AT)), 0.0)
    assert off_m(offset, robot) < 0.1 and agreement > 0.9
