"""What a planner is made of: a dynamics that foresees, an objective that judges, a solver that
searches.

Symbols: N action sequences of H actions, A numbers each, in the units of the body; D latent size,
P proprioception. All are PyTorch modules, for the exporter fuses one of each into one graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Prediction(NamedTuple):
    """What actions lead to, by step: latents (H, N, D); probability of a bump during the action
    (H, N); the squared error per latent component that the dynamics expects of itself (H, N)."""

    latents: Tensor
    bumps: Tensor
    errors: Tensor


class Dynamics(Protocol):
    """How the world answers actions."""

    def __call__(self, latent: Tensor, proprioception: Tensor, actions: Tensor) -> Prediction:
        """From latent (1, D) and proprioception (1, P), actions (N, H, A) -> Prediction."""
        ...


class Candidates(NamedTuple):
    """Action sequences that an objective judges.

    planned (N, H, A): what a plan would say. driven (N, H, A): what the robot would do of it, which
    differs in the first action, part of which is past changing. foreseen: what that leads to.
    proprioception (1, P): at the start.
    """

    planned: Tensor
    driven: Tensor
    foreseen: Prediction
    proprioception: Tensor


class Objective(Protocol):
    """What is wanted. Its inputs besides the candidates are tensors of its own, such as the goal
    and obstacles; a solver passes them through, in order."""

    def cost(self, candidates: Candidates, *task: Tensor) -> Tensor:
        """Of each sequence (N,): lower is better."""
        ...

    def report(self, candidates: Candidates, *task: Tensor) -> tuple[Tensor, Tensor]:
        """What plans tell about themselves, by step: energy (H, N), log1p(seconds to the goal);
        collision (H, N), a probability."""
        ...


class Solver(Protocol):
    """A search in rounds. `forward` is `begin`, then `go_on` until the rounds are over, then `end`.

    The exporter traces these three and repeats a round in the graph: tracing all rounds as one
    would take minutes. The situation is the first inputs of each: latent (1, D), proprioception
    (1, P), the tensors of the objective's task, committed (1, A) and delay (1,): the mean command
    of that share of the first action, 0 to 1, which is past changing.
    """

    def begin(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The situation, warm_start (1, H, A), proposals (M, H, A) to look at first, noise
        (1, N - 1, H, A) standard normal -> the state of the search."""
        ...

    def go_on(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The situation, the state of the search, noise -> the state after one more round."""
        ...

    def end(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The situation, the first tensor of the state -> actions (1, H, A), energy (1, H), latents
        (1, H, D), collision (1, H), uncertainty (1, H): expected squared error per latent
        component."""
        ...
