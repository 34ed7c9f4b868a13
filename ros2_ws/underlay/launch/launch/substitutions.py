"""The substitutions. Those without a value here raise SubstitutionFailure when performed.

An expression raises whatever Python raises.
"""

from __future__ import annotations

import importlib
import math
import os
import shutil
from collections.abc import Iterable
from typing import Any

from .launch_context import LaunchContext
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .unsupported import refuse_names
from .utilities import (
    coerce_to_type,
    describe,
    is_substitution,
    normalize_to_list_of_substitutions,
    perform,
)

__getattr__ = refuse_names(__name__, {"AnonName", "Command", "FileContent", "LaunchLogDir"})
__all__ = [
    "AllSubstitution",
    "AndSubstitution",
    "AnySubstitution",
    "EnvironmentVariable",
    "EqualsSubstitution",
    "FindExecutable",
    "IfElseSubstitution",
    "LaunchConfiguration",
    "LocalSubstitution",
    "NotEqualsSubstitution",
    "NotSubstitution",
    "OrSubstitution",
    "PathJoinSubstitution",
    "PythonExpression",
    "SubstitutionFailure",
    "TextSubstitution",
    "ThisLaunchFile",
    "ThisLaunchFileDir",
]

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class SubstitutionFailure(RuntimeError):
    """A substitution has no value here."""


class TextSubstitution(Substitution):
    """A fixed text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"TextSubstitution: text must be a str, got {text!r}")
        self.text = text

    def describe(self) -> str:
        return f"'{self.text}'"

    def perform(self, context: LaunchContext) -> str:
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch configuration, which is how launch arguments are read."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = normalize_to_list_of_substitutions(variable_name)
        self._default = None if default is None else _as_texts(default)

    def perform(self, context: LaunchContext) -> str:
        name = perform(context, self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self._default is None:
            raise SubstitutionFailure(
                f"launch configuration '{name}' is not set: declare it with DeclareLaunchArgument, "
                "or give LaunchConfiguration a default"
            )
        return perform(context, self._default)


class EnvironmentVariable(Substitution):
    """The value of an environment variable."""

    def __init__(
        self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None
    ) -> None:
        self.name = normalize_to_list_of_substitutions(name)
        self._default = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )

    def perform(self, context: LaunchContext) -> str:
        # the default is performed first: a wrong one fails even if it is not needed
        default = None if self._default is None else perform(context, self._default)
        name = perform(context, self.name)
        value = context.environment.get(name, default)
        if value is None:
            raise SubstitutionFailure(f"environment variable '{name}' is not set")
        return value


class PathJoinSubstitution(Substitution):
    """Parts of a path, joined."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self.substitutions = normalize_to_list_of_substitutions(substitutions)

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*(part.perform(context) for part in self.substitutions))


class PythonExpression(Substitution):
    """The value of a Python expression, as text; the names of `math` are there unprefixed."""

    def __init__(
        self, expression: SomeSubstitutionsType, python_modules: Iterable[str] = ("math",)
    ) -> None:
        self.expression = normalize_to_list_of_substitutions(expression)
        self.python_modules = normalize_to_list_of_substitutions(python_modules)

    def perform(self, context: LaunchContext) -> str:
        names: dict[str, Any] = {}
        for part in self.python_modules:
            module = importlib.import_module(part.perform(context))
            names |= vars(module) if module is math else {}
            names[module.__name__] = module
        return str(eval(perform(context, self.expression), {}, names))


class LocalSubstitution(Substitution):
    """An expression on the context's locals, such as `event.returncode`."""

    def __init__(self, expression: str, description: str | None = None) -> None:
        if not isinstance(expression, str):
            raise TypeError(f"LocalSubstitution: expression must be a str, got {expression!r}")
        self.expression = expression
        self.description = description

    def describe(self) -> str:
        return f"LocalSubstitution({self.description or self.expression})"

    def perform(self, context: LaunchContext) -> str:
        return eval(f"context.locals.{self.expression}", {}, {"context": context})


class ThisLaunchFile(Substitution):
    """The path of the launch file that was included last."""

    def perform(self, context: LaunchContext) -> str:
        return _local(context, "current_launch_file_path")


class ThisLaunchFileDir(Substitution):
    """The folder of the launch file that was included last."""

    def perform(self, context: LaunchContext) -> str:
        return _local(context, "current_launch_file_directory")


class FindExecutable(Substitution):
    """The path of an executable on the PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        self.name = normalize_to_list_of_substitutions(name)

    def perform(self, context: LaunchContext) -> str:
        name = perform(context, self.name)
        path = shutil.which(name)
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' is not on the PATH")
        return path


class EqualsSubstitution(Substitution):
    """`true` if both sides are equal as booleans, else as numbers, else as text."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left = normalize_to_list_of_substitutions(_comparable(left))
        self.right = normalize_to_list_of_substitutions(_comparable(right))

    def perform(self, context: LaunchContext) -> str:
        return _spell(self._equal(perform(context, self.left), perform(context, self.right)))

    def _equal(self, left: str, right: str) -> bool:
        if left.lower() in _TRUTHS and right.lower() in _TRUTHS:
            return _TRUTHS[left.lower()] == _TRUTHS[right.lower()]
        try:
            return math.isclose(float(left), float(right))
        except ValueError:
            return left == right


class NotEqualsSubstitution(EqualsSubstitution):
    """The opposite of EqualsSubstitution."""

    def _equal(self, left: str, right: str) -> bool:
        return not super()._equal(left, right)


class AllSubstitution(Substitution):
    """`true` if every argument is."""

    _combine = staticmethod(all)

    def __init__(self, *args: SomeSubstitutionsType) -> None:
        self.args = [normalize_to_list_of_substitutions(arg) for arg in args]

    def perform(self, context: LaunchContext) -> str:
        return _spell(self._combine([_truth(context, arg) for arg in self.args]))


class AnySubstitution(AllSubstitution):
    """`true` if at least one argument is."""

    _combine = staticmethod(any)


class AndSubstitution(AllSubstitution):
    """`true` if both sides are."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """`true` if at least one side is."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class NotSubstitution(Substitution):
    """`true` if the value is false."""

    def __init__(self, value: SomeSubstitutionsType) -> None:
        self.value = normalize_to_list_of_substitutions(value)

    def perform(self, context: LaunchContext) -> str:
        return _spell(not _truth(context, self.value))


class IfElseSubstitution(Substitution):
    """One of two texts, by a condition."""

    def __init__(
        self,
        condition: SomeSubstitutionsType,
        if_value: SomeSubstitutionsType = "",
        else_value: SomeSubstitutionsType = "",
    ) -> None:
        if if_value == else_value == "":
            raise RuntimeError("IfElseSubstitution needs if_value, else_value or both")
        self.condition = normalize_to_list_of_substitutions(condition)
        self.if_value = normalize_to_list_of_substitutions(if_value)
        self.else_value = normalize_to_list_of_substitutions(else_value)

    def perform(self, context: LaunchContext) -> str:
        chosen = self.if_value if _truth(context, self.condition) else self.else_value
        return perform(context, chosen)


def _as_texts(value: Any) -> list[Substitution]:
    """Return text, numbers and the like, alone or in a list, as substitutions."""
    items = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    texts = [item if isinstance(item, str | Substitution) else str(item) for item in items]
    return normalize_to_list_of_substitutions(texts)


def _comparable(value: Any) -> SomeSubstitutionsType:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _spell(value)
    return value if is_substitution(value) else str(value)


def _truth(context: LaunchContext, value: SomeSubstitutionsType) -> bool:
    try:
        return coerce_to_type(perform(context, value), bool)
    except ValueError as error:
        raise SubstitutionFailure(f"{describe(value)}: {error}") from error


def _spell(value: bool) -> str:
    return str(value).lower()


def _local(context: LaunchContext, name: str) -> str:
    try:
        return context.get_locals_as_dict()[name]
    except KeyError:
        raise SubstitutionFailure(f"there is no {name} outside of a launch file") from None
