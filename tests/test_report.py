"""The demonstration's report: what is counted, and that picture and video can be looked at."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from foresight import worlds
from foresight.apps import demo, demo_pictures
from foresight.apps import demo_report as report
from foresight.apps.demo_report import DemoLog
from foresight.bodies.profile import RobotProfile
from foresight.evaluation.pictures import COLOURS
from foresight.geometry import Pose
from foresight.worlds import tasks

PROFILE = RobotProfile.load(Path(__file__).parents[1] / "config/robots/homebot.yaml")
EPOCH_NS = 1_700_000_000_000_000_000
SENT_NS = EPOCH_NS + 7_000_000_000  # the system's clock is not the simulation's
MS = 1_000_000


def picture(shade: int) -> np.ndarray:
    image = np.full((PROFILE.camera.height, PROFILE.camera.width, 3), shade, np.uint8)
    image[60:120, 80:160, 0] = 255 - shade
    return image


def stop(goal: Pose, off_m: float = 0.1, turned_deg: float = 10.0) -> Pose:
    return goal[0] + off_m, goal[1], goal[2] + math.radians(turned_deg)


@pytest.fixture
def log() -> DemoLog:
    """Three goals: found, missed by its heading, never sent."""
    plan = worlds.plan_of(0)
    start, goals = tasks.demo_task(plan, PROFILE, seed=1)
    log = DemoLog(
        plan, PROFILE, 1, start, [(goal, picture(60 + 40 * k)) for k, goal in enumerate(goals)]
    )
    at_ms, here = 0, start
    for index, final in enumerate((stop(goals[0]), stop(goals[1], turned_deg=40.0))):
        log.clock(EPOCH_NS + at_ms * MS, SENT_NS + at_ms * MS)
        log.moved(EPOCH_NS + at_ms * MS, here)
        log.begin(index)
        for k in range(20):
            at_ms += 100
            share = (k + 1) / 20
            stamp = EPOCH_NS + at_ms * MS
            log.clock(stamp, SENT_NS + at_ms * MS)
            log.moved(stamp, tuple(a + share * (b - a) for a, b in zip(here, final, strict=True)))
            log.captured(stamp)
            if k != 5:
                log.observed(stamp)
            if k % 2:
                log.saw(stamp, picture(5 * k))
            log.planned(stamp, SENT_NS + (at_ms + 40) * MS)
            log.commanded(SENT_NS + (at_ms + 30) * MS)  # of the plan before: does not count
            log.commanded(SENT_NS + (at_ms + 50 + k) * MS)
            log.commanded(SENT_NS + (at_ms + 90) * MS)
            log.planning_took([20.0 + k])
            log.expects(1.0 - share)
            log.bumped(k in (7, 8))
        log.finish("REACHED" if index == 0 else "TIMED_OUT", "a sentence", 1.25)
        log.end()
        here = final
    log.bundle_digest = "ab" * 32
    return log


def test_a_goal_counts_by_where_the_robot_came_to_rest(log: DemoLog) -> None:
    summary = log.report()
    first, second, third = summary["goals"]
    assert (summary["goals_reached"], summary["all_reached"]) == (1, False)
    assert first["reached"] and first["code"] == "REACHED"
    assert first["final_distance_m"] == pytest.approx(0.1, abs=1e-3)
    assert first["final_heading_error_deg"] == pytest.approx(10.0, abs=0.1)
    assert not second["reached"] and second["final_heading_error_deg"] == pytest.approx(40.0)
    assert not third["reached"] and third["code"] == "NOT_SENT"
    assert third["final_distance_m"] is None and third["seconds"] is None
    assert first["seconds"] == pytest.approx(2.0)


def test_latencies_are_taken_between_the_senders_times(log: DemoLog) -> None:
    first, _, third = log.report()["goals"]
    assert first["plan_ms"] == {"p50": 29.5, "p95": pytest.approx(38.0, abs=0.1)}
    # each plan's image was taken 50 + k ms before the first command that followed the plan
    assert first["image_to_command_ms"] == {"p50": 59.5, "p95": pytest.approx(68.0, abs=0.1)}
    assert third["plan_ms"] == {"p50": None, "p95": None}


def test_a_plan_on_an_unknown_image_is_no_latency(log: DemoLog) -> None:
    log.begin(2)
    log.planned(log.now_ns + 1, SENT_NS)
    log.commanded(SENT_NS + MS)
    assert log.legs[2].image_to_command_ms == []


def test_dropped_frames_and_bumps_are_counted(log: DemoLog) -> None:
    summary = log.report()
    assert [goal["frames_dropped"] for goal in summary["goals"]] == [1, 1, 0]
    assert [goal["frames"] for goal in summary["goals"]] == [20, 20, 0]
    assert summary["bumps"] == 2
    assert summary["real_time_factor"] == 1.0


def test_the_report_survives_its_file_and_fits_a_table(log: DemoLog, tmp_path: Path) -> None:
    summary = log.report()
    report.save(summary, tmp_path / "new")
    assert report.load(tmp_path / "new") == json.loads(json.dumps(summary))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(report.table(report.load(tmp_path / "new")))
    text = shown.get()
    assert "1 of 3 goals reached" in text and "0.10 m" in text and "no (timed out)" in text
    assert "30/38" in text and "60/68" in text and "too busy" not in text
    shown_busy = report.table(summary | {"real_time_factor": 0.5}).caption
    assert "simulated time ran at 0.50 of real time" in str(shown_busy)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory; run `foresight demo` first"),
        ("{", "not valid JSON"),
        ("[1]", "not the report of a demonstration"),
    ],
)
def test_a_report_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / report.REPORT).write_text(content)
    app = Typer()
    app.command()(demo.report_command)
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 1
    assert complaint in result.output and "report.json" in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def explored(log: DemoLog) -> DemoLog:
    """The log, but of places with names; the exploration before took 2 s and one bump."""
    before = DemoLog(log.plan, PROFILE, 1, log.start, ())
    before.moved(EPOCH_NS, log.start)
    before.begin_exploration()
    for k in range(21):
        before.moved(EPOCH_NS + 100 * k * MS, (1.0 + 0.1 * k, 4.0, 0.0))
        before.bumped(k == 7)
    before.finish_exploration("COMPLETED", "back at the start", 2.25)
    for leg, name in zip(log.legs, ("kitchen", "study", "hall"), strict=True):
        leg.name = name
    log.exploration = before.exploration
    return log


def test_what_was_explored_outlives_the_run(explored: DemoLog, tmp_path: Path) -> None:
    report.save_exploration(explored, tmp_path / "new")
    done, legs = report.load_exploration(tmp_path / "new")
    assert done.path.shape == (21, 3) and tuple(done.path[-1]) == (3.0, 4.0, 0.0)
    assert (done.seconds, done.distance_m, done.bumps) == (2.0, 2.25, 1)
    assert (done.code, done.message) == ("COMPLETED", "back at the start")
    for leg, before in zip(legs, explored.legs, strict=True):
        assert (leg.name, leg.goal) == (before.name, before.goal)
        assert (leg.photo == before.photo).all()
        assert leg.code == "NOT_SENT"


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 no archive"])
def test_what_is_no_exploration_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / report.EXPLORATION).write_bytes(content)
    with pytest.raises(ValueError, match=r"exploration\.npz: not an exploration .*explore again"):
        report.load_exploration(tmp_path)


def test_the_report_tells_of_exploration_and_names(explored: DemoLog, tmp_path: Path) -> None:
    summary = explored.report()
    assert summary["exploration"] == {
        "code": "COMPLETED",
        "message": "back at the start",
        "seconds": 2.0,
        "distance_travelled_m": 2.2,
        "bumps": 1,
    }
    assert [goal["name"] for goal in summary["goals"]] == ["kitchen", "study", "hall"]
    assert "photograph" not in summary["definitions"]["reached"]
    console = Console(width=80)
    with console.capture() as shown:
        console.print(report.table(summary))
    assert "kitchen" in shown.get() and "of exploring (2 m) and a restart" in shown.get()


def test_the_picture_shows_where_the_robot_explored(explored: DemoLog, tmp_path: Path) -> None:
    with_path, without = tmp_path / "a.png", tmp_path / "b.png"
    demo_pictures.draw_trajectory(explored, with_path)
    explored.exploration = None
    demo_pictures.draw_trajectory(explored, without)
    a, b = (cv2.imread(str(file)).astype(int)[150:, :700] for file in (with_path, without))
    assert (np.abs(a - b).max(-1) > 20).sum() > 300


def test_without_an_exploration_nothing_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts: list[str] = []
    monkeypatch.setattr(demo, "_run", lambda arguments, _: parts.append(arguments["part"]))
    demo.remember({"world": "0", "seed": "0"}, tmp_path)
    assert parts == ["explore"]


def test_started_again_the_robot_stands_elsewhere_in_the_room_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, explored: DemoLog, tmp_path: Path
) -> None:
    runs: list[dict[str, str]] = []

    def run(arguments: dict[str, str], results: Path) -> None:
        runs.append(arguments)
        report.save_exploration(explored, results)

    monkeypatch.setattr(demo, "_run", run)
    demo.remember({"world": "0", "seed": "0"}, tmp_path)
    first, second = runs
    assert (first["part"], second["part"]) == ("explore", "visit")
    x, y = float(second["start_x"]), float(second["start_y"])
    plan = worlds.plan_of(0)
    assert plan.room_of(x, y) == plan.room_of(3.0, 4.0) and math.dist((x, y), (3.0, 4.0)) >= 1.0


def test_the_picture_shows_floor_plan_paths_and_photographs(log: DemoLog, tmp_path: Path) -> None:
    file = tmp_path / "new" / "trajectory.png"
    demo_pictures.draw_trajectory(log, file)
    drawn = cv2.imread(str(file))
    assert drawn is not None and drawn.shape[0] > 800 and drawn.shape[1] > 1200
    for colour in COLOURS[:2]:  # of the two legs that were driven
        bgr = [int(colour[at : at + 2], 16) for at in (5, 3, 1)]
        assert (np.abs(drawn.astype(int) - bgr).max(-1) < 8).sum() > 500


def test_the_video_plays_in_a_browser(log: DemoLog, tmp_path: Path) -> None:
    file = tmp_path / "demo.mp4"
    demo_pictures.write_video(log, file, frames_per_s=5.0)
    content = file.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "it must start before it is loaded"
    with av.open(str(file)) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate == 5 * demo_pictures.VIDEO_SPEED
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    assert len(frames) == 2 * (10 + demo_pictures.HOLD_FRAMES - 1)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5


def test_of_a_launch_a_user_sees_the_client_and_each_fault_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = "[planning-4] [ERROR] [17.{}] [planning]: cannot configure: no bundle\n"
    output = [
        "[INFO] [sim-1]: process started with pid [12]\n",
        fault.format(1),
        "[demo_client-7] goal 1/3      4 s    0.7 m driven\n",
        fault.format(2),
        "[planning-4] [WARN] [17.2] [planning]: slow\n",
        "[ERROR] [actuation-5]: process has died, exit code 1: /a/lib/b/c --ros-args\n",
        "[demo_client-7] goal 1/3   reached after 5 s: 0.1 m and 2 degrees off\n",
        "[ERROR] [demo_client-7]: process has died, exit code 1\n",
    ]
    log = tmp_path / "launch.log"
    with log.open("w") as file:
        demo._relay(iter(output), file, terminal=False)  # type: ignore[arg-type]
    assert log.read_text() == "".join(output)
    assert capsys.readouterr().out.splitlines() == [
        "planning: cannot configure: no bundle",
        "goal 1/3      4 s    0.7 m driven",
        "actuation-5: process has died, exit code 1",
        "goal 1/3   reached after 5 s: 0.1 m and 2 degrees off",
    ]


@pytest.mark.parametrize(
    ("line", "passing"),
    [
        ("goal 1/3      4 s    0.7 m driven", True),
        ("goal 2/3 kitchen     12 s    0.7 m driven", True),
        ("exploring  112 s    40.3 m driven   120 places remembered, 1/3 named", True),
        ("goal 2/3 kitchen   reached after 5 s: 0.1 m and 2 degrees off", False),
        ("explored in 5.1 min: back at the start", False),
    ],
)
def test_on_a_terminal_progress_stays_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, passing: bool
) -> None:
    with (tmp_path / "launch.log").open("w") as file:
        demo._relay(iter([f"[demo_client-7] {line}\n"]), file, terminal=True)  # type: ignore[arg-type]
    assert capsys.readouterr().out == line + ("" if passing else "\n")
