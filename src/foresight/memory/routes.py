"""The cheapest way from anywhere to a goal."""

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
    """What it costs to get to one goal from everywhere, at one moment.

    Attributes:
        goal: its id.
        ids: (N,) uint32, all places. costs: (N,) s, infinite where no way is known.
    """

    def __init__(
        self, graph: Graph, goal: int, costs_s: np.ndarray, following: np.ndarray, now: float
    ) -> None:
        alive = np.flatnonzero(graph.alive)
        self.goal, self.ids, self.costs = goal, graph.places["id"][alive], costs_s[alive]
        self._graph, self._all, self._following, self._now = graph, costs_s, following, now
        self._topology = graph.topology

    def cost(self, place: int) -> float:
        """Seconds and risk from a place to the goal, infinite where no way is known.

        Raises:
            PlacesError: the place is not known.
        """
        return float(self._all[self._graph.slot(place)])

    def route(self, start: int | Mapping[int, float]) -> Route | None:
        """The way from a place, or from where the robot is with these probabilities.

        It begins at the most probable place from which there is a way, and its time is the mean
        over all those places. None when there is no way.

        Raises:
            PlacesError: a place is not known.
            RuntimeError: places or edges came or went since the field was made.
        """
        if self._graph.topology != self._topology:
            raise RuntimeError("the graph has changed since; ask for its costs again")
        chances = start if isinstance(start, Mapping) else {start: 1.0}
        ways = {
            place: chance
            for place, chance in chances.items()
            if chance > 0 and np.isfinite(self.cost(place))
        }
        if not ways:
            return None
        found = {place: self._follow(place) for place in ways}
        mean = sum(chance * found[place].expected_s for place, chance in ways.items())
        likeliest = max(ways, key=ways.__getitem__)
        return Route(found[likeliest].places, float(mean / sum(ways.values())))

    def _follow(self, place: int) -> Route:
        ids, slot = self._graph.places["id"], self._graph.slot(place)
        way = [int(ids[slot])]
        while way[-1] != self.goal:
            slot = self._following[slot]
            way.append(int(ids[slot]))
        steps = [self._graph.edge(a, b) for a, b in zip(way, way[1:], strict=False)]
        rows = np.array(steps, self._graph.edges.dtype)
        return Route(way, float(expected_seconds(rows, self._now).sum()))


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
