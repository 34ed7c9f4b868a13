"""Apartments drawn from a number: `apartment/7` is the same home everywhere."""

from __future__ import annotations

from foresight.bodies.profile import RobotProfile
from foresight.interfaces import World
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.variation import Variation


def plan_of(name: str) -> Apartment:
    """The apartment of that name."""
    return Apartment(_number(name))


def make(
    name: str, profile: RobotProfile, seed: int, variation: Variation, mounted_scan: bool
) -> World:
    """A robot in the apartment of that name; raises ValueError if it has no room for it."""
    from foresight.worlds.simulation import simulate  # MuJoCo: only who drives waits for it

    apartment = Apartment(_number(name), variation.looks)
    return simulate(apartment, profile, seed, variation, mounted_scan)


def _number(name: str) -> int:
    return int(name.removeprefix("apartment/"))
