import os
import pkgutil
import subprocess
import sys

import foresight

ROBOT_LACKS = ("av", "h5py", "matplotlib", "mujoco", "onnx", "rclpy", "rosbags", "torch")
ROBOT_RUNS = (
    "bodies",
    "bundle",
    "control",
    "exploration",
    "memory",
    "missions",
    "perception",
    "planning",
    "runtime",
)


def test_what_runs_on_a_robot_needs_neither_torch_nor_a_simulator() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages(foresight.__path__, "foresight.")
        if module.name.split(".")[1] in ROBOT_RUNS
    ]
    assert len(modules) > len(ROBOT_RUNS)
    script = "".join(f"import {name}\n" for name in [*modules, "foresight.apps.cli"])
    blocked = f"import sys; sys.modules.update(dict.fromkeys({ROBOT_LACKS}))\n"
    ran = subprocess.run([sys.executable, "-c", blocked + script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_command_line_says_what_it_can_do() -> None:
    command = [sys.executable, "-c", "from foresight.apps.cli import app; app()", "--help"]
    environment = os.environ | {"COLUMNS": "100"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "launch" in ran.stdout and "bundle" in ran.stdout
