"""The verdict of `foresight soak`: what passes, what fails, what it does not judge."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from foresight.apps import soak_record
from foresight.apps.cli import app
from foresight.apps.soak import busy_s, processes
from foresight.apps.soak_record import Row, judge, slope_mb_per_h

NODES = ("launch", "sim", "planning", "memory")
MINUTES = 60.0
LATENCY = "planning: image to plan"


def record(change: Callable[[Row, float], None] = lambda _row, _hours: None) -> list[Row]:
    """An hour of a healthy soak, a sample every 10 s; `change` spoils each row in place.

    Memory is noisy, and grows by 30 MB while everything warms up.
    """
    noise = np.random.default_rng(0)
    rows = []
    for index in range(361):
        hours = index / 360
        rows.append(
            {
                "t_s": 10.0 * index,
                "minutes": MINUTES,
                "busy_s": 14.0 * index,
                "cores": 2,
                "memory_mb": 1.0,
                "sim_s": 9.0 * index,
                "driven_m": 0.2 * index,
                "state": "active",
                "activations": 1,
                "mission": {"state": "running", "round": 3, "doing": "go", "message": ""},
                "goals": {
                    "explore": {"reached": index // 50, "failed": 0},
                    "navigate_to_place": {"reached": index // 10, "failed": index // 100},
                },
                "nodes": {"perception": {"observations (Hz)": 10.0}, "memory": {"places": 80.0}},
                "latency_ms": {
                    name: {"p50": 50.0, "p95": 60.0 + noise.normal(), "count": 30}
                    for name in soak_record.LATENCIES
                },
                "processes": {
                    name: {
                        "pid": 100 + number,
                        "rss_mb": 150 + 30 * min(4 * hours, 1) + noise.normal(),
                        "pss_mb": 80.0,
                        "fds": 21 + int(noise.random() < 0.5),
                        "threads": 16 + int(noise.random() < 0.3),
                        "cpu_s": 3 * index,
                    }
                    for number, name in enumerate(NODES)
                },
            }
        )
        change(rows[-1], hours)
    return rows


def failed(rows: list[Row]) -> dict[str, str]:
    return {check.name: check.words for check in judge(rows) if check.passed is False}


def test_a_healthy_hour_passes_every_check() -> None:
    assert {check.passed for check in judge(record())} == {True}


@pytest.mark.parametrize("mb_per_h", [20.0, 60.0])
def test_a_growing_process_fails_and_is_named(mb_per_h: float) -> None:
    def leak(row: Row, hours: float) -> None:
        row["processes"]["planning"]["rss_mb"] += mb_per_h * hours

    rows = record(leak)
    assert slope_mb_per_h(rows[90:], "planning") == pytest.approx(mb_per_h, abs=1.0)
    assert list(failed(rows)) == ["resident memory"]
    assert failed(rows)["resident memory"].startswith("planning grew most")


def test_one_allocator_step_is_not_a_leak() -> None:
    def step(row: Row, hours: float) -> None:
        row["processes"]["memory"]["rss_mb"] += 6.0 * (hours > 0.6)

    assert not failed(record(step))


@pytest.mark.parametrize(("key", "check"), [("fds", "open files"), ("threads", "threads")])
def test_a_single_leaked_handle_fails(key: str, check: str) -> None:
    def leak(row: Row, hours: float) -> None:
        row["processes"]["sim"][key] += hours > 0.5

    assert list(failed(record(leak))) == [check]
    assert "sim" in failed(record(leak))[check]


def test_short_lived_handles_are_not_a_leak() -> None:
    def burst(row: Row, hours: float) -> None:
        row["processes"]["sim"]["fds"] += 5 * (int(hours * 360) % 3)

    assert not failed(record(burst))


def slower(row: Row, hours: float) -> None:
    row["latency_ms"][LATENCY]["p95"] *= 1 + 2 * hours


def test_a_stack_that_slows_down_fails() -> None:
    assert list(failed(record(slower))) == [LATENCY]


def test_a_falling_rate_fails() -> None:
    def tire(row: Row, hours: float) -> None:
        row["nodes"]["perception"]["observations (Hz)"] -= 3 * hours

    assert list(failed(record(tire))) == ["perception: observations"]


def test_does_not_judge_latency_on_a_busy_machine() -> None:
    def busy(row: Row, hours: float) -> None:
        slower(row, hours)
        row["busy_s"] += 6.0 * 360 * hours * hours

    checks = {check.name: check for check in judge(record(busy))}
    assert checks[LATENCY].passed is None and "other programs" in checks[LATENCY].words
    assert checks["resident memory"].passed, "memory does not depend on other programs"


def lost(row: Row, hours: float) -> None:
    if hours > 0.5:
        del row["processes"]["planning"]


def again(row: Row, hours: float) -> None:
    row["processes"]["planning"]["pid"] += 1000 * (hours > 0.5)


def brought_up_twice(row: Row, hours: float) -> None:
    row["activations"] += hours > 0.5


def mission_over(row: Row, hours: float) -> None:
    if hours > 0.9:
        row["mission"] |= {"state": "failed", "message": "every step was skipped"}


def reaches_nothing(row: Row, _hours: float) -> None:
    row["goals"] = {"explore": {"reached": 0, "failed": 7}}


@pytest.mark.parametrize(
    ("fault", "check", "says"),
    [
        (lost, "no process lost", "planning is gone, after 30.2 min"),
        (again, "no process lost", "planning was restarted"),
        (brought_up_twice, "one bring-up", "2 bring-ups"),
        (mission_over, "patrolled", "every step was skipped"),
        (reaches_nothing, "patrolled", "0 goals reached, 7 failed"),
    ],
)
def test_every_breakdown_fails(fault: Callable[[Row, float], None], check: str, says: str) -> None:
    assert says in failed(record(fault))[check]


def test_ending_early_fails() -> None:
    assert failed(record()[:200])["lasted"] == "33.2 of 60 minutes"


def test_does_not_judge_growth_in_a_short_soak() -> None:
    checks = {check.name: check for check in judge(record()[:100])}
    assert checks["growth"].passed is None and "too few" in checks["growth"].words


# ----- real processes ---------------------------------------------------------------------------

LEAK = """
import sys
kept = []
for line in sys.stdin:
    kept.append((open(__file__) if "files" in line else None, bytearray(b"x" * 1_000_000)))
    print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("leaks", "found"), [("files", {"open files", "resident memory"}), ("", {"resident memory"})]
)
def test_finds_a_real_leak_of_a_real_process(tmp_path: Path, leaks: str, found: set[str]) -> None:
    script = tmp_path / "leak.py"
    script.write_text(LEAK)
    command = [sys.executable, str(script)]
    healthy = record()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        for row in healthy:
            if row["t_s"] % 60 == 0:
                print(leaks, file=child.stdin)
                assert child.stdout.readline() == "done\n"
            row["processes"] = processes(psutil.Process(child.pid))
    assert set(failed(healthy)) == found


# ----- the record on disk -----------------------------------------------------------------------


def write(folder: Path, rows: list[Row], end: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "record.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return file


def test_a_truncated_last_line_costs_only_that_line(tmp_path: Path) -> None:
    rows = record()
    assert soak_record.load(write(tmp_path, rows, end='{"t_s": 36')) == rows


def test_names_a_damaged_line(tmp_path: Path) -> None:
    file = write(tmp_path, record()[:3], end="nonsense\n{}\n")
    with pytest.raises(ValueError, match="line 4: damaged"):
        soak_record.load(file)


def test_refuses_a_record_of_an_older_version(tmp_path: Path) -> None:
    def older(row: Row, _hours: float) -> None:
        del row["busy_s"]

    with pytest.raises(ValueError, match="older version"):
        soak_record.load(write(tmp_path, record(older)))


def test_busy_time_includes_every_program() -> None:
    before_s, until_s = busy_s(), time.process_time() + 0.3
    while time.process_time() < until_s:
        pass
    assert busy_s() - before_s > 0.2


def run(folder: Path) -> Any:
    return CliRunner().invoke(app, ["soak", "--judge", "--results", str(folder)])


def test_judges_and_draws_an_existing_record(tmp_path: Path) -> None:
    write(tmp_path, record())
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "FAILED" not in result.output and "planning" in result.output
    assert (tmp_path / "soak.png").stat().st_size > 20_000


def test_a_failed_check_gives_exit_code_1(tmp_path: Path) -> None:
    write(tmp_path, record(lost))
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "FAILED" in result.output and "planning is gone" in " ".join(result.output.split())


def test_reports_a_missing_record_in_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "holds no record: a soak without --judge writes one" in " ".join(result.output.split())
