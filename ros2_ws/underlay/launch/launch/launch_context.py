"""The state of one launch: configurations, environment, locals, and the queue of events."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .substitution import Substitution

if TYPE_CHECKING:
    from .event import Event
    from .event_handler import BaseEventHandler


class Locals:
    """Read-only attribute access to a context's locals."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(self.__dict__)) or "nothing"
        raise AttributeError(f"context.locals has no {name!r} here; it holds {known}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("context.locals is read-only; use context.extend_locals()")


class LaunchContext:
    """What entities see of the launch they are visited in."""

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or ())
        self.noninteractive = noninteractive
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.is_shutdown = False  # once true, it stays so
        self.launch_configurations: dict[str, Any] = {}
        self._globals: dict[str, Any] = {}
        self._locals: dict[str, Any] = {}
        self._saved_locals: list[dict[str, Any]] = []
        self._saved_scopes: list[tuple[dict[str, Any], dict[str, str]]] = []
        self._event_handlers: deque[BaseEventHandler] = deque()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._completion_futures: list[asyncio.Future[Any]] = []

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The environment that processes inherit: this process's own."""
        return os.environ

    # locals: what a handler or an include lends to the entities that it yields

    @property
    def locals(self) -> Locals:
        """The globals, overridden by the locals."""
        return Locals(self.get_locals_as_dict())

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return the globals, overridden by the locals."""
        return {**self._globals, **self._locals}

    def extend_globals(self, extensions: Mapping[str, Any]) -> None:
        """Add values that every entity sees from now on."""
        self._globals.update(extensions)

    def extend_locals(self, extensions: Mapping[str, Any]) -> None:
        """Add values that entities see until the current event is dealt with."""
        self._locals.update(extensions)

    def _push_locals(self) -> None:
        self._saved_locals.append(dict(self._locals))

    def _pop_locals(self) -> None:
        self._locals = self._saved_locals.pop()

    # scopes: what a group keeps to itself

    def _push_scope(self) -> None:
        self._saved_scopes.append((dict(self.launch_configurations), dict(os.environ)))

    def _pop_scope(self) -> None:
        self.launch_configurations, environment = self._saved_scopes.pop()
        os.environ.clear()
        os.environ.update(environment)

    # events

    def register_event_handler(self, event_handler: BaseEventHandler, append: bool = False) -> None:
        """Add a handler, before the present ones unless `append`."""
        if append:
            self._event_handlers.append(event_handler)
        else:
            self._event_handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: BaseEventHandler) -> None:
        """Remove a handler; ValueError if it is not registered."""
        self._event_handlers.remove(event_handler)

    def would_handle_event(self, event: Event) -> bool:
        """Return whether some handler matches the event."""
        return any(handler.matches(event) for handler in tuple(self._event_handlers))

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event. Not thread-safe: other threads use LaunchService.emit_event()."""
        self._events.put_nowait(event)

    async def emit_event(self, event: Event) -> None:
        """Queue an event."""
        self.emit_event_sync(event)

    def add_completion_future(self, completion_future: asyncio.Future[Any]) -> None:
        """Let the launch wait for a future before it counts as idle."""
        self._completion_futures.append(completion_future)

    # substitutions

    def perform_substitution(self, substitution: Substitution) -> str:
        """Return the text of a substitution."""
        return substitution.perform(self)
