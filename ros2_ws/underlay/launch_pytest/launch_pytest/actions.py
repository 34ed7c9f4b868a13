"""Actions for launch descriptions under test."""

from __future__ import annotations

from collections.abc import Callable

from launch import Action, LaunchContext


class ReadyToTest(Action):
    """Marks where in the launch description the tests may begin."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[], None]] = []

    def _add_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def execute(self, context: LaunchContext) -> None:
        """Let the tests begin."""
        for callback in self._callbacks:
            callback()
