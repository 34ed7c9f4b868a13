"""What a mission asks of a robot. The tree knows no more of it, so that a test can play robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """How something ended; the message is a sentence, and says why when it is not well.

    `preempted`: somebody else took the robot over. The mission must not wrestle for it.
    """

    ok: bool
    message: str = ""
    preempted: bool = False


class Job(Protocol):
    """Something that the robot was asked for."""

    def poll(self) -> Outcome | None:
        """Go on with it without waiting; None until it has ended. Called at every tick."""

    def cancel(self) -> None:
        """Bring it to an end, the robot to rest; it is not polled again."""


class Robot(Protocol):
    """Whoever can do what the steps say. Every method returns at once."""

    def now_s(self) -> float:
        """The time that waiting is measured in, s."""

    def find(self, place: str) -> Job:
        """Look up a place; it fails when none has this name."""

    def go(self, place: str, timeout_s: float) -> Job:
        """Drive to a remembered place within this time, s."""

    def explore(self, time_limit_s: float, radius_m: float) -> Job:
        """Drive around to learn for this time, s, at most so far from here, m (0: no bound)."""

    def remember(self, place: str) -> Job:
        """Give the place where the robot is this name."""

    def photograph(self, file: str) -> Job:
        """Take a picture and keep it under this name, or one like it if that is taken."""
