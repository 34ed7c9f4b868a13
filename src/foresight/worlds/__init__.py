"""Simulated worlds, made by name as Gymnasium makes environments.

Each kind of world is a folder here and a line of `_KINDS`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from foresight.bodies.profile import RobotProfile
from foresight.interfaces import FloorPlan, World, WorldName
from foresight.worlds.variation import NO_VARIATION, Variation

# MuJoCo chooses its renderer when it is imported; the default needs a screen.
os.environ.setdefault("MUJOCO_GL", "egl")


@dataclass(frozen=True)
class _Kind:
    """What its names look like, for people and as a pattern, and the module that makes it.

    The module has `make(name, profile, seed, variation, mounted_scan)` and `plan_of(name)`.
    """

    form: str
    pattern: str
    module: str


_KINDS = (
    _Kind(
        "apartment/NUMBER or the NUMBER alone (a home drawn from it)",
        r"apartment/\d+",
        "foresight.worlds.apartments",
    ),
)
_NUMBERS = 10**6  # an apartment's is below that


def names() -> list[str]:
    """What names of worlds look like, a line for each kind."""
    return [kind.form for kind in _KINDS]


def make(
    name: WorldName,
    profile: RobotProfile,
    *,
    seed: int = 0,
    variation: Variation = NO_VARIATION,
    mounted_scan: bool = False,
) -> World:
    """A world with a robot in it; close its environment when done.

    Args:
        name: the number of an apartment, or a name of a form that `names` lists.
        seed: draws the noise of the robot's sensors.
        variation: how robot, looks and light differ from what profile and world say.
        mounted_scan: give the scan as the scanner's driver does, from where the profile mounts it.
            By default it is as seen from base_link, the first beam straight ahead.

    Raises:
        ValueError: there is no such world, or it has no room for the robot; one sentence.
    """
    full = _full_name(name)
    return _module(full).make(full, profile, seed, variation, mounted_scan)


def plan_of(name: WorldName) -> FloorPlan:
    """The floor plan of a world, without simulating it; raises ValueError as `make` does."""
    full = _full_name(name)
    return _module(full).plan_of(full)


def parse(text: str) -> list[WorldName]:
    """What an option `--world` names: '7', '3,5,8', '0-99', 'apartment/7', or a mixture.

    Raises:
        ValueError: a part names no world, or one is named twice; one sentence.
    """
    found: list[WorldName] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < _NUMBERS:
            found += range(int(first), int(last) + 1)
        elif _kind(part) is not None:
            found.append(_short_name(part))
        else:
            raise ValueError(f"{part!r} names no homes; give numbers such as 7, 3,5,8 or 0-99")
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} names a home twice")
    return found


def _full_name(name: WorldName) -> str:
    text = str(name)
    return f"apartment/{int(text)}" if text.isdecimal() else text


def _short_name(name: str) -> WorldName:
    number = name.removeprefix("apartment/")
    return int(number) if number.isdecimal() else name


def _kind(name: str) -> _Kind | None:
    return next((kind for kind in _KINDS if re.fullmatch(kind.pattern, name)), None)


def _module(name: str) -> ModuleType:
    kind = _kind(name)
    if kind is None:
        raise ValueError(f"world is {name!r}; there is {', '.join(names())}")
    return import_module(kind.module)
