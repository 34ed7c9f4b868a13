"""Thresholds and quality figures, measured on drives that were not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foresight.bundle.manifest import Calibration, Scale
from foresight.data.dataset import PERIOD_S
from foresight.data.windows import Drives, Pictures
from foresight.runtime.belief import evidence
from foresight.training.scores import auroc, effective_rank
from foresight.world_model.losses import displacement
from foresight.world_model.networks import WorldModel

FALSE_ALARMS_PER_MINUTE = 0.01
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


def calibrate(
    model: WorldModel,
    drives: Drives,
    parent: Calibration | None = None,
    count: int = 3000,
    seed: int = 5,
) -> tuple[Calibration, Quality]:
    """Measure on held-out drives, and correct the model's own probabilities there.

    Expected error and collision probability are brought into agreement with what happened (a shift
    of the one, Platt scaling of the other), in place; thresholds and figures come after that.

    Args:
        parent: of the bundle that training started from. Surprise never alarms below it: what
            comes once in a hundred minutes, the few that are held out in a new home do not show.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        latent = encode_all(model, drives.image)
        _agree_with_outcomes(model, drives, latent)
        quality = _measure_quality(model, drives, latent, count, generator)
        calibration = _measure_thresholds(model, drives, latent, generator)
    return _no_lower(calibration, parent) if parent else calibration, quality


def _agree_with_outcomes(model: WorldModel, drives: Drives, latent: Tensor) -> None:
    start = drives.starts
    step = model.predictor(latent[start], drives.proprioception[start], drives.action[start])
    error = (step.latent - latent[start + drives.ticks]).square().mean(1)
    scale, shift = _platt(step.bump_logit, drives.bump[start])
    last = model.predictor.exit
    last.bias[-1] += torch.log((error / step.log_error.exp()).mean())
    last.weight[-2] *= scale
    last.bias[-2] = last.bias[-2] * scale + shift


def _platt(logit: Tensor, label: Tensor) -> tuple[float, float]:
    """Scale and shift of logits (N,) that make them calibrated for labels (N,) (Platt 1999).

    (1, 0) if one class hardly occurs: there is nothing to fit to.
    """
    if min(float(label.sum()), float((1 - label).sum())) < 20:
        return 1.0, 0.0
    figures = torch.tensor([1.0, 0.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([figures], max_iter=50)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.binary_cross_entropy_with_logits(figures[0] * logit + figures[1], label)
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    scale, shift = map(float, figures.detach())
    return (scale, shift) if scale > 0 else (1.0, 0.0)


def _measure_quality(
    model: WorldModel, drives: Drives, encoded: Tensor, count: int, generator: torch.Generator
) -> Quality:
    starts = drives.starts[torch.randint(len(drives.starts), (count,), generator=generator)]
    frames = starts[:, None] + drives.ticks * torch.arange(drives.steps + 1)
    latent, action = encoded[frames], drives.action[frames[:, :-1]]
    body = drives.proprioception[starts]
    error, logit = rollout_errors(model, latent, body, action)
    order = torch.randperm(count, generator=generator)
    wrong_error, _ = rollout_errors(model, latent, body, action[order])
    copy_error = (latent[:, 1:] - latent[:, :1]).square().mean(2)
    ratio, wrong_ratio = error.mean(0) / copy_error.mean(0), error.mean(0) / wrong_error.mean(0)
    bumped = drives.bump[starts] > 0.5
    return Quality(
        {k + 1: float(value) for k, value in enumerate(ratio)},
        {k + 1: float(value) for k, value in enumerate(wrong_ratio)},
        effective_rank(latent[:, 0].numpy()),
        auroc(logit[bumped].numpy(), logit[~bumped].numpy()),
    )


def _measure_thresholds(
    model: WorldModel, drives: Drives, latent: Tensor, generator: torch.Generator
) -> Calibration:
    """Scales of `foresight.runtime.belief.surprise_parts`, from all moments of the drives."""
    start, end = drives.starts, drives.starts + drives.ticks
    body, action = drives.proprioception, drives.action[start]
    step = model.predictor(latent[start], body[start], action)
    since = body[start[:, None] + torch.arange(1, drives.ticks + 1), :-1]
    free = drives.free_between(start, end)
    twist_gap = since.mean(1) - action
    twist_spread = _spread(twist_gap[free].numpy())
    latent_error, no_effect, twist_error = evidence(
        latent[start].numpy(),
        step.latent.numpy(),
        latent[end].numpy(),
        step.log_error.exp().numpy(),
        twist_gap.numpy(),
        ~free.numpy(),
        twist_spread,
    )
    episode = drives.episode[start].numpy()
    return Calibration(
        latent_surprise=_scale(_lasting(latent_error, episode, drives.ticks)),
        no_effect=_scale(_lasting(no_effect, episode, drives.ticks), log=False),
        twist_surprise=_scale(twist_error),
        twist_spread=twist_spread,
        arrived_gap=_arrived_gap(model, drives, latent, generator),
    )


def _no_lower(calibration: Calibration, parent: Calibration) -> Calibration:
    """The same, with no alarm below the parent's."""
    raised = {}
    for name in ("latent_surprise", "no_effect", "twist_surprise"):
        own, floor = getattr(calibration, name), getattr(parent, name)
        raised[name] = own.model_copy(update={"alarm": max(own.alarm, floor.alarm)})
    return calibration.model_copy(update=raised)


def _lasting(score: np.ndarray, episode: np.ndarray, ticks: int) -> np.ndarray:
    """Means of scores (T,) over `ticks` frames in a row, without those across two episodes."""
    ticks = min(ticks, len(score))
    within = episode[ticks - 1 :] == episode[: len(episode) - ticks + 1]
    means = np.lib.stride_tricks.sliding_window_view(score, ticks).mean(1)
    return means[within] if within.any() else means


def _scale(score: np.ndarray, log: bool = True) -> Scale:
    """Of scores (T,), one per frame; see `per_minute_threshold` for `log`."""
    usual = float(np.median(score))
    alarm = per_minute_threshold(score, FALSE_ALARMS_PER_MINUTE / 3, log)
    return Scale(usual=usual, alarm=max(alarm, usual + 1e-3))


def _spread(gap: np.ndarray) -> Any:
    """Usual size of each component of (N, K): 1.48 times the median, so that slips count little."""
    return tuple(float(max(1.4826 * np.median(np.abs(part)), 1e-3)) for part in gap.T)


def per_minute_threshold(score: np.ndarray, rate: float, log: bool = True) -> float:
    """What a minute's highest score exceeds with probability `rate` at most.

    Split conformal prediction over minutes (Vovk et al. 2005) where there are enough of them
    (1 / rate); else the highest minute, or the quantile of a Gumbel law of the maxima if that is
    higher (extreme value theory: Gumbel 1958).

    Args:
        score: (T,) one per frame of normal driving, 10 Hz.
        log: the law is one of the logs of the maxima; for heavy tails of positive scores.
    """
    minute = round(60 / PERIOD_S)
    blocks = np.array_split(score.astype(float), max(1, round(len(score) / minute)))
    highest = np.sort([block.max() for block in blocks])
    rank = math.ceil((len(highest) + 1) * (1 - rate))
    if rank <= len(highest):
        return float(highest[rank - 1])
    maxima = np.log(np.maximum(highest, 1e-6)) if log else highest
    beta = maxima.std(ddof=1) * math.sqrt(6) / math.pi if len(maxima) > 1 else 0.0
    quantile = maxima.mean() - np.euler_gamma * beta - beta * math.log(-math.log(1 - rate))
    return float(max(highest[-1], math.exp(quantile) if log else quantile))


def rollout_errors(
    model: WorldModel, latent: Tensor, body: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict K actions (B, K, A) from the first of the latents (B, K+1, D) and the body (B, P).

    Returns:
        squared error by start and actions ahead (B, K), and the first step's bump logits (B,).
    """
    state, errors, logits = latent[:, 0], [], []
    for k in range(action.shape[1]):
        step = model.predictor(state, body, action[:, k])
        state, body = step.latent, step.proprioception
        errors.append((state - latent[:, k + 1]).square().mean(1))
        logits.append(step.bump_logit)
    return torch.stack(errors, 1), logits[0]


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
