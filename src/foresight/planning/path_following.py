"""Commands that follow a way or turn on the spot, as action sequences within the robot's limits.

Pure pursuit (Coulter 1992), rolled out on a kinematic differential drive: each action is held for
its whole duration, so the next one starts where the last one leads.
"""

from __future__ import annotations

import math

import numpy as np

from foresight.bodies.profile import Limits
from foresight.geometry import wrap

_AHEAD_M = 0.35
_TURN_FIRST_RAD = 0.8  # a bearing further off than this is turned to on the spot
_BRISK = 0.9  # share of the limits that is used
_SLOW = 0.3  # and while looking around: pictures stay sharp


def follow(
    way: np.ndarray, pose: np.ndarray, limits: Limits, action_s: float, horizon: int
) -> np.ndarray:
    """Actions (horizon, 2) m/s, rad/s that drive along a way (n, 2) m from pose (3,) m, m, rad."""
    actions = np.zeros((horizon, 2))
    x, y, yaw = map(float, pose)
    steps = np.hypot(*np.diff(way, axis=0).T)
    to_go = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    at = 0
    for action in actions:
        gaps = np.hypot(way[at:, 0] - x, way[at:, 1] - y)
        at += int(np.argmin(gaps))
        ahead = np.flatnonzero(np.hypot(way[at:, 0] - x, way[at:, 1] - y) > _AHEAD_M)
        aim = way[at + int(ahead[0])] if len(ahead) else way[-1]
        left_m = max(float(to_go[at]), math.hypot(*(way[-1] - (x, y))))
        action[:] = _towards(aim, left_m, (x, y, yaw), limits, action_s)
        x, y, yaw = _moved((x, y, yaw), action, action_s)
    return actions


def turn(angle_rad: float, limits: Limits, action_s: float, horizon: int) -> np.ndarray:
    """Actions (horizon, 2) that turn on the spot by an angle, then rest."""
    actions = np.zeros((horizon, 2))
    for action in actions:
        action[1] = _bounded(angle_rad / action_s, _BRISK * limits.angular_max_radps)
        angle_rad -= action[1] * action_s
    return actions


def look_around(limits: Limits, horizon: int) -> np.ndarray:
    """Actions (horizon, 2) that turn slowly on the spot, without an end."""
    actions = np.zeros((horizon, 2))
    actions[:, 1] = _SLOW * limits.angular_max_radps
    return actions


def _towards(
    aim: np.ndarray,
    left_m: float,
    pose: tuple[float, float, float],
    limits: Limits,
    action_s: float,
) -> tuple[float, float]:
    dx, dy = float(aim[0]) - pose[0], float(aim[1]) - pose[1]
    away_m, sharpest = math.hypot(dx, dy), _BRISK * limits.angular_max_radps
    if away_m < 1e-3:
        return 0.0, 0.0
    bearing = wrap(math.atan2(dy, dx) - pose[2])
    if abs(bearing) > _TURN_FIRST_RAD:
        return 0.0, _bounded(bearing / action_s, sharpest)
    curvature = 2.0 * math.sin(bearing) / away_m
    braking = math.sqrt(limits.linear_decel_mps2 * left_m)  # half the deceleration
    turning = sharpest / max(abs(curvature), 1e-6)
    fastest = _BRISK * limits.linear_max_mps
    linear = min(fastest, braking, turning, max(left_m, 0.0) / action_s)
    return linear, _bounded(linear * curvature, sharpest)


def _moved(
    pose: tuple[float, float, float], action: np.ndarray, action_s: float
) -> tuple[float, float, float]:
    x, y, yaw = pose
    way_m, turned = float(action[0]) * action_s, float(action[1]) * action_s
    middle = yaw + turned / 2
    return x + way_m * math.cos(middle), y + way_m * math.sin(middle), yaw + turned


def _bounded(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
