"""Reads, judges, shows and draws the record of a soak."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy import stats

Row = dict[str, Any]
WARM_UP = 0.25
"""Share of a soak in which caches fill and the home is learned. Growth is judged after it."""
LATENCIES = (
    "planning: plan",
    "planning: image to plan",
    "actuation: image to cmd vel",
    "memory: localise",
)
RATE = ("perception", "observations (Hz)")
FEWEST = 20
"""With fewer samples after the warm-up, growth is not judged."""


@dataclass(frozen=True)
class Limits:
    """Limits of a soak, after its warm-up.

    A process may gain `rss_mb` in a run of any length (an allocator settles in steps), and
    `rss_mb_per_h` for ever: a step in a short run must not count as a leak, nor a leak in a long
    run as a step. Latency and rate are compared only if the machine had time for the soak: in both
    tenths other programs took at most `others` of its cores' time.
    """

    rss_mb: float = 8.0
    rss_mb_per_h: float = 4.0
    latency_ratio: float = 1.5
    latency_ms: float = 5.0
    rate_ratio: float = 0.9
    others: float = 0.25


@dataclass(frozen=True)
class Check:
    """One promise; `passed` is None if it could not be judged."""

    name: str
    passed: bool | None
    words: str


def load(file: Path) -> list[Row]:
    """Read a record; a truncated last line is left out.

    Raises:
        ValueError: nothing was recorded, or another line is damaged.
        OSError: it cannot be read.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(
                    f"{file}, line {number}: damaged ({error}); delete the line"
                ) from None
    if any("busy_s" not in row for row in rows):
        raise ValueError(f"{file} was written by an older version: run the soak again")
    if not rows:
        raise ValueError(f"{file} has no sample: let the robot patrol for longer")
    return rows


def goals(row: Row) -> tuple[int, int]:
    """Goals reached and failed until then, of all actions."""
    ended = row["goals"].values()
    return sum(one["reached"] for one in ended), sum(one["failed"] for one in ended)


# ----- the verdict ------------------------------------------------------------------------------


def judge(rows: Sequence[Row], limits: Limits | None = None) -> list[Check]:
    """Compare a record with the limits for a robot that works for weeks.

    Args:
        rows: of the whole soak, as `load` returns them.
        limits: default: those of `Limits`.
    """
    limits = limits or Limits()
    settled = _after_warm_up(rows)
    checks = [_lasted(rows), _alive(rows), _one_bring_up(rows), _patrolled(rows)]
    if len(settled) < FEWEST:
        words = f"{len(settled)} samples after the warm-up are too few; {FEWEST} are needed"
        return [*checks, Check("growth", None, words)]
    checks.append(_memory(settled, limits))
    checks += [_floor(settled, "fds", "open files"), _floor(settled, "threads", "threads")]
    return [*checks, *_drift(settled, limits)]


def _after_warm_up(rows: Sequence[Row]) -> Sequence[Row]:
    begin_s = WARM_UP * 60 * rows[0]["minutes"]
    return [row for row in rows if row["t_s"] >= begin_s]


def _lasted(rows: Sequence[Row]) -> Check:
    lasted, wanted = rows[-1]["t_s"] / 60, rows[0]["minutes"]
    return Check("lasted", lasted >= wanted, f"{lasted:.1f} of {wanted:g} minutes")


def _alive(rows: Sequence[Row]) -> Check:
    """Every process, once seen, stays the same process."""
    pids: dict[str, int] = {}
    for row in rows:
        now = {name: process["pid"] for name, process in row["processes"].items()}
        for name, pid in pids.items():
            if now.get(name) != pid:
                what = "was restarted" if name in now else "is gone"
                return Check("no process lost", False, f"{name} {what}, {_at(row)}")
        pids |= now
    return Check("no process lost", True, f"{len(pids)} processes throughout")


def _one_bring_up(rows: Sequence[Row]) -> Check:
    name = "one bring-up"
    for row in rows:
        if row["state"] != "active" or row["activations"] != 1:
            words = f"the stack is {row['state']} after {row['activations']} bring-ups, {_at(row)}"
            return Check(name, False, words)
    return Check(name, True, "active throughout")


def _patrolled(rows: Sequence[Row]) -> Check:
    mission, (reached, failed) = rows[-1]["mission"], goals(rows[-1])
    words = f"{reached} goals reached, {failed} failed"
    if mission["state"] != "running":
        words += f"; the mission is {mission['state']} at the end: {mission['message']}"
    return Check("patrolled", mission["state"] == "running" and reached > 0, words)


def _at(row: Row) -> str:
    return f"after {row['t_s'] / 60:.1f} min"


def slope_mb_per_h(rows: Sequence[Row], name: str, key: str = "rss_mb") -> float:
    """Growth rate of a process: the median slope between all samples (Theil-Sen)."""
    times = [row["t_s"] / 3600 for row in rows]
    return float(stats.theilslopes([row["processes"][name][key] for row in rows], times).slope)


def _memory(rows: Sequence[Row], limits: Limits) -> Check:
    hours = (rows[-1]["t_s"] - rows[0]["t_s"]) / 3600
    allowed = limits.rss_mb + limits.rss_mb_per_h * hours
    slopes = {name: slope_mb_per_h(rows, name) for name in _throughout(rows)}
    worst = max(slopes, key=lambda name: slopes[name])
    grown = slopes[worst] * hours
    words = (
        f"{worst} grew most: {slopes[worst]:+.1f} MB/h, {grown:+.1f} MB in {60 * hours:.0f} min "
        f"({allowed:.1f} MB allowed)"
    )
    return Check("resident memory", grown <= allowed, words)


def _floor(rows: Sequence[Row], key: str, name: str) -> Check:
    """Minimum of a process: a leak raises it, a picture being saved does not."""
    third = len(rows) // 3
    risen = []
    for process in _throughout(rows):
        first, last = (
            min(row["processes"][process][key] for row in part)
            for part in (rows[:third], rows[-third:])
        )
        if last > first:
            risen.append(f"{process} {first} -> {last}")
    if risen:
        return Check(name, False, "minimum, first and last third: " + ", ".join(risen))
    return Check(name, True, "no process holds more in the last third than in the first")


def _throughout(rows: Sequence[Row]) -> list[str]:
    return [name for name in rows[0]["processes"] if all(name in r["processes"] for r in rows)]


def _drift(rows: Sequence[Row], limits: Limits) -> list[Check]:
    tenth = max(1, len(rows) // 10)
    first, last = rows[:tenth], rows[-tenth:]
    shares = [float(np.median(_others(part))) for part in (first, last)]
    busy = max(shares) > limits.others
    checks = []
    for name in LATENCIES:
        before, after = (_p95_ms(part, name) for part in (first, last))
        allowed = limits.latency_ratio * before + limits.latency_ms
        words = f"95% within {before:.0f} ms in the first tenth, {after:.0f} ms in the last"
        passed: bool | None = after <= allowed
        if np.isnan(before + after):
            passed, words = None, "not measured in the first or the last tenth"
        checks.append(_unless(busy and passed is not None, shares, Check(name, passed, words)))
    node, key = RATE
    before, after = (_median(part, lambda row: row["nodes"][node][key]) for part in (first, last))
    words = f"{before:.1f} Hz in the first tenth, {after:.1f} Hz in the last"
    rate = Check(f"{node}: {key[:-5]}", after >= limits.rate_ratio * before, words)
    return [*checks, _unless(busy, shares, rate)]


def _unless(busy: bool, shares: Sequence[float], check: Check) -> Check:
    if not busy:
        return check
    had = " and ".join(f"{share:.0%}" for share in shares)
    words = f"{check.words}, but other programs used {had} of the processor's time"
    return Check(check.name, None, words)


def _others(rows: Sequence[Row]) -> list[float]:
    """The share of all cores' time that other programs used between consecutive rows."""
    return [
        max(after["busy_s"] - before["busy_s"] - _used_s(before, after), 0.0)
        / max(before["cores"] * (after["t_s"] - before["t_s"]), 1e-9)
        for before, after in pairwise(rows)
    ] or [0.0]


def _used_s(before: Row, after: Row) -> float:
    """Processor time of the soak's processes from one row to another."""
    then, now = before["processes"], after["processes"]
    return float(sum(now[n]["cpu_s"] - then[n]["cpu_s"] for n in now if n in then))


def _median(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
    return float(np.median([value(row) for row in rows]))


def _p95_ms(rows: Sequence[Row], name: str) -> float:
    """Median over the samples of each one's 95th percentile; nan if there was none."""
    found = [row["latency_ms"][name]["p95"] for row in rows if name in row["latency_ms"]]
    return float(np.median(found)) if found else float("nan")


# ----- output -----------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> Group:
    """Each process after the warm-up and at the end, and what the robot did."""
    settled = _after_warm_up(rows) or rows
    tenth = max(1, len(settled) // 10)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column("", no_wrap=True)
    for heading in ("RSS MB", "MB/h", "PSS MB", "files", "threads", "cores"):
        shown.add_column(heading, justify="right")
    for name in _throughout(settled):
        rss, pss, fds, threads = (
            [_held(part, name, key) for part in (settled[:tenth], settled[-tenth:])]
            for key in ("rss_mb", "pss_mb", "fds", "threads")
        )
        shown.add_row(
            name,
            f"{rss[0]:.1f}→{rss[1]:.1f}",
            f"{slope_mb_per_h(settled, name):+.1f}" if len(settled) >= FEWEST else "",
            f"{pss[1]:.1f}",
            f"{fds[0]:.0f}→{fds[1]:.0f}",
            f"{threads[0]:.0f}→{threads[1]:.0f}",
            f"{_cores(settled, name):.2f}",
        )
    return Group(shown, Text(_did(rows)))


def _held(rows: Sequence[Row], name: str, key: str) -> float:
    return _median(rows, lambda row: row["processes"][name][key])


def _cores(rows: Sequence[Row], name: str) -> float:
    used_s = rows[-1]["processes"][name]["cpu_s"] - rows[0]["processes"][name]["cpu_s"]
    return used_s / max(rows[-1]["t_s"] - rows[0]["t_s"], 1e-9)


def _did(rows: Sequence[Row]) -> str:
    last, (reached, failed) = rows[-1], goals(rows[-1])
    memory = last["nodes"].get("memory", {})
    return (
        f"{last['t_s'] / 60:.1f} min of wall time, {last['sim_s'] / 60:.1f} simulated, "
        f"{last['driven_m']:.0f} m driven, {last['mission']['round']} rounds, {reached} goals "
        f"reached, {failed} failed; memory: {memory.get('places', 0):.0f} places, "
        f"{last['memory_mb']:.1f} MB; other programs used "
        f"{np.median(_others(rows)):.0%} of the processor"
    )


def verdict(checks: Sequence[Check]) -> Table:
    """The checks, one per line."""
    words = {True: "ok", False: "FAILED", None: "not judged"}
    styles = {True: "green", False: "red", None: "yellow"}
    shown = Table.grid(padding=(0, 2))
    for check in checks:
        shown.add_row(Text(words[check.passed], styles[check.passed]), check.name, check.words)
    return shown


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw four panels over time: memory, handles, latency and load, goals and places."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    memory, handles, latency, work = figure.subplots(2, 2, sharex=True).flat
    minutes = [row["t_s"] / 60 for row in rows]
    names = list(rows[-1]["processes"])
    for index, name in enumerate(names):
        colour = f"C{index % 10}"
        _line(memory, rows, minutes, name, "rss_mb", color=colour, label=name)
        _line(handles, rows, minutes, name, "fds", color=colour)
        _line(handles, rows, minutes, name, "threads", color=colour, linestyle=":")
    memory.set(title="resident memory, MB", ylim=(0, None))
    memory.legend(fontsize=8, ncols=3, loc="center", bbox_to_anchor=(0.5, 0.26))
    handles.set(title="open files (solid) and threads (dotted)", ylim=(0, None))
    _draw_latency(latency, rows, minutes)
    _draw_work(work, rows, minutes)
    for panel in (memory, handles, latency, work):
        panel.axvline(WARM_UP * rows[0]["minutes"], color="0.6", linewidth=0.8, linestyle="--")
        panel.grid(alpha=0.3)
    for panel in (latency, work):
        panel.set_xlabel("minutes; dashed: end of the warm-up")
    figure.savefig(file, dpi=100)


def _line(
    axes: Any, rows: Sequence[Row], minutes: list[float], name: str, key: str, **how: Any
) -> None:
    values = [row["processes"].get(name, {}).get(key, np.nan) for row in rows]
    axes.plot(minutes, values, linewidth=1.2, **how)


def _draw_latency(axes: Any, rows: Sequence[Row], minutes: list[float]) -> None:
    for name in LATENCIES:
        values = [row["latency_ms"].get(name, {}).get("p95", np.nan) for row in rows]
        axes.plot(minutes, values, ".", markersize=3, label=name.partition(": ")[2])
    axes.set(title="latency, 95th percentile of each sample, ms", ylim=(0, None))
    others = axes.twinx()
    shares = [100 * share for share in _others(rows)]
    others.plot(minutes[1:], shares[: len(minutes) - 1], color="0.7", linewidth=1)
    others.set_ylabel("other programs, % of the processor (grey)", color="0.5")
    others.set_ylim(0, 100)
    axes.legend(fontsize=8, loc="upper left")


def _draw_work(axes: Any, rows: Sequence[Row], minutes: list[float]) -> None:
    for index, name in enumerate(("reached", "failed")):
        axes.plot(minutes, [goals(row)[index] for row in rows], label=f"goals {name}")
    places = [row["nodes"].get("memory", {}).get("places", np.nan) for row in rows]
    axes.plot(minutes, places, label="places in memory")
    axes.set(title="goals, places; file of the memory", ylim=(0, None))
    size = axes.twinx()
    size.plot(minutes, [row["memory_mb"] for row in rows], color="0.7", linewidth=1)
    size.set_ylabel("MB on disk (grey)", color="0.5")
    size.set_ylim(0, None)
    axes.legend(fontsize=8, loc="upper left")
