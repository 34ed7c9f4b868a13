"""What the exploring robot knows around it: its map, its coverage, and what only the bumper felt.

Points and poses are in the map's frame: its origin and its x axis are where the robot stood when
the map was begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.exploration.coverage import Coverage, InformationGain
from foresight.exploration.occupancy_grid import OccupancyGrid
from foresight.exploration.traversability import NEAR_M, TERRAIN_M, TraversabilityMap
from foresight.geometry import relative

_CELL_M2 = TERRAIN_M**2
_NO_ECHO_FREE_M = 3.0  # free floor that a beam without an echo shows
_BUMP_S = 120.0  # how long something that only the bumper felt is driven around
_BUMP_SEEN_M = 0.06  # an echo so near to the footprint shows what was bumped into


@dataclass(frozen=True)
class _FeltObstacle:
    at: np.ndarray
    until_s: float


class Surroundings:
    """One map, from its first scan on.

    Attributes:
        terrain: where the robot can drive; made anew when the map has changed.
        covered_m2: floor that the camera has seen.
    """

    terrain: TraversabilityMap

    def __init__(self, profile: RobotProfile, angles: np.ndarray, radius_m: float) -> None:
        """Begin a map.

        Args:
            profile: footprint and camera.
            angles: (beams,) rad of the scan's beams.
            radius_m: how far from the origin there is anything to gain; 0: no bound.
        """
        self._footprint_m, self._radius_m = profile.footprint_radius_m, radius_m
        self._grid = OccupancyGrid(angles, self._footprint_m, _NO_ECHO_FREE_M, careful=True)
        self._coverage = Coverage(angles, profile.camera)
        self._felt: list[_FeltObstacle] = []
        self._origin: tuple[float, ...] | None = None  # by odometry
        self._terrain_of = (-1, -1)  # numbers of scans and felt obstacles that it rests on
        self.covered_m2 = 0.0

    def update(
        self,
        now_s: float,
        ranges: np.ndarray,
        odometry: np.ndarray,
        bumped: bool,
        novelty: float,
    ) -> None:
        """Take in a scan (beams,) m, seen at odometry (3,) m, m, rad, and the world model's
        novelty there."""
        if self._origin is None:
            self._origin = tuple(odometry)
        pose = relative(tuple(odometry), self._origin)
        self._grid.update(ranges, np.array([*pose]), bumped)
        self._coverage.update(self._grid.pose, ranges, novelty)
        self._felt = [obstacle for obstacle in self._felt if obstacle.until_s > now_s]
        terrain_of = (self._grid.scans_kept, len(self._felt))
        if terrain_of != self._terrain_of:
            self.terrain = self.terrain_for(self._footprint_m)
            self._terrain_of = terrain_of
            self.covered_m2 = float(self._coverage.seen(self.terrain).sum()) * _CELL_M2

    @property
    def lost(self) -> bool:
        """Whether the scans have long disagreed with the map: the robot was carried elsewhere."""
        return self._grid.lost

    @property
    def pose(self) -> np.ndarray:
        """(3,) m, m, rad of the robot."""
        return self._grid.pose

    @property
    def position(self) -> np.ndarray:
        """(2,) m of the robot."""
        return self._grid.pose[:2]

    @property
    def origin_m(self) -> float:
        """How far the robot is from the origin."""
        return float(np.hypot(*self.position))

    def terrain_for(self, footprint_radius_m: float) -> TraversabilityMap:
        """Where a robot of that size could drive."""
        felt = np.array([obstacle.at for obstacle in self._felt]).reshape(-1, 2)
        return TraversabilityMap.of(self._grid.evidence, footprint_radius_m, felt)

    def within_radius(self, margin_m: float) -> np.ndarray:
        """(h, w) bool: cells of the terrain within the radius less a margin."""
        shape = self.terrain.occupied.shape
        if not self._radius_m:
            return np.ones(shape, bool)
        at = self.terrain.points(np.moveaxis(np.indices(shape), 0, -1))
        return np.hypot(at[..., 0], at[..., 1]) < self._radius_m - margin_m

    def gain(self, thorough: bool) -> InformationGain:
        """What there is to gain on the terrain within the radius; see `Coverage.gain`."""
        return self._coverage.gain(self.terrain, self.within_radius(0.0), thorough)

    def give_up(self, points: np.ndarray, thorough: bool) -> None:
        """What is still to be seen from points (n, 2) m no longer counts as a gain."""
        for cell in self.terrain.cells(points):
            view = self.terrain.in_view(cell)
            near = np.zeros(view.shape, np.uint8)
            cv2.circle(near, (int(cell[1]), int(cell[0])), round(NEAR_M / TERRAIN_M), 1, -1)
            self._coverage.give_up(self.terrain, view, near > 0, thorough)

    def feel(self, now_s: float, ranges: np.ndarray, reversing: bool) -> None:
        """Remember for a while what the bumper felt, unless the scan (beams,) m shows it."""
        if np.any(ranges < self._footprint_m + _BUMP_SEEN_M):
            return
        x, y, yaw = self.pose
        away_m = (self._footprint_m + 0.05) * (-1 if reversing else 1)
        at = np.array([x + away_m * math.cos(yaw), y + away_m * math.sin(yaw)])
        self._felt.append(_FeltObstacle(at, now_s + _BUMP_S))
