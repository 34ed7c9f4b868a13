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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Group
from rich.table import Table

from foresight import bundle as bundles
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.evaluation import baselines, probes
from foresight.evaluation.driving import Agent, Driver, DriveRecord, drive, limit_s
from foresight.evaluation.memory_tour import MemoryJob, Remembered, remember
from foresight.evaluation.workers import spread
from foresight.memory import Places
from foresight.planning.navigator import Status
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.apartments.simulator import Simulator
from foresight.worlds.tasks import SUITES as NAVIGATION
from foresight.worlds.tasks import Suite, Task, pose_error, reached, sample_tasks

SUITES = (*NAVIGATION, "surprise", "causal")
MEMORIES = ("none", "tour", "explore")
_TOUR = 1_000_000  # the number of no episode
_OFFSET = 7_000_000  # what is drawn here is not what `foresight collect` draws from the same seed


@dataclass(frozen=True)
class _Job:
    """One task for all drivers. `seed` draws the robot and its noise."""

    bundle: Path
    robot: Path
    world: int
    task: Task
    seed: int
    picture: Path | None
    places: Path | None


def evaluate(
    bundle: Path,
    robot: Path,
    suite: str,
    worlds: Sequence[int],
    episodes: int,
    seed: int,
    *,
    workers: int = 1,
    commissioned: Mapping[int, Path] | None = None,
    pictures: Path | None = None,
    memory: str = "none",
) -> dict[str, Any]:
    """Put a bundle to the test.

    Args:
        suite: near, room, house (drives to goals), surprise or causal (see `probes`).
        episodes: in all; they are spread evenly over the worlds.
        seed: draws starts, goals, robots and noise. The figures depend on nothing else, least of
            all on the number of workers; only `plan_ms` does.
        commissioned: bundles to use instead, by world.
        pictures: folder for a picture of every drive that failed, or of `causal`'s reliability.
        memory: none; or tour, explore: the robot has been shown around each home before, or has
            explored it by itself for at most 20 minutes, and finds its way by the places that it
            remembers; every drive begins with that memory.

    Returns:
        what `--json` writes.

    Raises:
        ValueError: unknown suite or memory, a memory where none is used, fewer episodes than
            worlds, or bundle or profile cannot be used.
    """
    if suite not in SUITES:
        raise ValueError(f"--suite is {suite!r}; choose one of {', '.join(SUITES)}")
    if memory not in MEMORIES:
        raise ValueError(f"--memory is {memory!r}; choose one of {', '.join(MEMORIES)}")
    if memory != "none" and suite not in NAVIGATION:
        raise ValueError(f"--memory is {memory!r}, but {suite} drives without memory; leave it out")
    if episodes < len(worlds):
        raise ValueError(f"--episodes is {episodes}; give at least one for each of {len(worlds)}")
    used = {world: (commissioned or {}).get(world, bundle) for world in worlds}
    for path in {bundle, *used.values()}:
        bundles.load(path)
    profile = RobotProfile.load(robot)
    counts = {world: len(range(k, episodes, len(worlds))) for k, world in enumerate(worlds)}
    content: dict[str, Any] = {
        "suite": suite,
        "bundle": str(bundle),
        "worlds": list(worlds),
        "episodes": episodes,
        "seed": seed,
        "workers": workers,
    }
    if commissioned:
        content["commissioned"] = {str(world): str(path) for world, path in commissioned.items()}
    if suite in NAVIGATION:
        with tempfile.TemporaryDirectory() as folder:
            content["memory"] = memory
            files: dict[int, Path] = {}
            if memory != "none":
                made = _memories(used, robot, seed, workers, Path(folder), memory)
                files = {world: file for world, (file, _) in made.items()}
                content["remembered"] = {str(world): asdict(it) for world, (_, it) in made.items()}
            jobs = _jobs(used, robot, profile, cast(Suite, suite), counts, seed, pictures, files)
            return content | _summed_up(spread(_drive_all, jobs, workers, suite))
    probe = [
        probes.Job(used[world], robot, world, episode_seed(seed, world, k))
        for world, count in counts.items()
        for k in range(count)
    ]
    if suite == "surprise":
        return content | probes.surprise(spread(probes.fault_drive, probe, workers, suite), seed)
    content |= probes.causal(spread(probes.plain_drive, probe, workers, suite), profile, seed)
    if pictures is not None:
        probes.draw_reliability(content, pictures / "reliability.png")
    return content


def _memories(
    bundles_of: Mapping[int, Path], robot: Path, seed: int, workers: int, folder: Path, memory: str
) -> dict[int, tuple[Path, Remembered]]:
    """Files of what robots remember of each home, and what came of the drives."""
    jobs = [
        MemoryJob(
            path,
            robot,
            world,
            episode_seed(seed, world, _TOUR),
            folder / f"{world}.db",
            memory == "explore",
        )
        for world, path in bundles_of.items()
    ]
    made = spread(remember, jobs, workers, f"memory ({memory})")
    return {job.world: (job.file, it) for job, it in zip(jobs, made, strict=True)}


def _jobs(
    used: Mapping[int, Path],
    robot: Path,
    profile: RobotProfile,
    suite: Suite,
    counts: Mapping[int, int],
    seed: int,
    pictures: Path | None,
    memories: Mapping[int, Path],
) -> list[_Job]:
    jobs = []
    for world, count in counts.items():
        tasks = sample_tasks(Apartment(world), profile, suite, count, seed)
        places = memories.get(world)
        for k, task in enumerate(tasks):
            picture = pictures and pictures / f"{suite}-world-{world}-{k:03d}.png"
            draw = episode_seed(seed, world, k)
            jobs.append(_Job(used[world], robot, world, task, draw, picture, places))
    return jobs


def default_episodes(suite: str, worlds: int) -> int:
    """Enough for a first impression."""
    return {"surprise": 8, "causal": 4}.get(suite, 50) * (1 if suite in NAVIGATION else worlds)


def episode_seed(seed: int, world: int, index: int) -> int:
    """The seed of one episode; training never draws from the same stream."""
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
    """The record of one task: the model's drive, and briefly those of the baselines."""
    bundle, profile = _loaded(job.bundle), RobotProfile.load(job.robot)
    simulator = Simulator(Apartment(job.world), profile, job.seed)
    try:
        known = drive(simulator, job.task, baselines.oracle(), baselines.ORACLE_LIMIT_S)
        limit = limit_s(known.seconds)
        with _remembered(job.places, bundle) as places:
            agent = Agent(bundle, job.seed, places)
            own = drive(simulator, job.task, agent, limit)
        if job.picture is not None and not own.success:
            _draw(job, own, simulator)
        others: dict[str, Driver] = {
            "random": baselines.Random(profile, job.seed),
            "straight": baselines.straight(),
        }
        if "policy" in bundle.manifest.graphs:
            others["cloning"] = baselines.Cloning(bundle)
        paired = {
            name: drive(simulator, job.task, driver, limit, generous=True)
            for name, driver in others.items()
        } | {"oracle": known}
    finally:
        simulator.close()
    return {
        "world": job.world,
        "start": job.task.start,
        "goal": job.task.goal,
        "path_m": job.task.path_m,
        "limit_s": limit,
        **_told(own),
        "cause": _cause(own),
        "eta_s": agent.last.eta_s if agent.last else None,
        "plan_ms": agent.plan_ms,
        "baselines": {name: _told(other) for name, other in paired.items()},
    }


@contextmanager
def _remembered(file: Path | None, bundle: Bundle) -> Iterator[Places | None]:
    """A copy of what the robot remembers, so that no drive learns from another."""
    if file is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(file, Path(folder) / "places.db")
        digest = bundle.manifest.graphs["encoder"].sha256
        with Places.open(copy, digest, bundle.manifest.latent_size) as places:
            yield places


def _told(done: DriveRecord) -> dict[str, Any]:
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


def _draw(job: _Job, done: DriveRecord, simulator: Simulator) -> None:
    """The way from above, beside the goal's picture and what the robot saw last."""
    from foresight.evaluation.pictures import draw_trajectory
    from foresight.evaluation.report import DemoLog

    assert job.picture is not None
    end = (float(done.path[-1][0]), float(done.path[-1][1]), float(done.path[-1][2]))
    photo = simulator.render_at(job.task.goal)
    log = DemoLog(
        simulator.apartment, simulator.profile, 0, job.task.start, [(job.task.goal, photo)]
    )
    log.path = [(k, (float(x), float(y), float(yaw)), 0) for k, (x, y, yaw) in enumerate(done.path)]
    leg = log.legs[0]
    leg.code, leg.end_ns = done.status.name, round(done.seconds * 1e9)
    leg.final_pose, leg.final_view = end, simulator.render_at(end)
    draw_trajectory(log, job.picture)


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
