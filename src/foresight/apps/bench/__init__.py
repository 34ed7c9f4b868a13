"""`foresight bench`: the speed of each part against the limits of this machine.

Every benchmark measures its own limit in the same run, so that `limit_ratio` (reached over
possible, at most 1) is comparable between slow and busy machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from foresight import bundle as bundles
from foresight import resources
from foresight.apps.bench.machine import machine
from foresight.bodies.profile import RobotProfile

Figures = dict[str, Any]
Say = Callable[[str], None]

LIMITS = {
    "plan": "its matrix products at this machine's peak",
    "encode": "its matrix products at this machine's peak",
    "loop": "encode and plan, each alone",
    "sim": "rendering alone",
    "train": "its matrix products at this machine's peak",
    "memory": "reading the latents that a search compares",
}
PLACES = (1_000, 10_000, 100_000)
"""Sizes of the memory."""
ENCODING_THREADS = 1
"""As in perception."""
_NEEDS = {
    "sim": "mujoco",
    "plan": "mujoco",
    "encode": "mujoco",
    "loop": "psutil",
    "train": "torch",
    "memory": "usearch",
}


def bench(
    what: str,
    bundle: Path,
    robot: Path,
    threads: int | None = None,
    composed: bool = False,
    repeats: int = 200,
    say: Say = lambda text: None,
    places: Sequence[int] = PLACES,
) -> dict[str, Figures]:
    """Run one benchmark, or 'all' of them.

    Args:
        threads: of one plan and one encoding; None: as the nodes.
        composed: the loop's nodes share one process.
        repeats: number of timed plans and encodings.
        say: called with lines of progress.
        places: sizes of the timed memory; the top-level figures are the largest one's.

    Returns:
        `machine`, and by name p50_ms, p95_ms, limit_ratio, or per_second, limit_ratio for `sim`
        and `train`, and further figures.

    Raises:
        ValueError: unknown benchmark, or unusable bundle or profile.
        RuntimeError: a requirement is not installed, or the loop does not run.
    """
    if what != "all" and what not in LIMITS:
        raise ValueError(f"--what is {what!r}; choose all, {', '.join(LIMITS)}")
    chosen = [name for name in LIMITS if what in ("all", name)]
    _check_installed(chosen)
    loaded, profile = bundles.load(bundle), RobotProfile.load(robot)
    settings = planning_settings()

    @cache
    def plan(count: int, others: bool) -> Figures:
        from foresight.apps.bench.models import plan

        say("plan: the navigator on a drive in the simulator")
        return plan(loaded, profile, settings["planner"], count, repeats, others)

    @cache
    def encode(count: int) -> Figures:
        from foresight.apps.bench.models import encode

        say("encode: pictures of the simulator")
        return encode(loaded, profile, count, repeats)

    def loop() -> Figures:
        from foresight.apps.bench.loop import loop

        alone = encode(ENCODING_THREADS), plan(settings["threads"], "plan" in chosen)
        limit_ms = sum(part["p50_ms"] for part in alone)
        return loop(bundle, robot, limit_ms, composed, say)

    def sim() -> Figures:
        from foresight.apps.bench.simulation import sim

        say("sim: a collecting robot")
        return sim(profile)

    def train() -> Figures:
        from foresight.apps.bench.training import train

        say("train: updates of the world model")
        return train()

    def memory() -> Figures:
        from foresight.apps.bench.memory import memory

        return memory(places, say)

    runs: dict[str, Callable[[], Figures]] = {
        "plan": lambda: plan(threads or settings["threads"], True),
        "encode": lambda: encode(threads or ENCODING_THREADS),
        "loop": loop,
        "sim": sim,
        "train": train,
        "memory": memory,
    }
    return {"machine": machine()} | {name: runs[name]() for name in chosen}


def planning_settings() -> dict[str, Any]:
    """The planning node's shipped parameters."""
    nodes = yaml.safe_load(resources.parameters().read_text(encoding="utf-8"))
    return nodes["/**/planning"]["ros__parameters"]


def _check_installed(names: list[str]) -> None:
    for name in names:
        if find_spec(_NEEDS[name]) is None:
            remedy = "./setup.sh --dev" if name == "train" else "./setup.sh"
            raise RuntimeError(f"{name} needs {_NEEDS[name]}, which is not installed: run {remedy}")
