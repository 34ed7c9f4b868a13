"""Is a training run getting anywhere? Measured on held-out drives while it goes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from foresight.training.calibrate import rollout_errors
from foresight.training.scores import effective_rank
from foresight.world_model.losses import Windows
from foresight.world_model.networks import WorldModel

WARM_UP_STEPS = 500
LEAST_RANK, LEAST_SPREAD = 4.0, 0.05


@torch.no_grad()
def examine(model: WorldModel, windows: Windows) -> dict[str, float]:
    """Figures of `model` in eval mode, on its own device.

    Returns:
        copy_last_K: squared error of the prediction K actions ahead, over that of repeating the
            last latent; below 1 the model knows more than that. effective_rank and spread (mean
            standard deviation) of the latents.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    batch, frames = windows.image.shape[:2]
    images = windows.image.flatten(0, 1).split(512)
    latent = torch.cat([model.encoder(part.to(device)) for part in images])
    flat, latent = latent, latent.view(batch, frames, -1)
    body, action = windows.proprioception[:, 0].to(device), windows.action.to(device)
    error, _ = rollout_errors(model, latent, body, action)
    copied = (latent[:, :1] - latent[:, 1:]).square().mean(2)
    ratio = (error.mean(0) / copied.mean(0)).tolist()
    model.train(training)
    return {f"copy_last_{k}": ratio[k - 1] for k in (1, 4, 8) if k < frames} | {
        "effective_rank": effective_rank(flat.nan_to_num().cpu().numpy()),
        "spread": float(flat.std(0).mean()),
    }


def complaint(figures: Mapping[str, float], step: int) -> str | None:
    """Why a run with these figures after `step` updates is hopeless, in one sentence, or None."""
    if step < WARM_UP_STEPS:
        return None
    spread, rank = figures["spread"], figures["effective_rank"]
    if not spread > LEAST_SPREAD:
        return (
            f"the latents have collapsed: standard deviation {spread:.2g}, expected over "
            f"{LEAST_SPREAD}; look whether the pictures differ, or weigh 'variance' more"
        )
    if not rank > LEAST_RANK:
        return (
            f"the latents have collapsed: effective rank {rank:.1f}, expected over {LEAST_RANK}; "
            "look whether the pictures differ, or weigh 'covariance' more"
        )
    prefix = "copy_last_"
    name, ratio = [item for item in figures.items() if item[0].startswith(prefix)][-1]
    if not ratio < 1.0:
        return (
            f"prediction is no better than repeating the last latent (error ratio {ratio:.2f} "
            f"{name.removeprefix(prefix)} actions ahead); look whether commands and pictures "
            "belong together and the robot moves, or lower the learning rate"
        )
    return None
