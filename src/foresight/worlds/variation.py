"""Domain randomisation: robots and homes that differ as real ones do (Tobin et al., 2017).

What is learned from many such robots doesn't hang on one camera mount, one lamp or one wheel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from foresight.bodies.profile import RobotProfile

TIMESTEP_S = 0.004
"""Of the simulated physics."""


@dataclass(frozen=True)
class Noise:
    """What real sensors add, as standard deviations; the first two are drawn once per robot."""

    wheel_scale: float = 0.02  # both wheels alike: wear, tyre pressure
    wheel_mismatch: float = 0.003  # one against the other: makes odometry curve
    wheel_step: float = 0.02
    scan_m: float = 0.01
    image_gain: float = 0.02


@dataclass(frozen=True)
class Conditions:
    """What else differs from one robot and evening to another."""

    light: tuple[float, float, float] = (1.0, 1.0, 1.0)  # strength of every lamp, by colour
    exposure: float = 1.0  # gain of the camera
    latency_s: float = 0.0  # from a command to the wheels; a multiple of TIMESTEP_S


@dataclass(frozen=True)
class Variation:
    """One robot in one home, as it was drawn; by default as the profile and the home say.

    Attributes:
        looks: seed of the home's textures and lamps; None: the home's own.
        camera_z_m, camera_pitch_deg, camera_hfov_deg: added to the profile's camera.
        noise: how good its sensors are; the wheels' scale is drawn from it.
        conditions: light, exposure, latency.
    """

    looks: int | None = None
    camera_z_m: float = 0.0
    camera_pitch_deg: float = 0.0
    camera_hfov_deg: float = 0.0
    noise: Noise = Noise()
    conditions: Conditions = Conditions()

    @classmethod
    def draw(cls, seed: int) -> Variation:
        """A robot and its home; every second home is papered anew."""
        rng = np.random.default_rng([53, seed])
        looks = int(rng.integers(2**31)) if rng.random() < 0.5 else None

        def between(low: float, high: float) -> float:
            return round(float(rng.uniform(low, high)), 4)

        strength = between(0.6, 1.3)
        red, green, blue = (round(strength * between(0.88, 1.0), 4) for _ in range(3))
        return cls(
            looks=looks,
            camera_z_m=between(-0.03, 0.03),
            camera_pitch_deg=between(-3.0, 3.0),
            camera_hfov_deg=between(-4.0, 4.0),
            noise=Noise(
                wheel_scale=between(0.0, 0.05),
                wheel_mismatch=between(0.0, 0.006),
                wheel_step=between(0.01, 0.05),
                image_gain=between(0.01, 0.05),
            ),
            conditions=Conditions(
                light=(red, green, blue),
                exposure=between(0.8, 1.2),
                latency_s=round(int(between(0.0, 0.15) / TIMESTEP_S) * TIMESTEP_S, 4),
            ),
        )

    def applied_to(self, profile: RobotProfile) -> RobotProfile:
        """The robot with its camera mounted as it was drawn."""
        camera = profile.camera.model_copy(
            update={
                "z_m": profile.camera.z_m + self.camera_z_m,
                "pitch_deg": profile.camera.pitch_deg + self.camera_pitch_deg,
                "hfov_deg": profile.camera.hfov_deg + self.camera_hfov_deg,
            }
        )
        return profile.model_copy(update={"camera": camera})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in _flat(asdict(self)).items())


NO_VARIATION = Variation()


def _flat(values: dict[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat
