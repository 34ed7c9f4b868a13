"""From what users write (texts, substitutions, lists of both) to text and typed values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution

if TYPE_CHECKING:
    from .launch_context import LaunchContext


def normalize_to_list_of_substitutions(subject: SomeSubstitutionsType) -> list[Substitution]:
    """Return `subject` as a list of substitutions.

    Raises TypeError for anything that is neither text nor substitution.
    """
    from .substitutions import TextSubstitution

    if isinstance(subject, str):
        return [TextSubstitution(text=subject)]
    if isinstance(subject, Substitution):
        return [subject]
    if isinstance(subject, Iterable):
        return [item for part in subject for item in normalize_to_list_of_substitutions(part)]
    raise TypeError(
        f"expected text, a Substitution or a list of them, got {subject!r} "
        f"({type(subject).__name__})"
    )


def perform_substitutions(context: LaunchContext, subs: Sequence[Substitution]) -> str:
    """Return the joined texts of normalized substitutions."""
    return "".join(sub.perform(context) for sub in subs)


def perform(context: LaunchContext, subject: SomeSubstitutionsType) -> str:
    """Return the text of anything that normalize_to_list_of_substitutions takes."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(subject))


def describe(subject: SomeSubstitutionsType) -> str:
    """Return a readable form of `subject`, without a context."""
    return " + ".join(sub.describe() for sub in normalize_to_list_of_substitutions(subject))


def is_substitution(value: Any) -> bool:
    """Return whether `value` is a Substitution, or a list of them mixed with text."""
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, list | tuple)
        and all(isinstance(item, str | Substitution) for item in value)
        and any(isinstance(item, Substitution) for item in value)
    )


def is_uniform(value: Any) -> bool:
    """Return whether `value` is a bool, int, float or str, or a list of one of these types."""
    if not isinstance(value, list | tuple):
        return type(value) in (bool, int, float, str)
    return all(is_uniform(item) for item in value) and len({type(item) for item in value}) <= 1


def coerce_to_type(text: str, data_type: Any = None) -> Any:
    """Turn text into `data_type`: bool, int, float, str, a list of one, or None for YAML's view.

    Raises ValueError when the text does not spell such a value.
    """
    if data_type is str:
        return text
    problem = f"{text!r} is not a valid {_type_name(data_type)}"
    try:
        if data_type in (int, float):
            return data_type(text)
        value = yaml.safe_load(text) if text else text
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(problem) from error
    if data_type is bool and text in ("0", "1"):
        return text == "1"
    if not _has_type(value, data_type):
        raise ValueError(problem)
    return value


def perform_typed(context: LaunchContext, value: Any, data_type: type) -> Any:
    """Return `value` if it is not text, else its performed text as `data_type`."""
    if isinstance(value, str) or is_substitution(value):
        return coerce_to_type(perform(context, value), data_type)
    return value


def _has_type(value: Any, data_type: Any) -> bool:
    if data_type is None:
        return is_uniform(value)
    if get_origin(data_type) is list:
        (item_type,) = get_args(data_type)
        return isinstance(value, list) and all(type(item) is item_type for item in value)
    return type(value) is data_type


def _type_name(data_type: Any) -> str:
    if data_type is None:
        return "bool, int, float, str or list of one of them"
    return str(data_type) if get_origin(data_type) else data_type.__name__
