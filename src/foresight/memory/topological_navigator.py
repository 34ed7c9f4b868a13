"""To a goal beyond the planning horizon: from remembered place to remembered place."""

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

HORIZON_S = 6.5  # how far the learned distance and the planner hold: no subgoal is further
FINAL_S, STILL_FINAL_S = 7.0, 11.0  # the goal itself is the subgoal from here on, and until here
CLOSE_S = 2.0  # from here on it is for the planner to get there
_REACHED_S = 0.8  # a subgoal this near is passed
_REACHED_M = 0.3  # or so near, turns counted in
_KEEP_S = 2.5  # a subgoal is kept until it is so near
_AHEAD = 12  # places on the route that are looked at
_SURE = 0.25  # below this confidence, the robot had better look around
PATIENCE_S = 8.0  # no nearer for so long: the path is blocked here
_NEARER_S = 0.7
_CLOSED_S = 60.0  # for so long, what failed is not tried again
_FRONT_M, _SIDE_M = 0.2, 0.8  # a blocked edge crosses a line so far ahead, and so wide
_WORTH = 3  # failures that one blocked edge counts as: the robot waited long
_AROUND_M = 3.0  # edges between places so near are tested against that line
_STRAYED_S = 8.0  # so much further from the goal, or nearer, than the route says: a new route


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
    """A line that the robot did not get across: middle and normal, in the odometry frame."""

    until_s: float
    pose: Pose

    def seen_from(self, odometry: Pose) -> Pose:
        """From the robot."""
        return compose(inverse(odometry), self.pose)


def _cross(line: Pose, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the segment from `a` (2,) m to `b` crosses a line along its normal."""
    (ax, ay, _), (bx, by, _) = (compose(inverse(line), (*map(float, p), 0.0)) for p in (a, b))
    return ax <= 0 < bx and abs(ay + ax / (ax - bx) * (by - ay)) < _SIDE_M


class TopologicalNavigator:
    """Chooses the next subgoal towards one goal.

    A goal that is near by the learned distance is its own subgoal; a far one too, once, as long as
    the learned distance promises a shorter path than the graph knows. Otherwise the robot follows
    the cheapest route over the graph, and the subgoal is its furthest place within the horizon,
    never one that was passed. A robot that gets no nearer for a while is blocked: edges that cross
    a line in front of it are marked as failed, and another route is taken.
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
        self._final = self._misled = False  # misled: driving straight at it from afar failed
        self._in_vain_until_s = -math.inf
        self._subgoal: int | None = None
        self._patience = {
            True: _Patience(),
            False: _Patience(),
        }  # straight to the goal; along the route
        self._last_s: float | None = None
        self._closed: list[_Closed] = []
        self._route: list[int] = []
        self._passed = 0  # places of the route
        self._towards: np.ndarray | None = None  # the subgoal, (2,) m from the robot
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
            return replace(straight, reason="no route is remembered")
        final = self._final = self._straight(direct_s, left_s + beyond_s, in_vain)
        worn = self._patience[final].worn_out(passed_s, direct_s if final else left_s)
        if final and (direct_s < CLOSE_S or not worn):
            return straight
        if worn:
            towards = seen.displacement[0, :2] if final else self._towards
            self._mark_blocked(stamp_s, direct_s, where, odometry, towards)
            field, beyond_s = self._field()
            assert field is not None
        if worn or self._strayed(where, field):
            self._take_route(where, field)
        self._closed = [one for one in self._closed if one.until_s > stamp_s]
        return self._follow_route(latent, where, odometry, field, beyond_s)

    def _strayed(self, where: Where, field: Field) -> bool:
        """Whether the robot has left its route."""
        left = self._route[self._passed :]
        if not left or left[-1] != field.goal or any(place not in self._places for place in left):
            return True
        astray_s = field.cost(where.place) - field.cost(left[0])
        return not -_STRAYED_S < astray_s < 2 * _STRAYED_S

    def _take_route(self, where: Where, field: Field) -> None:
        """Take the cheapest route from here."""
        route = field.route(where.place)
        self._route = [] if route is None else route.places
        self._passed, self._subgoal = 0, None

    def _straight(self, direct_s: float, left_s: float, in_vain: bool) -> bool:
        """Whether the goal itself is the subgoal, by the learned distance and the graph's."""
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

    def _follow_route(
        self, latent: np.ndarray, where: Where, odometry: Pose, field: Field, beyond_s: float
    ) -> Subgoal:
        """The furthest place on the route within the horizon; never one that was passed."""
        window = self._route[self._passed : self._passed + _AHEAD]
        if not window:
            return Subgoal(None, None, False, math.inf, "no route is remembered")
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
        chosen = near[-1] if near else min(last + 1, len(window) - 1)
        if self._subgoal in window[last + 1 :] and seconds[window.index(self._subgoal)] > _KEEP_S:
            chosen = window.index(self._subgoal)
        self._passed += last
        self._subgoal, self._towards = window[chosen], compared.displacement[chosen, :2]
        left_s = float(seconds[chosen]) + field.cost(self._subgoal) + beyond_s
        return Subgoal(latents[chosen], self._subgoal, False, left_s)

    def _mark_blocked(
        self,
        stamp_s: float,
        direct_s: float,
        where: Where,
        odometry: Pose,
        towards: np.ndarray | None,
    ) -> None:
        """The path is blocked: edges that cross a line in front of the robot have failed."""
        self.failures += 1
        far = self._final and direct_s > STILL_FINAL_S  # its direction is not known then
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
        """Places that edges lead to from here, and where they lie: (2,) m, seen from the robot."""
        found, queue = {where.place: where.offset}, deque([where.place])
        while queue:
            place = queue.popleft()
            for edge in self._places.edges_from(place):
                there = compose(found[place], edge.displacement)
                if edge.b not in found and math.hypot(*there[:2]) < _AROUND_M:
                    found[edge.b] = there
                    queue.append(edge.b)
        return {place: np.array(pose[:2]) for place, pose in found.items()}
