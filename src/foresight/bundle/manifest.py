"""The manifest of a bundle: everything about a world model that is not a weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from foresight.bodies import AnyBody
from foresight.bodies.body import Section

PLANNER = "planner"
MOST_ACTIONS = 2**22  # imagined in one plan: bounds the memory that a foreign bundle can ask for
GRAPHS = ("encoder", "dynamics", "relation", PLANNER)  # besides, perhaps: policy, more planners


class ImageSpec(Section):
    """The model's camera: a pinhole with square pixels, optical axis through the centre."""

    width: int = Field(default=80, ge=16, le=512)
    height: int = Field(default=60, ge=16, le=512)
    channels: Literal[3] = 3
    hfov_deg: float = Field(default=90.0, gt=10, lt=170)
    history: Literal[1] = 1


Weight = Annotated[float, Field(ge=0)]


class PlannerSpec(Section):
    """The search that a planner graph holds: shape (static) and cost.

    Every round draws `samples` N action sequences of `horizon` H steps; the first round takes
    `proposals` M of them from outside. The mean of the best `elites` E carries over, each weighing
    exp(-cost / `temperature`), and the best `kept` of them stay in the race. Noise is coloured
    along the horizon: power falls with frequency to the `noise_exponent` (0 is white). While
    searching, the way to the goal is judged after every `judged_every` actions, always after the
    last one. Weights and temperature are of costs per step, in units of
    log1p(seconds to the goal). Plans keep `margin_m` more free than the body's footprint, of the
    `obstacles` K points of a scan that they are given.
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


class GraphFile(Section):
    """An ONNX file beside the manifest, and the digest that it must have."""

    file: str = Field(pattern=r"^[a-z0-9_]+\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


Spread = Annotated[float, Field(gt=0)]


class Scale(Section):
    """Of a figure on normal driving: its median, and what it exceeds so rarely that it alarms."""

    usual: float
    alarm: float

    @model_validator(mode="after")
    def _alarm_is_above(self) -> Scale:
        if self.alarm <= self.usual:
            raise ValueError("alarm must be above usual")
        return self


class Calibration(Section):
    """Figures measured on held-out normal driving, in the units of the graphs' outputs.

    latent_surprise, no_effect, twist_surprise: of what `foresight.runtime.belief.surprise_parts`
    takes, the median, and what any of the three exceeds in one of 100 minutes at most.
    twist_spread: usual size (A,) of measured minus commanded speeds, in the units of the body's
    actions. arrived_gap: learned distance, log1p(s), below which the robot stands at the goal.
    """

    latent_surprise: Scale
    no_effect: Scale
    twist_surprise: Scale
    twist_spread: tuple[Spread, ...]
    arrived_gap: float = Field(gt=0)


class Manifest(Section):
    """`manifest.yaml`, the contract between training and deployment.

    `body`: the robot that the model was made for. `action_s`: how long one action is held.
    `planners`: the search of every planner graph in the bundle; `planner` is there and is what runs
    unless another is asked for. A manifest of schema 3 is read as what it says in schema 4.
    """

    schema_version: Literal[4] = 4
    name: str = Field(min_length=1, max_length=64)
    licence: str = "Apache-2.0"
    body: AnyBody
    image: ImageSpec
    action_s: float = Field(gt=0, le=10)
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

    @model_validator(mode="before")
    @classmethod
    def _schema_3_is_read(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and content.get("schema_version") == 3:
            try:
                return _from_schema_3(content)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"not as schema_version 3 has it ({error!r})") from error
        return content

    @model_validator(mode="after")
    def _parts_fit(self) -> Manifest:
        missing = [name for name in (*GRAPHS, *self.planners) if name not in self.graphs]
        if missing:
            raise ValueError(f"graphs lacks {', '.join(missing)}")
        if PLANNER not in self.planners:
            raise ValueError(f"planners lacks {PLANNER}")
        if len(self.calibration.twist_spread) != len(self.body.action.names):
            raise ValueError("calibration.twist_spread needs one number for each action")
        return self


def _from_schema_3(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same in schema 4. Schema 3 knew one kind of base, driven at the same speeds by all."""
    kept = dict(content)
    robot, action, planners = (kept.pop(key) for key in ("robot", "action", "planners"))
    kept.pop("proprioception", None)
    return kept | {
        "schema_version": 4,
        "body": {
            "robot": robot,
            "kinematics": "differential_drive",
            "footprint_radius_m": min(spec["radius_m"] for spec in planners.values()),
            "action": {key: value for key, value in action.items() if key != "duration_s"},
            "travel": {"cruise_mps": 0.4, "reverse_mps": 0.18, "turn_radps": 1.1},
        },
        "action_s": action["duration_s"],
        "planners": {
            name: {key: value for key, value in spec.items() if key != "radius_m"}
            for name, spec in planners.items()
        },
    }
