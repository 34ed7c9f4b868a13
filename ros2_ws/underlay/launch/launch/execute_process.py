"""Run a process: start it, pass on what it writes, start it again, and stop it for certain."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import itertools
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .action import Action
from .conditions import evaluate_condition_expression
from .event_handlers import Answer, OnEvent, OnProcessExit, OnShutdown
from .events.process import (
    ProcessExited,
    ProcessStarted,
    ProcessStderr,
    ProcessStdout,
    ProcessTargetedEvent,
    SignalProcess,
)
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, get_output_loggers
from .some_substitutions_type import SomeSubstitutionsType
from .substitutions import LaunchConfiguration
from .utilities import (
    is_substitution,
    normalize_to_list_of_substitutions,
    perform,
    perform_typed,
)

_numbers = itertools.count(1)
_DRAIN_S = 1.0  # what a process leaves behind has this long to end and close its output

Environment = Mapping[Any, SomeSubstitutionsType]


class _Stream:
    """One output of the process: its text so far, and the line not yet ended."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self.text: list[str] = []

    def feed(self, data: bytes, keep: bool) -> None:
        """Take data in, and log the lines that it completes."""
        text = self._decoder.decode(data)
        if keep:
            self.text.append(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._log(line.rstrip("\r"))

    def flush(self) -> None:
        """Log the last line, if nothing ended it."""
        if self._line:
            self._log(self._line)
        self._line = ""


class _Pipes(asyncio.SubprocessProtocol):
    """Tells of a process's start, output and end."""

    def __init__(
        self,
        on_start: Callable[[asyncio.SubprocessTransport], None],
        on_data: Callable[[int, bytes], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._on_start = on_start
        self._on_data = on_data
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._on_start(transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._on_data(fd, data)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


class _Terminal(asyncio.Protocol):
    """Tells of what comes out of one emulated terminal."""

    def __init__(self, fd: int, on_data: Callable[[int, bytes], None]) -> None:
        self._fd = fd
        self._on_data = on_data
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._on_data(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


class ExecuteProcess(Action):
    """Run a command as a process group of its own.

    At shutdown the group gets SIGINT, after `sigterm_timeout` (s, default 5) SIGTERM, and after
    `sigkill_timeout` (s, default 5) more SIGKILL. What the process leaves behind in its group when
    it ends gets SIGTERM and a second later SIGKILL.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        prefix: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: Environment | None = None,
        additional_env: Environment | None = None,
        shell: bool = False,
        sigterm_timeout: SomeSubstitutionsType = LaunchConfiguration("sigterm_timeout", default=5),  # noqa: B008
        sigkill_timeout: SomeSubstitutionsType = LaunchConfiguration("sigkill_timeout", default=5),  # noqa: B008
        emulate_tty: bool = False,
        output: SomeSubstitutionsType | dict[str, Any] = "log",
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: Answer | None = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self._cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._prefix = prefix
        self._name = name
        self._cwd = cwd
        self._env = env
        self._additional_env = additional_env
        self._shell = shell
        self._timeouts = (sigterm_timeout, sigkill_timeout)
        self._emulate_tty = emulate_tty
        self._output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or output
        self._cached_output = cached_output
        self._log_cmd = log_cmd
        self._on_exit = on_exit
        self._respawn = respawn
        self._respawn_delay_s = respawn_delay
        self._respawns_left = respawn_max_retries
        self._details: dict[str, Any] | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._group: int | None = None
        self._stop: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    # what users and handlers ask

    @property
    def process_details(self) -> dict[str, Any] | None:
        """The keys action, name, cmd, cwd, env and (once it runs) pid; None before execution."""
        return self._details

    @property
    def name(self) -> str | None:
        """The process's name, number included; None before execution."""
        return self._details["name"] if self._details else None

    @property
    def cmd(self) -> list[Any]:
        """The command: as text once executed, before that as substitutions."""
        return self._details["cmd"] if self._details else self._cmd

    @property
    def return_code(self) -> int | None:
        """The exit code (negative: the signal that ended it); None while it runs."""
        return self._transport.get_returncode() if self._transport else None

    def get_stdout(self) -> str:
        """Return the whole standard output so far; RuntimeError unless cached_output=True."""
        return self._cached("stdout")

    def get_stderr(self) -> str:
        """Return the whole standard error so far; RuntimeError unless cached_output=True."""
        return self._cached("stderr")

    def _cached(self, source: str) -> str:
        if not self._cached_output:
            raise RuntimeError(f"{self.name or self._cmd}: get_{source}() needs cached_output=True")
        if self._details is None:
            return ""
        return "".join(self._streams[source].text)

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the actions of on_exit, if it is a list of them."""
        return self._on_exit if isinstance(self._on_exit, list) else []

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        """Return what ends when the process has ended for good."""
        return self._task

    # execution

    def execute(self, context: LaunchContext) -> None:
        """Start the process, unless the launch is about to end; RuntimeError if started before."""
        if self._details is not None:
            raise RuntimeError(f"{self.name}: an action can start its process only once")
        self._prepare(context)
        if context.is_shutdown:
            return
        self._stop = asyncio.Event()
        context.register_event_handler(
            OnEvent(ProcessTargetedEvent, lambda event: event.process_matcher(self), self._obey)
        )
        context.register_event_handler(OnShutdown(on_shutdown=lambda *_: self._stop.set()))
        if self._on_exit is not None:
            context.register_event_handler(OnProcessExit(target_action=self, on_exit=self._on_exit))
        self._task = context.asyncio_loop.create_task(self._live(context))

    def _prepare(self, context: LaunchContext) -> None:
        """Perform every substitution, so that what is wrong shows before anything starts."""
        cmd = [perform(context, part) for part in self._cmd]
        cmd = self._performed_prefix(context, cmd[0]) + cmd
        name = perform(context, self._name) if self._name else os.path.basename(cmd[0])
        name = f"{name}-{next(_numbers)}"
        env = dict(context.environment) if self._env is None else _performed(context, self._env)
        env |= _performed(context, self._additional_env or {})
        cwd = perform(context, self._cwd) if self._cwd is not None else None
        if "emulate_tty" in context.launch_configurations:
            self._emulate_tty = evaluate_condition_expression(
                context, [LaunchConfiguration("emulate_tty")]
            )
        self._respawn = perform_typed(context, self._respawn, bool)
        self._timeouts_s = [float(perform(context, text)) for text in self._timeouts]
        output = self._output
        if isinstance(output, str) or is_substitution(output):
            output = perform(context, output)
        self._log = get_logger(name)
        loggers = zip(("stdout", "stderr"), get_output_loggers(name, output), strict=True)
        self._streams = {
            source: _Stream(lambda line, log=logger: log.info(f"[{name}] {line}"))
            for source, logger in loggers
        }
        self._details = {"action": self, "name": name, "cmd": cmd, "cwd": cwd, "env": env}

    def _performed_prefix(self, context: LaunchContext, executable: str) -> list[str]:
        """Return the prefix's words; that of the command line may be for some executables only."""
        if self._prefix is not None:
            return shlex.split(perform(context, self._prefix))
        pattern = context.launch_configurations.get("launch-prefix-filter", "")
        if not re.match(pattern, os.path.basename(executable)):
            return []
        return shlex.split(context.launch_configurations.get("launch-prefix", ""))

    def _obey(self, event: ProcessTargetedEvent, context: LaunchContext) -> None:
        """Do what a ShutdownProcess or SignalProcess event asks."""
        if isinstance(event, SignalProcess):
            self._log.info(f"sending {event.signal_name}")
            self._signal(event.signal)
        else:
            self._stop.set()

    async def _live(self, context: LaunchContext) -> None:
        """Run the process as often as it is to be run."""
        while True:
            await self._run(context)
            if self._stop.is_set() or not self._respawn or self._respawns_left == 0:
                return
            self._respawns_left -= 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._respawn_delay_s or 0)
            if self._stop.is_set():
                return

    async def _run(self, context: LaunchContext) -> None:
        if self._log_cmd:
            self._log.info(f"command: {shlex.join(self.cmd)}")
        try:
            process, outputs = await self._spawn(context)
        except (OSError, ValueError) as error:
            self._log.error(f"cannot start {shlex.join(self.cmd)}: {error}")
            return
        stopper = asyncio.ensure_future(self._stop_when_asked())
        try:
            await process.exited
            self._signal(signal.SIGTERM)  # for what it left behind in its group
            await asyncio.wait(outputs, timeout=_DRAIN_S)
        finally:  # also when this task is cancelled: nothing may outlive the launch
            stopper.cancel()
            self._signal(signal.SIGKILL)
            self._group = None
            self._transport.close()
        for stream in self._streams.values():
            stream.flush()
        code, pid = self.return_code, self._details["pid"]
        if code == 0:
            self._log.info(f"process [{pid}] has finished")
        else:
            self._log.error(f"process [{pid}] has died, exit code {code}: {shlex.join(self.cmd)}")
        context.emit_event_sync(ProcessExited(returncode=code, **self._details))

    async def _spawn(self, context: LaunchContext) -> tuple[_Pipes, list[asyncio.Future[None]]]:
        """Start the process; return its protocol and the futures of its outputs' ends."""

        def on_start(transport: asyncio.SubprocessTransport) -> None:
            self._transport = transport
            self._details["pid"] = self._group = transport.get_pid()
            self._log.info(f"process started with pid [{transport.get_pid()}]")
            context.emit_event_sync(ProcessStarted(**self._details))

        def on_data(fd: int, data: bytes) -> None:
            self._streams["stdout" if fd == 1 else "stderr"].feed(data, self._cached_output)
            event = ProcessStdout if fd == 1 else ProcessStderr
            context.emit_event_sync(event(text=data, **self._details))

        loop = asyncio.get_running_loop()
        process = _Pipes(on_start, on_data)
        options = {"cwd": self._details["cwd"], "env": self._details["env"], "process_group": 0}
        terminals = {fd: os.openpty() for fd in (1, 2)} if self._emulate_tty else {}
        for fd, (_, theirs) in terminals.items():
            options["stdout" if fd == 1 else "stderr"] = theirs
        try:
            if self._shell:
                await loop.subprocess_shell(lambda: process, " ".join(self.cmd), **options)
            else:
                await loop.subprocess_exec(lambda: process, *self.cmd, **options)
        except BaseException:
            for ours, _ in terminals.values():
                os.close(ours)
            raise
        finally:
            for _, theirs in terminals.values():
                os.close(theirs)
        outputs = [process.closed]
        for fd, (ours, _) in terminals.items():
            terminal = _Terminal(fd, on_data)
            await loop.connect_read_pipe(lambda t=terminal: t, os.fdopen(ours, "rb", 0))
            outputs.append(terminal.closed)
        return process, outputs

    # stopping

    async def _stop_when_asked(self) -> None:
        """Once asked to stop, ask the process group ever more firmly."""
        await self._stop.wait()
        sigterm_s, sigkill_s = self._timeouts_s
        self._signal(signal.SIGINT)
        await asyncio.sleep(sigterm_s)
        self._log.error(f"still running {sigterm_s:g} s after SIGINT: sending SIGTERM")
        self._signal(signal.SIGTERM)
        await asyncio.sleep(sigkill_s)
        self._log.error(f"still running {sigkill_s:g} s after SIGTERM: sending SIGKILL")
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, if there is any."""
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)


def _performed(context: LaunchContext, env: Environment) -> dict[str, str]:
    return {perform(context, name): perform(context, value) for name, value in env.items()}
