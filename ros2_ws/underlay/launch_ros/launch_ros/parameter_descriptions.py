"""Parameters for nodes: single values, files, and dictionaries of them."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, SomeSubstitutionsType, Substitution
from launch.frontend import parse_substitution
from launch.substitutions import SubstitutionFailure
from launch.unsupported import refuse_names
from launch.utilities import (
    is_substitution,
    normalize_to_list_of_substitutions,
    normalize_typed,
    perform,
    perform_substitutions,
    perform_typed,
)

__getattr__ = refuse_names(__name__, {"Parameter"})

_SCALARS = (bool, int, float, str)

Name = tuple[Substitution, ...]


class ParameterValue:
    """A value with a type: bool, int, float, str, a list of one, or None for what YAML says.

    A value that cannot have the type raises TypeError at once.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = normalize_typed(value, value_type)
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Any:
        """Return the value, that of the first call; ValueError if its text is not of the type."""
        self.value = perform_typed(context, self.value, self.value_type)
        return self.value


class ParameterFile:
    """A YAML file, in which `allow_substs` makes `$(var name)` and the like work."""

    def __init__(
        self, param_file: SomeSubstitutionsType | os.PathLike, *, allow_substs: bool = False
    ) -> None:
        if not isinstance(allow_substs, bool):
            raise TypeError(f"ParameterFile: allow_substs must be True or False: {allow_substs!r}")
        if not isinstance(param_file, os.PathLike):
            param_file = normalize_to_list_of_substitutions(param_file)
        self.param_file = param_file
        self.allow_substs = allow_substs
        self._evaluated: Path | None = None

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path, with substitutions that of a temporary copy, made at the first call.

        Raises SubstitutionFailure if a substitution in the file has no value or the result is not
        YAML, ValueError if a substitution is malformed, and OSError if the file cannot be read.
        """
        if self._evaluated is None:
            path = self.param_file
            path = Path(perform_substitutions(context, path) if isinstance(path, list) else path)
            self._evaluated = _substituted(context, path) if self.allow_substs else path
        return self._evaluated


def _substituted(context: LaunchContext, path: Path) -> Path:
    try:
        text = perform(context, parse_substitution(path.read_text(encoding="utf-8")))
        yaml.safe_load(text)
    except ValueError as error:
        raise ValueError(f"parameter file {path}: {error}") from error
    except (SubstitutionFailure, yaml.YAMLError) as error:
        raise SubstitutionFailure(f"parameter file {path}: {error}") from error
    return write_parameters(text)


def write_parameters(parameters: str | Mapping[str, Any]) -> Path:
    """Write a parameter file, given as text or as what it holds; it lives as long as this process.

    Texts stand in it as PyYAML writes them: rcl takes some that are bare, such as y, for booleans.
    """
    if not isinstance(parameters, str):
        parameters = yaml.dump(parameters, default_flow_style=False)
    descriptor, path = tempfile.mkstemp(".yaml", "launch_params_", _scratch_directory())
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(parameters)
    return Path(path)


def normalize_parameters(parameters: Mapping[Any, Any]) -> dict[Name, Any]:
    """Check a dictionary of parameters as far as it is known; nested names are joined by dots.

    Raises TypeError naming the parameter for a value that is no ROS parameter.
    """
    normalized: dict[Name, Any] = {}
    for key, value in parameters.items():
        name = tuple(normalize_to_list_of_substitutions(key))
        if isinstance(value, Mapping):
            (dot,) = normalize_to_list_of_substitutions(".")
            nested = normalize_parameters(value)
            normalized |= {(*name, dot, *inner): item for inner, item in nested.items()}
        elif isinstance(value, ParameterValue | str | bool | int | float | bytes):
            normalized[name] = value
        elif isinstance(value, Substitution | Sequence) and is_substitution(value):
            normalized[name] = normalize_to_list_of_substitutions(value)
        elif isinstance(value, Sequence):
            normalized[name] = _normalize_list(value)
        else:
            raise TypeError(f"parameter {_describe(name)}: {value!r} is no value of a parameter")
    return normalized


def _normalize_list(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return a list's items: alike, or such that only performing them can make them so."""
    for item in values:
        if not isinstance(item, _SCALARS) and not isinstance(item, Substitution | Iterable):
            raise TypeError(f"{item!r} cannot be an item of a parameter that is a list")
        if isinstance(item, Iterable) and not isinstance(item, Sequence):
            raise RuntimeError(f"{item!r} cannot be an item of a parameter that is a list")
    if {type(item) for item in values} <= {int, float}:
        return tuple(values if all(type(i) is int for i in values) else map(float, values))
    return tuple(
        item if isinstance(item, _SCALARS) else normalize_to_list_of_substitutions(item)
        for item in values
    )


def evaluate_parameters(context: LaunchContext, parameters: Mapping[Name, Any]) -> dict[str, Any]:
    """Return normalized parameters with their substitutions performed.

    The text of a substitution is read as YAML, so `$(var x)` may become a number or a list.
    Raises TypeError naming the parameter for a value that is no ROS parameter.
    """
    evaluated: dict[str, Any] = {}
    for key, value in parameters.items():
        name = perform_substitutions(context, key)
        if isinstance(value, ParameterValue):
            value = value.evaluate(context)
        elif isinstance(value, list):
            value = _from_yaml(name, perform_substitutions(context, value))
        elif isinstance(value, tuple):
            items = (
                yaml.safe_load(perform_substitutions(context, i)) if isinstance(i, list) else i
                for i in value
            )
            value = _uniform(name, items)
        evaluated[name] = value
    return evaluated


def _from_yaml(name: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text) if text else text
    except yaml.YAMLError as error:
        raise TypeError(f"parameter '{name}': {text!r} is not YAML{_HINT}") from error
    if isinstance(value, list):
        return _uniform(name, value)
    if not isinstance(value, _SCALARS):
        raise TypeError(f"parameter '{name}': {text!r} is no value of a parameter{_HINT}")
    return value


def _uniform(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    items = tuple(values)
    kind = type(items[0]) if items else None
    if kind not in _SCALARS or not all(isinstance(item, kind) for item in items):
        raise TypeError(
            f"parameter '{name}': {list(items)!r} is not a filled list of bool, int, float or str"
        )
    return items


_HINT = "; for a text, write ParameterValue(..., value_type=str)"


def _describe(name: Name) -> str:
    return " + ".join(part.describe() for part in name)


@functools.cache
def _scratch_directory() -> str:
    directory = tempfile.TemporaryDirectory(prefix="launch_params_")
    atexit.register(directory.cleanup)
    return directory.name
