"""The bundle's graphs as the nodes run them, on a simulated robot's observations."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresight.apps.bench.matmul import cpu_rate, torch_rate
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.bundle.manifest import ImageSpec
from foresight.control.limits import VelocityLimiter
from foresight.interfaces import Observation
from foresight.perception.encoder import Encoder
from foresight.perception.image import to_model
from foresight.perception.scan import scan_points
from foresight.planning.navigator import Navigator

REPLAN_TICKS, TICK_S = 3, 0.1
_HOME, _SEED = 0, 0
_MOMENTS = 60  # of the drive: one each 0.3 s
_WARM_UP = 10


@dataclass(frozen=True)
class Moment:
    """What the robot sees and senses: image (h, w, 3) uint8 at the model's size, proprioception
    (3,) m/s, rad/s, bump, and what its scan shows (N, 2) m in its frame."""

    image: np.ndarray
    body: np.ndarray
    obstacles: np.ndarray


def plan(
    bundle: Bundle,
    profile: RobotProfile,
    planner: str,
    threads: int,
    repeats: int,
    others: bool = True,
) -> dict[str, Any]:
    """One replan of the navigator against the matrix products in it.

    Args:
        planner: one of the bundle's.

    Returns:
        the figures on `threads`; `by_threads` has them too, and with `others` those on one thread
        and on all cores.
    """
    mflop = _arithmetic(bundle, f"{planner}_mflop")
    goal, moments = drive(bundle, profile, _MOMENTS)
    cores = len(os.sched_getaffinity(0))
    by_threads = {
        str(count): _plan(bundle, planner, count, goal, moments, mflop, repeats)
        for count in sorted({1, threads, cores} if others else {threads})
    }
    settings = {"planner": planner, "threads": threads}
    return by_threads[str(threads)] | settings | {"by_threads": by_threads}


def _plan(
    bundle: Bundle,
    planner: str,
    threads: int,
    goal: np.ndarray,
    moments: list[Moment],
    mflop: float,
    repeats: int,
) -> dict[str, float]:
    encoder, navigator = Encoder(bundle), Navigator(bundle, threads=threads, planner=planner)
    latents = [encoder(moment.image) for moment in moments]
    navigator.set_goal(encoder(goal))
    beliefs = itertools.cycle(zip(latents, moments, strict=True))
    stamps_s = itertools.count(0.0, REPLAN_TICKS * TICK_S)

    def replan() -> None:
        latent, moment = next(beliefs)
        navigator.update(next(stamps_s), latent, moment.body, moment.obstacles)

    return _timed(replan, mflop, repeats, _limit(navigator.providers, threads))


def encode(bundle: Bundle, profile: RobotProfile, threads: int, repeats: int) -> dict[str, Any]:
    """One image to a latent against the convolutions and products in it."""
    mflop = _arithmetic(bundle, "encoder_mflop")
    _, moments = drive(bundle, profile, _MOMENTS)
    encoder, images = Encoder(bundle, threads), itertools.cycle(m.image for m in moments)
    limit = _limit(encoder.providers, threads)
    return _timed(lambda: encoder(next(images)), mflop, repeats, limit) | {"threads": threads}


def drive(bundle: Bundle, profile: RobotProfile, count: int) -> tuple[np.ndarray, list[Moment]]:
    """The picture of a goal in the robot's room, and `count` moments of a drive that starts
    2 to 4 m from it and does not look for it."""
    from foresight import worlds
    from foresight.exploration.collection_policy import CollectionPolicy
    from foresight.worlds.tasks import sample_tasks

    environment, truth = worlds.make(_HOME, profile)
    task = sample_tasks(truth.floor_plan, profile, "room", 1, _SEED)[0]
    goal = to_model(truth.render_at(task.goal), bundle.manifest.image)
    truth.place(task.start)
    driver, limiter = CollectionPolicy(profile, _SEED), VelocityLimiter(profile.limits)
    moments = []
    for _ in range(count):
        moments.append(_moment(environment.observe(), bundle.manifest.image))
        for _ in range(REPLAN_TICKS):
            seen = environment.observe()
            wish = driver.act(seen.scan, seen.bumper, np.array(seen.odometry.pose), TICK_S)
            environment.step(limiter.step(*wish, TICK_S), TICK_S)
    environment.close()
    return goal, moments


def _moment(seen: Observation, image: ImageSpec) -> Moment:
    reading, ranges = seen.odometry, seen.scan
    return Moment(
        to_model(seen.image, image),
        np.array([reading.linear, reading.angular, seen.bumper], np.float32),
        scan_points(ranges, 0.0, 2 * math.pi / len(ranges)),
    )


def _arithmetic(bundle: Bundle, metric: str) -> float:
    """Millions of operations, which the exporter counted."""
    try:
        return bundle.manifest.metrics[metric]
    except KeyError:
        raise ValueError(
            f"{bundle.path / 'manifest.yaml'}: metrics lack {metric}, so that the limit cannot be "
            f"told; export the bundle again with this version"
        ) from None


def _limit(providers: list[str], threads: int) -> Callable[[], float]:
    """What measures the peak of the device that runs the graph."""
    if providers[0] == "CPUExecutionProvider":
        return lambda: cpu_rate(threads)
    try:
        import torch
    except ImportError:
        raise RuntimeError(
            "the limit of a GPU is measured with PyTorch, which is not installed: "
            "run ./setup.sh --dev"
        ) from None
    return lambda: torch_rate(torch.device("cuda"), torch.float32)


def _timed(
    call: Callable[[], object], mflop: float, repeats: int, peak: Callable[[], float]
) -> dict[str, float]:
    """The peak is the better of before and after: other programs take from both."""
    for _ in range(_WARM_UP):
        call()
    before = peak()
    milliseconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    rate = max(before, peak())
    p50, p95 = map(float, np.percentile(milliseconds, [50, 95]))
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "limit_ratio": mflop / rate / p50,
        "limit_ms": mflop / rate,
        "peak_gflops": rate,
    }
