"""`foresight collect`: what the robots do, what they leave behind, and what a second run does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from foresight import worlds
from foresight.apps.cli import app
from foresight.bodies.profile import RobotProfile
from foresight.control.limits import VelocityLimiter
from foresight.data.collect import collect
from foresight.data.dataset import load_episode
from foresight.data.recording import record
from foresight.exploration.collection_policy import CollectionPolicy, ways_through_gaps
from foresight.exploration.occupancy_grid import OccupancyGrid
from foresight.interfaces import World
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.floor_plan import free_space
from foresight.worlds.variation import Conditions, Noise, Variation

HOMEBOT = Path(__file__).parents[1] / "config" / "robots" / "homebot.yaml"
PROFILE = RobotProfile.load(HOMEBOT)
ANGLES = 2 * np.pi * np.arange(PROFILE.scan.beams) / PROFILE.scan.beams


def at_rest(pose: tuple[float, float, float], **conditions: object) -> World:
    """A robot without noise in home 0."""
    variation = Variation(noise=Noise(0, 0, 0, 0, 0), conditions=Conditions(**conditions))
    world = worlds.make(0, PROFILE, variation=variation)
    world.truth.place(pose)
    return world


# ----- driving


@pytest.fixture(scope="module")
def tour() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five minutes in home 0 on worn wheels: true poses, poses by the own map, bumper."""
    worn = Variation(noise=Noise(wheel_mismatch=0.01, wheel_step=0.05))
    environment, truth = worlds.make(0, PROFILE, seed=3, variation=worn)
    seen = environment.reset(3)
    driver, limiter = CollectionPolicy(PROFILE, 3), VelocityLimiter(PROFILE.limits)
    own = OccupancyGrid(ANGLES, PROFILE.footprint_radius_m)
    true, believed, bumps = [], [], []
    for _ in range(3000):
        odometry = np.array(seen.odometry.pose)
        own.update(seen.scan, odometry, seen.bumper)
        true.append(truth.pose)
        believed.append((*own.pose, *odometry))
        bumps.append(seen.bumper)
        command = limiter.step(*driver.act(seen.scan, seen.bumper, odometry, 0.1), 0.1)
        seen = environment.step(command, 0.1)
    return np.array(true), np.array(believed), np.array(bumps)


def test_the_robot_sees_much_of_the_home_within_five_minutes(
    tour: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    cells = {(int(x / 0.5), int(y / 0.5)) for x, y, _ in tour[0]}
    free = free_space(worlds.plan_of(0).occupied(), PROFILE.footprint_radius_m)
    floor = {
        (int(x / 0.5), int(y / 0.5)) for x, y in (free.point(*at) for at in np.argwhere(free.cells))
    }
    assert len(cells & floor) > 0.25 * len(floor)


def test_bumps_are_well_represented_but_do_not_take_over(
    tour: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    pressed = tour[2].astype(int)
    assert 10 <= np.count_nonzero(np.diff(pressed) > 0) <= 60  # in five minutes
    assert 0.01 < pressed.mean() < 0.10


def test_its_own_map_tells_where_it_is_when_odometry_no_longer_does(
    tour: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    true, believed, _ = tour
    c, s = np.cos(true[0, 2]), np.sin(true[0, 2])
    away = (true[:, :2] - true[0, :2]) @ np.array([[c, -s], [s, c]])
    by_map = np.hypot(*(believed[:, :2] - away).T)
    by_wheels = np.hypot(*(believed[:, 3:5] - away).T)
    assert np.quantile(by_map, 0.95) < 0.4
    assert np.quantile(by_wheels, 0.95) > 1.0


@pytest.mark.parametrize("door", range(len(Apartment(0).doors)))
def test_a_doorway_is_seen_in_the_scan(door: int) -> None:
    """From 0.7 m before it, the way leads through its middle to the other side."""
    home = Apartment(0)
    place = np.array([home.doors[door].x, home.doors[door].y])
    free = free_space(home.occupied(), PROFILE.footprint_radius_m)
    for heading in np.arange(4) * np.pi / 2:
        forward = np.array([np.cos(heading), np.sin(heading)])
        if not all(free.at(*(place + d * forward)) for d in (-0.7, 0.7)):
            continue
        environment, _ = at_rest((*(place - 0.7 * forward), heading))
        scan = np.minimum(environment.observe().scan, PROFILE.scan.range_max_m)
        ways = ways_through_gaps(scan, ANGLES, 2 * PROFILE.footprint_radius_m)
        nearest = min(ways, key=lambda way: np.hypot(*(way[1] - (0.7, 0.0))))
        np.testing.assert_allclose(nearest[1], (0.7, 0.0), atol=0.15)
        assert nearest[2][0] > 1.2
        return
    pytest.fail("no side of this doorway is free")


def test_a_closed_room_has_no_gaps() -> None:
    assert ways_through_gaps(np.full(len(ANGLES), 2.0), ANGLES, 0.34) == []


def test_a_robot_that_was_carried_elsewhere_starts_a_new_map() -> None:
    own = OccupancyGrid(ANGLES, PROFILE.footprint_radius_m)
    near, far = np.full(len(ANGLES), 3.0), np.full(len(ANGLES), 0.8)
    for turn in np.arange(0.0, 6.0, 0.6):
        own.update(near, np.array([0.0, 0.0, turn]), False)
    assert not own.lost
    for _ in range(400):
        own.update(far, np.array([0.0, 0.0, 5.4]), False)
    assert own.lost


def test_the_same_seed_drives_and_sees_the_same() -> None:
    """Although pictures are made beside the driving, in another thread."""

    def driven() -> list[np.ndarray]:
        environment, _ = worlds.make(0, PROFILE, seed=5)
        environment.reset(5)
        driver, limiter = CollectionPolicy(PROFILE, 5), VelocityLimiter(PROFILE.limits)
        arrays = record(environment, driver, limiter, 0.1, 30)
        environment.close()
        return list(arrays)

    for once, again in zip(driven(), driven(), strict=True):
        np.testing.assert_array_equal(once, again)


# ----- bumps


@pytest.mark.parametrize("start", [(3.2, 3.2, -2.8), (6.75, 0.79, 1.4), (0.68, 0.71, -2.2)])
def test_running_into_things_does_not_fling_the_robot_round(
    start: tuple[float, float, float],
) -> None:
    environment, truth = worlds.make(0, PROFILE)
    truth.place(start)
    touched, turning, speed = 0, [], []
    for _ in range(100):
        if environment.step((0.4, 0.05), 0.1).bumper:
            touched += 1
            speed.append(abs(truth.velocity[0]))
            turning.append(abs(truth.velocity[1]))
    assert touched > 20
    assert max(speed) < 0.5
    assert max(turning) < 1.6


# ----- randomisation


def test_other_looks_hang_on_the_same_floor_plan() -> None:
    home, other = Apartment(3), Apartment(3, looks=5)
    np.testing.assert_array_equal(home.occupied().cells, other.occupied().cells)
    assert home.to_mjcf()[2] != other.to_mjcf()[2]


def test_a_command_takes_effect_after_the_latency() -> None:
    """Half a second of driving begins 0.12 s late."""
    prompt, late = at_rest((4.0, 2.0, 0.0)), at_rest((4.0, 2.0, 0.0), latency_s=0.12)
    for world in (prompt, late):
        world.environment.step((0.3, 0.0), 0.1)
    assert abs(late.truth.velocity[0]) < 0.01 < 0.2 < prompt.truth.velocity[0]
    for world in (prompt, late):
        for _ in range(4):
            world.environment.step((0.3, 0.0), 0.1)
    behind = prompt.environment.observe().odometry.x - late.environment.observe().odometry.x
    assert behind == pytest.approx(0.3 * 0.12, abs=0.005)


def test_less_light_and_a_shorter_exposure_make_darker_pictures() -> None:
    pose = (4.0, 2.0, 0.0)
    brightness = []
    for conditions in ({}, {"light": (0.6, 0.6, 0.6)}, {"exposure": 0.8}):
        environment, _ = at_rest(pose, **conditions)
        brightness.append(environment.observe().image.mean())
        environment.close()
    assert brightness[1] < 0.8 * brightness[0]
    assert brightness[2] == pytest.approx(0.8 * brightness[0], rel=0.05)


def test_robots_are_drawn_apart_and_again_alike() -> None:
    assert Variation.draw(1) == Variation.draw(1)
    drawn = [Variation.draw(seed) for seed in range(200)]
    assert 0.3 < np.mean([variation.looks is None for variation in drawn]) < 0.7
    latencies = [variation.conditions.latency_s for variation in drawn]
    assert 0 <= min(latencies) < 0.02 and 0.13 < max(latencies) <= 0.15
    heights = [variation.camera_z_m for variation in drawn]
    assert min(heights) < -0.02 and max(heights) > 0.02


# ----- data sets


def gathered(folder: Path, worlds: list[int], frames: int, **options: object) -> dict[str, float]:
    """Episodes of 20 frames by two workers."""
    return collect(folder, worlds, HOMEBOT, frames, 2, 0, episode_frames=20, **options)


def test_frames_are_spread_over_homes_and_a_rerun_collects_what_is_missing(tmp_path: Path) -> None:
    summary = gathered(tmp_path, [0, 2], 80)
    assert summary["frames"] == 80
    files = sorted(tmp_path.iterdir())
    assert [file.name.split("-")[0] for file in files] == ["w0", "w0", "w2", "w2"]
    times = {file: file.stat().st_mtime_ns for file in files}
    old = load_episode(files[1])
    files[1].unlink()
    gathered(tmp_path, [0, 2], 80)
    assert sorted(tmp_path.iterdir()) == files
    unchanged = [file.stat().st_mtime_ns == times[file] for file in files]
    assert unchanged == [True, False, True, True]
    again = load_episode(files[1])
    assert len(again) == 20
    assert not np.array_equal(old.image, again.image)  # put down anew, not the same once more


def test_what_was_drawn_is_told_in_the_source(tmp_path: Path) -> None:
    gathered(tmp_path, [1], 20, randomise=True)
    (file,) = tmp_path.iterdir()
    with h5py.File(file) as content:
        source = content.attrs["source"]
    assert source.startswith("home 1, wandering")
    variation = Variation.draw(0)
    assert f"latency_s {variation.conditions.latency_s}" in source
    assert f"camera_hfov_deg {variation.camera_hfov_deg}" in source


def test_ctrl_c_keeps_what_is_finished_and_leaves_nothing_running(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from foresight.data.collect import collect\n"
        "if __name__ == '__main__':\n"
        f"    collect(Path({str(tmp_path / 'data')!r}), [0], Path({str(HOMEBOT)!r}), 10**6, 2, 0,"
        " episode_frames=20)\n"
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MUJOCO_GL": "egl"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while len(list((tmp_path / "data").glob("*.h5"))) < 4:  # both robots are at work by then
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, errors = process.communicate(timeout=60)
    kept = list((tmp_path / "data").iterdir())
    assert {file.suffix for file in kept} == {".h5"}
    assert f"{len(kept)} of 50000 episodes are kept" in errors
    assert errors.count("Traceback") == 1  # none by a worker
    with pytest.raises(ProcessLookupError):
        for _ in range(50):  # Python's own helper process ends by itself, a moment later
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_without_ray_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError, match=r"not installed: pip install"):
        gathered(tmp_path, [0], 20, ray="local")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_same_episodes_come_from_a_ray_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    gathered(tmp_path / "ray", [0, 2], 80, ray="local")
    gathered(tmp_path / "processes", [0, 2], 80)
    names = sorted(file.name for file in (tmp_path / "ray").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "processes").iterdir())
    for name in names:
        far, near = (load_episode(tmp_path / place / name) for place in ("ray", "processes"))
        np.testing.assert_array_equal(far.image, near.image)
        np.testing.assert_array_equal(far.command, near.command)


@pytest.mark.parametrize("world", ["", "a", "3-1", "1,,2", "-5", "1-", "9999999"])
def test_homes_that_cannot_be_read_are_bad_usage(world: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["collect", "--out", str(tmp_path), f"--world={world}"])
    assert result.exit_code == 2
    assert "names no homes" in result.output
