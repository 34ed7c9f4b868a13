"""Recorded drives made by hand: where they lead is known, and every frame is told by its pixels."""

from __future__ import annotations

import numpy as np

from foresight.data.dataset import PERIOD_S, Episode


def circle(seed: int, frames: int = 200) -> Episode:
    """Once around a circle of 1 m; views are noise and the bumper is pressed now and then."""
    rng = np.random.default_rng(seed)
    return _episode(
        rng.integers(0, 256, (frames, 60, 80, 3), np.uint8),
        np.full((frames, 2), 2 * np.pi / (frames * PERIOD_S)),
        rng.random(frames) < 0.02,
    )


def straight(frames: int = 60, speed: float = 0.4, pressed: tuple[int, ...] = ()) -> Episode:
    """Straight ahead; all pixels of frame k have the value k; the bumper is down in `pressed`."""
    images = np.broadcast_to(
        np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 4, 4, 3)
    )
    return _episode(images, np.tile([speed, 0.0], (frames, 1)), np.isin(np.arange(frames), pressed))


def _episode(images: np.ndarray, twist: np.ndarray, bump: np.ndarray) -> Episode:
    """The drive (v m/s, w rad/s) by frame, from the origin."""
    yaw = np.concatenate([[0.0], np.cumsum(twist[:-1, 1]) * PERIOD_S])
    step = PERIOD_S * twist[:, :1] * np.stack([np.cos(yaw), np.sin(yaw)], 1)
    place = np.concatenate([np.zeros((1, 2)), np.cumsum(step[:-1], 0)])
    odometry = np.concatenate([place, yaw[:, None], twist], 1)
    return Episode(
        np.ascontiguousarray(images),
        odometry.astype(np.float32),
        twist.astype(np.float32),
        bump.astype(np.uint8),
    )
