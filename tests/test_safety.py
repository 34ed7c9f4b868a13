"""The safety controller: its limits hold for any input, and every fault brings it to rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.bodies.profile import RobotProfile
from foresight.control.safety import (
    Command,
    CommandAverage,
    Plan,
    Reason,
    SafetyController,
    SafetySettings,
    State,
    free_distance,
)

PROFILE = RobotProfile.load(Path(__file__).parents[1] / "config" / "robots" / "homebot.yaml")
LIMITS = PROFILE.limits
RADIUS_M = PROFILE.footprint_radius_m
BEAMS = PROFILE.scan.beams
BEARINGS = 2.0 * math.pi / BEAMS * np.arange(BEAMS)
PERIOD_S = 0.05
CLEAR = np.full(BEAMS, np.inf)
Walls = list[tuple[tuple[float, float], ...]]


class Bench:
    """A controller with a clock and healthy inputs, any of which a test can replace or silence."""

    def __init__(self, settings: SafetySettings | None = None, active: bool = True) -> None:
        self.controller = SafetyController(PROFILE, settings)
        self.now_s = 100.0
        self.ros_offset_s = 1000.0
        self.odometry: tuple[float, float] | None = (0.0, 0.0)
        self.scan: np.ndarray | None = CLEAR
        self.scan_age_s = 0.0
        if active:
            self.controller.activate()

    @property
    def ros_s(self) -> float:
        return self.now_s + self.ros_offset_s

    def plan(
        self, linear: float, angular: float, steps: int = 8, start_in_s: float = 0.0
    ) -> Reason | None:
        actions = np.tile([linear, angular], (steps, 1))
        return self.controller.on_plan(self.now_s, Plan(self.ros_s + start_in_s, 0.3, actions))

    def tick(self, period_s: float = PERIOD_S) -> Command:
        self.now_s += period_s
        if self.odometry is not None:
            self.controller.on_odometry(self.now_s, *self.odometry)
        if self.scan is not None:
            taken_s = self.now_s - self.scan_age_s
            self.controller.on_scan(taken_s, self.scan, 0.0, 2.0 * math.pi / BEAMS)
        return self.controller.step(self.now_s, self.ros_s)

    def run(self, seconds: float) -> Command:
        for _ in range(round(seconds / PERIOD_S)):
            command = self.tick()
        return command

    def drive(self, linear: float = 0.4, angular: float = 0.5) -> Command:
        """Get up to speed on fresh plans."""
        for _ in range(8):
            self.plan(linear, angular)
            command = self.run(0.2)
        assert command.reason is Reason.FOLLOWING_PLAN
        assert command.linear == pytest.approx(linear)
        assert command.angular == pytest.approx(angular)
        return command

    def drive_until_other(self, plan: bool = True, limit_s: float = 3.0) -> Command:
        """Go on (with fresh plans or without) until the state is no longer DRIVING."""
        for tick in range(round(limit_s / PERIOD_S)):
            if plan and tick % 4 == 0:
                self.plan(0.4, 0.5)
            command = self.tick()
            if command.state is not State.DRIVING:
                return command
        raise AssertionError(f"still driving after {limit_s} s")


def stop_limit_s(linear: float, angular: float) -> float:
    """The longest a stop may take."""
    return (
        max(abs(linear) / LIMITS.linear_decel_mps2, abs(angular) / LIMITS.angular_accel_radps2)
        + 0.2
    )


def assert_comes_to_rest(bench: Bench, first: Command, reason: Reason) -> None:
    limit_s = stop_limit_s(first.linear, first.angular)
    command = first
    for _ in range(math.floor(limit_s / PERIOD_S)):
        assert command.reason is reason
        command = bench.tick()
    assert command.at_rest
    assert bench.run(1.0).at_rest


# ---- what each input does ----------------------------------------------------------------


def test_nothing_moves_before_activation() -> None:
    bench = Bench(active=False)
    for _ in range(20):
        bench.plan(0.4, 0.5)
        command = bench.tick()
        assert command.at_rest
        assert command.reason is Reason.NOT_ACTIVE
        assert command.state is State.STARTING


def test_a_plan_from_before_activation_is_forgotten() -> None:
    bench = Bench(active=False)
    bench.tick()
    bench.plan(0.4, 0.0)
    bench.controller.activate()
    assert bench.tick().reason is Reason.WAITING_FOR_PLAN


def test_waits_for_each_input_in_turn() -> None:
    bench = Bench()
    bench.odometry = bench.scan = None
    bench.plan(0.4, 0.0)
    assert bench.tick().reason is Reason.WAITING_FOR_ODOMETRY
    bench.odometry = (0.0, 0.0)
    assert bench.tick().reason is Reason.WAITING_FOR_SCAN
    bench.scan = CLEAR
    assert bench.tick().reason is Reason.FOLLOWING_PLAN


def test_scan_is_not_asked_for_when_unused() -> None:
    bench = Bench(SafetySettings(use_scan=False))
    bench.scan = None
    assert bench.drive(0.5, 0.0).state is State.DRIVING


def test_actions_run_by_their_stamps() -> None:
    bench = Bench()
    bench.tick()
    actions = np.array([[0.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
    bench.controller.on_plan(bench.now_s, Plan(bench.ros_s, 0.3, actions))
    seen = [bench.tick().angular for _ in range(17)]
    assert seen[4] == 0.0 < seen[5]  # action 1 starts 0.3 s after the stamp
    assert max(seen) == pytest.approx(0.5)
    assert seen[10] == pytest.approx(0.5) and seen[11] < 0.5
    assert seen[16] == pytest.approx(-0.5)


def test_an_old_plan_runs_on_until_the_new_one_starts() -> None:
    bench = Bench()
    bench.drive(0.4, 0.0)
    bench.plan(0.4, 0.0)
    bench.plan(0.1, 0.0, start_in_s=0.2)
    assert bench.run(0.15).linear == pytest.approx(0.4)
    assert bench.run(0.5).linear == pytest.approx(0.1)


def test_a_plan_in_the_near_future_is_waited_for_at_rest() -> None:
    bench = Bench()
    bench.tick()
    bench.plan(0.4, 0.0, start_in_s=0.3)
    command = bench.tick()
    assert command.at_rest and command.reason is Reason.PLAN_PENDING
    assert command.state is State.HOLDING
    assert bench.run(0.4).linear > 0.0


def test_an_empty_plan_means_rest() -> None:
    bench = Bench()
    moving = bench.drive()
    bench.controller.on_plan(bench.now_s, Plan(bench.ros_s, 0.3, np.zeros((0, 2))))
    command = bench.tick()
    assert command.state is State.HOLDING
    assert_comes_to_rest(bench, command, Reason.PLAN_EMPTY)
    assert moving.linear >= command.linear
    bench.drive()


def test_a_plan_that_ends_at_rest_is_no_fault() -> None:
    bench = Bench()
    bench.tick()
    bench.controller.on_plan(
        bench.now_s, Plan(bench.ros_s, 0.1, np.array([[0.2, 0.0], [0.0, 0.0]]))
    )
    command = bench.run(0.5)
    assert command.reason is Reason.PLAN_ENDED
    assert command.state is State.HOLDING
    assert bench.run(5.0).reason is Reason.PLAN_ENDED


# ---- faults ------------------------------------------------------------------------------


def test_plan_that_nobody_renews_stops_the_robot() -> None:
    bench = Bench()
    bench.drive()
    came_s = bench.now_s
    bench.plan(0.4, 0.5, steps=20)
    command = bench.drive_until_other(plan=False)
    assert command.state is State.STOPPED
    assert bench.now_s - came_s == pytest.approx(1.0, abs=0.11)
    assert "limit 1.00 s" in command.explanation
    assert_comes_to_rest(bench, command, Reason.PLAN_STALE)


def test_plan_that_ran_out_while_moving_stops_the_robot() -> None:
    bench = Bench()
    bench.drive()
    bench.plan(0.4, 0.5, steps=1)
    command = bench.drive_until_other(plan=False, limit_s=0.4)
    assert_comes_to_rest(bench, command, Reason.PLAN_STALE)


def test_stale_odometry_stops_the_robot_until_it_returns() -> None:
    bench = Bench()
    bench.drive()
    bench.odometry = None
    last_s = bench.now_s
    command = bench.drive_until_other()
    assert bench.now_s - last_s == pytest.approx(0.5, abs=0.06)
    assert_comes_to_rest(bench, command, Reason.ODOMETRY_STALE)
    bench.odometry = (0.0, 0.0)
    bench.drive()


def test_stale_scan_stops_the_robot() -> None:
    bench = Bench()
    bench.drive()
    bench.scan = None
    last_s = bench.now_s
    command = bench.drive_until_other()
    assert bench.now_s - last_s == pytest.approx(0.5, abs=0.06)
    assert_comes_to_rest(bench, command, Reason.SCAN_STALE)


@pytest.mark.parametrize(
    "bad", [(math.nan, 0.0), (0.0, math.inf), (-math.inf, math.nan), (1e30, 0.0)]
)
def test_one_bad_number_in_the_odometry_stops_the_robot(bad: tuple[float, float]) -> None:
    bench = Bench()
    bench.drive()
    refused = bench.controller.on_odometry(bench.now_s, *bad)
    assert refused is Reason.ODOMETRY_BAD_NUMBER
    command = bench.tick()
    assert command.reason is Reason.ODOMETRY_BAD_NUMBER
    bench.plan(0.4, 0.5)
    assert bench.run(0.4).reason is Reason.ODOMETRY_BAD_NUMBER
    bench.drive()


@pytest.mark.parametrize(
    "ranges",
    [
        np.full(BEAMS, np.nan),
        np.zeros(BEAMS),
        np.full(BEAMS, -1.0),
        [],
        np.ones((4, 4)),
        ["near", "far"],
    ],
)
def test_a_scan_of_no_use_stops_the_robot(ranges: np.ndarray) -> None:
    bench = Bench()
    bench.drive()
    assert bench.controller.on_scan(bench.now_s, ranges, 0.0, 0.05) is Reason.SCAN_INVALID
    command = bench.drive_until_other(limit_s=0.2)
    assert command.reason is Reason.SCAN_INVALID
    assert command.state is State.STOPPED


def test_beams_below_the_sensor_s_range_are_no_reading() -> None:
    bench = Bench()
    step = 2.0 * math.pi / BEAMS
    ranges = np.where(np.arange(BEAMS) < BEAMS // 4, 0.05, np.inf)
    assert bench.controller.on_scan(bench.now_s, ranges, 0.0, step, range_min_m=0.1) is None
    ranges[: BEAMS // 2] = 0.05
    refused = bench.controller.on_scan(bench.now_s, ranges, 0.0, step, range_min_m=0.1)
    assert refused is Reason.SCAN_INVALID


@pytest.mark.parametrize(("start", "increment"), [(math.nan, 0.1), (0.0, math.inf), (0.0, 0.0)])
def test_a_scan_with_impossible_angles_is_refused(start: float, increment: float) -> None:
    bench = Bench()
    assert bench.controller.on_scan(bench.now_s, CLEAR, start, increment) is Reason.SCAN_INVALID


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(0.0, 0.3, np.full((8, 2), np.nan)), Reason.PLAN_BAD_NUMBER),
        (Plan(0.0, 0.3, np.full((8, 2), np.inf)), Reason.PLAN_BAD_NUMBER),
        (Plan(math.nan, 0.3, np.zeros((8, 2))), Reason.PLAN_BAD_NUMBER),
        (Plan(0.0, math.nan, np.zeros((8, 2))), Reason.PLAN_BAD_DURATION),
        (Plan(0.0, 0.0, np.zeros((8, 2))), Reason.PLAN_BAD_DURATION),
        (Plan(0.0, 60.0, np.zeros((8, 2))), Reason.PLAN_BAD_DURATION),
        (Plan(0.0, 0.3, np.zeros((8, 3))), Reason.PLAN_BAD_SHAPE),
        (Plan(0.0, 0.3, np.zeros(8)), Reason.PLAN_BAD_SHAPE),
        (Plan(0.0, 0.3, np.array([["a", "b"]])), Reason.PLAN_BAD_SHAPE),
        (Plan(0.0, 0.3, np.zeros((65, 2))), Reason.PLAN_TOO_LONG),
    ],
)
def test_a_malformed_plan_is_refused_and_stops_the_robot(plan: Plan, reason: Reason) -> None:
    bench = Bench()
    bench.drive()
    plan = Plan(plan.start_s + bench.ros_s, plan.action_duration_s, plan.actions)
    assert bench.controller.on_plan(bench.now_s, plan) is reason
    command = bench.tick()
    assert command.state is State.STOPPED
    assert_comes_to_rest(bench, command, reason)
    bench.drive()


@pytest.mark.parametrize(
    ("start_in_s", "reason"),
    [
        (1.5, Reason.PLAN_FROM_FUTURE),
        (1e9, Reason.PLAN_FROM_FUTURE),
        (-10.0, Reason.PLAN_FROM_PAST),
        (-1e9, Reason.PLAN_FROM_PAST),
    ],
)
def test_a_plan_of_another_time_is_refused(start_in_s: float, reason: Reason) -> None:
    bench = Bench()
    bench.drive()
    bench.plan(0.4, 0.5, start_in_s=start_in_s)
    assert_comes_to_rest(bench, bench.tick(), reason)


def test_ros_time_that_jumps_back_voids_the_plan() -> None:
    bench = Bench()
    bench.drive()
    bench.ros_offset_s -= 500.0
    assert_comes_to_rest(bench, bench.tick(), Reason.CLOCK_JUMPED)
    bench.drive()


@pytest.mark.parametrize(("steady_s", "ros_s"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1)])
def test_a_clock_that_is_no_number_stops_the_robot(steady_s: float, ros_s: float) -> None:
    bench = Bench()
    before = bench.drive()
    after = bench.controller.step(bench.now_s + PERIOD_S * steady_s, bench.ros_s * ros_s)
    assert after.reason is Reason.CLOCK_BAD_NUMBER
    assert after.linear < before.linear
    bench.drive()


@pytest.mark.parametrize("begun_anew", [False, True])
def test_after_a_hang_it_goes_on_from_rest(begun_anew: bool) -> None:
    """The driver has stopped the robot meanwhile: what was commanded last is not how it moves."""
    bench = Bench()
    bench.drive(0.4, 0.5)
    bench.now_s += PROFILE.driver_timeout_s
    if begun_anew:
        bench.plan(0.4, 0.5)
    command = bench.tick()
    assert abs(command.linear) <= LIMITS.linear_accel_mps2 * 0.1
    assert abs(command.angular) <= LIMITS.angular_accel_radps2 * 0.1
    bench.drive()


def test_a_plan_that_rests_on_an_old_picture_is_refused() -> None:
    bench = Bench()
    bench.drive()
    plan = Plan(bench.ros_s, 0.3, np.full((8, 2), 0.3), seen_s=bench.ros_s - 1.2)
    bench.controller.on_plan(bench.now_s, plan)
    assert_comes_to_rest(bench, bench.tick(), Reason.BELIEF_STALE)
    bench.drive()


def test_odometry_from_the_future_stops_the_robot_only_once() -> None:
    bench = Bench()
    bench.drive()
    bench.controller.on_odometry(bench.now_s + 100.0, 0.0, 0.0)
    assert bench.tick().state is not State.DRIVING
    bench.drive()


def test_after_a_bump_it_backs_off_turns_away_and_drives_by_plan_again() -> None:
    bench = Bench()
    bench.drive(0.4, 0.0)
    bench.controller.on_bumper(bench.now_s, True)
    reasons, backed_off_m, turned_rad = [], 0.0, 0.0
    for tick in range(round(6.0 / PERIOD_S)):
        if tick % 4 == 0:
            bench.plan(0.4, 0.0)
        command = bench.tick()
        bench.odometry = (command.linear, command.angular)
        if command.reason is Reason.BACKING_OFF:
            bench.controller.on_bumper(bench.now_s, False)
            backed_off_m -= command.linear * PERIOD_S
        turned_rad += command.angular * PERIOD_S
        if command.reason not in reasons:
            reasons.append(command.reason)
    assert reasons == [
        Reason.BUMPER_PRESSED,
        Reason.BACKING_OFF,
        Reason.TURNING_AWAY,
        Reason.FOLLOWING_PLAN,
    ]
    assert backed_off_m == pytest.approx(0.1, abs=0.02)
    assert turned_rad == pytest.approx(0.6, abs=0.1)


def backing_off() -> Bench:
    """After a bump, the bumper free again."""
    bench = Bench()
    bench.drive(0.4, 0.0)
    bench.controller.on_bumper(bench.now_s, True)
    while bench.tick().reason is not Reason.BACKING_OFF:
        bench.plan(0.4, 0.0)
    bench.controller.on_bumper(bench.now_s, False)
    bench.plan(0.4, 0.0)
    assert bench.tick().reason is Reason.BACKING_OFF
    return bench


def test_a_fault_ends_the_reaction_to_a_bump() -> None:
    bench = backing_off()
    bench.odometry = None
    assert bench.run(1.0).at_rest
    bench.odometry = (0.0, 0.0)
    bench.plan(0.4, 0.0)
    assert bench.tick().reason is Reason.FOLLOWING_PLAN


@pytest.mark.parametrize("anew", ["activated", "reset"])
def test_activation_and_reset_end_the_reaction_to_a_bump(anew: str) -> None:
    bench = backing_off()
    if anew == "activated":
        bench.controller.deactivate()
        bench.controller.activate()
    else:
        bench.controller.emergency_stop(True)
        bench.controller.emergency_stop(False)
        assert bench.controller.reset_emergency_stop()
    bench.plan(0.4, 0.0)
    assert bench.tick().reason is Reason.FOLLOWING_PLAN


def test_emergency_stop_latches_until_released_and_reset() -> None:
    bench = Bench()
    bench.drive()
    bench.controller.emergency_stop(True)
    command = bench.tick()
    assert command.state is State.EMERGENCY
    assert_comes_to_rest(bench, command, Reason.EMERGENCY_STOP)
    assert not bench.controller.reset_emergency_stop()
    bench.controller.emergency_stop(False)
    bench.plan(0.4, 0.5)
    assert bench.run(0.3).reason is Reason.EMERGENCY_STOP
    assert bench.controller.reset_emergency_stop()
    bench.drive()


def test_what_was_planned_during_an_emergency_is_not_driven_after_it() -> None:
    bench = Bench()
    bench.drive()
    bench.controller.emergency_stop(True)
    bench.run(0.1)
    bench.controller.emergency_stop(False)
    bench.plan(0.4, 0.5)
    bench.run(0.1)
    bench.controller.reset_emergency_stop()
    assert bench.tick().reason is Reason.WAITING_FOR_PLAN


def test_deactivation_brakes_and_stays_at_rest() -> None:
    bench = Bench()
    bench.drive()
    bench.controller.deactivate()
    bench.plan(0.4, 0.5)
    assert_comes_to_rest(bench, bench.tick(), Reason.DEACTIVATED)
    bench.controller.activate()
    assert bench.tick().reason is Reason.WAITING_FOR_PLAN
    bench.drive()


def test_pressed_bumper_stops_forward_motion_only() -> None:
    bench = Bench()
    bench.drive(0.4, 0.0)
    bench.controller.on_bumper(bench.now_s, True)
    bench.plan(0.4, 0.0)
    assert_comes_to_rest(bench, bench.tick(), Reason.BUMPER_PRESSED)
    bench.plan(0.4, 0.8)
    command = bench.run(0.5)
    assert (command.linear, command.angular) == (0.0, pytest.approx(0.8))
    assert command.reason is Reason.BUMPER_LIMITS
    bench.plan(-0.15, 0.0)
    command = bench.run(0.5)
    assert command.linear == pytest.approx(-0.15)
    bench.controller.on_bumper(bench.now_s, False)
    bench.drive(0.4, 0.0)


@pytest.mark.parametrize(
    "changes", [{"plan_timeout_s": 0.0}, {"scan_timeout_s": math.nan}, {"margin_m": -1.0}]
)
def test_settings_check_themselves(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        SafetySettings(**changes)


# ---- obstacles ---------------------------------------------------------------------------


def facing_wall(distance_m: float) -> np.ndarray:
    """Ranges of a scan before an endless wall across the x axis."""
    cosine = np.cos(BEARINGS)
    return np.where(cosine > 1e-6, distance_m / np.maximum(cosine, 1e-6), np.inf)


def test_closed_path_is_refused_and_says_so() -> None:
    bench = Bench()
    bench.scan = facing_wall(RADIUS_M + 0.02)
    bench.plan(0.4, 0.0)
    command = bench.run(0.3)
    assert command.at_rest
    assert command.reason is Reason.PATH_CLOSED
    assert command.state is State.STOPPED


@pytest.mark.parametrize("rate_hz", [20, 200, 1000])
def test_an_old_scan_is_carried_on_by_odometry_of_any_rate(rate_hz: int) -> None:
    controller = SafetyController(PROFILE)
    controller.activate()
    age_s, speed, left_m = 0.45, 0.5, 0.10
    wall_m = left_m + age_s * speed + RADIUS_M + 0.01
    for number in range(rate_hz + 1):
        controller.on_odometry(number / rate_hz, speed, 0.0)
    controller.on_scan(1.0 - age_s, facing_wall(wall_m), 0.0, 2.0 * math.pi / BEAMS)
    controller.on_plan(1.0, Plan(1.0, 0.3, np.tile([speed, 0.0], (8, 1))))
    assert controller.step(1.0, 1.0).detail == "free for 0.10 m"


def test_turning_and_backing_away_are_free_before_a_wall() -> None:
    bench = Bench()
    bench.scan = facing_wall(RADIUS_M + 0.005)
    bench.plan(0.0, 1.0)
    assert bench.run(0.5).angular == pytest.approx(1.0)
    bench.plan(0.4, 1.0)
    command = bench.run(0.3)
    assert command.angular == pytest.approx(1.0)
    assert command.reason is Reason.SLOWED
    bench.plan(-0.15, 0.0)
    assert bench.run(0.8).linear == pytest.approx(-0.15)


def test_reverse_is_refused_when_the_rear_is_closed() -> None:
    bench = Bench()
    bench.scan = np.roll(facing_wall(RADIUS_M + 0.02), BEAMS // 2)
    bench.plan(-0.2, 0.0)
    assert bench.run(0.3).reason is Reason.PATH_CLOSED
    bench.drive(0.4, 0.0)


def test_minus_infinity_counts_as_touching() -> None:
    bench = Bench()
    bench.scan = CLEAR.copy()
    bench.scan[0] = -np.inf
    bench.plan(0.4, 0.0)
    assert bench.run(0.3).reason is Reason.PATH_CLOSED


def test_some_blind_beams_are_tolerated() -> None:
    bench = Bench()
    bench.scan = CLEAR.copy()
    bench.scan[::3] = np.nan
    bench.drive()


def test_doorway_of_ninety_centimetres_is_passed_without_slowing() -> None:
    """The jambs are 0.45 m to either side; the robot passes up to 0.2 m off their middle."""
    for offset_m in (-0.2, -0.1, 0.0, 0.15, 0.2):
        walls = [((1.0, 0.45), (1.0, 3.0)), ((1.1, 0.45), (1.1, 3.0)), ((1.0, 0.45), (1.1, 0.45))]
        walls += [tuple((x, -y) for x, y in wall) for wall in walls]
        room = Room(walls, (0.0, offset_m, 0.0))
        bench = Bench()
        for tick in range(100):
            if tick % 4 == 0:
                bench.plan(0.5, 0.0)
            bench.scan = room.scan() if tick % 2 == 0 else None
            command = bench.tick()
            assert command.reason is Reason.FOLLOWING_PLAN
            room.move(command)
        assert room.pose[0] > 2.0
        assert room.clearance() > 0.0


@given(
    x=st.floats(-1.0, 1.0),
    y=st.floats(-1.0, 1.0),
    linear=st.sampled_from([0.3, -0.2]),
    angular=st.floats(-2.0, 2.0),
)
@settings(max_examples=60, deadline=None)
def test_free_distance_agrees_with_driving_the_arc(
    x: float, y: float, linear: float, angular: float
) -> None:
    point = np.array([[x, y]])
    if math.hypot(x, y) <= RADIUS_M:
        return
    free_m = free_distance(point, linear, angular, RADIUS_M)
    travelled = np.arange(0.0, 1.2, 0.002)
    seconds = travelled / abs(linear)
    if abs(angular) < 1e-6:
        centre = np.stack([linear * seconds, np.zeros_like(seconds)], axis=1)
    else:
        turn = linear / angular
        centre = turn * np.stack(
            [np.sin(angular * seconds), 1.0 - np.cos(angular * seconds)], axis=1
        )
    gap = np.hypot(*(centre - point).T) - RADIUS_M
    touching = np.flatnonzero(gap < -0.003)
    if len(touching):
        assert free_m <= travelled[touching[0]] + 1e-9
    assert (gap[travelled < min(free_m, 1.2) - 0.01] > -0.003).all()


class Room:
    """Walls as line segments, and a robot that obeys every command at once."""

    def __init__(
        self,
        walls: Walls,
        pose: tuple[float, float, float],
    ) -> None:
        self._from = np.array([wall[0] for wall in walls], dtype=float)
        self._along = np.array([wall[1] for wall in walls], dtype=float) - self._from
        self.pose = np.array(pose, dtype=float)

    def scan(self) -> np.ndarray:
        bearing = self.pose[2] + BEARINGS
        ray = np.stack([np.cos(bearing), np.sin(bearing)], axis=1)[:, None, :]
        offset = (self._from - self.pose[:2])[None]
        along = self._along[None]
        cross = ray[..., 0] * along[..., 1] - ray[..., 1] * along[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (offset[..., 0] * along[..., 1] - offset[..., 1] * along[..., 0]) / cross
            share = (offset[..., 0] * ray[..., 1] - offset[..., 1] * ray[..., 0]) / cross
        hit = (distance > 0.0) & (share >= 0.0) & (share <= 1.0)
        return np.where(hit, distance, np.inf).min(axis=1)

    def clearance(self) -> float:
        """Gap between the robot and the nearest wall, m; negative inside it."""
        offset = self.pose[:2] - self._from
        share = np.sum(offset * self._along, axis=1) / np.sum(self._along**2, axis=1)
        nearest = self._from + np.clip(share, 0.0, 1.0)[:, None] * self._along
        return float(np.min(np.hypot(*(self.pose[:2] - nearest).T))) - RADIUS_M

    def move(self, command: Command, seconds: float = PERIOD_S) -> None:
        heading = self.pose[2] + command.angular * seconds / 2.0
        self.pose += seconds * np.array(
            [
                command.linear * math.cos(heading),
                command.linear * math.sin(heading),
                command.angular,
            ]
        )


def box(x: float, y: float, width: float, depth: float) -> Walls:
    corners = [(x, y), (x + width, y), (x + width, y + depth), (x, y + depth)]
    return [(corners[i], corners[(i + 1) % 4]) for i in range(4)]


def closed_room() -> Walls:
    """2.4 m square with a pillar and a partition."""
    return box(-1.2, -1.2, 2.4, 2.4) + box(0.5, 0.4, 0.2, 0.2) + box(-1.2, 0.3, 0.7, 0.1)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_plan_drives_into_what_the_scan_shows(seed: int) -> None:
    """Scans at 10 Hz that are 0.2 s old when they come; plans are arbitrary."""
    random = np.random.default_rng(seed)
    room = Room(closed_room(), (-0.3, -0.5, random.uniform(-math.pi, math.pi)))
    bench = Bench()
    bench.scan_age_s = 0.2
    delayed = [room.scan(), room.scan()]
    for tick in range(240):
        if tick % 6 == 0:
            bench.plan(random.uniform(-0.3, 0.8), random.uniform(-1.6, 1.6))
        bench.scan = None
        if tick % 2 == 0:
            bench.scan = delayed.pop(0)
            delayed.append(room.scan())
        command = bench.tick()
        room.move(command)
        bench.odometry = (command.linear, command.angular)
        assert room.clearance() > 0.0


# ---- limits, for any input ---------------------------------------------------------------

anything = st.floats(allow_nan=True, allow_infinity=True, width=32)
speeds = st.one_of(st.floats(-0.6, 0.9), anything)
events = st.one_of(
    st.tuples(st.just("plan"), speeds, speeds, st.floats(-3.0, 3.0)),
    st.tuples(st.just("good plan"), st.floats(-0.3, 0.8), st.floats(-2.0, 2.0)),
    st.tuples(st.just("odometry"), anything, anything),
    st.tuples(st.just("scan"), st.lists(anything, max_size=8)),
    st.tuples(st.just("wall"), st.floats(0.1, 2.0)),
    st.tuples(st.just("bumper"), st.booleans()),
    st.tuples(st.just("emergency"), st.booleans()),
    st.tuples(st.just("reset")),
    st.tuples(st.just("silence")),
    st.tuples(st.just("activate")),
    st.tuples(st.just("deactivate")),
    st.tuples(st.just("time jump"), st.floats(-2.0, 2.0)),
)


def apply(bench: Bench, event: tuple) -> None:
    controller = bench.controller
    match event:
        case ("plan", linear, angular, start_in_s):
            bench.plan(linear, angular, start_in_s=start_in_s)
        case ("good plan", linear, angular):
            bench.odometry, bench.scan = (0.0, 0.0), CLEAR
            controller.on_bumper(bench.now_s, False)
            bench.plan(linear, angular)
        case ("odometry", linear, angular):
            controller.on_odometry(bench.now_s, linear, angular)
        case ("scan", ranges):
            controller.on_scan(bench.now_s, ranges, 0.0, 0.8)
        case ("wall", distance_m):
            bench.scan = facing_wall(distance_m)
        case ("bumper", pressed):
            controller.on_bumper(bench.now_s, pressed)
        case ("emergency", pressed):
            controller.emergency_stop(pressed)
        case ("reset",):
            controller.emergency_stop(False)
            controller.reset_emergency_stop()
        case ("silence",):
            bench.odometry = bench.scan = None
        case ("activate",):
            controller.activate()
        case ("deactivate",):
            controller.deactivate()
        case ("time jump", seconds):
            bench.ros_offset_s += seconds


scripts = st.lists(st.tuples(events, st.integers(1, 12)), min_size=1, max_size=14)


def commands_of(bench: Bench, script: list, periods: Iterator[float]) -> Iterator[tuple]:
    for event, ticks in script:
        apply(bench, event)
        for _ in range(ticks):
            period_s = next(periods)
            yield bench.tick(period_s), period_s


@given(script=scripts)
@settings(max_examples=250, deadline=None)
def test_limits_hold_and_faults_stop_whatever_comes(script: list) -> None:
    bench = Bench()
    before = bench.tick()
    accel = np.zeros(2)
    deadline_s: float | None = None
    steady = iter(lambda: PERIOD_S, None)
    for command, _ in commands_of(bench, [(("good plan", 0.5, 1.0), 8), *script], steady):
        assert math.isfinite(command.linear) and math.isfinite(command.angular)
        assert LIMITS.linear_min_mps <= command.linear <= LIMITS.linear_max_mps
        assert abs(command.angular) <= LIMITS.angular_max_radps
        change = np.array([command.linear - before.linear, command.angular - before.angular])
        slowing = abs(command.linear) < abs(before.linear)
        linear_limit = LIMITS.linear_decel_mps2 if slowing else LIMITS.linear_accel_mps2
        assert abs(change[0]) <= linear_limit * PERIOD_S + 1e-9
        assert abs(change[1]) <= LIMITS.angular_accel_radps2 * PERIOD_S + 1e-9
        jerk = np.abs(change / PERIOD_S - accel) / PERIOD_S
        assert jerk[0] <= LIMITS.linear_jerk_mps3 + 1e-6
        assert jerk[1] <= LIMITS.angular_jerk_radps3 + 1e-6
        if command.state is State.DRIVING:
            deadline_s = None
        elif deadline_s is None:
            deadline_s = bench.now_s + stop_limit_s(before.linear, before.angular)
        elif bench.now_s > deadline_s + 1e-9:
            assert command.at_rest
        before, accel = command, change / PERIOD_S


@given(script=scripts, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_velocity_and_acceleration_hold_with_an_uneven_clock(script: list, seed: int) -> None:
    random = np.random.default_rng(seed)
    periods = iter(lambda: float(random.choice([0.0, 0.01, 0.05, 0.06, 0.1, 0.4])), None)
    bench = Bench()
    before = bench.tick()
    for command, period_s in commands_of(bench, [(("good plan", 0.5, 1.0), 8), *script], periods):
        assert LIMITS.linear_min_mps <= command.linear <= LIMITS.linear_max_mps
        assert abs(command.angular) <= LIMITS.angular_max_radps
        highest = max(LIMITS.linear_accel_mps2, LIMITS.linear_decel_mps2)
        assert abs(command.linear - before.linear) <= highest * period_s + 1e-9
        turn = abs(command.angular - before.angular)
        assert turn <= LIMITS.angular_accel_radps2 * period_s + 1e-9
        before = command


# ---- what was executed -------------------------------------------------------------------


def collect(interval_s: float) -> tuple[CommandAverage, list[tuple[float, float, float, float]]]:
    told: list[tuple[float, float, float, float]] = []
    return CommandAverage(interval_s, lambda *interval: told.append(interval)), told


def test_command_average_weighs_by_time() -> None:
    average, told = collect(0.1)
    for time_s, linear in [(1.0, 0.4), (1.025, 0.0), (1.1, 0.2), (1.2, 0.2)]:
        average.add(time_s, linear, -linear)
    assert [row[:2] for row in told] == [(1.0, 0.1), (pytest.approx(1.1), 0.1)]
    assert [row[2] for row in told] == [pytest.approx(0.1), pytest.approx(0.2)]
    assert [row[3] for row in told] == [pytest.approx(-0.1), pytest.approx(-0.2)]


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.floats(-0.5, 0.5)), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_command_average_conserves_the_way(rows: list[tuple[float, float]]) -> None:
    average, told = collect(0.1)
    now_s, way_m, held = 5.0, 0.0, 0.0
    for gap_s, linear in rows:
        now_s += gap_s
        way_m += gap_s * held if now_s > 5.0 + gap_s or held else 0.0
        average.add(now_s, linear, 0.0)
        held = linear
    told_m = sum(duration_s * linear for _, duration_s, linear, _ in told)
    assert abs(told_m - way_m) <= 0.1 * 0.5 + 1e-6  # at most one interval is still open


def test_command_average_starts_afresh_after_a_gap_or_a_jump_back() -> None:
    average, told = collect(0.1)
    average.add(1.0, 0.4, 0.0)
    average.add(9.0, 0.1, 0.0)
    average.add(2.0, 0.3, 0.0)
    average.add(2.1, 0.3, 0.0)
    assert told == [(2.0, 0.1, pytest.approx(0.3), 0.0)]
