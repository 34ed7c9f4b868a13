"""What a launch file returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from .actions import DeclareLaunchArgument, IncludeLaunchDescription


class FoundArgument(NamedTuple):
    """A declaration, whether it may be left out, and the includes that it was found among."""

    argument: DeclareLaunchArgument
    conditional: bool
    includes: list[IncludeLaunchDescription]


class LaunchDescription(LaunchDescriptionEntity):
    """Entities to visit one after the other."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
    ) -> None:
        self.entities = [] if initial_entities is None else list(initial_entities)

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Add an entity at the end."""
        self.entities.append(entity)

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        """Add an action at the end."""
        self.add_entity(action)

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity]:
        return self.entities

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def get_launch_arguments(
        self, conditional_inclusion: bool = False
    ) -> list[DeclareLaunchArgument]:
        """Return the declarations found here and in what is included, the first of each name."""
        return [found.argument for found in self.find_launch_arguments(conditional_inclusion)]

    def find_launch_arguments(self, conditional: bool = False) -> list[FoundArgument]:
        """Return get_launch_arguments()'s answer with where each was found.

        As in ROS 2, only what a condition gives directly counts as conditional, not what lies
        deeper; and all includes below one of this description's own are found together.
        """
        found: dict[str, FoundArgument] = {}
        _search(self.entities, conditional, None, found)
        return list(found.values())


def _search(
    entities: Iterable[LaunchDescriptionEntity],
    conditional: bool,
    includes: list[IncludeLaunchDescription] | None,
    found: dict[str, FoundArgument],
) -> None:
    from .actions import DeclareLaunchArgument, IncludeLaunchDescription

    for entity in entities:
        inside = includes
        if isinstance(entity, DeclareLaunchArgument):
            is_conditional = conditional or entity.condition is not None
            found.setdefault(
                entity.name,
                FoundArgument(entity, is_conditional, [] if includes is None else includes),
            )
        elif isinstance(entity, IncludeLaunchDescription):
            inside = [] if includes is None else includes
            inside.append(entity)
        _search(entity.describe_sub_entities(), False, inside, found)
        for _, sub_entities in entity.describe_conditional_sub_entities():
            _search(sub_entities, True, inside, found)
