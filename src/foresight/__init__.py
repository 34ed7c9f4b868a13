"""Foresight: a robot learns how its world answers its actions, and plans by imagining outcomes."""

__version__ = "0.1.0"
