"""Costs, merging and forgetting, on random graphs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.geometry import compose, inverse
from foresight.memory import Places, PlacesError
from foresight.memory.costs import RISK_S, costs, success_probability
from foresight.memory.forgetting import cut_vertices, least_valuable
from foresight.memory.graph import Graph
from foresight.memory.records import EDGE
from memories import NOW, corridor, latent, opened, picture

DAY = 86400.0
COUNTS = st.integers(0, 50)
POSES = st.tuples(*[st.floats(-50, 50)] * 2, st.floats(-3, 3))
PAIRS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=4, max_size=30)


def edge(seconds: float, successes: int, failures: float, traversed: bool = True) -> np.ndarray:
    row = np.zeros(1, EDGE)
    row["seconds"], row["successes"], row["failures"] = seconds, successes, failures
    row["traversed"], row["tried"] = traversed, NOW
    return row


def graph_of(pairs: list[tuple[int, int]], seconds: float = 1.0) -> Graph:
    """Places 0 to 8 with these edges."""
    graph = Graph(2)
    for k in range(9):
        graph.add(np.zeros(2), 1, 1, (k, 0, 0), b"", NOW)
    for k, (a, b) in enumerate(pairs):
        if a != b:
            graph.put((a, b, 1, 3, 0.0, NOW, seconds + k, 1.0, 0.0, 0.0))
    return graph


def as_networkx(graph: Graph) -> networkx.DiGraph:
    """Its edges with their costs."""
    other = networkx.DiGraph()
    other.add_nodes_from(graph.slots)
    for row, cost in zip(graph.edges, costs(graph.edges, NOW), strict=True):
        other.add_edge(int(row["a"]), int(row["b"]), weight=float(cost))
    return other


@contextmanager
def memory(capacity: int = 5000) -> Iterator[Places]:
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Path(folder) / "places.db", capacity=capacity) as places,
    ):
        yield places


# ----- costs ------------------------------------------------------------------------------------


@given(st.floats(0.1, 1000), COUNTS, st.floats(0, 20), st.booleans(), st.floats(0, 30 * DAY))
def test_failures_raise_and_successes_lower_the_cost_but_never_below_the_time(
    seconds: float, successes: int, failures: float, traversed: bool, later: float
) -> None:
    def cost(successes: int, failures: float, at: float) -> float:
        return float(costs(edge(seconds, successes, failures, traversed), at)[0])

    now = cost(successes, failures, NOW)
    assert seconds < now < np.inf
    assert cost(successes, failures + 1, NOW) > now
    assert cost(successes + 1, failures, NOW) <= now
    assert cost(successes, failures, NOW + later) <= now
    never = cost(successes, 0.0, NOW)
    assert cost(successes, failures, NOW + 30 * DAY) == pytest.approx(never)


def test_cost_is_time_plus_risk_over_success_probability() -> None:
    row = edge(4.0, 5, 1.0)
    chance = float(success_probability(row, NOW)[0])
    assert 0.4 < chance < 0.6, "one fresh failure makes a good edge doubtful"
    assert costs(row, NOW)[0] == pytest.approx(4.0 / chance + RISK_S * (1 - chance) / chance)


@given(POSES, POSES)
def test_a_displacement_composed_with_its_inverse_is_zero(first: tuple, second: tuple) -> None:
    there = compose(first, second)
    back = compose(inverse(second), inverse(first))
    assert np.allclose(compose(there, back), 0, atol=1e-6)


# ----- merging ----------------------------------------------------------------------------------


@given(PAIRS, st.integers(0, 8), st.integers(0, 8))
@settings(deadline=None)
def test_merging_keeps_edges_names_and_counts(
    pairs: list[tuple[int, int]], keep: int, gone: int
) -> None:
    graph = graph_of(pairs)
    graph.name("one", gone)
    graph.name("two", keep)
    if keep == gone:
        with pytest.raises(PlacesError, match="with itself"):
            graph.merge(keep, gone, (0, 0, 0), NOW)
        return
    before, successes = as_networkx(graph), graph.edges["successes"].sum()
    own = sum(before.has_edge(*pair) for pair in ((keep, gone), (gone, keep)))
    graph.merge(keep, gone, (0, 0, 0), NOW)
    after = as_networkx(graph)
    wanted = networkx.contracted_nodes(before, keep, gone, self_loops=False)
    assert set(after.nodes) == set(wanted.nodes) and set(after.edges) == set(wanted.edges)
    assert graph.names == {"one": keep, "two": keep}
    assert graph.edges["successes"].sum() == successes - 3 * own
    assert graph.places["visits"][graph.slots[keep]] == 2


def test_merging_transforms_edges_by_the_offset() -> None:
    graph = graph_of([(0, 2), (2, 1), (1, 2)])
    graph.merge(0, 1, (0.0, 0.0, np.pi), NOW)  # 1 looks back from where 0 is
    there, back = graph.edge(0, 2), graph.edge(2, 0)
    assert there is not None and back is not None
    assert (there["x"], there["successes"]) == (1.0, 6), "the first of two that are as good"
    assert abs(back["yaw"]) == pytest.approx(np.pi)


def test_merging_keeps_the_newer_odometry_hint() -> None:
    graph = graph_of([])
    graph.visit(4, 7, (3.0, 0.0, 0.0), NOW + 5)
    graph.merge(2, 4, (1.0, 0.0, 0.0), NOW + 5)
    row = graph.places[graph.slots[2]]
    assert (row["x"], row["session"], row["last_seen"]) == (2.0, 7, NOW + 5)


# ----- forgetting -------------------------------------------------------------------------------


@given(PAIRS, st.lists(st.integers(0, 8), min_size=1, max_size=6, unique=True))
@settings(deadline=None)
def test_forgetting_makes_no_other_place_more_expensive_to_reach(
    pairs: list[tuple[int, int]], gone: list[int]
) -> None:
    graph = graph_of(pairs)
    lengths = dict(networkx.all_pairs_dijkstra_path_length(as_networkx(graph)))
    for place in gone:
        graph.remove(place, NOW)
    after = dict(networkx.all_pairs_dijkstra_path_length(as_networkx(graph)))
    kept = set(range(9)) - set(gone)
    assert set(after) == kept
    for start in kept:
        assert set(after[start]) == set(lengths[start]) & kept
        for goal, cost in after[start].items():
            assert cost <= lengths[start][goal] + 1e-6


@given(PAIRS)
def test_removing_a_cut_vertex_disconnects_the_graph(pairs: list[tuple[int, int]]) -> None:
    pairs = [(a, b) for a, b in pairs if a != b]
    wanted = set(networkx.articulation_points(networkx.Graph(pairs)))
    assert cut_vertices(np.array(pairs, int).reshape(-1, 2), 9) == wanted


def test_keeps_named_places_and_forgets_rarely_seen_ones_first() -> None:
    graph = graph_of([(a, (a + 1) % 9) for a in range(9)])
    for place in (0, 1, 2):
        graph.visit(place, 1, None, NOW + 90 * DAY)
    graph.name("kept", 5)
    chosen = least_valuable(graph, 9, NOW + 90 * DAY)
    assert 5 not in chosen and len(chosen) == 6
    assert chosen[-1] in {0, 1, 2}, "two of them are where the robot was just now"


def test_forgets_cut_vertices_last() -> None:
    graph = graph_of([(a, a + 1) for a in range(8)])
    for place in (3, 4):
        graph.visit(place, 1, None, NOW + 1)
    assert set(least_valuable(graph, 2, NOW)) == {0, 8}


def test_stays_within_its_capacity_and_keeps_its_routes() -> None:
    with memory(capacity=30) as places:
        ids = corridor(places, 30)
        places.name("the far end", ids[0])
        for k in range(30, 60):
            new = places.add(latent(k), picture(k), (k, 0, 0), NOW + k)
            places.connect(ids[-1], new, 2.0, (1, 0, 0), traversed=True, now=NOW)
            places.connect(new, ids[-1], 2.0, (-1, 0, 0), traversed=True, now=NOW)
            ids.append(new)
        assert len(places) == 30 and ids[-1] in places
        assert places.names == {"the far end": ids[0]}
        route = places.route(ids[-1], ids[0], NOW)
        assert route and route.expected_s == pytest.approx(59 * 2.0, rel=0.1)
        assert len(places.nearest(latent(59), 100)[0]) == 30


def test_keeps_places_seen_since_the_last_ranking() -> None:
    with memory(capacity=200) as places:
        ids = corridor(places, 200)
        places.add(latent(200), picture(), (0, 0, 0), NOW + 900)  # has them ranked
        assert ids[0] not in places
        places.visit(ids[1], None, NOW + 1000)
        for k in range(3):
            places.add(latent(k), picture(), (0, 0, 0), NOW + 1001 + k)
        assert ids[1] in places and len(places) == 200


def test_refuses_new_places_when_all_are_named() -> None:
    with memory(capacity=3) as places:
        for name, place in zip("abc", corridor(places, 3), strict=True):
            places.name(name, place)
        with pytest.raises(PlacesError, match="all 3 places have names"):
            places.add(latent(9), picture(), (0, 0, 0))
        assert len(places) == 3 and set(places.names) == set("abc")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
@settings(deadline=None, max_examples=30)
def test_disk_equals_memory_after_any_series_of_changes(moves: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "places.db"
        with opened(path, capacity=12) as places:
            for move in moves:
                _move(places, move)
                if move % 7 == 0:
                    places.flush()
            before = (
                np.sort(places.table()),
                np.sort(places.edge_table()),
                places.names,
                {place: places.latents([place]).tolist() for place in places.ids.tolist()},
            )
        with opened(path) as places:
            assert np.array_equal(np.sort(places.table()), before[0])
            assert np.array_equal(np.sort(places.edge_table()), before[1])
            assert places.names == before[2]
            assert {p: places.latents([p]).tolist() for p in places.ids.tolist()} == before[3]


def _move(places: Places, move: int) -> None:
    """One change that a robot makes, by number."""
    ids = np.sort(places.ids).tolist()
    kind, which = move % 8, move // 8
    if kind < 3 or len(ids) < 3:
        places.add(latent(which), picture(which), (-0.0, which % 50, 0))
        return
    a, b = ids[which % len(ids)], ids[which // 50 % len(ids)]
    if kind == 3 and a != b:
        places.connect(a, b, 1.0 + which % 5, (0, -0.0, 1), traversed=which % 2 == 0)
    elif kind == 4 and places.edges_from(a):
        places.tried(a, places.edges_from(a)[0].b, which % 3 > 0, 2.0)
    elif kind == 5:
        places.name(f"name {which % 4}", a)
    elif kind == 6 and a != b:
        places.merge(a, b)
    elif kind == 7:
        places.remove(a)
