"""One run of a mission, tick by tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from py_trees.common import Status

from foresight.missions.robot import Robot
from foresight.missions.schema import Mission
from foresight.missions.tree import Act, Journal, build, set_up


class State(Enum):
    """State of a run."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Progress:
    """Progress of a run; the fields are those of MissionStatus."""

    mission: str
    state: State
    round: int
    rounds: int
    step: int
    steps: int
    skipped: int
    doing: str
    message: str


class Run:
    """Carries out a mission. The caller calls `tick` about ten times a second."""

    def __init__(
        self,
        mission: Mission,
        robot: Robot,
        log: Callable[[str, bool], None] = lambda _text, _problem: None,
    ) -> None:
        """
        Args:
            mission: what to do.
            robot: carries it out.
            log: called with one sentence for each step and each problem; the flag marks a problem.
        """
        self.mission = mission
        self.state = State.RUNNING
        self._log = log
        self._journal = Journal(log)
        self._message = ""
        self._tree = build(mission)
        set_up(self._tree, robot, self._journal)

    @property
    def over(self) -> bool:
        """Whether it has ended, in success or failure."""
        return self.state not in (State.RUNNING, State.PAUSED)

    @property
    def progress(self) -> Progress:
        """The present progress."""
        journal = self._journal
        return Progress(
            mission=self.mission.name,
            state=self.state,
            round=journal.round,
            rounds=self.mission.rounds,
            step=journal.step,
            steps=len(self.mission.steps),
            skipped=journal.skipped,
            doing=journal.doing if self.state is State.RUNNING else "",
            message=self._message or journal.overtaken or journal.problem,
        )

    def tick(self) -> None:
        """Advance without blocking; does nothing while paused or after the end.

        The run pauses when somebody else takes the robot over.
        """
        if self.state is not State.RUNNING:
            return
        self._tree.tick_once()
        if self._tree.status is Status.SUCCESS:
            self._end(State.SUCCEEDED, self._done())
        elif self._tree.status is Status.FAILURE:
            self._end(State.FAILED, self._journal.why())
        elif self._journal.overtaken:
            self.state = State.PAUSED
            self._log(f"paused: {self._journal.overtaken}", True)

    def pause(self) -> None:
        """Cancel what the robot is doing; `resume` restarts the same leaf of the tree."""
        if self.state is State.RUNNING:
            leaf = self._tree.tip()
            if isinstance(leaf, Act):
                leaf.suspend()
            self.state = State.PAUSED

    def resume(self) -> None:
        """Continue after a pause."""
        if self.state is State.PAUSED:
            self.state, self._journal.overtaken = State.RUNNING, ""

    def stop(self, why: str) -> None:
        """Cancel what the robot is doing and end; `why` is one sentence."""
        if not self.over:
            self._tree.stop(Status.INVALID)
            self._end(State.CANCELLED, why)

    def _end(self, state: State, message: str) -> None:
        self.state, self._message = state, message

    def _done(self) -> str:
        rounds, skipped = self._journal.round, self._journal.skipped
        text = "all steps are done" if rounds == 1 else f"all {rounds} rounds are done"
        if not skipped:
            return text
        return f"{text}, {skipped} step{'s were' if skipped > 1 else ' was'} skipped"
