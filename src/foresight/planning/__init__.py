"""Choosing actions by imagining what they would cause."""

from foresight.planning.navigator import NavigationStep, Navigator, Status

__all__ = ["NavigationStep", "Navigator", "Status"]
