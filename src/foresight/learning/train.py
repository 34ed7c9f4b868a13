"""`foresight train`: from recorded drives to network weights."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from foresight.dynamics.losses import Windows, world_model_loss
from foresight.dynamics.networks import WorldModel
from foresight.learning.windows import Drives

BATCH = 48
LEARNING_RATE = 6e-4
WEIGHT_DECAY = 1e-4
CHECKPOINT_STEPS = 250
CHECKPOINT = "checkpoint.pt"


@dataclass
class Quality:
    """Prediction on drives not trained on; ratios below 1 beat the baseline.

    copy_last, shuffled: by number of actions ahead, the model's squared error over that of
    repeating the last latent, and over its own with another drive's actions.
    rank: effective rank of the latent. bump_auroc: of the one-action collision probability.
    """

    copy_last: dict[int, float]
    shuffled: dict[int, float]
    rank: float
    bump_auroc: float


def train_world_model(folder: Path, out: Path, steps: int, seed: int = 0) -> WorldModel:
    """Train encoder, predictor and relation head; resumes from `out/checkpoint.pt`.

    Ctrl-C stops after the step in hand and keeps a checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    drives = Drives(folder)
    torch.manual_seed(seed)
    model = WorldModel()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    first = _resume(out / CHECKPOINT, model, optimiser)
    generator = torch.Generator().manual_seed(seed * 7919 + first)
    log = (out / "curve.jsonl").open("a", encoding="utf-8")
    columns = ("training", BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn()) as progress, log:
        bar = progress.add_task("", total=steps, completed=first)
        for step in range(first, steps):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * _schedule(step, steps)
            pick = torch.randint(len(drives.starts), (BATCH,), generator=generator)
            windows = _with_lighting(drives.windows(drives.starts[pick]), generator)
            total, parts = _update(model, optimiser, windows)
            progress.update(bar, advance=1, description=f"loss {total:.3f}")
            if step % 50 == 0:
                log.write(json.dumps({"step": step, "loss": total, **parts}) + "\n")
                log.flush()
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                _save(out / CHECKPOINT, step + 1, model, optimiser)
    return model.eval()


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
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _with_lighting(windows: Windows, generator: torch.Generator) -> Windows:
    """Each window in a light of its own (gain and offset), as exposure and daylight vary."""
    gain = 1.0 + 0.1 * torch.randn(len(windows.image), 1, 1, 1, 1, generator=generator)
    offset = 6.0 * torch.randn(len(windows.image), 1, 1, 1, 1, generator=generator)
    windows.image = (windows.image * gain + offset).clamp(0, 255)
    return windows


def _save(
    path: Path, step: int, model: WorldModel, optimiser: torch.optim.Optimizer | None = None
) -> None:
    partial = path.with_suffix(".partial")
    state = {"step": step, "model": model.state_dict()}
    if optimiser is not None:
        state["optimiser"] = optimiser.state_dict()
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, model: WorldModel, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


@torch.no_grad()
def encode_all(model: WorldModel, image: Tensor, batch: int = 512) -> Tensor:
    """Latents (T, D) of frames (T, h, w, 3)."""
    model.eval()
    return torch.cat([model.encoder(part) for part in image.split(batch)])


@torch.no_grad()
def assess(model: WorldModel, drives: Drives, count: int = 1500, seed: int = 5) -> Quality:
    """Measure `Quality` on `count` windows of drives that were not trained on."""
    generator = torch.Generator().manual_seed(seed)
    starts = drives.starts[torch.randint(len(drives.starts), (count,), generator=generator)]
    windows = drives.windows(starts)
    latent = encode_all(model, windows.image.flatten(0, 1)).view(count, drives.steps + 1, -1)
    wrong = windows.action[torch.randperm(count, generator=generator)]
    right_error, logit = _rollout_errors(model, latent, windows.proprioception[:, 0], windows.action)
    wrong_error, _ = _rollout_errors(model, latent, windows.proprioception[:, 0], wrong)
    copy_error = (latent[:, 1:] - latent[:, :1]).square().mean((0, 2))
    ahead = range(1, drives.steps + 1)
    singular = torch.linalg.svdvals(latent[:, 0] - latent[:, 0].mean(0))
    share = singular / singular.sum()
    return Quality(
        {k: float(right_error[k - 1] / copy_error[k - 1]) for k in ahead},
        {k: float(right_error[k - 1] / wrong_error[k - 1]) for k in ahead},
        float(torch.exp(-(share * (share + 1e-12).log()).sum())),
        auroc(logit, windows.bump[:, 0]),
    )


def _rollout_errors(
    model: WorldModel, latent: Tensor, body: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared error per step ahead (K,), and the first step's bump logits (B,)."""
    state, errors, logits = latent[:, 0], [], []
    for k in range(action.shape[1]):
        step = model.predictor(state, body, action[:, k])
        state, body = step.latent, step.proprioception
        errors.append((state - latent[:, k + 1]).square().mean())
        logits.append(step.bump_logit)
    return torch.stack(errors), logits[0]


def auroc(score: Tensor, label: Tensor) -> float:
    """Area under the ROC curve of a score (N,) for labels (N,) in {0, 1}; NaN with one class."""
    positive = label > 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return math.nan
    rank = score.argsort().argsort().double() + 1
    return float((rank[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def report(quality: Quality) -> str:
    """The figures on one line each."""
    ratios = [f"{k}: {quality.copy_last[k]:.3f}/{quality.shuffled[k]:.3f}" for k in (1, 2, 4, 8)]
    return (
        f"error ratio copy-last/shuffled by actions ahead: {', '.join(ratios)}; "
        f"effective rank {quality.rank:.1f}; bump AUROC {quality.bump_auroc:.3f}"
    )
