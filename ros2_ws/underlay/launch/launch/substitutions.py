"""The substitutions."""

from __future__ import annotations

import importlib
import math
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from .launch_context import LaunchContext
from .logging import get_logger
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

__getattr__ = refuse_names(__name__, {"AnonName", "FileContent", "LaunchLogDir"})


class SubstitutionFailure(RuntimeError):
    """A substitution has no value here."""


class TextSubstitution(Substitution):
    """A fixed text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"TextSubstitution: text must be a str, got {text!r}")
        self.text = text

    def describe(self) -> str:
        """Return the text in quotes."""
        return f"'{self.text}'"

    def perform(self, context: LaunchContext) -> str:
        """Return the text."""
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch configuration, which is how launch arguments are read."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = normalize_to_list_of_substitutions(variable_name)
        self._default = None if default is None else _texts(default)

    def describe(self) -> str:
        """Return the configuration's name."""
        return f"LaunchConfig({describe(self.variable_name)})"

    def perform(self, context: LaunchContext) -> str:
        """Return the value, else the default; SubstitutionFailure without either."""
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
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )

    def describe(self) -> str:
        """Return the variable's name."""
        return f"EnvVar({describe(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        """Return the value, else the default; SubstitutionFailure without either."""
        name = perform(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is None:
            raise SubstitutionFailure(f"environment variable '{name}' is not set")
        return perform(context, self.default_value)


class PathJoinSubstitution(Substitution):
    """Parts of a path, joined."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self.substitutions = normalize_to_list_of_substitutions(substitutions)

    def describe(self) -> str:
        """Return the parts."""
        return f"PathJoin({describe(self.substitutions)})"

    def perform(self, context: LaunchContext) -> str:
        """Return the path."""
        return os.path.join(*(part.perform(context) for part in self.substitutions))


class PythonExpression(Substitution):
    """The value of a Python expression, as text; the names of `math` are there unprefixed."""

    def __init__(
        self, expression: SomeSubstitutionsType, python_modules: Iterable[str] = ("math",)
    ) -> None:
        self.expression = normalize_to_list_of_substitutions(expression)
        self.python_modules = normalize_to_list_of_substitutions(python_modules)

    def describe(self) -> str:
        """Return the expression."""
        return f"PythonExpr({describe(self.expression)})"

    def perform(self, context: LaunchContext) -> str:
        """Evaluate the expression."""
        names: dict[str, Any] = {}
        for part in self.python_modules:
            module = importlib.import_module(part.perform(context))
            names |= vars(module) if module is math else {}
            names[module.__name__] = module
        expression = perform(context, self.expression)
        try:
            return str(eval(expression, {}, names))
        except Exception as error:
            raise SubstitutionFailure(
                f"PythonExpression {expression!r}: {type(error).__name__}: {error}"
            ) from error


class LocalSubstitution(Substitution):
    """An expression on the context's locals, such as `event.returncode`."""

    def __init__(self, expression: str, description: str | None = None) -> None:
        self.expression = expression
        self.description = description

    def describe(self) -> str:
        """Return the description, else the expression."""
        return f"LocalVar('{self.description or self.expression}')"

    def perform(self, context: LaunchContext) -> str:
        """Evaluate the expression."""
        return eval(f"context.locals.{self.expression}", {}, {"context": context})


class ThisLaunchFile(Substitution):
    """The path of the launch file that was included last."""

    def perform(self, context: LaunchContext) -> str:
        """Return the path; SubstitutionFailure outside of a launch file."""
        return _current(context, "current_launch_file_path", self)


class ThisLaunchFileDir(Substitution):
    """The folder of the launch file that was included last."""

    def perform(self, context: LaunchContext) -> str:
        """Return the folder; SubstitutionFailure outside of a launch file."""
        return _current(context, "current_launch_file_directory", self)


class FindExecutable(Substitution):
    """The path of an executable on the PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        self.name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        """Return the executable's name."""
        return f"FindExec({describe(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        """Return the path; SubstitutionFailure if there is none."""
        name = perform(context, self.name)
        path = shutil.which(name)
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' is not on the PATH")
        return path


class Command(Substitution):
    """The standard output of a command; `on_stderr` is fail, ignore, warn or capture."""

    def __init__(
        self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = "fail"
    ) -> None:
        self.command = normalize_to_list_of_substitutions(command)
        self.on_stderr = normalize_to_list_of_substitutions(on_stderr)

    def describe(self) -> str:
        """Return the command."""
        return f"Command({describe(self.command)})"

    def perform(self, context: LaunchContext) -> str:
        """Run the command; SubstitutionFailure if it fails, or writes errors when told so."""
        command = perform(context, self.command)
        on_stderr = perform(context, self.on_stderr)
        if on_stderr not in ("fail", "ignore", "warn", "capture"):
            raise SubstitutionFailure(
                f"Command: on_stderr={on_stderr!r} is none of fail, ignore, warn, capture"
            )
        stderr = subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE
        try:
            result = subprocess.run(
                shlex.split(command), stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
            )
        except OSError as error:
            raise SubstitutionFailure(f"Command {command!r}: {error}") from error
        if result.returncode or (result.stderr and on_stderr == "fail"):
            raise SubstitutionFailure(
                f"Command {command!r} ended with code {result.returncode} and the errors "
                f"{result.stderr!r}"
            )
        if result.stderr and on_stderr == "warn":
            get_logger().warning(f"Command {command!r} wrote errors: {result.stderr}")
        return result.stdout


class EqualsSubstitution(Substitution):
    """`true` if both sides are equal as booleans, else as numbers, else as text."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left = normalize_to_list_of_substitutions(_comparable(left))
        self.right = normalize_to_list_of_substitutions(_comparable(right))

    def describe(self) -> str:
        """Return both sides."""
        return f"{type(self).__name__}({describe(self.left)}, {describe(self.right)})"

    def perform(self, context: LaunchContext) -> str:
        """Compare."""
        left, right = perform(context, self.left), perform(context, self.right)
        truths = {"true": True, "1": True, "false": False, "0": False}
        if left.lower() in truths and right.lower() in truths:
            return _spell(truths[left.lower()] == truths[right.lower()])
        try:
            return _spell(math.isclose(float(left), float(right)))
        except ValueError:
            return _spell(left == right)


class NotEqualsSubstitution(EqualsSubstitution):
    """The opposite of EqualsSubstitution."""

    def perform(self, context: LaunchContext) -> str:
        """Compare."""
        return _spell(super().perform(context) == "false")


class _Logic(Substitution):
    """`true` or `false` from the truth of every argument."""

    def __init__(self, *args: SomeSubstitutionsType) -> None:
        self.args = [normalize_to_list_of_substitutions(arg) for arg in args]

    def describe(self) -> str:
        """Return the arguments."""
        return f"{type(self).__name__}({', '.join(describe(arg) for arg in self.args)})"

    def _truths(self, context: LaunchContext) -> list[bool]:
        return [_truth(context, arg) for arg in self.args]


class AllSubstitution(_Logic):
    """`true` if every argument is."""

    def perform(self, context: LaunchContext) -> str:
        """Combine."""
        return _spell(all(self._truths(context)))


class AnySubstitution(_Logic):
    """`true` if at least one argument is."""

    def perform(self, context: LaunchContext) -> str:
        """Combine."""
        return _spell(any(self._truths(context)))


class AndSubstitution(AllSubstitution):
    """`true` if both sides are."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """`true` if at least one side is."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class NotSubstitution(_Logic):
    """`true` if the value is false."""

    def __init__(self, value: SomeSubstitutionsType) -> None:
        super().__init__(value)

    def perform(self, context: LaunchContext) -> str:
        """Negate."""
        return _spell(not self._truths(context)[0])


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

    def describe(self) -> str:
        """Return the condition and both values."""
        parts = (self.condition, self.if_value, self.else_value)
        return f"IfElseSubstitution({', '.join(describe(part) for part in parts)})"

    def perform(self, context: LaunchContext) -> str:
        """Choose."""
        return perform(
            context, self.if_value if _truth(context, self.condition) else self.else_value
        )


def _texts(value: Any) -> SomeSubstitutionsType:
    """Turn numbers and the like into text, alone or in a list, and leave the rest."""
    if isinstance(value, str | Substitution):
        return value
    items = value if isinstance(value, Iterable) else (value,)
    return [item if isinstance(item, str | Substitution) else str(item) for item in items]


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


def _current(context: LaunchContext, key: str, substitution: Substitution) -> str:
    try:
        return context.get_locals_as_dict()[key]
    except KeyError:
        raise SubstitutionFailure(
            f"{type(substitution).__name__} has no value outside of an included launch file"
        ) from None
