"""Builds the behaviour tree of a mission.

    mission (sequence)
      find the places                     of the steps that may not be skipped
      remember the start                  if a step may lead back there
      rounds (repeat)
        round (sequence)
          step (selector)
            attempts (retry): go, look .. leaves that ask the robot
            else: skip it, or return and end

All composites have memory: a finished step is not ticked again in its round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from py_trees.behaviour import Behaviour
from py_trees.common import Status
from py_trees.composites import Selector, Sequence
from py_trees.decorators import Repeat, Retry
from py_trees.display import unicode_tree

from foresight.missions.robot import Job, Outcome, Robot
from foresight.missions.schema import (
    START,
    Explore,
    Go,
    Look,
    Mission,
    Remember,
    Return,
    Step,
    Wait,
)

RETURN_LIMIT_S = 300.0
"""Time for driving back after a failure, which may be far."""

Ask = Callable[[Robot], Job]


@dataclass
class Journal:
    """What has happened in a run so far; the tree writes it.

    Attributes:
        log: called for each step and each problem; the flag marks a problem.
        round, step: numbers from 1; 0 before the first.
        doing: description of the running leaf.
        skipped, skipped_here: number of steps, in all and in this round.
        faults: failures in this step, by the description of the leaf.
        problem: the last problem in one sentence, empty if there was none.
        overtaken: how somebody else took the robot over, empty if nobody did.
        verdict: why the mission failed, if that is more than its last step's faults.
    """

    log: Callable[[str, bool], None] = lambda _text, _problem: None
    round: int = 0
    step: int = 0
    doing: str = ""
    skipped: int = 0
    skipped_here: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    overtaken: str = ""
    verdict: str = ""

    def failed(self, words: str, why: str) -> None:
        """Record that a leaf failed; if it is retried, the last reason counts."""
        self.faults[words] = why
        self.problem = f"could not {words}: {why}"
        self.log(self.problem, True)

    def why(self) -> str:
        """Why the mission failed."""
        reasons = "; ".join(f"could not {words}: {why}" for words, why in self.faults.items())
        where = f"step {self.step} failed" if self.step else "the mission did not start"
        return self.verdict or f"{where}: {reasons}"


def build(mission: Mission) -> Behaviour:
    """The mission as a tree. Call `set_up` before the first tick."""
    steps: list[Behaviour] = [
        _step(mission, number, step) for number, step in enumerate(mission.steps, 1)
    ]
    if mission.rounds != 1 and all(map(partial(_may_be_skipped, mission), mission.steps)):
        steps.append(_FailIfAllSkipped("end if all were skipped", len(steps)))
    rounds: Behaviour = _Round("round", memory=True, children=steps)
    if mission.rounds != 1:
        words = f"{mission.rounds} rounds" if mission.rounds else "rounds forever"
        rounds = Repeat(words, rounds, mission.rounds or -1)
    return Sequence(mission.name, memory=True, children=[*_beginning(mission), rounds])


def set_up(tree: Behaviour, robot: Robot, journal: Journal) -> None:
    """Give the tree its robot and the journal that it writes."""
    for node in tree.iterate():
        node.setup(robot=robot, journal=journal)


def outline(mission: Mission) -> str:
    """The tree as text, one node per line."""
    return str(unicode_tree(build(mission)))


def _beginning(mission: Mission) -> list[Behaviour]:
    """What must succeed before the first step."""
    leaves: list[Behaviour] = [_find(place) for place in mission.needed]
    if mission.returns:
        leaves.append(Act("remember the start", lambda robot: robot.remember(START)))
    return leaves


def _find(place: str) -> Behaviour:
    return Act(f"find {place}", lambda robot: robot.find(place))


def _may_be_skipped(mission: Mission, step: Step) -> bool:
    return mission.otherwise_of(step) == "skip" and not isinstance(step, Wait)


def _step(mission: Mission, number: int, step: Step) -> Behaviour:
    if isinstance(step, Wait):  # waiting cannot fail
        return _Step(number, step.words, [_attempt(step)])
    attempt, retries = _attempt(step), mission.retries_of(step)
    if retries:
        attempt = Retry(f"up to {retries + 1} times", attempt, retries + 1)
    children = [attempt]
    otherwise = mission.otherwise_of(step)
    if otherwise == "skip":
        children.append(_Skip("else skip it"))
    elif otherwise == "return" and not isinstance(step, Return):
        ending = [_return(RETURN_LIMIT_S), _GiveUp("end the mission")]
        children.append(Sequence("else go back", memory=True, children=ending))
    return _Step(number, step.words, children)


def _attempt(step: Step) -> Behaviour:
    if isinstance(step, Go):
        return _go(step.go, step.timeout_s)
    if isinstance(step, Look):
        return _look(step)
    if isinstance(step, Return):
        return _return(step.timeout_s)
    return Act(step.words, _plain(step))


def _plain(step: Explore | Remember | Wait) -> Ask:
    if isinstance(step, Explore):
        return lambda robot: robot.explore(step.explore, step.radius_m)
    if isinstance(step, Remember):
        return lambda robot: robot.remember(step.remember)
    return lambda robot: _Waiting(robot, step.wait)


def _go(place: str, timeout_s: float) -> Behaviour:
    return Act(f"go to {place}", lambda robot: robot.go(place, timeout_s))


def _return(timeout_s: float) -> Behaviour:
    return Act("return to the start", lambda robot: robot.go(START, timeout_s))


def _look(step: Look) -> Behaviour:
    photograph = Act(f"take {step.file}", lambda robot: robot.photograph(step.file))
    if step.look is None:
        return photograph
    return Sequence(
        "fetch the view", memory=True, children=[_go(step.look, step.timeout_s), photograph]
    )


class _Node(Behaviour):
    """A node that writes the journal."""

    def setup(self, **given: Any) -> None:
        self.journal: Journal = given["journal"]


class Act(_Node):
    """A leaf that sends the robot a request and follows it to its end."""

    def __init__(self, words: str, ask: Ask) -> None:
        super().__init__(words)
        self._ask = ask
        self._job: Job | None = None

    def setup(self, **given: Any) -> None:
        super().setup(**given)
        self._robot: Robot = given["robot"]

    def update(self) -> Status:
        if self._job is None:
            self.journal.doing = self.name
            self._job = self._ask(self._robot)
        outcome = self._job.poll()
        if outcome is None:
            return Status.RUNNING
        self._job = None
        self.feedback_message = outcome.message
        if outcome.preempted:
            self.journal.overtaken = outcome.message
            return Status.RUNNING
        if outcome.ok:
            self.journal.faults.pop(self.name, None)
            return Status.SUCCESS
        self.journal.failed(self.name, outcome.message)
        return Status.FAILURE

    def terminate(self, new_status: Status) -> None:
        self.suspend()

    def suspend(self) -> None:
        """Cancel the request; the next tick sends it again."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()


class _Step(_Node, Selector):
    """A step, and what to do when it fails."""

    def __init__(self, number: int, words: str, children: list[Behaviour]) -> None:
        Selector.__init__(self, f"{number}. {words}", memory=True, children=children)
        self._number = number

    def initialise(self) -> None:
        self.journal.step = self._number
        self.journal.faults.clear()
        self.journal.log(f"round {self.journal.round}, step {self.name}", False)


class _Round(_Node, Sequence):
    """All steps of a round, in order."""

    def initialise(self) -> None:
        self.journal.round += 1
        self.journal.skipped_here = 0


class _Skip(_Node):
    """The step failed, and the mission continues."""

    def update(self) -> Status:
        self.journal.skipped += 1
        self.journal.skipped_here += 1
        self.journal.log(f"step {self.journal.step} is skipped", True)
        return Status.SUCCESS


class _GiveUp(_Node):
    """A step failed, and the robot has returned to the start."""

    def update(self) -> Status:
        self.journal.verdict = f"{self.journal.why()}; the robot is back at the start"
        return Status.FAILURE


class _FailIfAllSkipped(_Node):
    """Fails after a round in which every step was skipped: the next one would be no better."""

    def __init__(self, words: str, steps: int) -> None:
        super().__init__(words)
        self._steps = steps

    def update(self) -> Status:
        journal = self.journal
        if journal.skipped_here < self._steps:
            return Status.SUCCESS
        journal.verdict = f"every step of round {journal.round} was skipped; {journal.problem}"
        return Status.FAILURE


class _Waiting:
    """Waits on the robot's clock."""

    def __init__(self, robot: Robot, seconds: float) -> None:
        self._robot = robot
        self._end_s = robot.now_s() + seconds

    def poll(self) -> Outcome | None:
        return Outcome(True) if self._robot.now_s() >= self._end_s else None

    def cancel(self) -> None:
        """Nothing to stop."""
