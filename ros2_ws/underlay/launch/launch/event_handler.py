"""The base of event handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .event import Event
from .launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from .launch_context import LaunchContext

SomeEntities = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]


class BaseEventHandler:
    """Gives entities in answer to the events that it matches."""

    def __init__(self, *, matcher: Callable[[Event], bool], handle_once: bool = False) -> None:
        self._matcher = matcher
        self.handle_once = handle_once

    def matches(self, event: Event) -> bool:
        """Return whether the event is one for this handler."""
        return self._matcher(event)

    def describe(self) -> tuple[str, Sequence[SomeEntities]]:
        """Return when the handler acts, and the entities that it is known to give."""
        return (f"on an event for {type(self).__name__}", [])

    def handle(self, event: Event, context: LaunchContext) -> SomeEntities | None:
        """Make the event `context.locals.event`, and return the entities to visit."""
        context.extend_locals({"event": event})
        if self.handle_once:
            context.unregister_event_handler(self)
        return None


class EventHandler(BaseEventHandler):
    """Gives fixed entities in answer to the events that it matches.

    They are looked at only when an event comes. A launch file that others include must give a
    list: a single entity cannot be described before launching, which raises TypeError.
    """

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: SomeEntities | None = None,
        handle_once: bool = False,
    ) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self.entities = entities

    def describe(self) -> tuple[str, Sequence[SomeEntities]]:
        """Return when the handler acts, and the entities that it gives."""
        return (super().describe()[0], [*self.entities] if self.entities else [])

    def handle(self, event: Event, context: LaunchContext) -> SomeEntities | None:
        """Return the entities."""
        super().handle(event, context)
        return self.entities
