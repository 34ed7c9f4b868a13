"""The manoeuvre that gets a stuck robot going again: back off, turn to open floor, drive on.

The explorer and the navigator execute it as they execute any plan. The safety controller's reaction
to a bump stays apart: it closes its loop on odometry at the rate of the control loop.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foresight.control.safety import Plan, free_distance
from foresight.geometry import wrap

BACK_OFF_M, ADVANCE_M = 0.14, 0.3
_REVERSE_PACE, _TURN_PACE, _FORWARD_PACE = 0.8, 0.8, 0.4  # shares of the highest speeds
_SIDE_M = 0.01  # beside the footprint, as the safety controller counts it
_OPEN_M = 0.6  # more room than this is no better
_SAME_RAD = 1.0  # headings nearer than this to each other count as the same
_BEARINGS_RAD = np.array(sorted(np.linspace(-math.pi, math.pi, 49), key=abs))


def manoeuvre(
    start_s: float,
    action_s: float,
    low: ArrayLike,
    high: ArrayLike,
    *,
    back_off_m: float = 0.0,
    turn_rad: float = 0.0,
    advance_m: float = 0.0,
) -> Plan:
    """Back off, turn on the spot, advance: the legs that are not zero, in this order.

    Args:
        start_s: when it begins, s.
        action_s: how long each action is held, s.
        low, high: (2,) m/s, rad/s, bounds of the actions; each leg keeps to a share of them. A leg
            that they do not allow at all is left out.
        back_off_m: how far to reverse; negative: to drive forward, after a bump from behind.
        turn_rad: counter-clockwise.
        advance_m: how far to drive on, not negative.

    Returns:
        Actions (n, 2) m/s, rad/s.
    """
    (slowest_mps, _), (fastest_mps, turn_radps) = np.asarray(low, float), np.asarray(high, float)
    forward_mps = _FORWARD_PACE * fastest_mps
    backing_mps = -_REVERSE_PACE * slowest_mps if back_off_m > 0 else forward_mps
    legs = (
        (_leg(-back_off_m, backing_mps, action_s), 0),
        (_leg(turn_rad, _TURN_PACE * turn_radps, action_s), 1),
        (_leg(advance_m, forward_mps, action_s), 0),
    )
    actions = np.zeros((sum(len(speeds) for speeds, _ in legs), 2))
    at = 0
    for speeds, axis in legs:
        actions[at : at + len(speeds), axis] = speeds
        at += len(speeds)
    return Plan(start_s, action_s, actions)


def remaining(plan: Plan, now_s: float, horizon: int) -> NDArray[np.float64]:
    """What is left of a plan at a time: its next actions (horizon, 2), followed by rest.

    The first one is that whose time it is. All zeros: the plan has ended.
    """
    done = max(0, int((now_s - plan.start_s) / plan.action_duration_s))
    rest = plan.actions[done:][:horizon]
    actions = np.zeros((horizon, 2))
    actions[: len(rest)] = rest
    return actions


class OpenHeadings:
    """Chooses the heading with the most room in the scan; of those in a row, each another one."""

    def __init__(self, footprint_radius_m: float) -> None:
        self._radius_m = footprint_radius_m + _SIDE_M
        self._tried: list[float] = []  # rad

    def forget(self) -> None:
        """The robot has got away: every heading may be tried again."""
        self._tried = []

    def rule_out(self, heading_rad: float) -> None:
        """A heading was tried in vain; those near it are tried again only when all were."""
        self._tried.append(heading_rad)

    def choose(self, points: NDArray[np.floating], heading_rad: float) -> float:
        """How far to turn, rad; of headings with as much room the one that takes the least.

        Args:
            points: (N, 2) m, what a scan shows, in the robot's frame; may be empty.
            heading_rad: of the robot, in the frame of all headings.
        """
        room_m = np.array([_room_m(points, bearing, self._radius_m) for bearing in _BEARINGS_RAD])
        for tried_rad in self._tried:
            again = np.abs(wrap(_BEARINGS_RAD + heading_rad - tried_rad)) < _SAME_RAD
            room_m[again] -= _OPEN_M
        turn_rad = float(_BEARINGS_RAD[np.argmax(room_m)])
        self.rule_out(heading_rad + turn_rad)
        return turn_rad


def _leg(amount: float, fastest: float, action_s: float) -> NDArray[np.float64]:
    """Speeds (n,) that cover a distance (m or rad), the same for each of as few actions as do it.

    No actions when there is nothing to cover, or no speed to do it with.
    """
    if amount == 0.0 or fastest <= 0.0:
        return np.zeros(0)
    count = max(1, math.ceil(abs(amount) / (fastest * action_s)))
    return np.full(count, amount / (count * action_s))


def _room_m(points: NDArray[np.floating], bearing_rad: float, radius_m: float) -> float:
    """How far a disc can go straight towards a bearing before it touches one of points (N, 2) m."""
    cosine, sine = math.cos(bearing_rad), math.sin(bearing_rad)
    turned = points @ np.array([[cosine, -sine], [sine, cosine]])
    return min(free_distance(turned, 1.0, 0.0, radius_m), _OPEN_M)
