"""The manifest of a bundle: everything about a world model that is not a weight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PLANNER = "planner"
MOST_ACTIONS = 2**22  # imagined in one plan: bounds the memory that a foreign bundle can ask for
GRAPHS = ("encoder", "dynamics", "relation", PLANNER)  # besides, perhaps: policy, more planners


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


Weight = Annotated[float, Field(ge=0)]


class PlannerSpec(_Section):
    """The search that a planner graph holds: shape (static) and cost.

    Every round draws `samples` N action sequences of `horizon` H steps; the first round takes
    `proposals` M of them from outside. The mean of the best `elites` E carries over, each weighing
    exp(-cost / `temperature`), and the best `kept` of them stay in the race. Noise is coloured
    along the horizon: power falls with frequency to the `noise_exponent` (0 is white). While
    searching, the way to the goal is judged after every `judged_every` actions, always after the
    last one. Weights and temperature are of costs per step, in units of
    log1p(seconds to the goal). The robot is a disc of `radius_m`, keeps `margin_m` more free, and
    sees `obstacles` K points of a scan.
    """

    samples: int = Field(default=24, ge=2, le=65536)
    proposals: int = Field(default=18, ge=0)
    iterations: int = Field(default=8, ge=1, le=64)
    horizon: int = Field(default=8, ge=1, le=64)
    judged_every: int = Field(default=1, ge=1)
    elites: int = Field(default=6, ge=2)
    temperature: float = Field(default=0.2, gt=0, le=100)
    kept: int = Field(default=4, ge=0)
    obstacles: int = Field(default=128, ge=1, le=4096)
    noise_exponent: float = Field(default=1.0, ge=0, le=4)
    spread_floor: float = Field(default=0.12, ge=0, le=1)
    radius_m: float = Field(default=0.17, gt=0, le=5)
    margin_m: float = Field(default=0.03, ge=0, le=1)
    final_weight: Weight = 2.5
    collision_weight: Weight = 1.5
    uncertainty_weight: Weight = 0.1
    roughness_weight: Weight = 0.1

    @model_validator(mode="after")
    def _counts_fit(self) -> PlannerSpec:
        if not self.kept <= self.elites <= self.samples or self.proposals >= self.samples:
            raise ValueError("kept <= elites <= samples and proposals < samples are needed")
        if self.samples * self.iterations * self.horizon > MOST_ACTIONS:
            raise ValueError(f"samples * iterations * horizon is more than {MOST_ACTIONS}")
        if self.horizon % self.judged_every:
            raise ValueError("judged_every must divide horizon")
        return self


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

    latent_surprise, no_effect, twist_surprise: of what `foresight.runtime.belief.surprise_parts`
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
    """`manifest.yaml`, the contract between training and deployment.

    `planners`: the search of every planner graph in the bundle; `planner` is there and is what runs
    unless another is asked for.
    """

    schema_version: Literal[3] = 3
    name: str = Field(min_length=1, max_length=64)
    licence: str = "Apache-2.0"
    robot: str
    image: ImageSpec
    proprioception: tuple[str, ...] = ("linear_mps", "angular_radps", "bump")
    action: ActionSpec
    latent_size: int = Field(ge=1, le=8192)
    planners: dict[str, PlannerSpec]
    graphs: dict[str, GraphFile]
    calibration: Calibration
    training: dict[str, str | int | float]
    metrics: dict[str, float]

    @property
    def planner(self) -> PlannerSpec:
        """The search that runs unless another is asked for."""
        return self.planners[PLANNER]

    @model_validator(mode="after")
    def _graphs_are_complete(self) -> Manifest:
        missing = [name for name in (*GRAPHS, *self.planners) if name not in self.graphs]
        if missing:
            raise ValueError(f"graphs lacks {', '.join(missing)}")
        if PLANNER not in self.planners:
            raise ValueError(f"planners lacks {PLANNER}")
        return self
