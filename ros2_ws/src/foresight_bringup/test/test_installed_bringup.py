"""The whole stack as it is installed: its files are found, its nodes come up and end."""

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from std_msgs.msg import String

from foresight import bundle, resources
from foresight.bodies.profile import RobotProfile
from foresight.missions import Mission
from foresight.perception.encoder import Encoder
from foresight.planning import Navigator
from foresight_node.messages import LATCHED
from foresight_node.testing import started

COMMAND = [sys.executable, "-c", "from foresight.apps.cli import app; app()", "launch"]


def launch(file: str, arguments: Sequence[str] = ()) -> list[str]:
    """`foresight launch`, which needs no other folder on PATH than Python's."""
    return [*COMMAND, file, *arguments]


def test_shipped_files_are_installed_and_whole() -> None:
    share = resources.share()
    assert RobotProfile.load(resources.robot_profile()).name == "homebot"
    missions = sorted((share / "config" / "missions").glob("*.yaml"))
    assert resources.soak_mission() in missions
    for mission in missions:
        Mission.load(mission)
    assert resources.parameters().is_file()
    assert len(sorted((share / "launch").glob("*.launch.py"))) >= 5


def test_shipped_bundle_plans_from_one_picture_to_another() -> None:
    loaded, random = bundle.load(resources.bundle()), np.random.default_rng(0)
    image = loaded.manifest.image
    shape = (2, image.height, image.width, image.channels)
    here, there = map(Encoder(loaded), random.integers(0, 256, shape, np.uint8))
    navigator = Navigator(loaded)
    navigator.set_goal(there)
    still = np.zeros(len(loaded.manifest.body.proprioception), np.float32)
    step = navigator.update(0.0, here, still)
    assert len(step.actions) == loaded.manifest.planners["planner"].horizon
    assert np.isfinite(step.actions).all() and np.isfinite(step.energy).all()


@pytest.mark.parametrize("composed", ("false", "true"))
def test_stack_becomes_active_and_ends_on_ctrl_c(composed: str) -> None:
    with started(launch("foresight.launch.py", [f"use_composition:={composed}"])) as stack:
        states = stack.collect(String, "system_state", LATCHED)
        stack.wait_for(lambda: String(data="active") in states)
        assert stack.interrupt() == 0
        assert "Traceback" not in stack.output


def test_simulated_robot_tells_where_it_is() -> None:
    pytest.importorskip("mujoco")
    with started(launch("simulation.launch.py")) as robot:
        odometry = robot.collect(Odometry, "odom")
        robot.wait_for(lambda: odometry)
        assert robot.interrupt() == 0
