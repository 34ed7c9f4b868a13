"""The part of ROS 2's `launch_ros` that Foresight uses, written for machines without ROS."""

from launch.unsupported import refuse_names

from . import actions, descriptions, parameter_descriptions, substitutions

__getattr__ = refuse_names(__name__, {"event_handlers", "events", "ros_adapters", "utilities"})

__all__ = ["actions", "descriptions", "parameter_descriptions", "substitutions"]
