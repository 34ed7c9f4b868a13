"""Processes of this machine, as the kernel sees them: it knows at once when one has ended."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path


class ProcessState(Enum):
    """What a process can be to somebody who waits for it."""

    RUNS = "runs"
    STOPPED = "stands still"
    GONE = "has ended"


OF_LETTER = {
    "T": ProcessState.STOPPED,
    "t": ProcessState.STOPPED,  # by a debugger
    "Z": ProcessState.GONE,
    "X": ProcessState.GONE,
    "x": ProcessState.GONE,
}
"""The states of /proc that are not RUNS."""


def own_name() -> str:
    """This process's name, for `look_up` elsewhere on the machine; empty where there is no /proc.

    The namespace is part of it, for each container may have processes of the same number.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {os.getpid()}"
    except OSError:
        return ""


def look_up(name: str) -> int | None:
    """The number of a process that has just told its `own_name`; None if it cannot be watched from
    here: it runs on another machine, in another container, or is hidden."""
    here, there = own_name().rpartition(" "), name.rpartition(" ")
    known = here[0] and here[0] == there[0] and Path(f"/proc/{there[2]}/stat").exists()
    return int(there[2]) if known else None


def state_of(number: int) -> ProcessState:
    """What has become of a process."""
    try:
        told = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ProcessState.GONE
    except OSError:  # no reason to take it for dead
        return ProcessState.RUNS
    return OF_LETTER.get(told.rpartition(")")[2].split()[0], ProcessState.RUNS)
