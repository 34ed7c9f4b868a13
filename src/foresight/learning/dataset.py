"""Driving on disk: one HDF5 file per episode, which any HDF5 tool opens.

    image      (T, h, w, 3) uint8   RGB at the size that the model sees
    odometry   (T, 5) float32       x m, y m, yaw rad (odometry frame), v m/s, w rad/s, as measured
    command    (T, 2) float32       v m/s, w rad/s, in force from this frame to the next
    bump       (T,) uint8           1 if the bumper was pressed since the frame before
attributes: `version`, `period_s`, `robot` (profile name), `source` (which home, which driver).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

VERSION = 1
PERIOD_S = 0.1


class DatasetError(ValueError):
    """The data set cannot be read; the message names the file and what to do."""


@dataclass
class Episode:
    """An uninterrupted drive of T frames; arrays as in the module's table."""

    image: np.ndarray
    odometry: np.ndarray
    command: np.ndarray
    bump: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def save_episode(path: Path, episode: Episode, robot: str, source: str) -> None:
    """Write an episode; the file appears whole or not at all."""
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        file.attrs.update(version=VERSION, period_s=PERIOD_S, robot=robot, source=source)
        chunk = (min(50, len(episode)), *episode.image.shape[1:])
        file.create_dataset("image", data=episode.image, chunks=chunk)
        for name in ("odometry", "command", "bump"):
            file.create_dataset(name, data=getattr(episode, name))
    os.replace(partial, path)


def episode_files(folder: Path) -> list[Path]:
    """The episodes of a data set, in order.

    Raises:
        DatasetError: there is none.
    """
    files = sorted(Path(folder).glob("*.h5"))
    if not files:
        raise DatasetError(f"{folder}: no episodes (*.h5) there; run `foresight collect` first")
    return files


def load_episode(path: Path) -> Episode:
    """Read one episode.

    Raises:
        DatasetError: the file is damaged, of another version, or its arrays disagree in length.
    """
    names = ("image", "odometry", "command", "bump")
    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("version")
            if version != VERSION:
                raise DatasetError(f"{path}: version is {version}, expected {VERSION}")
            arrays = [file[name][:] for name in names]
    except (OSError, KeyError) as error:
        raise DatasetError(f"{path}: damaged ({error}); delete it and collect again") from error
    if len({len(array) for array in arrays}) != 1:
        raise DatasetError(f"{path}: its arrays differ in length; delete it and collect again")
    return Episode(*arrays)
