"""The way to a goal beyond the horizon: from remembered place to remembered place."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foresight.geometry import Pose, compose, inverse
from foresight.memory import Field, Places
from foresight.memory.localiser import Where, apart
from foresight.runtime.dynamics import Compared

HORIZON_S = 6.5  # so far ahead the learned distance and the planner hold: an aim is no further
FINAL_S, STILL_FINAL_S = 7.0, 11.0  # the goal itself is aimed at from here on, and until here
CLOSE_S = 2.0  # from here on it is for the planner to get there
_REACHED_S = 0.8  # an aim this near is behind the robot
_REACHED_M = 0.3  # or so near, turns counted in
_KEEP_S = 2.5  # an aim is kept until it is so near
_AHEAD = 12  # places on the way that are looked at
_SURE = 0.25  # below this confidence, the robot had better look around
PATIENCE_S = 8.0  # no nearer for so long: there is no way through here
_NEARER_S = 0.7
_CLOSED_S = 60.0  # so long, what was tried in vain is not tried again
_FRONT_M, _SIDE_M = 0.2, 0.8  # a way was closed so far ahead, and so far aside
_WORTH = 3  # failures: whoever waited in front of it for long knows well
_AROUND_M = 3.0  # places that are looked at then
_STRAYED_S = 8.0  # who is so much further from the goal, or nearer, than on the way takes another


@dataclass(frozen=True)
class Subgoal:
    """Where to drive next.

    latent (D,): what the camera sees there; None: look around, nothing is known to drive to.
    place: its id, if it is a remembered place. final: it is the goal. expected_s: to the goal;
    infinite if unknown. reason: in a sentence, when something is wrong.
    """

    latent: np.ndarray | None
    place: int | None
    final: bool
    expected_s: float
    reason: str = ""


class _Patience:
    """How long a robot has come no nearer."""

    def __init__(self) -> None:
        self._least_s, self._spent_s = math.inf, 0.0

    def worn_out(self, passed_s: float, left_s: float) -> bool:
        """After `passed_s` more it is `left_s` away."""
        if left_s < self._least_s - _NEARER_S:
            self._least_s, self._spent_s = left_s, 0.0
        else:
            self._spent_s += passed_s
        return self._spent_s > PATIENCE_S


@dataclass(frozen=True)
class _Closed:
    """A line across the way where the robot did not get through; its middle and its normal, by
    odometry."""

    until_s: float
    pose: Pose

    def seen_from(self, odometry: Pose) -> Pose:
        """From the robot."""
        return compose(inverse(odometry), self.pose)


def _cross(line: Pose, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the way from `a` (2,) m to `b` leads through a line along its normal."""
    (ax, ay, _), (bx, by, _) = (compose(inverse(line), (*map(float, p), 0.0)) for p in (a, b))
    return ax <= 0 < bx and abs(ay + ax / (ax - bx) * (by - ay)) < _SIDE_M


class TopologicalNavigator:
    """Leads to one goal.

    A goal that is near by the learned distance is aimed at itself; one from afar once, as long as
    the learned distance promises a shorter way than the graph knows. Else the cheapest way over the
    graph is taken, and its furthest place within the horizon aimed at, never one that was passed.
    Whoever gets no nearer to the goal for a while has found a way closed: the ways that cross a
    line in front of the robot are marked as failed, and others taken.
    """

    def __init__(
        self,
        places: Places,
        relation: Callable[[np.ndarray, np.ndarray], Compared],
        goal: int | np.ndarray,
    ) -> None:
        """`goal`: a place's id, or the latent (D,) of a picture taken there.

        Raises:
            PlacesError: the place is not known.
        """
        self._places, self._relation = places, relation
        self._goal: int | None
        if isinstance(goal, np.ndarray):
            self._latent, self._goal = goal.astype(np.float32), None
        else:
            self._latent, self._goal = places.latents([goal])[0], int(goal)
        self._final = self._misled = False  # misled: it was aimed at from afar in vain
        self._in_vain_until_s = -math.inf
        self._aim: int | None = None
        self._patience = {True: _Patience(), False: _Patience()}  # straight at it; over the graph
        self._last_s: float | None = None
        self._closed: list[_Closed] = []
        self._route: list[int] = []
        self._passed = 0  # places of the route
        self._towards: np.ndarray | None = None  # the aim, (2,) m from the robot
        self.failures = 0

    def update(
        self, stamp_s: float, latent: np.ndarray, where: Where | None, odometry: Pose
    ) -> Subgoal:
        """Where to drive next, from a view (D,), what the localiser made of it, and odometry's
        pose."""
        seen = self._relation(latent[None], self._latent[None])
        direct_s = float(np.expm1(seen.gap[0]))
        straight = Subgoal(self._latent, self._goal, True, direct_s)
        passed_s = 0.0 if self._last_s is None else max(stamp_s - self._last_s, 0.0)
        self._last_s = stamp_s
        in_vain = stamp_s < self._in_vain_until_s
        if where is None or where.confidence < _SURE:
            lost = Subgoal(None, None, False, math.inf, "the robot does not know where it is")
            return lost if in_vain else straight
        field, beyond_s = self._field()
        left_s = math.inf if field is None else field.cost(where.place)
        if field is None or not math.isfinite(left_s):
            return replace(straight, reason="no way is remembered")
        final = self._final = self._straight(direct_s, left_s + beyond_s, in_vain)
        worn = self._patience[final].worn_out(passed_s, direct_s if final else left_s)
        if final and (direct_s < CLOSE_S or not worn):
            return straight
        if worn:
            towards = seen.displacement[0, :2] if final else self._towards
            self._give_up(stamp_s, direct_s, where, odometry, towards)
            field, beyond_s = self._field()
            assert field is not None
        if worn or self._strayed(where, field):
            self._set_out(where, field)
        self._closed = [one for one in self._closed if one.until_s > stamp_s]
        return self._along(latent, where, odometry, field, beyond_s)

    def _strayed(self, where: Where, field: Field) -> bool:
        """Whether the way from here is another one."""
        left = self._route[self._passed :]
        if not left or left[-1] != field.goal or any(place not in self._places for place in left):
            return True
        astray_s = field.cost(where.place) - field.cost(left[0])
        return not -_STRAYED_S < astray_s < 2 * _STRAYED_S

    def _set_out(self, where: Where, field: Field) -> None:
        """Take the cheapest way from here."""
        route = field.route(where.place)
        self._route = [] if route is None else route.places
        self._passed, self._aim = 0, None

    def _straight(self, direct_s: float, left_s: float, in_vain: bool) -> bool:
        """Whether to aim at the goal itself, by the learned distance and the graph's."""
        near = direct_s < (STILL_FINAL_S if self._final else FINAL_S)
        if self._misled:
            return near and (not in_vain or left_s < FINAL_S)
        return near or direct_s < left_s

    def _field(self) -> tuple[Field | None, float]:
        """Costs to the goal's place, and the seconds from there to the goal."""
        if self._goal is not None:
            known = self._goal in self._places
            return (self._places.costs_to(self._goal) if known else None), 0.0
        near = self._places.nearest(self._latent, 16)[0]
        if not len(near):
            return None, 0.0
        goal = np.repeat(self._latent[None], len(near), 0)
        seconds = np.expm1(self._relation(self._places.latents(near), goal).gap)
        best = int(np.argmin(seconds))
        return self._places.costs_to(int(near[best])), float(seconds[best])

    def _along(
        self, latent: np.ndarray, where: Where, odometry: Pose, field: Field, beyond_s: float
    ) -> Subgoal:
        """The furthest place on the way within the horizon; one that was passed never again."""
        window = self._route[self._passed : self._passed + _AHEAD]
        if not window:
            return Subgoal(None, None, False, math.inf, "no way is remembered")
        latents = self._places.latents(window)
        compared = self._relation(np.repeat(latent[None], len(window), 0), latents)
        seconds, away = np.expm1(compared.gap), apart(compared)
        reached = np.flatnonzero((seconds < _REACHED_S) | (away < _REACHED_M))
        told = [k for k, place in enumerate(window) if place == where.place]
        last = max([0, *reached.tolist(), *told])
        lines, origin = [one.seen_from(odometry) for one in self._closed], np.zeros(2)
        near = [
            k
            for k in range(last + 1, len(window))
            if seconds[k] < HORIZON_S
            and not any(_cross(line, origin, compared.displacement[k, :2]) for line in lines)
        ]
        aim = near[-1] if near else min(last + 1, len(window) - 1)
        if self._aim in window[last + 1 :] and seconds[window.index(self._aim)] > _KEEP_S:
            aim = window.index(self._aim)
        self._passed += last
        self._aim, self._towards = window[aim], compared.displacement[aim, :2]
        left_s = float(seconds[aim]) + field.cost(self._aim) + beyond_s
        return Subgoal(latents[aim], self._aim, False, left_s)

    def _give_up(
        self,
        stamp_s: float,
        direct_s: float,
        where: Where,
        odometry: Pose,
        towards: np.ndarray | None,
    ) -> None:
        """No way leads there: those that cross a line in front of the robot have failed."""
        self.failures += 1
        far = self._final and direct_s > STILL_FINAL_S  # how it lies is not known then
        if self._final:
            self._misled = True
            self._in_vain_until_s = -math.inf if far else stamp_s + _CLOSED_S
        self._final, self._patience = False, {True: _Patience(), False: _Patience()}
        if far or towards is None or math.hypot(*towards) < _FRONT_M:
            return
        line = compose((0.0, 0.0, math.atan2(towards[1], towards[0])), (_FRONT_M, 0.0, 0.0))
        self._closed.append(_Closed(stamp_s + _CLOSED_S, compose(odometry, line)))
        points = self._around(where)
        for a, point in points.items():
            for edge in self._places.edges_from(a):
                if edge.b in points and _cross(line, point, points[edge.b]):
                    for _ in range(_WORTH):
                        self._places.tried(edge.a, edge.b, False)

    def _around(self, where: Where) -> dict[int, np.ndarray]:
        """Places that ways lead to from here, and where they lie: (2,) m, seen from the robot."""
        found, queue = {where.place: where.offset}, deque([where.place])
        while queue:
            place = queue.popleft()
            for edge in self._places.edges_from(place):
                there = compose(found[place], edge.displacement)
                if edge.b not in found and math.hypot(*there[:2]) < _AROUND_M:
                    found[edge.b] = there
                    queue.append(edge.b)
        return {place: np.array(pose[:2]) for place, pose in found.items()}
