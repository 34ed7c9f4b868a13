"""Small memories of places for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from foresight.memory import Places

SIZE = 8
ENCODER = "e" * 64
NOW = 1.8e9


def picture(number: int = 0) -> np.ndarray:
    """(60, 80, 3) uint8 of one colour, which tells the number (below 256)."""
    return np.full((60, 80, 3), number % 256, np.uint8)


def latent(number: int) -> np.ndarray:
    """(SIZE,) float32, far from that of any other number."""
    return np.random.default_rng(number).normal(size=SIZE).astype(np.float32)


def opened(path: Path, encoder: str = ENCODER, size: int = SIZE, **options: Any) -> Places:
    """A memory for latents of these tests."""
    return Places.open(path, encoder, size, **options)


def corridor(places: Places, count: int, seconds: float = 2.0) -> list[int]:
    """Places in a row, 1 m apart, with ways both ways between neighbours; their ids."""
    ids = [places.add(latent(k), picture(k), (k, 0, 0), NOW + k) for k in range(count)]
    for a, b in zip(ids, ids[1:], strict=False):
        places.connect(a, b, seconds, (1, 0, 0), traversed=True, now=NOW)
        places.connect(b, a, seconds, (-1, 0, 0), traversed=True, now=NOW)
    return ids
