"""What the world model is trained on: images, odometry, bumper, commands; no map, no true pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from foresight.world_model.distributed import gathered
from foresight.world_model.networks import WorldModel

DISPLACEMENT_BETA = 0.05  # metres (or sine of yaw): with 1.0 the latent blurs below 0.3 m


@dataclass
class Windows:
    """B drives of K actions, hence K + 1 frames, one action apart.

    image (B, K+1, h, w, 3) uint8 RGB; proprioception (B, K+1, P); action (B, K, A) mean command;
    bump (B, K) 1 if the bumper was pressed during the action; pose (B, K+1, 3) odometry: x m, y m,
    yaw rad.
    Besides, B pairs of frames from one neighbourhood, seconds apart: pair_image (B, 2, h, w, 3) and
    pair_pose (B, 2, 3). They hold sideways offsets, which a drive of K actions hardly shows.
    """

    image: Tensor
    proprioception: Tensor
    action: Tensor
    bump: Tensor
    pose: Tensor
    pair_image: Tensor
    pair_pose: Tensor


def world_model_loss(model: WorldModel, windows: Windows) -> tuple[Tensor, dict[str, float]]:
    """Total loss and its parts.

    Multi-step latent prediction without stop-gradient; collapse is prevented by variance and
    covariance terms (VICReg, Bardes et al. 2022) and by decoding odometry displacement and actions.
    """
    batch, frames = windows.image.shape[:2]
    images = torch.cat([windows.image, windows.pair_image], 1)
    encoded = model.encoder(images.flatten(0, 1)).float().view(batch, frames + 2, -1)
    latent, pair = encoded[:, :frames], encoded[:, frames:]
    flat = gathered(latent.flatten(0, 1))
    parts = _rollout_losses(model, windows, latent)
    parts["variance"] = functional.relu(1.0 - (flat.var(0) + 1e-4).sqrt()).mean()
    parts["covariance"] = 0.04 * _off_diagonal_covariance(flat)
    parts |= _relation_losses(model, windows.pose, latent)
    parts["neighbours"] = _neighbour_loss(model, windows.pair_pose, pair)
    action = windows.action / model.predictor.action_scale
    guess = model.inverse(latent[:, :-1], latent[:, 1:])
    parts["inverse"] = 0.5 * functional.smooth_l1_loss(guess, action)
    total = torch.stack([part.float() for part in parts.values()]).sum()
    return total, {name: float(part.detach()) for name, part in parts.items()}


def _rollout_losses(model: WorldModel, windows: Windows, latent: Tensor) -> dict[str, Tensor]:
    """Predict 1 to K steps from every frame at once."""
    steps = windows.action.shape[1]
    state, body = latent[:, :-1], windows.proprioception[:, :-1]
    losses = []
    for k in range(steps):
        starts = steps - k
        step = model.predictor(
            state[:, :starts], body[:, :starts], windows.action[:, k : k + starts]
        )
        state, body = step.latent, step.proprioception
        twist_gap = (body - windows.proprioception[:, k + 1 :])[..., :-1]
        twist_gap = twist_gap / model.predictor.action_scale
        error = (state.float() - latent[:, k + 1 :]).square().mean(-1)
        losses.append(
            torch.stack(
                [
                    error.mean(),
                    expected_error_loss(step.log_error.float(), error.detach()),
                    functional.smooth_l1_loss(twist_gap, torch.zeros_like(twist_gap)),
                    functional.binary_cross_entropy_with_logits(
                        step.bump_logit.float(), windows.bump[:, k:]
                    ),
                ]
            )
        )
    prediction, expected, twist, bump = torch.stack(losses).mean(0)
    return {
        "prediction": prediction,
        "expected_error": 0.01 * expected,
        "twist": 0.1 * twist,
        "bump": 0.2 * bump,
    }


def expected_error_loss(log_error: Tensor, error: Tensor) -> Tensor:
    """Negative log-likelihood (up to constants) of Gaussian errors of squared size `error` (...)
    when exp(`log_error`) was expected (Nix & Weigend 1994); least where the two agree on average.
    """
    return 0.5 * (log_error + (error + 1e-6) * torch.exp(-log_error)).mean()


def _off_diagonal_covariance(flat: Tensor) -> Tensor:
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / (len(flat) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / flat.shape[1]


def _relation_losses(model: WorldModel, pose: Tensor, latent: Tensor) -> dict[str, Tensor]:
    """Displacement between any two frames of a window, and whether frames are near in time."""
    frames = latent.shape[1]
    first, second = torch.triu_indices(frames, frames, 1, device=latent.device)
    swap = torch.rand(len(first), device=latent.device) < 0.5
    first, second = torch.where(swap, second, first), torch.where(swap, first, second)
    target = displacement(pose[:, first], pose[:, second])
    guess, close = model.relation(latent[:, first], latent[:, second])
    other = torch.roll(latent, 1, 0)[:, second]
    _, far = model.relation(latent[:, first], other)
    return {
        "displacement": functional.smooth_l1_loss(guess.float(), target, beta=DISPLACEMENT_BETA),
        "close": 0.1
        * (
            functional.binary_cross_entropy_with_logits(
                close.float(), torch.ones_like(close.float())
            )
            + functional.binary_cross_entropy_with_logits(
                far.float(), torch.zeros_like(far.float())
            )
        ),
    }


def _neighbour_loss(model: WorldModel, pose: Tensor, pair: Tensor) -> Tensor:
    there, _ = model.relation(pair[:, 0], pair[:, 1])
    back, _ = model.relation(pair[:, 1], pair[:, 0])
    target = torch.cat([displacement(pose[:, 0], pose[:, 1]), displacement(pose[:, 1], pose[:, 0])])
    guess = torch.cat([there, back]).float()
    return functional.smooth_l1_loss(guess, target, beta=DISPLACEMENT_BETA)


def displacement(a: Tensor, b: Tensor) -> Tensor:
    """Pose b seen from pose a, both (..., 3): (..., 4) x m, y m, sin yaw, cos yaw."""
    cos, sin = torch.cos(a[..., 2]), torch.sin(a[..., 2])
    dx, dy, dyaw = (b - a).unbind(-1)
    return torch.stack(
        [cos * dx + sin * dy, -sin * dx + cos * dy, torch.sin(dyaw), torch.cos(dyaw)], -1
    )


def as_pose(offset: Tensor) -> Tensor:
    """A displacement (..., 4: x m, y m, sin yaw, cos yaw) as (..., 3: x m, y m, yaw rad)."""
    yaw = torch.atan2(offset[..., 2:3], offset[..., 3:])
    return torch.cat([offset[..., :2], yaw], -1)
