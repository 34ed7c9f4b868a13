"""What the robot's own map says of driving and of looking: where it can go, what it would see.

All grids are cells of `TERRAIN_M`, [row, column], a crop of the whole map's `SIDE` x `SIDE` cells.
Points are in the own map's frame, metres.
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
NEAR_M = 0.75  # the robot has been at what it has been so near to
_STRIDE = round(TERRAIN_M / CELL_M)
_PAD = round(SIGHT_M / TERRAIN_M) + 1  # every ray ends inside of the crop
_GAP_M = 0.06  # beyond the footprint: what the safety controller still drives through
_EASE_M = 0.2  # nearer than this to the tightest pass costs more
_DEAR = 3.0  # how much more
_FLOOR_M = 0.12  # floor nearer than this to something is left out: nobody can stand on it
_BESIDE = 7  # unknown cells in a square of so many around drivable floor are a frontier
_HERE_CELLS = 3  # wherever the robot is, it got there
RAYS = 48
_STEPS = round(SIGHT_M / TERRAIN_M)
_NEIGHBOURS = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b])
_LENGTHS = TERRAIN_M * np.hypot(*_NEIGHBOURS.T)
RAY_RAD = 2 * math.pi * np.arange(RAYS) / RAYS
_RADII = TERRAIN_M * (np.arange(_STEPS) + 1.0)
_RAY_AREA = (_RADII * TERRAIN_M * 2 * math.pi / RAYS).astype(np.float32)

NEAR_STEPS = round(NEAR_M / TERRAIN_M)
_RAY_ROWS = np.round(np.sin(RAY_RAD)[:, None] * _RADII / TERRAIN_M).astype(np.int32)
_RAY_COLUMNS = np.round(np.cos(RAY_RAD)[:, None] * _RADII / TERRAIN_M).astype(np.int32)


@dataclass(frozen=True)
class TraversabilityMap:
    """A snapshot.

    Attributes:
        window: where the crop lies in the whole grid.
        solid: (h, w) bool, something stands there.
        floor: (h, w) bool, known floor with a little room around it.
        passable: (h, w) bool, where the robot's centre can be.
        frontier: (h, w) bool, unknown cells beside passable floor (Yamauchi 1997).
        dearness: (h, w) float32, cost of a metre there: 1 in the open, more where it is tight.
    """

    window: tuple[slice, slice]
    solid: np.ndarray
    floor: np.ndarray
    passable: np.ndarray
    frontier: np.ndarray
    dearness: np.ndarray

    @classmethod
    def of(cls, evidence: np.ndarray, radius_m: float, bumps: np.ndarray) -> TraversabilityMap:
        """From `OccupancyGrid.evidence`; a robot of `radius_m` bumped into `bumps` (n, 2) m."""
        window = _crop(evidence)
        fine = tuple(slice(s.start * _STRIDE, s.stop * _STRIDE) for s in window)
        part = evidence[fine[0], fine[1]]
        solid = (part > 0).astype(np.uint8)
        for column, row in np.floor(bumps / CELL_M).astype(int) + len(evidence) // 2:
            cv2.circle(solid, (int(column - fine[1].start), int(row - fine[0].start)), 1, 1, -1)
        clearance = CELL_M * cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
        clearance = _coarse(clearance)
        known = _coarse((part < 0).astype(np.float32)) > 0.4
        unknown = _coarse((part == 0).astype(np.float32)) > 0.6
        tightest = radius_m + _GAP_M
        passable = known & (clearance > tightest)
        beside = cv2.dilate(passable.astype(np.uint8), np.ones((_BESIDE, _BESIDE), np.uint8)) > 0
        tight = np.clip(1.0 - (clearance - tightest) / _EASE_M, 0.0, 1.0)
        return cls(
            window,
            _coarse(solid.astype(np.float32)) > 0.2,
            known & (clearance > _FLOOR_M),
            passable,
            unknown & beside & (clearance > _FLOOR_M),
            (1.0 + _DEAR * tight**2).astype(np.float32),
        )

    def cells(self, points: np.ndarray) -> np.ndarray:
        """Cells [row, column] (..., 2) int of the crop that hold points (..., 2) m."""
        corner = np.array([self.window[0].start, self.window[1].start])
        whole = np.floor(points[..., ::-1] / TERRAIN_M).astype(int) + SIDE // 2
        return np.clip(whole - corner, 0, np.array(self.solid.shape) - 1)

    def points(self, cells: np.ndarray) -> np.ndarray:
        """Middles (..., 2) m of cells [row, column] (..., 2)."""
        corner = np.array([self.window[0].start, self.window[1].start])
        return (cells[..., ::-1] + corner[::-1] + 0.5 - SIDE // 2) * TERRAIN_M

    # ----- driving --------------------------------------------------------------------------

    def travel(self, start: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """What the way from `start` (2,) m to every cell costs: (h, w), metres of open floor.

        Shortest ways found by relaxing the whole grid at once; inf where no known way leads.
        `allowed` (h, w) bool: cells that may be driven; those around the start always may.
        """
        row, column = self.cells(start)
        free = self.passable if allowed is None else self.passable & allowed
        around = np.zeros(free.shape, np.uint8)
        cv2.circle(around, (int(column), int(row)), _HERE_CELLS, 1, -1)
        free = free | ((around > 0) & ~self.solid & self._at_hand(int(row), int(column)))
        free[row, column] = True
        dear = np.where(free, self.dearness * TERRAIN_M, np.inf).astype(np.float32)
        costs = np.full((dear.shape[0] + 2, dear.shape[1] + 2), np.inf, np.float32)
        inner = costs[1:-1, 1:-1]
        inner[row, column] = 0.0
        for _ in range(dear.size):
            pairs = np.minimum(costs[:, :-2], costs[:, 2:])
            beside = np.minimum(pairs[1:-1], np.minimum(costs[:-2, 1:-1], costs[2:, 1:-1]))
            across = np.minimum(pairs[:-2], pairs[2:])
            cheaper = np.minimum(beside + dear, across + np.float32(math.sqrt(2)) * dear)
            if not (cheaper < inner).any():
                break
            np.minimum(cheaper, inner, out=inner)
        return inner

    def _at_hand(self, row: int, column: int) -> np.ndarray:
        """Cells (h, w) bool that nothing solid parts from this one, within a few cells."""
        apart = np.zeros(self.solid.shape, bool)
        reach = _HERE_CELLS + 1
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        open_here = (~self.solid[rows, columns]).astype(np.uint8)
        middle = row - rows.start, column - columns.start
        open_here[middle] = 1
        _, labels = cv2.connectedComponents(open_here, connectivity=4)
        apart[rows, columns] = labels == labels[middle]
        return apart

    def way(self, costs: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Points (n, 2) m of the cheapest way to a cell [row, column], by `travel`'s costs."""
        here, cells = np.asarray(target), [np.asarray(target)]
        padded = np.pad(costs, 1, constant_values=np.inf)
        while costs[tuple(here)] > 0:
            around = here + _NEIGHBOURS
            before = padded[around[:, 0] + 1, around[:, 1] + 1]
            here = around[np.argmin(before + 0.01 * _LENGTHS)]
            cells.append(here)
        return self.points(np.array(cells[::-1]))

    # ----- looking --------------------------------------------------------------------------

    def outlook(self, cells: np.ndarray, worth: np.ndarray, near_worth: np.ndarray) -> np.ndarray:
        """What could be seen from cells (n, 2), by direction: (n, RAYS) in m2 times worth.

        Rays end at what is solid. `worth` (h, w) float32 counts as far as SIGHT_M, `near_worth`
        (h, w) within NEAR_M.
        """
        width = self.solid.shape[1]
        cells = self._inside(cells)
        at = (cells[:, 0] * width + cells[:, 1]).astype(np.int32)[:, None, None]
        index = at + (_RAY_ROWS * width + _RAY_COLUMNS)
        hidden = np.maximum.accumulate(self.solid.ravel()[index], 2)
        seen = worth.ravel()[index]
        seen[:, :, :NEAR_STEPS] += near_worth.ravel()[index[:, :, :NEAR_STEPS]]
        seen[hidden] = 0.0
        return seen @ _RAY_AREA

    def in_view(self, cell: np.ndarray) -> np.ndarray:
        """Cells (h, w) bool within SIGHT_M of a cell [row, column], nothing solid between."""
        row, column = self._inside(cell)
        rows, columns = row + _RAY_ROWS, column + _RAY_COLUMNS
        lit = ~np.maximum.accumulate(self.solid[rows, columns], 1)
        view = np.zeros(self.solid.shape, np.uint8)
        view[rows[lit], columns[lit]] = 1
        return cv2.dilate(view, np.ones((3, 3), np.uint8)) > 0

    def _inside(self, cells: np.ndarray) -> np.ndarray:
        """Cells from which no ray leaves the crop."""
        return np.clip(cells, _PAD, np.array(self.solid.shape) - _PAD - 1)


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
