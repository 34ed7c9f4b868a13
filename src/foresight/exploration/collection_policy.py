"""Self-driven data collection: what to do next from scan, bumper and odometry alone."""

from __future__ import annotations

import math
from enum import Enum, auto

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.exploration.occupancy_grid import OccupancyGrid
from foresight.geometry import wrap

BLIND_M = 6.0  # what a beam without an echo counts as


class Manoeuvre(Enum):
    """What the policy does for a while."""

    VISIT_SELDOM_VISITED = auto()  # drive to a place where it has seldom been
    DRIVE_THROUGH_GAP = auto()  # that the scan shows
    APPROACH_OBSTACLE = auto()  # and run into it slowly
    DRIVE_NOISILY = auto()  # smooth random motion, mostly forward
    TURN_AROUND = auto()  # on the spot, or in an arc
    FOLLOW_WALL = auto()
    CREEP = auto()  # slow random motion, forward and back
    HOLD_RANDOM_COMMANDS = auto()  # in front of an obstacle: any command, held for a while


# How often each is drawn, not for how long it lasts; HOLD_RANDOM_COMMANDS follows an approach.
_SHARES = {
    Manoeuvre.VISIT_SELDOM_VISITED: 0.62,
    Manoeuvre.DRIVE_THROUGH_GAP: 0.03,
    Manoeuvre.APPROACH_OBSTACLE: 0.18,
    Manoeuvre.DRIVE_NOISILY: 0.06,
    Manoeuvre.TURN_AROUND: 0.04,
    Manoeuvre.FOLLOW_WALL: 0.03,
    Manoeuvre.CREEP: 0.04,
}
_GAP_MAX_M = 1.6
_BOLD = 0.25  # share of manoeuvres that don't brake for what the scan sees: bumps teach, too


class CollectionPolicy:
    """A driver that mixes purposeful and noisy motion.

    It goes where it has seldom been, by a map of its own making, and looks around there; drives
    through gaps that it sees in the scan; follows walls and noise; turns on the spot; creeps; and
    runs slowly into obstacles and moves about in front of them, so that a model sees every kind of
    motion that a planner will later imagine. Near-random driving alone gives models that cannot
    plan, and a robot that is never close to obstacles gives models that drive through them.
    """

    def __init__(self, profile: RobotProfile, seed: int) -> None:
        self._profile = profile
        self._rng = np.random.default_rng([91, seed])
        angles = 2 * np.pi * np.arange(profile.scan.beams) / profile.scan.beams
        self._angles = wrap(angles)
        self._map = OccupancyGrid(self._angles, profile.footprint_radius_m)
        self._noise = np.zeros(2)
        self._manoeuvre = Manoeuvre.TURN_AROUND
        self._left_s = 0.0  # of the manoeuvre
        self._backing_left_s = 0.0  # of backing off after a bump, which suspends the manoeuvre
        self._backing_turn_radps = 0.0
        self._path = np.zeros((1, 2))  # m, map frame
        self._pace = 1.0  # share of the highest speed
        self._turn = 0.0  # share of the highest rate of turn
        self._arc = 0.0  # forward speed while turning around, share of the highest
        self._bold = False
        self._held = np.zeros(2)  # shares of the limits
        self._held_left_s = 0.0

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
        if self._map.lost:
            self._map = OccupancyGrid(self._angles, self._profile.footprint_radius_m)
            self._left_s = 0.0
        self._map.update(ranges, pose, bumped)
        ranges = np.minimum(ranges, BLIND_M)
        limits = self._profile.limits
        self._disturb(dt_s)
        if bumped and self._backing_left_s <= 0:
            self._react_to_bump()
        if self._backing_left_s > 0:
            self._backing_left_s -= dt_s
            return limits.linear_min_mps * 0.8, 0.6 * self._backing_turn_radps
        self._left_s -= dt_s
        if self._left_s <= 0:
            self._choose(ranges)
        linear, angular = self._drive(ranges, dt_s)
        return (
            float(np.clip(linear, limits.linear_min_mps, limits.linear_max_mps)),
            float(np.clip(angular, -limits.angular_max_radps, limits.angular_max_radps)),
        )

    def _react_to_bump(self) -> None:
        """Now and then back off in an arc; after an approach rather stay there for a while."""
        stubborn = self._manoeuvre is Manoeuvre.HOLD_RANDOM_COMMANDS
        if self._rng.random() >= (0.08 if stubborn else 0.3):
            return
        if self._manoeuvre is Manoeuvre.APPROACH_OBSTACLE and self._rng.random() < 0.7:
            self._begin_holding_random_commands()
            return
        self._backing_left_s = float(self._rng.uniform(0.4, 1.2))
        sharpest = self._profile.limits.angular_max_radps
        self._backing_turn_radps = float(self._rng.uniform(-1, 1)) * sharpest
        self._left_s = 0.0

    def _begin_holding_random_commands(self) -> None:
        self._manoeuvre = Manoeuvre.HOLD_RANDOM_COMMANDS
        self._left_s = float(self._rng.uniform(2.0, 6.0))

    def _choose(self, ranges: np.ndarray) -> None:
        """Draw the next manoeuvre and what it needs."""
        rng, visiting = self._rng, self._manoeuvre is Manoeuvre.VISIT_SELDOM_VISITED
        if visiting and rng.random() < 4.0 * self._map.need_here():
            self._manoeuvre = Manoeuvre.TURN_AROUND  # look around where it came to
        else:
            drawn = rng.choice(len(_SHARES), p=list(_SHARES.values()))
            self._manoeuvre = list(_SHARES)[int(drawn)]
        self._left_s = float(rng.uniform(2.0, 6.0))
        self._pace = float(rng.uniform(0.4, 1.0))
        self._turn = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.0))
        self._bold = bool(rng.random() < _BOLD)
        if self._manoeuvre is Manoeuvre.DRIVE_THROUGH_GAP:
            self._plan_through_a_gap(ranges)
        if self._manoeuvre is Manoeuvre.VISIT_SELDOM_VISITED:
            self._path = self._map.path_to_a_place_seldom_visited(rng)
            self._left_s = 30.0
            self._pace = float(rng.uniform(0.8, 1.0))
        if self._manoeuvre is Manoeuvre.APPROACH_OBSTACLE:
            self._plan_to_an_obstacle(ranges)
        if self._manoeuvre is Manoeuvre.TURN_AROUND:
            self._left_s = float(rng.uniform(1.0, 5.0))
            self._arc = float(max(0.0, rng.uniform(-0.5, 0.8)))
            self._turn *= 1.0 if rng.random() < 0.3 else 1.0 / abs(self._turn)

    def _plan_through_a_gap(self, ranges: np.ndarray) -> None:
        """Through an opening of a doorway's width; where there is none, to a place instead."""
        paths = ways_through_gaps(ranges, self._angles, 2 * self._profile.footprint_radius_m)
        if not paths:
            self._manoeuvre = Manoeuvre.VISIT_SELDOM_VISITED
            return
        self._path = self._map.to_map(paths[self._rng.integers(len(paths))])
        self._left_s = 20.0

    def _plan_to_an_obstacle(self, ranges: np.ndarray) -> None:
        """Straight to one of the nearer echoes, and 0.3 m into it."""
        beam = int(self._rng.choice(np.argsort(ranges)[: 2 * len(ranges) // 3]))
        direction = np.array([np.cos(self._angles[beam]), np.sin(self._angles[beam])])
        self._path = self._map.to_map(((ranges[beam] + 0.3) * direction)[None])
        self._pace = float(self._rng.uniform(0.15, 0.7))
        self._left_s = 12.0

    def _drive(self, ranges: np.ndarray, dt_s: float) -> tuple[float, float]:
        """The manoeuvre's command (m/s, rad/s)."""
        limits = self._profile.limits
        fastest, sharpest = limits.linear_max_mps, limits.angular_max_radps
        ahead = self._clearance(ranges, 0.0)
        match self._manoeuvre:
            case Manoeuvre.TURN_AROUND:
                linear = fastest * (self._arc + 0.05 * self._noise[0])
                if linear > 0:
                    linear *= float(np.clip((ahead - 0.05) / 0.3, 0.0, 1.0))
                return linear, self._turn * sharpest
            case Manoeuvre.CREEP:
                return 0.25 * fastest * self._noise[0], 0.4 * sharpest * self._noise[1]
            case Manoeuvre.HOLD_RANDOM_COMMANDS:
                return self._hold_random_command(dt_s)
            case Manoeuvre.APPROACH_OBSTACLE:
                if ahead < 0.1 and self._rng.random() < 0.02:
                    self._begin_holding_random_commands()
                return self._follow()
            case Manoeuvre.DRIVE_NOISILY:
                linear = fastest * (0.45 + 0.6 * self._noise[0])
                angular = sharpest * 0.7 * self._noise[1]
            case Manoeuvre.FOLLOW_WALL:
                linear, angular = self._follow_wall(ranges)
            case _:
                linear, angular = self._follow()
        if ahead < 0.35 and not self._bold:
            linear *= max(0.0, (ahead - 0.05) / 0.3)
            if self._manoeuvre is not Manoeuvre.VISIT_SELDOM_VISITED:
                side = self._clearance(ranges, 0.9) - self._clearance(ranges, -0.9)
                angular += math.copysign(0.6 * sharpest, side)
        return linear, angular

    def _hold_random_command(self, dt_s: float) -> tuple[float, float]:
        """Any command, held for a while as a planner would."""
        limits = self._profile.limits
        self._held_left_s -= dt_s
        if self._held_left_s <= 0:
            self._held_left_s = float(self._rng.uniform(0.3, 1.2))
            self._held = self._rng.uniform((-0.3, -1.0), (0.6, 1.0))
        return limits.linear_max_mps * self._held[0], limits.angular_max_radps * self._held[1]

    def _follow(self) -> tuple[float, float]:
        """Along the path, half a metre ahead."""
        limits = self._profile.limits
        x, y, yaw = self._map.pose
        gaps = np.hypot(*(self._path - (x, y)).T)
        self._path = self._path[int(np.argmin(gaps)) :]
        if np.hypot(*(self._path[-1] - (x, y))) < 0.2:
            self._left_s = 0.0
        ahead = np.hypot(*(self._path - (x, y)).T) > 0.45
        dx, dy = self._path[int(np.argmax(ahead)) if ahead.any() else -1] - (x, y)
        error = wrap(math.atan2(dy, dx) - yaw)
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
        away = np.abs(wrap(self._angles - direction))
        return float(ranges[away < 0.44].min()) - self._profile.footprint_radius_m

    def _disturb(self, dt_s: float) -> None:
        """Ornstein-Uhlenbeck noise (two axes, unit variance, 1 s correlation)."""
        decay = math.exp(-dt_s / 1.0)
        spread = math.sqrt(1 - decay**2)
        self._noise = decay * self._noise + spread * self._rng.standard_normal(2)


def ways_through_gaps(ranges: np.ndarray, angles: np.ndarray, width_m: float) -> list[np.ndarray]:
    """Paths through openings that a robot `width_m` wide fits through, as a scan shows them.

    Args:
        ranges: (beams,) m, finite.
        angles: (beams,) rad, counter-clockwise.

    Returns:
        For each opening (3, 2) m in the robot's frame: before, in and behind it.
    """
    points = ranges[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    deeper = np.roll(ranges, -1) - ranges
    right = np.nonzero(deeper > 0.5)[0]  # the last beam before an opening ...
    left = (np.nonzero(deeper < -0.5)[0] + 1) % len(ranges)  # ... and the first one after
    paths = []
    for a in right:
        for b in left:
            span = (b - a) % len(ranges)
            if not 1 < span < len(ranges) / 2:
                continue
            across = points[b] - points[a]
            wide = float(np.hypot(*across))
            between = ranges[(a + np.arange(1, span)) % len(ranges)]
            if width_m < wide < _GAP_MAX_M and between.min() > max(ranges[a], ranges[b]) + 0.3:
                middle = (points[a] + points[b]) / 2
                outward = np.array([across[1], -across[0]]) / wide
                paths.append(np.stack([middle - 0.4 * outward, middle, middle + 0.8 * outward]))
    return paths
