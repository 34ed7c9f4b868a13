"""`foresight train`: from recorded drives to network weights."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foresight import __version__
from foresight.bundle.manifest import Calibration
from foresight.dynamics.losses import Windows, world_model_loss
from foresight.dynamics.networks import WorldModel
from foresight.learning.calibrate import calibrate, encode_all
from foresight.learning.dataset import episode_files
from foresight.learning.distance import build_teacher, refine_relation, train_distance, train_policy
from foresight.learning.pretrained import load_pretrained, match_normalisation
from foresight.learning.windows import Drives

BATCH = 48
LEARNING_RATE = 6e-4
FINE_TUNING_RATE = 3e-4
WEIGHT_DECAY = 1e-4
CHECKPOINT_STEPS = 250
CHECKPOINT = "checkpoint.pt"
TRAINED = "trained.pt"


class TrainingError(ValueError):
    """Training cannot start or its result cannot be read; the message names the file."""


@dataclass
class Trained:
    """What training leaves behind: networks, and what was measured on held-out drives."""

    model: WorldModel
    calibration: Calibration
    metrics: dict[str, float]
    training: dict[str, str | int | float]


def train(
    data: Path,
    out: Path,
    held_out: Path | None,
    steps: int,
    distance_steps: int,
    seed: int,
    start: Path | None = None,
) -> Trained:
    """The whole recipe: world model, then the distance head on its latents, then calibration.

    Args:
        data: recorded drives.
        out: folder for checkpoints, the learning curve and the result; training resumes from it.
        held_out: drives to measure on; None keeps every 10th episode of `data` out for it.
        start: a bundle whose weights to start from, at a gentler learning rate; None starts afresh.

    Raises:
        DatasetError: the data set is missing or damaged.
        BundleError: the bundle `start` is damaged or comes from other networks.
        TrainingError: there is nothing to train on besides what is held out, or the checkpoint in
            `out` is damaged.
    """
    files = episode_files(data)
    kept = episode_files(held_out) if held_out else files[9::10] or files[-1:]
    used = [file for file in files if file not in kept]
    if not used:
        raise TrainingError(f"{data}: every episode is held out; collect more")
    drives = Drives(used)
    started = time.perf_counter()
    model = train_world_model(drives, out, steps, seed, start)
    latent = encode_all(model, drives.image)
    refine_relation(model, drives, latent, distance_steps // 2, seed=seed)
    teacher = build_teacher(model, drives, latent, seed=seed)
    train_distance(model, drives, latent, teacher, distance_steps, seed=seed)
    train_policy(model, drives, latent, distance_steps // 4, seed=seed)
    calibration, quality = calibrate(model, Drives(kept))
    training: dict[str, str | int | float] = {
        "frames": len(drives),
        "steps": steps,
        "distance_steps": distance_steps,
        "seed": seed,
        "loop_closures": teacher.closures,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "code_version": __version__,
    }
    result = Trained(model, calibration, quality.metrics(), training)
    save_trained(out, result)
    return result


def save_trained(out: Path, trained: Trained) -> None:
    """Write weights and figures to `out`; `load_trained` reads them."""
    state = {"model": trained.model.state_dict(), "calibration": trained.calibration.model_dump()}
    _save(out / TRAINED, state | {"metrics": trained.metrics, "training": trained.training})


def load_trained(folder: Path) -> Trained:
    """Read what `train` left in a folder (weights only: no code is unpickled).

    Raises:
        TrainingError: nothing usable is there.
    """
    path = folder / TRAINED
    if not path.exists():
        raise TrainingError(f"{path}: not there; run `foresight train --out {folder}`")
    with _damage_named(path):
        state = torch.load(path, weights_only=True)
        model = WorldModel()
        model.load_state_dict(state["model"])
        calibration = Calibration(**state["calibration"])
        return Trained(model.eval(), calibration, state["metrics"], state["training"])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Whatever PyTorch raises for a file that it cannot read becomes one sentence."""
    faults = (RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError)
    try:
        yield
    except faults as error:
        reason = " ".join(str(error).split(".")[0].split()) or type(error).__name__
        raise TrainingError(
            f"{path}: damaged or of another version ({reason}); delete it and train again"
        ) from error


def train_world_model(
    drives: Drives, out: Path, steps: int, seed: int, start: Path | None = None
) -> WorldModel:
    """Train encoder, predictor and relation head; resumes from `out/checkpoint.pt`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = WorldModel()
    rate = LEARNING_RATE
    if start is not None:
        rate = FINE_TUNING_RATE
        load_pretrained(model, start)
        some = torch.randint(len(drives), (512,), generator=torch.Generator().manual_seed(seed))
        match_normalisation(model.encoder, drives.image[some])
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, fused=True
    )
    first = _resume(out / CHECKPOINT, model, optimiser)
    log = (out / "curve.jsonl").open("a", encoding="utf-8")
    columns = ("training", BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn()) as progress, log:
        bar = progress.add_task("", total=steps, completed=first)
        for step, windows in _batches(drives, first, steps, seed):
            for group in optimiser.param_groups:
                group["lr"] = rate * _schedule(step, steps)
            total, parts = _update(model, optimiser, windows)
            progress.update(bar, advance=1, description=f"loss {total:.3f}")
            if step % 50 == 0:
                log.write(json.dumps({"step": step, "loss": total, **parts}) + "\n")
                log.flush()
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                state = {"step": step + 1, "model": model.state_dict()}
                _save(out / CHECKPOINT, state | {"optimiser": optimiser.state_dict()})
    return model.eval()


def _batches(drives: Drives, first: int, last: int, seed: int) -> Iterator[tuple[int, Windows]]:
    """(step, its windows), drawn by seed and step alone, the next ones while these are used."""

    def draw(step: int) -> Windows:
        number = np.random.SeedSequence([seed, step]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(number))
        starts = drives.starts[torch.randint(len(drives.starts), (BATCH,), generator=generator)]
        return _with_lighting(drives.windows(starts, generator), generator)

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(draw, first)
        for step in range(first, last):
            windows = following.result()
            if step + 1 < last:
                following = pool.submit(draw, step + 1)
            yield step, windows


def _update(
    model: WorldModel, optimiser: torch.optim.Optimizer, windows: Windows
) -> tuple[float, dict[str, float]]:
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = world_model_loss(model, windows)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()), parts


def _schedule(step: int, steps: int) -> float:
    """Short warm-up, then cosine to 2%."""
    warm = min(1.0, (step + 1) / min(100, 0.025 * steps))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _with_lighting(windows: Windows, generator: torch.Generator) -> Windows:
    """Each window in a light of its own (gain and offset), as exposure and daylight vary."""
    for images in (windows.image, windows.pair_image):
        gain = 1.0 + 0.1 * torch.randn((len(images), 1), generator=generator)
        offset = 6.0 * torch.randn((len(images), 1), generator=generator)
        tables = (gain * torch.arange(256) + offset).round().clamp(0, 255).to(torch.uint8)
        for window, table in zip(images.flatten(1).numpy(), tables.numpy(), strict=True):
            cv2.LUT(window, table, window)
    return windows


def _save(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, model: WorldModel, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    with _damage_named(path):
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])
