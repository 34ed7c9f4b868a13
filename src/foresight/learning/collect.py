"""`foresight collect`: simulated robots drive themselves around a home and record what they see."""

from __future__ import annotations

import multiprocessing as mp
import queue
import time
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from foresight.bundle.manifest import ImageSpec
from foresight.control.limits import VelocityLimiter
from foresight.learning.dataset import PERIOD_S, Episode, save_episode
from foresight.learning.wander import Wanderer
from foresight.perception.image import to_model
from foresight.robot import RobotProfile
from foresight.sim.apartment import Apartment, free_space
from foresight.sim.robot import Simulator

EPISODE_FRAMES = 1000


def collect(
    folder: Path, world: int, profile_path: Path, frames: int, workers: int, seed: int
) -> dict[str, float]:
    """Drive until `frames` frames are on disk.

    Each worker is one robot that somebody put down once; from then on it drives on by itself, from
    episode to episode, on scan and bumper. Neither map nor true pose is recorded or used.

    Returns:
        frames, seconds, frames_per_second, bumps_per_minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    episodes = -(-frames // EPISODE_FRAMES)
    context = mp.get_context("spawn")
    reports: mp.Queue = context.Queue()
    shares = [len(range(k, episodes, workers)) for k in range(workers)]
    processes = [
        context.Process(
            target=_drive,
            args=(folder, world, profile_path, share, seed * 1000 + k, k, reports),
            daemon=True,
        )
        for k, share in enumerate(shares)
    ]
    started = time.perf_counter()
    for process in processes:
        process.start()
    bumps = done = 0
    columns = ("collecting", BarColumn(), MofNCompleteColumn(), "episodes", TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=episodes)
        while done < episodes:
            bumps += _next_report(reports, processes)
            done += 1
            progress.advance(bar)
    seconds = time.perf_counter() - started
    total = episodes * EPISODE_FRAMES
    return {
        "frames": total,
        "seconds": seconds,
        "frames_per_second": total / seconds,
        "bumps_per_minute": bumps / (total * PERIOD_S / 60),
    }


def _next_report(reports: mp.Queue, processes: list) -> int:
    while True:
        try:
            return reports.get(timeout=1.0)
        except queue.Empty:
            broken = [p for p in processes if p.exitcode not in (None, 0)]
            if broken:
                raise RuntimeError(
                    f"a collecting robot died (exit code {broken[0].exitcode}), see above"
                ) from None


def _drive(
    folder: Path,
    world: int,
    profile_path: Path,
    episodes: int,
    seed: int,
    worker: int,
    reports: mp.Queue,
) -> None:
    profile = RobotProfile.load(profile_path)
    simulator = Simulator(Apartment(world), profile, seed)
    simulator.reset(_put_down(simulator.apartment, profile, seed))
    driver, limiter = Wanderer(profile, seed), VelocityLimiter(profile.limits)
    for index in range(episodes):
        episode = record(simulator, driver, limiter, EPISODE_FRAMES)
        name = f"w{world}-s{seed:06d}-{index:04d}.h5"
        save_episode(folder / name, episode, profile.name, f"home {world}, wandering")
        reports.put(int(np.count_nonzero(np.diff(episode.bump.astype(int)) > 0)))
    simulator.close()


def record(
    simulator: Simulator, driver: Wanderer, limiter: VelocityLimiter, frames: int
) -> Episode:
    """Drive on for `frames` frames and return what the robot sensed and did."""
    view = ImageSpec(hfov_deg=simulator.profile.camera.hfov_deg)
    images, odometry, commands, bumps = [], [], [], []
    for _ in range(frames):
        reading = simulator.odometry()
        images.append(to_model(simulator.render(), view))
        odometry.append((reading.x, reading.y, reading.yaw, reading.linear, reading.angular))
        bumps.append(simulator.bumper)
        pose = np.array([reading.x, reading.y, reading.yaw])
        wish = driver.act(simulator.scan(), simulator.bumper, pose, PERIOD_S)
        command = limiter.step(*wish, PERIOD_S)
        commands.append(command)
        simulator.step(*command, PERIOD_S)
    return Episode(
        np.stack(images),
        np.array(odometry, np.float32),
        np.array(commands, np.float32),
        np.array(bumps, np.uint8),
    )


def _put_down(apartment: Apartment, profile: RobotProfile, seed: int) -> tuple[float, float, float]:
    free = free_space(apartment.occupied(), profile.footprint_radius_m + 0.15)
    rows, columns = np.nonzero(free)
    rng = np.random.default_rng([17, seed])
    k = int(rng.integers(len(rows)))
    return (columns[k] + 0.5) * 0.05, (rows[k] + 0.5) * 0.05, float(rng.uniform(-np.pi, np.pi))
