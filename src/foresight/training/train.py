"""`foresight train`: from recorded drives to network weights."""

from __future__ import annotations

import hashlib
import math
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import h5py
import numpy as np
import torch
from pydantic import TypeAdapter

from foresight import __version__, bundle, resources
from foresight.bodies import AnyBody, body_of
from foresight.bodies.profile import ProfileError, RobotProfile
from foresight.bundle.manifest import Calibration, Manifest
from foresight.data.dataset import episode_files
from foresight.data.windows import Drives
from foresight.training.calibrate import calibrate, encode_all
from foresight.training.distance import build_teacher, refine_relation, train_distance, train_policy
from foresight.training.journal import CURVE, Journal
from foresight.training.monitor import complaint, examine
from foresight.training.pretrained import load_pretrained, match_normalisation
from foresight.world_model.distributed import ALONE, Team, average, disband, join, share_statistics
from foresight.world_model.losses import Windows, world_model_loss
from foresight.world_model.motion import motion_of
from foresight.world_model.networks import WorldModel

BATCH = 48
LEARNING_RATE = 6e-4
FINE_TUNING_RATE = 3e-4
WEIGHT_DECAY = 1e-4
LOG_STEPS, CHECK_STEPS, CHECKPOINT_STEPS = 10, 100, 250
CHECK_WINDOWS = 64
CHECKPOINT = "checkpoint.pt"
TRAINED = "trained.pt"


class TrainingError(ValueError):
    """Training cannot start or its result cannot be read; the message names the file."""


@dataclass
class Trained:
    """What training leaves behind: networks, the body that they were trained for, and what was
    measured on held-out drives."""

    model: WorldModel
    body: AnyBody
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
    device: str | None = None,
    robot: Path | None = None,
) -> Trained:
    """The whole recipe: world model, then the distance head on its latents, then calibration.

    Args:
        data: recorded drives.
        out: folder for checkpoints, the learning curve and the result; training resumes from it.
        held_out: drives to measure on; None keeps every 10th episode of `data` out for it.
        start: a bundle whose weights to start from, at a gentler learning rate; None starts afresh.
        device: "cpu" or "cuda"; None takes the GPU if there is one.
        robot: profile of the robot that made the drives; None: the drives name it, and the shipped
            profile of that name or the bundle `start` describes it.

    Raises:
        DatasetError: the data set is missing or damaged.
        BundleError: the bundle `start` is damaged or comes from other networks.
        ProfileError: the robot profile is wrong.
        TrainingError: the robot is unknown, there is nothing to train on besides what is held out,
            the checkpoint in `out` is damaged or comes from other settings, or the run is hopeless.
        SystemExit: this is not the leading process of several; what follows is for one alone.
    """
    team = join(device)
    files = episode_files(data)
    kept = episode_files(held_out) if held_out else files[9::10] or files[-1:]
    used = [file for file in files if file not in kept]
    if not used:
        raise TrainingError(f"{data}: every episode is held out; collect more")
    parent = bundle.load(start).manifest if start else None
    drives = Drives(used)
    body = body_of(RobotProfile.load(robot)) if robot else _body_that_drove(files, parent)
    started = time.perf_counter()
    held = Drives(kept)
    model = train_world_model(drives, body, out, steps, seed, start, held, team)
    disband()
    if not team.leads:
        raise SystemExit(0)
    latent = encode_all(model, drives.image)
    model.cpu()
    refine_relation(model, drives, latent, distance_steps // 2, seed=seed)
    motion = motion_of(body)
    teacher = build_teacher(model, drives, latent, motion, seed=seed)
    train_distance(model, drives, latent, teacher, motion, distance_steps, seed=seed)
    train_policy(model, drives, latent, distance_steps // 4, seed=seed)
    calibration, quality = calibrate(model, held, parent.calibration if parent else None)
    training: dict[str, str | int | float] = {
        "frames": len(drives),
        "steps": steps,
        "distance_steps": distance_steps,
        "seed": seed,
        "loop_closures": teacher.closures,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "code_version": __version__,
    }
    result = Trained(model, body, calibration, quality.metrics(), training)
    save_trained(out, result)
    return result


def _body_that_drove(files: Sequence[Path], parent: Manifest | None) -> AnyBody:
    """The body of the robot that these episodes name."""
    names = set()
    for file in files:
        with h5py.File(file, "r") as episode:
            names.add(str(episode.attrs.get("robot")))
    if len(names) > 1:
        raise TrainingError(
            f"{files[0].parent}: the drives are of several robots, {', '.join(sorted(names))}; "
            "give the profile to train for with --robot"
        )
    (name,) = names
    try:
        profile = RobotProfile.load(resources.robot_profile().with_name(f"{name}.yaml"))
        if profile.name == name:
            return body_of(profile)
    except (ProfileError, resources.ResourceError):
        pass
    if parent is not None and parent.body.robot == name:
        return parent.body
    raise TrainingError(
        f"{files[0].parent}: the drives are of the robot '{name}', of which no profile is shipped; "
        "give its profile with --robot"
    )


def save_trained(out: Path, trained: Trained) -> None:
    """Write weights and figures to `out`; `load_trained` reads them."""
    state = {"model": trained.model.state_dict(), "calibration": trained.calibration.model_dump()}
    state["body"] = trained.body.model_dump()
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
        state = torch.load(path, map_location="cpu", weights_only=True)
        body = TypeAdapter(AnyBody).validate_python(state["body"])
        model = WorldModel(body)
        model.load_state_dict(state["model"])
        calibration = Calibration(**state["calibration"])
        return Trained(model.eval(), body, calibration, state["metrics"], state["training"])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Whatever PyTorch raises for a file that it cannot read becomes one sentence."""
    faults = (RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError)
    try:
        yield
    except faults as error:
        reason = str(error).strip().split("\n")[0].rstrip(":. ") or type(error).__name__
        raise TrainingError(
            f"{path}: damaged or of another version ({reason}); delete it and run the same "
            f"`foresight train` again, which goes on from its checkpoint"
        ) from error


def train_world_model(
    drives: Drives,
    body: AnyBody,
    out: Path,
    steps: int,
    seed: int,
    start: Path | None = None,
    held: Drives | None = None,
    team: Team = ALONE,
) -> WorldModel:
    """Train encoder, predictor and relation head; resumes from `out/checkpoint.pt`.

    Everything random is drawn by seed and update alone, so that a run which was interrupted ends
    as one which was not. Leaves TensorBoard's event files and `curve.png` in `out`.

    Args:
        held: drives to measure on meanwhile; None: no curve of prediction error and no alarm.

    Raises:
        BundleError: see `train`.
        TrainingError: the checkpoint is damaged or comes from other settings, or going on is
            hopeless.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = _settings(drives, body, steps, seed, start)
    model, optimiser = _begin(drives, body, seed, start, team)
    path = out / CHECKPOINT
    first, rows = _resume(path, settings, model, optimiser)
    if average(team, [first]) != [first]:
        raise TrainingError(f"{path}: not the same for all processes; put --out where all see it")
    rate = LEARNING_RATE if start is None else FINE_TUNING_RATE
    sample = _held_out_windows(held) if held is not None and team.leads else None
    trouble, leave = None, False

    def save(done: int) -> None:
        if team.leads:
            state = {"settings": settings, "step": done, "curve": rows}
            state |= {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            _save(path, state)

    journal = Journal(out, first, steps, rows, silent=not team.leads)
    with journal, _signals_noted() as signals:
        for step, windows in _batches(drives, first, steps, seed, team.share(BATCH)):
            for group in optimiser.param_groups:
                group["lr"] = rate * _schedule(step, steps)
            torch.manual_seed(_number(seed, step))
            leave = bool(signals) or trouble is not None
            losses, norm, leave = _update(model, optimiser, windows, team, leave)
            done = step + 1
            if not math.isfinite(losses["total"] + norm):
                raise TrainingError(
                    f"stopped before update {done}: loss {losses['total']}, gradient {norm}; look "
                    f"at the data, or try another --seed with another --out; {path} is still sound"
                )
            journal.show(done, losses["total"])
            if step % LOG_STEPS == 0:
                journal.record(done, "loss", losses)
                now = {"rate": optimiser.param_groups[0]["lr"], "gradient_norm": norm}
                journal.record(done, "optimiser", now)
            if sample is not None and (done % CHECK_STEPS == 0 or done == steps):
                health = examine(model, sample)
                journal.record(done, "held_out", health)
                trouble = complaint(health, done)
            if leave or done % CHECKPOINT_STEPS == 0 or done == steps:
                save(done)
            if leave:
                break
    if trouble is not None:
        raise TrainingError(f"stopped early: {trouble}; see {out / CURVE}")
    if leave or signals:
        raise KeyboardInterrupt
    return model.eval()


def _begin(
    drives: Drives, body: AnyBody, seed: int, start: Path | None, team: Team
) -> tuple[WorldModel, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = WorldModel(body)
    if start is not None:
        load_pretrained(model, start)
        some = torch.randint(len(drives), (512,), generator=torch.Generator().manual_seed(seed))
        match_normalisation(model.encoder, drives.image[some])
    if team.size > 1:
        share_statistics(model)
    model.to(team.device)
    return model, torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY, fused=True)


def _batches(
    drives: Drives, first: int, last: int, seed: int, share: slice
) -> Iterator[tuple[int, Windows]]:
    """(update, this process's share of its windows); the next ones are drawn meanwhile."""

    def draw(step: int) -> Windows:
        generator = torch.Generator().manual_seed(_number(seed, step))
        starts = drives.starts[torch.randint(len(drives.starts), (BATCH,), generator=generator)]
        return _with_lighting(drives.windows(starts, generator, share), generator, share)

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(draw, first)
        for step in range(first, last):
            windows = following.result()
            if step + 1 < last:
                following = pool.submit(draw, step + 1)
            yield step, windows


def _number(seed: int, step: int) -> int:
    """What seeds the random numbers of one update."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _held_out_windows(held: Drives) -> Windows:
    generator = torch.Generator().manual_seed(0)
    pick = torch.randint(len(held.starts), (CHECK_WINDOWS,), generator=generator)
    return held.windows(held.starts[pick], generator)


def _update(
    model: WorldModel,
    optimiser: torch.optim.Optimizer,
    windows: Windows,
    team: Team,
    leave: bool,
) -> tuple[dict[str, float], float, bool]:
    """One step down, unless a number is not finite.

    Returns:
        losses of the global batch, norm of the gradient, and whether any process wants to leave.
    """
    windows = Windows(**{k: v.to(team.device, non_blocking=True) for k, v in vars(windows).items()})
    with torch.autocast(team.device.type, torch.bfloat16):
        loss, parts = world_model_loss(model, windows)
    optimiser.zero_grad()
    loss.backward()
    figures = [float(leave), float(loss.detach()), *parts.values()]
    leaving, *losses = average(team, figures, model.parameters())
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    if math.isfinite(losses[0] + norm):
        optimiser.step()
    return dict(zip(["total", *parts], losses, strict=True)), norm, leaving > 0


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are only noted, so that the update in hand ends; a repeated one counts.

    One of each does not: at Ctrl-C a process of `torchrun` gets both.
    """
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if number in noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _schedule(step: int, steps: int) -> float:
    """Short warm-up, then cosine to 2%."""
    warm = min(1.0, (step + 1) / min(100, 0.025 * steps))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _with_lighting(windows: Windows, generator: torch.Generator, share: slice) -> Windows:
    """Each window in a light of its own (gain and offset), as exposure and daylight vary."""
    for images in (windows.image, windows.pair_image):
        gain = 1.0 + 0.1 * torch.randn((BATCH, 1), generator=generator)[share]
        offset = 6.0 * torch.randn((BATCH, 1), generator=generator)[share]
        tables = (gain * torch.arange(256) + offset).round().clamp(0, 255).to(torch.uint8)
        for window, table in zip(images.flatten(1).numpy(), tables.numpy(), strict=True):
            cv2.LUT(window, table, window)
    return windows


def _save(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _settings(
    drives: Drives, body: AnyBody, steps: int, seed: int, start: Path | None
) -> dict[str, str | int]:
    """All that a run's result depends on, to know it again."""
    driven = torch.cat([drives.pose.flatten(), drives.action.flatten()]).numpy()
    return {
        "data": hashlib.sha256(driven.tobytes()).hexdigest(),
        "robot": hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
        "steps": steps,
        "seed": seed,
        "from": "" if start is None else bundle.load(start).digest,
    }


def _resume(
    path: Path,
    settings: dict[str, str | int],
    model: WorldModel,
    optimiser: torch.optim.Optimizer,
) -> tuple[int, list[dict[str, float]]]:
    """Load a checkpoint, if there is one: updates done, and the curve so far."""
    if not path.exists():
        return 0, []
    with _damage_named(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        made_with, done, rows = dict(state["settings"]), int(state["step"]), list(state["curve"])
    for name, value in settings.items():
        # Older checkpoints do not tell the robot; their networks are as good for this one.
        if (before := made_with.get(name, value)) != value:
            raise TrainingError(
                f"{path}: begun with another --{name} ({str(before)[:12]}, "
                f"not {str(value)[:12]}); repeat that, or give another --out"
            )
    with _damage_named(path):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    return done, rows
