"""What driving an edge costs: its seconds, over the chance that it succeeds, and the risk."""

from __future__ import annotations

import numpy as np

FADE_S = 3 * 3600.0
"""After this time a failure counts as 37% of one: a door that was closed is tried again."""
RISK_S = 10.0
"""What a failed drive costs besides its time: giving up, turning round, perhaps a bump."""
_FAILURE = 6.0  # successes that one fresh failure outweighs: doors change more than walls
_REMEMBERED = 5.0  # more successes than these say no more
_PRIOR_SUCCESS = 1.0
_PRIOR_FAILURE = {"traversed": 0.1, "inferred": 0.5}


def faded(failures: np.ndarray | float, tried: np.ndarray | float, now: float) -> np.ndarray:
    """What is left at the time `now` of failures counted at the time `tried` (s since 1970)."""
    return failures * np.exp(-np.maximum(now - tried, 0.0) / FADE_S)


def success_probability(edges: np.ndarray, now: float) -> np.ndarray:
    """(E,) chance that a drive along each of (E,) EDGE succeeds: the mean of a Beta distribution.

    An edge that was only inferred begins at two thirds, one that was driven at 95%.
    """
    good = _PRIOR_SUCCESS + np.minimum(edges["successes"], _REMEMBERED)
    doubt = np.where(
        edges["traversed"] != 0, _PRIOR_FAILURE["traversed"], _PRIOR_FAILURE["inferred"]
    )
    bad = doubt + _FAILURE * faded(edges["failures"], edges["tried"], now)
    return good / (good + bad)


def expected_seconds(edges: np.ndarray, now: float) -> np.ndarray:
    """(E,) s: each edge's time, with the drives that fail before one succeeds."""
    return edges["seconds"] / success_probability(edges, now)


def costs(edges: np.ndarray, now: float) -> np.ndarray:
    """(E,) s above 0: `expected_seconds`, and `RISK_S` for each failure that is to be expected."""
    chance = success_probability(edges, now)
    return (edges["seconds"] + RISK_S * (1 - chance)) / chance
