"""The manifest of a bundle: everything about a world model that is not a weight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

GRAPHS = ("encoder", "dynamics", "relation", "planner")  # besides, perhaps: policy


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ImageSpec(_Section):
    """The model's camera: a pinhole with square pixels, optical axis through the centre."""

    width: int = Field(default=80, ge=16, le=512)
    height: int = Field(default=60, ge=16, le=512)
    channels: Literal[3] = 3
    hfov_deg: float = Field(default=90.0, gt=10, lt=170)
    history: Literal[1] = 1


class ActionSpec(_Section):
    """One action: a twist held for `duration_s`. Bounds in the units of the names."""

    names: tuple[str, ...] = ("linear_mps", "angular_radps")
    low: tuple[float, ...] = (-0.2, -1.4)
    high: tuple[float, ...] = (0.5, 1.4)
    duration_s: float = Field(default=0.5, gt=0, le=10)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> ActionSpec:
        ordered = all(a < b for a, b in zip(self.low, self.high, strict=True))
        if not ordered or len(self.low) != len(self.names):
            raise ValueError("every action needs a low bound below its high bound")
        return self


class PlannerSpec(_Section):
    """What the planner graph was built with (its shapes are static)."""

    samples: int = Field(ge=1, le=65536)
    iterations: int = Field(ge=1, le=64)
    horizon: int = Field(ge=1, le=64)
    elites: int = Field(ge=1)


class GraphFile(_Section):
    """An ONNX file beside the manifest, and the digest that it must have."""

    file: str = Field(pattern=r"^[a-z0-9_]+\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


Spread = Annotated[float, Field(gt=0)]


class Scale(_Section):
    """Of a figure on normal driving: its median, and what it exceeds so rarely that it alarms."""

    usual: float
    alarm: float

    @model_validator(mode="after")
    def _alarm_is_above(self) -> Scale:
        if self.alarm <= self.usual:
            raise ValueError("alarm must be above usual")
        return self


class Calibration(_Section):
    """Figures measured on held-out normal driving, in the units of the graphs' outputs.

    latent_surprise, no_effect, twist_surprise: of what `foresight.planning.belief.surprise_parts`
    takes, the median, and what any of the three exceeds in one of 100 minutes at most.
    twist_spread: usual size of measured minus commanded twist (m/s, rad/s). arrived_gap: learned
    distance below which the robot stands at the goal.
    """

    latent_surprise: Scale
    no_effect: Scale
    twist_surprise: Scale
    twist_spread: tuple[Spread, Spread]
    arrived_gap: float = Field(gt=0)


class Manifest(_Section):
    """`manifest.yaml`, the contract between training and deployment."""

    schema_version: Literal[2] = 2
    name: str = Field(min_length=1, max_length=64)
    licence: str = "Apache-2.0"
    robot: str
    image: ImageSpec
    proprioception: tuple[str, ...] = ("linear_mps", "angular_radps", "bump")
    action: ActionSpec
    latent_size: int = Field(ge=1, le=8192)
    planner: PlannerSpec
    graphs: dict[str, GraphFile]
    calibration: Calibration
    training: dict[str, str | int | float]
    metrics: dict[str, float]

    @property
    def horizon(self) -> int:
        """Actions in a plan."""
        return self.planner.horizon

    @model_validator(mode="after")
    def _graphs_are_complete(self) -> Manifest:
        missing = [name for name in GRAPHS if name not in self.graphs]
        if missing:
            raise ValueError(f"graphs lacks {', '.join(missing)}")
        return self
