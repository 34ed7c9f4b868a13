"""Which places may be forgotten when there are too many."""

from __future__ import annotations

import numpy as np

from foresight.memory.graph import Graph

SPARED = 16
"""Of the places seen last, these are not forgotten: the robot is there."""
KEPT_S = 30 * 86400.0
"""A visit this long ago weighs as 1/e of one now."""


def least_valuable(graph: Graph, count: int, now: float) -> list[int]:
    """Up to `count` ids, the least valuable first; never are places with a name, and
    the `SPARED` (of few, a quarter) seen last.

    Those that hold the graph together come last; among the others, those seldom and long ago seen
    come first.
    """
    slots = np.flatnonzero(graph.alive)
    rows = graph.places[slots]
    age = np.maximum(now - rows["last_seen"], 0.0)
    value = np.log1p(rows["visits"]) - age / KEPT_S
    holding = np.isin(slots, list(cut_vertices(graph.ends, len(graph.places))))
    order = np.lexsort([rows["id"], value, holding])
    spared = np.argsort(-rows["last_seen"], kind="stable")[: min(SPARED, len(rows) // 4)]
    kept = set(graph.names.values()) | set(rows["id"][spared].tolist())
    ranked = rows["id"][order].tolist()
    return [place for place in ranked if place not in kept][:count]


def cut_vertices(ends: np.ndarray, size: int) -> set[int]:
    """Vertices below `size` whose loss would part what hangs together, whichever way edges lead.

    Args:
        ends: (E, 2) integers.
    """
    neighbours: list[list[int]] = [[] for _ in range(size)]
    for a, b in ends.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    order = [0] * size  # 0: not seen yet
    low = [0] * size
    found: set[int] = set()
    count = 0
    for root in range(size):
        if order[root] or not neighbours[root]:
            continue
        count, branches = count + 1, 0
        order[root] = low[root] = count
        stack = [(root, -1, iter(neighbours[root]))]
        while stack:
            vertex, parent, rest = stack[-1]
            for other in rest:
                if not order[other]:
                    count += 1
                    order[other] = low[other] = count
                    stack.append((other, vertex, iter(neighbours[other])))
                    break
                if other != parent:
                    low[vertex] = min(low[vertex], order[other])
            else:
                stack.pop()
                if parent == root:
                    branches += 1
                elif parent >= 0 and low[vertex] >= order[parent]:
                    found.add(parent)
                if parent >= 0:
                    low[parent] = min(low[parent], low[vertex])
        if branches > 1:
            found.add(root)
    return found
