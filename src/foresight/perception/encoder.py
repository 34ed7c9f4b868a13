"""Image -> latent, on the robot."""

from __future__ import annotations

import numpy as np

from foresight.bundle import Bundle


class Encoder:
    """The bundle's encoder.

    Calling it with an image (h, w, 3) uint8 at the model's size gives a latent (D,) float32.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._session = bundle.session("encoder", threads)
        self.providers = self._session.providers

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._session.run(["latent"], {"image": image[None]})[0][0]
