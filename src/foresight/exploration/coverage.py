"""Coverage: what floor the camera has seen, where the robot has been, what surprised it there.

Grids are SIDE x SIDE cells of TERRAIN_M in the map's frame, [row, column]; see `traversability`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from foresight.bodies.profile import Camera
from foresight.exploration.traversability import NEAR_M, SIDE, SIGHT_M, TERRAIN_M, TraversabilityMap
from foresight.geometry import wrap

_SIDES = 4  # from which floor is looked at: quarters of the compass
# Gains: 1 is the gain of seeing floor for the first time.
_ONE_SIDE_GAIN = 0.3  # of another look at floor that was seen from one side only
_VISIT_GAIN = 0.6  # of coming near to floor, besides seeing it
_NOVEL_GAIN = 0.5  # of a look at seen floor, per unit of novelty above the usual
_USUAL = 1.0
_MOST_NOVEL = 2.0
_NOVELTY_SHARE = 0.1  # of a new report in the running mean of a place
_SHIFT = 4  # bits of OpenCV's fixed point
_UNKNOWN, _FAR, _CLOSE, _NOVEL, _SIDED = 1, 2, 4, 8, 16  # kinds of gain that are given up


class InformationGain(NamedTuple):
    """What there is to gain at each cell, (h, w) float32 each: by seeing it, by coming near."""

    seen: np.ndarray
    visited: np.ndarray


class Coverage:
    """Marks what each scan and camera view covers; tells what there is still to gain."""

    def __init__(self, angles: np.ndarray, camera: Camera) -> None:
        """`angles` (beams,) rad of the scan's beams."""
        angles = wrap(np.asarray(angles, float))
        self._order = np.argsort(angles)
        self._angles = angles[self._order]
        self._in_camera = np.abs(self._angles) <= math.radians(camera.hfov_deg) / 2
        self._blind_m = blind_m(camera)
        self._sides = np.zeros((SIDE, SIDE), np.uint8)  # one bit for each side
        self._near = np.zeros((SIDE, SIDE), np.uint8)
        self._novelty = np.zeros((SIDE, SIDE), np.float32)
        self._given_up = np.zeros((SIDE, SIDE), np.uint8)

    def update(self, pose: np.ndarray, ranges: np.ndarray, novelty: float) -> None:
        """Mark what is in sight now.

        Args:
            pose: (3,) m, m, rad in the map.
            ranges: (beams,) m as they were measured; inf no echo, NaN no reading (nothing seen).
            novelty: what the world model reports, 1 the upper end of what is usual.
        """
        reach = np.where(np.isnan(ranges), 0.0, np.maximum(ranges, 0.0))[self._order]
        around = self._outline(pose, np.minimum(reach, NEAR_M), self._angles)
        cv2.fillPoly(self._near, [around], 1, shift=_SHIFT)
        camera = self._in_camera
        if not camera.any():
            return
        far = np.minimum(reach[camera], SIGHT_M)
        near = self._outline(pose, np.minimum(far, self._blind_m), self._angles[camera])
        corners = np.concatenate([self._outline(pose, far, self._angles[camera]), near[::-1]])
        window, local = _window(corners)
        view = np.zeros(self._sides[window].shape, np.uint8)
        cv2.fillPoly(view, [local], 1, shift=_SHIFT)
        side = int(pose[2] % (2 * math.pi) / (2 * math.pi) * _SIDES) % _SIDES
        self._sides[window] |= view << side
        part = self._novelty[window]
        part += _NOVELTY_SHARE * view * (novelty - part)

    def seen(self, terrain: TraversabilityMap) -> np.ndarray:
        """(h, w) bool: floor of the terrain that the camera has seen."""
        return terrain.floor & (self._sides[terrain.window] > 0)

    def gain(
        self, terrain: TraversabilityMap, within: np.ndarray, thorough: bool
    ) -> InformationGain:
        """What there is to gain at each cell.

        1 is floor that the camera has not seen yet, or a frontier. `within` (h, w) bool bounds it.
        `thorough`: floor that was seen from one side only deserves another look, too.
        """
        sides, given_up = self._sides[terrain.window], self._given_up[terrain.window]
        floor = terrain.floor & within
        gain = np.where(floor & (sides == 0) & (given_up & _FAR == 0), 1.0, 0.0)
        one_sided = floor & (sides > 0) & (sides & (sides - 1) == 0) & (given_up & _SIDED == 0)
        if thorough:
            gain[one_sided] = _ONE_SIDE_GAIN
        novelty = np.clip(self._novelty[terrain.window] - _USUAL, 0.0, _MOST_NOVEL)
        gain += np.where(floor & (given_up & _NOVEL == 0), _NOVEL_GAIN * novelty, 0.0)
        gain[terrain.frontier & within & (given_up & _UNKNOWN == 0)] = 1.0
        near = floor & (self._near[terrain.window] == 0) & (given_up & _CLOSE == 0)
        visited = np.where(near, np.float32(_VISIT_GAIN), np.float32(0))
        return InformationGain(gain.astype(np.float32), visited)

    def give_up(
        self, terrain: TraversabilityMap, view: np.ndarray, near: np.ndarray, thorough: bool
    ) -> None:
        """What is left in `view` (h, w) bool after a good look no longer counts as a gain.

        `near` (h, w) bool: the part of the view that was close enough to count as visited.
        `thorough`: the look was for other sides of what had been seen, too.
        """
        given_up = self._given_up[terrain.window]
        given_up[view & terrain.frontier] |= _UNKNOWN
        given_up[view & terrain.floor] |= _FAR | _NOVEL | (_SIDED if thorough else 0)
        given_up[view & near] |= _CLOSE

    def _outline(self, pose: np.ndarray, reach: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Corners (n, 2) int32 [column, row] in OpenCV's fixed point."""
        heading = pose[2] + angles
        x, y = pose[0] + reach * np.cos(heading), pose[1] + reach * np.sin(heading)
        cells = np.stack([x, y], 1) / TERRAIN_M + SIDE // 2 - 0.5
        return np.round(np.clip(cells, 0, SIDE - 1) * (1 << _SHIFT)).astype(np.int32)


def blind_m(camera: Camera) -> float:
    """How near to base_link the camera no longer sees the floor straight ahead, m; inf: never."""
    half = math.atan(math.tan(math.radians(camera.hfov_deg) / 2) * camera.height / camera.width)
    down = half + math.radians(camera.pitch_deg)
    if down <= 0.0:
        return math.inf
    return max(0.0, camera.x_m + camera.z_m / math.tan(min(down, math.pi / 2)))


def _window(corners: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the grid around corners (n, 2), and the corners in it."""
    low, high = (corners >> _SHIFT).min(0), (corners >> _SHIFT).max(0) + 2
    window = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    return window, corners - (low << _SHIFT).astype(np.int32)
