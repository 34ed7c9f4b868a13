"""Substitutions within text, as in `$(var robot)` or `$(find-pkg-share foresight_sim)/x.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import substitutions
from .substitution import Substitution
from .substitutions import TextSubstitution
from .unsupported import UnsupportedFeatureError, refuse_names

__getattr__ = refuse_names(__name__, {"Entity", "Parser", "expose_action", "expose_substitution"})

# the forms of the complete stack that are left out here
_REFUSED = {
    "anon",
    "command",
    "exec-in-pkg",
    "file-content",
    "launch_log_dir",
    "log_dir",
    "param",
}


def _evaluation(expression: list[Substitution], modules: list[Substitution] | None = None):
    if modules is None:
        return substitutions.PythonExpression(expression)
    names = "".join(part.text for part in modules).split(",")
    return substitutions.PythonExpression(expression, [name.strip() for name in names])


_FACTORIES: dict[str, Callable[..., Substitution]] = {
    "all": substitutions.AllSubstitution,
    "and": substitutions.AndSubstitution,
    "any": substitutions.AnySubstitution,
    "dirname": substitutions.ThisLaunchFileDir,
    "env": lambda name, default=None: substitutions.EnvironmentVariable(
        name, default_value=default
    ),
    "equals": substitutions.EqualsSubstitution,
    "eval": _evaluation,
    "filename": substitutions.ThisLaunchFile,
    "find-exec": lambda name: substitutions.FindExecutable(name=name),
    "if": substitutions.IfElseSubstitution,
    "not": substitutions.NotSubstitution,
    "not-equals": substitutions.NotEqualsSubstitution,
    "or": substitutions.OrSubstitution,
    "var": lambda name, default=None: substitutions.LaunchConfiguration(name, default=default),
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _text_but(special: str) -> re.Pattern[str]:
    """Match text without the `special` characters, unless a backslash escapes them."""
    return re.compile(rf"(?:[^{special}]|\$(?!\()|(?<=\\)[$()]|\\['\"]?)+")


# Text outside of substitutions and within their arguments, by the quotes that it stands in.
_TEXT = {"": _text_but(r"$"), "'": _text_but(r"'\\$"), '"': _text_but(r"\"\\$")}
_ARGUMENT = {
    "": _text_but(r" '\"\\$()"),
    "'": _text_but(r" '\\$()"),
    '"': _text_but(r" \"\\$()"),
}


def register_substitution(name: str, factory: Callable[..., Substitution]) -> None:
    """Make `$(name argument ...)` mean `factory(argument, ...)`."""
    _FACTORIES[name] = factory


def parse_substitution(text: str) -> list[Substitution]:
    """Return text with `$(name argument ...)` in it as substitutions.

    Arguments are separated by one space each, stand wholly in quotes or in none, and may hold
    substitutions themselves, in which the same quotes hold on. A backslash keeps the next
    character as it is, and vanishes. Raises ValueError on what cannot be understood.
    """
    if not text:
        return [TextSubstitution(text=text)]
    parts, position = _parse(text, 0, _TEXT[""], quote="")
    if position != len(text):
        raise _error(text, position)
    return parts


def _parse(
    text: str, position: int, characters: re.Pattern[str], quote: str
) -> tuple[list[Substitution], int]:
    """Read text and substitutions from a position on; return them and the position after them."""
    parts: list[Substitution] = []
    while True:
        if match := characters.match(text, position):
            plain = re.sub(r"\\(.)", r"\1", match.group())
            parts.append(TextSubstitution(text=plain))
            position = match.end()
        elif text.startswith("$(", position):
            part, position = _parse_call(text, position, quote)
            parts.append(part)
        else:
            return parts, position


def _parse_call(text: str, start: int, quote: str) -> tuple[Substitution, int]:
    """Read a substitution, which begins with $( at `start`."""
    name = _NAME.match(text, start + 2)
    if not name:
        raise _error(text, start)
    arguments, position = [], name.end()
    while text.startswith(" ", position):
        argument, position = _parse_argument(text, position + 1, quote)
        arguments.append(argument)
    if not text.startswith(")", position):
        raise _error(text, start)
    return _make(name.group(), arguments), position + 1


def _parse_argument(text: str, start: int, quote: str) -> tuple[list[Substitution], int]:
    opening = text[start : start + 1]
    if not quote and opening in ("'", '"'):
        parts, position = _parse(text, start + 1, _TEXT[opening], opening)
        if not text.startswith(opening, position):
            raise _error(text, start)
        return parts, position + 1
    parts, position = _parse(text, start, _ARGUMENT[quote], quote)
    if not parts:
        raise _error(text, start)
    return parts, position


def _make(name: str, arguments: list[list[Substitution]]) -> Substitution:
    if name in _REFUSED:
        raise UnsupportedFeatureError(f"the substitution $({name})")
    if name not in _FACTORIES:
        raise ValueError(f"$({name}) is no known substitution; there are {', '.join(_FACTORIES)}")
    try:
        return _FACTORIES[name](*arguments)
    except TypeError as error:
        raise ValueError(f"$({name}) with {len(arguments)} arguments: {error}") from error


def _error(text: str, position: int) -> ValueError:
    line = text.count("\n", 0, position) + 1
    return ValueError(
        f"line {line}: {text[position : position + 40]!r} is not closed, has quotes within a word, "
        "or more than one space between words"
    )
