"""The bundle's world model on the robot: imagine what actions lead to, compare two places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foresight.bundle import Bundle


@dataclass(frozen=True)
class Imagined:
    """N futures of H actions.

    latents (N, H, D) float32; twists (N, H, A) measured speeds after each action, in the units of
    the body's actions; collision (N, H) probability during each action; displacement (N, H, 3)
    x m, y m, yaw rad in the robot's frame at the start (REP-103); expected_error (N, H) squared
    error per latent component that the model expects of itself.
    """

    latents: np.ndarray
    twists: np.ndarray
    collision: np.ndarray
    displacement: np.ndarray
    expected_error: np.ndarray


@dataclass(frozen=True)
class Compared:
    """B pairs of latents a, b: gap (B,) log1p(seconds from a to b); displacement (B, 3) b seen from
    a, x m, y m, yaw rad; close (B,) probability that they are a few seconds apart, without which
    the displacement means nothing."""

    gap: np.ndarray
    displacement: np.ndarray
    close: np.ndarray


class LatentDynamics:
    """Multi-step prediction with the exported graph."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._dynamics = bundle.session("dynamics", threads)
        self.providers = self._dynamics.providers

    def imagine(
        self, latent: np.ndarray, proprioception: np.ndarray, actions: np.ndarray
    ) -> Imagined:
        """What N action sequences would cause.

        Args:
            latent: (D,) float32 belief.
            proprioception: (P,) float32.
            actions: (N, H, A) in the body's units, each held for the manifest's `action_s`.
        """
        actions = np.ascontiguousarray(actions, np.float32)
        count, horizon = actions.shape[:2]
        state = np.repeat(latent[None].astype(np.float32), count, 0)
        body = np.repeat(proprioception[None].astype(np.float32), count, 0)
        found = []
        names = ["next_latent", "next_proprioception", "collision", "displacement"]
        for k in range(horizon):
            inputs = {"latent": state, "proprioception": body, "action": actions[:, k]}
            step = self._dynamics.run([*names, "expected_error"], inputs)
            state, body = step[:2]
            found.append(step)
        latents, bodies, collision, offsets, error = (
            np.stack(parts, 1) for parts in zip(*found, strict=True)
        )
        return Imagined(latents, bodies[..., :-1], collision, _chain(offsets), error)


class Relation:
    """How one place lies from another, with the exported graph."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._session = bundle.session("relation", threads)
        self.providers = self._session.providers

    def __call__(self, latent: np.ndarray, other: np.ndarray) -> Compared:
        """How `other` (B, D) lies from `latent` (B, D)."""
        inputs = {"latent": latent.astype(np.float32), "other": other.astype(np.float32)}
        return Compared(*self._session.run(["gap", "displacement", "close"], inputs))


def _chain(offsets: np.ndarray) -> np.ndarray:
    """Compose step displacements (N, H, 3) into displacements from the start (N, H, 3)."""
    heading = np.cumsum(offsets[..., 2], 1)
    before = heading - offsets[..., 2]
    cos, sin = np.cos(before), np.sin(before)
    x = np.cumsum(cos * offsets[..., 0] - sin * offsets[..., 1], 1)
    y = np.cumsum(sin * offsets[..., 0] + cos * offsets[..., 1], 1)
    return np.stack([x, y, heading], -1)
