"""What turns an environment that is stepped into a robot that runs by the clock."""

from __future__ import annotations

import math

TICK_S = 0.02
"""Simulated time between two looks at the command: a multiple of the physics' time step."""


class MotorDriver:
    """Obeys the last command, and stops when none has come for a while."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._command = (0.0, 0.0)
        self._since_s = -math.inf

    def obey(self, linear_mps: float, angular_radps: float, now_s: float) -> bool:
        """Take a command; False if it is refused because a number is not finite."""
        if not (math.isfinite(linear_mps) and math.isfinite(angular_radps)):
            return False
        self._command, self._since_s = (linear_mps, angular_radps), now_s
        return True

    def command(self, now_s: float) -> tuple[float, float]:
        """What the motors do now (m/s, rad/s); `now_s` by the same clock as in `obey`."""
        return self._command if now_s - self._since_s < self._timeout_s else (0.0, 0.0)


class Rate:
    """Says at which ticks a sensor of a given rate measures; keeps the rate on the long run."""

    def __init__(self, hertz: float) -> None:
        self._period_s = 1.0 / hertz
        self._next_s = 0.0

    def due(self, now_s: float) -> bool:
        """Whether to measure at this tick (simulated time, never decreasing)."""
        if now_s < self._next_s - TICK_S / 2:
            return False
        self._next_s = max(self._next_s + self._period_s, now_s - self._period_s)
        return True


class Pace:
    """Keeps simulated time in step with a steady clock.

    A machine that cannot keep up makes simulated time slower: no tick is ever left out.
    """

    SLACK_S = 0.2
    """Simulated time that may be made up for; what is lost beyond it stays lost."""

    def __init__(self, factor: float) -> None:
        """`factor`: simulated seconds in a second."""
        self._factor = factor
        self._origin: tuple[float, float] | None = None  # steady, simulated
        self._mark: tuple[float, float] | None = None

    def due(self, steady_s: float, simulated_s: float) -> bool:
        """Whether the tick that begins at `simulated_s` should run now."""
        if self._origin is None:
            self._origin = self._mark = (steady_s, simulated_s)
        target_s = self._origin[1] + (steady_s - self._origin[0]) * self._factor
        if target_s - simulated_s > self.SLACK_S:
            self._origin = (steady_s, simulated_s + self.SLACK_S)
        return target_s >= simulated_s + TICK_S

    def achieved(self, steady_s: float, simulated_s: float) -> float:
        """Simulated seconds in a second, since the last call of this method."""
        since = self._mark or (steady_s, simulated_s)
        self._mark = (steady_s, simulated_s)
        passed_s = steady_s - since[0]
        return (simulated_s - since[1]) / passed_s if passed_s > 0 else self._factor
