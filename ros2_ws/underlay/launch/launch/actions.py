"""The actions."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import events
from .action import Action
from .event import Event
from .event_handler import BaseEventHandler
from .event_handlers import OnShutdown
from .events import TimerEvent
from .events.process import ProcessExited
from .execute_process import ExecuteProcess
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .launch_description_sources import AnyLaunchDescriptionSource, LaunchDescriptionSource
from .logging import get_logger
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .unsupported import UnsupportedFeatureError, refuse_names
from .utilities import (
    normalize_to_list_of_substitutions,
    normalize_typed,
    perform,
    perform_typed,
)

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
__all__ = [
    "DeclareLaunchArgument",
    "EmitEvent",
    "ExecuteProcess",
    "GroupAction",
    "IncludeLaunchDescription",
    "LogInfo",
    "OpaqueFunction",
    "RegisterEventHandler",
    "SetEnvironmentVariable",
    "SetLaunchConfiguration",
    "Shutdown",
    "TimerAction",
    "UnregisterEventHandler",
    "UnsetEnvironmentVariable",
    "UnsetLaunchConfiguration",
]

Entities = Iterable[LaunchDescriptionEntity] | None


def _described(description: str | None, choices: Sequence[str] | None) -> str:
    """As ROS 2's launch has it: what is there to choose is a part of it."""
    if choices is None:
        return "no description given" if description is None else description
    if description is None:
        return f"One of: {choices}"
    return f"{description}{'' if description.endswith('.') else '.'} Valid choices are: {choices}"


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
        self.name = name
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        if choices is not None and len(choices) == 0:
            raise RuntimeError(f"launch argument '{name}': choices must not be empty")
        is_known = default_value is not None and not isinstance(default_value, Substitution | list)
        if choices and is_known and default_value not in choices:
            raise RuntimeError(
                f"launch argument '{name}': the default {default_value!r} is none of its choices: "
                f"{', '.join(map(str, choices))}"
            )
        self.description = _described(description, choices)
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
            known = ", ".join(map(str, self.choices))
            raise RuntimeError(
                f"launch argument '{self.name}' must be one of {known}, got '{value}'"
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
    """Actions that share a condition and, if scoped, keep their settings to themselves.

    The actions are looked at only when they are needed: TypeError then if they are not a list.
    """

    def __init__(
        self,
        actions: Iterable[Action],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: Mapping[Any, SomeSubstitutionsType] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if scoped and not forwarding:
            raise UnsupportedFeatureError("GroupAction(forwarding=False)")
        self._actions = actions
        self._scoped = scoped
        self._launch_configurations = launch_configurations or {}
        self._entities: list[LaunchDescriptionEntity] | None = None

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the actions between those that open and close their scope."""
        if self._entities is None:
            settings = self._launch_configurations.items()
            opening = [OpaqueFunction(function=LaunchContext._push_scope)] if self._scoped else []
            closing = [OpaqueFunction(function=LaunchContext._pop_scope)] if self._scoped else []
            self._entities = [
                *opening,
                *(SetLaunchConfiguration(name, value) for name, value in settings),
                *self._actions,
                *closing,
            ]
        return self._entities

    def execute(self, context: LaunchContext) -> Entities:
        return self.get_sub_entities()


class IncludeLaunchDescription(Action):
    """Visit another launch description.

    Its arguments are launch configurations like any other: they stay set for whatever comes
    after, so put an include in a GroupAction to keep them in.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]]
        | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self.launch_description_source = launch_description_source
        self.launch_arguments = () if launch_arguments is None else tuple(launch_arguments)

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
        # As in ROS 2, what is given to one include within counts for those looked at later, too.
        given = {perform(context, name) for name, _ in self.launch_arguments}
        for argument, conditional, includes in description.find_launch_arguments():
            if conditional or argument.default_value is not None:
                continue
            given.update(*(include._argument_names() for include in includes))
            if argument.name not in given:
                raise RuntimeError(
                    f"{self.launch_description_source.location} requires the launch argument "
                    f"'{argument.name}' ({argument.description})"
                )

    def _argument_names(self) -> list[str]:
        """Return the names of the arguments given; TypeError if that takes a running launch."""
        try:
            return [perform(LaunchContext(), name) for name, _ in self.launch_arguments]
        except Exception as error:
            raise TypeError(
                f"the names of the launch arguments for {self.launch_description_source.location} "
                f"are not known before launching: {error}"
            ) from error


class OpaqueFunction(Action):
    """Call `function(context, *args, **kwargs)`, and visit the list of entities that it returns."""

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
        if not isinstance(args, Iterable | None):
            raise TypeError(f"OpaqueFunction: args={args!r} is not a list")
        if not isinstance(kwargs, dict | None):
            raise TypeError(f"OpaqueFunction: kwargs={kwargs!r} is not a dict")
        self._function = function
        self._args = () if args is None else args
        self._kwargs = kwargs or {}

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
        when, entities = self.event_handler.describe()
        flat: list[LaunchDescriptionEntity] = []
        for entity in entities:
            flat += [entity] if isinstance(entity, LaunchDescriptionEntity) else entity
        return [(when, flat)] if entities else []


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
            raise RuntimeError(f"EmitEvent: event={event!r} is not a launch Event")
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
    """Visit actions after a period (s), unless the launch ends or cancel() comes first.

    A substitution of the period is performed once everything that is visited with this action was
    visited: what a scoped group sets is gone by then.
    """

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(period, float | Substitution | Iterable):
            raise TypeError(
                f"TimerAction: period must be a float or a substitution, got {period!r}"
            )
        if not isinstance(actions, Iterable):
            raise TypeError(f"TimerAction: actions must be a list, got {actions!r}")
        if isinstance(period, str):
            warnings.warn(f"TimerAction: period={period!r} should be a float", stacklevel=2)
            period = float(period)
        self.period = normalize_typed(period, float)
        self.actions = actions
        self._cancel_on_shutdown = normalize_typed(cancel_on_shutdown, bool)
        self._is_cancelled = False
        self._cancelled: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._locals: dict[str, Any] = {}

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return the actions."""
        return [(f"after {self.period} s", self.actions)]

    def cancel(self) -> None:
        """Forget the actions; does nothing once the period is over."""
        self._is_cancelled = True
        if self._cancelled is not None and not self._cancelled.done():
            self._cancelled.set_result(None)

    def execute(self, context: LaunchContext) -> None:
        """Start the timer; RuntimeError if it runs: ROS 2's launch would never end then."""
        if self._is_cancelled:
            return
        if self._task is not None and not self._task.done():
            raise RuntimeError("TimerAction: it was visited again before its period was over")
        self._locals = dict(context.get_locals_as_dict())
        self._cancelled = context.asyncio_loop.create_future()
        self._task = context.asyncio_loop.create_task(self._wait(context, self._cancelled))
        if perform_typed(context, self._cancel_on_shutdown, bool):
            context.register_event_handler(OnShutdown(on_shutdown=lambda *_: self.cancel()))

    def fire(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        """Return the actions, whose locals are those that were when the timer was started."""
        context.extend_locals(self._locals)
        return self.actions

    async def _wait(self, context: LaunchContext, cancelled: asyncio.Future[None]) -> None:
        period_s = perform_typed(context, self.period, float)
        await asyncio.wait([cancelled], timeout=period_s)
        if not cancelled.done():
            context.emit_event_sync(TimerEvent(timer_action=self))

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        """Return what ends with the period."""
        return self._task
