"""The part of ROS 2's `launch` that Foresight uses, written for machines without ROS."""

from . import actions, conditions, event_handlers, events, frontend, logging, substitutions
from .action import Action
from .condition import Condition
from .event import Event
from .event_handler import EventHandler
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .launch_description_sources import InvalidLaunchFileError, LaunchDescriptionSource
from .launch_service import LaunchService
from .some_substitutions_type import SomeSubstitutionsType, SomeSubstitutionsType_types_tuple
from .substitution import Substitution
from .unsupported import UnsupportedFeatureError, refuse_names

__getattr__ = refuse_names(__name__, {"LaunchIntrospector", "descriptions"})

__all__ = [
    "Action",
    "Condition",
    "Event",
    "EventHandler",
    "InvalidLaunchFileError",
    "LaunchContext",
    "LaunchDescription",
    "LaunchDescriptionEntity",
    "LaunchDescriptionSource",
    "LaunchService",
    "SomeSubstitutionsType",
    "SomeSubstitutionsType_types_tuple",
    "Substitution",
    "UnsupportedFeatureError",
    "actions",
    "conditions",
    "event_handlers",
    "events",
    "frontend",
    "logging",
    "substitutions",
]
