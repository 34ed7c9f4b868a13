"""Commissioning: a robot gets to know a new home by driving itself there, and a copy of its world
model is trained on that. Sensors only: no map, no true pose."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from foresight import bundle as bundles
from foresight.bundle import BundleError
from foresight.data.collect import EPISODE_FRAMES, collect
from foresight.data.dataset import PERIOD_S
from foresight.training.export import export_trained
from foresight.training.train import TRAINED, train

FRAMES_PER_MINUTE = round(60 / PERIOD_S)
STEPS, DISTANCE_STEPS = 3500, 4000


def commission(
    bundle: Path, robot: Path, world: int, minutes: float, work: Path, seed: int, console: Console
) -> Path:
    """Collect, train from `bundle`, export. What is already complete in `work` is used again.

    Args:
        minutes: simulated driving, rounded up to whole episodes; training needs two of them.
        work: folder of all commissionings; this one's is named by world, minutes and bundle.

    Returns:
        the adapted bundle.

    Raises:
        ValueError, RuntimeError: what collecting, training and exporting raise.
    """
    digest = bundles.load(bundle).digest[:12]
    folder = work / f"world-{world}-{minutes:g}min-{digest}-seed{seed}"
    data, checkpoint, adapted = (folder / name for name in ("data", "checkpoint", "bundle"))
    if _whole(adapted):
        console.print(f"world {world}: commissioned before, {adapted}")
        return adapted
    frames = round(minutes * FRAMES_PER_MINUTE)
    if len(list(data.glob("*.h5"))) < -(-frames // EPISODE_FRAMES):
        console.print(f"world {world}: the robot drives itself for {minutes:g} minutes, {data}")
        collect(data, [world], robot, frames, 1, seed)
    if not (checkpoint / TRAINED).exists():
        console.print(f"world {world}: training from {bundle}, {checkpoint}")
        train(data, checkpoint, None, STEPS, DISTANCE_STEPS, seed, start=bundle, robot=robot)
    export_trained(checkpoint, adapted, robot)
    console.print(f"world {world}: commissioned, {adapted}")
    return adapted


def _whole(folder: Path) -> bool:
    try:
        bundles.load(folder)
    except BundleError:
        return False
    return True
