"""What a launch file returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from .actions import DeclareLaunchArgument, IncludeLaunchDescription


class FoundArgument(NamedTuple):
    """A declaration, whether it is surely visited, and the includes that lead to it."""

    argument: DeclareLaunchArgument
    conditional: bool
    includes: tuple[IncludeLaunchDescription, ...]


class LaunchDescription(LaunchDescriptionEntity):
    """Entities to visit one after the other."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
    ) -> None:
        self.entities = list(initial_entities or ())

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
        """Return get_launch_arguments()'s answer with where each was found."""
        first: dict[str, FoundArgument] = {}
        for found in _walk(self.entities, conditional, ()):
            first.setdefault(found.argument.name, found)
        return list(first.values())


def _walk(
    entities: Iterable[LaunchDescriptionEntity],
    conditional: bool,
    includes: tuple[IncludeLaunchDescription, ...],
) -> Iterator[FoundArgument]:
    from .actions import DeclareLaunchArgument, IncludeLaunchDescription

    for entity in entities:
        inside = includes
        if isinstance(entity, DeclareLaunchArgument):
            yield FoundArgument(entity, conditional or entity.condition is not None, includes)
        elif isinstance(entity, IncludeLaunchDescription):
            inside = (*includes, entity)
        yield from _walk(entity.describe_sub_entities(), conditional, inside)
        for _, sub_entities in entity.describe_conditional_sub_entities():
            yield from _walk(sub_entities, True, inside)
