"""One episode in simulation: a driver decides, the safety controller and the physics do the rest.

The robot's own driver, `Agent`, is built from the classes that the ROS nodes run.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.control.safety import Plan, SafetyController
from foresight.interfaces import GroundTruth, Observation, World
from foresight.memory import Places
from foresight.memory.spatial_memory import SpatialMemory, View
from foresight.perception.encoder import Encoder
from foresight.perception.image import ImageSpec, to_model
from foresight.perception.scan import scan_points
from foresight.planning.navigator import NavigationStep, Navigator, Status
from foresight.planning.path_following import look_around
from foresight.runtime.dynamics import Relation
from foresight.worlds.tasks import Task, pose_error, reached

PERIOD_S = 0.1
REPLAN_TICKS = 3
LOOK_STEPS = 4
_REST_MPS, _REST_RADPS = 0.02, 0.05  # true speeds below these count as rest


class Driver(Protocol):
    """Who decides where to go, by what the robot senses.

    It is handed observations and nothing else. A driver that knows more, such as the oracle, says
    so in its constructor.

    Attributes:
        status: the driver's own word on how the drive stands.
    """

    status: Status

    def begin(self, seen: Observation) -> None:
        """The robot stands at its start."""

    def plan(self, now_s: float, seen: Observation) -> Plan | None:
        """What to do from `now_s` on; None keeps to the last plan. Called every PERIOD_S."""


@dataclass(frozen=True)
class DriveRecord:
    """How one episode went.

    Attributes:
        status: the driver's last word.
        success: the driver says that it is there, and rests within 0.3 m and 30 degrees.
        error_m, error_deg: where it ended, seen from the goal.
        seconds: until rest, or until the time limit.
        collisions: bumper presses.
        path: the true trajectory (T, 3) m, m, rad, one pose per PERIOD_S.
    """

    task: Task
    status: Status
    success: bool
    error_m: float
    error_deg: float
    seconds: float
    collisions: int
    path: np.ndarray

    @property
    def driven_m(self) -> float:
        """Length of the path."""
        return float(np.hypot(*np.diff(self.path[:, :2], axis=0).T).sum())


def drive(
    world: World,
    profile: RobotProfile,
    task: Task,
    driver: Driver,
    limit_s: float,
    generous: bool = False,
) -> DriveRecord:
    """Put the robot at the task's start and let it drive until it rests, or the time is up.

    Args:
        generous: for drivers that cannot tell that they have arrived: the first moment within the
            goal's tolerance, even in passing, ends the episode as a success.
    """
    environment, truth = world
    truth.place(task.start)
    driver.begin(environment.observe())
    controller = SafetyController(profile)
    controller.activate()
    beam = 2 * math.pi / profile.scan.beams
    path, collisions, bumped, success = [task.start], 0, False, False
    for tick in range(max(1, int(limit_s / PERIOD_S + 1e-9))):
        now = tick * PERIOD_S
        seen = environment.observe()
        controller.on_odometry(now, seen.odometry.linear, seen.odometry.angular)
        controller.on_scan(now, seen.scan, 0.0, beam)
        controller.on_bumper(now, seen.bumper)
        if driver.status is Status.DRIVING:
            plan = driver.plan(now, environment.observe())  # the noise of its scan is its own
            if plan is not None:
                controller.on_plan(now, plan)
        for half in (now, now + PERIOD_S / 2):
            command = controller.step(half, half)
            seen = environment.step((command.linear, command.angular), PERIOD_S / 2)
        collisions += seen.bumper and not bumped
        bumped = seen.bumper
        path.append(truth.pose)
        there = reached(truth.pose, task.goal)
        rests = driver.status is not Status.DRIVING and command.at_rest and _still(truth)
        success = there and (generous or (rests and driver.status is Status.REACHED))
        if rests or success:
            break
    error_m, error_deg = pose_error(truth.pose, task.goal)
    seconds = (len(path) - 1) * PERIOD_S
    return DriveRecord(
        task, driver.status, success, error_m, error_deg, seconds, collisions, np.array(path)
    )


def _still(truth: GroundTruth) -> bool:
    linear, angular = truth.velocity
    return abs(linear) < _REST_MPS and abs(angular) < _REST_RADPS


class Agent:
    """The robot itself: encoder and navigator in one loop, as the graph runs them.

    Attributes:
        plan_ms: how long each plan took.
        last: the latest plan.
    """

    def __init__(
        self,
        bundle: Bundle,
        profile: RobotProfile,
        goal: np.ndarray,
        seed: int = 0,
        places: Places | None = None,
    ) -> None:
        """`goal` is a picture (height, width, 3) uint8 RGB of the camera; `seed` draws the search.

        With places, it navigates by them, and remembers what it sees.
        """
        self._profile, self._image = profile, bundle.manifest.image
        self._action_s = bundle.manifest.action_s
        self._encoder, self._navigator = Encoder(bundle), Navigator(bundle, seed)
        self._goal = self._encoder(to_model(goal, self._image))
        self._memory = None if places is None else SpatialMemory(places, Relation(bundle))
        self.status = Status.DRIVING
        self.plan_ms: list[float] = []
        self.last: NavigationStep | None = None

    def begin(self, seen: Observation) -> None:
        """Set out for the goal."""
        self._ticks, self.status = 0, Status.DRIVING
        self._navigator.set_goal(self._goal)
        if self._memory is not None:
            self._memory.observe(look(seen, self._encoder, self._image, 0.0))
            self._memory.lead(self._goal)

    def plan(self, now_s: float, seen: Observation) -> Plan | None:
        """Encode what the camera sees and search; every REPLAN_TICKS only."""
        self._ticks += 1
        if self._ticks % REPLAN_TICKS != 1:
            return None
        view = look(seen, self._encoder, self._image, now_s)
        if self._memory is not None:
            subgoal = self._memory.observe(view)
            self._memory.learn()
            assert subgoal is not None
            if subgoal.latent is None:
                around = look_around(self._profile.limits, LOOK_STEPS)
                return Plan(now_s, self._action_s, around)
            self._navigator.redirect(subgoal.latent, subgoal.final)
        reading, ranges = seen.odometry, seen.scan
        body = np.array([reading.linear, reading.angular, seen.bumper], np.float32)
        obstacles = scan_points(ranges, 0.0, 2 * math.pi / len(ranges))
        started = time.perf_counter()
        self.last = self._navigator.update(now_s, view.latent, body, obstacles)
        self.plan_ms.append(1e3 * (time.perf_counter() - started))
        self.status = self.last.status
        return Plan(now_s, self._action_s, self.last.actions)


def look(seen: Observation, encoder: Encoder, image: ImageSpec, now_s: float) -> View:
    """What the robot sees, as memory takes it, and where odometry says that it is."""
    picture = to_model(seen.image, image)
    return View(now_s, encoder(picture), picture, seen.odometry.pose)


def limit_s(oracle_s: float) -> float:
    """The time that a task may take, by the time that the oracle took."""
    return 2.5 * oracle_s
