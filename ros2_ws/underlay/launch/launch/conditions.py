"""Conditions for the `condition=` argument of every action."""

from collections.abc import Sequence

from .condition import Condition
from .launch_context import LaunchContext
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .unsupported import refuse_names
from .utilities import normalize_to_list_of_substitutions, perform_substitutions

_MEANINGS = {"true": True, "1": True, "false": False, "0": False}

__getattr__ = refuse_names(__name__, {"LaunchConfigurationEquals", "LaunchConfigurationNotEquals"})
__all__ = [
    "IfCondition",
    "InvalidConditionExpressionError",
    "UnlessCondition",
    "evaluate_condition_expression",
]


class InvalidConditionExpressionError(ValueError):
    """A condition's text is none of true, 1, false and 0."""


def evaluate_condition_expression(
    context: LaunchContext, expression: Sequence[Substitution]
) -> bool:
    """Return what the performed expression says: true/1 or false/0, in any case of letters."""
    text = perform_substitutions(context, expression).strip().lower()
    if text not in _MEANINGS:
        origin = " + ".join(sub.describe() for sub in expression)
        raise InvalidConditionExpressionError(
            f"a condition must be one of true, 1, false, 0, but {origin} gave {text!r}"
        )
    return _MEANINGS[text]


class IfCondition(Condition):
    """True when the expression's text is true or 1."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self._expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(predicate=self._holds)

    def _holds(self, context: LaunchContext) -> bool:
        return evaluate_condition_expression(context, self._expression)


class UnlessCondition(IfCondition):
    """True when the expression's text is false or 0."""

    def _holds(self, context: LaunchContext) -> bool:
        return not super()._holds(context)
