"""Events about processes, and events that ask something of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..event import Event
from ..unsupported import refuse_names

if TYPE_CHECKING:
    from ..actions import ExecuteProcess

__getattr__ = refuse_names(__name__, {"ProcessStdin"})
__all__ = [
    "ProcessExited",
    "ProcessIO",
    "ProcessStarted",
    "ProcessStderr",
    "ProcessStdout",
    "ProcessTargetedEvent",
    "RunningProcessEvent",
    "ShutdownProcess",
    "SignalProcess",
    "matches_executable",
    "matches_name",
    "matches_pid",
]

ProcessMatcher = Callable[["ExecuteProcess"], bool]


class RunningProcessEvent(Event):
    """Something that happened to a process."""

    def __init__(
        self,
        *,
        action: ExecuteProcess,
        name: str,
        cmd: list[str],
        cwd: str | None,
        env: dict[str, str],
        pid: int,
    ) -> None:
        self.action = action
        self.process_name = name
        self.cmd = cmd
        self.cwd = cwd
        self.env = env
        self.pid = pid


class ProcessStarted(RunningProcessEvent):
    """A process runs."""


class ProcessExited(RunningProcessEvent):
    """A process ended; `returncode` is negative for a signal."""

    def __init__(self, *, returncode: int, **process) -> None:
        super().__init__(**process)
        self.returncode = returncode


class ProcessIO(RunningProcessEvent):
    """A process wrote the bytes `text` to its standard output (fd 1) or error (fd 2)."""

    def __init__(self, *, text: bytes, fd: int, **process) -> None:
        super().__init__(**process)
        self.text = text
        self.from_stdin = False
        self.from_stdout = fd == 1
        self.from_stderr = fd == 2


class ProcessStdout(ProcessIO):
    """A process wrote to its standard output."""

    def __init__(self, **process) -> None:
        super().__init__(fd=1, **process)


class ProcessStderr(ProcessIO):
    """A process wrote to its standard error."""

    def __init__(self, **process) -> None:
        super().__init__(fd=2, **process)


class ProcessTargetedEvent(Event):
    """A request to the processes that `process_matcher` holds for."""

    def __init__(self, *, process_matcher: ProcessMatcher) -> None:
        self.process_matcher = process_matcher


class ShutdownProcess(ProcessTargetedEvent):
    """A request to stop: SIGINT first, then ever more firmly."""


class SignalProcess(ProcessTargetedEvent):
    """A request to send one signal: a member of signal.Signals, or the text "SIGKILL".

    Other texts are taken here and raise TypeError when the signal is to be sent; plain numbers
    raise it at once.
    """

    def __init__(
        self, *, signal_number: signal.Signals | str, process_matcher: ProcessMatcher
    ) -> None:
        super().__init__(process_matcher=process_matcher)
        if not isinstance(signal_number, str | signal.Signals):
            raise TypeError(
                f"SignalProcess: signal_number must be one of signal.Signals, got {signal_number!r}"
            )
        self.signal = signal_number
        self.signal_name = signal_number if isinstance(signal_number, str) else signal_number.name


def matches_pid(pid: int) -> ProcessMatcher:
    """Match the process with this id; KeyError if one is asked that has not started."""
    return _matches(lambda details: details["pid"] == pid)


def matches_name(name: str) -> ProcessMatcher:
    """Match the process with this name, number included: `talker-1`."""
    return _matches(lambda details: details["name"] == name)


def matches_executable(executable: str) -> ProcessMatcher:
    """Match the processes whose command's first word ends in `executable`."""
    return _matches(lambda details: details["cmd"][0].endswith(executable))


def _matches(holds: Callable[[dict[str, Any]], bool]) -> ProcessMatcher:
    def matcher(action: ExecuteProcess) -> bool:
        return action.process_details is not None and holds(action.process_details)

    return matcher
