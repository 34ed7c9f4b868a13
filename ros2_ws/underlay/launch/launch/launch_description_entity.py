"""The base of what a launch description is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that can be visited: it acts, and may give further entities to visit."""

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Act, and return the entities to visit next."""
        return None

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities that a visit is sure to give, as far as known beforehand."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Sequence[LaunchDescriptionEntity]]]:
        """Return (when, entities) for those that a visit may give."""
        return []

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        """Return the future that ends with this entity's work; launch waits for it."""
        return None
