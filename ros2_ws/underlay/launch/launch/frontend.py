"""Substitutions within text, as in `$(var robot)` or `$(find-pkg-share foresight_sim)/x.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import substitutions
from .substitution import Substitution
from .unsupported import UnsupportedFeatureError, refuse_names

__getattr__ = refuse_names(__name__, {"Entity", "Parser", "expose_action", "expose_substitution"})

# the forms of the complete stack that are left out here
_REFUSED = {"anon", "command", "exec-in-pkg", "file-content", "log_dir", "param"}
_FACTORIES: dict[str, Callable[..., Substitution]] = {
    "all": substitutions.AllSubstitution,
    "and": substitutions.AndSubstitution,
    "any": substitutions.AnySubstitution,
    "dirname": substitutions.ThisLaunchFileDir,
    "env": lambda name, default=None: substitutions.EnvironmentVariable(
        name, default_value=default
    ),
    "equals": substitutions.EqualsSubstitution,
    "eval": substitutions.PythonExpression,
    "filename": substitutions.ThisLaunchFile,
    "find-exec": lambda name: substitutions.FindExecutable(name=name),
    "if": substitutions.IfElseSubstitution,
    "not": substitutions.NotSubstitution,
    "not-equals": substitutions.NotEqualsSubstitution,
    "or": substitutions.OrSubstitution,
    "var": lambda name, default=None: substitutions.LaunchConfiguration(name, default=default),
}
_TOKEN = re.compile(r"\\(.)|(\$\()|(\))|(['\"])|(\s+)|(.)", re.DOTALL)


def register_substitution(name: str, factory: Callable[..., Substitution]) -> None:
    """Make `$(name argument ...)` mean `factory(argument, ...)`."""
    _FACTORIES[name] = factory


def parse_substitution(text: str) -> list[Substitution]:
    """Return text with `$(name argument ...)` in it as substitutions.

    Arguments are separated by spaces, may be quoted, and may hold substitutions themselves; a
    backslash keeps the next character as it is. Raises ValueError on what cannot be understood.
    """
    tokens = [(match.lastindex, match.group(match.lastindex)) for match in _TOKEN.finditer(text)]
    parts, position = _parse_text(tokens, 0, until=None)
    assert position == len(tokens)
    return parts


Tokens = list[tuple[int | None, str]]
_ESCAPED, _OPEN, _CLOSE, _QUOTE, _SPACE, _CHARACTER = range(1, 7)


def _parse_text(tokens: Tokens, position: int, until: str | None) -> tuple[list, int]:
    """Read substitutions and text up to the quote `until`, or to the end."""
    parts: list[Substitution] = []
    while position < len(tokens):
        kind, value = tokens[position]
        if kind == _QUOTE and value == until:
            return parts, position + 1
        position = _take(tokens, position, parts)
    if until is not None:
        raise ValueError(f"a quote {until} is not closed")
    return parts, position


def _take(tokens: Tokens, position: int, parts: list[Substitution]) -> int:
    """Add one substitution or one piece of text to `parts`; return the next position."""
    kind, value = tokens[position]
    if kind == _OPEN:
        substitution, position = _parse_call(tokens, position + 1)
        parts.append(substitution)
        return position
    if parts and isinstance(parts[-1], substitutions.TextSubstitution):
        value = parts.pop().text + value
    parts.append(substitutions.TextSubstitution(text=value))
    return position + 1


def _parse_call(tokens: Tokens, position: int) -> tuple[Substitution, int]:
    """Read what follows a `$(`, up to its closing parenthesis."""
    words: list[list[Substitution]] = [[]]
    while position < len(tokens):
        kind, value = tokens[position]
        if kind == _CLOSE:
            return _make(*[word for word in words if word]), position + 1
        if kind == _SPACE:
            words.append([])
            position += 1
        elif kind == _QUOTE:
            quoted, position = _parse_text(tokens, position + 1, until=value)
            words[-1] += quoted or [substitutions.TextSubstitution(text="")]
        else:
            position = _take(tokens, position, words[-1])
    raise ValueError("a $( is not closed by )")


def _make(*words: list[Substitution]) -> Substitution:
    name = "".join(part.text for part in words[0]) if words else ""
    if name in _REFUSED:
        raise UnsupportedFeatureError(f"the substitution $({name})")
    if name not in _FACTORIES:
        raise ValueError(f"$({name}) is no known substitution; there are {', '.join(_FACTORIES)}")
    return _FACTORIES[name](*words[1:])
