"""`foresight collect`: what the robots do, what they leave behind, and what a second run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from foresight.robot import RobotProfile
from foresight.sim.apartment import Apartment
from foresight.sim.robot import Simulator

ROOT = Path(__file__).parents[1]
PROFILE = RobotProfile.load(ROOT / "config" / "robots" / "homebot.yaml")


# ----- bumps


@pytest.mark.parametrize("start", [(3.2, 3.2, -2.8), (6.75, 0.79, 1.4), (0.68, 0.71, -2.2)])
def test_running_into_things_does_not_fling_the_robot_round(
    start: tuple[float, float, float],
) -> None:
    simulator = Simulator(Apartment(0), PROFILE)
    simulator.reset(start)
    touched, turning, speed = 0, [], []
    for _ in range(100):
        simulator.step(0.4, 0.05, 0.1)
        if simulator.bumper:
            touched += 1
            speed.append(abs(simulator.velocity[0]))
            turning.append(abs(simulator.velocity[1]))
    assert touched > 20
    assert max(speed) < 0.5
    assert max(turning) < 1.6
