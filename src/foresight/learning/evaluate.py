"""`foresight evaluate`: drive to goal pictures in simulation, with the classes of the ROS nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from foresight import bundle as bundles
from foresight.learning.baselines import ORACLE_LIMIT_S, oracle
from foresight.learning.driving import Agent, drive, limit_s
from foresight.robot import RobotProfile
from foresight.sim.apartment import Apartment
from foresight.sim.robot import Simulator
from foresight.sim.tasks import SUITES, sample_tasks


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
    drives, plan_times = [], []
    for index, task in track(list(enumerate(sample_tasks(home, profile, suite, episodes, seed)))):
        simulator = Simulator(home, profile, seed * 100_003 + index)
        known = drive(simulator, task, oracle(), ORACLE_LIMIT_S)
        agent = Agent(loaded, seed * 100_003 + index)
        drives.append(drive(simulator, task, agent, limit_s(known.seconds)))
        plan_times += agent.plan_ms
        simulator.close()
    plan_ms = np.array(plan_times)
    efficiency = [d.success * d.task.path_m / max(d.driven_m, d.task.path_m) for d in drives]
    return Evaluation(
        suite,
        str(bundle),
        [world],
        episodes,
        seed,
        wilson(sum(d.success for d in drives), episodes),
        float(np.mean([d.collisions for d in drives])),
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
