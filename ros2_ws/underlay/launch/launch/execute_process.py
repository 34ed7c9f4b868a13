"""Run a process: start it, pass on what it writes, start it again, and ask it to stop."""

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
from .events import Shutdown
from .events.process import (
    ProcessExited,
    ProcessStarted,
    ProcessStderr,
    ProcessStdout,
    ShutdownProcess,
    SignalProcess,
)
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, get_output_loggers
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .substitutions import LaunchConfiguration
from .unsupported import UnsupportedFeatureError
from .utilities import (
    normalize_to_list_of_substitutions,
    normalize_typed,
    perform_substitutions,
    perform_typed,
)

_numbers = itertools.count(1)

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
        self._on_start = on_start
        self._on_data = on_data
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._on_start(transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._on_data(fd, data)

    def process_exited(self) -> None:
        self.exited.set_result(None)


class _Terminal(asyncio.Protocol):
    """Tells of what comes out of one emulated terminal."""

    def __init__(self, fd: int, on_data: Callable[[int, bytes], None]) -> None:
        self._fd = fd
        self._on_data = on_data

    def data_received(self, data: bytes) -> None:
        self._on_data(self._fd, data)


class ExecuteProcess(Action):
    """Run a command as a child of launch, in launch's own process group.

    At shutdown it gets SIGINT (unless the launch itself was interrupted in a terminal, which has
    told its children then), after `sigterm_timeout` (s, default 5) SIGTERM, and after
    `sigkill_timeout` (s, default 5) more SIGKILL. Only the process itself is told: what it started
    is its own business. The timeouts are performed at shutdown, `emulate_tty` at the start of the
    process, all else when the action is executed.
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
        output_format: str | None = None,
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: Answer = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if output_format is not None:
            raise UnsupportedFeatureError(f"{type(self).__name__}(output_format=...)")
        self._cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._prefix = _normalized(prefix)
        self._name = _normalized(name)
        self._cwd = _normalized(cwd)
        self._env = None if env is None else _normalized_items(env)
        self._additional_env = [] if additional_env is None else _normalized_items(additional_env)
        self._shell = shell
        self._timeouts = [
            normalize_to_list_of_substitutions(timeout)
            for timeout in (sigterm_timeout, sigkill_timeout)
        ]
        self._emulate_tty = emulate_tty
        output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT", output)
        self._output = (
            output if isinstance(output, dict) else normalize_to_list_of_substitutions(output)
        )
        self._cached_output = cached_output
        self._log_cmd = log_cmd
        self._on_exit = on_exit
        self._respawn = normalize_typed(respawn, bool)
        self._respawn_delay_s = respawn_delay
        self._respawns_left = respawn_max_retries
        self._details: dict[str, Any] | None = None
        self._is_executed = False
        self._streams: dict[str, _Stream] = {}
        self._transport: asyncio.SubprocessTransport | None = None
        self._stop: asyncio.Event | None = None
        # what is sent in order to stop it, each with the delay before (s)
        self._stop_signals: list[tuple[float, signal.Signals]] = []
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
        return "".join(self._streams[source].text) if self._streams else ""

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the actions of on_exit, if it is a list of them."""
        return self._on_exit if isinstance(self._on_exit, list) else []

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        """Return what ends when the process has ended for good."""
        return self._task

    # execution

    def execute(self, context: LaunchContext) -> None:
        """Start the process, unless the launch is about to end; RuntimeError if started before."""
        self._prepare(context)
        if self._is_executed:
            raise RuntimeError(f"{self.name}: an action can start its process only once")
        self._is_executed = True
        if context.is_shutdown:
            return
        self._open_outputs(context)
        for handler in (
            OnEvent(ShutdownProcess, self._obey_shutdown),
            OnEvent(SignalProcess, self._obey_signal),
            OnShutdown(on_shutdown=self._follow_launch),
            OnProcessExit(target_action=self, on_exit=self._on_exit),
        ):
            context.register_event_handler(handler)
        self._stop = asyncio.Event()
        self._task = context.asyncio_loop.create_task(self._live(context))

    def _prepare(self, context: LaunchContext) -> None:
        """Perform the substitutions that are due when the action is executed."""
        cmd = [perform_substitutions(context, part) for part in self._cmd]
        cmd = self._performed_prefix(context, cmd[0]) + cmd
        name = os.path.basename(cmd[0])
        if self._name is not None:
            name = perform_substitutions(context, self._name)
        cwd = None if self._cwd is None else perform_substitutions(context, self._cwd)
        env = dict(context.environment) if self._env is None else _performed(context, self._env)
        env |= _performed(context, self._additional_env)
        name = f"{name}-{next(_numbers)}"
        self._details = {"action": self, "name": name, "cmd": cmd, "cwd": cwd, "env": env}
        self._respawn = perform_typed(context, self._respawn, bool)

    def _performed_prefix(self, context: LaunchContext, executable: str) -> list[str]:
        """Return the prefix's words; that of the command line may be for some executables only."""
        if self._prefix is not None:
            return shlex.split(perform_substitutions(context, self._prefix))
        pattern = context.launch_configurations.get("launch-prefix-filter", "")
        if not re.match(pattern, os.path.basename(executable)):
            return []
        return shlex.split(context.launch_configurations.get("launch-prefix", ""))

    def _open_outputs(self, context: LaunchContext) -> None:
        name, output = self._details["name"], self._output
        if not isinstance(output, dict):
            output = perform_substitutions(context, output)
        self._log = get_logger(name)
        loggers = zip(("stdout", "stderr"), get_output_loggers(name, output), strict=True)
        self._streams = {
            source: _Stream(lambda line, log=logger: log.info(f"[{name}] {line}"))
            for source, logger in loggers
        }

    async def _live(self, context: LaunchContext) -> None:
        """Run the process as often as it is to be run."""
        while await self._run(context) and self._respawn and self._respawns_left != 0:
            if self._stop.is_set() or context.is_shutdown:
                break
            self._respawns_left -= 1
            if self._respawn_delay_s is not None and self._respawn_delay_s > 0.0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self._respawn_delay_s)
            if self._stop.is_set():
                break
        if self._transport is not None:
            self._transport.close()

    async def _run(self, context: LaunchContext) -> bool:
        """Run the process once; return whether it could be started."""
        if self._log_cmd:
            self._log.info(f"command: {shlex.join(self.cmd)}")
        emulate_tty = self._emulate_tty
        if "emulate_tty" in context.launch_configurations:
            emulate_tty = evaluate_condition_expression(
                context, [LaunchConfiguration("emulate_tty")]
            )
        try:
            exited = await self._spawn(context, emulate_tty)
        except Exception as error:
            self._log.error(f"cannot start {shlex.join(self.cmd)}: {error}")
            return False
        context.emit_event_sync(ProcessStarted(**self._details))
        stopper = asyncio.ensure_future(self._stop_when_asked(context))
        await exited
        stopper.cancel()
        for stream in self._streams.values():
            stream.flush()
        code, pid = self.return_code, self._details["pid"]
        if code == 0:
            self._log.info(f"process [{pid}] has finished")
        else:
            self._log.error(f"process [{pid}] has died, exit code {code}: {shlex.join(self.cmd)}")
        context.emit_event_sync(ProcessExited(returncode=code, **self._details))
        return True

    async def _spawn(self, context: LaunchContext, emulate_tty: bool) -> asyncio.Future[None]:
        """Start the process; return what ends with it."""

        def on_start(transport: asyncio.SubprocessTransport) -> None:
            self._details["pid"] = transport.get_pid()
            self._log.info(f"process started with pid [{transport.get_pid()}]")

        def on_data(fd: int, data: bytes) -> None:
            self._streams["stdout" if fd == 1 else "stderr"].feed(data, self._cached_output)
            event = ProcessStdout if fd == 1 else ProcessStderr
            context.emit_event_sync(event(text=data, **self._details))

        loop = asyncio.get_running_loop()
        process = _Pipes(on_start, on_data)
        options = {"cwd": self._details["cwd"], "env": self._details["env"], "close_fds": False}
        terminals = {fd: os.openpty() for fd in (1, 2)} if emulate_tty else {}
        for fd, (_, theirs) in terminals.items():
            options["stdout" if fd == 1 else "stderr"] = theirs
        try:
            if self._shell:
                start = loop.subprocess_shell(lambda: process, " ".join(self.cmd), **options)
            else:
                start = loop.subprocess_exec(lambda: process, *self.cmd, **options)
            self._transport, _ = await start
        except BaseException:
            for ours, _ in terminals.values():
                os.close(ours)
            raise
        finally:
            for _, theirs in terminals.values():
                os.close(theirs)
        for fd, (ours, _) in terminals.items():
            terminal = _Terminal(fd, on_data)
            await loop.connect_read_pipe(lambda t=terminal: t, os.fdopen(ours, "rb", 0))
        return process.exited

    # stopping

    def _obey_shutdown(self, event: ShutdownProcess, context: LaunchContext) -> None:
        if event.process_matcher(self):
            self._begin_stop(context, interrupt=True)

    def _follow_launch(self, event: Shutdown, context: LaunchContext) -> None:
        # a terminal interrupts the children together with launch
        self._begin_stop(context, interrupt=not event.due_to_sigint or context.noninteractive)

    def _begin_stop(self, context: LaunchContext, interrupt: bool) -> None:
        """Let the process be asked to stop, ever more firmly, once it runs."""
        if self._stop.is_set() or self._task.done():
            return
        self._stop.set()
        if interrupt:
            self._stop_signals = [(0.0, signal.SIGINT)]
        sigterm_s, sigkill_s = [
            float(perform_substitutions(context, timeout)) for timeout in self._timeouts
        ]
        self._stop_signals += [(sigterm_s, signal.SIGTERM), (sigkill_s, signal.SIGKILL)]

    async def _stop_when_asked(self, context: LaunchContext) -> None:
        await self._stop.wait()
        for delay_s, number in self._stop_signals:
            if delay_s:
                await asyncio.sleep(delay_s)
                self._log.error(f"still running {delay_s:g} s later: {number.name} follows")
            event = SignalProcess(signal_number=number, process_matcher=lambda a: a is self)
            context.emit_event_sync(event)

    def _obey_signal(self, event: SignalProcess, context: LaunchContext) -> None:
        """Send the signal; RuntimeError if the process has not started, TypeError for a name."""
        if not event.process_matcher(self):
            return
        if self._transport is None:
            raise RuntimeError(f"{self.name} was sent {event.signal_name} before it has started")
        if self.return_code is None:
            self._log.info(f"sending {event.signal_name}")
            is_kill = event.signal == "SIGKILL"  # the only one that may be given by its name
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(signal.SIGKILL if is_kill else event.signal)


def _normalized(subject: SomeSubstitutionsType | None) -> list[Substitution] | None:
    return None if subject is None else normalize_to_list_of_substitutions(subject)


def _normalized_items(env: Environment) -> list[tuple[list[Substitution], list[Substitution]]]:
    normalize = normalize_to_list_of_substitutions
    return [(normalize(name), normalize(value)) for name, value in env.items()]


def _performed(
    context: LaunchContext, env: list[tuple[list[Substitution], list[Substitution]]]
) -> dict[str, str]:
    return {
        perform_substitutions(context, name): perform_substitutions(context, value)
        for name, value in env
    }
