"""The predictor, arranged for many rollouts from one belief: the dynamics of the planner.

It computes what `foresight.world_model.networks.Predictor` does, step after step, in a third of the
operations: layers that read the same input are one product, and what depends on actions only is
computed for all steps at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foresight.solvers.protocols import Prediction
from foresight.world_model.networks import FilmBlock, Predictor


class Rollout(nn.Module):
    """A `Dynamics`: latent (1, D), proprioception (1, P), actions (N, H, A) -> Prediction."""

    driven: Tensor
    motion_bias: Tensor
    touched: Tensor
    answered: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor, self.actions = predictor, predictor.actions
        self.blocks = [block for block in predictor.blocks if isinstance(block, FilmBlock)]
        motion = predictor.condition[0]
        assert isinstance(motion, nn.Linear)
        with torch.no_grad():
            # One unit more, which is always 1, so that what it feeds needs no bias added.
            weight = nn.functional.pad((motion.weight / predictor.scale).T, (0, 1))
            twist, bump, act = weight.split([self.actions, 1, self.actions])
            # The network's share of the next twist comes in its own scale.
            answered = torch.cat([predictor.action_scale[:, None] * twist, bump])
        self.register_buffer("driven", torch.cat([act, twist]).contiguous())
        self.register_buffer(
            "motion_bias", nn.functional.pad(motion.bias.detach(), (0, 1), value=1.0)
        )
        self.register_buffer("touched", bump.contiguous())
        self.register_buffer("answered", answered.contiguous())
        for k, weight in enumerate(_conditioned(predictor, self.blocks)):
            self.register_buffer(f"conditioned{k}", weight)

    def forward(self, latent: Tensor, proprioception: Tensor, actions: Tensor) -> Prediction:
        net, state = self.predictor, latent.expand(len(actions), -1)
        enter, *films = (
            self.get_buffer(f"conditioned{k}") for k in range(1 + 2 * len(self.blocks))
        )
        states, bumps, errors = [], [], []
        answer: Tensor | None = None
        for motion in self._known_motion(proprioception, actions):
            if answer is None:
                motion = motion + proprioception[:, self.actions :] @ self.touched
            else:  # what the last step made of twist and bump
                motion = torch.addmm(motion, answer, self.answered)
            condition = torch.relu(motion)
            x = torch.addmm(condition @ enter, state, net.enter.weight.T)
            for block, gain, shift in zip(self.blocks, films[::2], films[1::2], strict=True):
                scaled = block.linear(block.norm(x)) * (condition @ gain)
                x = x + block.out(torch.relu(torch.addmm(scaled, condition, shift)))
            sizes = [latent.shape[1], self.actions, 1, 1]
            change, twist, logit, log_error = net.exit(torch.relu(x)).split(sizes, 1)
            state, bump = state + change, torch.sigmoid(logit)
            answer = torch.cat([twist, bump], 1)
            states.append(state)
            bumps.append(bump)
            errors.append(log_error)
        steps = (len(states), len(actions))
        latents, bump, error = (torch.cat(parts) for parts in (states, bumps, errors))
        return Prediction(latents.view(*steps, -1), bump.view(steps), error.view(steps).exp())

    def _known_motion(self, proprioception: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Of each step (N, 65), what is known before: its action, and that the wheels end the one
        before at the twist that was commanded."""
        twist = proprioception[:, None, : self.actions].expand(len(actions), -1, -1)
        pairs = torch.cat([actions, torch.cat([twist, actions[:, :-1]], 1)], 2).transpose(0, 1)
        motion = torch.addmm(self.motion_bias, pairs.flatten(0, 1), self.driven)
        return motion.split(len(actions))


def _conditioned(predictor: Predictor, blocks: list[FilmBlock]) -> list[Tensor]:
    """What motion sets, as matrices (65, width) with the bias last: the entry's share, then gain
    and shift of each block."""
    entry = predictor.enter_motion
    parts = [torch.cat([entry.weight, (entry.bias + predictor.enter.bias)[:, None]], 1)]
    for block in blocks:
        gain, shift = torch.cat([block.film.weight, block.film.bias[:, None]], 1).detach().chunk(2)
        gain = gain.clone()
        gain[:, -1] += 1
        parts += [gain, shift]
    return [part.detach().T.contiguous() for part in parts]
