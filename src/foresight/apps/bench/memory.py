"""The memory at several sizes, with random places."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from foresight.memory import Places

_LATENT, _SEED = 192, 0
_PER_M2, _NEIGHBOURS = 4.0, 5
_SPEED = 0.4  # m/s
_PICTURES = 32
_REPEATS = 200
_COUNT = 10  # nearest places
_NOISE = 0.3  # of a second look at a place, per component
_ENCODER = "bench"
_CSR_ENTRY = 12  # bytes of an edge in Dijkstra's search: index and cost


class Home:
    """Synthetic places: poses spread over an area, each with edges to its five nearest neighbours;
    latents (N, 192) that vary smoothly with the pose, as an encoder's do."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(_SEED)
        side = np.sqrt(count / _PER_M2)
        self.poses = rng.uniform((0, 0, -np.pi), (side, side, np.pi), (count, 3))
        scale = np.array([[1.0], [1.0], [0.7]])
        self._waves = scale * rng.normal(size=(3, _LATENT))
        self._phases = rng.uniform(0, 2 * np.pi, _LATENT)
        _, near = cKDTree(self.poses[:, :2]).query(self.poses[:, :2], _NEIGHBOURS + 1)
        self.neighbours = near[:, 1:]
        self.pictures = [_picture(rng) for _ in range(_PICTURES)]
        self._rng = rng

    def latents(self, which: slice | np.ndarray) -> np.ndarray:
        """(K, 192) float32."""
        phase = self.poses[which] @ self._waves + self._phases
        return (np.sqrt(2) * np.cos(phase)).astype(np.float32)

    def looks(self, count: int) -> np.ndarray:
        """(count, 192) float32: second looks at places drawn at random."""
        seen = self.latents(self._rng.integers(len(self.poses), size=count))
        return seen + self._rng.normal(0, _NOISE, seen.shape).astype(np.float32)

    def pairs(self, count: int) -> np.ndarray:
        """(count, 2) integers: a start and a goal each."""
        return self._rng.integers(len(self.poses), size=(count, 2))


def memory(sizes: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Fill, open and query a memory of each size.

    Returns:
        p50_ms, p95_ms and limit_ratio of finding the nearest ten of the largest; `by_places` has
        all figures of each size.
    """
    bandwidth = _bandwidth()
    by_places = {}
    for count in sorted(sizes):
        with tempfile.TemporaryDirectory(prefix="foresight-bench-") as folder:
            by_places[str(count)] = _one(Path(folder) / "places.db", count, bandwidth, say)
    largest = by_places[str(max(sizes))]
    return {
        "p50_ms": largest["nearest_p50_ms"],
        "p95_ms": largest["nearest_p95_ms"],
        "limit_ratio": largest["nearest_limit_ratio"],
        "bandwidth_gb_s": bandwidth / 1e9,
        "by_places": by_places,
    }


def _one(path: Path, count: int, bandwidth: float, say: Callable[[str], None]) -> dict[str, float]:
    say(f"memory: drawing {count:,} places")
    home = Home(count)
    seconds = _fill(path, home, say)
    size = path.stat().st_size
    say(f"memory: querying {count:,} places")
    began = time.perf_counter()
    with _opened(path, count) as places:
        opened = time.perf_counter()
        compared_first = places.compared(home.looks(1)[0], _COUNT)
        cold = _timed(places.nearest, ((look, _COUNT) for look in home.looks(20)))
        places.wait_for_index()
        indexed = time.perf_counter()
        nearest = _timed(places.nearest, ((look, _COUNT) for look in home.looks(_REPEATS)))
        route = _timed(places.route, (map(int, pair) for pair in home.pairs(_REPEATS)))
        rerouted = _timed(places.route, _after_a_change(places, home))
        edges = len(places.edge_table())
        compared = places.compared(home.looks(1)[0], _COUNT)
    return {
        "added_per_second": count / seconds,
        "bytes_per_place": size / count,
        "edges": edges,
        "open_s": opened - began,
        "index_s": indexed - opened,
        **_named("nearest", nearest, 2 * _LATENT * compared / bandwidth),
        **_named("unindexed", cold, 2 * _LATENT * compared_first / bandwidth),
        **_named("route", route, _CSR_ENTRY * edges / bandwidth),
        **_named("rerouted", rerouted, _CSR_ENTRY * edges / bandwidth),
    }


def _opened(path: Path, count: int) -> Places:
    return Places.open(path, _ENCODER, _LATENT, capacity=2 * count)


def _fill(path: Path, home: Home, say: Callable[[str], None]) -> float:
    """Add every place and its edges, as a robot would; seconds until everything is on disk."""
    count = len(home.poses)
    spent = 0.0
    with _opened(path, count) as places:
        for begin in range(0, count, 1000):
            latents = home.latents(slice(begin, begin + 1000))
            began = time.perf_counter()
            for number, latent in enumerate(latents, begin):
                picture = home.pictures[number % _PICTURES]
                places.add(latent, picture, home.poses[number])
            spent += time.perf_counter() - began
            say(f"memory: {begin + len(latents):,} of {count:,} places added")
        began = time.perf_counter()
        for a in range(count):
            for b in home.neighbours[a].tolist():
                step = home.poses[b] - home.poses[a]
                took = 0.1 + float(np.hypot(step[0], step[1])) / _SPEED
                places.connect(a, b, took, step, traversed=True)
        places.flush()
        return spent + time.perf_counter() - began


def _after_a_change(places: Places, home: Home) -> Iterator[Iterable[int]]:
    """Starts and goals, each after one edge was added and another one failed."""
    for (a, b), (start, goal) in zip(home.pairs(_REPEATS), home.pairs(_REPEATS), strict=True):
        if a != b:
            places.connect(int(a), int(b), 1000.0, (0, 0, 0), traversed=False)
        places.tried(int(a), int(home.neighbours[a][0]), False)
        yield int(start), int(goal)


def _timed(call: Callable[..., object], arguments: Iterable[Iterable[Any]]) -> np.ndarray:
    """ms of each call."""
    milliseconds = []
    for given in arguments:
        values = tuple(given)
        began = time.perf_counter()
        call(*values)
        milliseconds.append(1e3 * (time.perf_counter() - began))
    return np.array(milliseconds)


def _named(what: str, milliseconds: np.ndarray, limit_s: float) -> dict[str, float]:
    p50, p95 = map(float, np.percentile(milliseconds, [50, 95]))
    return {
        f"{what}_p50_ms": p50,
        f"{what}_p95_ms": p95,
        f"{what}_limit_ratio": 1e3 * limit_s / p50,
    }


def _bandwidth() -> float:
    """Memory bandwidth of one thread, bytes/s: the best of several sums of 256 MB."""
    block = np.ones(32_000_000)
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - began)
    return block.nbytes / best


def _picture(rng: np.random.Generator) -> np.ndarray:
    """(60, 80, 3) uint8: smooth patches and some noise, whose JPEG is as long as a room's."""
    coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_LINEAR).astype(float)
    return np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)
