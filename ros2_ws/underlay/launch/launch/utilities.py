"""From what users write (texts, substitutions, lists of both) to text and typed values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from .signal_management import AsyncSafeSignalManager as AsyncSafeSignalManager
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution

if TYPE_CHECKING:
    from .launch_context import LaunchContext

_SCALARS = (bool, int, float, str)


def normalize_to_list_of_substitutions(subject: SomeSubstitutionsType) -> list[Substitution]:
    """Return `subject` as a list of substitutions.

    Raises TypeError for anything but text, a substitution, or a flat list of both.
    """
    items = [subject] if isinstance(subject, str | Substitution) else subject
    if not isinstance(items, Iterable):
        raise TypeError(
            f"expected text, a Substitution or a list of them, got {subject!r} "
            f"({type(subject).__name__})"
        )
    return [_as_substitution(item) for item in items]


def _as_substitution(item: str | Substitution) -> Substitution:
    from .substitutions import TextSubstitution

    if isinstance(item, str):
        return TextSubstitution(text=item)
    if isinstance(item, Substitution):
        return item
    raise TypeError(f"expected text or a Substitution, got {item!r} ({type(item).__name__})")


def perform_substitutions(context: LaunchContext, subs: Sequence[Substitution]) -> str:
    """Return the joined texts of normalized substitutions."""
    return "".join([context.perform_substitution(sub) for sub in subs])


def perform(context: LaunchContext, subject: SomeSubstitutionsType) -> str:
    """Return the text of anything that normalize_to_list_of_substitutions takes."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(subject))


def describe(subject: SomeSubstitutionsType) -> str:
    """Return a readable form of `subject`, without a context."""
    return " + ".join(sub.describe() for sub in normalize_to_list_of_substitutions(subject))


def is_substitution(value: Any) -> bool:
    """Return whether `value` is a Substitution, or a collection of them mixed with text.

    Raises TypeError for an iterator.
    """
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, Iterable)
        and len(value) > 0
        and all(isinstance(item, str | Substitution) for item in value)
        and any(isinstance(item, Substitution) for item in value)
    )


def coerce_to_type(text: str, data_type: Any = None) -> Any:
    """Turn text into `data_type`: bool, int, float, str, a list of one, or None for YAML's view.

    Raises ValueError when the text does not spell such a value, or for another data_type.
    """
    item_type, is_list = _split(data_type)
    if item_type is str and not is_list:
        return text
    problem = f"{text!r} is not a valid {_type_name(data_type)}"
    try:
        if item_type in (int, float) and not is_list:
            return item_type(text)
        if item_type is bool and text in ("0", "1"):
            return text == "1"
        value = yaml.safe_load(text) if text else text
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(problem) from error
    if not _has_type(value, data_type):
        raise ValueError(problem)
    return value


def normalize_typed(value: Any, data_type: Any) -> Any:
    """Check `value`, which must become a `data_type`, as far as it is known; return it normalized.

    `value` is a value of that type, a substitution, or for lists a list that mixes values and
    substitutions. `data_type` is as in coerce_to_type. Raises TypeError.
    """
    problem = f"expected {_type_name(data_type)} or a substitution, got {value!r}"
    if isinstance(value, _SCALARS):
        if not _has_type(value, data_type):
            raise TypeError(problem)
        return value
    if is_substitution(value):
        return normalize_to_list_of_substitutions(value)
    if not isinstance(value, Iterable):
        raise TypeError(problem)
    items = list(value)
    if not all(isinstance(item, _SCALARS) or is_substitution(item) for item in items):
        raise TypeError(problem)
    wanted, is_list = _split(data_type)
    if data_type is not None and not is_list:
        raise TypeError(problem)
    kinds = {type(item) for item in items if isinstance(item, _SCALARS)}
    if not kinds:  # substitutions become what is wanted; an empty list is one of texts
        kinds = {wanted or str} if items else {str}
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind not in _SCALARS or wanted not in (None, kind):
        raise TypeError(problem)
    return [
        normalize_to_list_of_substitutions(item) if is_substitution(item) else kind(item)
        for item in items
    ]


def perform_typed(context: LaunchContext, value: Any, data_type: Any) -> Any:
    """Return what normalize_typed gave as a value, its substitutions performed.

    Raises ValueError if their text does not spell the type.
    """
    if not isinstance(value, list):
        return value
    if value and all(isinstance(item, Substitution) for item in value):
        return coerce_to_type(perform_substitutions(context, value), data_type)
    item_type, _ = _split(data_type)
    items = [
        coerce_to_type(perform_substitutions(context, item), item_type)
        if isinstance(item, list)
        else item
        for item in value
    ]
    if not _has_type(items, data_type):
        raise ValueError(f"{items!r} is not a valid {_type_name(data_type)}")
    return items


def _split(data_type: Any) -> tuple[Any, bool]:
    """Return the scalar type of `data_type` and whether it is a list of it; ValueError if unknown.

    None, for whatever YAML says, is (None, False).
    """
    scalar, is_list = data_type, False
    if get_origin(data_type) is list and get_args(data_type):
        (scalar,) = get_args(data_type)
        is_list = True
    if scalar is not None and scalar not in _SCALARS:
        raise ValueError(f"{data_type!r} is no bool, int, float, str or list of one of them")
    return scalar, is_list


def _has_type(value: Any, data_type: Any) -> bool:
    if data_type is not None:
        scalar, is_list = _split(data_type)
        if not is_list:
            return isinstance(value, scalar)
        return isinstance(value, list) and all(isinstance(item, scalar) for item in value)
    if not isinstance(value, list):
        return isinstance(value, _SCALARS)
    kind = next((type(item) for item in value if type(item) is not str), str)
    return kind in _SCALARS and all(isinstance(item, kind) for item in value)


def _type_name(data_type: Any) -> str:
    if data_type is None:
        return "bool, int, float, str or list of one of them"
    return str(data_type) if get_origin(data_type) else getattr(data_type, "__name__", data_type)
