"""The place graph in memory: places, the edges between them, names; and what changed since when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from foresight.geometry import Pose, compose, inverse
from foresight.memory.costs import costs, faded
from foresight.memory.records import EDGE, MAX_ID, PLACE, PlacesError, checked_name

_WITNESSES = 64  # places that are looked at for a route that makes a composed edge needless
_MEAN_OF = 10  # the expected seconds follow the last ten drives or so


@dataclass
class Changes:
    """What was touched: ids of places, of places whose latent is new, pairs of ids, names, and the
    pictures of new places. What is touched but no longer there was removed."""

    places: set[int] = field(default_factory=set)
    latents: set[int] = field(default_factory=set)
    edges: set[tuple[int, int]] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    pictures: dict[int, bytes] = field(default_factory=dict)
    counters: bool = False

    def __bool__(self) -> bool:
        touched = self.places, self.latents, self.edges, self.names, self.pictures
        return self.counters or any(touched)

    def update(self, other: Changes) -> None:
        """Take in what `other` holds too."""
        self.places |= other.places
        self.latents |= other.latents
        self.edges |= other.edges
        self.names |= other.names
        self.pictures |= other.pictures
        self.counters |= other.counters


class Graph:
    """Places lie in slots that stay theirs while they live; edges lie densely, in any order.

    Attributes (to be read only):
        places: (S,) PLACE by slot. encoders: (S,) uint32, number of the encoder of its latent.
        latents: (S, D) float16, zeros where the encoder is not the current one.
        alive: (S,) bool. slots: slot by id.
        wiring: grows whenever an edge comes or goes. topology: when a place or an edge does.
        names: id by name.
    """

    def __init__(self, latent_size: int) -> None:
        self.places = np.zeros(0, PLACE)
        self.encoders = np.zeros(0, np.uint32)
        self.latents = np.zeros((0, latent_size), np.float16)
        self.alive = np.zeros(0, bool)
        self.slots: dict[int, int] = {}
        self.names: dict[str, int] = {}
        self.topology, self.wiring = 0, 0
        self.next_place, self.next_session = 0, 0
        self.changes = Changes()
        self._free: list[int] = []
        self._edges = np.zeros(0, EDGE)
        self._ends = np.zeros((0, 2), np.int32)
        self._edge_count = 0
        self._costs = np.zeros(0)  # of edges that have not failed; others change with time
        self._failing = np.zeros(0, bool)
        self._touched: set[int] = set()  # rows for which these two are out of date
        self._rows: dict[int, int] = {}  # of an edge, by `_key`

    def restore(
        self,
        places: np.ndarray,
        encoders: np.ndarray,
        latents: np.ndarray,
        edges: np.ndarray,
        names: dict[str, int],
    ) -> None:
        """Fill an empty graph with what a file held.

        Raises:
            PlacesError: an edge or a name leads to a place that is not there.
        """
        self.places, self.encoders, self.latents = places, encoders, latents
        self.alive = np.ones(len(places), bool)
        self.slots = dict(zip(places["id"].tolist(), range(len(places)), strict=True))
        ids = places["id"]  # ascending
        ends = np.stack([np.searchsorted(ids, edges[end]) for end in "ab"], 1)
        if len(edges) and (
            not len(ids)
            or np.any(ids[np.minimum(ends, len(ids) - 1)] != np.stack([edges["a"], edges["b"]], 1))
        ):
            raise PlacesError("an edge leads to a place that is not there")
        if not set(names.values()) <= set(self.slots):
            raise PlacesError("a name belongs to a place that is not there")
        self._edges, self._ends = edges, ends.astype(np.int32)
        self._edge_count = len(edges)
        keys = (edges["a"].astype(np.uint64) << np.uint64(32)) | edges["b"]
        self._rows = dict(zip(keys.tolist(), range(len(edges)), strict=True))
        self._costs, self._failing = costs(edges, 0.0), edges["failures"] > 0
        self.names = dict(names)
        self.topology, self.wiring = self.topology + 1, self.wiring + 1

    # ----- reading --------------------------------------------------------------------------------

    @property
    def edges(self) -> np.ndarray:
        """(E,) EDGE; a view that the next change may alter."""
        return self._edges[: self._edge_count]

    @property
    def ends(self) -> np.ndarray:
        """(E, 2) int32: the slots of a and b."""
        return self._ends[: self._edge_count]

    def costs(self, now: float) -> np.ndarray:
        """(E,) s of all edges, see `costs.costs`; only those that changed or failed are worked out
        anew."""
        touched = np.array([row for row in self._touched if row < self._edge_count], np.intp)
        self._touched.clear()
        rows = self._edges[touched]
        self._costs[touched], self._failing[touched] = costs(rows, now), rows["failures"] > 0
        found = self._costs[: self._edge_count].copy()
        failing = np.flatnonzero(self._failing[: self._edge_count])
        found[failing] = costs(self._edges[failing], now)
        return found

    def slot(self, place: int) -> int:
        """Where a place lies.

        Raises:
            PlacesError: it is not known.
        """
        found = self.slots.get(int(place))
        if found is None:
            raise PlacesError(f"place {place} is not known")
        return found

    def edge(self, a: int, b: int) -> np.void | None:
        """The row (EDGE) of an edge, to be read only."""
        row = self._rows.get(_key(a, b))
        return None if row is None else self._edges[row]

    def leaving(self, place: int) -> np.ndarray:
        """(K,) EDGE from a place, a copy."""
        return self.edges[self.ends[:, 0] == self.slot(place)]

    def arriving(self, place: int) -> np.ndarray:
        """(K,) EDGE to a place, a copy."""
        return self.edges[self.ends[:, 1] == self.slot(place)]

    # ----- places ---------------------------------------------------------------------------------

    def add(
        self, latent: np.ndarray, encoder: int, session: int, pose: Pose, jpeg: bytes, now: float
    ) -> int:
        """A new place, visited once."""
        if self.next_place > MAX_ID:
            raise PlacesError("all numbers of places are used up; begin a new file")
        place = self.next_place
        self.next_place += 1
        slot = self._free_slot()
        self.places[slot] = (place, session, 1, *pose, now, now)
        self.encoders[slot], self.latents[slot], self.alive[slot] = encoder, latent, True
        self.slots[place] = slot
        self.topology += 1
        self.changes.places.add(place)
        self.changes.pictures[place] = jpeg
        self.changes.counters = True
        return place

    def visit(self, place: int, session: int, pose: Pose | None, now: float) -> None:
        """The robot is here again."""
        row = self.places[self.slot(place)]
        row["visits"] = min(int(row["visits"]) + 1, MAX_ID)
        row["last_seen"] = max(now, row["last_seen"])
        if pose is not None:
            row["session"], row["x"], row["y"], row["yaw"] = session, *pose
        self.changes.places.add(place)

    def embed(self, place: int, latent: np.ndarray, encoder: int) -> None:
        """Give a place the latent of another encoder."""
        slot = self.slot(place)
        self.latents[slot], self.encoders[slot] = latent, encoder
        self.changes.latents.add(place)

    def name(self, name: str, place: int) -> None:
        """Let `name` mean `place`, whatever it meant."""
        self.slot(place)
        name = checked_name(name)
        self.names[name] = int(place)
        self.changes.names.add(name)

    def unname(self, name: str) -> None:
        """Take a name away.

        Raises:
            PlacesError: no place bears it.
        """
        name = checked_name(name)
        if self.names.pop(name, None) is None:
            raise PlacesError(f"no place is called {name!r}")
        self.changes.names.add(name)

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        slot = len(self.slots)
        if slot == len(self.places):
            self.places, self.encoders = _grown(self.places), _grown(self.encoders)
            self.latents, self.alive = _grown(self.latents), _grown(self.alive)
        return slot

    def _remove(self, place: int) -> None:
        """A place that has no edges any more."""
        slot = self.slots.pop(place)
        self.alive[slot] = False
        self._free.append(slot)
        self.topology += 1
        self.changes.places.add(place)
        self.changes.pictures.pop(place, None)
        for name in [name for name, bearer in self.names.items() if bearer == place]:
            self.unname(name)

    # ----- edges ----------------------------------------------------------------------------------

    def put(self, edge: tuple | np.void) -> None:
        """Set a whole edge (fields of EDGE), new or not.

        Raises:
            PlacesError: an end is not known, or both are the same.
        """
        a, b = int(edge[0]), int(edge[1])
        if a == b:
            raise PlacesError(f"an edge from place {a} to itself was given")
        ends = self.slot(a), self.slot(b)
        row = self._rows.get(_key(a, b))
        if row is None:
            row = self._rows[_key(a, b)] = self._edge_count
            if row == len(self._edges):
                self._edges, self._ends = _grown(self._edges), _grown(self._ends)
                self._costs, self._failing = _grown(self._costs), _grown(self._failing)
            self._edge_count += 1
            self._ends[row] = ends
            self.topology, self.wiring = self.topology + 1, self.wiring + 1
        self._edges[row] = edge
        self._touched.add(row)
        self.changes.edges.add((a, b))

    def cut(self, a: int, b: int) -> None:
        """Remove an edge if it is there; the last one moves to its row."""
        row = self._rows.pop(_key(a, b), None)
        if row is None:
            return
        last = self._edge_count = self._edge_count - 1
        if row != last:
            self._edges[row], self._ends[row] = self._edges[last], self._ends[last]
            self._rows[_key(int(self._edges[row]["a"]), int(self._edges[row]["b"]))] = row
        self._touched.add(row)
        self.topology, self.wiring = self.topology + 1, self.wiring + 1
        self.changes.edges.add((a, b))

    def tried(self, a: int, b: int, succeeded: bool, seconds: float | None, now: float) -> None:
        """Count a drive along an edge; a success halves what earlier failures weigh.

        Raises:
            PlacesError: there is no such edge.
        """
        found = self.edge(a, b)
        if found is None:
            raise PlacesError(f"no edge from place {a} to place {b} is known")
        edge = found.copy()
        failures = faded(edge["failures"], edge["tried"], now)
        edge["tried"] = max(now, edge["tried"])
        if succeeded:
            edge["failures"] = failures / 2
            edge["successes"] = min(int(edge["successes"]) + 1, MAX_ID)
            if seconds is not None:
                share = 1 / min(int(edge["successes"]), _MEAN_OF) if edge["traversed"] else 1.0
                edge["seconds"] += share * (seconds - edge["seconds"])
            edge["traversed"] = 1
        else:
            edge["failures"] = failures + 1
        self.put(edge)

    # ----- merging and forgetting -----------------------------------------------------------------

    def merge(self, keep: int, gone: int, offset: Pose, now: float) -> None:
        """Two places are one: edges, names and counts of `gone` go to `keep`.

        Args:
            offset: `gone` seen from `keep`.
        """
        if keep == gone:
            raise PlacesError(f"place {keep} cannot be merged with itself")
        into, out_of = self.slot(keep), self.slot(gone)
        for edge in self.leaving(gone):
            self.cut(gone, int(edge["b"]))
            self._redirect(edge, keep, int(edge["b"]), compose(offset, _displacement(edge)), now)
        back = inverse(offset)
        for edge in self.arriving(gone):
            self.cut(int(edge["a"]), gone)
            self._redirect(edge, int(edge["a"]), keep, compose(_displacement(edge), back), now)
        for name in [name for name, bearer in self.names.items() if bearer == gone]:
            self.name(name, keep)
        _join(self.places[into], self.places[out_of], back)
        self.changes.places.add(keep)
        self._remove(gone)

    def _redirect(self, edge: np.void, a: int, b: int, displacement: Pose, now: float) -> None:
        if a == b:
            return
        moved = edge.copy()
        moved["a"], moved["b"] = a, b
        moved["x"], moved["y"], moved["yaw"] = displacement
        present = self.edge(a, b)
        self.put(moved if present is None else _combined(present, moved, now))

    def remove(self, place: int, now: float) -> None:
        """Drop a place and its names; what could be reached through it still can be: its neighbours
        are joined by composed edges where no other route is as cheap."""
        arriving, leaving = self.arriving(place), self.leaving(place)
        for edge in arriving:
            self.cut(int(edge["a"]), place)
        for edge in leaving:
            self.cut(place, int(edge["b"]))
        spent = costs(arriving, now), costs(leaving, now)
        for first, before in zip(arriving, spent[0], strict=True):
            wanted = {
                int(second["b"]): (before + after, second)
                for second, after in zip(leaving, spent[1], strict=True)
                if second["b"] != first["a"]
            }
            self._bridge(first, wanted, now)
        self._remove(place)

    def _bridge(self, first: np.void, wanted: dict[int, tuple[float, np.void]], now: float) -> None:
        start = int(first["a"])
        limit = max((cost for cost, _ in wanted.values()), default=0.0)
        reached = self._within(start, limit, now)
        for goal, (cost, second) in wanted.items():
            if reached.get(goal, np.inf) > cost:
                self.put(_composed(first, second, now))

    def _within(self, start: int, limit: float, now: float) -> dict[int, float]:
        """Costs to the places nearby, as far as few steps of a search tell."""
        reached, settled, queue = {start: 0.0}, 0, [(0.0, start)]
        while queue and settled < _WITNESSES:
            cost, place = heapq.heappop(queue)
            if cost > reached[place]:
                continue
            settled += 1
            leaving = self.leaving(place)
            for b, step in zip(leaving["b"].tolist(), costs(leaving, now).tolist(), strict=True):
                if cost + step <= limit and cost + step < reached.get(b, np.inf):
                    reached[b] = cost + step
                    heapq.heappush(queue, (cost + step, b))
        return reached

    def of_encoder(self, encoder: int) -> np.ndarray:
        """(K,) int64 slots of the places whose latent is of this encoder."""
        return np.flatnonzero(self.alive & (self.encoders == encoder))


def _key(a: int, b: int) -> int:
    return int(a) << 32 | int(b)


def _displacement(edge: np.void) -> Pose:
    return float(edge["x"]), float(edge["y"]), float(edge["yaw"])


def _join(kept: np.void, gone: np.void, back: Pose) -> None:
    """Visits, times and the newer hint of a merged place."""
    kept["visits"] = min(int(kept["visits"]) + int(gone["visits"]), MAX_ID)
    kept["first_seen"] = min(kept["first_seen"], gone["first_seen"])
    if gone["last_seen"] > kept["last_seen"]:
        kept["last_seen"], kept["session"] = gone["last_seen"], gone["session"]
        kept["x"], kept["y"], kept["yaw"] = compose(_displacement(gone), back)


def _combined(one: np.void, other: np.void, now: float) -> np.void:
    """Two edges between the same places: the one driven more often tells time and displacement."""
    better, worse = sorted(
        (one, other), key=lambda edge: (edge["traversed"], edge["successes"]), reverse=True
    )
    edge = better.copy()
    edge["successes"] = min(int(one["successes"]) + int(other["successes"]), MAX_ID)
    edge["tried"] = max(one["tried"], other["tried"])
    edge["failures"] = sum(
        faded(part["failures"], part["tried"], edge["tried"]) for part in (one, other)
    )
    if better["traversed"] == worse["traversed"]:
        shares = np.array([better["successes"], worse["successes"]], float) + 0.5
        edge["seconds"] = np.average([better["seconds"], worse["seconds"]], weights=shares)
    return edge


def _composed(first: np.void, second: np.void, now: float) -> np.void:
    """One edge for two in a row: it succeeds when both do."""
    edge = first.copy()
    edge["b"] = second["b"]
    edge["traversed"] = first["traversed"] & second["traversed"]
    edge["successes"] = min(first["successes"], second["successes"])
    edge["tried"] = max(first["tried"], second["tried"])
    edge["failures"] = max(
        faded(part["failures"], part["tried"], edge["tried"]) for part in (first, second)
    )
    edge["seconds"] = first["seconds"] + second["seconds"]
    edge["x"], edge["y"], edge["yaw"] = compose(_displacement(first), _displacement(second))
    return edge


def _grown(array: np.ndarray) -> np.ndarray:
    grown = np.zeros((max(64, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def bearers(names: dict[str, int], places: Iterable[int]) -> dict[int, list[str]]:
    """The names of each place that has any."""
    wanted = set(places)
    found: dict[int, list[str]] = {}
    for name, place in sorted(names.items()):
        if place in wanted:
            found.setdefault(place, []).append(name)
    return found
