"""The scan of a mounted scanner as a scanner at base_link would see it, for mapping."""

from __future__ import annotations

import math

import numpy as np

from foresight.perception.scan import ScanMount, beam_directions

CENTRED_M = 0.001
"""A scanner this close to base_link's axis counts as being on it."""
_CIRCLE_RAD = 2.0 * math.pi
_GRAZING_RAD = math.radians(10.0)  # neighbouring echoes are of one surface unless it is flatter ...
_NOISE_M = 0.05  # ... than this, besides the noise of the ranges
_GAP_M = 0.1  # a beam passes over what was not seen, if that is no longer
_ECHO, _SILENCE, _UNSEEN = range(3)  # what lies behind the border of the seen floor


class VirtualScan:
    """Converts the scans of a mounted scanner to those of a 360 degree scanner at base_link.

    For a scanner on base_link's axis, only the angles change. For one beside it, each beam from
    base_link crosses the floor that the scanner saw, and ends at the first echo, or on the line
    between two echoes of one surface. Nothing is invented: a beam that ends where the scanner
    cannot see, because of its field of view or an occlusion, is no reading.

    Attributes:
        angles: (N,) rad, of the beams from base_link, counter-clockwise, the full circle.
    """

    def __init__(
        self,
        beams: int,
        angle_min: float,
        angle_increment: float,
        mount: ScanMount,
        radius_m: float,
    ) -> None:
        """
        Args:
            beams, angle_min, angle_increment: of the scanner; rad.
            radius_m: of the robot's footprint, which is free of obstacles.

        Raises:
            ValueError: the angles are no part of a circle.
        """
        span = abs(angle_increment) * (beams - 1)
        if not (abs(angle_min) <= _CIRCLE_RAD + 0.01 and 0.0 < span <= _CIRCLE_RAD + 0.01):
            raise ValueError(
                f"{beams} beams from {angle_min:.3f} rad, one every {angle_increment:.4f} rad, are "
                f"no part of a circle"
            )
        self._beams, self._mount, self._radius_m = beams, mount, radius_m
        self._clockwise = (angle_increment < 0.0) != mount.upside_down
        self._step = step = abs(angle_increment)
        self._closed = _CIRCLE_RAD - span < 1.5 * step
        directions = beam_directions(beams, angle_min, angle_increment, mount)
        self._directions = directions[::-1] if self._clockwise else directions
        edge = angle_min + (beams - 1) * angle_increment if self._clockwise else angle_min
        first = mount.yaw_rad + (-edge if mount.upside_down else edge)
        self.angles = first + step * np.arange(max(beams, round(_CIRCLE_RAD / step)))
        self._rays = np.stack([np.cos(self.angles), np.sin(self.angles)], 1)

    def __call__(self, ranges: np.ndarray, range_min_m: float, range_max_m: float) -> np.ndarray:
        """Ranges (N,) m from base_link: +inf no echo, NaN no reading.

        Args:
            ranges: (beams,) m as the scanner reports them.
            range_min_m: ranges up to this are no reading.
            range_max_m: ranges beyond it are no echo; length of a beam without an echo.
        """
        read = np.where(ranges > range_min_m, ranges, np.nan)
        read[read > range_max_m] = np.inf
        if self._clockwise:
            read = read[::-1]
        if self._mount.distance_m < CENTRED_M:
            return np.concatenate([read, np.full(len(self.angles) - self._beams, np.nan)])
        read = self._patched(read)
        origin = np.array([self._mount.x_m, self._mount.y_m])
        reach_m = np.where(np.isinf(read), range_max_m, read)
        ends = origin + self._directions * reach_m[:, None]
        end_m, end = self._cast(*self._outline(origin, read, ends))
        found = np.where(end == _ECHO, end_m, np.where(end == _SILENCE, np.inf, np.nan))
        return self._with_echoes(found, end_m, ends[np.isfinite(read)])

    def _patched(self, read: np.ndarray) -> np.ndarray:
        """The readings (beams,) with one or two missing ones filled in, if their neighbours lie on
        one surface or have no echo."""
        patched = read.copy()
        for missing in (1, 2):
            gaps = missing + 1
            after = np.roll(read, -gaps)
            lost = np.all([np.isnan(np.roll(read, -k)) for k in range(1, gaps)], 0)
            lost &= self._alike(read, after, gaps * self._step)
            if not self._closed:
                lost[-gaps:] = False
            before = np.flatnonzero(lost)
            for k in range(1, gaps):
                share = k / gaps
                between = (1 - share) * read[before] + share * after[before]
                patched[(before + k) % len(read)] = between
        return patched

    @staticmethod
    def _alike(read: np.ndarray, other: np.ndarray, apart_rad: float) -> np.ndarray:
        """Whether pairs of readings (n,) m lie on one surface, or both have no echo."""
        with np.errstate(invalid="ignore"):
            flattest_m = np.minimum(read, other) * apart_rad / math.tan(_GRAZING_RAD) + _NOISE_M
            return (np.abs(read - other) < flattest_m) | ((read == np.inf) & (other == np.inf))

    def _outline(
        self, origin: np.ndarray, read: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The border of the floor that was seen, counter-clockwise: where its edges start (E, 2) m
        and stop (E, 2) m, and what begins behind each of them (E,)."""
        seen, following = ~np.isnan(read), np.roll(np.arange(len(read)), -1)
        joined = seen & seen[following]
        if not self._closed:
            joined[-1] = False
        behind = np.where(self._alike(read, read[following], self._step), _ECHO, _UNSEEN)
        behind[(read == np.inf) & (read[following] == np.inf)] = _SILENCE
        last, first = seen & ~joined, seen & ~np.roll(joined, 1)  # of a run of beams that read
        starts = np.concatenate([ends[joined], ends[last], np.tile(origin, (first.sum(), 1))])
        stops = np.concatenate(
            [ends[following][joined], np.tile(origin, (last.sum(), 1)), ends[first]]
        )
        unseen = np.full(last.sum() + first.sum(), _UNSEEN)
        return starts, stops, np.concatenate([behind[joined], unseen])

    def _cast(
        self, starts: np.ndarray, stops: np.ndarray, behind: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where each ray from base_link leaves the outline for good (N,) m, and for what (N,)."""
        turn = starts[:, 0] * stops[:, 1] - starts[:, 1] * stops[:, 0]
        rays, edge = self._crossings(starts, stops, turn > 0.0)
        along = stops[edge] - starts[edge]
        across = self._rays[rays, 0] * along[:, 1] - self._rays[rays, 1] * along[:, 0]
        crossed = turn[edge] * across > 0.0  # not: an edge that is seen end-on
        rays, edge = rays[crossed], edge[crossed]
        at_m = turn[edge] / across[crossed]
        order = np.lexsort((turn[edge] < 0.0, np.round(at_m, 9), rays))  # out before in again
        rays, at_m, edge = rays[order], at_m[order], edge[order]
        out, behind = turn[edge] > 0.0, behind[edge]
        again = np.append(rays[1:] == rays[:-1], False)
        back_m = np.where(again & ~np.append(out[1:], True), np.append(at_m[1:], np.inf), np.inf)
        passed = (behind == _UNSEEN) & ((back_m - at_m < _GAP_M) | (back_m < self._near_m))
        end_m, end = np.full(len(self._rays), np.nan), np.full(len(self._rays), _UNSEEN)
        last = np.flatnonzero(out & ~passed)[::-1]  # the nearest is written last
        end_m[rays[last]], end[rays[last]] = at_m[last], behind[last]
        begins = np.append(True, rays[1:] != rays[:-1]) if len(rays) else np.zeros(0, bool)
        blind = rays[begins & ~out & (at_m > self._near_m)]
        end_m[blind], end[blind] = np.nan, _UNSEEN
        return end_m, end

    def _crossings(
        self, starts: np.ndarray, stops: np.ndarray, counter_clockwise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crossings of rays and edges: indices (C,) of both."""
        begin = np.where(counter_clockwise[:, None], starts, stops)
        end = np.where(counter_clockwise[:, None], stops, starts)
        from_rad = (np.arctan2(begin[:, 1], begin[:, 0]) - self.angles[0]) % _CIRCLE_RAD
        turn = begin[:, 0] * end[:, 1] - begin[:, 1] * end[:, 0]
        to_rad = from_rad + np.arctan2(turn, (begin * end).sum(1))
        rays, edges = [], []
        for lap_rad in (0.0, _CIRCLE_RAD):  # an edge may lie across the first ray
            low = np.maximum(np.ceil((from_rad - lap_rad) / self._step), 0.0).astype(int)
            high = np.minimum(np.ceil((to_rad - lap_rad) / self._step), len(self._rays)).astype(int)
            count = np.maximum(high - low, 0)
            edge = np.repeat(np.arange(len(count)), count)
            within = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
            rays.append(low[edge] + within)
            edges.append(edge)
        return np.concatenate(rays), np.concatenate(edges)

    def _with_echoes(self, found: np.ndarray, end_m: np.ndarray, echoes: np.ndarray) -> np.ndarray:
        """The ranges (N,) m with each echo (K, 2) m that lies before its ray's end (N,) m: a thin
        object may stand between two rays."""
        bearing = (np.arctan2(echoes[:, 1], echoes[:, 0]) - self.angles[0]) % _CIRCLE_RAD
        rays = np.rint(bearing / self._step).astype(int) % len(found)
        at_m = np.hypot(echoes[:, 0], echoes[:, 1])
        before = at_m <= end_m[rays]
        before &= ~self._alike(at_m, found[rays], self._step)  # a surface has its range already
        order = np.argsort(-at_m)  # the nearest is written last
        order = order[before[order]]
        found[rays[order]] = at_m[order]
        return found

    @property
    def _near_m(self) -> float:
        return self._radius_m + _GAP_M
