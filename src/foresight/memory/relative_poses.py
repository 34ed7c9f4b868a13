"""How places lie from the robot: seen in views, carried on by odometry."""

from __future__ import annotations

import numpy as np

from foresight.geometry import Pose, wrap
from foresight.runtime.dynamics import Compared

RAD_M = 0.5
"""A turn of 1 rad sets views as far apart as this many metres."""
_SEEN_M, _SEEN = 0.25, 0.3  # error of a view: of one from the place itself, and more per metre
_DRIFT = 0.12  # error of odometry after a metre, turns counted in; grows with the root
_STOOD_M = 0.05  # error of a place that was added where the robot stands
_ALIKE_M = 0.3  # moved less, turns counted in, views err alike and tell the less together
_OUTLIER = 30.0  # squared errors from which a view and what was expected cannot both be right
_STRAY = 0.1  # what is left of a likelihood that odometry contradicts
_UNSEEN = (0.0, 0.0, 0.0, 0.0, np.inf)


class RelativePoses:
    """A Kalman filter for each place, with one variance for position and, times `RAD_M`, heading.

    A view alone places others the worse the less the model has seen of a home; many in a row,
    set against each other by odometry, place them well. What cannot be right replaces what was
    believed: the robot was carried elsewhere, or had taken the place for another one.

    Attributes:
        driven_m: so far, turns counted in.
    """

    def __init__(self) -> None:
        self.driven_m = 0.0
        self._tracks: dict[int, tuple[float, ...]] = {}
        """By place: metres driven then; x m, y m, yaw rad by odometry; variance, m²."""

    def stand_at(self, place: int, odometry: Pose) -> None:
        """The robot stands at this place."""
        self._tracks[place] = self.driven_m, *odometry, _STOOD_M**2

    def reset(self) -> None:
        """The robot was carried: earlier views tell nothing."""
        self._tracks.clear()

    def fuse(
        self, ids: np.ndarray, compared: Compared, odometry: Pose, moved_m: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take in how K places seem to lie.

        Args:
            ids (K,): of the places. compared: B = K, to each from the robot's view.
            moved_m: since the last time, turns counted in; infinite the first time.

        Returns:
            displacement (K, 3) of each from the robot, x m, y m, yaw rad; and agreement (K,), up to
            1, of what was seen with what was expected.
        """
        self.driven_m += moved_m if np.isfinite(moved_m) else 0.0
        tracks = np.array([self._tracks.get(place, _UNSEEN) for place in ids.tolist()])
        seen, known = np.asarray(compared.displacement, float), compared.close > 0.5
        expected = _from_odometry(tracks[:, 1:4], odometry)
        variance = tracks[:, 4] + _DRIFT**2 * (self.driven_m - tracks[:, 0])
        error = seen - expected
        error[:, 2] = wrap(error[:, 2])
        # of a place that is near by either account, the other one cannot be far off
        nearer = np.minimum(length(seen), length(expected))
        gap = (error**2 @ (1, 1, RAD_M**2)) / (variance + _noise(nearer))
        agreement = np.where(known, _STRAY + (1 - _STRAY) * np.exp(-0.5 * gap), 1.0)
        variance[gap > _OUTLIER] = np.inf
        noise = _noise(length(seen)) / np.clip(moved_m / _ALIKE_M, 1e-9, 1.0)
        gain = 1 / (1 + noise / variance)
        fused = np.where(known[:, None], expected + gain[:, None] * error, seen)
        fused[:, 2] = wrap(fused[:, 2])
        poses = _to_odometry(fused, odometry)
        for k in np.flatnonzero(known):
            self._tracks[int(ids[k])] = self.driven_m, *poses[k].tolist(), gain[k] * noise[k]
        return fused, agreement


def _noise(away: np.ndarray) -> np.ndarray:
    """Variance of how places so far away are seen to lie, m²."""
    return (_SEEN_M + _SEEN * away) ** 2


def length(displacement: np.ndarray | Pose) -> np.ndarray:
    """(K, 3) or (3,) x m, y m, yaw rad -> (K,) or () metres, turns counted in."""
    x, y, yaw = np.asarray(displacement).T
    return np.hypot(x, y) + RAD_M * np.abs(yaw)


def _from_odometry(poses: np.ndarray, odometry: Pose) -> np.ndarray:
    """(K, 3) in the frame of odometry -> seen from the robot."""
    x, y, yaw = (poses - odometry).T
    cos, sin = np.cos(odometry[2]), np.sin(odometry[2])
    return np.stack([cos * x + sin * y, cos * y - sin * x, wrap(yaw)], 1)


def _to_odometry(displacement: np.ndarray, odometry: Pose) -> np.ndarray:
    """(K, 3) seen from the robot -> in the frame of odometry."""
    x, y, yaw = displacement.T
    cos, sin = np.cos(odometry[2]), np.sin(odometry[2])
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, yaw], 1) + odometry
    turned[:, 2] = wrap(turned[:, 2])
    return turned
