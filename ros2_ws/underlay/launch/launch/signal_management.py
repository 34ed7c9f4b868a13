"""Hears signals in the event loop the way ROS 2's launch does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

Handler = Callable[[int], None]


class AsyncSafeSignalManager:
    """Within its context, calls handlers of signals in the loop, besides those that Python has.

    Python writes the number of a signal to its wakeup descriptor only if it has a handler of its
    own for it. By default that is so for SIGINT alone; any other signal acts on this process as on
    any other, unless signal.signal() was called for it, be it by asyncio.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handlers: dict[int, Handler] = {}
        self._following = -1  # the wakeup descriptor of others, who hear after us

    def handle(self, signum: signal.Signals | int, handler: Handler | None) -> Handler | None:
        """Set the handler of a signal, or none; return the one before."""
        before = self._handlers.pop(signum, None)
        if handler is not None:
            self._handlers[signum] = handler
        return before

    def __enter__(self) -> AsyncSafeSignalManager:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._set_descriptor = signal.set_wakeup_fd
        self._following = self._set_descriptor(self._writer.fileno())
        signal.set_wakeup_fd = self._follow
        self._loop.add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reader)
        signal.set_wakeup_fd = self._set_descriptor
        self._set_descriptor(self._following)
        self._reader.close()
        self._writer.close()

    def _follow(self, descriptor: int) -> int:
        """Stand in for signal.set_wakeup_fd, which asyncio calls for its own handlers."""
        before, self._following = self._following, descriptor
        return before

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = self._reader.recv(4096)
            for number in numbers:
                if number in self._handlers:
                    self._handlers[number](number)
            if self._following != -1:
                os.write(self._following, numbers)
