"""CPU and memory usage of processes, by the names of their ROS nodes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_MB = 1e6


@dataclass
class _Use:
    """One process: CPU seconds at the beginning and the end, peak memory in bytes."""

    name: str
    before_s: float
    cpu_s: float
    rss: int = 0
    pss: int = 0
    uss: int = 0


class Meter:
    """CPU time and memory of a process and of all that it starts, from `begin` to last `sample`."""

    def __init__(self, root: int, name: str) -> None:
        """`root`: process id; `name`: its name in the figures."""
        self._root, self._name = psutil.Process(root), name
        self._began_s = self._sampled_s = 0.0
        self._uses: dict[psutil.Process, _Use] = {}

    def begin(self) -> None:
        """Start counting."""
        self._uses.clear()
        self._began_s = time.monotonic()
        self.sample()
        for use in self._uses.values():
            use.before_s = use.cpu_s

    def sample(self) -> None:
        """Sample every process; one that has ended keeps its last values."""
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                self._look(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it is ending
        self._sampled_s = time.monotonic()

    def _look(self, process: psutil.Process) -> None:
        if process not in self._uses:
            name = self._name if process == self._root else node_name(process.cmdline())
            self._uses[process] = _Use(name, 0.0, 0.0)
        use, memory, times = self._uses[process], process.memory_full_info(), process.cpu_times()
        use.cpu_s = times.user + times.system
        use.rss = max(use.rss, memory.rss)
        use.pss = max(use.pss, memory.pss)
        use.uss = max(use.uss, memory.uss)

    def usage(self) -> dict[str, dict[str, float]]:
        """By node: cores (CPU seconds per second) and peak memory in MB: resident (rss), with
        shared pages divided among their processes (pss), and without shared pages (uss)."""
        seconds = self._sampled_s - self._began_s
        figures: dict[str, dict[str, float]] = {}
        for use in self._uses.values():
            own = figures.setdefault(
                use.name, {"cores": 0.0, "rss_mb": 0.0, "pss_mb": 0.0, "uss_mb": 0.0}
            )
            own["cores"] += (use.cpu_s - use.before_s) / seconds if seconds > 0 else 0.0
            own["rss_mb"] += use.rss / _MB
            own["pss_mb"] += use.pss / _MB
            own["uss_mb"] += use.uss / _MB
        return figures


def node_name(command: Sequence[str]) -> str:
    """The ROS node that a command line runs, else the program's file name."""
    for word in command:
        if word.startswith("__node:="):
            return word.removeprefix("__node:=")
    # an interpreter comes before the script, which is installed in lib/<package>
    installed = next((word for word in command if "/lib/" in word), None)
    return Path(installed or command[0]).name if command else "unknown"
