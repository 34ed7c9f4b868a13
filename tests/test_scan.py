"""A scan tells the same of the robot's surroundings, wherever on the robot its scanner sits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.bodies.profile import ProfileError, RobotProfile
from foresight.control.safety import Plan, Reason, SafetyController
from foresight.perception.frames import FrameError, rigid
from foresight.perception.scan import CENTRED, ScanMount, scan_points
from foresight.perception.virtual_scan import VirtualScan

BEAMS, STEP = 120, 2 * math.pi / 120
RANGE_M, RADIUS_M = 6.0, 0.17
ROOM = np.array([(-2.0, -1.5, 3.0, -1.5), (3.0, -1.5, 3.0, 2.0), (3.0, 2.0, -2.0, 2.0)])
ROOM = np.vstack([ROOM, (-2.0, 2.0, -2.0, -1.5)])
"""Walls as (x, y) to (x, y), m, around base_link."""
LEG = np.array([(1.0, 0.48, 1.0, 0.52), (0.98, 0.5, 1.02, 0.5)])
"""A chair's leg."""
MOUNTS = [
    CENTRED,
    ScanMount(yaw_rad=math.pi / 2),
    ScanMount(yaw_rad=0.4, upside_down=True),
    ScanMount(0.1, 0.0, math.pi),
    ScanMount(-0.08, 0.06, -2.0, upside_down=True),
]


def seen(walls: np.ndarray, origin: tuple[float, float], bearings: np.ndarray) -> np.ndarray:
    """What beams from a point meet, m; inf beyond RANGE_M."""
    rays = np.stack([np.cos(bearings), np.sin(bearings)], 1)[:, None]
    start, along = walls[:, :2] - origin, walls[:, 2:] - walls[:, :2]
    across = rays[..., 0] * along[:, 1] - rays[..., 1] * along[:, 0]
    with np.errstate(all="ignore"):
        ahead = (start[:, 0] * along[:, 1] - start[:, 1] * along[:, 0]) / across
        share = (start[:, 0] * rays[..., 1] - start[:, 1] * rays[..., 0]) / across
    hit = (ahead > 0) & (share >= 0) & (share <= 1)
    nearest = np.where(hit, ahead, np.inf).min(1)
    return np.where(nearest < RANGE_M, nearest, np.inf)


def scanned(
    walls: np.ndarray, mount: ScanMount, beams: int = BEAMS, step: float = STEP, first: float = 0.0
) -> np.ndarray:
    """Ranges as a scanner so mounted tells them."""
    sign = -1 if mount.upside_down else 1
    bearings = mount.yaw_rad + sign * (first + step * np.arange(beams))
    return seen(walls, (mount.x_m, mount.y_m), bearings)


def box(x: float, y: float, half_m: float) -> np.ndarray:
    corners = np.array([(x - half_m, y - half_m), (x + half_m, y - half_m)])
    corners = np.vstack([corners, [(x + half_m, y + half_m), (x - half_m, y + half_m)]])
    return np.hstack([corners, np.roll(corners, -1, 0)])


# --- mounts


def pose(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A scanner's pose 0.1 m ahead and 0.2 m up, turned about x, then y, then z, rad."""
    matrix = np.eye(4)
    for axis, angle in (("z", yaw), ("y", pitch), ("x", roll)):
        q = [math.sin(angle / 2) if name == axis else 0.0 for name in "xyz"]
        matrix = matrix @ rigid((0.0, 0.0, 0.0), (*q, math.cos(angle / 2)))
    matrix[:3, 3] = 0.1, 0.0, 0.2
    return matrix


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ({}, ScanMount(0.1)),
        ({"yaw": math.pi / 2}, ScanMount(0.1, 0.0, math.pi / 2)),
        ({"roll": math.pi, "yaw": 0.5}, ScanMount(0.1, 0.0, 0.5, True)),
        ({"pitch": math.pi, "yaw": 0.5}, ScanMount(0.1, 0.0, 0.5 - math.pi, True)),
    ],
)
def test_a_pose_says_how_the_scanner_is_mounted(
    turns: dict[str, float], expected: ScanMount
) -> None:
    mount = ScanMount.of_pose(pose(**turns))
    assert (mount.x_m, mount.y_m, mount.upside_down) == (0.1, 0.0, expected.upside_down)
    assert math.remainder(mount.yaw_rad - expected.yaw_rad, math.tau) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("upright", [0.0, math.pi])
def test_a_scanner_may_be_tilted_a_little_and_no_more(upright: float) -> None:
    ScanMount.of_pose(pose(roll=upright, pitch=math.radians(3)))
    with pytest.raises(FrameError, match="tilted by 8.0 deg, at most 5 deg"):
        ScanMount.of_pose(pose(roll=upright + math.radians(8)))


def test_the_profile_says_where_the_scanner_is_or_nothing(homebot: Path) -> None:
    scan = RobotProfile.load(homebot).scan
    assert ScanMount.of_profile(scan) == CENTRED
    assert ScanMount.of_profile(scan.model_copy(update={"mount": None})) is None


@pytest.mark.parametrize(
    ("key", "value"), [("yaw_deg", 270.0), ("x_m", math.inf), ("upside_down", "maybe"), ("w", 1)]
)
def test_a_mount_that_cannot_be_is_refused(
    homebot: Path, tmp_path: Path, key: str, value: object
) -> None:
    content = yaml.safe_load(homebot.read_text())
    content["scan"]["mount"][key] = value
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ProfileError, match=f"{file}: key 'scan.mount.{key}'"):
        RobotProfile.load(file)


# --- points


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_echoes_lie_on_the_walls_wherever_the_scanner_sits(mount: ScanMount) -> None:
    points = scan_points(scanned(ROOM, mount), 0.0, STEP, 0.0, mount)
    assert len(points) == BEAMS
    low, high = np.array([-2.0, -1.5]), np.array([3.0, 2.0])
    gap = np.minimum(np.abs(points - low), np.abs(points - high)).min(1)
    assert gap == pytest.approx(0.0, abs=1e-9)


# --- the safety controller


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_the_robot_stops_before_the_same_wall_wherever_the_scanner_sits(
    homebot: Path, mount: ScanMount
) -> None:
    wall = np.array([(0.35, -1.0, 0.35, 1.0)])
    for linear, reason in ((0.4, Reason.PATH_CLOSED), (-0.2, Reason.FOLLOWING_PLAN)):
        controller = SafetyController(RobotProfile.load(homebot))
        controller.activate()
        for tick in range(20):
            now = 0.05 * tick
            controller.on_odometry(now, 0.0, 0.0)
            near = wall - (0.15, 0.0, 0.15, 0.0)  # 0.2 m ahead: footprint and margin reach it
            controller.on_scan(now, scanned(near, mount), 0.0, STEP, 0.0, mount)
            controller.on_plan(now, Plan(now, 0.5, np.array([(linear, 0.0)] * 4)))
            command = controller.step(now, now)
        assert command.reason is reason


def test_half_of_the_beams_must_be_readings_wherever_the_scanner_sits(homebot: Path) -> None:
    controller = SafetyController(RobotProfile.load(homebot))
    ranges = np.full(BEAMS, 3.0)
    ranges[: BEAMS // 2] = np.nan
    for mount in MOUNTS:
        assert controller.on_scan(0.0, ranges, 0.0, STEP, 0.0, mount) is Reason.SCAN_INVALID
        assert controller.on_scan(0.0, ranges[1:], 0.0, STEP, 0.0, mount) is None


# --- the scan as one at base_link would tell it


def test_a_centred_scan_stays_as_it_is() -> None:
    ranges = np.array([1.0, np.inf, np.nan, 0.05, -np.inf, *[2.0] * (BEAMS - 5)])
    at_base = VirtualScan(BEAMS, 0.0, STEP, CENTRED, RADIUS_M)
    told = at_base(ranges, 0.05, RANGE_M)
    expected = np.array([1.0, np.inf, np.nan, np.nan, np.nan, *[2.0] * (BEAMS - 5)])
    np.testing.assert_array_equal(told, expected)
    np.testing.assert_array_equal(at_base.angles, STEP * np.arange(BEAMS))


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("step", [STEP, -STEP])
def test_walls_are_where_they_are_wherever_the_scanner_sits(mount: ScanMount, step: float) -> None:
    at_base = VirtualScan(BEAMS, 0.3, step, mount, RADIUS_M)
    told = at_base(scanned(ROOM, mount, step=step, first=0.3), 0.0, RANGE_M)
    assert np.isfinite(told).all()
    assert told == pytest.approx(
        seen(ROOM, (0.0, 0.0), at_base.angles), abs=0.08
    )  # corners are cut


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_thin_leg_is_not_lost_between_two_beams(mount: ScanMount) -> None:
    ranges = scanned(np.vstack([ROOM, LEG]), mount, beams=360, step=math.tau / 360)
    at_base = VirtualScan(360, 0.0, math.tau / 360, mount, RADIUS_M)
    told = at_base(ranges, 0.0, RANGE_M)
    away_m = math.hypot(1.0, 0.5)
    ahead = np.abs(np.remainder(at_base.angles - math.atan2(0.5, 1.0) + 1, math.tau) - 1) < 0.03
    assert np.nanmin(told[ahead]) == pytest.approx(away_m, abs=0.03)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_silence_stays_silence(mount: ScanMount) -> None:
    at_base = VirtualScan(BEAMS, 0.0, STEP, mount, RADIUS_M)
    told = at_base(np.full(BEAMS, np.inf), 0.0, RANGE_M)
    assert (told == np.inf).all()


@pytest.mark.parametrize("x_m", [0.0, 0.1, -0.1])
def test_what_a_scanner_does_not_look_at_is_unknown_not_free(x_m: float) -> None:
    """Half a circle of beams; all around the robot, each direction is told of."""
    mount, beams = ScanMount(x_m), BEAMS // 2 + 1
    ranges = scanned(ROOM, mount, beams=beams, first=-math.pi / 2)
    at_base = VirtualScan(beams, -math.pi / 2, STEP, mount, RADIUS_M)
    told = at_base(ranges, 0.0, RANGE_M)
    assert at_base.angles[-1] - at_base.angles[0] == pytest.approx(math.tau - STEP)
    ahead = np.cos(at_base.angles)
    assert np.isfinite(told[ahead > 0.5]).all()
    # straight behind, and what of the sides lies behind a scanner in front
    assert np.isnan(told[ahead < -0.5]).all()
    true = seen(ROOM, (0.0, 0.0), at_base.angles)
    told_of = ~np.isnan(told)
    assert told[told_of] == pytest.approx(true[told_of], abs=0.08)


def test_what_stands_in_a_shadow_is_unknown() -> None:
    """From the scanner, a box at the side hides what base_link could see past it."""
    mount = ScanMount(0.15, 0.0)
    walls = np.vstack([ROOM, box(0.15, 0.7, 0.1)])
    at_base = VirtualScan(360, 0.0, math.tau / 360, mount, RADIUS_M)
    told = at_base(scanned(walls, mount, 360, math.tau / 360), 0.0, RANGE_M)
    true = seen(walls, (0.0, 0.0), at_base.angles)
    past_box = (true > 1.5) & (np.abs(at_base.angles - math.pi / 2) < 0.12)
    assert past_box.any() and np.isnan(told[past_box]).any()
    told_of = ~np.isnan(told)
    assert (told[told_of] < true[told_of] + 0.1).all()


def test_readings_that_are_missing_here_and_there_do_not_blind_the_rest() -> None:
    mount = ScanMount(0.1, 0.0)
    ranges = scanned(ROOM, mount)
    ranges[np.random.default_rng(0).random(BEAMS) < 0.2] = np.nan  # dark, shiny or far away
    told = VirtualScan(BEAMS, 0.0, STEP, mount, RADIUS_M)(ranges, 0.0, RANGE_M)
    assert np.isnan(told).mean() < 0.2


@given(
    x_m=st.floats(-0.15, 0.15),
    y_m=st.floats(-0.15, 0.15),
    yaw_rad=st.floats(-3.0, 3.0),
    upside_down=st.booleans(),
    boxes=st.lists(st.tuples(st.floats(0.7, 4.0), st.floats(-3.1, 3.1), st.floats(0.02, 0.3))),
    deaf=st.sets(st.integers(0, BEAMS - 1), max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_no_floor_is_made_up(
    x_m: float,
    y_m: float,
    yaw_rad: float,
    upside_down: bool,
    boxes: list[tuple[float, float, float]],
    deaf: set[int],
) -> None:
    """No beam goes on behind what stands there: 0.1 m are the slack, and sideways one beam's width,
    or three where readings are missing."""
    mount = ScanMount(x_m, y_m, yaw_rad, upside_down)
    away = [
        box(r * math.cos(a), r * math.sin(a), min(half, r / 1.5 - 0.35)) for r, a, half in boxes
    ]
    walls = np.vstack([ROOM, *away])
    ranges = scanned(walls, mount)
    ranges[list(deaf)] = np.nan
    at_base = VirtualScan(BEAMS, 0.0, STEP, mount, RADIUS_M)
    told = at_base(ranges, 0.0, RANGE_M)
    slack = np.linspace(-1, 1, 13) * (3 * STEP if deaf else STEP)
    around = [seen(walls, (0.0, 0.0), at_base.angles + aside) for aside in slack]
    farthest = np.minimum(np.max(around, 0), RANGE_M)
    told_of = ~np.isnan(told)
    assert (np.minimum(told, RANGE_M)[told_of] <= farthest[told_of] + 0.1).all()


ANY_RANGE = st.floats(width=32) | st.sampled_from([0.0, 0.1, 3.0, math.inf, -math.inf, math.nan])


@given(
    ranges=st.lists(ANY_RANGE, min_size=2, max_size=80),
    first=st.floats(-6.0, 6.0),
    share=st.floats(0.01, 1.0),
    counter_clockwise=st.booleans(),
    x_m=st.floats(-0.5, 0.5) | st.just(0.1),
    upside_down=st.booleans(),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("error")
def test_whatever_a_scanner_sends_each_direction_gets_a_range_or_none(
    ranges: list[float],
    first: float,
    share: float,
    counter_clockwise: bool,
    x_m: float,
    upside_down: bool,
) -> None:
    step = share * math.tau / len(ranges) * (1 if counter_clockwise else -1)
    mount = ScanMount(x_m, 0.0, 0.0, upside_down)
    at_base = VirtualScan(len(ranges), first, step, mount, RADIUS_M)
    told = at_base(np.array(ranges, np.float32).astype(float), 0.0, RANGE_M)
    assert told.shape == at_base.angles.shape and len(told) >= len(ranges)
    assert (np.isnan(told) | (told >= 0.0)).all()
    if not np.any(np.array(ranges) > 0.0):
        assert np.isnan(told).all()


@pytest.mark.parametrize(
    ("beams", "first", "step"),
    [(1, 0.0, 0.1), (0, 0.0, 0.1), (90, 0.0, 0.1), (9, math.nan, 0.1), (9, 0.0, 0.0)],
)
def test_beams_that_are_no_part_of_a_circle_are_refused(
    beams: int, first: float, step: float
) -> None:
    with pytest.raises(ValueError, match="no part of a circle"):
        VirtualScan(beams, first, step, CENTRED, RADIUS_M)
