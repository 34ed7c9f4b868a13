"""`foresight evaluate`: drive to goal pictures in simulation, with the classes of the ROS nodes.

Every task is driven by the model and by its baselines, one after the other, in the same home with
the same robot, and judged by the same rule: the driver says that it is there, it rests within
0.3 m and 30 degrees of the goal, and it took at most 2.5 times as long as the oracle. Random,
straight and cloning cannot tell that they are there; in their favour, passing through is enough.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Group
from rich.table import Table

from foresight import bundle as bundles
from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.evaluation import baselines, probes
from foresight.evaluation.driving import Agent, Driver, DriveRecord, drive, limit_s
from foresight.evaluation.memory_tour import MemoryJob, Remembered, remember
from foresight.evaluation.workers import spread
from foresight.interfaces import FloorPlan, GroundTruth, WorldName
from foresight.memory import Places
from foresight.planning.navigator import Status
from foresight.worlds.tasks import SUITES as NAVIGATION
from foresight.worlds.tasks import Suite, Task, pose_error, reached, sample_tasks

SUITES = (*NAVIGATION, "surprise", "causal")
MEMORIES = ("none", "tour", "explore")
_TOUR = 1_000_000  # seeds the tours; no episode has this number
_OFFSET = 7_000_000  # added to seeds: `foresight collect` draws other robots from the same seed


@dataclass(frozen=True)
class _Home:
    """A home, the bundle that drives there, and its share of the episodes."""

    name: WorldName
    plan: FloorPlan
    bundle: Path
    episodes: int


@dataclass(frozen=True)
class _Job:
    """One task for all drivers. `seed` draws the robot and its noise."""

    bundle: Path
    robot: Path
    world: WorldName
    task: Task
    seed: int
    picture: Path | None
    places: Path | None


def evaluate(
    bundle: Path,
    robot: Path,
    suite: str,
    homes: Sequence[WorldName],
    episodes: int,
    seed: int,
    *,
    workers: int = 1,
    commissioned: Mapping[Any, Path] | None = None,
    pictures: Path | None = None,
    memory: str = "none",
) -> dict[str, Any]:
    """Put a bundle to the test.

    Args:
        suite: near, room, house (drives to goals), surprise or causal (see `probes`).
        episodes: in all; they are spread evenly over the homes.
        seed: draws starts, goals, robots and noise. The figures depend on nothing else, least of
            all on the number of workers; only `plan_ms` does.
        commissioned: bundles to use instead, by home as `homes` names it.
        pictures: folder for a picture of every drive that failed, or of `causal`'s reliability.
        memory: none; or tour, explore: the robot has been shown around each home before, or has
            explored it by itself for at most 20 minutes, and navigates by the places that it
            remembers; every drive begins with that memory.

    Returns:
        what `--json` writes.

    Raises:
        ValueError: unknown suite, home or memory, a memory where none is used, fewer episodes than
            homes, or bundle or profile cannot be used.
    """
    if suite not in SUITES:
        raise ValueError(f"--suite is {suite!r}; choose one of {', '.join(SUITES)}")
    if memory not in MEMORIES:
        raise ValueError(f"--memory is {memory!r}; choose one of {', '.join(MEMORIES)}")
    if memory != "none" and suite not in NAVIGATION:
        raise ValueError(f"--memory is {memory!r}, but {suite} drives without memory; leave it out")
    if episodes < len(homes):
        raise ValueError(f"--episodes is {episodes}; give at least one for each of {len(homes)}")
    profile = RobotProfile.load(robot)
    drawn = []
    for k, name in enumerate(homes):
        share = len(range(k, episodes, len(homes)))
        own = (commissioned or {}).get(name, bundle)
        drawn.append(_Home(name, worlds.plan_of(name), own, share))
    bundles.load(bundle)
    for path in {home.bundle for home in drawn}:
        bundles.load(path).check_robot(profile)
    content: dict[str, Any] = {
        "suite": suite,
        "bundle": str(bundle),
        "worlds": list(homes),
        "episodes": episodes,
        "seed": seed,
        "workers": workers,
    }
    if commissioned:
        content["commissioned"] = {str(world): str(path) for world, path in commissioned.items()}
    if suite in NAVIGATION:
        with tempfile.TemporaryDirectory() as folder:
            content["memory"] = memory
            files: dict[WorldName, Path] = {}
            if memory != "none":
                made = _memories(drawn, robot, seed, workers, Path(folder), memory)
                files = {world: file for world, (file, _) in made.items()}
                content["remembered"] = {str(world): asdict(it) for world, (_, it) in made.items()}
            jobs = _jobs(drawn, robot, profile, cast(Suite, suite), seed, pictures, files)
            return content | _summed_up(spread(_drive_all, jobs, workers, suite))
    probe = [
        probes.Job(home.bundle, robot, home.name, episode_seed(seed, home.plan.seed, k))
        for home in drawn
        for k in range(home.episodes)
    ]
    if suite == "surprise":
        return content | probes.surprise(spread(probes.fault_drive, probe, workers, suite), seed)
    content |= probes.causal(spread(probes.plain_drive, probe, workers, suite), profile, seed)
    if pictures is not None:
        probes.draw_reliability(content, pictures / "reliability.png")
    return content


def _memories(
    homes: Sequence[_Home], robot: Path, seed: int, workers: int, folder: Path, memory: str
) -> dict[WorldName, tuple[Path, Remembered]]:
    """Files of what robots remember of each home, and what came of the drives."""
    jobs = [
        MemoryJob(
            home.bundle,
            robot,
            home.name,
            episode_seed(seed, home.plan.seed, _TOUR),
            folder / f"{number}.db",
            memory == "explore",
        )
        for number, home in enumerate(homes)
    ]
    made = spread(remember, jobs, workers, f"memory ({memory})")
    return {job.world: (job.file, it) for job, it in zip(jobs, made, strict=True)}


def _jobs(
    homes: Sequence[_Home],
    robot: Path,
    profile: RobotProfile,
    suite: Suite,
    seed: int,
    pictures: Path | None,
    memories: Mapping[WorldName, Path],
) -> list[_Job]:
    jobs = []
    for home in homes:
        places = memories.get(home.name)
        for k, task in enumerate(sample_tasks(home.plan, profile, suite, home.episodes, seed)):
            picture = pictures and pictures / f"{suite}-world-{home.name}-{k:03d}.png"
            draw = episode_seed(seed, home.plan.seed, k)
            jobs.append(_Job(home.bundle, robot, home.name, task, draw, picture, places))
    return jobs


def default_episodes(suite: str, homes: int) -> int:
    """Enough for a first impression."""
    return {"surprise": 8, "causal": 4}.get(suite, 50) * (1 if suite in NAVIGATION else homes)


def episode_seed(seed: int, world: int, index: int) -> int:
    """The seed of one episode in the world of that `FloorPlan.seed`; training never draws from the
    same stream."""
    return int(np.random.SeedSequence([_OFFSET + seed, world, index]).generate_state(1)[0])


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


# ----- one episode ------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Bundle:
    return bundles.load(path)


def _drive_all(job: _Job) -> dict[str, Any]:
    """The model's drive of one task, and in brief the drives of the baselines."""
    bundle, profile, task = _loaded(job.bundle), RobotProfile.load(job.robot), job.task
    world = worlds.make(job.world, profile, seed=job.seed)
    truth = world.truth
    try:
        oracle = baselines.oracle(truth, profile, task)
        known = drive(world, profile, task, oracle, baselines.ORACLE_LIMIT_S)
        limit = limit_s(known.seconds)
        with _copied(job.places, bundle) as places:
            agent = Agent(bundle, profile, truth.render_at(task.goal), job.seed, places)
            own = drive(world, profile, task, agent, limit)
        if job.picture is not None and not own.success:
            _draw(job.picture, own, truth, profile)
        # Made only when it is their turn: a picture of the goal draws noise.
        others: dict[str, Callable[[], Driver]] = {
            "random": lambda: baselines.Random(profile, job.seed),
            "straight": lambda: baselines.straight(truth, profile, task),
        }
        if "policy" in bundle.manifest.graphs:
            others["cloning"] = lambda: baselines.Cloning(bundle, truth.render_at(task.goal))
        paired = {
            name: drive(world, profile, task, driver(), limit, generous=True)
            for name, driver in others.items()
        } | {"oracle": known}
    finally:
        world.environment.close()
    return {
        "world": job.world,
        "start": job.task.start,
        "goal": job.task.goal,
        "path_m": job.task.path_m,
        "limit_s": limit,
        **_figures(own),
        "cause": _cause(own),
        "eta_s": agent.last.eta_s if agent.last else None,
        "plan_ms": agent.plan_ms,
        "baselines": {name: _figures(other) for name, other in paired.items()},
    }


@contextmanager
def _copied(file: Path | None, bundle: Bundle) -> Iterator[Places | None]:
    """A copy of the places in a file, so that no drive learns from another; None without a file."""
    if file is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(file, Path(folder) / "places.db")
        digest = bundle.manifest.graphs["encoder"].sha256
        with Places.open(copy, digest, bundle.manifest.latent_size) as places:
            yield places


def _figures(done: DriveRecord) -> dict[str, Any]:
    return {
        "success": done.success,
        "status": done.status.value,
        "error_m": round(done.error_m, 3),
        "error_deg": round(done.error_deg, 1),
        "seconds": round(done.seconds, 1),
        "driven_m": round(done.driven_m, 2),
        "collisions": done.collisions,
        "end": tuple(round(value, 3) for value in done.path[-1]),
    }


def _cause(done: DriveRecord) -> str:
    """Why a drive failed, in a few words; empty after a success."""
    there = reached(done.path[-1], done.task.goal)
    if done.success:
        return ""
    if done.status is Status.REACHED:
        return "still moving when the time was up" if there else "said it was there, but was not"
    if done.status is Status.BLOCKED:
        return "gave up"
    if there:
        return "was there, but had not said so when the time was up"
    if any(reached(pose, done.task.goal) for pose in done.path):
        return "had been there, went on"
    near = pose_error(done.path[-1], done.task.goal)[0] < 0.5
    return "close by when the time was up" if near else "on its way when the time was up"


def _draw(file: Path, done: DriveRecord, truth: GroundTruth, profile: RobotProfile) -> None:
    """The path from above, beside the goal's picture and what the robot saw last."""
    from foresight.evaluation.pictures import DrawnLeg, draw_legs

    x, y, yaw = map(float, done.path[-1])
    off = f"missed: {done.error_m:.2f} m, {done.error_deg:.0f}° off, {done.seconds:.0f} s"
    photo, final_view = truth.render_at(done.task.goal), truth.render_at((x, y, yaw))
    draw_legs(
        file,
        truth.floor_plan,
        profile.footprint_radius_m,
        done.task.start,
        [DrawnLeg(done.task.goal, photo, done.path, (x, y, yaw), final_view, off)],
        _cause(done),
        f"World {truth.floor_plan.name}. The robot was given the photograph only, no floor plan.",
    )


# ----- all of them ------------------------------------------------------------------------------


def _summed_up(records: list[dict[str, Any]]) -> dict[str, Any]:
    plan_ms = np.concatenate([record.pop("plan_ms") for record in records])
    efficiency = [
        r["success"] * r["path_m"] / max(r["driven_m"], r["path_m"], 1e-9) for r in records
    ]
    names = list(records[0]["baselines"])
    return {
        "success": _rate(records),
        "baselines": {name: _rate([r["baselines"][name] for r in records]) for name in names},
        "collisions_per_episode": float(np.mean([r["collisions"] for r in records])),
        "spl": float(np.mean(efficiency)),
        "plan_ms": {
            "p50": float(np.percentile(plan_ms, 50)),
            "p95": float(np.percentile(plan_ms, 95)),
        },
        "by_world": {
            str(world): _rate([r for r in records if r["world"] == world])
            | {"episodes": sum(r["world"] == world for r in records)}
            for world in dict.fromkeys(r["world"] for r in records)
        },
        "drives": records,
    }


def _rate(drives: list[dict[str, Any]]) -> dict[str, float]:
    return wilson(sum(one["success"] for one in drives), len(drives))


# ----- for people -------------------------------------------------------------------------------


def summary(content: dict[str, Any]) -> Group:
    """What `evaluate` returned, as text and tables."""
    if content["suite"] not in NAVIGATION:
        return Group(*probes.summary(content))
    return Group(*_successes(content), *_failures(content["drives"]))


def _successes(content: dict[str, Any]) -> tuple[str, Table]:
    plan_ms = content["plan_ms"]
    headline = (
        f"{content['suite']}, {content['episodes']} episodes, seed {content['seed']}: "
        f"{content['collisions_per_episode']:.2f} collisions per episode, "
        f"SPL {content['spl']:.2f}, plan p50 {plan_ms['p50']:.0f} ms p95 {plan_ms['p95']:.0f} ms "
        f"with {content['workers']} workers side by side"
    )
    table = Table("driver", "success", "95% interval")
    rows = {"model": content["success"]} | content["baselines"]
    if len(content["worlds"]) > 1:
        rows |= {f"model, world {world}": rate for world, rate in content["by_world"].items()}
    for name, rate in rows.items():
        low, high = 100 * rate["low"], 100 * rate["high"]
        table.add_row(name, f"{100 * rate['rate']:.0f}%", f"{low:.0f}-{high:.0f}%")
    return headline, table


def _failures(drives: list[dict[str, Any]]) -> tuple[str, Table] | tuple[()]:
    failed = [(k, one) for k, one in enumerate(drives) if not one["success"]]
    if not failed:
        return ()
    causes = Counter(one["cause"] for _, one in failed).most_common()
    headline = "failed: " + "; ".join(f"{count}x {cause}" for cause, count in causes)
    table = Table("episode", "world", "cause", "off", "time / limit", "bumps")
    for k, one in failed:
        off = f"{one['error_m']:.2f} m {one['error_deg']:.0f}°"
        times = f"{one['seconds']:.1f} / {one['limit_s']:.1f} s"
        table.add_row(str(k), str(one["world"]), one["cause"], off, times, str(one["collisions"]))
    return headline, table
