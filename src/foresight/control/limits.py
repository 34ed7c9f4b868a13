"""Jerk-, acceleration- and velocity-limited commands."""

from __future__ import annotations

import math

from foresight.bodies.profile import Limits

_LEAST_STEP_S = 1e-6  # below it the arithmetic overflows, and nothing can have changed
_ROUNDING = 1e-12  # m/s or rad/s: less is none, or a stop would end in a trace of motion


class VelocityLimiter:
    """Follows a target twist as fast as the profile's limits allow.

    Each axis keeps a velocity and an acceleration. The acceleration moves to the value that
    brings the velocity to its target without overshoot, at no more than the jerk limit. A
    reversal goes through rest, for braking and speeding up have limits of their own.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Start again from rest."""
        self.linear_mps = self.angular_radps = 0.0
        self._linear_accel = self._angular_accel = 0.0

    @property
    def at_rest(self) -> bool:
        """True when the last command was zero on both axes."""
        return self.linear_mps == 0.0 and self.angular_radps == 0.0

    def step(self, linear_mps: float, angular_radps: float, dt_s: float) -> tuple[float, float]:
        """Next command (m/s, rad/s), `dt_s` seconds after the last one, towards the target twist.

        A target that is not finite counts as zero.
        """
        limits = self._limits
        linear = _clamp(linear_mps, limits.linear_min_mps, limits.linear_max_mps)
        angular = _clamp(angular_radps, -limits.angular_max_radps, limits.angular_max_radps)
        if linear * self.linear_mps < 0.0:
            linear = 0.0
        # However uneven the steps: braking ends at rest, not beyond it.
        within = (
            limits.linear_min_mps if self.linear_mps <= 0.0 else 0.0,
            limits.linear_max_mps if self.linear_mps >= 0.0 else 0.0,
        )
        undone = limits.linear_jerk_mps3 * dt_s * (1.0 + 1e-9)
        if self.linear_mps == 0.0 and abs(self._linear_accel) > undone:
            self._linear_accel = 0.0
        slowing = abs(linear) < abs(self.linear_mps)
        accel = limits.linear_decel_mps2 if slowing else limits.linear_accel_mps2
        self.linear_mps, self._linear_accel = _approach(
            self.linear_mps,
            self._linear_accel,
            linear,
            accel,
            limits.linear_jerk_mps3,
            dt_s,
            within,
        )
        self.angular_radps, self._angular_accel = _approach(
            self.angular_radps,
            self._angular_accel,
            angular,
            limits.angular_accel_radps2,
            limits.angular_jerk_radps3,
            dt_s,
            (-limits.angular_max_radps, limits.angular_max_radps),
        )
        return self.linear_mps, self.angular_radps


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high) if math.isfinite(value) else 0.0


def _approach(
    velocity: float,
    accel: float,
    target: float,
    accel_max: float,
    jerk: float,
    dt: float,
    within: tuple[float, float],
) -> tuple[float, float]:
    """One step of one axis: (velocity, acceleration) after `dt`.

    Exact in discrete time: with q = jerk * dt, an acceleration a that falls by q per step adds
    dt * (a + (a - q) + ...) to the velocity until it is zero; the wanted a just fills the gap.
    """
    if dt < _LEAST_STEP_S:
        return velocity, accel
    gap, quantum = (target - velocity) / dt, jerk * dt
    steps = math.floor((math.sqrt(1.0 + 8.0 * abs(gap) / quantum) - 1.0) / 2.0)
    ramp = (abs(gap) + quantum * steps * (steps + 1) / 2.0) / (steps + 1)
    wanted = math.copysign(min(ramp, accel_max), gap)
    accel += min(max(wanted - accel, -quantum), quantum)
    landed = abs(accel - gap) < 1e-9 and abs(accel) <= quantum * (1.0 + 1e-9)
    if landed:
        return target, accel
    # Steps of uneven length may leave a trace of overshoot: the limit itself still holds.
    limited = _clamp(velocity + accel * dt, *within)
    if abs(limited) < _ROUNDING:
        limited = 0.0
    return limited, (limited - velocity) / dt
