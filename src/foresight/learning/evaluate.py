"""`foresight evaluate`: drive to goal pictures in simulation, with the classes of the ROS nodes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from foresight import bundle as bundles
from foresight.bundle import Bundle
from foresight.control.safety import Plan, SafetyController
from foresight.perception.encoder import Encoder
from foresight.perception.image import to_model
from foresight.planning.navigator import NavigationStep, Navigator, Status
from foresight.robot import RobotProfile
from foresight.sim.apartment import Apartment
from foresight.sim.robot import Simulator
from foresight.sim.tasks import SUITES, Task, pose_error, reached, sample_tasks

PERIOD_S = 0.1
REPLAN_TICKS = 3
LIMIT_S = {"near": 60.0, "room": 90.0, "house": 150.0}


@dataclass
class Drive:
    """How one task went: success needs the true pose at the goal and the robot's own word.

    path is the true trajectory (T, 3); collisions counts bumper presses; last is the final plan.
    """

    task: Task
    status: Status
    success: bool
    error_m: float
    error_deg: float
    seconds: float
    collisions: int
    plan_ms: list[float]
    path: np.ndarray
    last: NavigationStep

    @property
    def driven_m(self) -> float:
        """Length of the path."""
        return float(np.hypot(*np.diff(self.path[:, :2], axis=0).T).sum())


@dataclass
class Evaluation:
    """Figures of one run; `success` is the rate with its 95% Wilson interval."""

    suite: str
    bundle: str
    worlds: list[int]
    episodes: int
    seed: int
    success: dict[str, float]
    collisions_per_episode: float
    spl: float
    plan_ms: dict[str, float]

    def summary(self) -> str:
        """One line for people."""
        rate, low, high = (100 * self.success[key] for key in ("rate", "low", "high"))
        return (
            f"{self.suite}: {rate:.0f}% of {self.episodes} (95% interval {low:.0f}-{high:.0f}%), "
            f"{self.collisions_per_episode:.2f} collisions per episode, SPL {self.spl:.2f}, "
            f"plan p50 {self.plan_ms['p50']:.0f} ms p95 {self.plan_ms['p95']:.0f} ms"
        )


def evaluate(
    bundle: Path, robot: Path, suite: str, world: int, episodes: int, seed: int
) -> Evaluation:
    """Drive `episodes` tasks of a suite in one home.

    Raises:
        ValueError: unknown suite, or bundle or profile cannot be used.
    """
    if suite not in SUITES:
        raise ValueError(f"--suite is {suite!r}; choose one of {', '.join(SUITES)}")
    loaded, profile, home = bundles.load(bundle), RobotProfile.load(robot), Apartment(world)
    agent = Agent(loaded, profile, seed)
    drives = []
    for index, task in track(list(enumerate(sample_tasks(home, profile, suite, episodes, seed)))):
        simulator = Simulator(home, profile, seed * 100_003 + index)
        drives.append(agent.drive(simulator, task, LIMIT_S[suite]))
        simulator.close()
    plan_ms = np.concatenate([drive.plan_ms for drive in drives])
    efficiency = [d.success * d.task.path_m / max(d.driven_m, d.task.path_m) for d in drives]
    return Evaluation(
        suite,
        str(bundle),
        [world],
        episodes,
        seed,
        wilson(sum(drive.success for drive in drives), episodes),
        float(np.mean([drive.collisions for drive in drives])),
        float(np.mean(efficiency)),
        {"p50": float(np.percentile(plan_ms, 50)), "p95": float(np.percentile(plan_ms, 95))},
    )


def wilson(hits: int, count: int) -> dict[str, float]:
    """Rate with its 95% score interval (Wilson 1927)."""
    z = 1.959964
    rate = hits / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    # rounding must not push the rate itself out of its interval
    return {
        "rate": rate,
        "low": max(0.0, min(rate, centre - half)),
        "high": min(1.0, max(rate, centre + half)),
    }


class Agent:
    """Encoder, navigator and safety controller in one loop, as the graph runs them."""

    def __init__(self, bundle: Bundle, profile: RobotProfile, seed: int = 0) -> None:
        self.bundle, self.profile = bundle, profile
        self.encoder = Encoder(bundle)
        self.navigator = Navigator(bundle, seed)

    def drive(self, simulator: Simulator, task: Task, limit_s: float = 60.0) -> Drive:
        """Put the robot at the task's start and let it drive until it says that it is done."""
        view = self.bundle.manifest.image
        simulator.reset(task.start)
        goal = to_model(simulator.render_at(task.goal), view)
        self.navigator.set_goal(self.encoder(goal))
        controller = SafetyController(self.profile)
        controller.activate()
        beam = 2 * math.pi / self.profile.scan.beams
        path, plan_ms, collisions, bumped = [], [], 0, False
        status = Status.DRIVING
        for tick in range(round(limit_s / PERIOD_S)):
            now = tick * PERIOD_S
            reading = simulator.odometry()
            controller.on_odometry(now, reading.linear, reading.angular)
            controller.on_scan(now, simulator.scan(), 0.0, beam)
            controller.on_bumper(now, simulator.bumper)
            if tick % REPLAN_TICKS == 0 and status is Status.DRIVING:
                latent = self.encoder(to_model(simulator.render(), view))
                body = np.array([reading.linear, reading.angular, simulator.bumper], np.float32)
                started = time.perf_counter()
                step = self.navigator.update(now, latent, body)
                plan_ms.append(1e3 * (time.perf_counter() - started))
                status = step.status
                controller.on_plan(
                    now, Plan(now, self.bundle.manifest.action.duration_s, step.actions)
                )
            for half in range(2):
                command = controller.step(now + half * PERIOD_S / 2, now + half * PERIOD_S / 2)
                simulator.step(command.linear, command.angular, PERIOD_S / 2)
            collisions += simulator.bumper and not bumped
            bumped = simulator.bumper
            path.append(simulator.pose)
            if status is not Status.DRIVING and command.at_rest:
                break
        error_m, error_deg = pose_error(simulator.pose, task.goal)
        return Drive(
            task,
            status,
            status is Status.REACHED and reached(simulator.pose, task.goal),
            error_m,
            error_deg,
            len(path) * PERIOD_S,
            collisions,
            plan_ms,
            np.array(path),
            step,
        )
