"""Detecting a frozen or covered camera, whatever its stamps say."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.perception.camera_watch import CameraWatch
from foresight.perception.image import ImageError

LIMIT_S = 0.5
MOVING, TURNING, RESTING = (0.3, 0.0), (0.0, 0.5), (0.0, 0.0)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)


def look(watch: CameraWatch, rgb: np.ndarray, stamp_s: float, speeds: tuple[float, float]) -> bool:
    """Whether the picture is accepted."""
    try:
        watch.check(rgb, stamp_s, *speeds, LIMIT_S)
    except ImageError:
        return False
    return True


@pytest.mark.parametrize("speeds", [MOVING, TURNING])
def test_refuses_a_frozen_picture_while_the_robot_moves(speeds: tuple[float, float]) -> None:
    watch = CameraWatch()
    accepted = [look(watch, picture(0), 0.1 * k, speeds) for k in range(10)]
    assert accepted == [True] * 6 + [False] * 4


def test_refuses_a_frozen_picture_at_rest_until_it_changes() -> None:
    watch = CameraWatch()
    watch.check(picture(0), 0.0, *MOVING, LIMIT_S)
    with pytest.raises(ImageError, match="has not changed for 0.6 s"):
        watch.check(picture(0), 0.6, *MOVING, LIMIT_S)
    assert not look(watch, picture(0), 5.0, RESTING)
    assert look(watch, picture(1), 5.1, RESTING)
    assert look(watch, picture(1), 9.0, RESTING)


def test_time_limit_starts_when_the_robot_moves() -> None:
    watch = CameraWatch()
    assert all(look(watch, picture(0), float(k), RESTING) for k in range(10))
    assert look(watch, picture(0), 9.4, MOVING)
    assert not look(watch, picture(0), 9.6, MOVING)


def test_pictures_that_differ_by_one_bit_are_not_frozen() -> None:
    watch, rgb = CameraWatch(), picture(0)
    for k in range(20):
        other = rgb.copy()
        other[0, 0, 0] ^= k % 2
        assert look(watch, other, 0.1 * k, MOVING)


def test_refuses_black_but_accepts_dusk() -> None:
    watch = CameraWatch()
    with pytest.raises(ImageError, match="image is black .* 15 of 255"):
        watch.check(np.full((24, 32, 3), 15, np.uint8), 0.0, *MOVING, LIMIT_S)
    assert look(watch, picture(0) // 10, 0.1, MOVING)
