"""The base of events."""


class Event:
    """Something that happened, or that is asked to happen; `name` tells its class."""

    name = "launch.Event"

    def __init_subclass__(cls) -> None:
        cls.name = f"{cls.__module__}.{cls.__name__}"
