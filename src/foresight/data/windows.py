"""Training windows from recorded drives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foresight.data.dataset import DatasetError, load_episode
from foresight.world_model.losses import Windows

_ROUNDS = 50  # of drawing pairs of frames: enough even if one pair in a thousand fits


class Pictures:
    """The images of all episodes, (T, h, w, 3) uint8, left on disk until they are read."""

    def __init__(self, episodes: Sequence[np.ndarray]) -> None:
        self._episodes = list(episodes)
        self._ends = np.cumsum([len(images) for images in episodes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, frames: Tensor) -> Tensor:
        """A copy of the images at `frames` (...) int64: (..., h, w, 3) uint8.

        Raises:
            IndexError: there is no such frame.
        """
        shape = self._episodes[0].shape[1:]
        found = np.empty((frames.numel(), *shape), np.uint8)
        flat = frames.flatten().numpy()
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"frames {flat.min()} to {flat.max()} of {len(self)}")
        episode = np.searchsorted(self._ends, flat, "right")
        from_end = flat - self._ends[episode]
        for row, (number, frame) in enumerate(
            zip(episode.tolist(), from_end.tolist(), strict=True)
        ):
            found[row] = self._episodes[number][frame]
        return torch.from_numpy(found).view(*frames.shape, *shape)

    def split(self, count: int) -> Iterator[Tensor]:
        """All images in order, `count` at a time."""
        for frames in torch.arange(len(self)).split(count):
            yield self[frames]


class Drives:
    """A data set to draw windows from; everything but its pictures is in memory.

    One action is `ticks` frames long; `steps` actions make a window.

    Raises:
        DatasetError: an episode is damaged, its images have another size, or none is long
            enough for a window.
    """

    def __init__(self, files: Sequence[Path], ticks: int = 5, steps: int = 8) -> None:
        episodes = [load_episode(file) for file in files]
        self.ticks, self.steps = ticks, steps
        for file, episode in zip(files, episodes, strict=True):
            if episode.image.shape[1:] != episodes[0].image.shape[1:]:
                raise DatasetError(
                    f"{file}: images are {episode.image.shape[1:]}, those of {files[0]} are "
                    f"{episodes[0].image.shape[1:]}; keep one size in one folder"
                )
        self.image = Pictures([e.image for e in episodes])
        odometry = np.concatenate([e.odometry for e in episodes])
        bump = np.concatenate([e.bump for e in episodes]).astype(np.float32)
        self.pose = torch.from_numpy(odometry[:, :3].copy())
        self.proprioception = torch.from_numpy(np.concatenate([odometry[:, 3:], bump[:, None]], 1))
        self._presses = torch.cat([torch.zeros(1), self.proprioception[:, 2].cumsum(0)])
        command = np.concatenate([e.command for e in episodes])
        self.action, self.bump = _per_action(command, bump, ticks)
        lengths = [len(e) for e in episodes]
        self.episode = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
        offsets = np.cumsum([0, *lengths])
        span = ticks * steps
        self.starts = torch.cat(
            [
                torch.arange(a, max(a, b - span))
                for a, b in zip(offsets[:-1], offsets[1:], strict=True)
            ]
        )
        if not len(self.starts):
            raise DatasetError(
                f"{files[0].parent}: no episode is longer than {span} frames; collect longer ones"
            )

    def __len__(self) -> int:
        return len(self.image)

    def free_between(self, first: Tensor, last: Tensor) -> Tensor:
        """Whether the bumper stayed free from frame `first` to frame `last` (any equal shapes)."""
        return self._presses[last + 1] == self._presses[first]

    def neighbours(
        self, count: int, generator: torch.Generator, reach_m: float = 1.2
    ) -> tuple[Tensor, Tensor]:
        """Pairs of frames (count,), (count,) from one neighbourhood, up to 20 s apart.

        Within `reach_m` and 70 degrees by odometry, which hardly drifts in that time, without a
        bump in between.

        Raises:
            DatasetError: there are too few.
        """
        found: list[Tensor] = []
        while sum(map(len, found)) < count:
            if len(found) >= _ROUNDS:
                raise DatasetError("the drives have hardly a stretch without bumps; collect others")
            first = torch.randint(len(self), (30 * count,), generator=generator)
            last = first + torch.randint(5, 200, (len(first),), generator=generator)
            last = last.clamp(max=len(self) - 1)
            offset = self.pose[last] - self.pose[first]
            turn = torch.remainder(offset[:, 2] + math.pi, 2 * math.pi) - math.pi
            close = (torch.hypot(offset[:, 0], offset[:, 1]) < reach_m) & (turn.abs() < 1.2)
            close &= (self.episode[first] == self.episode[last]) & self.free_between(first, last)
            found.append(torch.stack([first[close], last[close]], 1))
        first, last = torch.cat(found)[:count].unbind(1)
        return first, last

    def windows(
        self, starts: Tensor, generator: torch.Generator, share: slice = slice(None)
    ) -> Windows:
        """The windows (B,) that start at these frames, with as many pairs of neighbours.

        Only those in `share` are read; `generator` advances as if all were.
        """
        pair = torch.stack(self.neighbours(len(starts), generator), 1)[share]
        frames = starts[share, None] + self.ticks * torch.arange(self.steps + 1)
        return Windows(
            self.image[frames],
            self.proprioception[frames],
            self.action[frames[:, :-1]],
            self.bump[frames[:, :-1]],
            self.pose[frames],
            self.image[pair],
            self.pose[pair],
        )


def _per_action(command: np.ndarray, bump: np.ndarray, ticks: int) -> tuple[Tensor, Tensor]:
    """Mean command over the next `ticks` frames, and whether one of them ends in a bump."""
    padded = np.concatenate([command, np.zeros((ticks, 2), np.float32)])
    total = np.cumsum(np.concatenate([np.zeros((1, 2)), padded]), 0)
    mean = (total[ticks:] - total[:-ticks])[: len(command)] / ticks
    later = np.concatenate([bump, np.zeros(ticks, np.float32)])
    pressed = np.max([later[k + 1 : k + 1 + len(bump)] for k in range(ticks)], 0)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(pressed)
