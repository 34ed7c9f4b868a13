"""Speed of a collecting robot."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

from foresight.bodies.profile import RobotProfile


def sim(profile: RobotProfile, rounds: int = 10, frames: int = 30) -> dict[str, float]:
    """Frames per second of a collecting robot, against rendering alone (alternating).

    The robot drives, senses and decides on a second core while its picture is rendered; the
    renderer has one, as for each of several collecting robots: a process is told so at its start.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _render_on_one_core) as child:
        return child.submit(_sim, profile, rounds, frames).result()


def _render_on_one_core() -> None:
    os.environ.setdefault("LP_NUM_THREADS", "1")


def _sim(profile: RobotProfile, rounds: int, frames: int) -> dict[str, float]:
    from foresight import worlds
    from foresight.control.limits import VelocityLimiter
    from foresight.data.recording import record
    from foresight.exploration.collection_policy import CollectionPolicy

    environment, _ = worlds.make(0, profile)
    environment.reset(0)
    driver, limiter = CollectionPolicy(profile, seed=0), VelocityLimiter(profile.limits)
    record(environment, driver, limiter, 0.1, frames)
    whole = alone = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        record(environment, driver, limiter, 0.1, frames)
        between = time.perf_counter()
        for _ in range(frames):
            _ = environment.observe().image
        whole += between - started
        alone += time.perf_counter() - between
    environment.close()
    return {"per_second": rounds * frames / whole, "limit_ratio": alone / whole}
