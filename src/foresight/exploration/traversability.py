"""Where the robot can drive and what it would see from there, by its own occupancy grid.

All grids have cells of `TERRAIN_M`, [row, column], a crop of the whole map's `SIDE` x `SIDE` cells.
Points are in the map's frame, metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from foresight.exploration.occupancy_grid import CELL_M

TERRAIN_M = 0.1
SIDE = 320
SIGHT_M = 2.5  # how far the camera tells floor from floor
NEAR_M = 0.75  # nearer than this, the robot has visited it
_STRIDE = round(TERRAIN_M / CELL_M)
_PAD = round(SIGHT_M / TERRAIN_M) + 1  # every ray ends inside of the crop
_GAP_M = 0.06  # beyond the footprint: what the safety controller still drives through
_NARROW_M = 0.2  # where there is less room than this beyond the tightest gap, driving costs more
_NARROW_COST = 3.0  # so much more at most
_FLOOR_M = 0.12  # floor nearer than this to an obstacle is left out: nobody can stand on it
_BESIDE = 7  # unknown cells in a square of so many around drivable floor are a frontier
_HERE_CELLS = 3  # wherever the robot is, it got there
RAYS = 48
_STEPS = round(SIGHT_M / TERRAIN_M)
_NEIGHBOURS = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b])
_LENGTHS = TERRAIN_M * np.hypot(*_NEIGHBOURS.T)
RAY_RAD = 2 * math.pi * np.arange(RAYS) / RAYS
_RADII = TERRAIN_M * (np.arange(_STEPS) + 1.0)
_RAY_AREA = (_RADII * TERRAIN_M * 2 * math.pi / RAYS).astype(np.float32)
_NEAR_STEPS = round(NEAR_M / TERRAIN_M)
_RAY_ROWS = np.round(np.sin(RAY_RAD)[:, None] * _RADII / TERRAIN_M).astype(np.int32)
_RAY_COLUMNS = np.round(np.cos(RAY_RAD)[:, None] * _RADII / TERRAIN_M).astype(np.int32)


@dataclass(frozen=True)
class TraversabilityMap:
    """A snapshot of what is known.

    Attributes:
        window: where the crop lies in the whole grid.
        occupied: (h, w) bool, something stands there.
        floor: (h, w) bool, known floor with a little room around it.
        passable: (h, w) bool, where the robot's centre can be.
        frontier: (h, w) bool, unknown cells beside passable floor (Yamauchi, "A frontier-based
            approach for autonomous exploration", CIRA 1997).
        cost_per_m: (h, w) float32, 1 in the open, more where it is narrow.
    """

    window: tuple[slice, slice]
    occupied: np.ndarray
    floor: np.ndarray
    passable: np.ndarray
    frontier: np.ndarray
    cost_per_m: np.ndarray

    @classmethod
    def of(cls, evidence: np.ndarray, radius_m: float, bumps: np.ndarray) -> TraversabilityMap:
        """From `OccupancyGrid.evidence`; a robot of `radius_m` bumped into `bumps` (n, 2) m."""
        window = _crop(evidence)
        fine = tuple(slice(s.start * _STRIDE, s.stop * _STRIDE) for s in window)
        part = evidence[fine[0], fine[1]]
        occupied = (part > 0).astype(np.uint8)
        for column, row in np.floor(bumps / CELL_M).astype(int) + len(evidence) // 2:
            at = int(column - fine[1].start), int(row - fine[0].start)
            cv2.circle(occupied, at, 1, 1, -1)
        clearance = CELL_M * cv2.distanceTransform(1 - occupied, cv2.DIST_L2, 5)
        clearance = _coarse(clearance)
        known = _coarse((part < 0).astype(np.float32)) > 0.4
        unknown = _coarse((part == 0).astype(np.float32)) > 0.6
        tightest = radius_m + _GAP_M
        passable = known & (clearance > tightest)
        beside = cv2.dilate(passable.astype(np.uint8), np.ones((_BESIDE, _BESIDE), np.uint8)) > 0
        narrow = np.clip(1.0 - (clearance - tightest) / _NARROW_M, 0.0, 1.0)
        return cls(
            window,
            _coarse(occupied.astype(np.float32)) > 0.2,
            known & (clearance > _FLOOR_M),
            passable,
            unknown & beside & (clearance > _FLOOR_M),
            (1.0 + _NARROW_COST * narrow**2).astype(np.float32),
        )

    def cells(self, points: np.ndarray) -> np.ndarray:
        """Cells [row, column] (..., 2) int of the crop that hold points (..., 2) m."""
        corner = np.array([self.window[0].start, self.window[1].start])
        whole = np.floor(points[..., ::-1] / TERRAIN_M).astype(int) + SIDE // 2
        return np.clip(whole - corner, 0, np.array(self.occupied.shape) - 1)

    def points(self, cells: np.ndarray) -> np.ndarray:
        """Middles (..., 2) m of cells [row, column] (..., 2)."""
        corner = np.array([self.window[0].start, self.window[1].start])
        return (cells[..., ::-1] + corner[::-1] + 0.5 - SIDE // 2) * TERRAIN_M

    # ----- driving --------------------------------------------------------------------------

    def path_costs(self, start: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """What the cheapest path from `start` (2,) m to every cell costs: (h, w) float32.

        In metres of open floor; inf where no known path leads. Found by relaxing the whole grid at
        once until nothing gets cheaper (Bellman-Ford). `allowed` (h, w) bool: cells that may be
        driven; those around the start always may.
        """
        row, column = self.cells(start)
        free = self.passable if allowed is None else self.passable & allowed
        around = np.zeros(free.shape, np.uint8)
        cv2.circle(around, (int(column), int(row)), _HERE_CELLS, 1, -1)
        free = free | ((around > 0) & ~self.occupied & self._connected(int(row), int(column)))
        free[row, column] = True
        cost = np.where(free, self.cost_per_m * TERRAIN_M, np.inf).astype(np.float32)
        costs = np.full((cost.shape[0] + 2, cost.shape[1] + 2), np.inf, np.float32)
        inner = costs[1:-1, 1:-1]
        inner[row, column] = 0.0
        for _ in range(cost.size):
            pairs = np.minimum(costs[:, :-2], costs[:, 2:])
            beside = np.minimum(pairs[1:-1], np.minimum(costs[:-2, 1:-1], costs[2:, 1:-1]))
            across = np.minimum(pairs[:-2], pairs[2:])
            cheaper = np.minimum(beside + cost, across + np.float32(math.sqrt(2)) * cost)
            if not (cheaper < inner).any():
                break
            np.minimum(cheaper, inner, out=inner)
        return inner

    def _connected(self, row: int, column: int) -> np.ndarray:
        """Cells (h, w) bool within a few cells of this one and not parted from it by obstacles."""
        connected = np.zeros(self.occupied.shape, bool)
        reach = _HERE_CELLS + 1
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        open_here = (~self.occupied[rows, columns]).astype(np.uint8)
        middle = row - rows.start, column - columns.start
        open_here[middle] = 1
        _, labels = cv2.connectedComponents(open_here, connectivity=4)
        connected[rows, columns] = labels == labels[middle]
        return connected

    def path_to(self, cell: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Points (n, 2) m of the cheapest path to a cell [row, column], by `path_costs`."""
        here, cells = np.asarray(cell), [np.asarray(cell)]
        padded = np.pad(costs, 1, constant_values=np.inf)
        while costs[tuple(here)] > 0:
            around = here + _NEIGHBOURS
            before = padded[around[:, 0] + 1, around[:, 1] + 1]
            here = around[np.argmin(before + 0.01 * _LENGTHS)]
            cells.append(here)
        return self.points(np.array(cells[::-1]))

    # ----- looking --------------------------------------------------------------------------

    def visible_gain(self, cells: np.ndarray, seen: np.ndarray, visited: np.ndarray) -> np.ndarray:
        """The information gain of standing on cells (n, 2), by direction: (n, RAYS) m2.

        Rays end at obstacles. `seen` (h, w) float32, what the sight of a cell is worth, counts up
        to SIGHT_M, `visited` (h, w), what being near it is worth, up to NEAR_M.
        """
        width = self.occupied.shape[1]
        cells = self._inside(cells)
        at = (cells[:, 0] * width + cells[:, 1]).astype(np.int32)[:, None, None]
        index = at + (_RAY_ROWS * width + _RAY_COLUMNS)
        hidden = np.maximum.accumulate(self.occupied.ravel()[index], 2)
        gain = seen.ravel()[index]
        gain[:, :, :_NEAR_STEPS] += visited.ravel()[index[:, :, :_NEAR_STEPS]]
        gain[hidden] = 0.0
        return gain @ _RAY_AREA

    def in_view(self, cell: np.ndarray) -> np.ndarray:
        """Cells (h, w) bool within SIGHT_M of a cell [row, column], no obstacle between."""
        row, column = self._inside(cell)
        rows, columns = row + _RAY_ROWS, column + _RAY_COLUMNS
        lit = ~np.maximum.accumulate(self.occupied[rows, columns], 1)
        view = np.zeros(self.occupied.shape, np.uint8)
        view[rows[lit], columns[lit]] = 1
        return cv2.dilate(view, np.ones((3, 3), np.uint8)) > 0

    def _inside(self, cells: np.ndarray) -> np.ndarray:
        """Cells from which no ray leaves the crop."""
        return np.clip(cells, _PAD, np.array(self.occupied.shape) - _PAD - 1)


def _crop(evidence: np.ndarray) -> tuple[slice, slice]:
    """The part of the whole grid that holds all that is known, with room for every ray."""
    known = evidence != 0
    spans = []
    for axis in (1, 0):
        at = np.flatnonzero(known.any(axis)) // _STRIDE
        first, last = (at[0], at[-1]) if len(at) else (SIDE // 2, SIDE // 2)
        first, last = (int(np.clip(k, _PAD, SIDE - _PAD - 1)) for k in (first, last))
        spans.append(slice(first - _PAD, last + _PAD + 1))
    return spans[0], spans[1]


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Means over the fine cells of each coarse one."""
    rows, columns = fine.shape[0] // _STRIDE, fine.shape[1] // _STRIDE
    return cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA)
