"""The bundle's dynamics on the robot: imagine what action sequences lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foresight.bundle import Bundle


@dataclass(frozen=True)
class Imagined:
    """N futures of H actions.

    latents (N, H, D) float32; collision (N, H) probability during each action; displacement
    (N, H, 3) x m, y m, yaw rad in the robot's frame at the start (REP-103).
    """

    latents: np.ndarray
    collision: np.ndarray
    displacement: np.ndarray


class WorldModel:
    """Multi-step prediction with the exported dynamics graph."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._session = bundle.session("dynamics", threads)
        self.providers: list[str] = self._session.get_providers()

    def imagine(
        self, latent: np.ndarray, proprioception: np.ndarray, actions: np.ndarray
    ) -> Imagined:
        """What N action sequences would cause.

        Args:
            latent: (D,) float32 belief.
            proprioception: (P,) float32.
            actions: (N, H, A), m/s and rad/s, each held for the bundle's action duration.
        """
        actions = np.ascontiguousarray(actions, np.float32)
        count, horizon = actions.shape[:2]
        state = np.repeat(latent[None].astype(np.float32), count, 0)
        body = np.repeat(proprioception[None].astype(np.float32), count, 0)
        latents, collision, offsets = [], [], []
        for k in range(horizon):
            inputs = {"latent": state, "proprioception": body, "action": actions[:, k]}
            state, body, bump, offset = self._session.run(
                ["next_latent", "next_proprioception", "collision", "displacement"], inputs
            )
            latents.append(state)
            collision.append(bump)
            offsets.append(offset)
        return Imagined(np.stack(latents, 1), np.stack(collision, 1), _chain(np.stack(offsets, 1)))


def _chain(offsets: np.ndarray) -> np.ndarray:
    """Compose step displacements (N, H, 3) into displacements from the start (N, H, 3)."""
    heading = np.cumsum(offsets[..., 2], 1)
    before = heading - offsets[..., 2]
    cos, sin = np.cos(before), np.sin(before)
    x = np.cumsum(cos * offsets[..., 0] - sin * offsets[..., 1], 1)
    y = np.cumsum(sin * offsets[..., 0] + cos * offsets[..., 1], 1)
    return np.stack([x, y, heading], -1)
