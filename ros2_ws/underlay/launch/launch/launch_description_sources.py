"""Where included launch descriptions come from."""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .logging import get_logger
from .some_substitutions_type import SomeSubstitutionsType
from .unsupported import UnsupportedFeatureError, refuse_names
from .utilities import describe, normalize_to_list_of_substitutions, perform

__getattr__ = refuse_names(__name__, {"FrontendLaunchDescriptionSource"})
__all__ = [
    "AnyLaunchDescriptionSource",
    "InvalidLaunchFileError",
    "InvalidPythonLaunchFileError",
    "PythonLaunchDescriptionSource",
    "get_launch_description_from_python_launch_file",
]


class InvalidPythonLaunchFileError(Exception):
    """A file is not a Python launch file."""


class InvalidLaunchFileError(Exception):
    """A file is no launch file at all, or cannot be loaded."""


class LaunchDescriptionSource:
    """A launch description, made already or to be loaded from a location."""

    def __init__(
        self,
        launch_description: LaunchDescription | None = None,
        location: SomeSubstitutionsType = "<string>",
        method: str = "unspecified mechanism from a script",
    ) -> None:
        self._launch_description = launch_description
        self._location = normalize_to_list_of_substitutions(location)
        self._performed_location: str | None = None
        self.method = method

    @property
    def location(self) -> str:
        """The path once it is known, before that its description."""
        return self._performed_location or describe(self._location)

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Return the description, loaded at the first call."""
        if self._performed_location is None:
            self._performed_location = perform(context, self._location)
        if self._launch_description is None:
            self._launch_description = self._load(self._performed_location)
        return self._launch_description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Return the description if its location can be told before launching, else None."""
        if self._launch_description is not None:
            return self._launch_description
        try:
            return self._load(perform(LaunchContext(), self._location))
        except Exception as error:
            get_logger().debug(f"{self.location} is not known before launching: {error}")
            return None

    def _load(self, location: str) -> LaunchDescription:
        raise RuntimeError(f"{type(self).__name__} has neither a description nor a way to load it")


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path, "interpreted python launch file")

    def _load(self, location: str) -> LaunchDescription:
        return get_launch_description_from_python_launch_file(location)


class AnyLaunchDescriptionSource(PythonLaunchDescriptionSource):
    """A launch file of any kind, here Python; InvalidLaunchFileError if it cannot be loaded."""

    def _load(self, location: str) -> LaunchDescription:
        if Path(location).suffix in (".xml", ".yaml", ".yml"):
            raise UnsupportedFeatureError(f"{location}: a launch file in XML or YAML")
        try:
            return super()._load(location)
        except Exception as error:
            raise InvalidLaunchFileError(
                f"launch file {location}: {type(error).__name__}: {error}"
            ) from error


def get_launch_description_from_python_launch_file(path: str | os.PathLike) -> LaunchDescription:
    """Run a Python launch file and return what its generate_launch_description() gives.

    Raises FileNotFoundError, InvalidPythonLaunchFileError, and whatever the file itself raises.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"launch file {path} does not exist")
    loader = SourceFileLoader("python_launch_file", str(path))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    generate = getattr(module, "generate_launch_description", None)
    if generate is None:
        raise InvalidPythonLaunchFileError(
            f"launch file {path} has no function generate_launch_description()"
        )
    return generate()
