"""Parameters as a frozen dataclass: declared, described, range-checked and changed in one place.

    @dataclass(frozen=True)
    class Parameters:
        bundle: str = parameter("", "Folder of the world model.", required=True)
        period_s: float = parameter(0.3, "Shortest time between plans.", minimum=0.05, live=True)

Parameters that are not `live` are read-only once the node runs. What several nodes ask for alike is
declared here once: a node's dataclass inherits it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from foresight.bundle import PROVIDERS

T = TypeVar("T", bool, int, float, str, tuple[str, ...])
P = TypeVar("P")

# Declared by rclpy itself, or on its behalf.
_FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of different names",
}


class ParameterError(ValueError):
    """A parameter's name or value is wrong; the message is one sentence."""


@dataclass(frozen=True)
class Rule:
    """What a parameter may be; see `parameter`."""

    default: bool | int | float | str | tuple[str, ...]
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    required: bool
    live: bool

    def checked(self, name: str, value: Any) -> Any:
        """The value in the parameter's type; a whole number will do where a real one is asked."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if self.choices and type(value) is bool:  # how YAML reads the texts true and false
            value = str(value).lower()
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
        if type(value) is not kind or not self._allows(value):
            raise ParameterError(
                f"parameter '{name}' has the value {value!r}, but {self._expected()} is expected "
                f"({self.description.rstrip('.')}); correct it in the parameter file or the "
                f"launch argument"
            )
        return value

    def _allows(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.choices if self.choices else bool(value) or not self.required
        if isinstance(value, tuple):
            names = all(isinstance(name, str) and name for name in value)
            return names and len(set(value)) == len(value) and (bool(value) or not self.required)
        if isinstance(value, bool):
            return True
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return math.isfinite(value) and low <= value <= high

    def _expected(self) -> str:
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        text = _KINDS[type(self.default)]
        if self.minimum is not None:
            text += f" from {self.minimum:g}"
        if self.maximum is not None:
            text += (
                f" to {self.maximum:g}" if self.minimum is not None else f" up to {self.maximum:g}"
            )
        return text + (" that is not empty" if self.required else "")

    def descriptor(self) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(
            description=self.description,
            read_only=not self.live,
            dynamic_typing=isinstance(self.default, tuple),  # an empty list has no type
        )
        if self.choices:
            descriptor.additional_constraints = self._expected()
        low, high = self.minimum, self.maximum
        if low is None or high is None:
            return descriptor
        if isinstance(self.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        return descriptor


def parameter(
    default: T,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    required: bool = False,
    live: bool = False,
) -> T:
    """A field of a parameter dataclass; its type is the default's.

    Args:
        default: what holds when nothing is set.
        description: one sentence for `ros2 param describe` and for errors, with the unit.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        choices: the allowed texts.
        required: an empty text, or an empty list, is refused.
        live: may be changed while the node runs.
    """
    rule = Rule(default, description, minimum, maximum, choices, required, live)
    return field(default=default, metadata={"rule": rule})  # type: ignore[return-value]


@dataclass(frozen=True)
class BundleParameters:
    """Of every node that runs graphs."""

    bundle: str = parameter("", "Folder of the world model.", required=True)
    provider: str = parameter(
        "auto",
        "Where graphs run: the fastest there is (auto), or this one or not at all.",
        choices=("auto", *PROVIDERS),
    )
    half: bool = parameter(False, "Let TensorRT compute in half precision.")


@dataclass(frozen=True)
class RobotParameters:
    """Of every node that must know the robot."""

    robot: str = parameter("", "YAML file of the robot profile.", required=True)


def rules_of(kind: type) -> dict[str, Rule]:
    """The parameters of a dataclass, by name, in the order in which they are declared."""
    return {f.name: f.metadata["rule"] for f in fields(kind)}


class ParameterServer(Generic[P]):
    """Declares the fields of a dataclass on a node and keeps their checked values.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`: what
    was set from outside is then known, with its type, before anything is declared here.
    """

    def __init__(self, node: Node, kind: type[P]) -> None:
        self._rules = rules_of(kind)
        self._faults = [_unknown(name, self._rules) for name in self._strangers(node)]
        self._values = kind(**{name: self._declare(node, name) for name in self._rules})
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    @property
    def values(self) -> P:
        """Raises ParameterError when a start value is wrong or a parameter is unknown."""
        if self._faults:
            raise ParameterError(self._faults[0])
        return self._values

    def _strangers(self, node: Node) -> Iterable[str]:
        set_outside = node.get_parameters_by_prefix("")
        return [n for n in set_outside if n not in self._rules and not n.startswith(_FOREIGN)]

    def _declare(self, node: Node, name: str) -> Any:
        rule, value = self._rules[name], self._rules[name].default
        if node.has_parameter(name):
            value = node.get_parameter(name).value
            node.undeclare_parameter(name)
        try:
            value = rule.checked(name, value)
        except ParameterError as error:
            # The node lives on with the default, so that configuring can fail with the sentence.
            self._faults.append(str(error))
            value = rule.default
        # rclpy takes no empty list
        node.declare_parameter(name, value if value != () else None, rule.descriptor(), True)
        return value

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name in self._rules:
                    self._rules[change.name].checked(change.name, change.value)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, changes: list[Parameter]) -> None:
        known = {c.name: c.value for c in changes if c.name in self._rules}
        self._values = replace(self._values, **known)  # type: ignore[type-var]


def _unknown(name: str, rules: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(rules), n=1)
    remedy = f"did you mean '{near[0]}'" if near else f"known are {', '.join(sorted(rules))}"
    return f"parameter '{name}' is unknown; {remedy}"
