"""Driving to goal pictures in simulation, and counting honestly."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scripted as stories
from foresight import bundle
from foresight.bundle import BundleError
from foresight.learning import evaluate as module
from foresight.learning.evaluate import Agent, Drive, evaluate, wilson
from foresight.planning import Status
from foresight.robot import ProfileError, RobotProfile
from foresight.sim.apartment import Apartment
from foresight.sim.robot import Simulator
from foresight.sim.tasks import Task, sample_tasks

HOME = Apartment(0)


@pytest.fixture(scope="module")
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


@pytest.fixture(scope="module")
def task(profile: RobotProfile) -> Task:
    return sample_tasks(HOME, profile, "near", 1, seed=0)[0]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that always believes the goal to be far ahead."""
    far = stories.view(x=3.0, close=0.1, seconds=20.0)
    return stories.write(tmp_path_factory.mktemp("bundles") / "lost", far)


def drive(folder: Path, profile: RobotProfile, task: Task, limit_s: float) -> Drive:
    simulator = Simulator(HOME, profile, seed=0)
    try:
        return Agent(bundle.load(folder), profile).drive(simulator, task, limit_s)
    finally:
        simulator.close()


# ----- single drives


def test_robots_word_alone_is_no_success(scripted: Path, profile: RobotProfile, task: Task) -> None:
    """It says at once that it is there, and stops; but it is not."""
    done = drive(scripted, profile, task, 10.0)
    assert done.status is Status.REACHED and not done.success
    assert done.error_m > 0.3 or done.error_deg > 30
    assert done.seconds < 3.0


def test_being_there_and_saying_so_is_success(
    scripted: Path, profile: RobotProfile, task: Task
) -> None:
    done = drive(scripted, profile, replace(task, goal=task.start), 10.0)
    assert done.success and done.error_m < 0.2
    assert len(done.plan_ms) == 2


def test_being_there_without_noticing_is_no_success(
    lost: Path, profile: RobotProfile, task: Task
) -> None:
    done = drive(lost, profile, replace(task, goal=task.start), 0.3)
    assert done.error_m < 0.3 and not done.success
    assert done.status is Status.DRIVING


def test_drive_ends_at_its_time_limit(lost: Path, profile: RobotProfile, task: Task) -> None:
    done = drive(lost, profile, task, 2.0)
    assert done.seconds == pytest.approx(2.0) and len(done.path) == 20
    assert 0.05 < done.driven_m < 2.0 * profile.limits.linear_max_mps


# ----- whole runs


def test_evaluation_repeats_itself_and_reports_in_full(
    lost: Path, homebot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.LIMIT_S, "near", 1.0)
    first, second = (evaluate(lost, homebot, "near", 0, 2, seed=3) for _ in range(2))
    timeless = {key: value for key, value in asdict(first).items() if key != "plan_ms"}
    assert timeless == {key: value for key, value in asdict(second).items() if key != "plan_ms"}
    written = json.loads(json.dumps(asdict(first)))
    assert (written["suite"], written["episodes"], written["seed"]) == ("near", 2, 3)
    assert written["worlds"] == [0]
    assert written["success"]["rate"] == written["spl"] == 0.0
    assert 0 < written["plan_ms"]["p50"] <= written["plan_ms"]["p95"]
    assert "0% of 2" in first.summary() and "\n" not in first.summary()


def test_unknown_suite_is_refused_with_the_known_ones(lost: Path, homebot: Path) -> None:
    with pytest.raises(ValueError, match="'garden'.*near, room, house"):
        evaluate(lost, homebot, "garden", 0, 1, 0)


def test_missing_bundle_and_profile_are_refused(lost: Path, homebot: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        evaluate(tmp_path / "none", homebot, "near", 0, 1, 0)
    with pytest.raises(ProfileError):
        evaluate(lost, tmp_path / "none.yaml", "near", 0, 1, 0)


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
