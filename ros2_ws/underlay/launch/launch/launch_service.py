"""The engine: visits entities, deals with events one at a time, ends when all is done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from .actions import OpaqueFunction
from .event import Event
from .event_handler import BaseEventHandler
from .event_handlers import OnEvent, OnShutdown
from .events import IncludeLaunchDescription, Shutdown, TimerEvent
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, set_level
from .signal_management import AsyncSafeSignalManager


class LaunchService:
    """Runs launch descriptions, in the main thread.

    SIGINT ends the launch in order. Any other signal ends this process at once and leaves the
    launched processes behind, as with ROS 2's launch; SIGTERM and SIGQUIT merely cancel the launch
    if Python has a handler for them. `noninteractive` says that no terminal passes SIGINT on to
    the launched processes, so that launch must.
    """

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        set_level(logging.DEBUG if debug else logging.INFO)
        self._debug = debug
        self._log = get_logger("launch")
        self.context = LaunchContext(argv=argv, noninteractive=noninteractive)
        for handler in (
            OnEvent(IncludeLaunchDescription, _include),
            OnEvent(TimerEvent, lambda event, _: OpaqueFunction(function=event.timer_action.fire)),
            OnShutdown(on_shutdown=self._on_shutdown),
        ):
            self.context.register_event_handler(handler)
        self.event_loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None
        self._futures: list[asyncio.Future[Any]] = []
        self._worker: asyncio.Task[None] | None = None  # deals with the next event
        self._shutting_down = False
        self._return_code = 0
        self._interrupted = False

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Visit a launch description, now or once the service runs: see emit_event()."""
        self.emit_event(IncludeLaunchDescription(launch_description))

    def emit_event(self, event: Event) -> None:
        """Emit an event, which is dealt with once the service runs. Thread-safe.

        Raises RuntimeError in the thread of a running service, where ROS 2's launch would wait
        for itself for ever: use context.emit_event_sync() there.
        """
        loop = self.event_loop
        if loop is None:
            self.context.emit_event_sync(event)
        elif threading.current_thread() is threading.main_thread():
            raise RuntimeError(
                f"{type(event).__name__} was emitted by a running LaunchService in its own thread, "
                "which would hang with ROS 2's launch: use its context.emit_event_sync()"
            )
        else:
            asyncio.run_coroutine_threadsafe(self.context.emit_event(event), loop).result()

    def shutdown(self, force_sync: bool = False) -> Coroutine[Any, Any, None] | None:
        """Ask the running service to end; does nothing otherwise. Thread-safe.

        In the main thread it only returns a coroutine, which tells the processes once it is
        awaited, unless `force_sync`.
        """
        if self.event_loop is None:
            return None
        return self._shutdown("LaunchService.shutdown() was called", force_sync=force_sync)

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run until everything has ended; return 0, or 1 after an error of the launch itself."""
        loop = _current_loop()
        task = loop.create_task(self.run_async(shutdown_when_idle=shutdown_when_idle))
        with self._without_keyboard_interrupt():
            while True:
                try:
                    return loop.run_until_complete(task)
                except KeyboardInterrupt:  # by a handler of another signal
                    if task.done():
                        raise

    @contextlib.contextmanager
    def _without_keyboard_interrupt(self) -> Iterator[None]:
        """Let only the loop hear SIGINT.

        Python's own handler raises KeyboardInterrupt wherever asyncio happens to be, and may so
        lose the wakeup of a task: the launch would hang.
        """
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:
            yield
            return

        def note(number: int, frame: object) -> None:
            self._interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """Do the same as run() within a running loop."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("LaunchService can run in the main thread only")
        if self.event_loop is not None:
            raise RuntimeError("this LaunchService is running already")
        with self._running() as loop, AsyncSafeSignalManager(loop) as signals:
            self._handle_signals(signals, loop)
            while True:
                try:
                    if self._is_over(shutdown_when_idle):
                        self._worker.cancel()
                        await asyncio.wait([self._worker])
                        return self._return_code
                    await self._wait(loop)
                except KeyboardInterrupt:
                    continue
                except asyncio.CancelledError:
                    self._worker.cancel()
                    self._log.error("the launch was cancelled: its processes are left behind")
                    return 1
                except Exception as error:
                    self._log.debug("where it was raised:", exc_info=True)
                    self._log.error(f"{type(error).__name__}: {error}")
                    self._return_code = 1
                    self._shutdown(str(error))

    @contextlib.contextmanager
    def _running(self) -> Iterator[asyncio.AbstractEventLoop]:
        loop = self.event_loop = self.context.asyncio_loop = asyncio.get_running_loop()
        loop.set_debug(self._debug or loop.get_debug())
        loop.set_exception_handler(self._on_stray_exception)
        events, self.context._events = self.context._events, asyncio.Queue()  # of this loop
        while not events.empty():
            self.context._events.put_nowait(events.get_nowait())
        self.task = asyncio.current_task()
        self._worker = loop.create_task(self._handle_next_event())
        self._return_code = 0
        try:
            yield loop
        finally:
            loop.set_exception_handler(None)
            self.event_loop = self.context.asyncio_loop = None
            self._shutting_down = False

    def _on_stray_exception(self, loop: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
        """Let an exception that nobody catches, such as that of a task, fail the launch."""
        self._return_code = 1
        loop.default_exception_handler(details)

    def _handle_signals(
        self, signals: AsyncSafeSignalManager, loop: asyncio.AbstractEventLoop
    ) -> None:
        task = asyncio.current_task()

        def end_in_order(number: int) -> None:
            if self._shutting_down:
                self._log.warning("SIGINT again: already shutting down")
                return
            self._log.warning("SIGINT: shutting down")
            self._shutdown("SIGINT", due_to_sigint=True)

        def cancel(number: int) -> None:
            name = signal.Signals(number).name
            self._log.error(f"{name}: cancelling the launch; SIGINT would end it in order")
            loop.call_soon(task.cancel)

        if self._interrupted:  # before the loop could hear it
            end_in_order(signal.SIGINT)
        signals.handle(signal.SIGINT, end_in_order)
        signals.handle(signal.SIGTERM, cancel)
        signals.handle(signal.SIGQUIT, cancel)

    def _shutdown(
        self, reason: str, due_to_sigint: bool = False, force_sync: bool = True
    ) -> Coroutine[Any, Any, None] | None:
        pending = None
        if not self._shutting_down:
            event = Shutdown(reason=reason, due_to_sigint=due_to_sigint)
            if force_sync:
                self.context.emit_event_sync(event)
            elif threading.current_thread() is threading.main_thread():
                pending = self.context.emit_event(event)
            else:
                self.emit_event(event)
        self._shutting_down = self.context.is_shutdown = True
        return pending

    def _on_shutdown(self, event: Shutdown, context: LaunchContext) -> None:
        self._shutting_down = context.is_shutdown = True

    def _is_over(self, shutdown_when_idle: bool) -> bool:
        """Return whether all is done; if that is so, but no shutdown was announced, do so."""
        self._forget_ended()
        if self._futures or not self.context._events.empty():
            return False
        if self._shutting_down:
            return True
        if shutdown_when_idle:
            self._shutdown("everything has ended")
        return False

    def _forget_ended(self) -> None:
        """Forget the futures that are done; raise the exception of one that failed."""
        self._futures += self.context._completion_futures
        self.context._completion_futures.clear()
        ended = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        errors = [error for error in [future.exception() for future in ended] if error]
        for error in errors[1:]:
            self._log.error(f"{type(error).__name__}: {error}")
        if errors:
            raise errors[0]

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for one event to be dealt with, or for anything else to end."""
        if self._worker.done():
            self._worker = loop.create_task(self._handle_next_event())
        waiting = [self._worker, *self._futures]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._worker.done():
            self._worker.result()

    async def _handle_next_event(self) -> None:
        event = await self.context._events.get()
        for handler in tuple(self.context._event_handlers):
            if handler.matches(event):
                self._handle(handler, event)

    def _handle(self, handler: BaseEventHandler, event: Event) -> None:
        self.context._push_locals()
        try:
            answer = handler.handle(event, self.context)
            for entity in answer if isinstance(answer, Iterable) else [answer]:
                if entity is None:
                    continue
                if not isinstance(entity, LaunchDescriptionEntity):
                    raise RuntimeError(
                        f"{type(handler).__name__} must answer {type(event).__name__} with launch "
                        f"actions, got {entity!r} ({type(entity).__name__})"
                    )
                self._visit(entity)
        finally:
            self.context._pop_locals()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        """Visit an entity and, depth first, those that it gives.

        Raises AttributeError for what is no entity, None included, and TypeError for an answer
        that is no list.
        """
        if not isinstance(entity, LaunchDescriptionEntity):
            raise AttributeError(
                f"expected a launch action, got {entity!r} ({type(entity).__name__})"
            )
        entities = entity.visit(self.context)
        future = entity.get_asyncio_future()
        if future is not None:
            self._futures.append(future)
        if entities is None:
            return
        if not isinstance(entities, Iterable):
            raise TypeError(
                f"{type(entity).__name__} must give a list of launch actions or None, "
                f"got {entities!r} ({type(entities).__name__})"
            )
        for sub_entity in entities:
            self._visit(sub_entity)


def _include(event: IncludeLaunchDescription, _: LaunchContext) -> OpaqueFunction:
    return OpaqueFunction(function=lambda _: [event.launch_description])


def _current_loop() -> asyncio.AbstractEventLoop:
    """Return the main thread's event loop, made if there is none.

    It is never closed: that would kill what a cancelled launch leaves behind.
    """
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
        warnings.simplefilter("ignore", DeprecationWarning)
        return asyncio.get_event_loop()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
