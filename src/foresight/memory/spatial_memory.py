"""The robot's memory at work, on one thread: localises, maps, names places, leads to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foresight.geometry import Pose, compose, inverse
from foresight.memory.localiser import Localiser, Where
from foresight.memory.mapper import Mapper
from foresight.memory.places import Encode, Places
from foresight.memory.records import PlacesError, checked_name
from foresight.memory.relative_poses import length
from foresight.memory.routes import Route
from foresight.memory.topological_navigator import Subgoal, TopologicalNavigator
from foresight.runtime.dynamics import Relation

STILL_M = 0.05
"""Moved no further, in metres and half radians: the robot stands where it stood."""
BATCH = 8
"""Pictures that are encoded anew at once; a few milliseconds."""


@dataclass(frozen=True)
class View:
    """An observation, with what belongs to its instant.

    latent (D,) float32; picture (h, w, 3) uint8, None if it was lost; odometry: pose
    (x m, y m, yaw rad); surprise of the belief since the last one.
    """

    stamp_s: float
    latent: np.ndarray
    picture: np.ndarray | None
    odometry: Pose
    surprise: float = 0.0


@dataclass(frozen=True)
class Here:
    """A remembered place, and how likely the robot is there (0 to 1)."""

    place: int
    name: str
    confidence: float
    pose: Pose
    first_seen: float


class SpatialMemory:
    """Localises, remembers, names places and leads to them.

    Raises `PlacesError`, a sentence, for what cannot be done.
    """

    def __init__(self, places: Places, relation: Relation) -> None:
        self.places, self._relation = places, relation
        self._navigator: TopologicalNavigator | None = None
        self._start()

    def begin_session(self) -> None:
        """Odometry begins anew."""
        self.places.begin_session()
        self._start()

    def _start(self) -> None:
        self._localiser = Localiser(self.places, self._relation)
        self._mapper = Mapper(self.places, self._localiser, self._relation)
        self._view: View | None = None
        self._where: Where | None = None
        self._added: tuple[int, View] | None = None

    # --- what is seen

    def observe(self, view: View) -> Subgoal | None:
        """Take in a view; the next subgoal, while the robot is led to a goal."""
        self._where = self._localiser.update(view.latent, view.odometry, view.surprise)
        self._view = view
        if self._navigator is None:
            return None
        return self._navigator.update(view.stamp_s, view.latent, self._where, view.odometry)

    def learn(self) -> None:
        """Remember what was observed last, if it is new."""
        if self._view is not None:
            self._map(self._view, anew=False)

    def _map(self, view: View, anew: bool) -> int | None:
        if view.picture is None:
            return None
        args = view.stamp_s, view.latent, view.picture, view.odometry, self._where
        place = self._mapper.observe(*args, anew=anew)
        if place is not None:
            self._added = place, view
        return place

    def here(self) -> Here | None:
        """Where the robot is; None while that is unknown."""
        if self._added is not None and self._added[1] is self._view:
            return self._described(self._added[0], 1.0)
        if self._where is None or self._where.place not in self.places:
            return None
        return self._described(self._where.place, self._where.confidence)

    def _standing(self) -> int | None:
        """The place that was added where the robot still stands."""
        here = self.here()
        if here is None or self._added is None or self._view is None:
            return None
        place, then = self._added
        still = length(compose(inverse(then.odometry), self._view.odometry)) < STILL_M
        return place if still and here.place == place else None

    def _described(self, place: int, confidence: float) -> Here:
        known = self.places.place(place)
        names = sorted(name for name, named in self.places.names.items() if named == place)
        name = names[0] if names else ""
        return Here(place, name, confidence, known.pose, known.first_seen)

    # --- names

    def remember(self, name: str, now_s: float, max_age_s: float) -> int:
        """Name where the robot is; the place gets the present picture."""
        name = checked_name(name)
        view = self._fresh(now_s, max_age_s)
        place = self._standing()
        if place is None:
            place = self._map(view, anew=True)
        if place is None:
            raise PlacesError("the view that belongs to the last observation was lost; try again")
        self.places.name(name, place)
        return place

    def recall(self, name: str) -> tuple[Here, np.ndarray]:
        """A named place, and its picture (h, w, 3) uint8."""
        place = self._named(name)
        chance = self._starts().get(place, 0.0)
        here = self.here()
        if here is not None and here.place == place:
            chance = here.confidence
        return self._described(place, chance), self.places.picture(place)

    def forget_name(self, name: str) -> None:
        """Take a name away; what is known of the place stays."""
        self._named(name)
        self.places.unname(name)

    def _named(self, name: str) -> int:
        name, names = checked_name(name), self.places.names
        if name not in names:
            known = ", ".join(map(repr, sorted(names)[:10])) or "none"
            raise PlacesError(f"no place is called {name!r}; known are: {known}")
        return names[name]

    def _fresh(self, now_s: float, max_age_s: float) -> View:
        if self._view is None:
            raise PlacesError("nothing was observed yet; check camera, odometry and perception")
        age_s = now_s - self._view.stamp_s
        if age_s > max_age_s:
            raise PlacesError(
                f"the last observation is {age_s:.1f} s old, at most {max_age_s:.1f} s are "
                f"allowed; check camera, odometry and perception"
            )
        return self._view

    # --- routes

    def route(self, name: str) -> Route:
        """The route from here to a named place."""
        goal, starts = self._named(name), self._starts()
        if not starts:
            raise PlacesError("it is not known where the robot is; let it look around")
        route = self.places.route(starts, goal)
        if route is None:
            raise PlacesError(f"no route from here to {name!r} is known; drive it once")
        return route

    def _starts(self) -> dict[int, float]:
        """Where the robot may be, with probabilities."""
        standing = self._standing()
        if standing is not None:
            return {standing: 1.0}
        if self._where is None:
            return {}
        found = zip(self._where.ids.tolist(), self._where.probability.tolist(), strict=True)
        return {place: chance for place, chance in found if place in self.places}

    def lead(self, goal: str | np.ndarray) -> None:
        """From now on `observe` tells where to drive next, to a name or to the latent (D,) of a
        picture."""
        place = self._named(goal) if isinstance(goal, str) else goal
        if self._view is None:
            raise PlacesError("nothing was observed yet; check camera, odometry and perception")
        if isinstance(place, int) and self.places.place(place).encoder != self.places.encoder:
            raise PlacesError(
                f"{goal!r} was seen with another encoder and waits to be encoded anew; try again "
                f"in some seconds"
            )
        self._navigator = TopologicalNavigator(self.places, self._relation, place)

    def leave(self) -> None:
        """Lead no longer."""
        self._navigator = None

    # --- another encoder

    def re_embed(self, encode: Encode) -> int:
        """Encode a few pictures anew; how many are left."""
        return self.places.re_embed(encode, BATCH)
