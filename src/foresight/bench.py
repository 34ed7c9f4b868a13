"""`foresight bench`: how fast each part is, beside what this machine's hardware allows.

Every benchmark measures its own limit in the same run, so that `limit_ratio` (reached over
possible, at most 1) means the same on a slow and on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foresight import bundle as bundles
from foresight.bundle import Bundle
from foresight.perception.encoder import Encoder
from foresight.planning.navigator import Navigator
from foresight.robot import RobotProfile

Figures = dict[str, float]


def bench(what: str, bundle: Path, robot: Path) -> dict[str, Figures]:
    """Run one benchmark, or 'all' of them.

    Returns:
        By name: p50_ms, p95_ms, limit_ratio, or per_second, limit_ratio for `sim`.

    Raises:
        ValueError: unknown benchmark, or bundle or profile cannot be used.
    """
    loaded, profile = bundles.load(bundle), RobotProfile.load(robot)
    benchmarks: dict[str, Callable[[], Figures]] = {
        "plan": lambda: _plan(loaded),
        "encode": lambda: _encode(loaded),
        "sim": lambda: _sim(profile),
    }
    if what != "all" and what not in benchmarks:
        raise ValueError(f"--what is {what!r}; choose all, {', '.join(benchmarks)}")
    return {name: run() for name, run in benchmarks.items() if what in ("all", name)}


def _plan(bundle: Bundle) -> Figures:
    """One replan of the navigator on one thread, against the matrix products in it."""
    navigator = Navigator(bundle, threads=1)
    rng = np.random.default_rng(0)
    size, body = bundle.manifest.latent_size, len(bundle.manifest.proprioception)
    latents = rng.standard_normal((2, size)).astype(np.float32)
    navigator.set_goal(latents[0])
    stamps = iter(np.arange(0, 1e4, 0.3))
    still = np.zeros(body, np.float32)
    return _timed(
        lambda: navigator.update(next(stamps), latents[1], still),
        bundle.manifest.metrics["planner_mflop"],
    )


def _encode(bundle: Bundle) -> Figures:
    """One image to a latent on one thread, against the convolutions and products in it."""
    encoder, spec = Encoder(bundle, threads=1), bundle.manifest.image
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    return _timed(lambda: encoder(image), bundle.manifest.metrics["encoder_mflop"])


def _timed(call: Callable[[], object], mflop: float, repeats: int = 200) -> Figures:
    for _ in range(10):
        call()
    peak = _matmul_mflop_per_ms()
    milliseconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "limit_ratio": mflop / peak / float(p50)}


def _matmul_mflop_per_ms() -> float:
    """The best rate of a float32 matrix product on one thread of this machine.

    In a process of its own: BLAS takes its number of threads when it is loaded.
    """
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "foresight.bench"]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(result.stdout)


def _measure_matmul(size: int = 768, repeats: int = 12) -> float:
    """Million floating-point operations per millisecond, the best of some products."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return float(2 * size**3 / 1e9 / best)


def _sim(profile: RobotProfile, rounds: int = 10, frames: int = 30) -> Figures:
    """Frames a second of a collecting robot, against rendering alone (in turns, from where it is).

    The robot drives, senses and decides on a second core while its picture is rendered.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")  # as each of several collecting robots
    from foresight.control.limits import VelocityLimiter
    from foresight.learning.wander import Wanderer, put_down, record
    from foresight.sim.apartment import Apartment
    from foresight.sim.robot import Simulator

    simulator = Simulator(Apartment(0), profile)
    simulator.reset(put_down(simulator.apartment, profile, seed=0))
    driver, limiter = Wanderer(profile, seed=0), VelocityLimiter(profile.limits)
    record(simulator, driver, limiter, 0.1, frames)
    whole = alone = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        record(simulator, driver, limiter, 0.1, frames)
        between = time.perf_counter()
        for _ in range(frames):
            simulator.render()
        whole += between - started
        alone += time.perf_counter() - between
    simulator.close()
    return {"per_second": rounds * frames / whole, "limit_ratio": alone / whole}


if __name__ == "__main__":
    print(_measure_matmul())
