"""An exploration goes as well with a scanner that is turned, upside down or off the centre."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from foresight import worlds
from foresight.bodies.profile import RobotProfile, ScannerMount
from foresight.control.safety import Plan, SafetyController
from foresight.exploration.explorer import Explorer
from foresight.perception.scan import CENTRED, ScanMount
from foresight.perception.virtual_scan import VirtualScan
from foresight.worlds import tasks

PERIOD_S, ACTION_S = 0.1, 0.5
LIMIT_S = 900.0
"""Never reached: of time, an exploration would go home before its end."""
DRIVE_S = 90.0
COVERED_M2 = 45.0
"""In that time a scanner at the centre lets the robot see 47.9 m2 of home 0."""


@dataclass(frozen=True)
class Explored:
    bumps: int
    covered_m2: float


def explore(profile: RobotProfile, mount: ScanMount, believed: ScanMount) -> Explored:
    """Explore home 0 for DRIVE_S with a scanner that sits at `mount` and is thought to sit at
    `believed`."""
    beams = profile.scan.beams
    step, far_m = math.tau / beams, profile.scan.range_max_m
    robot, truth = worlds.make(0, mounted(profile, mount), mounted_scan=True)
    truth.place(tasks.demo_task(truth.floor_plan, profile, 0)[0])
    at_base = VirtualScan(beams, 0.0, step, believed, profile.footprint_radius_m)
    explorer = Explorer(profile, at_base.angles, LIMIT_S, 0.0, ACTION_S)
    controller = SafetyController(profile)
    controller.activate()
    bumps, pressed, covered_m2 = 0, False, 0.0
    for tick in range(round(DRIVE_S / PERIOD_S)):
        now, seen = PERIOD_S * tick, robot.observe()
        reading = seen.odometry
        controller.on_odometry(now, reading.linear, reading.angular)
        controller.on_scan(now, seen.scan, 0.0, step, 0.0, believed)
        controller.on_bumper(now, seen.bumper)
        twist = np.array([reading.linear, reading.angular])
        pose, told = np.array(reading.pose), at_base(seen.scan, 0.0, far_m)
        wish = explorer.update(now, told, pose, twist, seen.bumper)
        covered_m2 = wish.covered_m2
        controller.on_plan(now, Plan(now, ACTION_S, wish.actions))
        for moment in (now, now + PERIOD_S / 2):
            command = controller.step(moment, moment)
            seen = robot.step((command.linear, command.angular), PERIOD_S / 2)
        bumps += seen.bumper and not pressed
        pressed = seen.bumper
    robot.close()
    return Explored(bumps, covered_m2)


def mounted(profile: RobotProfile, mount: ScanMount) -> RobotProfile:
    at = ScannerMount(
        x_m=mount.x_m,
        y_m=mount.y_m,
        z_m=0.16,
        yaw_deg=math.degrees(mount.yaw_rad),
        upside_down=mount.upside_down,
    )
    return profile.model_copy(update={"scan": profile.scan.model_copy(update={"mount": at})})


@pytest.fixture(scope="module")
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


@pytest.mark.parametrize(
    "mount",
    [
        CENTRED,
        ScanMount(yaw_rad=math.pi / 2),
        ScanMount(upside_down=True),
        ScanMount(0.1, 0.0, 0.0),
        ScanMount(-0.08, 0.05, -2.0, upside_down=True),
    ],
    ids=str,
)
def test_the_robot_explores_without_a_bump_wherever_its_scanner_sits(
    profile: RobotProfile, mount: ScanMount
) -> None:
    explored = explore(profile, mount, mount)
    assert explored.bumps == 0
    assert explored.covered_m2 > COVERED_M2


def test_a_turned_scanner_that_is_thought_to_be_straight_bumps(profile: RobotProfile) -> None:
    """What the mount is for, and that this drive would show it."""
    assert explore(profile, ScanMount(yaw_rad=math.pi / 2), CENTRED).bumps > 5
