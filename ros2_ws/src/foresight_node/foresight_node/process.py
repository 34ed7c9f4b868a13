"""Processes of this machine, as the kernel sees them: it knows at once when one has ended."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from rclpy.logging import get_logger

LAUNCH = "FORESIGHT_LAUNCH"
"""The environment variable by which our launch files tell a process who started it: the launch's
namespace of processes, its number there, when it began, in ticks, and for how many seconds the
process may outlive it."""


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
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {os.readlink('/proc/self')}"
    except OSError:
        return ""


def look_up(name: str) -> int | None:
    """The number of a process that has just told its `own_name`; None if it cannot be watched from
    here: it runs on another machine, in another container, or is hidden."""
    here, there = own_name().rpartition(" "), name.rpartition(" ")
    same = here[0] and here[0] == there[0] and there[2].isdecimal()
    known = same and Path(f"/proc/{there[2]}/stat").exists()
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


def on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` in the main thread, and nothing else, whenever this process shall end.

    That is at SIGINT, SIGTERM and SIGHUP (but under nohup), and when the launch that started this
    process has ended, however: nobody else would stop the robot then.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: stop())
    if launch := os.environ.get(LAUNCH):
        threading.Thread(target=_follow, args=(launch,), name="launch watch", daemon=True).start()


def _follow(launch: str) -> None:
    """Send this process SIGTERM when the launch, told as in `LAUNCH`, is gone."""
    namespace, number, began, outlives_s = launch.split()
    if namespace != os.readlink("/proc/self/ns/pid"):
        return  # it runs in another container, where it cannot be seen
    log = get_logger("foresight")
    try:
        _wait_for_end(int(number), began)
    except OSError as error:
        log.warning(f"cannot watch the launch of this process, and will outlive it: {error}")
        return
    log.warning("the launch that started this process has ended: ending, too")
    time.sleep(float(outlives_s))
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _wait_for_end(number: int, began: str) -> None:
    try:
        ended = os.pidfd_open(number)
    except ProcessLookupError:
        return
    try:
        is_other = _began(number) != began
    except OSError:  # it has just ended, or is hidden because it is another user's
        is_other = False
    if not is_other:
        poll = select.poll()  # select() takes no descriptor beyond 1023
        poll.register(ended, select.POLLIN)
        poll.poll()
    os.close(ended)


def _began(number: int) -> str:
    """When a process was started, in ticks: another one of the same number began later."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
