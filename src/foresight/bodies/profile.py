"""The robot profile: what the stack must know of a robot, read from one YAML file."""

from __future__ import annotations

import reprlib
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from foresight.bodies.body import Section

MAX_PROFILE_BYTES = 64 * 1024
STOP_DELAY_S = 0.2
"""A stop takes no longer than braking at the profile's deceleration, and this."""


class ProfileError(ValueError):
    """The profile cannot be used; the message names file, key, value and remedy."""


class Limits(Section):
    """Velocity, acceleration and jerk that no command ever exceeds."""

    linear_min_mps: float = Field(ge=-5, le=0)
    linear_max_mps: float = Field(gt=0, le=5)
    angular_max_radps: float = Field(gt=0, le=10)
    linear_accel_mps2: float = Field(gt=0, le=20)
    linear_decel_mps2: float = Field(gt=0, le=20)
    angular_accel_radps2: float = Field(gt=0, le=100)
    linear_jerk_mps3: float = Field(gt=0, le=1000)
    angular_jerk_radps3: float = Field(gt=0, le=5000)

    @model_validator(mode="after")
    def _jerk_lets_it_stop(self) -> Limits:
        """Refuse a jerk that takes too long to turn speeding up round into braking."""
        for key, jerk, accel, decel in (
            (
                "linear_jerk_mps3",
                self.linear_jerk_mps3,
                self.linear_accel_mps2,
                self.linear_decel_mps2,
            ),
            (
                "angular_jerk_radps3",
                self.angular_jerk_radps3,
                self.angular_accel_radps2,
                self.angular_accel_radps2,
            ),
        ):
            # Acceleration to zero, what the speed gains meanwhile, and half of each braking ramp.
            least = (accel + accel**2 / (2.0 * decel) + decel) / STOP_DELAY_S
            if jerk < least:
                raise ValueError(
                    f"{key} is {jerk:g}, which makes a stop more than {STOP_DELAY_S} s longer than "
                    f"braking; give {least:.3g} or more, or a lower acceleration"
                )
        return self


class Travel(Section):
    """How fast the robot usually drives: what its model's distances in seconds are taught at.

    What is None is a share of the limits, see `foresight.bodies.differential_drive`.
    """

    cruise_mps: float | None = Field(default=None, gt=0)
    reverse_mps: float | None = Field(default=None, ge=0)
    turn_radps: float | None = Field(default=None, gt=0)


class Wheels(Section):
    """Geometry of a differential drive."""

    wheel_radius_m: float = Field(gt=0, le=1)
    wheel_separation_m: float = Field(gt=0, le=2)


class Camera(Section):
    """A forward camera, mounted at (x, 0, z) of base_link, pitched down by `pitch_deg`."""

    width: int = Field(ge=32, le=4096)
    height: int = Field(ge=32, le=4096)
    hfov_deg: float = Field(gt=10, lt=170)
    rate_hz: float = Field(ge=1, le=120)
    x_m: float = Field(ge=-2, le=2)
    z_m: float = Field(gt=0, le=3)
    pitch_deg: float = Field(default=0.0, ge=-60, le=60)


class ScannerMount(Section):
    """Where the scanner sits on base_link, level; `yaw_deg` is where its beam of angle 0 looks."""

    x_m: float = Field(default=0.0, ge=-2, le=2)
    y_m: float = Field(default=0.0, ge=-2, le=2)
    z_m: float = Field(default=0.0, ge=0, le=3)
    yaw_deg: float = Field(default=0.0, ge=-180, le=180)
    upside_down: bool = False


class Scan(Section):
    """A planar scan over the full circle, its first beam of angle 0, the others counter-clockwise.

    `mount` stands in for the scanner's static transform; without either the scan is of no use.
    """

    beams: int = Field(ge=8, le=4096)
    range_max_m: float = Field(gt=0.1, le=100)
    rate_hz: float = Field(ge=1, le=100)
    mount: ScannerMount | None = None


class Odometry(Section):
    """Wheel odometry."""

    rate_hz: float = Field(ge=5, le=500)


class RobotProfile(Section):
    """One robot. Lengths in m, speeds in m/s and rad/s; axes of REP-103."""

    name: str = Field(min_length=1, max_length=64)
    footprint_radius_m: float = Field(gt=0.01, le=2)
    driver_timeout_s: float = Field(gt=0, le=5)
    stamped_cmd_vel: bool = False
    limits: Limits
    travel: Travel = Travel()
    drive: Wheels
    camera: Camera
    scan: Scan
    odometry: Odometry

    @model_validator(mode="after")
    def _travels_within_limits(self) -> RobotProfile:
        limits, travel = self.limits, self.travel
        for key, speed, highest in (
            ("cruise_mps", travel.cruise_mps, limits.linear_max_mps),
            ("reverse_mps", travel.reverse_mps, -limits.linear_min_mps),
            ("turn_radps", travel.turn_radps, limits.angular_max_radps),
        ):
            if speed is not None and speed > highest:
                raise ValueError(
                    f"travel.{key} is {speed:g}, above the limit of {highest:g}; give a speed that "
                    "the limits allow, or leave the key out"
                )
        return self

    @classmethod
    def load(cls, path: str | Path) -> RobotProfile:
        """Read and check a profile.

        Raises:
            ProfileError: the file is missing, too large, no YAML, or a value is wrong.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PROFILE_BYTES + 1)
        except OSError as error:
            raise ProfileError(
                f"{path}: {error.strerror or error}; give a file such as config/robots/homebot.yaml"
            ) from error
        if len(data) > MAX_PROFILE_BYTES:
            raise ProfileError(f"{path}: larger than {MAX_PROFILE_BYTES} bytes; no robot profile")
        try:
            content = yaml.safe_load(data.decode("utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ProfileError(f"{path}: not valid YAML ({reason})") from error
        except RecursionError:
            raise ProfileError(f"{path}: nested too deeply; no robot profile") from None
        if not isinstance(content, dict):
            raise ProfileError(f"{path}: expected keys and values, found {type(content).__name__}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ProfileError(f"{path}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    remedy = fault["msg"][0].lower() + fault["msg"][1:]
    if fault["type"] == "missing":
        return f"key '{key}' is missing; add it (config/robots/homebot.yaml shows every key)"
    if fault["type"] == "extra_forbidden":
        return f"key '{key}' is unknown; remove it or correct its spelling"
    if fault["type"] == "value_error":  # of a whole section; it names the key
        return f"{key}.{fault['ctx']['error']}".lstrip(".")
    return f"key '{key}' has the value {reprlib.repr(fault['input'])}: {remedy}"
