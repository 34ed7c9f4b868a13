"""Handlers for the common events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .action import Action
from .event import Event
from .event_handler import BaseEventHandler, SomeEntities, as_entities
from .events import Shutdown
from .events.process import ProcessExited, ProcessIO, ProcessStarted
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .unsupported import refuse_names

__getattr__ = refuse_names(__name__, {"OnExecutionComplete", "OnIncludeLaunchDescription"})

Answer = SomeEntities | Callable[[Any, LaunchContext], SomeEntities | None]


class OnEvent(BaseEventHandler):
    """Answers events of one class with entities, or with what a function gives."""

    def __init__(
        self, event_class: type[Event], matches: Callable[[Any], bool], answer: Answer, **kwargs
    ) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, event_class) and matches(event), **kwargs
        )
        self._call = answer if callable(answer) else None
        self._entities = [] if callable(answer) else as_entities(answer)

    def describe(self) -> tuple[str, Sequence[LaunchDescriptionEntity]]:
        """Return when the handler acts, and the entities that it is known to give."""
        return (super().describe()[0], self._entities)

    def handle(self, event: Event, context: LaunchContext) -> SomeEntities | None:
        """Return the entities, or what the function gives."""
        super().handle(event, context)
        return self._call(event, context) if self._call else self._entities


Target = Action | Callable[[Any], bool] | None


class _OnProcessEvent(OnEvent):
    def __init__(
        self, event_class: type[Event], target_action: Target, answer: Answer, **kwargs
    ) -> None:
        from .actions import ExecuteProcess

        if target_action is None:
            matches: Callable[[Any], bool] = lambda event: True  # noqa: E731
        elif isinstance(target_action, ExecuteProcess):
            matches = lambda event: event.action is target_action  # noqa: E731
        elif callable(target_action):
            matches = lambda event: target_action(event.action)  # noqa: E731
        else:
            raise TypeError(
                f"{type(self).__name__}: target_action must be a process action or a function of "
                f"one, got {target_action!r}"
            )
        super().__init__(event_class, matches, answer, **kwargs)


class OnProcessStart(_OnProcessEvent):
    """Answers the start of a process."""

    def __init__(self, *, target_action: Target = None, on_start: Answer, **kwargs) -> None:
        super().__init__(ProcessStarted, target_action, on_start, **kwargs)


class OnProcessExit(_OnProcessEvent):
    """Answers the end of a process."""

    def __init__(self, *, target_action: Target = None, on_exit: Answer, **kwargs) -> None:
        super().__init__(ProcessExited, target_action, on_exit, **kwargs)


class OnProcessIO(_OnProcessEvent):
    """Answers output of a process: functions of the event."""

    def __init__(
        self,
        *,
        target_action: Target = None,
        on_stdin: Callable[[ProcessIO], SomeEntities | None] | None = None,
        on_stdout: Callable[[ProcessIO], SomeEntities | None] | None = None,
        on_stderr: Callable[[ProcessIO], SomeEntities | None] | None = None,
        **kwargs,
    ) -> None:
        def answer(event: ProcessIO, _: LaunchContext) -> SomeEntities | None:
            call = on_stdout if event.from_stdout else on_stderr
            return call(event) if call else None

        super().__init__(ProcessIO, target_action, answer, **kwargs)


class OnShutdown(OnEvent):
    """Answers the request to end the launch."""

    def __init__(self, *, on_shutdown: Answer, **kwargs) -> None:
        super().__init__(Shutdown, lambda event: True, on_shutdown, **kwargs)
