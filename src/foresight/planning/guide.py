"""The way to a goal beyond the horizon: from remembered place to remembered place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foresight.memory import Field, Places
from foresight.memory.localiser import Where
from foresight.planning.world_model import Compared

HORIZON_S = 6.5  # so far ahead the learned distance and the planner hold: an aim is no further
FINAL_S, STILL_FINAL_S = 7.0, 11.0  # the goal itself is aimed at from here on, and until here
CLOSE_S = 2.0  # from here on it is for the planner to get there
_REACHED_S = 0.8  # an aim this near is behind the robot
_KEEP_S = 0.6  # another aim must be this much better
_AHEAD = 12  # places on the way that are looked at
_SURE = 0.25  # below this confidence, the robot had better look around
PATIENCE_S = 10.0  # no nearer for so long: there is no way through here
_NEARER_S = 0.7
_AVOID_S = 90.0  # so long, an aim that could not be reached is not tried again


@dataclass(frozen=True)
class Aim:
    """Where to drive next.

    latent (D,): what the camera sees there; None: look around, nothing is known to drive to.
    place: its id, if it is a remembered place. final: it is the goal. expected_s: to the goal;
    infinite if unknown. reason: in a sentence, when something is wrong.
    """

    latent: np.ndarray | None
    place: int | None
    final: bool
    expected_s: float
    reason: str = ""


class Guide:
    """Leads to one goal.

    Where the learned distance promises a shorter way than the graph knows, or the goal is near, it
    is aimed at itself. Else, of the places that the planner can reach at once, by the learned
    distance, the one is aimed at from which the goal is nearest over the graph. Whoever gets no
    nearer to the goal for a while has found a way closed: the ways on from here are marked as
    failed, and others taken.
    """

    def __init__(
        self,
        places: Places,
        relation: Callable[[np.ndarray, np.ndarray], Compared],
        goal: int | np.ndarray,
    ) -> None:
        """`goal`: a place's id, or the latent (D,) of a picture taken there.

        Raises:
            PlacesError: the place is not known.
        """
        self._places, self._relation = places, relation
        self._goal: int | None
        if isinstance(goal, np.ndarray):
            self._latent, self._goal = goal.astype(np.float32), None
        else:
            self._latent, self._goal = places.latents([goal])[0], int(goal)
        self._final, self._closed_until_s = False, -math.inf
        self._aim: int | None = None
        self._least_s, self._least_at_s = math.inf, -math.inf
        self._avoid: dict[int, float] = {}
        self.failures = 0

    def update(self, stamp_s: float, latent: np.ndarray, where: Where | None) -> Aim:
        """Where to drive next, from a view (D,) and what the localiser made of it."""
        direct_s = float(self._seconds(latent[None], self._latent)[0])
        straight = Aim(self._latent, self._goal, True, direct_s)
        closed = stamp_s < self._closed_until_s
        if where is None or where.confidence < _SURE:
            lost = Aim(None, None, False, math.inf, "the robot does not know where it is")
            return lost if closed else straight
        field, beyond_s = self._field()
        left_s = math.inf if field is None else field.cost(where.place)
        if field is None or not math.isfinite(left_s):
            return replace(straight, reason="no way is remembered")
        near = direct_s < (STILL_FINAL_S if self._final else FINAL_S)
        final = not closed and (near or direct_s < left_s + beyond_s)
        if final != self._final:
            self._final, self._least_s, self._least_at_s = final, math.inf, -math.inf
        stands = self._stands_still(stamp_s, direct_s if final else left_s)
        if final and (direct_s < CLOSE_S or not stands):
            return straight
        if stands:
            self._closed_until_s = stamp_s + _AVOID_S if final else self._closed_until_s
            self._give_up(stamp_s, where, field)
        return self._choose(stamp_s, latent, where, field, beyond_s)

    def _field(self) -> tuple[Field | None, float]:
        """Costs to the goal's place, and the seconds from there to the goal."""
        if self._goal is not None:
            known = self._goal in self._places
            return (self._places.costs_to(self._goal) if known else None), 0.0
        near = self._places.nearest(self._latent, 16)[0]
        if not len(near):
            return None, 0.0
        seconds = self._seconds(self._places.latents(near), self._latent)
        best = int(np.argmin(seconds))
        return self._places.costs_to(int(near[best])), float(seconds[best])

    def _choose(
        self, stamp_s: float, latent: np.ndarray, where: Where, field: Field, beyond_s: float
    ) -> Aim:
        ahead = self._ahead(where.place, field)
        ids = np.array([*where.ids.tolist(), *ahead], np.uint32)
        seconds = np.expm1(where.compared.gap)
        if ahead:
            here = np.repeat(latent[None], len(ahead), 0)
            seconds = np.append(
                seconds, np.expm1(self._relation(here, self._places.latents(ahead)).gap)
            )
        costs = np.array([field.cost(place) for place in ids.tolist()])
        avoided = [self._avoid.get(place, -math.inf) > stamp_s for place in ids.tolist()]
        fit = (seconds < HORIZON_S) & (seconds > _REACHED_S) & ~np.array(avoided)
        total = np.where(fit, seconds + costs, np.inf)
        best = int(np.argmin(total))
        if not math.isfinite(total[best]):
            self._aim = None
            return Aim(None, None, False, math.inf, "no remembered place is near enough")
        kept = np.flatnonzero(ids == self._aim)
        if len(kept) and total[kept[0]] < total[best] + _KEEP_S:
            best = int(kept[0])
        self._aim = int(ids[best])
        there = self._places.latents([self._aim])[0]
        return Aim(there, self._aim, False, float(total[best]) + beyond_s)

    def _ahead(self, place: int, field: Field) -> list[int]:
        """The next places on the way."""
        way: list[int] = []
        while len(way) < _AHEAD and (after := field.following(place)) is not None:
            way.append(place := after)
        return way

    def _stands_still(self, stamp_s: float, left_s: float) -> bool:
        """Whether the goal has come no nearer for too long."""
        if left_s < self._least_s - _NEARER_S or self._least_at_s == -math.inf:
            self._least_s, self._least_at_s = left_s, stamp_s
        return stamp_s - self._least_at_s > PATIENCE_S

    def _give_up(self, stamp_s: float, where: Where, field: Field) -> None:
        """No way leads on from here: what is nearer to the goal cannot be reached."""
        self.failures += 1
        self._final, self._least_s, self._least_at_s = False, math.inf, -math.inf
        here = field.cost(where.place)
        behind = [p for p in where.ids.tolist() if field.cost(p) < here - _NEARER_S]
        behind += self._ahead(where.place, field)[1:]
        if self._aim is not None:
            behind.append(self._aim)
        beyond = set(behind)
        self._avoid |= dict.fromkeys(beyond, stamp_s + _AVOID_S)
        for place in where.ids.tolist():
            for edge in self._places.edges_from(place):
                if place not in beyond and edge.b in beyond:
                    self._places.tried(edge.a, edge.b, False)

    def _seconds(self, latents: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(K,) from views (K, D) to one, by the learned distance."""
        return np.expm1(self._relation(latents, np.repeat(goal[None], len(latents), 0)).gap)
