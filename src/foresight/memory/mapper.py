"""Remembering: what the robot sees becomes places, and how it drove becomes edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from foresight.geometry import Pose, compose, inverse
from foresight.memory.localiser import NEAR, Localiser, Where
from foresight.memory.places import Places
from foresight.memory.relative_poses import length
from foresight.runtime.dynamics import Compared

SPACING = 0.35  # metres, turns counted in: no known place as near as this, and one is added
_SURE = 0.6  # confidence from which a place is told for certain
_EDGE_M, _EDGE_S = 1.2, 6.0  # edges are inferred between places as near as this
_LATELY_M = 3.3  # driven since a place was passed, turns counted in, so that odometry still tells
_AGREE_M = 0.5  # how far a view and odometry may differ for an edge to be inferred
_MUTUAL_M, _MUTUAL_RAD = 0.3, 0.3  # how far views from both sides may differ for that
_LIKELY = 0.02  # probability of such a place
_PAUSE_S = 20.0  # after so long, what was driven between two places is no edge
_LONGEST = 1.5  # metres, turns counted in, of a driven edge


class Mapper:
    """Adds places where none is known, and edges that were driven or can be seen to exist."""

    def __init__(
        self,
        places: Places,
        localiser: Localiser,
        relation: Callable[[np.ndarray, np.ndarray], Compared],
    ) -> None:
        self._places, self._localiser, self._relation = places, localiser, relation
        self._last: tuple[int, float, Pose] | None = None  # place, when, pose of odometry
        self._passed: dict[int, tuple[float, Pose]] = {}  # metres driven then, pose of odometry

    def observe(
        self,
        stamp_s: float,
        latent: np.ndarray,
        picture: np.ndarray,
        odometry: Pose,
        where: Where | None,
        now: float | None = None,
        anew: bool = False,
    ) -> int | None:
        """Remember a view, if it is new.

        Args:
            stamp_s: of the view, on any clock. picture: (h, w, 3) uint8, that `latent` encodes.
            where: what the localiser made of this view. now: seconds since 1970.
            anew: add it though a known place is near, so that it can get a name of its own.

        Returns:
            the place that was added, if one was.
        """
        if anew or where is None or where.apart.min(initial=math.inf) > SPACING:
            place = self._places.add(latent, picture, odometry, now)
            self._connect(stamp_s, place, odometry, now)
            if where is not None:
                self._infer(place, odometry, where, now)
            self._localiser.learn(place, odometry)
            self._passed[place] = self._localiser.driven_m, odometry
            return place
        sure = where.confidence > _SURE and math.hypot(*where.offset[:2]) < NEAR
        if sure and (self._last is None or self._last[0] != where.place):
            here = compose(odometry, where.offset)
            self._connect(stamp_s, where.place, here, now)
            self._places.visit(where.place, here, now)
            self._passed[where.place] = self._localiser.driven_m, here
        return None

    def _connect(self, stamp_s: float, place: int, pose: Pose, now: float | None) -> None:
        """It drove from the last place to this one."""
        last, self._last = self._last, (place, stamp_s, pose)
        if last is None or last[0] not in self._places:
            return
        before, then_s, there = last
        driven = compose(inverse(there), pose)
        if before != place and 0 < stamp_s - then_s < _PAUSE_S and length(driven) < _LONGEST:
            self._places.connect(before, place, stamp_s - then_s, driven, traversed=True, now=now)
            a, b = self._places.latents([before]), self._places.latents([place])
            to, back = self._relation(a, b), self._relation(b, a)
            self._connect_both(before, place, driven, float(to.gap[0]), float(back.gap[0]), now)

    def _infer(self, place: int, odometry: Pose, where: Where, now: float | None) -> None:
        """Edges between a new place and those near it."""
        known = np.isin(where.ids, self._places.ids)
        others, chances = where.ids[known], where.probability[known]
        here = np.repeat(self._places.latents([place]), len(others), 0)
        latents = self._places.latents(others)
        there, back = self._relation(here, latents), self._relation(latents, here)
        for k, other in enumerate(others.tolist()):
            offset = self._offset(other, k, odometry, there, back, float(chances[k]))
            if offset is not None and math.hypot(*offset[:2]) < _EDGE_M:
                self._connect_both(place, other, offset, there.gap[k], back.gap[k], now)

    def _offset(
        self, other: int, k: int, odometry: Pose, there: Compared, back: Compared, chance: float
    ) -> Pose | None:
        """How a place lies, if that is certain: by odometry over a short drive, or by views that
        agree from both sides with each other and with the belief, which knows what came before."""
        seen, related = _pose(there.displacement[k]), there.close[k] > 0.5
        offset = self._by_odometry(other, odometry)
        if offset is not None:
            agree = math.dist(seen[:2], offset[:2]) < _AGREE_M
            return None if related and not agree else offset
        x, y, yaw = compose(seen, _pose(back.displacement[k]))
        mutual = math.hypot(x, y) < _MUTUAL_M and abs(yaw) < _MUTUAL_RAD
        sure = related and back.close[k] > 0.5 and mutual and chance > _LIKELY
        return seen if sure else None

    def _by_odometry(self, place: int, odometry: Pose) -> Pose | None:
        """How a place lies, if it was passed lately."""
        if place not in self._passed:
            return None
        then, pose = self._passed[place]
        lately = self._localiser.driven_m - then < _LATELY_M
        return compose(inverse(odometry), pose) if lately else None

    def _connect_both(
        self, a: int, b: int, offset: Pose, to: float, back: float, now: float | None
    ) -> None:
        """Edges both ways that are short by the learned distance, log1p(seconds)."""
        for start, end, gap, displacement in ((a, b, to, offset), (b, a, back, inverse(offset))):
            seconds = max(math.expm1(gap), 0.1)
            if seconds < _EDGE_S:
                self._places.connect(start, end, seconds, displacement, traversed=False, now=now)


def _pose(offset: np.ndarray) -> Pose:
    x, y, yaw = (float(part) for part in offset)
    return x, y, yaw
