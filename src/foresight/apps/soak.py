"""`foresight soak`: the robot patrols for hours, and its use of resources is recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from foresight.apps import soak_record
from foresight.apps.bench.usage import node_name
from foresight.apps.launching import faults_in, launched

LAUNCH_LOG = "launch.log"
RECORD = "record.jsonl"
PICTURE = "soak.png"
MEMORY = "memory/places.db"
_START_S = 900.0
"""Time for everything to come up; longer than the watcher's own limit."""
_SPOKEN = re.compile(r"^\[soak_watch(?:-\d+)?\] ?(.*)$")
_MB = 1e6
_LINE_EVERY_S = 60.0


class SoakError(RuntimeError):
    """The robot did not start; the message is one sentence."""


def soak(
    results: Path,
    minutes: float,
    period_s: float,
    arguments: dict[str, str],
    show: Callable[[dict[str, Any]], None],
) -> None:
    """Let the robot patrol, with an empty memory at first; write RECORD line by line.

    A line holds what `soak_watch` received from the graph, and: `t_s` since the first line,
    `minutes` asked for, `cores` of the machine and the seconds for which they were busy so far
    (`busy_s`), `memory_mb` on disk, and of each of `processes` by node its pid, rss_mb, pss_mb,
    fds, threads and cpu_s.

    Args:
        results: folder, created if necessary.
        minutes: duration, by a steady clock.
        arguments: of soak.launch.py.
        show: called with every line.

    Raises:
        SoakError: the stack did not become active.
        ResourceError: it is not built.
    """
    _begin(results)
    arguments = arguments | {"results": str(results.resolve()), "period": str(float(period_s))}
    with (
        (results / LAUNCH_LOG).open("w", encoding="utf-8") as log,
        (results / RECORD).open("w", encoding="utf-8") as record,
        launched("soak", arguments) as process,
    ):
        assert process.stdout is not None
        # If the watcher itself hangs, the soak must still end.
        limit = threading.Timer(_START_S + 60 * minutes, process.send_signal, [signal.SIGINT])
        limit.daemon = True
        limit.start()
        root, began_s = psutil.Process(process.pid), None
        for heard in _heard(process.stdout, log):
            now_s = time.monotonic()
            began_s = began_s or now_s
            row = {"t_s": round(now_s - began_s, 2), "minutes": minutes, "unix_s": time.time()}
            row |= {"busy_s": round(busy_s(), 2), "cores": len(os.sched_getaffinity(0))}
            row |= {"memory_mb": _size_mb(results / MEMORY)}
            row |= heard | {"processes": processes(root)}
            record.write(json.dumps(row) + "\n")
            record.flush()
            show(row)
            if row["t_s"] >= 60 * minutes:
                break
        limit.cancel()
    if began_s is None:
        raise SoakError(_why(results / LAUNCH_LOG))


def _begin(results: Path) -> None:
    """Remove the results of an earlier soak."""
    results.mkdir(parents=True, exist_ok=True)
    (results / PICTURE).unlink(missing_ok=True)
    for folder in ("memory", "pictures"):
        shutil.rmtree(results / folder, ignore_errors=True)


def _heard(lines: IO[str], log: IO[str]) -> Iterator[dict[str, Any]]:
    """The watcher's lines; everything else goes to the log."""
    for line in lines:
        spoken = _SPOKEN.match(line)
        if spoken is not None and spoken.group(1).startswith("{"):
            yield json.loads(spoken.group(1))
        else:
            log.write(line)
            log.flush()


def _why(file: Path) -> str:
    """Why nothing started, from the launch's log."""
    output = file.read_text(encoding="utf-8")
    said = [spoken.group(1) for line in output.splitlines() if (spoken := _SPOKEN.match(line))]
    reason = (faults_in(output) or said or ["the launch ended without output"])[0].strip()
    return f"the robot did not start: {reason}; all output is in {file}"


def processes(root: psutil.Process) -> dict[str, dict[str, float]]:
    """Resources of the launch and of each process that it started, by node."""
    figures = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            name = "launch" if process == root else node_name(process.cmdline())
            memory, times = process.memory_full_info(), process.cpu_times()
            figures[name] = {
                "pid": process.pid,
                "rss_mb": round(memory.rss / _MB, 3),
                "pss_mb": round(memory.pss / _MB, 3),
                "fds": process.num_fds(),
                "threads": process.num_threads(),
                "cpu_s": round(times.user + times.system, 2),
            }
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it is ending: this line lacks it
    return figures


def busy_s() -> float:
    """Busy seconds of all cores that the soak may use, since boot."""
    usable = os.sched_getaffinity(0)
    times = [core for k, core in enumerate(psutil.cpu_times(percpu=True)) if k in usable]
    # guests' time is already part of the user's
    return float(sum(sum(t) - t.idle - t.iowait - t.guest - t.guest_nice for t in times))


def _size_mb(file: Path) -> float:
    """Size of the memory file including its journals."""
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*")) / _MB


class ProgressBar:
    """A bar on a terminal, else a line every minute."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._bar = Progress(
            TextColumn("{task.percentage:3.0f}%"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._task = self._bar.add_task("starting", total=60 * minutes)
        self._said_s = -_LINE_EVERY_S

    def __enter__(self) -> ProgressBar:
        if sys.stdout.isatty():
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stdout.isatty():
            self._bar.stop()

    def show(self, row: dict[str, Any]) -> None:
        reached, failed = soak_record.goals(row)
        rss = sum(process["rss_mb"] for process in row["processes"].values())
        text = f"{reached} goals reached, {failed} failed, {rss:.0f} MB, {row['mission']['doing']}"
        if sys.stdout.isatty():
            self._bar.update(self._task, completed=row["t_s"], description=text)
        elif row["t_s"] - self._said_s >= _LINE_EVERY_S:
            self._said_s = row["t_s"]
            print(f"{row['t_s'] / 60:.0f} of {self._minutes:g} min: {text}", flush=True)
