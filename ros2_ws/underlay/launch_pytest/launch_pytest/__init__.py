"""The part of ROS 2's `launch_pytest` that Foresight uses, written for machines without ROS."""

from . import actions, tools
from .fixture import fixture

__all__ = ["actions", "fixture", "tools"]
