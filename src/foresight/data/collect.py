"""`foresight collect`: simulated robots drive around homes and record their drives."""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.control.limits import VelocityLimiter
from foresight.data.dataset import PERIOD_S, Episode, save_episode
from foresight.data.recording import record
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.interfaces import WorldName
from foresight.worlds.variation import NO_VARIATION, Variation

EPISODE_FRAMES = 1000
_RENDER_THREADS = (
    "LP_NUM_THREADS"  # of Mesa's software renderer; by default one per core and process
)


@dataclass(frozen=True)
class Assignment:
    """What one robot, placed once in one home, still has to record."""

    world: WorldName
    seed: int  # draws its start, driving, noise and variation
    names: tuple[str, ...]  # of its episodes, in order
    randomise: bool
    episode_frames: int
    first: int = 0  # number of episodes from an earlier run

    def missing(self, folder: Path) -> Assignment | None:
        """The same without the episodes in the folder; None if none is left.

        The robot's earlier state is lost: it gets a new start.
        """
        left = tuple(name for name in self.names if not (folder / name).exists())
        return replace(self, names=left, first=len(self.names) - len(left)) if left else None

    def drive(self, profile: RobotProfile) -> Iterator[tuple[str, Episode, str]]:
        """Drive by scan and bumper; yields file name, episode and source of each episode."""
        variation = Variation.draw(self.seed) if self.randomise else NO_VARIATION
        # Another one than an earlier run's, so that its drive is not repeated.
        drive_seed = self.seed + 7919 * self.first
        environment, _ = worlds.make(self.world, profile, seed=self.seed, variation=variation)
        environment.reset(drive_seed)
        driver, limiter = CollectionPolicy(profile, drive_seed), VelocityLimiter(profile.limits)
        source = f"home {self.world}, wandering"
        if self.randomise:
            source += f", {variation}"
        try:
            for name in self.names:
                yield (
                    name,
                    Episode(*record(environment, driver, limiter, PERIOD_S, self.episode_frames)),
                    source,
                )
        finally:
            environment.close()


def collect(
    folder: Path,
    worlds: Sequence[WorldName],
    profile_path: Path,
    frames: int,
    workers: int,
    seed: int,
    randomise: bool = False,
    ray: str | None = None,
    episode_frames: int = EPISODE_FRAMES,
) -> dict[str, float]:
    """Drive until `frames` frames are on disk, spread evenly over the homes `worlds`.

    Every robot is placed once and drives on by itself, from episode to episode, using scan, bumper
    and odometry; with one home and one worker that is one robot. Neither map nor true pose is
    recorded or used. Episodes of an earlier run of the same call are kept.

    Args:
        workers: number of robots in parallel: processes here, or tasks of a Ray cluster.
        ray: address of the cluster, "auto", or "local" to start one on this machine. Episodes
            come back over the network; nodes need this package, but no shared disk.

    Returns:
        frames (in the folder), seconds, frames_per_second, bumps_per_minute (of this run).

    Raises:
        KeyboardInterrupt: on Ctrl-C, with a sentence that says what is kept.
        RuntimeError: a robot's process died, or Ray is not available.
    """
    profile = RobotProfile.load(profile_path)
    folder.mkdir(parents=True, exist_ok=True)
    planned = _plan(worlds, frames, workers, seed, randomise, episode_frames)
    left = [assignment for whole in planned if (assignment := whole.missing(folder))]
    total = sum(len(assignment.names) for assignment in planned)
    done = total - sum(len(assignment.names) for assignment in left)
    before, bumps, started = done, 0, time.perf_counter()
    if ray is None or not left:
        run = _on_processes(left, folder, profile, workers)
    else:
        run = _on_ray(left, folder, profile, workers, ray)
    columns = ("collecting", BarColumn(), MofNCompleteColumn(), "episodes", TimeRemainingColumn())
    try:
        with Progress(*columns) as progress:
            bar = progress.add_task("", total=total, completed=done)
            for bumped in run:
                done, bumps = done + 1, bumps + bumped
                progress.advance(bar)
    except KeyboardInterrupt:
        run.close()
        # Not `done`: a robot may have saved another one that it had no time to report.
        kept = sum((folder / name).exists() for whole in planned for name in whole.names)
        raise KeyboardInterrupt(
            f"{kept} of {total} episodes are kept in {folder}; the same command continues there"
        ) from None
    finally:
        run.close()
    seconds, fresh = time.perf_counter() - started, (done - before) * episode_frames
    return {
        "frames": total * episode_frames,
        "seconds": seconds,
        "frames_per_second": fresh / seconds,
        "bumps_per_minute": bumps / (fresh * PERIOD_S / 60) if fresh else 0.0,
    }


def _plan(
    worlds: Sequence[WorldName],
    frames: int,
    workers: int,
    seed: int,
    randomise: bool,
    episode_frames: int,
) -> list[Assignment]:
    """Robots for every worker, equally many per home; they share the episodes evenly."""
    episodes = -(-frames // episode_frames)
    count = min(episodes, len(worlds) * -(-workers // len(worlds)))
    assignments = []
    for k in range(count):
        world, own_seed = worlds[k % len(worlds)], seed * 100_000 + k
        drive = f"w{world}-{'r' if randomise else 's'}{own_seed:08d}"
        names = tuple(f"{drive}-{index:04d}.h5" for index in range(len(range(k, episodes, count))))
        assignments.append(Assignment(world, own_seed, names, randomise, episode_frames))
    return assignments


def _save(folder: Path, profile: RobotProfile, name: str, episode: Episode, source: str) -> int:
    """Write an episode and return its number of bumps."""
    save_episode(folder / name, episode, profile.name, source)
    return int(np.count_nonzero(np.diff(episode.bump.astype(int)) > 0))


# ----- processes of this machine


def _on_processes(
    assignments: Sequence[Assignment], folder: Path, profile: RobotProfile, workers: int
) -> Generator[int]:
    """Yields the number of bumps of each finished episode."""
    context = mp.get_context("spawn")
    reports: mp.Queue = context.Queue()
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    processes = [
        context.Process(
            target=_work,
            args=(assignments[k::workers], folder, profile, threads, reports),
            daemon=True,
        )
        for k in range(min(workers, len(assignments)))
    ]
    try:
        for process in processes:
            process.start()
        for _ in range(sum(len(assignment.names) for assignment in assignments)):
            yield _next_report(reports, processes)
    finally:
        started = [process for process in processes if process.pid is not None]
        for process in started:
            if process.is_alive():
                process.terminate()
        for process in started:
            process.join()
        for assignment in assignments:
            for name in assignment.names:
                (folder / name).with_suffix(".partial").unlink(missing_ok=True)


def _work(
    assignments: Sequence[Assignment],
    folder: Path,
    profile: RobotProfile,
    threads: int,
    reports: mp.Queue,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ.setdefault(_RENDER_THREADS, str(threads))
    for assignment in assignments:
        for name, episode, source in assignment.drive(profile):
            reports.put(_save(folder, profile, name, episode, source))


def _next_report(reports: mp.Queue, processes: list) -> int:
    while True:
        try:
            return reports.get(timeout=1.0)
        except queue.Empty:
            broken = [p for p in processes if p.exitcode not in (None, 0)]
            if broken:
                raise RuntimeError(
                    f"a collecting process died (exit code {broken[0].exitcode}), see above"
                ) from None


# ----- tasks of a Ray cluster


def _on_ray(
    assignments: Sequence[Assignment],
    folder: Path,
    profile: RobotProfile,
    workers: int,
    address: str,
) -> Generator[int]:
    """As `_on_processes`; the episodes are sent to this machine and written here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":  # a node that only this machine can reach
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise RuntimeError(
            "--ray needs Ray, which is not installed: pip install 'foresight[cluster]'"
        ) from None
    variables = {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"), _RENDER_THREADS: "1"}
    local: dict[str, Any] = (
        {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    )
    try:
        ray.init(address, runtime_env={"env_vars": variables}, log_to_driver=False, **local)
    except (ConnectionError, ValueError) as error:
        raise RuntimeError(f"no Ray cluster at {address!r} ({error})") from error
    task = ray.remote(num_returns="streaming", max_retries=0)(Assignment.drive)
    waiting = list(assignments)
    streams: list[Any] = []
    try:
        while waiting or streams:
            while waiting and len(streams) < workers:
                streams.append(task.remote(waiting.pop(0), profile))
            ready: Any = ray.wait(streams, num_returns=1)[0][0]
            try:
                episode = ray.get(next(ready))
            except StopIteration:
                streams.remove(ready)
            else:
                yield _save(folder, profile, *episode)
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"a collecting task died: {error}") from error
    finally:
        ray.shutdown()
