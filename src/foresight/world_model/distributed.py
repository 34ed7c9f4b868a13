"""One training run on several processes, as `torchrun` starts them.

Each process draws its share of the global batch. Batch statistics (normalisation, the variance and
covariance of latents) are those of the global batch and gradients are averaged, so that the number
of processes changes a run by no more than rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Team:
    """The processes of a run: this one's rank among `size`, and the device that it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and speaks to the user."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This process's part of a global batch.

        Raises:
            ValueError: the processes cannot divide it evenly.
        """
        if batch % self.size:
            raise ValueError(
                f"a batch of {batch} does not divide by {self.size} processes; start another number"
            )
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


ALONE = Team()


def join(device: str | None = None) -> Team:
    """Join the processes that `torchrun` started; without it, this process is alone.

    Args:
        device: "cpu" or "cuda"; None takes the GPU if there is one.

    Raises:
        ValueError: the device is not there.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device is '{kind}', expected cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch finds no GPU; use --device cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
    if not distributed.is_torchelastic_launched():
        return Team(device=place)
    if kind == "cuda":
        torch.cuda.set_device(place)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    return Team(distributed.get_rank(), distributed.get_world_size(), place)


def disband() -> None:
    """Leave the other processes, if there are any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def gathered(rows: Tensor) -> Tensor:
    """The rows (N, D) of all processes, (size * N, D), with gradients to each."""
    if not distributed.is_initialized():
        return rows
    everyone = rows.new_zeros((distributed.get_world_size(), *rows.shape))
    everyone[distributed.get_rank()] = rows
    return _summed(everyone).flatten(0, 1)


def average(
    team: Team, figures: Sequence[float], parameters: Iterable[nn.Parameter] = ()
) -> list[float]:
    """Average figures over all processes, and in place, in the same exchange, gradients."""
    if team.size == 1:
        return list(figures)
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    own = torch.tensor(figures, dtype=torch.float32, device=team.device)
    flat = torch.cat([own, *(gradient.flatten() for gradient in gradients)])
    distributed.all_reduce(flat)
    flat /= team.size
    averaged, *parts = flat.split([len(figures), *(gradient.numel() for gradient in gradients)])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return averaged.tolist()


def share_statistics(module: nn.Module) -> None:
    """Let every batch normalisation in `module` normalise by the global batch."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, _SharedNorm(child))


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)


def _summed(value: Tensor) -> Tensor:
    total = _Sum.apply(value)
    assert isinstance(total, Tensor)
    return total


class _SharedNorm(nn.modules.batchnorm._BatchNorm):
    """As `nn.SyncBatchNorm`, which only GPUs have."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.train(norm.training).to(norm.weight.device)

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same, normalised by channel."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None
        x, axes = input.float(), [0, *range(2, input.ndim)]
        team = distributed.get_world_size()
        moments = torch.stack([x.mean(axes), x.square().mean(axes)])
        mean, square = _summed(moments) / team
        variance = square - mean.square()
        with torch.no_grad():
            count = team * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        gain = self.weight * (variance + self.eps).rsqrt()
        shape = (-1, *(1,) * (x.ndim - 2))
        scaled = x * gain.view(shape) + (self.bias - mean * gain).view(shape)
        return scaled.to(input.dtype)
