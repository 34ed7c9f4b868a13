"""Where am I? A Bayes filter over remembered places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foresight.geometry import Pose, compose, inverse
from foresight.memory.places import Places
from foresight.memory.relative_poses import RelativePoses, length
from foresight.runtime.dynamics import Compared

NEAR = 0.8  # as far off as this, in such metres, a place counts as here
_SPREAD = 0.2  # of views that are taken for the same place, in such metres
_FLOOR = 1e-3  # likelihood of a view from a place that it does not look like
_SIMILAR = 16  # places that look most alike are always considered
_KEPT = 32  # most probable places that are carried on
_STEP = 0.4  # moved so far, in such metres, the robot is as likely at a neighbour as where it was
_MOVED = 0.02  # less is rest: what is seen then is no new evidence
_ANYWHERE, _CARRIED = 2e-3, 0.3  # probability of having been set down elsewhere: usual, surprised
_SURPRISED = 1.0
_BETTER = 1.5  # another place must be so much likelier to be told
_LOST_AFTER = 3  # views that the told place cannot explain


@dataclass(frozen=True)
class Where:
    """Where the robot seems to be.

    Attributes:
        place: the most probable one. confidence: that the robot is near it, 0 to 1.
        offset: `place` seen from the robot (x m, y m, yaw rad).
        ids (K,): places considered; probability (K,) that each is where the robot is.
        compared: each with the present view, and how it lies by all views so far; B = K.
    """

    place: int
    confidence: float
    offset: Pose
    ids: np.ndarray
    probability: np.ndarray
    compared: Compared

    @property
    def apart(self) -> np.ndarray:
        """(K,) how far each is from the robot, in metres, turns counted in; infinite if unsure."""
        return apart(self.compared)


def apart(compared: Compared) -> np.ndarray:
    """(K,) how far views are apart, in metres, turns counted in; infinite where unrelated."""
    return np.where(compared.close > 0.5, length(compared.displacement), np.inf)


class Localiser:
    """The belief is a probability for each of a few dozen places.

    As the robot moves probability flows along edges; at rest it stays. Each view is compared
    with the places believed in, their neighbours, and those that look most alike: how they lie, and
    whether that can be told; `RelativePoses` weighs that against earlier views. Some of the belief
    always restarts from what looks alike, much of it after a surprise: so a robot that was carried
    elsewhere finds itself again.
    """

    def __init__(
        self, places: Places, relation: Callable[[np.ndarray, np.ndarray], Compared]
    ) -> None:
        self._places, self._relation = places, relation
        self.restart()

    def restart(self) -> None:
        """Believe nothing."""
        self._belief: dict[int, float] = {}
        self._told: int | None = None
        self._unexplained = 0
        self._last: Pose | None = None
        self._relative_poses = RelativePoses()

    def update(self, latent: np.ndarray, odometry: Pose, surprise: float = 0.0) -> Where | None:
        """Take in a view: latent (D,), taken at a pose of odometry; surprise of the belief.

        Returns:
            None while no place is known.
        """
        if not len(self._places):
            return None
        moved = self._moved(odometry)
        similar = self._places.nearest(latent, _SIMILAR)[0]
        lost = surprise > _SURPRISED or self._unexplained >= _LOST_AFTER
        if lost:
            self._relative_poses.reset()
        prior = self._flow(moved, similar, lost)
        if not prior:  # all wait to be encoded anew
            return None
        ids = np.fromiter(prior, np.uint32, len(prior))
        compared = self._relation(np.repeat(latent[None], len(ids), 0), self._places.latents(ids))
        fused, agreement = self._relative_poses.fuse(ids, compared, odometry, moved)
        compared = replace(compared, displacement=fused)
        seen = _likelihood(compared) * agreement
        fresh = moved > _MOVED or self._unexplained >= _LOST_AFTER or not self._belief
        chance = np.fromiter(prior.values(), float, len(ids)) * seen ** (1.0 if fresh else 0.05)
        chance /= chance.sum()
        kept = np.argsort(-chance)[:_KEPT]
        self._belief = {int(ids[k]): float(chance[k]) for k in kept}
        return self._tell(ids, chance, compared, moved)

    @property
    def driven_m(self) -> float:
        """Since odometry began, turns counted in."""
        return self._relative_poses.driven_m

    def learn(self, place: int, odometry: Pose) -> None:
        """The robot stands at a place that was just added."""
        self._relative_poses.stand_at(place, odometry)
        self._belief = {known: 0.1 * chance for known, chance in self._belief.items()}
        self._belief[place] = 0.9
        self._told = place

    def _moved(self, odometry: Pose) -> float:
        """Since the last update, in metres, turns counted in."""
        last, self._last = self._last, odometry
        if last is None:
            return math.inf
        return float(length(compose(inverse(last), odometry)))

    def _flow(self, moved: float, similar: np.ndarray, lost: bool) -> dict[int, float]:
        """The belief after moving, by place."""
        flown: dict[int, float] = {}
        leave = 0.5 * (1 - math.exp(-moved / _STEP))
        for place, chance in self._belief.items():
            if place not in self._places:
                continue
            around = {edge.b for edge in self._places.edges_from(place)}
            around |= {edge.a for edge in self._places.edges_to(place)}
            flown[place] = flown.get(place, 0.0) + chance * (1 - leave if around else 1.0)
            for neighbour in around:
                flown[neighbour] = flown.get(neighbour, 0.0) + chance * leave / len(around)
        anywhere = (_CARRIED if lost else _ANYWHERE) if flown else 1.0
        total = sum(flown.values()) or 1.0
        flown = {place: (1 - anywhere) * chance / total for place, chance in flown.items()}
        for place in similar.tolist():
            flown[place] = flown.get(place, 0.0) + anywhere / len(similar)
        return flown

    def _tell(self, ids: np.ndarray, chance: np.ndarray, compared: Compared, moved: float) -> Where:
        away = apart(compared)
        best = int(np.argmax(chance))
        known = np.flatnonzero(ids == self._told)
        if len(known):
            told = int(known[0])
            explained = away[told] < 2 * NEAR
            self._unexplained = 0 if explained else self._unexplained + 1
            rests = moved <= _MOVED and explained
            if rests or (chance[best] < _BETTER * chance[told] and explained):
                best = told
        elif self._told is not None:
            self._unexplained += 1
        if self._told is None or ids[best] != self._told:
            self._unexplained = 0 if away[best] < 2 * NEAR else self._unexplained
        self._told = int(ids[best])
        near = (away < NEAR) * compared.close
        offset = tuple(float(part) for part in compared.displacement[best])
        return Where(
            self._told,
            float(chance @ near),
            (offset[0], offset[1], offset[2]),
            ids,
            chance,
            compared,
        )


def _likelihood(compared: Compared) -> np.ndarray:
    """(K,) of the view, if the robot is at each place."""
    away = length(compared.displacement)
    return np.maximum(compared.close * np.exp(-0.5 * (away / _SPREAD) ** 2), _FLOOR)
