"""What is remembered, as rows: their types, the bounds they keep, their checksums.

Poses and displacements are (x m, y m, yaw rad), REP-103. Times are seconds since 1970 (float64).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresight.geometry import Pose, wrap

PLACE = np.dtype(
    [
        ("id", "u4"),
        ("session", "u4"),
        ("visits", "u4"),
        ("x", "f8"),
        ("y", "f8"),
        ("yaw", "f8"),
        ("first_seen", "f8"),
        ("last_seen", "f8"),
    ]
)
"""A place: where odometry put the robot when it was last here, in that session's frame."""
EDGE = np.dtype(
    [
        ("a", "u4"),
        ("b", "u4"),
        ("traversed", "u4"),
        ("successes", "u4"),
        ("failures", "f8"),
        ("tried", "f8"),
        ("seconds", "f8"),
        ("x", "f8"),
        ("y", "f8"),
        ("yaw", "f8"),
    ]
)
"""An edge from place a to place b; failures are as faded at the time `tried`."""

MAX_ID = 2**32 - 1
MAX_NAME = 64
MAX_JPEG_BYTES = 64 * 1024
MAX_LATENT = 4096
MAX_SECONDS = 1e5
_MAX_METRES = 1e6
_MAX_TIME = 1e11
_MAX_ENTRY = 6e4  # what half precision holds
_WEIGHTS = np.random.default_rng(20).integers(1, 2**63, 32, np.uint64) | np.uint64(1)


class PlacesError(ValueError):
    """What was asked cannot be done; the message says in one sentence what and why."""


@dataclass(frozen=True)
class Place:
    """A remembered place.

    pose: where odometry put the robot when it was last here, in the frame of `session`: a hint.
    first_seen, last_seen: seconds since 1970. encoder: digest of the one that made its latent.
    """

    id: int
    session: int
    visits: int
    pose: Pose
    first_seen: float
    last_seen: float
    encoder: str


@dataclass(frozen=True)
class Edge:
    """An edge from place `a` to place `b`: it can be driven.

    traversed: driven, else only inferred. failures: count, as faded at the time `tried` (seconds
    since 1970). seconds: expected time of a success. displacement: b seen from a.
    """

    a: int
    b: int
    traversed: bool
    successes: int
    failures: float
    tried: float
    seconds: float
    displacement: Pose


def as_edge(row: np.void) -> Edge:
    """One row of EDGE as an object."""
    a, b, traversed, successes, failures, tried, seconds, *displacement = row.item()
    return Edge(a, b, bool(traversed), successes, failures, tried, seconds, tuple(displacement))


# ----- checks ------------------------------------------------------------------------------------


def checked_pose(pose: Sequence[float], what: str) -> Pose:
    """(x, y, yaw) as floats, yaw within a half turn.

    Raises:
        PlacesError: not three finite numbers, or further than 1000 km.
    """
    numbers = [float(number) for number in pose]
    if len(numbers) != 3 or not all(abs(number) <= _MAX_METRES for number in numbers):
        raise PlacesError(f"{what} is {numbers}; give x m, y m, yaw rad")
    return numbers[0], numbers[1], wrap(numbers[2])


def checked_seconds(seconds: float) -> float:
    """An expected time.

    Raises:
        PlacesError: not above 0, or beyond `MAX_SECONDS`.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise PlacesError(
            f"an edge of {seconds} s was given; it takes more than 0 s, at most a day"
        )
    return float(seconds)


def checked_time(now: float) -> float:
    """A time in seconds since 1970.

    Raises:
        PlacesError: negative, not finite, or beyond the year 5000.
    """
    if not 0 <= now <= _MAX_TIME:
        raise PlacesError(f"the time is {now}; give seconds since 1970")
    return float(now)


def checked_latent(latent: np.ndarray, size: int) -> np.ndarray:
    """(size,) float16.

    Raises:
        PlacesError: another shape, or an entry that half precision does not hold.
    """
    latent = np.asarray(latent)
    if latent.shape != (size,):
        raise PlacesError(f"a latent of shape {latent.shape} was given, ({size},) is expected")
    if not np.all(np.abs(latent) <= _MAX_ENTRY):
        raise PlacesError("a latent has entries that are not finite or above 60,000")
    return latent.astype(np.float16)


def checked_name(name: str) -> str:
    """A name in normal form (NFC), without spaces at its ends.

    Raises:
        PlacesError: empty, longer than `MAX_NAME` characters, or with control characters.
    """
    text = unicodedata.normalize("NFC", name).strip()
    if not text:
        raise PlacesError("the name is empty")
    if len(text) > MAX_NAME:
        raise PlacesError(f"a name of {len(text)} characters; at most {MAX_NAME} are kept")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
        raise PlacesError(f"the name {text!r} holds control characters")
    return text


def checked_rows(places: np.ndarray, edges: np.ndarray) -> None:
    """Whether all numbers of PLACE and EDGE rows are ones that this module would have written.

    Raises:
        PlacesError: one is not.
    """
    bounds = {"x": _MAX_METRES, "y": _MAX_METRES, "yaw": 3.2}
    bounds |= {"first_seen": _MAX_TIME, "last_seen": _MAX_TIME, "tried": _MAX_TIME}
    bounds |= {"failures": 1e9, "seconds": MAX_SECONDS}
    for rows in (places, edges):
        for field in set(rows.dtype.names or ()) & set(bounds):
            if not np.all(np.abs(rows[field]) <= bounds[field]):
                raise PlacesError(f"{field} is out of bounds")
    if not (np.all(edges["seconds"] > 0) and np.all(edges["failures"] >= 0)):
        raise PlacesError("an edge takes no time or failed less than never")
    if np.any(edges["a"] == edges["b"]):
        raise PlacesError("an edge leads to where it began")


def checksums(rows: np.ndarray) -> np.ndarray:
    """(N,) int64, one for each row of PLACE or EDGE; any changed bit changes it."""
    rows = rows.copy()
    for field, (kind, *_) in (rows.dtype.fields or {}).items():
        if kind.kind == "f":
            rows[field] += 0.0  # SQLite keeps no sign of zero
    words = rows.view(np.uint32).reshape(len(rows), rows.itemsize // 4).astype(np.uint64)
    mixed = (words * _WEIGHTS[: words.shape[1]]).sum(1, dtype=np.uint64)
    return (mixed >> np.uint64(32)).astype(np.int64)
