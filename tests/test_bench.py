"""What `foresight bench` promises: its keys, what they mean, and sentences where it cannot run."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from foresight import bundle, resources
from foresight.apps import bench as benches
from foresight.apps.bench import bench, matmul
from foresight.apps.bench.loop import LoopError, loop, summary
from foresight.apps.bench.show import tables
from foresight.apps.bench.usage import Meter, node_name
from foresight.apps.cli import app

GRAPH = {"perception", "world_model", "memory", "planning", "actuation", "lifecycle_manager"}
BESIDE = {"launch", "sim", "demo_client"}


# ----- the bundle's graphs ----------------------------------------------------------------------


def test_plan_is_held_against_its_arithmetic_on_as_many_threads(
    exported: Path, homebot: Path
) -> None:
    found = bench("plan", exported, homebot, threads=2, repeats=5)["plan"]
    mflop = bundle.load(exported).manifest.metrics["planner_mflop"]
    assert found["threads"] == 2 and {"1", "2"} <= set(found["by_threads"])
    for figures in (found, *found["by_threads"].values()):
        assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert figures["limit_ms"] * figures["peak_gflops"] == pytest.approx(mflop)
        assert figures["limit_ratio"] == pytest.approx(figures["limit_ms"] / figures["p50_ms"])


def test_a_held_core_does_not_lower_the_limit_below_that_of_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matmul, "_rate_on", {1: 150.0, 2: 45.0, 4: 500.0}.__getitem__)
    assert [matmul.cpu_rate(threads) for threads in (1, 2, 4)] == [150.0, 150.0, 500.0]


def test_the_command_writes_one_object_and_shows_a_table(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    arguments = ["bench", "--bundle", str(exported), "--what", "encode", "--json", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert set(found) == {"machine", "encode"}
    assert {"p50_ms", "p95_ms", "limit_ratio"} <= set(found["encode"])
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert "encode" in result.output and "the limit" in result.output


@pytest.mark.parametrize("what", ["plan", "encode"])
def test_a_bundle_that_does_not_tell_its_arithmetic_is_one_sentence(
    passthrough: Path, what: str
) -> None:
    result = CliRunner().invoke(app, ["bench", "--bundle", str(passthrough), "--what", what])
    assert result.exit_code == 1
    message = " ".join(result.output.split())
    assert "manifest.yaml: metrics lack" in message and "export the bundle again" in message


# ----- training and simulation ------------------------------------------------------------------


@pytest.mark.slow
def test_train_counts_every_picture_that_an_update_learns_from() -> None:
    from foresight.apps.bench.training import train

    found = train(device="cpu", updates=1)
    windows, pictures = 48, 9 + 2  # of one window, and of one pair of neighbours
    assert found["per_second"] == pytest.approx(found["updates_per_second"] * windows * pictures)
    assert 0 < found["limit_ratio"] < 1


def test_sim_tells_what_rendering_leaves(exported: Path, homebot: Path) -> None:
    from foresight.apps.bench.simulation import sim
    from foresight.bodies.profile import RobotProfile

    before = dict(os.environ)
    found = sim(RobotProfile.load(homebot), rounds=1, frames=3)
    assert found["per_second"] > 0 and found["limit_ratio"] > 0
    assert dict(os.environ) == before, "the loop that is measured next renders as it is set up"


def test_what_is_not_installed_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(name: str) -> Any:
        return None if name == "torch" else importlib.util.find_spec(name)

    monkeypatch.setattr(benches, "find_spec", find)
    result = CliRunner().invoke(app, ["bench", "--what", "all"])
    assert result.exit_code == 1
    assert "train needs torch" in result.output and "./setup.sh --dev" in result.output


# ----- the usage of processes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/v/bin/python", "/w/lib/foresight_sim/sim", "--ros-args", "-r", "__node:=eye"], "eye"),
        (["/v/bin/python", "/w/lib/foresight_node/stack", "--ros-args"], "stack"),
        (["/opt/ros/lib/rclcpp_components/component_container"], "component_container"),
        (["bash", "-c", "true"], "bash"),
        ([], "unknown"),
    ],
)
def test_a_process_is_called_as_its_node(command: list[str], name: str) -> None:
    assert node_name(command) == name


BURN = """
import sys, time
def burn():
    until = time.process_time() + 0.5
    while time.process_time() < until: pass
burn()
print(flush=True); input()
held = b"x" * 100_000_000
burn()
print(flush=True); input()
"""


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[str]]:
    """A node that computes for half a second, says so, waits for a line, takes 100 MB and computes
    for another half."""
    command = [sys.executable, "-c", BURN, "__node:=burner"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield child
    child.kill()
    child.wait()
    assert child.stdin and child.stdout
    child.stdin.close()
    child.stdout.close()


def test_usage_is_of_each_process_from_the_beginning_on(burner: subprocess.Popen[str]) -> None:
    assert burner.stdin and burner.stdout
    burner.stdout.readline()
    meter = Meter(os.getpid(), "test")
    meter.begin()
    began = time.monotonic()
    print(file=burner.stdin, flush=True)
    burner.stdout.readline()
    seconds = time.monotonic() - began
    meter.sample()
    usage = meter.usage()
    assert 0.4 < usage["burner"]["cores"] * seconds < 0.8, "not the half second before"
    memory = usage["burner"]
    assert 100 < memory["uss_mb"] <= memory["pss_mb"] <= memory["rss_mb"] < 150


# ----- the loop ---------------------------------------------------------------------------------


def report(ms: float | None = 90.0) -> dict[str, Any]:
    """Of a demonstration of one goal; milliseconds from image to command (p95: twice that)."""
    return {
        "plan_ms": {"p50": 10.0, "p95": 20.0},
        "image_to_command_ms": {"p50": ms, "p95": ms and 2 * ms},
        "goals": [{"seconds": 30.0}],
        "goals_reached": 1,
        "real_time_factor": 1.0,
    }


def usage(**cores: float) -> dict[str, dict[str, float]]:
    return {
        name: {"cores": value, "rss_mb": 30.0, "pss_mb": 20.0, "uss_mb": 10.0}
        for name, value in cores.items()
    }


def test_the_loop_is_held_against_its_parts() -> None:
    found = summary(report(), usage(planning=0.5), limit_ms=45.0)
    assert (found["p50_ms"], found["p95_ms"]) == (90.0, 180.0)
    assert found["limit_ratio"] == pytest.approx(0.5)
    assert found["plan_p50_ms"] == pytest.approx(10.0)


def test_the_stack_is_what_a_robot_runs() -> None:
    found = summary(
        report(),
        usage(planning=0.5, actuation=0.25, sim=2.0, demo_client=1.0, launch=4.0),
        limit_ms=45.0,
    )
    assert found["stack_cores"] == pytest.approx(0.75)
    assert found["stack_mb"] == pytest.approx(40.0)
    assert found["nodes"]["sim"]["cores"] == 2.0


def test_a_loop_without_a_moment_of_driving_is_refused() -> None:
    with pytest.raises(LoopError, match="no plan became a command"):
        summary(report(None), usage(planning=0.5), limit_ms=45.0)


def test_tables_show_parts_threads_and_nodes() -> None:
    part = {"p50_ms": 41.5, "p95_ms": 52.0, "limit_ratio": 0.625, "threads": 1}
    figures = {
        "machine": {"cpu": "Abacus 9", "cores": 2, "load_1min": 0.5},
        "plan": part | {"by_threads": {"1": part, "2": part | {"p50_ms": 23.5}}},
        "loop": summary(report(), usage(planning=0.5, sim=1.5), limit_ms=45.0),
        "train": {"per_second": 1234.0, "limit_ratio": 0.1},
    }
    console = Console(width=100, file=io.StringIO(), record=True)
    for table in tables(figures, benches.LIMITS):
        console.print(table)
    text = console.export_text()
    for words in ("Abacus 9", "41.5", "62%", "2 threads", "23.5", "encode and plan", "planning"):
        assert words in text
    assert "sim" in text and "rendering" not in text, "a benchmark that was not run has no row"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_loop_is_driven_and_every_node_measured(homebot: Path) -> None:
    told: list[str] = []
    found = loop(resources.bundle(), homebot, limit_ms=10.0, composed=False, say=told.append)
    assert set(found["nodes"]) == GRAPH | BESIDE
    assert found["p50_ms"] > found["plan_p50_ms"] > 0, "planning is a part of the way to a command"
    assert found["p95_ms"] >= found["p50_ms"]
    assert 0 < found["stack_cores"] < sum(use["cores"] for use in found["nodes"].values())
    assert all(use["uss_mb"] > 5 for use in found["nodes"].values())
    assert any("goal 3/3" in text for text in told)


@pytest.mark.timeout(180)
def test_a_graph_that_does_not_come_up_is_one_sentence_with_its_log(
    homebot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(LoopError, match="nowhere, which does not exist") as failure:
        loop(tmp_path / "nowhere", homebot, 10.0, composed=False, say=lambda text: None)
    message = str(failure.value)
    assert "\n" not in message
    log = Path(message.rsplit(" ")[-1])
    assert "nowhere" in log.read_text()


INTERRUPTED = """
import sys
from pathlib import Path
from foresight.apps.bench.loop import loop
bundle, robot = map(Path, sys.argv[1:])
loop(bundle, robot, 10.0, composed=False, say=lambda text: print(text, flush=True))
"""


@pytest.mark.timeout(180)
def test_ctrl_c_brings_the_graph_down(homebot: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(resources.bundle()), str(homebot)]
    child = subprocess.Popen(
        command,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        # as in a terminal: a shell's background job would hand on that it is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        nodes: list[psutil.Process] = []
        while len(nodes) < len(GRAPH | BESIDE) and child.poll() is None:
            nodes = psutil.Process(child.pid).children(recursive=True)
            time.sleep(0.2)
        time.sleep(2.0)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in errors
    assert not psutil.wait_procs(nodes, timeout=5)[1]
    assert not list(tmp_path.glob("foresight-bench-*"))
