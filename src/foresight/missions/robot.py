"""The interface between a mission and its robot. The tree uses no other, so tests can fake it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """How a job ended; the message is one sentence and gives the reason for a failure.

    `preempted`: somebody else took the robot over. The mission must not compete for it.
    """

    ok: bool
    message: str = ""
    preempted: bool = False


class Job(Protocol):
    """A request that the robot is carrying out."""

    def poll(self) -> Outcome | None:
        """Advance without blocking; None until it has ended. Called at every tick."""

    def cancel(self) -> None:
        """End it and bring the robot to rest; it is not polled again."""


class Robot(Protocol):
    """Carries out the steps of a mission. Every method returns at once."""

    def now_s(self) -> float:
        """The clock that waiting uses, s."""

    def find(self, place: str) -> Job:
        """Look up a place; fails if no place has this name."""

    def go(self, place: str, timeout_s: float) -> Job:
        """Drive to a remembered place within this time, s."""

    def explore(self, time_limit_s: float, radius_m: float) -> Job:
        """Explore for this time, s, within this radius of here, m (0: no bound)."""

    def remember(self, place: str) -> Job:
        """Name the place where the robot is."""

    def photograph(self, file: str) -> Job:
        """Take a picture and save it under this name, or a numbered one if that exists."""
