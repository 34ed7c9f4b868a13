"""The engine: visits entities, deals with events one at a time, ends when all is done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from .event import Event
from .event_handler import BaseEventHandler, as_entities
from .event_handlers import OnEvent, OnShutdown
from .events import IncludeLaunchDescription, Shutdown
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, set_level

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


class LaunchService:
    """Runs launch descriptions, in the main thread."""

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
        self.context.register_event_handler(
            OnEvent(IncludeLaunchDescription, lambda _: True, lambda e, _: e.launch_description)
        )
        self.context.register_event_handler(OnShutdown(on_shutdown=self._on_shutdown))
        self.event_loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None
        self._futures: list[asyncio.Future[Any]] = []
        self._shutting_down = False
        self._return_code = 0

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Visit a launch description, now or once the service runs. Thread-safe."""
        self.emit_event(IncludeLaunchDescription(launch_description))

    def emit_event(self, event: Event) -> None:
        """Emit an event, which is dealt with once the service runs. Thread-safe."""
        self.context.emit_event_sync(event)

    def shutdown(self, force_sync: bool = False) -> asyncio.Future[None] | None:
        """Ask the running service to end; does nothing otherwise. Thread-safe.

        Called from a coroutine in the service's loop it returns something to await, unless
        `force_sync`.
        """
        if self.event_loop is None:
            return None
        self._shutdown("LaunchService.shutdown() was called")
        if force_sync or threading.current_thread() is not threading.main_thread():
            return None
        done = self.event_loop.create_future()
        done.set_result(None)
        return done

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run until everything has ended; return 0, or 1 after an error of the launch itself."""
        return asyncio.run(self.run_async(shutdown_when_idle=shutdown_when_idle))

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """Do the same as run() within a running loop."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("LaunchService can run in the main thread only")
        if self.event_loop is not None:
            raise RuntimeError("this LaunchService is running already")
        with self._running(), self._handling_signals():
            while True:
                try:
                    self._work()
                    if not self._futures and not self.context._events:
                        if self._shutting_down:
                            return self._return_code
                        if shutdown_when_idle:
                            self._shutdown("everything has ended")
                            continue
                    await self.context._news.wait()
                    self.context._news.clear()
                except asyncio.CancelledError:
                    self._log.error("the launch was cancelled: killing its processes")
                    await self._cancel_all()
                    return 1
                except Exception as error:
                    self._log.debug("where it was raised:", exc_info=True)
                    self._log.error(f"{type(error).__name__}: {error}")
                    self._return_code = 1
                    self._shutdown(str(error))

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self.event_loop = self.context.asyncio_loop = asyncio.get_running_loop()
        self.event_loop.set_debug(self._debug)
        self.context._news = asyncio.Event()
        self.context.is_shutdown = self._shutting_down = False
        self.task = asyncio.current_task()
        self._return_code = 0
        try:
            yield
        finally:
            self.event_loop = self.context.asyncio_loop = None

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                if handler is not None:  # None: not Python's
                    signal.signal(number, handler)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._shutting_down:
            self._log.warning(f"{number.name} again: already shutting down")
            return
        self._log.warning(f"{number.name}: shutting down")
        self._shutdown(number.name, due_to_sigint=number == signal.SIGINT)

    def _shutdown(self, reason: str, due_to_sigint: bool = False) -> None:
        if not self._shutting_down:
            self.context.emit_event_sync(Shutdown(reason=reason, due_to_sigint=due_to_sigint))
        self._shutting_down = self.context.is_shutdown = True

    def _on_shutdown(self, event: Shutdown, context: LaunchContext) -> None:
        self._shutting_down = context.is_shutdown = True

    def _work(self) -> None:
        """Deal with every queued event, and forget the futures that are done."""
        context = self.context
        while context._events:
            event = context._events.popleft()
            for handler in tuple(context._event_handlers):
                if handler.matches(event):
                    self._handle(handler, event)
        self._futures += context._completion_futures
        context._completion_futures = []
        done = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        errors = [future.exception() for future in done if not future.cancelled()]
        for error in filter(None, errors):
            raise error

    def _handle(self, handler: BaseEventHandler, event: Event) -> None:
        self.context._push_locals()
        try:
            for entity in as_entities(handler.handle(event, self.context)):
                self._visit(entity)
        finally:
            self.context._pop_locals()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        """Visit an entity and, depth first, those that it gives."""
        entities = as_entities(entity.visit(self.context))
        future = entity.get_asyncio_future()
        if future is not None:
            future.add_done_callback(lambda _: self.context._news.set())
            self._futures.append(future)
        for sub_entity in entities:
            self._visit(sub_entity)

    async def _cancel_all(self) -> None:
        for future in self._futures:
            future.cancel()
        await asyncio.gather(*self._futures, return_exceptions=True)
