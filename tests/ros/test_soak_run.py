"""A short soak of the real launch: bring-up, patrol, record and verdict."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from foresight.apps import soak_record
from foresight.apps.soak import MEMORY, RECORD, soak
from foresight.apps.soak_record import Limits

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NODES = {
    *("launch", "sim", "perception", "world_model", "memory", "planning", "actuation"),
    *("lifecycle_manager", "mission", "soak_watch"),
}
MISSION: dict[str, Any] = {
    "name": "short rounds",
    "repeat": "forever",
    "otherwise": "skip",
    "steps": [{"remember": "here"}, {"look": "here"}, {"explore": 15}, "return", {"wait": 1}],
}
PATIENT = {"heartbeat_timeout_s": 20.0, "startup_timeout_s": 200.0}
"""A machine that does other work is not what this test is about."""


@pytest.fixture
def arguments(apartment: Path, tmp_path: Path) -> dict[str, str]:
    """A mission of short rounds, and a manager that a busy machine does not impress."""
    mission, parameters = tmp_path / "mission.yaml", tmp_path / "parameters.yaml"
    mission.write_text(yaml.safe_dump(MISSION, sort_keys=False))
    known = yaml.safe_load((ROOT / "config" / "foresight.yaml").read_text())
    known["/**/lifecycle_manager"] = {"ros__parameters": PATIENT}
    parameters.write_text(yaml.safe_dump(known))
    return {
        "bundle": str(apartment),
        "mission": str(mission),
        "params_file": str(parameters),
    }


def test_three_minutes_of_patrol_leak_nothing(
    domain: int, arguments: dict[str, str], tmp_path: Path
) -> None:
    results, shown = tmp_path / "results", []
    soak(results, 3.0, 2.0, arguments, shown.append)
    rows = soak_record.load(results / RECORD)
    assert rows == shown, "what is shown is what is recorded"
    # how fast it is depends on what else the machine does
    checks = soak_record.judge(rows, Limits(latency_ratio=math.inf, rate_ratio=0.0))
    failed = {check.name: check.words for check in checks if check.passed is False}
    last = rows[-1]
    if last["sim_s"] < 60 and last["mission"]["state"] == "running":
        failed.pop("patrolled", None)  # simulated time was too slow to get anywhere
    else:
        assert last["driven_m"] > 0.5 and last["nodes"]["memory"]["places"] > 1
    assert not failed
    judged = {check.name for check in checks if check.passed}
    assert {"resident memory", "open files", "threads"} <= judged
    assert set(last["processes"]) == NODES
    assert last["memory_mb"] * 1e6 >= (results / MEMORY).stat().st_size > 0
    assert last["latency_ms"]["perception: encode"]["p95"] > 0
    soak_record.draw(rows, tmp_path / "soak.png")


def test_ctrl_c_judges_what_there_is_and_leaves_nothing_running(
    domain: int, arguments: dict[str, str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    command = [sys.executable, "-m", "foresight.apps.cli", "soak", "--results", str(results)]
    command += ["--period", "0.5", "--mission", arguments["mission"]]
    command += ["--params", arguments["params_file"]]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # as in a terminal: a shell's background job would hand on that it is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert " of 60 min: " in first
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
    assert process.returncode == 130 and "stopped" in output
    assert "lasted" in output and "Traceback" not in output
    assert json.loads((results / RECORD).read_text().splitlines()[0])["state"] == "active"
    assert not [one for one in started if one.is_running() and one.status() != "zombie"]
