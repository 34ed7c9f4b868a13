"""The base of everything that becomes text only while launching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Substitution:
    """A piece of text that is known only once a LaunchContext is."""

    def describe(self) -> str:
        """Return what this stands for, for `--show-args` and error messages."""
        from .utilities import describe

        parts = (describe(part) for part in vars(self).values() if isinstance(part, list))
        return f"{type(self).__name__}({', '.join(parts)})"

    def perform(self, context: LaunchContext) -> str:
        """Return the text."""
        raise NotImplementedError(f"{type(self).__name__} does not define perform()")
