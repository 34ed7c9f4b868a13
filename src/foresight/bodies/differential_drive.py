"""A base with two driven wheels on one axle: forwards, backwards, and turning, on the spot too."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from foresight.bodies.body import ActionBounds, Body, Section
from foresight.bodies.profile import RobotProfile

NAMES = ("linear_mps", "angular_radps")
CRUISE, REVERSE, TURN = 0.8, 0.9, 0.8
"""Shares of the limits that a robot usually drives at, if its profile does not say."""


class TravelSpeeds(Section):
    """Usual speeds, in which the seconds from place to place are counted. A robot whose
    `reverse_mps` is 0 never drives in reverse."""

    cruise_mps: float = Field(gt=0)
    reverse_mps: float = Field(ge=0)
    turn_radps: float = Field(gt=0)


class DifferentialDrive(Body):
    """Actions are (v m/s, w rad/s): it drives forwards at v and turns left at w.

    How that moves it is computed in `foresight.world_model.motion`.
    """

    kinematics: Literal["differential_drive"] = "differential_drive"
    travel: TravelSpeeds

    @model_validator(mode="after")
    def _actions_are_its_own(self) -> DifferentialDrive:
        if self.action.names != NAMES:
            raise ValueError(f"action.names of a differential_drive are {', '.join(NAMES)}")
        return self

    @classmethod
    def of(cls, profile: RobotProfile) -> DifferentialDrive:
        """The body of the robot of a profile."""
        limits, travel = profile.limits, profile.travel

        def usual(speed: float | None, share: float, limit: float) -> float:
            return share * limit if speed is None else speed

        return cls(
            robot=profile.name,
            footprint_radius_m=profile.footprint_radius_m,
            action=ActionBounds(
                names=NAMES,
                low=(limits.linear_min_mps, -limits.angular_max_radps),
                high=(limits.linear_max_mps, limits.angular_max_radps),
            ),
            travel=TravelSpeeds(
                cruise_mps=usual(travel.cruise_mps, CRUISE, limits.linear_max_mps),
                reverse_mps=usual(travel.reverse_mps, REVERSE, -limits.linear_min_mps),
                turn_radps=usual(travel.turn_radps, TURN, limits.angular_max_radps),
            ),
        )
