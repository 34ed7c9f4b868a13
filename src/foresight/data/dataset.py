"""Recorded drives on disk: one HDF5 file per episode, which any HDF5 tool can open.

    image      (T, h, w, 3) uint8   RGB at the size that the model sees
    odometry   (T, 5) float32       x m, y m, yaw rad (odometry frame), v m/s, w rad/s, as measured
    command    (T, 2) float32       v m/s, w rad/s, in force from this frame to the next
    bump       (T,) uint8           1 if the bumper was pressed since the previous frame
attributes: `version`, `period_s`, `robot` (profile name), `source` (which home, which driver).

Since version 2, images are contiguous (no chunks, no compression) and memory-mapped, so a data set
may be larger than memory; images of version 1 are read whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

VERSION = 2
PERIOD_S = 0.1
_SHAPES = {"image": (None, None, 3), "odometry": (5,), "command": (2,), "bump": ()}  # of one frame
_AGAIN = "delete it and collect again"


class DatasetError(ValueError):
    """The data set cannot be read; the message names the file and the remedy."""


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
    """Write an episode; the file appears complete or not at all."""
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        file.attrs.update(version=VERSION, period_s=PERIOD_S, robot=robot, source=source)
        for name in _SHAPES:
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
    """Read one episode; its image is a read-only map of the file.

    Raises:
        DatasetError: the file is damaged, of another version, or holds impossible values.
    """
    try:
        with h5py.File(path, "r") as file:
            version, period_s = file.attrs.get("version"), file.attrs.get("period_s")
            if version not in (1, VERSION):
                raise DatasetError(f"{path}: version is {version}, expected {VERSION}; {_AGAIN}")
            if period_s != PERIOD_S:
                raise DatasetError(
                    f"{path}: period_s is {period_s}, expected {PERIOD_S}; record at that period"
                )
            arrays = {name: _read(path, file, name) for name in _SHAPES}
    except DatasetError:
        raise
    except Exception as error:  # h5py does not document what it raises for a damaged file
        raise DatasetError(f"{path}: damaged ({error}); {_AGAIN}") from error
    if len({len(array) for array in arrays.values()}) != 1:
        raise DatasetError(f"{path}: its arrays differ in length; {_AGAIN}")
    for name in ("odometry", "command"):
        if not np.isfinite(arrays[name]).all():
            raise DatasetError(f"{path}: {name} has numbers that are not finite; {_AGAIN}")
    return Episode(**arrays)


def _read(path: Path, file: h5py.File, name: str) -> np.ndarray:
    """One array stored in this file itself; links to other files are not trusted."""
    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    data = file[name] if own else None
    if not isinstance(data, h5py.Dataset):
        raise KeyError(f"no array '{name}'")
    kind, shape = np.dtype("u1" if name in ("image", "bump") else "f4"), _SHAPES[name]
    fits = data.ndim == 1 + len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, data.shape[1:], strict=True)
    )
    if data.dtype != kind or not fits or not data.size:
        raise DatasetError(
            f"{path}: {name} is {data.dtype}{data.shape}, not as documented; {_AGAIN}"
        )
    if data.nbytes > path.stat().st_size:
        raise DatasetError(f"{path}: {name} is compressed or lies elsewhere; store it plainly")
    offset = data.id.get_offset()
    if name == "image" and offset is not None:
        return np.asarray(np.memmap(path, kind, "r", offset, data.shape))
    return data[:]
