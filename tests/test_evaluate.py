"""Driving to goal pictures in simulation beside baselines, and counting honestly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

import scripted as stories
from foresight import bundle, worlds
from foresight.apps.cli import app
from foresight.bodies.profile import ProfileError, RobotProfile
from foresight.bundle import BundleError
from foresight.control.safety import Plan
from foresight.evaluation import baselines, memory_tour, probes
from foresight.evaluation.driving import Agent, DriveRecord, drive, limit_s
from foresight.evaluation.goal_suites import episode_seed, evaluate, summary, wilson
from foresight.interfaces import Observation, World
from foresight.planning import Status
from foresight.training import commission
from foresight.training.scores import auroc
from foresight.worlds.floor_plan import free_space
from foresight.worlds.tasks import Task, pose_error, sample_tasks

HOME = worlds.plan_of(0)


@pytest.fixture(scope="module")
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


@pytest.fixture(scope="module")
def world(profile: RobotProfile) -> Iterator[World]:
    home = worlds.make(0, profile)
    yield home
    home.environment.close()


@pytest.fixture(scope="module")
def task(profile: RobotProfile) -> Task:
    return sample_tasks(HOME, profile, "near", 1, seed=0)[0]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that always believes the goal to be far ahead."""
    far = stories.view(x=3.0, close=0.1, seconds=20.0)
    return stories.write(tmp_path_factory.mktemp("bundles") / "lost", far)


def text_of(content: dict[str, Any]) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(summary(content))
    return capture.get()


# ----- single drives


def agent(folder: Path, profile: RobotProfile, world: World, task: Task) -> Agent:
    return Agent(bundle.load(folder), profile, world.truth.render_at(task.goal))


def agent_drives(
    folder: Path, profile: RobotProfile, world: World, task: Task, limit: float
) -> DriveRecord:
    return drive(world, profile, task, agent(folder, profile, world, task), limit)


def test_robots_word_alone_is_no_success(
    scripted: Path, profile: RobotProfile, world: World, task: Task
) -> None:
    """It says at once that it is there, and stops; but it is not."""
    done = agent_drives(scripted, profile, world, task, 10.0)
    assert done.status is Status.REACHED and not done.success
    assert done.error_m > 0.3 or done.error_deg > 30
    assert done.seconds < 3.0


def test_being_there_and_saying_so_is_success(
    scripted: Path, profile: RobotProfile, world: World, task: Task
) -> None:
    there = replace(task, goal=task.start)
    driver = agent(scripted, profile, world, there)
    done = drive(world, profile, there, driver, 10.0)
    assert done.success and done.error_m < 0.2
    assert len(driver.plan_ms) == 2


def test_being_there_without_noticing_is_no_success(
    lost: Path, profile: RobotProfile, world: World, task: Task
) -> None:
    done = agent_drives(lost, profile, world, replace(task, goal=task.start), 0.3)
    assert done.error_m < 0.3 and not done.success
    assert done.status is Status.DRIVING


def test_drive_ends_at_its_time_limit(
    lost: Path, profile: RobotProfile, world: World, task: Task
) -> None:
    done = agent_drives(lost, profile, world, task, 2.0)
    assert done.seconds == pytest.approx(2.0) and len(done.path) == 21
    assert 0.05 < done.driven_m < 2.0 * profile.limits.linear_max_mps


class Stubborn:
    """Drives ahead and claims to have arrived, at any speed."""

    status = Status.DRIVING

    def begin(self, seen: Observation) -> None:
        self.status = Status.DRIVING

    def plan(self, now_s: float, seen: Observation) -> Plan:
        if now_s > 1.0:
            self.status = Status.REACHED
        return Plan(now_s, 0.5, np.array([[0.5, 0.0]]))


def test_an_arrival_counts_at_rest_only(world: World, profile: RobotProfile) -> None:
    """Still rolling through the goal when the time is up: nothing was reached."""
    photographed = sample_tasks(HOME, profile, "near", 1, seed=0)[0].goal  # free ahead
    task = Task(photographed, photographed, 1.0)
    ahead = drive(world, profile, task, Stubborn(), 1.3).path[-1]
    goal = (float(ahead[0]), float(ahead[1]), float(ahead[2]))
    through = replace(task, goal=goal)
    rolling = drive(world, profile, through, Stubborn(), 1.3)
    assert rolling.status is Status.REACHED and rolling.error_m < 0.3
    assert not rolling.success
    assert drive(world, profile, through, Stubborn(), 1.3, generous=True).success


# ----- baselines


def knowing(world: World, profile: RobotProfile, task: Task) -> DriveRecord:
    oracle = baselines.oracle(world.truth, profile, task)
    return drive(world, profile, task, oracle, baselines.ORACLE_LIMIT_S)


@pytest.mark.parametrize(("home", "suite"), [(0, "near"), (3, "room"), (5, "house")])
def test_the_oracle_reaches_every_goal(profile: RobotProfile, home: int, suite: Any) -> None:
    world = worlds.make(home, profile, seed=1)
    for task in sample_tasks(world.truth.floor_plan, profile, suite, 4, seed=4):
        done = knowing(world, profile, task)
        assert done.success, task
        assert done.collisions == 0
        assert done.driven_m < 1.3 * task.path_m + 0.3
        assert task.path_m / profile.limits.linear_max_mps - 1.0 < done.seconds
        assert limit_s(done.seconds) == pytest.approx(2.5 * done.seconds)


def test_the_straight_driver_finds_no_doorway_that_the_oracle_takes(
    world: World, profile: RobotProfile
) -> None:
    tasks = sample_tasks(HOME, profile, "house", 4, seed=4)
    known = [knowing(world, profile, task) for task in tasks]
    blind = []
    for task, oracle in zip(tasks, known, strict=True):
        driver = baselines.straight(world.truth, profile, task)
        limit = limit_s(oracle.seconds)
        blind.append(drive(world, profile, task, driver, limit, generous=True))
    assert all(one.success for one in known)
    assert sum(one.success for one in blind) < len(tasks) / 2


def test_the_straight_driver_reaches_what_lies_in_the_open(
    world: World, profile: RobotProfile
) -> None:
    open_ones = [
        t
        for t in sample_tasks(HOME, profile, "near", 20, seed=4)
        if t.path_m < 1.02 * pose_error(t.start, t.goal)[0]
    ]
    driver = baselines.straight(world.truth, profile, open_ones[0])
    assert drive(world, profile, open_ones[0], driver, 30.0).success


def test_random_driving_moves_repeats_itself_and_hardly_arrives(
    world: World, profile: RobotProfile
) -> None:
    task = sample_tasks(HOME, profile, "room", 1, seed=4)[0]
    first, second, other = (
        drive(world, profile, task, baselines.Random(profile, seed), 5.0) for seed in (1, 1, 2)
    )
    assert first.driven_m > 0.3
    assert pose_error(tuple(first.path[-1]), tuple(second.path[-1]))[0] < 0.3
    assert pose_error(tuple(first.path[-1]), tuple(other.path[-1]))[0] > 0.3
    assert not first.success


# ----- whole runs


@pytest.mark.slow
def test_figures_repeat_themselves_with_any_number_of_workers(
    scripted: Path, homebot: Path
) -> None:
    def run(workers: int) -> dict[str, Any]:
        content = evaluate(scripted, homebot, "near", [2, 0], 3, 3, workers=workers)
        assert content.pop("workers") == workers
        plan_ms = content.pop("plan_ms")
        assert 0 < plan_ms["p50"] <= plan_ms["p95"]
        return content

    alone, together = run(1), run(2)
    assert alone == together
    written = json.loads(json.dumps(alone))
    assert (written["suite"], written["episodes"], written["seed"]) == ("near", 3, 3)
    assert written["worlds"] == [2, 0]
    assert [one["world"] for one in written["drives"]] == [2, 2, 0]
    assert {w: rate["episodes"] for w, rate in written["by_world"].items()} == {"2": 2, "0": 1}
    assert written["success"]["rate"] == written["spl"] == 0.0
    assert written["baselines"].keys() == {"random", "straight", "oracle"}
    assert written["baselines"]["oracle"]["rate"] == 1.0
    for one in written["drives"]:
        assert one["limit_s"] == pytest.approx(2.5 * one["baselines"]["oracle"]["seconds"])
        assert one["seconds"] <= one["limit_s"] and one["cause"]


def test_failures_are_told_by_cause_and_shown(
    scripted: Path, homebot: Path, tmp_path: Path
) -> None:
    """The scripted robot says at once that it is there, and never is."""
    shown = text_of(evaluate(scripted, homebot, "near", [0], 2, seed=3, pictures=tmp_path))
    assert all(driver in shown for driver in ("model", "random", "straight", "oracle"))
    assert "2x said it was there, but was not" in shown
    assert "0-66%" in shown  # Wilson's interval of 0 of 2
    assert len(list(tmp_path.glob("near-world-0-*.png"))) == 2


@pytest.mark.parametrize(("memory", "limit"), [("tour", "TOUR_S"), ("explore", "EXPLORE_S")])
def test_it_tells_which_memory_it_drove_with(
    lost: Path, homebot: Path, monkeypatch: pytest.MonkeyPatch, memory: str, limit: str
) -> None:
    """A memory of some seconds; the explorer keeps the last ones for its way back."""
    monkeypatch.setattr(memory_tour, limit, 15.0)
    content = evaluate(lost, homebot, "near", [0], 1, 0, memory=memory)
    assert content["memory"] == memory
    made = content["remembered"]["0"]
    assert made["places"] > 0
    assert 0.0 < made["minutes"] <= 0.25
    assert len(content["drives"]) == 1


def test_wrong_arguments_are_refused_in_one_sentence(
    lost: Path, homebot: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="'garden'.*near, room, house, surprise, causal"):
        evaluate(lost, homebot, "garden", [0], 1, 0)
    with pytest.raises(ValueError, match="--episodes is 1; give at least one for each of 2"):
        evaluate(lost, homebot, "near", [0, 1], 1, 0)
    with pytest.raises(ValueError, match="'map'.*none, tour, explore"):
        evaluate(lost, homebot, "near", [0], 1, 0, memory="map")
    with pytest.raises(ValueError, match="surprise drives without memory"):
        evaluate(lost, homebot, "surprise", [0], 1, 0, memory="tour")
    with pytest.raises(BundleError):
        evaluate(tmp_path / "none", homebot, "near", [0], 1, 0)
    with pytest.raises(ProfileError):
        evaluate(lost, tmp_path / "none.yaml", "near", [0], 1, 0)


@pytest.mark.parametrize("worlds", ["-1", "1,two", "3,3", ""])
def test_wrong_worlds_are_bad_usage(lost: Path, worlds: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--bundle", str(lost), "--world", worlds])
    assert result.exit_code == 2
    assert "--world" in result.output


def test_episodes_draw_robots_of_their_own() -> None:
    seeds = {episode_seed(s, w, k) for s in (0, 1) for w in (0, 1) for k in range(20)}
    assert len(seeds) == 80


def test_ctrl_c_ends_an_evaluation_at_once(lost: Path) -> None:
    """Sent to the command alone, as a service manager does: no process stays, no traceback."""
    script = (
        "import os, signal, threading, time, multiprocessing as mp\n"
        "from foresight.apps.cli import app\n"
        "def stop():\n"
        "    while len(mp.active_children()) < 2: time.sleep(0.1)\n"
        "    time.sleep(0.5)\n"
        "    print('workers', *(p.pid for p in mp.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells' `&` ignores it
        "    threading.Thread(target=stop, daemon=True).start()\n"
        f"    app(['evaluate', '--bundle', {str(lost)!r}, '--episodes', '40', '--workers', '2'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 130, ran.stderr
    assert "stopped" in ran.stderr and "Traceback" not in ran.stderr
    workers = next(line for line in ran.stdout.splitlines() if line.startswith("workers")).split()
    for worker in map(int, workers[1:]):
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


# ----- faults and surprise


def frames(
    bundle_dir: Path, homebot: Path, fault: Callable[[int], str], count: int
) -> list[probes._Frame]:
    job = probes.Job(bundle_dir, homebot, 0, seed=5)
    return list(probes._drive(job, bundle.load(bundle_dir), count, fault))


def moved(frames: list[probes._Frame]) -> np.ndarray:
    """Distance (m) from frame to frame by the true pose."""
    return np.hypot(*np.diff([frame.pose[:2] for frame in frames], axis=0).T)


FAULTY = slice(30, 45)


def in_between(fault: str) -> Callable[[int], str]:
    return lambda k: fault if FAULTY.start <= k < FAULTY.stop else ""


def test_a_blocked_robot_is_told_to_move_but_stands_still(passthrough: Path, homebot: Path) -> None:
    seen = frames(passthrough, homebot, in_between("blocked"), 60)
    held = seen[FAULTY]
    assert np.abs([frame.command for frame in held]).mean() > 0.1
    assert moved(held[2:]).max() < 0.005  # after two frames of braking
    assert np.abs([frame.body[:2] for frame in held[3:]]).max() < 0.05
    assert moved(seen[FAULTY.stop :]).sum() > 0.01


def test_a_slipping_robots_wheels_roll_further_than_it_moves(
    passthrough: Path, homebot: Path
) -> None:
    seen = frames(passthrough, homebot, in_between("wheel_slip"), 60)

    def share(part: list[probes._Frame]) -> float:
        counted = sum(abs(float(frame.body[0])) for frame in part[1:]) * 0.1
        return float(moved(part).sum()) / counted

    assert share(seen[: FAULTY.start]) == pytest.approx(1.0, abs=0.1)
    assert share(seen[FAULTY.start + 2 : FAULTY.stop]) == pytest.approx(probes.SLIP, abs=0.1)


def test_a_frozen_camera_repeats_itself_while_the_robot_moves(
    passthrough: Path, homebot: Path
) -> None:
    seen = frames(passthrough, homebot, in_between("frozen_camera"), 60)
    pictures = [frame.image.tobytes() for frame in seen]
    assert len(set(pictures[FAULTY.start - 1 : FAULTY.stop])) == 1
    assert len(set(pictures)) == 60 - (FAULTY.stop - FAULTY.start)
    assert moved(seen[FAULTY]).sum() > 0.01


def test_a_carried_robot_is_elsewhere_in_the_next_frame(passthrough: Path, homebot: Path) -> None:
    seen = frames(passthrough, homebot, in_between("teleport"), 60)
    distances = moved(seen)
    assert distances[FAULTY.start - 1] > probes._CARRIED_M
    assert np.delete(distances, FAULTY.start - 1).max() < 0.06


def watched(height: float, told: float = 0.4, seed: int = 0) -> probes.Watched:
    """Surprise between 0 and 1 that rises by `height` in every event, commands all alike."""
    count = probes._CYCLE * 12
    surprise = np.random.default_rng(seed).uniform(0.0, 1.0, count)
    faulty = np.array([bool(probes._fault_at(k)) for k in range(count)])
    return probes.Watched(0, surprise + height * faulty, np.tile([told, 0.0], (count, 1)))


def test_surprise_that_rises_in_every_event_is_perfect_and_noise_is_chance() -> None:
    sure = probes.surprise([watched(2.0)], seed=0)
    assert sure["auroc"] == dict.fromkeys(probes.FAULTS, 1.0)
    assert sure["events"] == dict.fromkeys(probes.FAULTS, 3)
    assert sure["caught"] == dict.fromkeys(probes.FAULTS, 1.0)
    assert sure["false_alarms_per_minute"] == sure["alarm_share"] == 0.0
    blind = probes.surprise([watched(0.0, seed=k) for k in range(20)], seed=0)
    assert all(abs(value - 0.5) < 0.2 for value in blind["auroc"].values())
    assert blind["caught"] == dict.fromkeys(probes.FAULTS, 0.0)
    nervous = replace(watched(0.0), surprise=np.full(probes._CYCLE * 12, 2.0))
    assert probes.surprise([nervous], seed=0)["alarm_share"] == 1.0


def test_events_at_rest_do_not_count() -> None:
    found = probes.surprise([watched(2.0, told=0.05)], seed=0)
    assert found["events"] == dict.fromkeys(probes.FAULTS, 0)
    assert found["auroc"] == {}


def test_auroc_by_hand() -> None:
    assert auroc(np.array([3.0, 1.0]), np.array([2.0, 0.0])) == 0.75
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5


def test_the_surprise_suite_watches_a_real_drive(
    passthrough: Path, homebot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_CYCLES", 4)
    content = evaluate(passthrough, homebot, "surprise", [0], 1, seed=0)
    assert set(content["auroc"]) <= set(probes.FAULTS)
    assert sum(content["events"].values()) >= 1
    assert content["normal_minutes"] == pytest.approx(4 * 30 * 0.1 / 60)
    assert all(fault in text_of(content) for fault in content["auroc"])


# ----- cause and effect


def walk(folder: Path, latent: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> probes.Plain:
    """400 frames up and down the longest free line of home 0; `latent` of (twist, pose)."""
    rng = np.random.default_rng(1)
    command = np.repeat(rng.uniform([-0.2, -1.0], [0.5, 1.0], (80, 2)), 5, axis=0)
    x = 1.0 + 0.8 * (1 + np.sin(np.arange(400) / 40.0))
    row = _open_row()
    pose = np.stack([x, np.full(400, row), np.zeros(400)], 1)
    body = np.zeros((400, 3), np.float32)
    return probes.Plain(0, folder, latent(command, pose), body, command.astype(np.float32), pose)


def _open_row() -> float:
    """Where the robot can drive from x = 1 m to 2.6 m without turning."""
    free = free_space(HOME.occupied(), 0.25)
    rows = np.flatnonzero(free.cells[:, 20:53].all(1))
    return free.point(rows[0] + 0.5, 20)[1]


def test_a_model_that_knows_what_actions_do_has_no_error(scripted: Path, homebot: Path) -> None:
    """The scripted dynamics add half of an action to the latent; so does this walk."""

    def follow(command: np.ndarray, pose: np.ndarray) -> np.ndarray:
        latent = np.zeros((len(command), stories.SIZE), np.float32)
        latent[1:, :2] = np.cumsum(command[:-1] * 0.5 / 5, 0)
        return latent

    drives = [walk(scripted, follow), walk(scripted, follow)]
    found = probes.causal(drives, RobotProfile.load(homebot), seed=0)
    for name in ("copy_last", "shuffled_actions"):
        assert found["error_ratio"][name].keys() == {"1", "2", "4", "8"}
        assert all(value < 1e-6 for value in found["error_ratio"][name].values())
    assert 1.5 < found["effective_rank"] < 2.1


def test_a_model_without_actions_is_no_better_than_repeating(
    passthrough: Path, homebot: Path
) -> None:
    """The passthrough dynamics keep the latent, whatever the robot does."""

    def place(command: np.ndarray, pose: np.ndarray) -> np.ndarray:
        return np.stack([pose[:, 0], pose[:, 0], pose[:, 0]], 1).astype(np.float32)

    drives = [walk(passthrough, place), walk(passthrough, place)]
    found = probes.causal(drives, RobotProfile.load(homebot), seed=0)
    for name in ("copy_last", "shuffled_actions"):
        assert found["error_ratio"][name] == pytest.approx(dict.fromkeys("1248", 1.0))
        assert found["error_ratio_interval"][name]["4"]["low"] == pytest.approx(1.0)
    # Its distance is the difference of the latents, here that of the places; what is behind
    # takes longer than what is ahead, which it does not know.
    assert found["distance_rank_correlation"] > 0.7
    assert "rank correlation" in text_of({"suite": "causal"} | found)


def test_a_distance_that_knows_nothing_does_not_correlate(passthrough: Path, homebot: Path) -> None:
    def noise(command: np.ndarray, pose: np.ndarray) -> np.ndarray:
        return np.random.default_rng(2).random((len(pose), 3)).astype(np.float32)

    found = probes.causal([walk(passthrough, noise)], RobotProfile.load(homebot), seed=0)
    assert abs(found["distance_rank_correlation"]) < 0.3


# ----- commissioning


def test_commissioning_goes_on_where_it_stopped(
    passthrough: Path, homebot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in training, it does not drive again; once complete, it does nothing."""
    done: list[str] = []

    def collect(
        folder: Path, world: int, robot: Path, frames: int, workers: int, seed: int
    ) -> None:
        done.append(f"drive {frames} frames in {world}")
        folder.mkdir(parents=True)
        for k in range(frames // commission.EPISODE_FRAMES):
            (folder / f"{k}.h5").touch()

    def train(data: Path, out: Path, *rest: Any, start: Path, robot: Path) -> None:
        done.append(f"train from {start.name}")
        if len(done) == 2:
            raise KeyboardInterrupt
        out.mkdir(parents=True)
        (out / commission.TRAINED).touch()

    def export(checkpoint: Path, out: Path, robot: Path) -> None:
        done.append("export")
        shutil.copytree(passthrough, out)

    monkeypatch.setattr(commission, "collect", collect)
    monkeypatch.setattr(commission, "train", train)
    monkeypatch.setattr(commission, "export_trained", export)

    def run() -> Path:
        return commission.commission(passthrough, homebot, 4, 10, tmp_path, 0, Console(quiet=True))

    with pytest.raises(KeyboardInterrupt):
        run()
    adapted = run()
    assert done == ["drive 6000 frames in [4]", *["train from passthrough"] * 2, "export"]
    assert run() == adapted and len(done) == 4
    assert bundle.load(adapted).digest == bundle.load(passthrough).digest
    assert "world-4-10min" in str(adapted)


def test_a_commissioned_bundle_drives_in_its_world(
    lost: Path, scripted: Path, homebot: Path
) -> None:
    content = evaluate(lost, homebot, "near", [0, 1], 2, 0, commissioned={1: scripted})
    assert [one["status"] for one in content["drives"]] == ["driving", "reached"]
    assert content["commissioned"] == {"1": str(scripted)}


# ----- the interval


@given(st.integers(1, 500), st.data())
def test_interval_holds_the_rate_and_stays_between_0_and_1(count: int, data: st.DataObject) -> None:
    found = wilson(data.draw(st.integers(0, count)), count)
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1
    assert found["low"] < found["high"]


@given(st.integers(0, 50), st.integers(1, 50), st.integers(2, 20))
def test_more_episodes_narrow_the_interval(hits: int, misses: int, times: int) -> None:
    few, many = wilson(hits, hits + misses), wilson(hits * times, (hits + misses) * times)
    assert many["high"] - many["low"] < few["high"] - few["low"]


@given(st.integers(0, 100), st.integers(1, 100))
def test_success_and_failure_are_treated_alike(hits: int, misses: int) -> None:
    won, lost = wilson(hits, hits + misses), wilson(misses, hits + misses)
    assert won["low"] == pytest.approx(1 - lost["high"], abs=1e-9)


def test_interval_as_in_the_tables() -> None:
    """9 of 10: 59.6% to 98.2% (Wilson 1927, as statistics packages give it)."""
    found = wilson(9, 10)
    assert (found["low"], found["high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)
