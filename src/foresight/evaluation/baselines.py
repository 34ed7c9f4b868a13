"""Who the world model is compared with: drivers that know the map, the bearing, or nothing.

All of them drive through the same safety controller and physics as the robot, see `driving.drive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.control.safety import Plan
from foresight.evaluation.driving import PERIOD_S
from foresight.perception.encoder import Encoder
from foresight.perception.image import to_model
from foresight.planning.navigator import Status
from foresight.worlds.apartments.apartment import Apartment, free_space
from foresight.worlds.apartments.simulator import Simulator
from foresight.worlds.tasks import Pose, Task, path_lengths, shortest_way

HOLD_S = 0.5  # each command is renewed every PERIOD_S and outlives a few that fail to come
ORACLE_LIMIT_S = 120.0
_CELL_M = 0.02
_CLEARANCES_M = (0.10, 0.06, 0.03)  # beside the footprint; the widest that leaves a way
_SPACING_M = 0.02
_LOOKAHEAD_M = 0.35
_TURN_FIRST_RAD = 0.8  # a bearing further off than this is turned to on the spot
_THERE_M, _THERE_RAD = 0.06, math.radians(4)
_GAIN_PER_S = 3.0  # rate of turn on the spot per radian that is missing


class PathFollower:
    """Follows a way at the profile's limits, then turns to the goal's heading.

    Pure pursuit (Coulter 1992) by the true pose; a bearing far off is turned to on the spot.
    """

    def __init__(self, find_way: Callable[[Apartment, RobotProfile, Task], np.ndarray]) -> None:
        self._find_way = find_way

    def begin(self, simulator: Simulator, task: Task) -> None:
        """Find the way, (N, 2) m, ending at the goal."""
        self._simulator, self._heading = simulator, task.goal[2]
        self._way = _resampled(self._find_way(simulator.apartment, simulator.profile, task))
        self._at, self._arrived, self.status = 0, False, Status.DRIVING

    def plan(self, now_s: float) -> Plan:
        """One command, renewed every tick."""
        return Plan(now_s, HOLD_S, np.array([self._command(self._simulator.pose)]))

    def _command(self, pose: Pose) -> tuple[float, float]:
        limits = self._simulator.profile.limits
        left_m = math.hypot(*(self._way[-1] - pose[:2]))
        if self._arrived or left_m < _THERE_M:
            self._arrived = True
            missing = _wrapped(self._heading - pose[2])
            if abs(missing) < _THERE_RAD:
                self.status = Status.REACHED
                return 0.0, 0.0
            return 0.0, _bounded(_GAIN_PER_S * missing, limits.angular_max_radps)
        aim = self._aim(pose)
        bearing = _wrapped(math.atan2(aim[1] - pose[1], aim[0] - pose[0]) - pose[2])
        if abs(bearing) > _TURN_FIRST_RAD:
            return 0.0, _bounded(_GAIN_PER_S * bearing, limits.angular_max_radps)
        curvature = 2 * math.sin(bearing) / max(math.hypot(*(aim - pose[:2])), _THERE_M)
        braking = math.sqrt(limits.linear_decel_mps2 * left_m)  # half the deceleration
        turning = limits.angular_max_radps / max(abs(curvature), 1e-6)
        linear = min(limits.linear_max_mps, braking, turning)
        return linear, linear * curvature

    def _aim(self, pose: Pose) -> np.ndarray:
        """The point of the way that lies ahead of the nearest one."""
        ahead = round(_LOOKAHEAD_M / _SPACING_M)
        near = self._way[self._at : self._at + 2 * ahead]
        self._at += int(np.argmin(np.hypot(*(near - pose[:2]).T)))
        return self._way[min(self._at + ahead, len(self._way) - 1)]


def oracle() -> PathFollower:
    """Knows the map and the true pose: the shortest way that keeps clear of obstacles."""
    return PathFollower(_shortest_clear_way)


def straight() -> PathFollower:
    """Knows where the goal is, but not what stands between."""
    return PathFollower(lambda apartment, profile, task: np.array([task.start[:2], task.goal[:2]]))


class Random:
    """Smooth random motion (Ornstein-Uhlenbeck, 1 s), mostly forward."""

    def __init__(self, profile: RobotProfile, seed: int) -> None:
        self._limits = profile.limits
        self._rng = np.random.default_rng([67, seed])

    def begin(self, simulator: Simulator, task: Task) -> None:
        """Start from any motion."""
        del simulator, task
        self._noise, self.status = self._rng.standard_normal(2), Status.DRIVING

    def plan(self, now_s: float) -> Plan:
        """The next command of the walk."""
        decay = math.exp(-PERIOD_S)
        fresh = math.sqrt(1 - decay**2) * self._rng.standard_normal(2)
        self._noise = decay * self._noise + fresh
        limits = self._limits
        linear = limits.linear_max_mps * (0.45 + 0.6 * self._noise[0])
        angular = limits.angular_max_radps * 0.7 * self._noise[1]
        return Plan(now_s, HOLD_S, np.array([[linear, angular]]))


class Cloning:
    """Goal-conditioned behaviour cloning: the bundle's graph "policy".

    The graph takes latent (B, D) and goal (B, D), and gives action (B, 2) in m/s and rad/s.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._view = bundle.manifest.image
        self._encoder, self._policy = Encoder(bundle), bundle.session("policy")

    def begin(self, simulator: Simulator, task: Task) -> None:
        """Look at the picture of the goal."""
        self._simulator, self.status = simulator, Status.DRIVING
        self._goal = self._encoder(to_model(simulator.render_at(task.goal), self._view))

    def plan(self, now_s: float) -> Plan:
        """What the policy would do on seeing what the camera sees."""
        latent = self._encoder(to_model(self._simulator.render(), self._view))
        inputs = {"latent": latent[None], "goal": self._goal[None]}
        return Plan(now_s, HOLD_S, self._policy.run(["action"], inputs)[0])


def _shortest_clear_way(apartment: Apartment, profile: RobotProfile, task: Task) -> np.ndarray:
    occupied = apartment.occupied(_CELL_M)
    for clearance_m in _CLEARANCES_M:
        free = free_space(occupied, profile.footprint_radius_m + clearance_m, _CELL_M)
        lengths = path_lengths(free, task.goal, cell_m=_CELL_M)
        way = shortest_way(lengths, task.start, task.goal, _CELL_M)
        if way is not None:
            return way
    raise ValueError(f"apartment {apartment.seed}: no way from {task.start} to {task.goal}")


def _resampled(way: np.ndarray) -> np.ndarray:
    """The same line with a point every _SPACING_M."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(way, axis=0).T))])
    at = np.linspace(0.0, along[-1], max(2, math.ceil(along[-1] / _SPACING_M)))
    return np.stack([np.interp(at, along, way[:, axis]) for axis in (0, 1)], 1)


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _bounded(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
