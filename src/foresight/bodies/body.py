"""What a world model must know of the robot that it is made for. A bundle carries it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

BUMP = "bump"


class Section(BaseModel):
    """A part of a checked file: no unknown keys, no change after loading, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ActionBounds(Section):
    """What one action commands, and between which bounds, in the units that the names end in."""

    names: tuple[str, ...] = Field(min_length=1)
    low: tuple[float, ...]
    high: tuple[float, ...]

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> ActionBounds:
        sizes = {len(self.names), len(self.low), len(self.high)}
        if len(sizes) > 1 or not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError("every action needs a low bound below its high bound")
        return self

    def excess(self, limits: ActionBounds) -> str:
        """Where these bounds go beyond others of the same names, for a sentence; empty if nowhere.

        A millionth is no excess: bounds pass through files and float32.
        """
        for k, name in enumerate(self.names):
            if self.low[k] < limits.low[k] - 1e-6 or self.high[k] > limits.high[k] + 1e-6:
                return (
                    f"{name} from {self.low[k]:g} to {self.high[k]:g}, beyond "
                    f"{limits.low[k]:g} to {limits.high[k]:g}"
                )
        return ""


class Body(Section):
    """A robot as its world model knows it. Each kind of base is a subclass in a file of its own.

    Args:
        robot: name of the profile that this is made of.
        kinematics: the kind of base, the name by which files tell subclasses apart.
        footprint_radius_m: of the disc about base_link that holds the robot.
        action: A numbers.
    """

    robot: str = Field(min_length=1, max_length=64)
    kinematics: str
    footprint_radius_m: float = Field(gt=0, le=5)
    action: ActionBounds

    @property
    def proprioception(self) -> tuple[str, ...]:
        """Names of what the robot feels, P = A + 1: each speed that actions command, as measured,
        then the bumper (0 or 1)."""
        return (*self.action.names, BUMP)

    @property
    def typical_action(self) -> tuple[float, ...]:
        """The size (A,) that networks divide actions and measured speeds by.

        Root mean square of commands drawn evenly between the bounds, to one digit: inputs of about
        unit size are all that matters, and a round number is the same wherever it is computed.
        """
        pairs = zip(self.action.low, self.action.high, strict=True)
        return tuple(float(f"{((a * a + a * b + b * b) / 3) ** 0.5:.0e}") for a, b in pairs)

    def misfit(self, robot: Body) -> str:
        """Why a robot cannot be driven by a model made for this body, for the end of a sentence;
        empty if it can.

        It can be slimmer and faster than this body, but not wider or slower, and it needs the same
        kinematics.
        """
        if robot.kinematics != self.kinematics or robot.action.names != self.action.names:
            return (
                f"actions are {', '.join(self.action.names)} of a base '{self.kinematics}', the "
                f"robot takes {', '.join(robot.action.names)} of '{robot.kinematics}'"
            )
        if excess := self.action.excess(robot.action):
            return f"plans command {excess} that the robot allows"
        if robot.footprint_radius_m > self.footprint_radius_m + 1e-6:
            return (
                f"plans keep a radius of {self.footprint_radius_m:g} m clear, footprint_radius_m "
                f"of the robot is {robot.footprint_radius_m:g}"
            )
        return ""
