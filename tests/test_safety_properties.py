"""Whatever comes, in whatever order: the promises of the safety controller.

Each sequence is a string of bytes: one byte is one event, and how long it lasts.
FORESIGHT_SEQUENCES sets how many are tried.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foresight.bodies.profile import RobotProfile
from foresight.control.safety import Command, Plan, Reason, SafetyController, SafetySettings, State

SEQUENCES = int(os.environ.get("FORESIGHT_SEQUENCES", "300"))
PROFILE = RobotProfile.load(Path(__file__).parents[1] / "config" / "robots" / "homebot.yaml")
LIMITS = PROFILE.limits
SETTINGS = SafetySettings()
BEAM_RAD = 2.0 * math.pi / PROFILE.scan.beams
COSINE = np.maximum(np.cos(BEAM_RAD * np.arange(PROFILE.scan.beams)), 1e-6)
STEPS = np.ones((8, 2))


def wall(distance_m: float) -> np.ndarray:
    """A scan before an endless wall across the x axis."""
    return np.where(COSINE > 1e-6, distance_m / COSINE, np.inf)


CLEAR, NEAR = wall(math.inf), wall(0.8)
CLOSED = wall(PROFILE.footprint_radius_m + 0.005)

# What each source may send instead of what is good; None is silence.
GOOD = "good"
SHIFT_S = {"late": -1.5, "early": 30.0, "timeless": math.nan}
PLANS: dict[str, np.ndarray | None] = {
    "silent": None,
    "NaN": STEPS * math.nan,
    "infinite": STEPS * math.inf,
    "shape": np.ones((8, 3)),
    "empty": np.zeros((0, 2)),
    "long": np.ones((65, 2)),
}
ODOMETRY = {
    "silent": None,
    "NaN": (math.nan, 0.0),
    "infinite": (0.1, -math.inf),
    "impossible": (1e30, 0.0),
}
SCANS = {
    "silent": None,
    "void": [],
    "NaN": CLEAR * math.nan,
    "zero": np.zeros(len(CLEAR)),
    "words": ["near"],
    "flat": CLEAR[None],
    "angles": CLEAR,
    "near": NEAR,
    "closed": CLOSED,
}
SPEEDS = [(0.5, 0.0), (0.4, 1.0), (-0.2, -0.5), (0.0, 1.4), (9.0, -9.0), (0.2, 0.05)]
CLOCKS = {"back": -5.0, "far back": -1000.0, "a little back": -0.05, "on": 0.35, "far on": 900.0}

EVENTS: list[tuple[str, object]] = [
    *(("plan", name) for name in [*PLANS, *SHIFT_S, "brief", "old picture"]),
    *(("odometry", name) for name in [*ODOMETRY, *SHIFT_S]),
    *(("scan", name) for name in [*SCANS, *SHIFT_S]),
    *(("speeds", pair) for pair in SPEEDS),
    *(("ROS clock", name) for name in [*CLOCKS, "NaN"]),
    *(("steady clock", name) for name in [*CLOCKS, "NaN"]),
    ("bumper", True),
    ("bumper", True),
    ("bumper", False),
    ("emergency", True),
    ("emergency", False),
    ("reset", None),
    ("activate", None),
    ("deactivate", None),
]
EVENTS += [("heal", None)] * (128 - len(EVENTS))
"""Half of what is left over makes all inputs good again, or the robot would rarely move."""


class World:
    """A controller, its inputs and clocks; it knows by itself when the robot must be at rest."""

    def __init__(self, period_s: float) -> None:
        self.controller = SafetyController(PROFILE, SETTINGS)
        self.period_s = period_s
        self.time_s = 0.0  # true time; the clocks show it with what they jumped by
        self.steady_offset_s, self.ros_offset_s = 100.0, 1000.0
        self.nan_clock = ""
        self.jumped, self.leapt_s = False, 0.0  # the steady clock, since the last tick
        self.active = self.ever_active = self.pressed = self.latched = self.bumped = False
        self.ticks = 0
        self.speeds = SPEEDS[0]
        self.modes = {"plan": GOOD, "odometry": GOOD, "scan": GOOD}
        self.bad_since_s: dict[str, float] = {}
        self.before = Command(0.0, 0.0, Reason.NOT_ACTIVE)
        self.accel, self.even = (0.0, 0.0), True
        self.closed_s = math.inf  # when a scan began to close the way
        self.rest_by_s = self.held_by_s = math.inf

    # ---- what happens

    def happen(self, kind: str, what: object) -> None:
        controller = self.controller
        if kind in self.modes:
            self.set_mode(kind, str(what))
        elif kind == "speeds":
            self.speeds = what
        elif kind == "bumper":
            self.bumped = bool(what)
            controller.on_bumper(self.time_s + self.steady_offset_s, self.bumped)
        elif kind == "emergency":
            self.pressed = bool(what)
            self.latched |= self.pressed
            controller.emergency_stop(self.pressed)
        elif kind == "reset":
            self.latched = self.pressed
            assert controller.reset_emergency_stop() is not self.pressed
        elif kind == "activate":
            self.active = self.ever_active = True
            controller.activate()
        elif kind == "deactivate":
            self.active = False
            controller.deactivate()
        elif kind == "heal":
            self.heal()
        elif what == "NaN":
            self.nan_clock = kind
        elif kind == "ROS clock":
            self.ros_offset_s += CLOCKS[str(what)]
        else:
            self.steady_offset_s += CLOCKS[str(what)]
            self.jumped = True
            self.leapt_s += CLOCKS[str(what)]

    def heal(self) -> None:
        for source in self.modes:
            self.set_mode(source, GOOD)
        self.happen("bumper", False)
        if self.pressed:
            self.happen("emergency", False)
        if self.latched:
            self.happen("reset", None)
        if not self.active:
            self.happen("activate", None)

    def set_mode(self, source: str, mode: str) -> None:
        if mode in (GOOD, "near", "closed"):
            self.bad_since_s.pop(source, None)
        else:
            self.bad_since_s[source] = self.time_s
        if source == "scan":
            self.closed_s = self.time_s if mode == "closed" else math.inf
        self.modes[source] = mode

    # ---- what the sources send

    def send(self) -> None:
        steady_s = self.time_s + self.steady_offset_s
        mode = self.modes["odometry"]
        odometry = ODOMETRY.get(mode, (self.before.linear, self.before.angular))
        if odometry is not None:
            self.controller.on_odometry(steady_s + SHIFT_S.get(mode, 0.0), *odometry)
        if self.ticks % 2 == 0:
            self.send_scan(steady_s)
        if self.ticks % 4 == 0:
            self.send_plan(steady_s)
        self.ticks += 1

    def send_scan(self, steady_s: float) -> None:
        mode = self.modes["scan"]
        scan = SCANS.get(mode, CLEAR)
        if scan is not None:
            increment = math.nan if mode == "angles" else BEAM_RAD
            self.controller.on_scan(steady_s + SHIFT_S.get(mode, 0.0), scan, 0.0, increment)

    def send_plan(self, steady_s: float) -> None:
        mode = self.modes["plan"]
        actions = PLANS.get(mode, STEPS * self.speeds)
        if actions is None:
            return
        ros_s = self.time_s + self.ros_offset_s
        start_s = ros_s + SHIFT_S.get(mode, 0.0) * 10.0
        seen_s = ros_s - 1.5 if mode == "old picture" else None
        step_s = 1e-320 if mode == "brief" else 0.3
        self.controller.on_plan(steady_s, Plan(start_s, step_s, actions, seen_s))

    # ---- what must hold

    def tick(self) -> Command:
        self.time_s += self.period_s
        self.send()
        nan = self.nan_clock
        if nan != "steady clock":
            if self.leapt_s + self.period_s > PROFILE.driver_timeout_s:
                # For the controller it has hung, and the driver has stopped the robot.
                self.before, self.accel = Command(0.0, 0.0, self.before.reason), (0.0, 0.0)
            self.leapt_s = 0.0
        command = self.controller.step(
            math.nan if nan == "steady clock" else self.time_s + self.steady_offset_s,
            math.nan if nan == "ROS clock" else self.time_s + self.ros_offset_s,
        )
        self.check_limits(command)
        self.check_rest(command)
        self.before, self.nan_clock = command, ""
        self.jumped = nan == "steady clock"  # the step after it may use the time that it did not
        return command

    def check_limits(self, command: Command) -> None:
        before, slack = self.before, 1e-9
        assert LIMITS.linear_min_mps <= command.linear <= LIMITS.linear_max_mps
        assert abs(command.angular) <= LIMITS.angular_max_radps
        linear, angular = command.linear - before.linear, command.angular - before.angular
        step_s = 0.1 if self.jumped else self.period_s  # a late step may use no more
        slowing = abs(command.linear) < abs(before.linear)
        most = LIMITS.linear_decel_mps2 if slowing else LIMITS.linear_accel_mps2
        assert abs(linear) <= most * step_s + slack
        assert abs(angular) <= LIMITS.angular_accel_radps2 * step_s + slack
        accel = (linear / step_s, angular / step_s)
        # After a step of another length the speed limit may cut a ramp short: the jerk counts
        # again once the command has been even.
        if self.jumped:
            self.even = False
        if self.even:
            jerk = [abs(now - then) / step_s for now, then in zip(accel, self.accel, strict=True)]
            assert jerk[0] <= LIMITS.linear_jerk_mps3 + 1e-6
            assert jerk[1] <= LIMITS.angular_jerk_radps3 + 1e-6
        self.even |= not self.jumped and not any(accel)
        self.accel = accel

    def check_rest(self, command: Command) -> None:
        if not self.ever_active:
            assert command.at_rest and command.state in (State.STARTING, State.EMERGENCY)
        if self.latched:
            assert command.reason is Reason.EMERGENCY_STOP
        must_rest = self.must_rest()
        if must_rest:
            assert command.state is not State.DRIVING
        self.rest_by_s = self.deadline_s(self.rest_by_s) if must_rest else math.inf
        assert self.time_s <= self.rest_by_s or command.at_rest
        blocked = self.bumped or self.time_s > self.closed_s + 2.0 * self.period_s
        self.held_by_s = self.deadline_s(self.held_by_s) if blocked else math.inf
        assert self.time_s <= self.held_by_s or command.linear <= 0.0

    def must_rest(self) -> bool:
        """Whether something is amiss that the controller must have noticed by now."""
        if not self.active or self.latched or self.nan_clock:
            return True
        limit_s = {
            "plan": SETTINGS.plan_timeout_s,
            "odometry": SETTINGS.odometry_timeout_s,
            "scan": SETTINGS.scan_timeout_s,
        }
        late_s = 4.0 * self.period_s  # the last good one may have come just after
        return any(
            self.time_s - since_s > limit_s[source] + late_s + 1e-9
            if self.modes[source] in ("silent", "late")
            else self.time_s - since_s > late_s + 1e-9
            for source, since_s in self.bad_since_s.items()
        )

    def deadline_s(self, so_far_s: float) -> float:
        """The latest time of rest: braking from the speed of the moment, and 0.2 s."""
        if so_far_s < math.inf:
            return so_far_s
        linear_s = abs(self.before.linear) / LIMITS.linear_decel_mps2
        angular_s = abs(self.before.angular) / LIMITS.angular_accel_radps2
        return self.time_s + max(linear_s, angular_s) + 0.2 + 1e-9


byte_strings = st.binary(min_size=30, max_size=60)
periods = st.sampled_from([0.05, 0.05, 0.1, 0.02])
thorough = settings(
    max_examples=SEQUENCES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.timeout(7200)
@given(script=byte_strings, period_s=periods)
@thorough
def test_limits_and_stops_hold_and_it_goes_on_when_it_can(script: bytes, period_s: float) -> None:
    world = World(period_s)
    if script[0] % 4:  # else it stays as it comes up, until an event activates it
        world.heal()
        for _ in range(10):
            world.tick()
    for byte in script[1:]:
        world.happen(*EVENTS[byte % len(EVENTS)])
        for _ in range(1 + byte // len(EVENTS) * 3):
            world.tick()
    world.heal()
    world.speeds = SPEEDS[0]
    goes_on_s = world.time_s + 6.0  # the longest way out of a bump, and getting up to speed
    command = world.tick()
    while command.reason is not Reason.FOLLOWING_PLAN or command.linear < SPEEDS[0][0]:
        command = world.tick()
        assert world.time_s < goes_on_s
