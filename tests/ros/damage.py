"""Messages as no honest sender would send them: one strategy for every ROS type."""

from __future__ import annotations

import copy
import functools
import itertools
import re
import time
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from hypothesis import strategies as st

MOST_DAMAGES = 4
Damage = tuple[tuple[str, ...], Any]
"""The path of a field, and its new value."""


class Age(NamedTuple):
    """A stamp that was `s` seconds ago when the message is made."""

    s: float


_LENGTHS = st.sampled_from((0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 64, 65, 359, 360, 361, 100_000))
_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, -1.0, 1.0, 3e38, -3e38)
_DOUBLES = (*_FLOATS, 1e308, -1e308, 5e-324)
_WORDS = ("", "rgb8", "bgr8", "mono8", "16UC1", "bayer_rggb8", "yuv422", "32FC1", "plumb_bob")
_SEQUENCE = re.compile(r"sequence<(.+?)(?:, \d+)?>$|(.+)\[\d*\]$")
_FIXED = re.compile(r"(.+)\[(\d+)\]$")
_INTEGER = re.compile(r"(u?)int(\d+)$")


@functools.cache
def damages(kind: type) -> st.SearchStrategy[list[Damage]]:
    """Up to `MOST_DAMAGES` fields of a message, at any depth, and what they are to hold."""
    leaves = list(_leaves(kind()))
    if not leaves:
        return st.just([])
    one = st.sampled_from(leaves).flatmap(
        lambda leaf: st.tuples(st.just(leaf[0]), _values(leaf[1]))
    )
    return st.lists(one, max_size=MOST_DAMAGES)


def damaged(sample: Any, these: list[Damage]) -> Any:
    """A copy of a message with these damages."""
    message = copy.deepcopy(sample)
    for path, value in these:
        owner = message
        for name in path[:-1]:
            owner = getattr(owner, name)
        setattr(owner, path[-1], stamp(time.time() - value.s) if isinstance(value, Age) else value)
    return message


def _leaves(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and type of what is no message, and of stamps."""
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        if hasattr(value, "get_fields_and_field_types") and not isinstance(value, Time):
            yield from _leaves(value, (*path, name))
        elif not isinstance(value, list) or not value or isinstance(value[0], int | float | str):
            yield (*path, name), kind


def _values(kind: str) -> st.SearchStrategy[Any]:
    fixed, sequence = _FIXED.match(kind), _SEQUENCE.match(kind)
    if kind == "builtin_interfaces/Time":
        return _stamps()
    if fixed:
        element, length = fixed.groups()
        return _patterns(element).map(lambda p: _filled(element, p, int(length), fixed=True))
    if sequence:
        element = sequence[1] or sequence[2]
        if "/" in element:
            return st.just([])
        return st.builds(lambda p, n: _filled(element, p, n), _patterns(element), _LENGTHS)
    return _scalars(kind)


def _patterns(element: str) -> st.SearchStrategy[list[Any]]:
    """A few values that fill an array in turns: it may be huge, its example shall not."""
    return st.lists(_scalars(element), min_size=1, max_size=3)


_CODES = {"float": "f", "double": "d", "int8": "b", "uint8": "B", "octet": "B"}
_CODES |= {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}
_KINDS = {"float": np.float32, "double": np.float64, "octet": np.uint8}


def _filled(element: str, pattern: list[Any], length: int, fixed: bool = False) -> Any:
    values = list(itertools.islice(itertools.cycle(pattern), length))
    if element not in _CODES:
        return values
    if fixed:
        return np.array(values, _KINDS.get(element, element))
    return array(_CODES[element], values)


def _scalars(kind: str) -> st.SearchStrategy[Any]:
    integer = _INTEGER.match(kind)
    if integer:
        bits, unsigned = int(integer[2]), bool(integer[1])
        low = 0 if unsigned else -(2 ** (bits - 1))
        high = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
        return st.sampled_from((low, high, 0, 1, 2)) | st.integers(low, high)
    if kind == "float":
        return st.sampled_from(_FLOATS) | st.floats(width=32)
    if kind == "double":
        return st.sampled_from(_DOUBLES) | st.floats()
    if kind == "boolean":
        return st.booleans()
    if kind == "octet":
        return st.binary(min_size=1, max_size=1)
    if kind.startswith("string"):
        text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
        return st.sampled_from((*_WORDS, "x" * 100_000)) | text
    raise NotImplementedError(f"no values for {kind}")


def _stamps() -> st.SearchStrategy[Age | Time]:
    """None, extreme, stale, of now, and ahead."""
    ages = st.sampled_from((0.0, 0.1, 1.0, 1e3, -0.05, -1.0, -1e6)) | st.floats(-2.0, 2.0)
    extremes = st.builds(Time, sec=_scalars("int32"), nanosec=_scalars("uint32"))
    return ages.map(Age) | st.just(Time()) | extremes


def stamp(seconds: float) -> Time:
    """A time in seconds as a stamp."""
    return Time(sec=int(seconds // 1), nanosec=int(seconds % 1 * 1e9))
