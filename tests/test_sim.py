"""The simulated home and its robot: the same everywhere, and true to what it promises."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight import worlds
from foresight.bodies.profile import RobotProfile, ScannerMount
from foresight.geometry import Pose
from foresight.interfaces import OdometryReading, World
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.floor_plan import free_space
from foresight.worlds.realtime import TICK_S, MotorDriver, Pace, Rate

PROFILE = RobotProfile.load(Path(__file__).parents[1] / "config/robots/homebot.yaml")
HOME = Apartment(0)


def widest_place(home: Apartment) -> tuple[float, float]:
    """The point (m) with the most room around it."""
    plan = home.occupied()
    clearance = cv2.distanceTransform((~plan.cells).astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(np.argmax(clearance), clearance.shape)
    return plan.point(row + 0.5, column + 0.5)


def range_on_plan(home: Apartment, pose: Pose) -> float:
    """Distance (m) straight ahead to what stands on the floor plan, to about a cell."""
    occupied, (x, y, yaw) = home.occupied(0.01), pose
    for ahead in np.arange(0.0, 12.0, 0.005):
        if occupied.at(x + ahead * math.cos(yaw), y + ahead * math.sin(yaw)):
            return float(ahead)
    raise AssertionError("nothing ahead")


def placed(pose: Pose, seed: int = 0, profile: RobotProfile = PROFILE) -> World:
    world = worlds.make(HOME.seed, profile, seed=seed)
    world.truth.place(pose)
    return world


OPEN = widest_place(HOME)


# ----- homes


@pytest.mark.parametrize("seed", [0, 3, 1000])
def test_a_seed_is_one_home_down_to_its_textures(seed: int) -> None:
    assert Apartment(seed).to_mjcf() == Apartment(seed).to_mjcf()
    assert Apartment(seed).to_mjcf() != Apartment(seed + 1).to_mjcf()


@pytest.mark.parametrize("seed", range(8))
def test_a_home_has_three_to_five_rooms_that_the_robot_can_visit(seed: int) -> None:
    home = Apartment(seed)
    assert 3 <= len(home.rooms) <= 5
    free = free_space(home.occupied(), PROFILE.footprint_radius_m)
    _, labels = cv2.connectedComponents(free.cells.astype(np.uint8))
    main = labels == np.argmax(np.bincount(labels[free.cells]))
    for room in home.rooms:
        (top, left), (bottom, right) = free.index(room.x0, room.y0), free.index(room.x1, room.y1)
        assert main[top:bottom, left:right].mean() > 0.25


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="apartment seed is -1; give a number from 0 on"):
        Apartment(-1)


# ----- motion


def test_the_same_seed_and_commands_give_the_same_robot() -> None:
    def drive(seed: int) -> tuple:
        robot, truth = placed((*OPEN, 0.4), seed)
        for _ in range(20):
            seen = robot.step((0.2, 0.5), 0.1)
        return truth.pose, seen.odometry, seen.scan.tolist(), seen.image.tobytes()

    first, again, other = drive(5), drive(5), drive(6)
    assert first == again
    assert first[0] == other[0], "noise belongs to the sensors, not to the motion"
    assert all(a != b for a, b in zip(first[1:], other[1:], strict=True))


@pytest.mark.parametrize("yaw", [-2.0, 0.0, 1.3])
def test_forward_and_counter_clockwise_are_positive(yaw: float) -> None:
    robot, truth = placed((*OPEN, yaw))
    for _ in range(10):
        robot.step((0.3, 0.0), 0.1)
    x, y, _ = truth.pose
    ahead = (x - OPEN[0]) * math.cos(yaw) + (y - OPEN[1]) * math.sin(yaw)
    aside = (y - OPEN[1]) * math.cos(yaw) - (x - OPEN[0]) * math.sin(yaw)
    assert ahead == pytest.approx(0.3, abs=0.03)
    assert aside == pytest.approx(0.0, abs=0.02)
    assert truth.velocity == pytest.approx((0.3, 0.0), abs=0.02)
    truth.place((*OPEN, 0.0))
    for _ in range(10):
        robot.step((0.0, 1.0), 0.1)
    assert 0.7 < truth.pose[2] < 1.05


@pytest.mark.parametrize("seed", range(4))
def test_odometry_stays_close_to_the_truth_but_is_not_the_truth(seed: int) -> None:
    robot, truth = placed((*OPEN, 0.0), seed)
    for k in range(50):
        robot.step((0.15, 0.8 * math.sin(0.3 * k)), 0.1)
    reading, (x, y, _) = robot.observe().odometry, truth.pose
    drift = math.hypot(reading.x - (x - OPEN[0]), reading.y - (y - OPEN[1]))
    assert 1e-4 < drift < 0.15  # of 0.75 m: two wheels, each of them off by 2 %
    assert reading.linear == pytest.approx(truth.velocity[0], abs=0.05)


def test_measured_speed_does_not_depend_on_the_length_of_a_step() -> None:
    spreads = []
    for step_s in (0.1, TICK_S):
        robot, angular = placed((*OPEN, 0.0), 1).environment, []
        for _ in range(round(12 / step_s)):
            angular.append(robot.step((0.0, 0.8), step_s).odometry.angular)
        spreads.append(np.std(angular[round(2 / step_s) :]))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.4)


def test_a_robot_that_is_put_down_forgets_the_motion_before() -> None:
    robot, truth = placed((*OPEN, 0.0))
    for _ in range(10):
        robot.step((0.3, 0.5), 0.1)
    truth.place((*OPEN, 1.0))
    assert truth.pose == pytest.approx((*OPEN, 1.0))
    seen = robot.observe()
    assert seen.odometry == OdometryReading(0.0, 0.0, 0.0, 0.0, 0.0)
    assert seen.time_s == 0.0 and not seen.bumper


# ----- sensors


def test_the_bumper_tells_of_a_wall_until_the_robot_has_backed_off() -> None:
    robot, truth = placed((*OPEN, 0.7))
    assert not robot.observe().bumper
    for _ in range(250):
        if robot.step((0.4, 0.0), 0.1).bumper:
            break
    assert robot.observe().bumper
    stop = range_on_plan(HOME, truth.pose)
    assert stop < 0.6  # against something, though perhaps slantwise
    for _ in range(10):
        robot.step((-0.2, 0.0), 0.1)
    assert not robot.observe().bumper


@pytest.mark.parametrize("heading", np.linspace(-3.0, 3.0, 7))
def test_the_scan_measures_what_the_floor_plan_says(heading: float) -> None:
    ranges = placed((*OPEN, heading)).environment.observe().scan
    assert ranges.shape == (PROFILE.scan.beams,)
    for beam in (0, PROFILE.scan.beams // 4, PROFILE.scan.beams // 2):
        direction = heading + 2 * math.pi * beam / PROFILE.scan.beams
        expected = range_on_plan(HOME, (*OPEN, direction))
        if expected < PROFILE.scan.range_max_m - 0.1:
            assert ranges[beam] == pytest.approx(expected, abs=0.06)
        else:
            assert ranges[beam] == math.inf or ranges[beam] > PROFILE.scan.range_max_m - 0.2


def test_the_scan_sees_no_farther_than_its_range() -> None:
    short = PROFILE.scan.model_copy(update={"range_max_m": 0.5})
    robot = placed((*OPEN, 0.0), profile=PROFILE.model_copy(update={"scan": short})).environment
    assert np.isinf(robot.observe().scan).all()


def test_a_mounted_scanner_measures_from_where_it_sits() -> None:
    """Turned by 90 degrees and 0.2 m ahead of base_link; at base_link the scan has none of that."""
    mount = ScannerMount(x_m=0.2, z_m=0.16, yaw_deg=90.0)
    scan = PROFILE.scan.model_copy(update={"mount": mount})
    profile = PROFILE.model_copy(update={"scan": scan})
    robot, truth = worlds.make(HOME.seed, profile, mounted_scan=True)
    truth.place((*OPEN, 0.3))
    eye = OPEN[0] + 0.2 * math.cos(0.3), OPEN[1] + 0.2 * math.sin(0.3)
    left_of_it = range_on_plan(HOME, (*eye, 0.3 + math.pi / 2))
    assert robot.observe().scan[0] == pytest.approx(left_of_it, abs=0.06)
    ahead = range_on_plan(HOME, (*OPEN, 0.3))
    unmounted = placed((*OPEN, 0.3), profile=profile).environment.observe().scan
    assert unmounted[0] == pytest.approx(ahead, abs=0.06)
    assert abs(left_of_it - ahead) > 0.2, "else this test shows nothing"


def test_a_sensor_is_measured_before_the_robot_moves_on_or_not_at_all() -> None:
    robot, truth = placed((*OPEN, 0.0))
    early, late, measured = robot.observe(), robot.observe(), robot.observe()
    scan = measured.scan
    robot.step((0.2, 0.0), 0.1)
    assert measured.scan is scan
    with pytest.raises(RuntimeError, match="read them before the next step, or observe again"):
        _ = early.scan
    with pytest.raises(RuntimeError, match="read them before the next step"):
        late.expose()
    truth.place((*OPEN, 1.0))
    assert robot.observe().image.any()


def test_a_picture_from_elsewhere_leaves_the_robot_where_it_is() -> None:
    robot, truth = placed((*OPEN, 0.0))
    for _ in range(5):
        robot.step((0.3, 0.3), 0.1)
    pose, reading = truth.pose, robot.observe().odometry
    elsewhere = truth.render_at((*OPEN, 2.0))
    assert (truth.pose, robot.observe().odometry) == (pose, reading)
    camera = PROFILE.camera
    assert elsewhere.shape == (camera.height, camera.width, 3) and elsewhere.dtype == np.uint8
    there = placed((*OPEN, 2.0)).environment.observe().image
    here = robot.observe().image

    def differ(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a.astype(int) - b).mean())

    assert differ(elsewhere, there) < 8 < differ(elsewhere, here)  # but for the camera's gain


# ----- by the clock


def test_the_driver_stops_by_itself_when_commands_stay_out() -> None:
    driver = MotorDriver(0.5)
    assert driver.command(0.0) == (0.0, 0.0)
    assert driver.obey(0.3, -0.2, 10.0)
    assert driver.command(10.49) == (0.3, -0.2)
    assert driver.command(10.51) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_driver_refuses_a_command_that_is_no_number(bad: float) -> None:
    driver = MotorDriver(0.5)
    driver.obey(0.3, 0.1, 10.0)
    assert not driver.obey(bad, 0.0, 10.1) and not driver.obey(0.1, bad, 10.1)
    assert driver.command(10.2) == (0.3, 0.1)
    assert driver.command(10.55) == (0.0, 0.0), "a refused command is no sign of life"


@given(st.floats(1.0, 50.0))
def test_a_sensor_keeps_its_rate_in_the_long_run(hertz: float) -> None:
    rate = Rate(hertz)
    measured = sum(rate.due(k * TICK_S) for k in range(round(20.0 / TICK_S)))
    assert measured == pytest.approx(20.0 * hertz, abs=2)


def run_paced(factor: float, tick_costs_s: float, wall_s: float) -> tuple[float, Pace]:
    """Simulated seconds that come about when every tick takes so long."""
    pace, now, simulated = Pace(factor), 100.0, 0.0
    while now < 100.0 + wall_s:
        if pace.due(now, simulated):
            simulated += TICK_S
            now += tick_costs_s
        else:
            now += 0.001
    return simulated, pace


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_simulated_time_keeps_the_wanted_pace(factor: float) -> None:
    simulated, pace = run_paced(factor, 0.001, 10.0)
    assert simulated == pytest.approx(10.0 * factor, abs=0.1)
    assert pace.achieved(110.0, simulated) == pytest.approx(factor, rel=0.02)


def test_a_slow_machine_makes_time_slow_and_says_so() -> None:
    simulated, pace = run_paced(1.0, 2 * TICK_S, 10.0)
    assert simulated == pytest.approx(5.0, abs=0.1)
    assert pace.achieved(110.0, simulated) == pytest.approx(0.5, rel=0.02)


def test_after_a_pause_only_the_slack_is_made_up_for() -> None:
    pace, simulated = Pace(1.0), 0.0
    assert not pace.due(50.0, simulated)
    while pace.due(60.0, simulated):
        simulated += TICK_S
    assert simulated == pytest.approx(Pace.SLACK_S, abs=TICK_S)
