"""The robot's own occupancy grid, from scan and wheel odometry, and where it has been on it.

Odometry alone drifts by a turn or so in an hour of driving. Every scan is therefore matched to the
map of the earlier ones (correlative scan matching: Olson, "Real-time correlative scan matching",
ICRA 2009), which keeps a home's counts of visits right for hours. The map guides the driver; it is
neither recorded nor trained on.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from foresight.geometry import wrap

CELL_M = 0.05
PLACE_M = 0.5  # visits are counted per square of this side and per heading
HEADINGS = 8
_CELLS = 640  # 32 m, the first pose in the middle
_STRIDE = round(PLACE_M / CELL_M)
_COARSE = 2  # paths are sought on every second cell
_STEP_M = CELL_M * _COARSE
_NEIGHBOURS = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)])
_KERNELS = [cv2.getStructuringElement(k, (3, 3)) for k in (cv2.MORPH_CROSS, cv2.MORPH_RECT)]
_FULL = 6.0  # evidence of a cell saturates, so that the map follows what is moved
_LOST = 0.6  # share of a scan's echoes that don't fall on free floor: below, the pose is wrong
_LOST_SCANS = 300
_SLIPPING_SCANS = 5  # after a bump, while the wheels may slip


class OccupancyGrid:
    """Pose and map in the frame of the first pose that was given; m and rad."""

    def __init__(
        self,
        angles: np.ndarray,
        radius_m: float,
        no_echo_free_m: float = 0.0,
        careful: bool = False,
    ) -> None:
        """`angles` (beams,) rad of the scan's beams; `radius_m` of the robot.

        `no_echo_free_m`: how much free floor a beam shows that has no echo (+inf); 0: none.
        `careful`: match every scan, and search wider, for wheels whose turns are off by a tenth.
        """
        self._no_echo_free_m, self._careful = no_echo_free_m, careful
        self._beams = np.stack([np.cos(angles), np.sin(angles)], 1)
        self._radius_m = radius_m
        self._evidence = np.zeros((_CELLS, _CELLS), np.float32)  # over 0: something stands there
        self._field = np.zeros((_CELLS, _CELLS), np.float32)  # the evidence, blurred
        places = _CELLS // _STRIDE
        self.visits = np.zeros((places, places, HEADINGS), np.float32)  # entries
        self._place = (-1, -1, -1)
        self._odometry: np.ndarray | None = None
        self._scans = 0
        self._fit = 1.0
        self._inserted: np.ndarray | None = None
        self._misfits = 0
        self._slipping = 0
        self.scans_kept = 0  # laid into the map; it changes with this number only
        self.pose = np.zeros(3)

    def update(self, ranges: np.ndarray, odometry: np.ndarray, bumped: bool) -> None:
        """Take in a scan (beams,) m seen at `odometry` (3,) m, m, rad.

        Inf in the scan is no echo, NaN no reading.
        """
        self._advance(odometry)
        self._slipping = _SLIPPING_SCANS if bumped else max(0, self._slipping - 1)
        echo = np.isfinite(ranges)
        points = self._beams[echo] * ranges[echo, None]
        self._scans += 1
        if len(points) > 10 and self._inserted is not None:
            self._match(points)
        self._misfits = self._misfits + 1 if self._fit < _LOST else 0
        if self._fit >= _LOST and self._moved():
            self._insert(points, ranges)
        place = (*self._here(), _heading(self.pose[2]))
        if place != self._place:
            self.visits[place] += 1
            self._place = place

    @property
    def lost(self) -> bool:
        """Whether the scans have long disagreed with the map: the robot was carried elsewhere."""
        return self._misfits > _LOST_SCANS

    @property
    def evidence(self) -> np.ndarray:
        """(n, n) float32 [row, column] on cells of CELL_M, the first pose in the middle.

        Over 0: something stands there; below: free floor; 0: not seen yet.
        """
        return self._evidence

    def need_here(self) -> float:
        """How little was seen from this place: 0 nothing left to see, 1 never been here."""
        return float(_need(self.visits[self._here()]))

    def _here(self) -> tuple[int, int]:
        column, row = (
            min(max(math.floor(at / PLACE_M) + len(self.visits) // 2, 0), len(self.visits) - 1)
            for at in self.pose[:2]
        )
        return row, column

    def _advance(self, odometry: np.ndarray) -> None:
        if self._odometry is None:
            self.pose = odometry.copy()
        else:
            dx, dy, turn = odometry - self._odometry
            rotation = _rotation(self.pose[2] - self._odometry[2])
            self.pose = self.pose + [*(rotation @ (dx, dy)), turn]
        self._odometry = odometry.copy()

    def _moved(self) -> bool:
        if self._inserted is None:
            return True
        dx, dy, turn = self.pose - self._inserted
        return math.hypot(dx, dy) > 0.25 or abs(wrap(turn)) > 0.5

    def _match(self, points: np.ndarray) -> None:
        """Move to the pose near by under which the scan fits the map best."""
        if self._slipping:
            self._search(points, np.linspace(-0.3, 0.3, 25), np.linspace(-0.1, 0.1, 5))
        elif self._careful:
            self._search(points, np.linspace(-0.04, 0.04, 9), np.linspace(-0.03, 0.03, 3))
        elif self._scans % 3 == 0:
            self._search(points, np.linspace(-0.02, 0.02, 5), np.linspace(-0.03, 0.03, 3))
        if self._fit < _LOST and self._scans % 10 == 0:
            self._search(points, np.linspace(-1.5, 1.5, 61), np.linspace(-0.3, 0.3, 7))

    def _search(self, points: np.ndarray, turns: np.ndarray, shifts: np.ndarray) -> None:
        yaw = self.pose[2] + turns
        c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        px, py = points[:, 0], points[:, 1]
        x = self.pose[0] + c * px - s * py  # (turns, points)
        y = self.pose[1] + s * px + c * py
        column = _index(x[:, None] + shifts[:, None], CELL_M, _CELLS)
        row = _index(y[:, None] + shifts[:, None], CELL_M, _CELLS)
        flat = row[:, :, None] * _CELLS + column[:, None]
        fit = self._field.ravel()[flat].mean(3)  # (turns, shifts of y, shifts of x)
        # Where the scan cannot tell (along a bare wall), the odometry is believed.
        far = (shifts / shifts[-1]) ** 2
        turned = (turns / turns[-1]) ** 2
        score = fit - 0.002 * (turned[:, None, None] + far[:, None] + far)
        a, b, k = np.unravel_index(np.argmax(score), score.shape)
        self._fit = 1.0 - float((self._field.ravel()[flat[a, b, k]] < -0.2).mean())
        self.pose = self.pose + [shifts[k], shifts[b], turns[a]]

    def _insert(self, points: np.ndarray, ranges: np.ndarray) -> None:
        """Mark what the scan hit, and the floor that it looked over."""
        self._inserted = self.pose.copy()
        self.scans_kept += 1
        no_echo = np.where(ranges == np.inf, self._no_echo_free_m, 0.0)
        reach = np.where(np.isfinite(ranges), np.maximum(ranges - 0.1, 0.0), no_echo)
        outline = self.to_map(self._beams * reach[:, None])
        hits = self.to_map(points)
        everything = _index(np.concatenate([outline, hits, self.pose[None, :2]]), CELL_M, _CELLS)
        low = np.maximum(everything.min(0) - 4, 0)
        high = everything.max(0) + 5
        window = slice(low[1], high[1]), slice(low[0], high[0])
        evidence = self._evidence[window]
        corners, cells = everything[: len(outline)] - low, everything[len(outline) : -1] - low
        free = np.zeros(evidence.shape, np.uint8)
        cv2.fillPoly(free, [corners.astype(np.int32)], 1)
        evidence -= 0.4 * cv2.erode(free, _KERNELS[1])  # what only just passed a corner is not
        evidence[cells[:, 1], cells[:, 0]] += 1.0
        np.clip(evidence, -_FULL, _FULL, out=evidence)
        solid = cv2.GaussianBlur((evidence > 0).astype(np.float32), (5, 5), 1.0)
        self._field[window] = np.where(evidence < -1.0, 1.5 * solid - 0.5, solid)

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) m seen from the robot, in the map's frame."""
        return points @ _rotation(self.pose[2]).T + self.pose[:2]

    # ----- paths ----------------------------------------------------------------------------

    def path_to_a_place_seldom_visited(self, rng: np.random.Generator) -> np.ndarray:
        """Points (n, 2) m of a path over known free floor to a place that deserves a visit.

        Drawn in favour of places seldom passed, or under few headings, and near.
        """
        distance = self._distances()
        rows, columns = np.nonzero(np.isfinite(distance))
        per_place = _STRIDE // _COARSE
        counts = self.visits[rows // per_place, columns // per_place]
        need = _need(counts)
        weight = need**4 / (distance[rows, columns] + 3.0) ** 3
        k = int(rng.choice(len(rows), p=weight / weight.sum()))
        here = np.array([rows[k], columns[k]])
        cells = [here]
        while distance[tuple(here)] > 0:
            around = here + _NEIGHBOURS
            here = around[np.argmin(distance[around[:, 0], around[:, 1]])]
            cells.append(here)
        return (np.array(cells[::-1])[:, ::-1] + 0.5 - len(distance) // 2) * _STEP_M

    def _distances(self) -> np.ndarray:
        """Metres of driving to each coarse cell [row, column], inf where no known path leads."""
        solid = (self._evidence > 0).astype(np.uint8)
        reach = round(self._radius_m / CELL_M)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        free = (self._evidence < 0) & (cv2.dilate(solid, disc) == 0)
        floor = free[::_COARSE, ::_COARSE].astype(np.uint8)
        x, y = _index(self.pose[:2], _STEP_M, len(floor))
        floor[[0, -1]] = floor[:, [0, -1]] = 0  # every cell of a path has neighbours
        cv2.circle(floor, (int(x), int(y)), 2, 1, -1)  # wherever it is, it got there
        distance = np.full(floor.shape, np.inf, np.float32)
        distance[y, x] = 0.0
        front = (distance == 0).astype(np.uint8)
        for step in range(1, 500):
            front = cv2.dilate(front, _KERNELS[step % 2]) & floor & np.isinf(distance)
            if not front.any():
                break
            distance[front > 0] = step * _STEP_M
        return distance


def _need(counts: np.ndarray) -> np.ndarray:
    """From visits (..., HEADINGS) to 0 ... 1."""
    return (1.0 / (1.0 + counts) ** 2).mean(-1)


def _heading(yaw: float) -> int:
    return int(yaw % (2 * math.pi) / (2 * math.pi) * HEADINGS) % HEADINGS


def _rotation(yaw: float) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s], [s, c]])


def _index(points: np.ndarray, cell_m: float, cells: int) -> np.ndarray:
    """Cells [column, row] of points (m); the origin lies in the middle of the map."""
    return np.clip(np.floor(points / cell_m).astype(int) + cells // 2, 0, cells - 1)
