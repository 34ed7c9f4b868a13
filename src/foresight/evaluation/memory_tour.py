"""Memories to evaluate with: of a tour of the home, or of the robot's own exploration.

A tour is as a person would give it who drives the robot by hand: through all rooms, and a look
around in each corner of them. It knows the map; the explorer does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresight import bundle as bundles
from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.control.safety import Plan
from foresight.evaluation.baselines import HOLD_S, PathFollower, oracle
from foresight.evaluation.driving import Driver, drive, look
from foresight.evaluation.explorer_driver import ExplorerDriver
from foresight.geometry import Pose
from foresight.interfaces import GroundTruth, Observation, WorldName
from foresight.memory import Places
from foresight.memory.spatial_memory import SpatialMemory
from foresight.perception.encoder import Encoder
from foresight.planning.navigator import Status
from foresight.runtime.dynamics import Relation
from foresight.worlds.floor_plan import free_space, path_lengths
from foresight.worlds.tasks import PASSAGE_M, Task, draw_poses

_REACH_M = 1.2  # no place of the home is further from a station, as the crow flies
_LOOK_RADPS = 0.9
_CANDIDATES = 400
TOUR_S = 3600.0
EXPLORE_S = 1200.0
_LOOK_EVERY = 3  # ticks of 0.1 s


class Tour:
    """Drives to station after station, the nearest first, and turns once around at each; then to
    all of them once more in any order, so that it comes through every door, from both sides.

    It is told the ground truth.
    """

    def __init__(self, truth: GroundTruth, profile: RobotProfile, seed: int) -> None:
        """`seed` draws stations and order."""
        self._truth, self._profile, self._seed = truth, profile, seed
        self.status = Status.DRIVING

    def begin(self, seen: Observation) -> None:
        """Plan the tour from where the robot stands."""
        del seen
        self._stations = stations(self._truth, self._profile, self._seed)
        self._again = [
            int(k) for k in np.random.default_rng(self._seed).permutation(len(self._stations))
        ]
        self._all = list(self._stations)
        self._drive: PathFollower | None = None
        self._turned, self._heading = math.inf, self._truth.pose[2]

    def plan(self, now_s: float, seen: Observation) -> Plan | None:
        """On to the next station, or a turn on the spot."""
        yaw = self._truth.pose[2]
        self._turned += abs(math.remainder(yaw - self._heading, math.tau))
        self._heading = yaw
        if self._turned < math.tau:
            return Plan(now_s, HOLD_S, np.array([[0.0, _LOOK_RADPS]]))
        if self._drive is None and not self._set_out():
            self.status = Status.REACHED
            return None
        assert self._drive is not None
        plan = self._drive.plan(now_s, seen)
        if self._drive.status is Status.REACHED:
            self._drive = None
            self._turned = 0.0 if self._stations else math.inf
        return plan

    def _set_out(self) -> bool:
        """To the nearest of the stations that are left; then to each again."""
        if self._stations:
            away_m = path_lengths_to(self._truth, self._profile, self._stations)
            station = self._stations.pop(int(np.argmin(away_m)))
        elif self._again:
            station = self._all[self._again.pop()]
        else:
            return False
        self._drive = oracle(self._truth, self._profile, Task(self._truth.pose, station, 0.0))
        return True


def stations(truth: GroundTruth, profile: RobotProfile, seed: int) -> list[Pose]:
    """Places to stop at: each as far as can be from those before, until all that can be reached
    are near to one."""
    drawn = draw_poses(truth.floor_plan, profile, _CANDIDATES, seed)
    lengths_m = path_lengths_to(truth, profile, drawn)
    poses = [pose for pose, m in zip(drawn, lengths_m, strict=True) if math.isfinite(m)]
    points = np.array(poses)[:, :2]
    chosen = [0]
    gaps = np.hypot(*(points - points[0]).T)
    while gaps.max() > _REACH_M:
        chosen.append(int(np.argmax(gaps)))
        gaps = np.minimum(gaps, np.hypot(*(points - points[chosen[-1]]).T))
    return [poses[k] for k in chosen]


def path_lengths_to(truth: GroundTruth, profile: RobotProfile, poses: list[Pose]) -> np.ndarray:
    """How far the robot has to drive to each pose: (N,) m, inf where no path leads."""
    free = free_space(truth.floor_plan.occupied(), profile.footprint_radius_m + PASSAGE_M)
    x, y, _ = np.array(poses).T
    return path_lengths(free, truth.pose).at(x, y)


@dataclass(frozen=True)
class MemoryJob:
    """A drive through a home that leaves a memory; `seed` draws robot, start and stations.

    `explored`: the robot explores by itself, without the map; else it is shown around.
    """

    bundle: Path
    robot: Path
    world: WorldName
    seed: int
    file: Path
    explored: bool = False


@dataclass(frozen=True)
class Remembered:
    """What came of it: places in memory, simulated minutes, and how the drive ended."""

    places: int
    minutes: float
    status: str


def remember(job: MemoryJob) -> Remembered:
    """Drive a robot around, and leave what it remembers in a file."""
    bundle, profile = bundles.load(job.bundle), RobotProfile.load(job.robot)
    world = worlds.make(job.world, profile, seed=job.seed)
    limit_s = EXPLORE_S if job.explored else TOUR_S
    driver: Driver = (
        ExplorerDriver(profile, limit_s) if job.explored else Tour(world.truth, profile, job.seed)
    )
    try:
        digest = bundle.manifest.graphs["encoder"].sha256
        with Places.open(job.file, digest, bundle.manifest.latent_size) as places:
            start = draw_poses(world.truth.floor_plan, profile, 1, job.seed + 1)[0]
            watching = _Watching(driver, bundle, SpatialMemory(places, Relation(bundle)))
            done = drive(world, profile, Task(start, start, 0.0), watching, limit_s)
            return Remembered(len(places), round(done.seconds / 60, 2), done.status.value)
    finally:
        world.environment.close()


class _Watching:
    """Drives as another driver does, and remembers what the camera sees."""

    def __init__(self, driver: Driver, bundle: bundles.Bundle, memory: SpatialMemory) -> None:
        self._driver, self._memory = driver, memory
        self._image, self._encoder = bundle.manifest.image, Encoder(bundle)
        self._ticks, self.status = 0, driver.status

    def begin(self, seen: Observation) -> None:
        """As the other one."""
        self._driver.begin(seen)

    def plan(self, now_s: float, seen: Observation) -> Plan | None:
        """As the other one; every _LOOK_EVERY ticks with a look."""
        if self._ticks % _LOOK_EVERY == 0:
            self._memory.observe(look(seen, self._encoder, self._image, now_s))
            self._memory.learn()
        self._ticks += 1
        plan = self._driver.plan(now_s, seen)
        self.status = self._driver.status
        return plan
