"""How the underlay refuses what it leaves out: always by name, never silently."""

from collections.abc import Callable, Collection


class UnsupportedFeatureError(NotImplementedError):
    """A feature of the complete ROS 2 launch stack that this underlay does not have."""

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"{feature} is not supported by Foresight's launch underlay: use ROS 2 Jazzy's own "
            "launch packages, or a feature listed in ros2_ws/underlay/README.md"
        )


def refuse_names(module: str, names: Collection[str]) -> Callable[[str], object]:
    """Make a module's `__getattr__` that raises UnsupportedFeatureError for `names`."""

    def module_getattr(name: str) -> object:
        if name in names:
            raise UnsupportedFeatureError(f"{module}.{name}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return module_getattr
