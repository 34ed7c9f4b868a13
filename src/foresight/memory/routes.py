"""The cheapest route from anywhere to a goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra

from foresight.memory.costs import expected_seconds
from foresight.memory.graph import Graph


@dataclass(frozen=True)
class Route:
    """places: (K,) ids from start to goal, both named; expected_s: of the drive, with the failures
    that are to be expected, without the risk."""

    places: list[int]
    expected_s: float


class Field:
    """What it costs to get to one goal from everywhere, as it was when it was asked for.

    Attributes:
        goal: its id.
        ids: (N,) uint32, all places. costs: (N,) s, infinite where no route is known.
    """

    def __init__(
        self, graph: Graph, goal: int, costs_s: np.ndarray, following: np.ndarray, now: float
    ) -> None:
        """
        Args:
            costs_s: (S,) by slot. following: (S,) the next slot on the route, negative if none.
        """
        alive = np.flatnonzero(graph.alive)
        self._graph, self._now = graph, now
        self._by_slot, self._following = costs_s, following
        self._ids = graph.places["id"].copy()  # slots may be given to other places
        self.goal, self.ids, self.costs = goal, self._ids[alive], costs_s[alive]

    def cost(self, place: int) -> float:
        """Seconds and risk from a place to the goal; infinite where no route is known, and for
        places that are newer than this.

        Raises:
            PlacesError: the place is not known.
        """
        slot = self._slot(place)
        return float("inf") if slot is None else float(self._by_slot[slot])

    def following(self, place: int) -> int | None:
        """The next place on the route; None at the goal and where no route is known.

        Raises:
            PlacesError: the place is not known.
        """
        slot = self._slot(place)
        after = -1 if slot is None else int(self._following[slot])
        return None if after < 0 else int(self._ids[after])

    def route(self, start: int | Mapping[int, float]) -> Route | None:
        """The route from a place, or from where the robot is with these probabilities.

        It begins at the most probable place from which there is a route, and its time is the mean
        over all those places. None when there is no route, or when it was cut since.

        Raises:
            PlacesError: a place is not known.
        """
        chances = start if isinstance(start, Mapping) else {start: 1.0}
        likeliest = sorted(chances, key=chances.__getitem__, reverse=True)
        routes = [
            (self._follow(place), chances[place]) for place in likeliest if chances[place] > 0
        ]
        found = [(route, chance) for route, chance in routes if route is not None]
        if not found:
            return None
        mean = sum(route.expected_s * chance for route, chance in found)
        return Route(found[0][0].places, mean / sum(chance for _, chance in found))

    def _slot(self, place: int) -> int | None:
        """Where a place lay; None if it is newer."""
        slot = self._graph.slot(place)
        known = slot < len(self._ids) and self._ids[slot] == place
        return slot if known and slot < len(self._by_slot) else None

    def _follow(self, place: int) -> Route | None:
        if not np.isfinite(self.cost(place)):
            return None
        route, slot = [int(place)], self._graph.slot(place)
        while route[-1] != self.goal:
            slot = self._following[slot]
            route.append(int(self._ids[slot]))
        steps = [self._graph.edge(a, b) for a, b in zip(route, route[1:], strict=False)]
        if any(step is None for step in steps):
            return None
        rows = np.array(steps, self._graph.edges.dtype)
        return Route(route, float(expected_seconds(rows, self._now).sum()))


class Router:
    """Dijkstra's search from the goal over reversed edges, compiled (SciPy).

    The matrix is put together anew only when an edge came or went.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._built_for = (-1, -1)
        self._order = np.zeros(0, np.intp)
        self._matrix = csr_matrix((0, 0))

    def costs_to(self, goal: int, now: float) -> Field:
        """The field of costs at the time `now`.

        Raises:
            PlacesError: the goal is not known.
        """
        slot = self._graph.slot(goal)
        self._arrange()
        self._matrix.data = self._graph.costs(now)[self._order]
        found, following = dijkstra(self._matrix, indices=slot, return_predecessors=True)
        return Field(self._graph, int(goal), found, following, now)

    def _arrange(self) -> None:
        """Rows: where an edge leads; columns: where it begins."""
        ends, size = self._graph.ends, len(self._graph.places)
        if self._built_for == (self._graph.wiring, size):
            return
        numbered = np.arange(len(ends), dtype=np.float64)
        entries = coo_matrix((numbered, (ends[:, 1], ends[:, 0])), shape=(size, size))
        entries.has_canonical_format = True  # no pair is there twice; saves sorting
        self._matrix = entries.tocsr()
        self._order = self._matrix.data.astype(np.intp)
        self._built_for = self._graph.wiring, size
