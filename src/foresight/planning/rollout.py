"""The predictor and the distance head, arranged for many rollouts towards one goal.

The same functions as `foresight.dynamics.networks` computes, in a third of the operations: layers
that read the same input are one product, what depends on actions only is computed for all steps at
once, and what depends on the goal only once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from foresight.dynamics.networks import (
    ACTION,
    PROPRIOCEPTION,
    FilmBlock,
    PairNetwork,
    Predictor,
)


class Imagined(NamedTuple):
    """latents (N, H, D), probability of a bump (N, H), expected squared error (N, H)."""

    latents: Tensor
    bumps: Tensor
    errors: Tensor


class Rollout(nn.Module):
    """latent (1, D), proprioception (1, P), actions (N, H, A) -> Imagined."""

    body: Tensor
    scaled_body: Tensor
    act: Tensor
    conditioned: Tensor
    bias: Tensor
    motion_bias: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor
        self.blocks = [block for block in predictor.blocks if isinstance(block, FilmBlock)]
        motion = predictor.condition[0]
        assert isinstance(motion, nn.Linear)
        films = [block.film for block in self.blocks]
        with torch.no_grad():
            body, act = (motion.weight / predictor.scale).T.split([PROPRIOCEPTION, ACTION])
            # The network's share of the next twist comes in its own scale.
            scale = torch.ones(PROPRIOCEPTION)
            scale[:ACTION] = predictor.scale[:ACTION]
            layers = torch.cat([layer.weight for layer in (predictor.enter_motion, *films)])
            bias = [predictor.enter_motion.bias + predictor.enter.bias]
            for film in films:
                gain, shift = film.bias.chunk(2)
                bias += [gain + 1, shift]
        self.register_buffer("body", body.contiguous())
        self.register_buffer("scaled_body", (scale[:, None] * body).contiguous())
        self.register_buffer("act", act.contiguous())
        self.register_buffer("motion_bias", motion.bias.detach().clone())
        self.register_buffer("conditioned", layers.T.contiguous())
        self.register_buffer("bias", torch.cat(bias))

    def forward(self, latent: Tensor, proprioception: Tensor, actions: Tensor) -> Imagined:
        net, state = self.predictor, latent.expand(len(actions), -1)
        states, bumps, errors = [], [], []
        answer: Tensor | None = None
        for motion in self._known_motion(proprioception, actions):
            if answer is not None:  # what the last step made of twist and bump
                motion = torch.addmm(motion, answer, self.scaled_body)
            parts = torch.addmm(self.bias, torch.relu(motion), self.conditioned)
            enter, *films = parts.chunk(1 + 2 * len(self.blocks), 1)
            x = torch.addmm(enter, state, net.enter.weight.T)
            for block, gain, shift in zip(self.blocks, films[::2], films[1::2], strict=True):
                x = x + block.out(torch.relu(block.linear(block.norm(x)) * gain + shift))
            sizes = [latent.shape[1], ACTION, 1, 1]
            change, twist, logit, log_error = net.exit(torch.relu(x)).split(sizes, 1)
            state, bump = state + change, torch.sigmoid(logit)
            answer = torch.cat([twist, bump], 1)
            states.append(state)
            bumps.append(bump)
            errors.append(log_error)
        return Imagined(torch.stack(states, 1), torch.cat(bumps, 1), torch.cat(errors, 1).exp())

    def _known_motion(self, proprioception: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Of each step (N, 64), what is known before: its action, and that the wheels end the one
        before at the twist that was commanded."""
        by_step = actions.transpose(0, 1)
        first = (proprioception @ self.body).expand(len(actions), -1)[None]
        later = by_step[:-1] @ self.body[:ACTION]
        motion = by_step @ self.act + self.motion_bias + torch.cat([first, later])
        return motion.flatten(0, 1).split(len(actions))


class Remaining(nn.Module):
    """latents (..., D), goal (1, D) -> log1p(seconds to the goal) (...)."""

    def __init__(self, distance: PairNetwork) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, latents: Tensor, goal: Tensor) -> Tensor:
        net, rows = self.distance, latents.flatten(0, -2)
        at_goal = net.second(goal) + net.first.bias
        here = torch.addmm(at_goal, rows, net.first.weight.T)
        features = torch.addmm(here, (rows - goal).abs(), net.gap.weight.T)
        return nn.functional.softplus(net.rest(features)[:, 0]).view(latents.shape[:-1])
