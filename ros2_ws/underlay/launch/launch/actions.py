"""The actions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import events
from .action import Action
from .event import Event
from .event_handler import BaseEventHandler, as_entities
from .event_handlers import OnEvent, OnShutdown
from .events import TimerEvent
from .events.process import ProcessExited
from .execute_process import ExecuteProcess
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .launch_description_sources import AnyLaunchDescriptionSource, LaunchDescriptionSource
from .logging import get_logger
from .some_substitutions_type import SomeSubstitutionsType
from .unsupported import refuse_names
from .utilities import normalize_to_list_of_substitutions, perform, perform_typed

__getattr__ = refuse_names(
    __name__,
    {
        "AppendEnvironmentVariable",
        "ExecuteLocal",
        "OpaqueCoroutine",
        "PopEnvironment",
        "PopLaunchConfigurations",
        "PushEnvironment",
        "PushLaunchConfigurations",
        "ReplaceEnvironmentVariables",
        "ResetEnvironment",
        "ResetLaunchConfigurations",
    },
)
__all__ = ["ExecuteProcess"]

Entities = Iterable[LaunchDescriptionEntity] | None


class DeclareLaunchArgument(Action):
    """An argument of the launch file: a launch configuration that callers may set."""

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if choices is not None and not choices:
            raise RuntimeError(f"launch argument '{name}': choices must not be empty")
        if choices and isinstance(default_value, str) and default_value not in choices:
            raise RuntimeError(
                f"launch argument '{name}': the default '{default_value}' is none of its choices: "
                f"{', '.join(choices)}"
            )
        self.name = name
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        self.description = description or "no description given"
        self.choices = choices

    def execute(self, context: LaunchContext) -> None:
        """Set the default if nothing is set; RuntimeError on a missing or a wrong value."""
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(
                    f"launch argument '{self.name}' ({self.description}) is required: "
                    f"give {self.name}:=VALUE"
                )
            context.launch_configurations[self.name] = perform(context, self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(
                f"launch argument '{self.name}' must be one of {', '.join(self.choices)}, "
                f"got '{value}'"
            )


class _Set(Action):
    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = normalize_to_list_of_substitutions(value)


class _Unset(Action):
    def __init__(self, name: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)


class SetLaunchConfiguration(_Set):
    """Set a launch configuration."""

    def execute(self, context: LaunchContext) -> None:
        value = perform(context, self.value)
        context.launch_configurations[perform(context, self.name)] = value


class UnsetLaunchConfiguration(_Unset):
    """Remove a launch configuration, if it is set."""

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations.pop(perform(context, self.name), None)


class SetEnvironmentVariable(_Set):
    """Set an environment variable for this process and for those started later."""

    def execute(self, context: LaunchContext) -> None:
        context.environment[perform(context, self.name)] = perform(context, self.value)


class UnsetEnvironmentVariable(_Unset):
    """Remove an environment variable, if it is set."""

    def execute(self, context: LaunchContext) -> None:
        context.environment.pop(perform(context, self.name), None)


class GroupAction(Action):
    """Actions that share a condition and, if scoped, keep their settings to themselves."""

    def __init__(
        self,
        actions: Iterable[Action],
        *,
        scoped: bool = True,
        launch_configurations: Mapping[Any, SomeSubstitutionsType] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        settings = (launch_configurations or {}).items()
        self._entities = [SetLaunchConfiguration(name, value) for name, value in settings]
        self._entities += actions
        if scoped:
            self._entities = [
                OpaqueFunction(function=LaunchContext._push_scope),
                *self._entities,
                OpaqueFunction(function=LaunchContext._pop_scope),
            ]

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return self._entities

    def execute(self, context: LaunchContext) -> Entities:
        return self._entities


class IncludeLaunchDescription(Action):
    """Visit another launch description.

    Its arguments are launch configurations like any other: they stay set for whatever comes
    after, so put an include in a GroupAction to keep them in.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self.launch_description_source = launch_description_source
        self.launch_arguments = tuple(launch_arguments or ())

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the description if it can be told before launching."""
        found = self.launch_description_source.try_get_launch_description_without_context()
        return [] if found is None else [found]

    def execute(self, context: LaunchContext) -> Entities:
        """Load the description, and set its arguments; RuntimeError if one is missing."""
        description = self.launch_description_source.get_launch_description(context)
        path = Path(os.path.abspath(self.launch_description_source.location))
        directory = path.parent if path.exists() else self.launch_description_source.location
        context.extend_locals(
            {
                "current_launch_file_path": str(path),
                "current_launch_file_directory": str(directory),
            }
        )
        self._check_required(context, description)
        settings = [SetLaunchConfiguration(name, value) for name, value in self.launch_arguments]
        return [*settings, description]

    def _check_required(self, context: LaunchContext, description: LaunchDescription) -> None:
        for argument, conditional, includes in description.find_launch_arguments():
            given = {
                perform(context, name)
                for include in (self, *includes)
                for name, _ in include.launch_arguments
            }
            if not conditional and argument.default_value is None and argument.name not in given:
                raise RuntimeError(
                    f"{self.launch_description_source.location} requires the launch argument "
                    f"'{argument.name}' ({argument.description})"
                )


class OpaqueFunction(Action):
    """Call `function(context, *args, **kwargs)`, and visit the entities that it returns."""

    def __init__(
        self,
        *,
        function: Callable[..., Entities],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **left_over_kwargs,
    ) -> None:
        super().__init__(**left_over_kwargs)
        if not callable(function):
            raise TypeError(f"OpaqueFunction: function={function!r} cannot be called")
        self._function = function
        self._args = tuple(args or ())
        self._kwargs = dict(kwargs or {})

    def execute(self, context: LaunchContext) -> Entities:
        return self._function(context, *self._args, **self._kwargs)


class LogInfo(Action):
    """Log a message."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.msg = normalize_to_list_of_substitutions(msg)

    def execute(self, context: LaunchContext) -> None:
        get_logger("launch.user").info(perform(context, self.msg))


class RegisterEventHandler(Action):
    """Answer events with a handler from now on."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.register_event_handler(self.event_handler)

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Sequence[LaunchDescriptionEntity]]]:
        """Return what the handler is known to give."""
        return [self.event_handler.describe()]


class UnregisterEventHandler(Action):
    """Stop answering events with a handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.unregister_event_handler(self.event_handler)


class EmitEvent(Action):
    """Emit an event."""

    def __init__(self, *, event: Event, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, Event):
            raise TypeError(f"EmitEvent: event={event!r} is not a launch Event")
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        context.emit_event_sync(self.event)


class Shutdown(EmitEvent):
    """End the launch; `on_exit=Shutdown()` makes a process a required one."""

    def __init__(self, *, reason: str = "reason not given", **kwargs) -> None:
        super().__init__(event=events.Shutdown(reason=reason), **kwargs)

    def execute(self, context: LaunchContext) -> None:
        """Emit the event, and say so if a process's end is the cause."""
        cause = context.get_locals_as_dict().get("event")
        if isinstance(cause, ProcessExited):
            get_logger().info(f"{cause.process_name} is required and ended: shutting down")
        super().execute(context)


class TimerAction(Action):
    """Visit actions after a period (s), unless the launch ends or cancel() comes first."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.actions = as_entities(actions)
        self._cancel_on_shutdown = cancel_on_shutdown
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Sequence[LaunchDescriptionEntity]]]:
        """Return the actions."""
        return [(f"after {self.period} s", self.actions)]

    def cancel(self) -> None:
        """Forget the actions; does nothing once the period is over."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def execute(self, context: LaunchContext) -> None:
        if self._cancelled:
            return
        lent = context.get_locals_as_dict()

        def fire(event: TimerEvent, context: LaunchContext) -> Entities:
            context.extend_locals(lent)
            return self.actions

        context.register_event_handler(
            OnEvent(TimerEvent, lambda e: e.timer_action is self, fire, handle_once=True)
        )
        if perform_typed(context, self._cancel_on_shutdown, bool):
            context.register_event_handler(
                OnShutdown(on_shutdown=lambda event, context: self.cancel())
            )
        period_s = float(perform_typed(context, self.period, float))
        self._task = context.asyncio_loop.create_task(self._wait(context, period_s))

    async def _wait(self, context: LaunchContext, period_s: float) -> None:
        await asyncio.sleep(period_s)
        context.emit_event_sync(TimerEvent(timer_action=self))

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        return self._task
