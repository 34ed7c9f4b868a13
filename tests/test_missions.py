"""Missions without ROS: the file format, and how the tree drives a robot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from foresight.apps.cli import app
from foresight.missions import Mission, MissionError, Outcome, Run, State, outline
from foresight.missions.image_store import save
from foresight.missions.schema import MAX_MISSION_BYTES, START

SHIPPED = sorted((Path(__file__).parents[1] / "config" / "missions").glob("*.yaml"))
BACK = ("go", START, 300.0)
runner = CliRunner()


class FakeJob:
    """Ends when the test says so."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.cancelled = False

    def poll(self) -> Outcome | None:
        assert not self.cancelled
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class FakeRobot:
    """Records the requests; `does` says how each ends; by default it succeeds at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.jobs: list[FakeJob] = []
        self.unknown: set[str] = set()
        self.time_s = 100.0
        self.does: Callable[[tuple[Any, ...]], Outcome | None] = lambda _asked: Outcome(True)

    def now_s(self) -> float:
        return self.time_s

    def _ask(self, *what: Any) -> FakeJob:
        job = FakeJob()
        job.outcome = self.does(what)
        self.asked.append(what)
        self.jobs.append(job)
        return job

    def find(self, place: str) -> FakeJob:
        job = FakeJob()
        job.outcome = Outcome(place not in self.unknown, f"no place is called '{place}'")
        return job

    def go(self, place: str, timeout_s: float) -> FakeJob:
        return self._ask("go", place, timeout_s)

    def explore(self, time_limit_s: float, radius_m: float) -> FakeJob:
        return self._ask("explore", time_limit_s, radius_m)

    def remember(self, place: str) -> FakeJob:
        return self._ask("remember", place)

    def photograph(self, file: str) -> FakeJob:
        return self._ask("photograph", file)


@pytest.fixture
def robot() -> FakeRobot:
    return FakeRobot()


def mission(*steps: Any, **keys: Any) -> Mission:
    return Mission.model_validate({"name": "test", "steps": list(steps)} | keys)


def finish(run: Run, ticks: int = 100) -> State:
    for _ in range(ticks):
        run.tick()
    assert run.over
    return run.state


def failing(*words: str, times: int = 1000) -> Callable[[tuple[Any, ...]], Outcome]:
    """A robot's `does`: requests that contain all of these words fail this many times."""
    left = times

    def does(asked: tuple[Any, ...]) -> Outcome:
        nonlocal left
        if not all(word in asked for word in words) or not left:
            return Outcome(True)
        left -= 1
        return Outcome(False, "the door is shut")

    return does


# --- the file


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_missions_load_and_run(path: Path, robot: FakeRobot) -> None:
    shipped = Mission.load(path)
    assert len(outline(shipped).splitlines()) > len(shipped.steps)
    run = Run(shipped, robot)
    for _ in range(200):
        run.tick()
        robot.time_s += 10.0
    assert run.state is (State.RUNNING if shipped.rounds == 0 else State.SUCCEEDED)


def test_reads_every_form_of_a_step(tmp_path: Path) -> None:
    path = tmp_path / "mission.yaml"
    path.write_text(
        "name: all\nsteps:\n- go: ' hall '\n  timeout_s: 5\n- return\n- return: true\n- return:\n"
        "- look\n- look: the hall/2\n- {look: hall, save: a.png}\n- explore: 30\n- wait: 2.5\n"
        "- remember: dock\n  otherwise: skip\n"
    )
    steps: Any = Mission.load(path).steps
    assert (steps[0].go, steps[0].timeout_s) == ("hall", 5.0)
    assert [step.verb for step in steps[1:4]] == ["return"] * 3
    assert [step.file for step in steps[4:7]] == ["view.jpg", "the_hall_2.jpg", "a.png"]
    assert (steps[7].explore, steps[7].radius_m, steps[8].wait) == (30.0, 0.0, 2.5)
    assert (steps[9].remember, steps[9].otherwise) == ("dock", "skip")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("go: 5", "step 1: key 'go' has the value 5: text is expected; put it in quotes"),
        ("go", "step 1: key 'go' has the value None: text is expected; give one"),
        ("go: '  '", "key 'go' has the value '  ': it is empty"),
        ("go: " + "x" * 65, "at most 64 characters"),
        ('go: "a\\tb"', "control characters"),
        ("go: mission start", "reserved for the step `return`"),
        ("{go: a, timeout_s: -5}", "key 'timeout_s' has the value -5: input should be greater"),
        ("{go: a, timeout_s: .inf}", "finite"),
        ("{go: a, tmeout_s: 5}", "key 'tmeout_s' is unknown; remove it or correct its spelling"),
        ("{go: a, otherwise: fly}", "'skip', 'stop' or 'return'"),
        ("{go: a, retries: 21}", "less than or equal to 20"),
        ("{go: a, retries: true}", "valid integer"),
        ("{go: a, wait: 5}", "it has the verbs go and wait; make each a separate step"),
        ("{go: a, go: b}", "the key 'go' is given twice"),
        ("goo: kitchen", "it has no verb; did you mean 'go'"),
        ("fly", "it has no verb; the verbs are go, look, explore, remember, wait, return"),
        ("3", "a step is one of the verbs"),
        ("{look: a, save: ../b.jpg}", "not a plain file name; give one such as hall.jpg"),
        ("{look: a, save: b.gif}", "not a plain file name"),
        ("return: false", "key 'return'"),
        ("explore: 0", "greater than 0"),
        ("{explore: 5, radius_m: -1}", "greater than or equal to 0"),
        ("wait: 100000", "less than or equal to 86400"),
    ],
    ids=lambda text: text[:30],
)
def test_reports_a_wrong_step_in_one_sentence(step: str, says: str, tmp_path: Path) -> None:
    assert says in refusal(tmp_path, f"name: x\nsteps:\n- {step}\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: [return]", "key 'name' is missing; add it"),
        ("name: x\nsteps: []", "key 'steps' has the value []"),
        ("name: x\nsteps: 5", "key 'steps' has the value 5"),
        ("name: x\nrepeat: often\nsteps: [return]", "from 1 to 10000 is expected, or forever"),
        ("name: x\nrepeat: 0\nsteps: [return]", "from 1 to 10000"),
        ("name: x\nspeed: 3\nsteps: [return]", "key 'speed' is unknown"),
        ("name: [x", "not valid YAML"),
        ("- return", "expected keys and values (name, steps ...), found list"),
        ("name: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("#" * (MAX_MISSION_BYTES + 1), "larger than"),
    ],
    ids=lambda text: text[:30],
)
def test_reports_a_wrong_file_in_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    assert says in refusal(tmp_path, text)


def test_suggests_a_shipped_mission_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissionError, match=r"absent.yaml: No such file .*patrol.yaml"):
        Mission.load(tmp_path / "absent.yaml")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_mission_errors(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(MissionError):
        Mission.load(path)


def refusal(folder: Path, text: str) -> str:
    path = folder / "mission.yaml"
    path.write_text(text)
    with pytest.raises(MissionError) as caught:
        Mission.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


# --- the tree


def test_carries_out_the_steps_in_order_and_succeeds(robot: FakeRobot) -> None:
    steps = [{"go": "a"}, {"look": "b"}, "look", {"explore": 9, "radius_m": 2}, {"remember": "c"}]
    run = Run(mission(*steps, "return"), robot)
    assert finish(run) is State.SUCCEEDED
    assert robot.asked == [
        ("remember", START),
        ("go", "a", 120.0),
        ("go", "b", 120.0),
        ("photograph", "b.jpg"),
        ("photograph", "view.jpg"),
        ("explore", 9.0, 2.0),
        ("remember", "c"),
        ("go", START, 120.0),
    ]
    assert run.progress.message == "all steps are done"


def test_remembers_the_start_only_if_a_step_may_return_to_it(robot: FakeRobot) -> None:
    assert finish(Run(mission({"go": "a"}), robot)) is State.SUCCEEDED
    assert robot.asked == [("go", "a", 120.0)]
    finish(Run(mission({"go": "a"}, otherwise="return"), robot))
    assert robot.asked[1:] == [("remember", START), ("go", "a", 120.0)]


def test_does_not_start_if_the_start_cannot_be_remembered(robot: FakeRobot) -> None:
    robot.does = failing("remember")
    run = Run(mission({"go": "a"}, "return"), robot)
    assert finish(run) is State.FAILED
    assert run.progress.message == (
        "the mission did not start: could not remember the start: the door is shut"
    )
    assert robot.asked == [("remember", START)]


def test_reports_an_unknown_place_before_the_robot_moves(robot: FakeRobot) -> None:
    robot.unknown = {"b", "dock"}
    steps = [{"go": "a"}, {"remember": "dock"}, {"go": "dock"}, {"look": "b"}]
    run = Run(mission(*steps), robot)
    assert finish(run) is State.FAILED and not robot.asked
    assert (
        run.progress.message
        == "the mission did not start: could not find b: no place is called 'b'"
    )


def test_starts_although_the_place_of_a_skippable_step_is_unknown(robot: FakeRobot) -> None:
    robot.unknown = {"a"}
    steps = [{"go": "a", "otherwise": "skip"}, "look"]
    assert finish(Run(mission(*steps), robot)) is State.SUCCEEDED


def test_a_step_lasts_as_long_as_its_job(robot: FakeRobot) -> None:
    robot.does = lambda _asked: None
    run = Run(mission({"go": "a"}, {"go": "b"}), robot)
    for _ in range(5):
        run.tick()
    assert len(robot.jobs) == 1 and run.progress.doing == "go to a"
    robot.jobs[0].outcome = Outcome(True)
    run.tick()
    assert robot.asked[-1] == ("go", "b", 120.0)
    assert (run.progress.step, run.progress.doing) == (2, "go to b")
    robot.jobs[1].outcome = Outcome(True)
    run.tick()
    assert run.state is State.SUCCEEDED and run.progress.doing == ""


def test_waits_by_the_robots_clock(robot: FakeRobot) -> None:
    run = Run(mission({"wait": 5}), robot)
    run.tick()
    robot.time_s += 4.9
    run.tick()
    assert not run.over
    robot.time_s += 0.2
    run.tick()
    assert run.state is State.SUCCEEDED


def test_retries_a_failed_step(robot: FakeRobot) -> None:
    robot.does = failing("a", times=2)
    run = Run(mission({"go": "a", "retries": 2}, {"go": "b"}), robot)
    assert finish(run) is State.SUCCEEDED
    assert [place for _, place, _ in robot.asked] == ["a", "a", "a", "b"]
    assert run.progress.skipped == 0


def test_a_retried_look_repeats_its_drive(robot: FakeRobot) -> None:
    robot.does = failing("photograph", times=1)
    assert finish(Run(mission({"look": "a"}, retries=1), robot)) is State.SUCCEEDED
    assert [asked[0] for asked in robot.asked] == ["go", "photograph"] * 2


def test_otherwise_stop_ends_the_mission_with_the_reason(robot: FakeRobot) -> None:
    robot.does = failing("b")
    run = Run(mission({"go": "a"}, {"go": "b", "retries": 1}, {"go": "c"}), robot)
    assert finish(run) is State.FAILED
    assert [place for _, place, _ in robot.asked] == ["a", "b", "b"]
    assert run.progress.message == "step 2 failed: could not go to b: the door is shut"


def test_otherwise_skip_continues_with_the_next_step(robot: FakeRobot) -> None:
    robot.does = failing("a")
    run = Run(mission({"go": "a", "otherwise": "skip"}, {"go": "b"}, repeat=3), robot)
    assert finish(run) is State.SUCCEEDED
    assert [place for _, place, _ in robot.asked] == ["a", "b"] * 3
    assert run.progress.message == "all 3 rounds are done, 3 steps were skipped"
    assert (run.progress.round, run.progress.skipped) == (3, 3)


def test_otherwise_return_drives_back_and_ends_the_mission(robot: FakeRobot) -> None:
    robot.does = failing("a")
    run = Run(mission({"go": "a"}, {"go": "b"}, otherwise="return"), robot)
    assert finish(run) is State.FAILED
    assert robot.asked == [("remember", START), ("go", "a", 120.0), BACK]
    message = run.progress.message
    assert message.endswith("the door is shut; the robot is back at the start")


def test_reports_a_failed_return_too(robot: FakeRobot) -> None:
    robot.does = failing("go")
    run = Run(mission({"go": "a"}, otherwise="return"), robot)
    assert finish(run) is State.FAILED
    assert run.progress.message == (
        "step 1 failed: could not go to a: the door is shut; "
        "could not return to the start: the door is shut"
    )


def test_a_round_of_skipped_steps_ends_an_endless_mission(robot: FakeRobot) -> None:
    robot.does = failing("go", times=1)
    steps = [{"go": "a"}, {"go": "b"}]
    run = Run(mission(*steps, repeat="forever", otherwise="skip"), robot)
    for _ in range(50):
        run.tick()
    assert run.state is State.RUNNING and run.progress.round > 40
    robot.does = failing("go")
    assert finish(run) is State.FAILED
    assert "was skipped; could not go to b: the door is shut" in run.progress.message


def test_stop_cancels_only_the_running_job(robot: FakeRobot) -> None:
    robot.does = lambda asked: Outcome(True) if "a" in asked else None
    run = Run(mission({"go": "a"}, {"go": "b"}, otherwise="skip", retries=3), robot)
    run.tick()
    run.stop("somebody pressed the button")
    assert [job.cancelled for job in robot.jobs] == [False, True]
    run.tick()
    run.stop("again")
    assert len(robot.jobs) == 2
    assert run.state is State.CANCELLED and run.progress.message == "somebody pressed the button"


def test_pause_cancels_and_resume_sends_the_request_again(robot: FakeRobot) -> None:
    robot.does = lambda _asked: None
    run = Run(mission({"look": "a"}, repeat=2, retries=1), robot)
    run.tick()
    run.pause()
    run.tick()
    assert run.state is State.PAUSED and robot.jobs[0].cancelled and len(robot.jobs) == 1
    run.resume()
    robot.does = lambda _asked: Outcome(True)
    assert finish(run) is State.SUCCEEDED
    assert [asked[0] for asked in robot.asked] == ["go"] + ["go", "photograph"] * 2


def test_pauses_when_somebody_else_takes_the_robot_over(robot: FakeRobot) -> None:
    robot.does = lambda _asked: Outcome(False, "a newer goal took over", preempted=True)
    run = Run(mission({"go": "a"}, retries=5, otherwise="skip"), robot)
    for _ in range(5):
        run.tick()
    assert run.state is State.PAUSED and len(robot.asked) == 1
    assert run.progress.message == "a newer goal took over"
    robot.does = lambda _asked: Outcome(True)
    run.resume()
    assert finish(run) is State.SUCCEEDED
    assert len(robot.asked) == 2 and run.progress.message == "all steps are done"


def test_stops_while_paused(robot: FakeRobot) -> None:
    robot.does = lambda _asked: None
    run = Run(mission({"go": "a"}), robot)
    run.tick()
    run.pause()
    run.stop("enough")
    assert run.state is State.CANCELLED and len(robot.jobs) == 1


def test_logs_every_step_and_every_problem(robot: FakeRobot) -> None:
    robot.does = failing("a")
    said: list[tuple[str, bool]] = []
    steps = [{"go": "a", "otherwise": "skip"}, {"go": "b"}]
    finish(Run(mission(*steps), robot, lambda text, problem: said.append((text, problem))))
    assert said == [
        ("round 1, step 1. go to a", False),
        ("could not go to a: the door is shut", True),
        ("step 1 is skipped", True),
        ("round 1, step 2. go to b", False),
    ]


@given(
    st.lists(st.sampled_from(["skip", "stop", "return"]), min_size=1, max_size=5),
    st.integers(0, 2),
    st.integers(1, 3),
    st.lists(st.booleans(), min_size=1),
)
def test_every_finite_mission_ends(
    otherwise: list[str], retries: int, repeat: int, luck: Iterable[bool]
) -> None:
    """Whatever succeeds or fails, and without a job left running."""
    robot, lots = FakeRobot(), iter(luck)
    robot.does = lambda _asked: Outcome(next(lots, True), "bad luck")
    steps = [{"go": f"place {n}", "otherwise": word} for n, word in enumerate(otherwise)]
    run = Run(mission(*steps, retries=retries, repeat=repeat), robot)
    assert finish(run) in (State.SUCCEEDED, State.FAILED)
    most = repeat * len(steps) * (retries + 1) + 2
    assert len(robot.asked) <= most and not any(job.cancelled for job in robot.jobs)


# --- pictures and the command


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_pictures_never_overwrite_each_other(ending: str, tmp_path: Path) -> None:
    red = np.zeros((24, 32, 3), np.uint8)
    red[..., 0] = 200
    files = [save(red, tmp_path / "new" / "folder", f"hall.{ending}") for _ in range(3)]
    assert [f.name for f in files] == [f"hall.{ending}", f"hall-2.{ending}", f"hall-3.{ending}"]
    bgr = cv2.imread(str(files[2]))
    assert bgr.shape == (24, 32, 3) and abs(int(bgr[12, 16, 2]) - 200) < 8


def test_reports_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        save(np.zeros((4, 4, 3), np.uint8), tmp_path / "file", "hall.jpg")


def test_check_prints_the_tree() -> None:
    result = runner.invoke(app, ["mission", "check", str(SHIPPED[0])])
    assert result.exit_code == 0
    assert "1. remember this place as dock" in result.output


def test_check_reports_a_wrong_mission_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: x\nsteps: [fly]")
    result = runner.invoke(app, ["mission", "check", str(path)])
    assert result.exit_code == 1
    assert "step 1: 'fly': it has no verb" in result.output and "Traceback" not in result.output
