"""The base of actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .condition import Condition
from .launch_description_entity import LaunchDescriptionEntity
from .unsupported import UnsupportedFeatureError

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Action(LaunchDescriptionEntity):
    """An intention, carried out when visited if its condition holds."""

    def __init__(self, *, condition: Condition | None = None, **unsupported: object) -> None:
        for name in unsupported:
            raise UnsupportedFeatureError(f"the argument {name} of {type(self).__name__}")
        self._condition = condition

    @property
    def condition(self) -> Condition | None:
        """What must hold for the action to be executed."""
        return self._condition

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Execute if the condition holds."""
        if self._condition is None or self._condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Carry the intention out, and return the entities to visit next."""
        return None

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities that executing gives, as far as known beforehand."""
        return []

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the sub-entities of an unconditional action."""
        return self.get_sub_entities() if self._condition is None else []

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Sequence[LaunchDescriptionEntity]]]:
        """Return the sub-entities of a conditional action."""
        if self._condition is None:
            return []
        return [(f"if the condition of {type(self).__name__} holds", self.get_sub_entities())]
