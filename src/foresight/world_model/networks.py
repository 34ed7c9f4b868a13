"""Encoder, predictor and heads of the world model.

Symbols: B batch, D latent size, A numbers of an action, P = A + 1 of proprioception: the speeds
that actions command, as measured (the twist), then the bumper (0 or 1, predicted: a probability).
Which numbers, the body says; they come in its units, SI, and the networks scale them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foresight.bodies import AnyBody

LATENT = 192


class ConvEncoder(nn.Module):
    """One image -> one latent: three convolutions, then two layers over what they see where.

    It keeps the spatial layout up to the last layers (no pooling): where a thing is in the picture
    says where the robot is.
    """

    def __init__(self, height: int = 60, width: int = 80, latent: int = LATENT) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 4, bias=False)
            return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.convolutions = nn.Sequential(
            *block(3, 64, 8, 4), *block(64, 128, 4, 2), *block(128, 128, 4, 2), nn.Flatten()
        )
        with torch.no_grad():
            features = self.convolutions(torch.zeros(2, 3, height, width)).shape[1]
        self.head = nn.Sequential(
            nn.Linear(features, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, latent),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, h, w, 3) uint8 RGB -> (B, D) float32."""
        precision = torch.float32
        if torch.is_autocast_enabled(image.device.type):
            precision = torch.get_autocast_dtype(image.device.type)
        x = (image.permute(0, 3, 1, 2).to(precision) - 127.5) / 127.5  # exact up to the division
        return self.head(self.convolutions(x))


class Step(NamedTuple):
    """One action later: latent (B, D), proprioception (B, P), bump logit (B,), and the log of the
    squared error per component that the model expects of this latent (B,)."""

    latent: Tensor
    proprioception: Tensor
    bump_logit: Tensor
    log_error: Tensor


class FilmBlock(nn.Module):
    """Residual layer with gain and shift set by motion and action (FiLM, Perez et al. 2018)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.film = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, shift = self.film(condition).chunk(2, -1)
        hidden = torch.relu(self.linear(self.norm(x)) * (1 + gain) + shift)
        return x + self.out(hidden)


class Predictor(nn.Module):
    """Where an action leads: latent and proprioception one action later (residual).

    Args:
        typical_action: the size (A,) that actions and measured speeds are divided by.
    """

    scale: Tensor

    def __init__(
        self,
        typical_action: Sequence[float],
        latent: int = LATENT,
        width: int = 256,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        self.actions = len(typical_action)
        scale = torch.tensor([*typical_action, 1.0, *typical_action])
        self.condition = nn.Sequential(nn.Linear(len(scale), 64), nn.ReLU())
        self.enter = nn.Linear(latent, width)
        self.enter_motion = nn.Linear(64, width)
        self.blocks = nn.ModuleList(FilmBlock(width, 64) for _ in range(blocks))
        self.exit = nn.Linear(width, latent + self.actions + 2)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)
        self.register_buffer("scale", scale)

    @property
    def action_scale(self) -> Tensor:
        """What actions and measured speeds are divided by (A,), in the units of the body."""
        return self.scale[: self.actions]

    def forward(self, latent: Tensor, proprioception: Tensor, action: Tensor) -> Step:
        """(B, D), (B, P), (B, A) -> one step on."""
        motion = torch.cat([proprioception, action], -1) / self.scale
        condition = self.condition(motion)
        x = self.enter(latent) + self.enter_motion(condition)
        for block in self.blocks:
            x = block(x, condition)
        change = self.exit(torch.relu(x))
        size = latent.shape[-1]
        # Without contact the robot ends at the commanded twist; the network adds what differs.
        twist = action + change[..., size : size + self.actions] * self.action_scale
        logit, log_error = change[..., -2], change[..., -1]
        bump = torch.sigmoid(logit)[..., None]
        return Step(latent + change[..., :size], torch.cat([twist, bump], -1), logit, log_error)


class PairNetwork(nn.Module):
    """A function of two latents, with the features that a comparison needs: a, b and |a - b|."""

    def __init__(self, outputs: int, latent: int = LATENT, width: int = 256) -> None:
        super().__init__()
        self.first = nn.Linear(latent, width)
        self.second = nn.Linear(latent, width, bias=False)
        self.gap = nn.Linear(latent, width, bias=False)
        self.rest = nn.Sequential(
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, outputs),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., D), (..., D) -> (..., outputs); b broadcasts against a."""
        return self.rest(self.first(a) + self.second(b) + self.gap((a - b).abs()))


class WorldModel(nn.Module):
    """All that is learned.

    `relation` decodes odometry displacement (inverse dynamics over any gap: the term that keeps
    position in the latent), `inverse` the action between neighbours, `distance` the seconds that
    the robot needs from a to b, `policy` what its own drives did at a that led to b (behaviour
    cloning: a baseline for the planner).
    """

    def __init__(self, body: AnyBody) -> None:
        super().__init__()
        self.encoder = ConvEncoder()
        self.predictor = Predictor(body.typical_action)
        self.relation_net = PairNetwork(5)
        self.inverse = PairNetwork(self.predictor.actions)
        self.distance_net = PairNetwork(1)
        self.policy = PairNetwork(self.predictor.actions)

    def relation(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) x2 -> raw (..., 4: x m, y m, sin yaw, cos yaw) and close logit (...)."""
        out = self.relation_net(a, b)
        return out[..., :4], out[..., 4]

    def distance_energy(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., D) x2 -> log1p(seconds from a to b) (...), at least 0."""
        return nn.functional.softplus(self.distance_net(a, b)[..., 0])
