"""Stores the pictures of a mission."""

from __future__ import annotations

from pathlib import Path

import cv2

from foresight.perception.image import Rgb

MAX_COPIES = 9999


def save(rgb: Rgb, folder: str | Path, name: str) -> Path:
    """Save a picture as `hall.jpg`, or as `hall-2.jpg`, `hall-3.jpg` ... if that exists.

    Args:
        rgb: (height, width, 3) uint8.
        folder: created if it does not exist.
        name: file name; its suffix, .jpg or .png, selects the format.

    Raises:
        OSError: it cannot be written, or too many pictures have that name.
    """
    folder, wanted = Path(folder), Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(wanted.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise OSError(f"{folder / name}: the picture cannot be encoded as {wanted.suffix}")
    for number in range(1, MAX_COPIES + 1):
        path = folder / (name if number == 1 else f"{wanted.stem}-{number}{wanted.suffix}")
        try:
            with path.open("xb") as file:
                file.write(data.tobytes())
        except FileExistsError:
            continue
        return path
    raise OSError(
        f"{folder / name}: {MAX_COPIES} pictures of that name exist already; move them away"
    )
