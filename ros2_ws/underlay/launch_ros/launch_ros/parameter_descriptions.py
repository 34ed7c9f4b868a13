"""Parameters for nodes: single values, files, and dictionaries of them."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, SomeSubstitutionsType, Substitution
from launch.frontend import parse_substitution
from launch.substitutions import SubstitutionFailure
from launch.unsupported import refuse_names
from launch.utilities import (
    coerce_to_type,
    is_substitution,
    is_uniform,
    perform,
    perform_typed,
)

__getattr__ = refuse_names(__name__, {"Parameter"})

Value = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]


class ParameterValue:
    """A value with a type: bool, int, float, str, a list of one, or None for what YAML says."""

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Value:
        """Return the value; ValueError if its text does not spell the type."""
        if is_substitution(self.value):
            return coerce_to_type(perform(context, self.value), self.value_type)
        if self.value_type is not None and not _is_a(self.value, self.value_type):
            raise TypeError(f"{self.value!r} is not of the type {self.value_type}")
        return self.value


class ParameterFile:
    """A YAML file, in which `allow_substs` makes `$(var name)` and the like work."""

    def __init__(
        self,
        param_file: SomeSubstitutionsType | os.PathLike,
        *,
        allow_substs: bool | SomeSubstitutionsType = False,
    ) -> None:
        self.param_file = param_file
        self.allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path, with substitutions that of a temporary copy.

        Raises SubstitutionFailure if a substitution in the file has no value or the result is not
        YAML, and OSError if the file cannot be read.
        """
        path = self.param_file
        path = Path(path if isinstance(path, os.PathLike) else perform(context, path))
        if not perform_typed(context, self.allow_substs, bool):
            return path
        try:
            text = perform(context, parse_substitution(path.read_text(encoding="utf-8")))
            yaml.safe_load(text)
        except (ValueError, SubstitutionFailure, yaml.YAMLError) as error:
            raise SubstitutionFailure(f"parameter file {path}: {error}") from error
        return write_parameters(text)


class _Dumper(yaml.SafeDumper):
    """Quotes every text, because rcl takes some bare words, such as y, for booleans."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def to_yaml(value: Any) -> str:
    """Return a value in one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf"))
    return text.strip().removesuffix("...").strip()


def write_parameters(text: str) -> Path:
    """Write a parameter file that lives as long as this process."""
    descriptor, path = tempfile.mkstemp(".yaml", "launch_params_", _scratch_directory())
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def evaluate_parameters(context: LaunchContext, parameters: Mapping[Any, Any]) -> dict[str, Value]:
    """Return parameters with their substitutions performed and nested names joined by dots.

    The text of a substitution is read as YAML, so `$(var x)` may become a number or a list.
    Raises TypeError naming the parameter for a value that is no ROS parameter.
    """
    evaluated: dict[str, Value] = {}
    for key, value in parameters.items():
        name = perform(context, key)
        if isinstance(value, Mapping):
            nested = evaluate_parameters(context, value)
            evaluated |= {f"{name}.{inner}": item for inner, item in nested.items()}
            continue
        try:
            evaluated[name] = _evaluate(context, value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"parameter '{name}': {error} (ParameterValue(..., value_type=str) keeps text)"
            ) from error
    return evaluated


def _evaluate(context: LaunchContext, value: Any) -> Value:
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if is_substitution(value):
        return coerce_to_type(perform(context, value))
    if isinstance(value, list | tuple):
        items = [_evaluate(context, item) if _is_text(item) else item for item in value]
        if {type(item) for item in items} == {int, float}:
            items = [float(item) for item in items]
        value = items
    if not is_uniform(value) or value == []:
        raise TypeError(
            f"{value!r} is neither a bool, int, float or str nor a filled list of one of them"
        )
    return value


def _is_text(item: Any) -> bool:
    return isinstance(item, Substitution) or (
        isinstance(item, Sequence) and not isinstance(item, str) and is_substitution(item)
    )


def _is_a(value: Any, value_type: Any) -> bool:
    try:
        return coerce_to_type(yaml.safe_dump(value), value_type) == value
    except ValueError:
        return False


@functools.cache
def _scratch_directory() -> str:
    directory = tempfile.TemporaryDirectory(prefix="launch_params_")
    atexit.register(directory.cleanup)
    return directory.name
