"""Where a robot can be on a floor plan, how far it is to drive, and what can be seen from where.

Points are (x m, y m) in the frame of the world; further entries, as of a pose, are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from foresight.interfaces import Grid

CELL_M = 0.05
"""Resolution of a floor plan, unless somebody needs another."""

# Cells from a cell to its neighbours; staying is no step.
_STEPS = np.array([[2**0.5, 1, 2**0.5], [1, np.inf, 1], [2**0.5, 1, 2**0.5]])


def free_space(occupied: Grid, radius_m: float) -> Grid:
    """Cells (bool) where the middle of a disc of `radius_m` can be; outside of the map is no room.

    Args:
        occupied: bool, of `FloorPlan.occupied`.
    """
    padded = np.pad(~occupied.cells, 1).astype(np.uint8)
    clearance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] * occupied.cell_m
    return occupied.filled(clearance > radius_m)


def line_of_sight(occupied: Grid, a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether nothing stands on the straight line between two points.

    What stands on a floor plan is taken to be taller than the camera.
    """
    distance_m = math.hypot(b[0] - a[0], b[1] - a[1])
    share = np.linspace(0.0, 1.0, max(2, math.ceil(distance_m / (0.4 * occupied.cell_m))))
    x, y = a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
    return not bool(occupied.at(x, y).any())


def path_lengths(free: Grid, goal: Sequence[float], limit_m: float = math.inf) -> Grid:
    """Length of the shortest 8-connected path from every cell to the goal.

    The solution is Dijkstra's, found by relaxing the whole grid at once (Bellman-Ford), which is
    faster in NumPy.

    Args:
        free: bool, where the robot's centre may be (`free_space`).
        limit_m: paths longer than this need not be found.

    Returns:
        float32 in m; inf where there is no path, and perhaps beyond the limit.
    """
    rows, columns = free.cells.shape
    straight, diagonal = np.float32(free.cell_m), np.float32(free.cell_m * math.sqrt(2))
    blocked = ~free.cells
    lengths = np.full((rows + 2, columns + 2), np.inf, np.float32)
    inner = lengths[1:-1, 1:-1]
    row, column = free.index(goal[0], goal[1])
    if blocked[row, column]:
        return free.filled(inner.copy())
    inner[row, column] = 0.0
    # Each pass settles all paths of one more step, so that no path needs more passes than cells.
    for step in range(1, blocked.size):
        if step * free.cell_m > limit_m:
            break
        pairs = np.minimum(lengths[:, :-2], lengths[:, 2:])  # left and right neighbours
        beside = np.minimum(pairs[1:-1], np.minimum(lengths[:-2, 1:-1], lengths[2:, 1:-1]))
        across = np.minimum(pairs[:-2], pairs[2:])
        shorter = np.minimum(beside + straight, across + diagonal)
        shorter[blocked] = np.inf
        improved = shorter < inner
        if not improved.any():
            break
        np.copyto(inner, shorter, where=improved)
    return free.filled(inner.copy())


def shortest_path(
    lengths: Grid, start: Sequence[float], goal: Sequence[float]
) -> np.ndarray | None:
    """The shortest path on the grid, its kinks pulled straight where the straight line is free.

    Args:
        lengths: of `path_lengths` to the goal, without a limit.

    Returns:
        Corners (N, 2) in m, from start to goal; None where there is no path.
    """
    blocked = lengths.filled(~np.isfinite(lengths.cells))
    row, column = (int(at) for at in lengths.index(start[0], start[1]))
    if blocked.cells[row, column]:
        return None
    padded = np.pad(lengths.cells, 1, constant_values=np.inf)
    points = [(start[0], start[1])]
    while lengths.cells[row, column] > 0:
        around = padded[row : row + 3, column : column + 3] + _STEPS * lengths.cell_m
        down, across = divmod(int(np.argmin(around)), 3)
        row, column = row + down - 1, column + across - 1
        points.append(lengths.point(row + 0.5, column + 0.5))
    points.append((goal[0], goal[1]))
    corners, at = [points[0]], 0
    while at < len(points) - 1:
        beyond = range(len(points) - 1, at, -1)
        straight = (k for k in beyond if line_of_sight(blocked, points[at], points[k]))
        at = next(straight, at + 1)
        corners.append(points[at])
    return np.array(corners)
