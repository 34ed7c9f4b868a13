"""Thresholds and quality figures, measured on drives that were not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foresight.bundle.manifest import Calibration
from foresight.dynamics.losses import displacement
from foresight.dynamics.networks import WorldModel
from foresight.learning.windows import Drives, Pictures

SURPRISE_QUANTILE = 0.99
ARRIVED_QUANTILE = 0.9
_HERE_M, _HERE_RAD = 0.15, math.radians(12)


@dataclass
class Quality:
    """Prediction on held-out drives; ratios below 1 beat the baseline.

    copy_last, shuffled: by number of actions ahead, the model's squared error over that of
    repeating the last latent, and over its own with another drive's actions.
    rank: effective rank of the latent. bump_auroc: of the one-action collision probability.
    """

    copy_last: dict[int, float]
    shuffled: dict[int, float]
    rank: float
    bump_auroc: float

    def metrics(self) -> dict[str, float]:
        """The figures by name, for the manifest; without those that the drives cannot show."""
        ratios = {
            f"error_ratio_{name}_{k}": round(ratio[k], 4)
            for name, ratio in (("copy_last", self.copy_last), ("shuffled_actions", self.shuffled))
            for k in (1, 2, 4, 8)
        }
        figures = ratios | {
            "effective_rank": round(self.rank, 1),
            "bump_auroc": round(self.bump_auroc, 4),
        }
        return {name: value for name, value in figures.items() if math.isfinite(value)}


@torch.no_grad()
def encode_all(model: WorldModel, image: Pictures, batch: int = 512) -> Tensor:
    """Latents (T, D) of frames (T, h, w, 3), on the CPU wherever the model is."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model.encoder(part.to(device)).cpu() for part in image.split(batch)])


@torch.no_grad()
def calibrate(
    model: WorldModel, drives: Drives, count: int = 1500, seed: int = 5
) -> tuple[Calibration, Quality]:
    """Measure on `count` windows of held-out drives."""
    generator = torch.Generator().manual_seed(seed)
    starts = drives.starts[torch.randint(len(drives.starts), (count,), generator=generator)]
    frames = starts[:, None] + drives.ticks * torch.arange(drives.steps + 1)
    encoded = encode_all(model, drives.image)
    latent, action = encoded[frames], drives.action[frames[:, :-1]]
    body = drives.proprioception[starts]
    error, logit = _rollout_errors(model, latent, body, action)
    order = torch.randperm(count, generator=generator)
    wrong_error, _ = _rollout_errors(model, latent, body, action[order])
    copy_error = (latent[:, 1:] - latent[:, :1]).square().mean(2)
    ratio, wrong_ratio = error.mean(0) / copy_error.mean(0), error.mean(0) / wrong_error.mean(0)
    quality = Quality(
        {k + 1: float(value) for k, value in enumerate(ratio)},
        {k + 1: float(value) for k, value in enumerate(wrong_ratio)},
        _effective_rank(latent[:, 0]),
        auroc(logit, drives.bump[starts]),
    )
    calibration = Calibration(
        surprise_scale=float(error[:, 0].quantile(SURPRISE_QUANTILE)),
        arrived_gap=_arrived_gap(model, drives, encoded, generator),
    )
    return calibration, quality


def _rollout_errors(
    model: WorldModel, latent: Tensor, body: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared error by start and steps ahead (B, K), and the first step's bump logits (B,)."""
    state, errors, logits = latent[:, 0], [], []
    for k in range(action.shape[1]):
        step = model.predictor(state, body, action[:, k])
        state, body = step.latent, step.proprioception
        errors.append((state - latent[:, k + 1]).square().mean(1))
        logits.append(step.bump_logit)
    return torch.stack(errors, 1), logits[0]


def _effective_rank(latent: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007)."""
    singular = torch.linalg.svdvals(latent - latent.mean(0))
    share = singular / singular.sum()
    return float(torch.exp(-(share * (share + 1e-12).log()).sum()))


def _arrived_gap(
    model: WorldModel, drives: Drives, latent: Tensor, generator: torch.Generator
) -> float:
    """The distance energy that most views from within an arm's length stay below."""
    start = drives.starts[torch.randint(len(drives.starts), (20000,), generator=generator)]
    end = start + torch.randint(1, 30, (len(start),), generator=generator)
    offset = displacement(drives.pose[start], drives.pose[end])
    here = torch.hypot(offset[:, 0], offset[:, 1]) < _HERE_M
    here &= torch.atan2(offset[:, 2], offset[:, 3]).abs() < _HERE_RAD
    here &= drives.free_between(start, end)
    energy = model.distance_energy(latent[start[here]], latent[end[here]])
    return float(energy.quantile(ARRIVED_QUANTILE))


def auroc(score: Tensor, label: Tensor) -> float:
    """Area under the ROC curve of a score (N,) for labels (N,) in {0, 1}; NaN with one class."""
    positive = label > 0.5
    hits, misses = int(positive.sum()), int((~positive).sum())
    if hits == 0 or misses == 0:
        return math.nan
    rank = score.argsort().argsort().double() + 1
    return float((rank[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
