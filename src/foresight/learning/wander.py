"""Self-driven data collection: what to do next from scan and bumper alone. No map, no pose."""

from __future__ import annotations

import math

import numpy as np

from foresight.robot import RobotProfile

BLIND_M = 6.0  # what a beam without an echo counts as
_CELL_M = 0.5
_CELLS = 64  # the visit counts live on a torus: odometry drifts, and old counts fade anyway
_FORGET_S = 180.0
_BOLD = 0.3  # share of manoeuvres that don't brake for what the scan sees: bumps teach, too


class Wanderer:
    """A driver that mixes purposeful and noisy motion.

    It heads for points in view where it has not been of late by its own odometry (which leads
    through doorways and into corners), follows noise and walls, turns on the spot, steps back
    after bumps, and now and then creeps, so that a model sees every kind of motion that a planner
    will later imagine. Near-random driving alone gives models that cannot plan.
    """

    def __init__(self, profile: RobotProfile, seed: int) -> None:
        self._profile = profile
        self._rng = np.random.default_rng([91, seed])
        angles = 2 * np.pi * np.arange(profile.scan.beams) / profile.scan.beams
        self._angles = (angles + np.pi) % (2 * np.pi) - np.pi
        self._noise = np.zeros(2)
        self._backing_s = 0.0
        self._mode_left_s = 0.0
        self._mode = "seek"
        self._target = np.zeros(2)  # m, odometry frame
        self._visits = np.zeros((_CELLS, _CELLS))
        self._pace = 1.0
        self._turn = 0.0
        self._bold = False

    def act(
        self, ranges: np.ndarray, bumped: bool, pose: np.ndarray, dt_s: float
    ) -> tuple[float, float]:
        """The next command (m/s, rad/s).

        Args:
            ranges: (beams,) m, as `Simulator.scan`.
            bumped: whether the bumper is pressed.
            pose: (3,) x m, y m, yaw rad by odometry; it may drift.
            dt_s: time until the next call.
        """
        ranges = np.minimum(ranges, BLIND_M)
        limits = self._profile.limits
        self._disturb(dt_s)
        self._visits *= math.exp(-dt_s / _FORGET_S)
        self._visits[_cell(pose[:2])] += dt_s
        if bumped and self._backing_s <= 0 and self._rng.random() < 0.3:
            self._backing_s = float(self._rng.uniform(0.4, 1.2))
            self._turn = float(self._rng.uniform(-1, 1)) * limits.angular_max_radps
            self._mode_left_s = 0.0
        if self._backing_s > 0:
            self._backing_s -= dt_s
            return limits.linear_min_mps * 0.8, 0.6 * self._turn
        self._mode_left_s -= dt_s
        if self._mode_left_s <= 0:
            self._choose(ranges, pose)
        linear, angular = self._drive(ranges, pose)
        return (
            float(np.clip(linear, limits.linear_min_mps, limits.linear_max_mps)),
            float(np.clip(angular, -limits.angular_max_radps, limits.angular_max_radps)),
        )

    def _choose(self, ranges: np.ndarray, pose: np.ndarray) -> None:
        """Draw the next mode and what it needs."""
        rng = self._rng
        modes = ["seek", "noise", "spin", "wall", "creep"]
        self._mode = str(rng.choice(modes, p=[0.5, 0.25, 0.1, 0.07, 0.08]))
        self._mode_left_s = float(rng.uniform(2.0, 7.0))
        self._pace = float(rng.uniform(0.4, 1.0))
        self._turn = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.0))
        self._bold = bool(rng.random() < _BOLD)
        if self._mode == "seek":
            self._mode_left_s = 14.0
            self._target = self._least_visited_in_view(ranges, pose)
        if self._mode == "spin":
            self._mode_left_s = float(rng.uniform(1.5, 6.0))

    def _least_visited_in_view(self, ranges: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """A point (m, odometry frame) on some beam, drawn in favour of little-visited cells."""
        beam = self._rng.integers(len(ranges), size=48)
        margin = self._profile.footprint_radius_m + 0.05
        reach = np.maximum(ranges[beam] - margin, 0.0) * self._rng.uniform(0.3, 1.0, 48)
        direction = pose[2] + self._angles[beam]
        points = pose[:2] + reach[:, None] * np.stack([np.cos(direction), np.sin(direction)], 1)
        visits = np.array([self._visits[_cell(point)] for point in points])
        weight = (reach + 0.05) / (1.0 + visits) ** 2
        return points[self._rng.choice(48, p=weight / weight.sum())]

    def _drive(self, ranges: np.ndarray, pose: np.ndarray) -> tuple[float, float]:
        limits = self._profile.limits
        fastest, sharpest = limits.linear_max_mps, limits.angular_max_radps
        ahead = self._clearance(ranges, 0.0)
        if self._mode == "spin":
            return 0.05 * fastest * self._noise[0], self._turn * sharpest
        if self._mode == "noise":
            linear = fastest * (0.45 + 0.6 * self._noise[0])
            angular = sharpest * 0.7 * self._noise[1]
        elif self._mode == "creep":
            return 0.25 * fastest * self._noise[0], 0.4 * sharpest * self._noise[1]
        elif self._mode == "wall":
            linear, angular = self._follow_wall(ranges)
        else:
            linear, angular = self._seek(pose)
        if ahead < 0.35 and not self._bold:
            linear *= max(0.0, (ahead - 0.05) / 0.3)
            side = self._clearance(ranges, 0.9) - self._clearance(ranges, -0.9)
            angular += math.copysign(0.6 * sharpest, side)
        return linear, angular

    def _seek(self, pose: np.ndarray) -> tuple[float, float]:
        limits = self._profile.limits
        dx, dy = self._target - pose[:2]
        if math.hypot(dx, dy) < 0.2:
            self._mode_left_s = 0.0
        error = (math.atan2(dy, dx) - pose[2] + math.pi) % (2 * math.pi) - math.pi
        linear = limits.linear_max_mps * self._pace * max(0.0, math.cos(error)) ** 2
        angular = 2.0 * error + 0.35 * limits.angular_max_radps * self._noise[1]
        return linear + 0.05 * self._noise[0], angular

    def _follow_wall(self, ranges: np.ndarray) -> tuple[float, float]:
        side = math.copysign(math.pi / 2, self._turn)
        gap = self._clearance(ranges, side) - 0.25
        angular = float(np.clip(1.5 * gap, -0.6, 0.6)) * math.copysign(1.0, self._turn)
        return self._profile.limits.linear_max_mps * self._pace, angular + 0.2 * self._noise[1]

    def _clearance(self, ranges: np.ndarray, direction: float) -> float:
        """Room (m) beyond the footprint in a 50 degree sector around a direction (rad)."""
        away = np.abs((self._angles - direction + np.pi) % (2 * np.pi) - np.pi)
        return float(ranges[away < 0.44].min()) - self._profile.footprint_radius_m

    def _disturb(self, dt_s: float) -> None:
        """Ornstein-Uhlenbeck noise (two axes, unit variance, 1 s correlation)."""
        decay = math.exp(-dt_s / 1.0)
        spread = math.sqrt(1 - decay**2)
        self._noise = decay * self._noise + spread * self._rng.standard_normal(2)


def _cell(point: np.ndarray) -> tuple[int, int]:
    return int(point[0] // _CELL_M) % _CELLS, int(point[1] // _CELL_M) % _CELLS
