"""Shows figures on a terminal: a progress line, then tables."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

_EVERY_S = 5.0


class ProgressLine:
    """Progress on stderr: one live line on a terminal, else an occasional line."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._part, self._told_at = "", -_EVERY_S

    def __call__(self, text: str) -> None:
        part, now = text.partition(":")[0], time.monotonic()
        if not self._live and part == self._part and now - self._told_at < _EVERY_S:
            return
        self._part, self._told_at = part, now
        print(
            f"\r{text}\x1b[K" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def clear(self) -> None:
        """Clear the live line."""
        if self._live and self._part:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def tables(figures: dict[str, dict[str, Any]], limits: dict[str, str]) -> list[Table]:
    """All figures of `foresight.apps.bench.bench`; `limits` names the limit of each."""
    machine = figures["machine"]
    shown = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1min']}",
    )
    shown.add_column("")
    for heading in ("p50 ms", "p95 ms", "a second", "of limit"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("the limit")
    for name, limit in limits.items():
        if name not in figures:
            continue
        part = figures[name]
        _add(shown, name, part, limit)
        for threads, own in part.get("by_threads", {}).items():
            if int(threads) != part["threads"]:
                _add(shown, f"  {threads} threads" if threads != "1" else "  1 thread", own, "")
    further = {"loop": _nodes, "memory": _sizes}
    return [shown] + [show(figures[name]) for name, show in further.items() if name in figures]


def _add(table: Table, name: str, part: dict[str, Any], limit: str) -> None:
    columns = ("p50_ms", "p95_ms", "per_second")
    cells = [f"{part[key]:.3g}" if key in part else "" for key in columns]
    table.add_row(name, *cells, f"{part['limit_ratio']:.0%}", limit)


def _nodes(loop: dict[str, Any]) -> Table:
    """Resources of each process of the loop."""
    shown = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=f"loop: {loop['goals_reached']} goals reached in {loop['seconds']:.0f} s; the stack "
        f"takes {loop['stack_cores']:.2f} cores, {loop['stack_mb']:.0f} MB",
    )
    shown.add_column("process")
    for heading in ("cores", "resident MB", "proportional MB", "own MB"):
        shown.add_column(heading, justify="right")
    for name, use in sorted(loop["nodes"].items(), key=lambda item: -item[1]["cores"]):
        memory = (f"{use[key]:.0f}" for key in ("rss_mb", "pss_mb", "uss_mb"))
        shown.add_row(name, f"{use['cores']:.2f}", *memory)
    return shown


def _sizes(memory: dict[str, Any]) -> Table:
    """The memory at each size."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, title="memory by places; ms: p50, p95")
    headings = ("places", "open s", "index s", "nearest ms", "route ms", "re-routed ms")
    for heading in (*headings, "added a second", "bytes a place"):
        shown.add_column(heading, justify="right")
    for count, part in memory["by_places"].items():
        pairs = (
            f"{part[f'{what}_p50_ms']:.3g}, {part[f'{what}_p95_ms']:.3g}"
            for what in ("nearest", "route", "rerouted")
        )
        shown.add_row(
            f"{int(count):,}",
            f"{part['open_s']:.2f}",
            f"{part['index_s']:.2f}",
            *pairs,
            f"{part['added_per_second']:,.0f}",
            f"{part['bytes_per_place']:,.0f}",
        )
    return shown
