"""Speed of world model updates, as in `foresight train`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from foresight import resources
from foresight.apps.bench.matmul import torch_rate
from foresight.bodies.differential_drive import DifferentialDrive
from foresight.bodies.profile import RobotProfile
from foresight.data.dataset import PERIOD_S, Episode, save_episode
from foresight.data.windows import Drives
from foresight.training import train as training
from foresight.world_model.distributed import Team, join

_WARM_UP = 3
_FRAMES, _SPEED = 400, (0.3, 0.5)  # m/s, rad/s


def train(device: str | None = None, updates: int = 20) -> dict[str, float]:
    """Frames a second that updates learn from, drawing them included, against their matrix
    products (forward and backward) at the best rate of float32 and bfloat16.

    What pictures show makes no difference to the time: they are noise.
    """
    team = join(device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "0.h5"
        save_episode(file, _circles(), "bench", "noise")
        drives = Drives([file])
        kinds = (torch.float32, torch.bfloat16)
        before = torch_rate(team.device, *kinds)
        frames, seconds, flops = _updates(drives, team, updates)
        rate = max(before, torch_rate(team.device, *kinds))
    return {
        "per_second": frames / seconds,
        "limit_ratio": flops / (1e9 * rate) / seconds,
        "updates_per_second": updates / seconds,
        "peak_gflops": rate,
        "threads": torch.get_num_threads(),
    }


def _updates(drives: Drives, team: Team, count: int) -> tuple[int, float, float]:
    """Frames, seconds and operations of `count` updates."""
    body = DifferentialDrive.of(RobotProfile.load(resources.robot_profile()))
    model, optimiser = training._begin(drives, body, 0, None, team)
    batches = training._batches(drives, 0, _WARM_UP + count, 0, team.share(training.BATCH))

    def update() -> int:
        _, windows = next(batches)
        training._update(model, optimiser, windows, team, False)
        return windows.image[..., 0, 0, 0].numel() + windows.pair_image[..., 0, 0, 0].numel()

    with FlopCounterMode(display=False) as counter:
        update()
    for _ in range(_WARM_UP - 1):
        update()
    started = time.perf_counter()
    frames = sum(update() for _ in range(count))
    return frames, time.perf_counter() - started, count * counter.get_total_flops()


def _circles() -> Episode:
    """A drive in circles with noise as pictures."""
    rng = np.random.default_rng(0)
    linear, angular = _SPEED
    yaw = angular * PERIOD_S * np.arange(_FRAMES)
    radius_m = linear / angular
    twist = np.broadcast_to(np.array(_SPEED, np.float32), (_FRAMES, 2))
    pose = np.stack([radius_m * np.sin(yaw), radius_m * (1 - np.cos(yaw)), yaw], 1)
    return Episode(
        rng.integers(0, 256, (_FRAMES, 60, 80, 3), np.uint8),
        np.concatenate([pose, twist], 1).astype(np.float32),
        twist,
        np.zeros(_FRAMES, np.uint8),
    )
