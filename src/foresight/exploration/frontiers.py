"""Choosing where to drive next: the viewpoint with most information gain for the time it takes.

Frontier-based exploration (Yamauchi, "A frontier-based approach for autonomous exploration", CIRA
1997) drives to where known floor borders on unknown. Here a frontier is one of several gains, and
candidates are judged as next best views, by what would be seen from them against what it costs to
get there (Gonzalez-Banos and Latombe, "Navigation strategies for exploring indoor environments",
IJRR 2002). Points are in the map's frame, metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from foresight.bodies.profile import Limits
from foresight.exploration.coverage import InformationGain
from foresight.exploration.traversability import (
    NEAR_M,
    RAYS,
    SIGHT_M,
    TERRAIN_M,
    TraversabilityMap,
)

MIN_VIEW_GAIN_M2 = 0.1  # less is not worth a turn
_PACE = 0.7  # share of the highest speed that a drive makes on average
_OVERHEAD_S = 3.0  # of every drive, for choosing between near and far
_CANDIDATES = 250  # judged at once, the most likely first
_SAME_M = 0.3  # targets nearer than this to each other are the same
_LOYALTY = 1.4  # how much better another target must be to leave the present one
_EXCLUDED_S, _EXCLUDED_M = 60.0, 0.5  # around a target that could not be reached
_FOR_GOOD_S = 1e9  # an exclusion that ends later never ends
_CELL_M2 = TERRAIN_M**2

Amount = TypeVar("Amount", float, np.ndarray)


@dataclass(frozen=True)
class Viewpoint:
    """Where to drive: the path (n, 2) m there, and the information gain (m2) at its end."""

    path: np.ndarray
    gain_m2: float


@dataclass(frozen=True)
class _Exclusion:
    """A target that could not be reached is not tried again before `until_s`."""

    at: np.ndarray
    until_s: float


class ViewpointSearch:
    """Finds viewpoints on one map; remembers targets that could not be reached."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._excluded: list[_Exclusion] = []

    def exclude(self, target: np.ndarray, now_s: float) -> None:
        """A target (2,) m could not be reached: leave it for a while, the second time for good."""
        again = any(np.hypot(*(one.at - target)) < _EXCLUDED_M for one in self._excluded)
        until_s = math.inf if again else now_s + _EXCLUDED_S
        self._excluded.append(_Exclusion(target, until_s))

    def best(
        self,
        terrain: TraversabilityMap,
        costs: np.ndarray,
        gain: InformationGain,
        least_m2: float,
        now_s: float,
        present: np.ndarray | None = None,
    ) -> Viewpoint | None:
        """The viewpoint with the highest utility; None when none is worth the drive.

        Args:
            terrain: the present map.
            costs: (h, w), of the path to every cell, as `TraversabilityMap.path_costs`.
            gain: of every cell.
            least_m2: a viewpoint with less gain is not worth a drive.
            now_s: for exclusions.
            present: (2,) m, the target that the robot is driving to, which is preferred.
        """
        cells = self._candidates(terrain, costs, gain, least_m2, now_s)
        for first in range(0, len(cells), _CANDIDATES):
            some = cells[first : first + _CANDIDATES]
            views = terrain.visible_gain(some, *gain)
            utility = self._utility(costs[some[:, 0], some[:, 1]], views, least_m2)
            if present is not None:
                utility[same_target(terrain.points(some), present)] *= _LOYALTY
            best = int(np.argmax(utility))
            if utility[best] > 0.0:
                path = terrain.path_to(some[best], costs)
                return Viewpoint(path, float(views[best].sum()))
        return None

    def _candidates(
        self,
        terrain: TraversabilityMap,
        costs: np.ndarray,
        gain: InformationGain,
        least_m2: float,
        now_s: float,
    ) -> np.ndarray:
        """Cells (n, 2) in reach with enough gain around them, the most promising first."""
        around = _sums_within(gain.seen, SIGHT_M) + _sums_within(gain.visited, NEAR_M)
        eligible = np.isfinite(costs) & terrain.passable & (around > least_m2)
        rows, columns = np.nonzero(eligible)
        coarse = (rows % 2 == 0) & (columns % 2 == 0)
        cells = np.stack([rows[coarse], columns[coarse]], 1)
        cells = self._without_excluded(terrain, cells, now_s)
        distance_m = 2.0 + costs[cells[:, 0], cells[:, 1]]
        return cells[np.argsort(-around[cells[:, 0], cells[:, 1]] / distance_m)]

    def _without_excluded(
        self, terrain: TraversabilityMap, cells: np.ndarray, now_s: float
    ) -> np.ndarray:
        """Less those around targets that could not be reached; where only such are left, those
        that are excluded for a while are tried again."""
        points, left = terrain.points(cells), cells
        for until_s in (now_s, _FOR_GOOD_S):
            keep = np.ones(len(cells), bool)
            for one in self._excluded:
                if one.until_s > until_s:
                    keep &= np.hypot(*(points - one.at).T) > _EXCLUDED_M
            left = cells[keep]
            if len(left):
                break
        return left

    def _utility(self, costs_m: np.ndarray, views: np.ndarray, least_m2: float) -> np.ndarray:
        """Information gain (m2) per second of driving, turning and looking: (n,); 0: too little.

        `costs_m` (n,) of the paths, `views` (n, RAYS) m2 as `TraversabilityMap.visible_gain`.
        """
        gains = views.sum(1)
        turns_rad = (views > MIN_VIEW_GAIN_M2 / RAYS).mean(1) * 2 * math.pi
        seconds = travel_s(self._limits, costs_m, turns_rad) + _OVERHEAD_S
        return np.where(gains > least_m2, gains / seconds, 0.0)


def same_target(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(...) bool: which of points (..., 2) m count as the target (2,) m."""
    return np.hypot(points[..., 0] - target[0], points[..., 1] - target[1]) < _SAME_M


def travel_s(limits: Limits, distance_m: Amount, turns_rad: Amount) -> Amount:
    """How long driving so far and turning so much on the spot usually take."""
    driving_s = distance_m / (_PACE * limits.linear_max_mps)
    return driving_s + turns_rad / (_PACE * limits.angular_max_radps)


def _sums_within(gain: np.ndarray, reach_m: float) -> np.ndarray:
    """The gain (h, w) of all cells within a square about each one together, m2."""
    side = 2 * round(reach_m / TERRAIN_M) + 1
    return cv2.boxFilter(gain, -1, (side, side), normalize=False) * _CELL_M2
