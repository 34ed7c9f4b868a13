"""Who the world model is compared with: drivers that know the map, the bearing, or nothing.

All of them drive through the same safety controller and physics as the robot, see `driving.drive`.
"""

from __future__ import annotations

import math

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.control.safety import Plan
from foresight.evaluation.driving import PERIOD_S
from foresight.geometry import Pose, wrap
from foresight.interfaces import GroundTruth, Observation
from foresight.perception.encoder import Encoder
from foresight.perception.image import to_model
from foresight.planning.navigator import Status
from foresight.worlds.floor_plan import free_space, path_lengths, shortest_path
from foresight.worlds.tasks import Task

HOLD_S = 0.5  # each command is renewed every PERIOD_S and outlives a few that fail to come
ORACLE_LIMIT_S = 120.0
_CELL_M = 0.02
_CLEARANCES_M = (0.10, 0.06, 0.03)  # beside the footprint; the widest that leaves a path
_SPACING_M = 0.02
_LOOKAHEAD_M = 0.35
_TURN_FIRST_RAD = 0.8  # a bearing further off than this is turned to on the spot
_THERE_M, _THERE_RAD = 0.06, math.radians(4)
_GAIN_PER_S = 3.0  # rate of turn on the spot per radian that is missing


class PathFollower:
    """Follows a path at the profile's limits, then turns to a heading. It is told the ground truth.

    Pure pursuit (Coulter 1992) by the true pose; a bearing far off is turned to on the spot.
    """

    def __init__(
        self, truth: GroundTruth, profile: RobotProfile, path: np.ndarray, heading: float
    ) -> None:
        """`path` (N, 2) m leads to the goal; `heading` rad is the goal's."""
        self._truth, self._limits, self._heading = truth, profile.limits, heading
        self._path = _resampled(path)
        self._at, self._arrived, self.status = 0, False, Status.DRIVING

    def begin(self, seen: Observation) -> None:
        """It needs no senses."""
        del seen

    def plan(self, now_s: float, seen: Observation) -> Plan:
        """One command, renewed every tick."""
        del seen
        return Plan(now_s, HOLD_S, np.array([self._command(self._truth.pose)]))

    def _command(self, pose: Pose) -> tuple[float, float]:
        limits = self._limits
        left_m = math.hypot(*(self._path[-1] - pose[:2]))
        if self._arrived or left_m < _THERE_M:
            self._arrived = True
            missing = wrap(self._heading - pose[2])
            if abs(missing) < _THERE_RAD:
                self.status = Status.REACHED
                return 0.0, 0.0
            return 0.0, _bounded(_GAIN_PER_S * missing, limits.angular_max_radps)
        ahead = self._point_ahead(pose)
        bearing = wrap(math.atan2(ahead[1] - pose[1], ahead[0] - pose[0]) - pose[2])
        if abs(bearing) > _TURN_FIRST_RAD:
            return 0.0, _bounded(_GAIN_PER_S * bearing, limits.angular_max_radps)
        curvature = 2 * math.sin(bearing) / max(math.hypot(*(ahead - pose[:2])), _THERE_M)
        braking = math.sqrt(limits.linear_decel_mps2 * left_m)  # half the deceleration
        turning = limits.angular_max_radps / max(abs(curvature), 1e-6)
        linear = min(limits.linear_max_mps, braking, turning)
        return linear, linear * curvature

    def _point_ahead(self, pose: Pose) -> np.ndarray:
        """The point of the path that lies ahead of the nearest one."""
        ahead = round(_LOOKAHEAD_M / _SPACING_M)
        near = self._path[self._at : self._at + 2 * ahead]
        self._at += int(np.argmin(np.hypot(*(near - pose[:2]).T)))
        return self._path[min(self._at + ahead, len(self._path) - 1)]


def oracle(truth: GroundTruth, profile: RobotProfile, task: Task) -> PathFollower:
    """Knows the map and the true pose: the shortest path that keeps clear of obstacles.

    Raises:
        ValueError: no path leads to the goal.
    """
    occupied = truth.floor_plan.occupied(_CELL_M)
    for clearance_m in _CLEARANCES_M:
        free = free_space(occupied, profile.footprint_radius_m + clearance_m)
        path = shortest_path(path_lengths(free, task.goal), task.start, task.goal)
        if path is not None:
            return PathFollower(truth, profile, path, task.goal[2])
    raise ValueError(f"world {truth.floor_plan.name}: no path from {task.start} to {task.goal}")


def straight(truth: GroundTruth, profile: RobotProfile, task: Task) -> PathFollower:
    """Knows the true pose and where the goal is, but not what stands between."""
    line = np.array([task.start[:2], task.goal[:2]])
    return PathFollower(truth, profile, line, task.goal[2])


class Random:
    """Smooth random motion (Ornstein-Uhlenbeck, 1 s), mostly forward."""

    def __init__(self, profile: RobotProfile, seed: int) -> None:
        self._limits = profile.limits
        self._rng = np.random.default_rng([67, seed])
        self.status = Status.DRIVING

    def begin(self, seen: Observation) -> None:
        """Start from any motion."""
        del seen
        self._noise = self._rng.standard_normal(2)

    def plan(self, now_s: float, seen: Observation) -> Plan:
        """The next command of the walk."""
        del seen
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

    def __init__(self, bundle: Bundle, goal: np.ndarray) -> None:
        """`goal` is a picture (height, width, 3) uint8 RGB of the camera."""
        self._image = bundle.manifest.image
        self._encoder, self._policy = Encoder(bundle), bundle.session("policy")
        self._goal = self._encoder(to_model(goal, self._image))
        self.status = Status.DRIVING

    def begin(self, seen: Observation) -> None:
        """Nothing is remembered from before."""
        del seen

    def plan(self, now_s: float, seen: Observation) -> Plan:
        """What the policy would do on seeing what the camera sees."""
        latent = self._encoder(to_model(seen.image, self._image))
        inputs = {"latent": latent[None], "goal": self._goal[None]}
        return Plan(now_s, HOLD_S, self._policy.run(["action"], inputs)[0])


def _resampled(path: np.ndarray) -> np.ndarray:
    """The same line with a point every _SPACING_M."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    at = np.linspace(0.0, along[-1], max(2, math.ceil(along[-1] / _SPACING_M)))
    return np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], 1)


def _bounded(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
