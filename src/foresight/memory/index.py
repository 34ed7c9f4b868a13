"""Which remembered latents are nearest to one: HNSW (usearch) by squared Euclidean distance."""

from __future__ import annotations

import threading

import numpy as np
from usearch.index import Index, MetricKind, search

_AT_ONCE = 5000  # more are indexed in the background: these take a quarter of a second
_CHUNK = 500  # after so many the builder sees whether it is to end
_CONNECTIVITY, _EFFORT = 12, 48


class LatentIndex:
    """Built anew at each start: it is never older than the places, and nothing of it is on disk.

    A large one is built by a thread of its own (12 s for 100,000); until it stands, all latents are
    compared (12 ms). Other methods are for one thread.
    """

    def __init__(self, ids: np.ndarray, latents: np.ndarray) -> None:
        """
        Args:
            ids: (N,) uint32.
            latents: (N, D) float16.
        """
        self._size = latents.shape[1]
        self._given = ids.astype(np.uint64), latents
        self._later: dict[int, np.ndarray | None] = {}  # by id, while building; None: removed
        self._index = self._empty()
        self._builder: threading.Thread | None = None
        self._stopped = False
        if len(ids) <= _AT_ONCE:
            self._build()
            self._given = self._given[0][:0], latents[:0]
        else:
            # no daemon: ended within usearch, it would take the process down with it
            self._builder = threading.Thread(target=self._build, name="latents")
            self._builder.start()

    def __len__(self) -> int:
        self._adopt()
        if self._builder is None:
            return len(self._index)
        known = set(self._given[0].tolist())
        gone = sum(key in known for key, latent in self._later.items() if latent is None)
        new = sum(key not in known for key, latent in self._later.items() if latent is not None)
        return len(known) - gone + new

    def put(self, place: int, latent: np.ndarray) -> None:
        """Add a place, or give it another latent (D,)."""
        self._adopt()
        if self._builder is not None:
            self._later[place] = latent.astype(np.float16)
            return
        if place in self._index:
            self._index.remove(place)
        self._index.add(place, latent.astype(np.float16), threads=1)

    def remove(self, place: int) -> None:
        """Take a place out, if it is there."""
        self._adopt()
        if self._builder is not None:
            self._later[place] = None
        elif place in self._index:
            self._index.remove(place)

    def nearest(self, latent: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Up to `count` places, the nearest first: ids (K,) uint32, distances (K,) float32, root of
        the sum of squares."""
        self._adopt()
        query = latent.astype(np.float16)
        if self._builder is not None:
            ids, squares = self._compare_all(query, count)
        elif len(self._index) == 0:
            ids, squares = np.zeros(0, np.uint64), np.zeros(0, np.float32)
        else:
            found = self._index.search(query, count, threads=1)
            ids, squares = found.keys, found.distances
        return ids.astype(np.uint32), np.sqrt(np.maximum(squares, 0.0)).astype(np.float32)

    def compared(self, latent: np.ndarray, count: int) -> int:
        """How many latents `nearest` compares."""
        self._adopt()
        if self._builder is not None:
            return len(self._given[0])
        return int(self._index.search(latent, count, threads=1).computed_distances)

    def close(self) -> None:
        """End the building; nothing else may be called afterwards."""
        self._stopped = True
        if self._builder is not None:
            self._builder.join()

    def wait(self) -> None:
        """Until the index stands."""
        if self._builder is not None:
            self._builder.join()
            self._adopt()

    def _compare_all(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        ids, latents = self._given
        wanted = min(count + len(self._later), len(ids))
        found = search(latents, query, wanted, MetricKind.L2sq, exact=True, threads=1)
        keys = ids[found.keys.astype(np.intp)]
        kept = ~np.isin(keys, np.array(list(self._later), np.uint64))
        new = {key: value for key, value in self._later.items() if value is not None}
        if new:
            apart = np.stack(list(new.values())).astype(np.float32) - query
            squares = np.concatenate([found.distances[kept], np.square(apart).sum(1)])
            keys = np.concatenate([keys[kept], np.array(list(new), np.uint64)])
        else:
            squares, keys = found.distances[kept], keys[kept]
        order = np.argsort(squares, kind="stable")[:count]
        return keys[order], squares[order]

    def _empty(self) -> Index:
        return Index(
            ndim=self._size,
            metric=MetricKind.L2sq,
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EFFORT,
            expansion_search=_EFFORT,
        )

    def _build(self) -> None:
        ids, latents = self._given
        for begin in range(0, len(ids), _CHUNK):
            if self._stopped or not threading.main_thread().is_alive():
                return
            part = slice(begin, begin + _CHUNK)
            self._index.add(ids[part], latents[part], threads=1)

    def _adopt(self) -> None:
        """Once the builder is done, take in what came in the meantime."""
        if self._builder is None or self._builder.is_alive():
            return
        self._builder = None
        self._given = self._given[0][:0], self._given[1][:0]
        later, self._later = self._later, {}
        for place, latent in later.items():
            if latent is None:
                self.remove(place)
            else:
                self.put(place, latent)
