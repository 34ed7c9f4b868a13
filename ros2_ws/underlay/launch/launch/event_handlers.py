"""Handlers for the common events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .action import Action
from .event import Event
from .event_handler import BaseEventHandler, SomeEntities
from .events import ExecutionComplete, Shutdown
from .events.process import ProcessExited, ProcessIO, ProcessStarted
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .unsupported import refuse_names

__getattr__ = refuse_names(__name__, {"OnIncludeLaunchDescription", "event_named"})
__all__ = ["OnExecutionComplete", "OnProcessExit", "OnProcessIO", "OnProcessStart", "OnShutdown"]

Answer = SomeEntities | None | Callable[[Any, LaunchContext], SomeEntities | None]


class OnEvent(BaseEventHandler):
    """Answers events of one class with what a function gives."""

    def __init__(
        self,
        event_class: type[Event],
        answer: Callable[[Any, LaunchContext], SomeEntities | None],
        **kwargs,
    ) -> None:
        super().__init__(matcher=lambda event: isinstance(event, event_class), **kwargs)
        self._answer = answer

    def handle(self, event: Event, context: LaunchContext) -> SomeEntities | None:
        """Return what the function gives."""
        super().handle(event, context)
        return self._answer(event, context)


Target = Action | Callable[[Any], bool] | None


class _OnActionEvent(BaseEventHandler):
    """Answers an event of an action with entities, or with what a function gives.

    A list is checked at once (TypeError), one entity only when the event comes. An empty list
    raises AttributeError then, which is what ROS 2's launch does: None is how to say nothing.
    """

    def __init__(
        self,
        event_class: type[Event],
        action_class: type[Action],
        target_action: Target,
        answer: Answer,
        **kwargs,
    ) -> None:
        if not isinstance(target_action, action_class | None) and not callable(target_action):
            raise TypeError(
                f"{type(self).__name__}: target_action must be an {action_class.__name__} or a "
                f"function of one, got {target_action!r}"
            )

        def matches(event: Event) -> bool:
            if not isinstance(event, event_class):
                return False
            if callable(target_action):
                return target_action(event.action)
            return target_action is None or target_action is event.action

        super().__init__(matcher=matches, **kwargs)
        self._call = answer if callable(answer) else None
        self._entities = [] if callable(answer) else self._checked(answer)

    def _checked(self, answer: SomeEntities | None) -> list[LaunchDescriptionEntity | None]:
        if not isinstance(answer, Iterable):
            return [answer]
        for entity in answer:
            if not isinstance(entity, LaunchDescriptionEntity):
                raise TypeError(
                    f"{type(self).__name__}: expected launch actions, got {entity!r} "
                    f"({type(entity).__name__})"
                )
        return list(answer)  # of a generator nothing is left: it counts as empty

    def describe(self) -> tuple[str, Sequence[SomeEntities]]:
        """Return when the handler acts, and the entities that it is known to give."""
        self._check()
        return (super().describe()[0], self._entities)

    def handle(self, event: Event, context: LaunchContext) -> SomeEntities | None:
        """Return the entities, or what the function gives."""
        super().handle(event, context)
        self._check()
        return self._entities or self._call(event, context)

    def _check(self) -> None:
        if self._call is None and not self._entities:
            raise AttributeError(
                f"{type(self).__name__} was given an empty list of actions (as by on_exit=[]), "
                "which ROS 2's launch takes for a function that is missing: give None instead"
            )


class OnExecutionComplete(_OnActionEvent):
    """Answers the end of an action, its process or its timer included."""

    def __init__(self, *, target_action: Target = None, on_completion: Answer, **kwargs) -> None:
        super().__init__(ExecutionComplete, Action, target_action, on_completion, **kwargs)


class _OnProcessEvent(_OnActionEvent):
    def __init__(
        self, event_class: type[Event], target_action: Target, answer: Answer, **kwargs
    ) -> None:
        from .actions import ExecuteProcess

        super().__init__(event_class, ExecuteProcess, target_action, answer, **kwargs)


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
            return None if call is None else call(event)

        super().__init__(ProcessIO, target_action, answer, **kwargs)


class OnShutdown(OnEvent):
    """Answers the request to end the launch; entities are looked at only when it comes."""

    def __init__(self, *, on_shutdown: Answer, **kwargs) -> None:
        super().__init__(
            Shutdown, on_shutdown if callable(on_shutdown) else lambda *_: on_shutdown, **kwargs
        )
