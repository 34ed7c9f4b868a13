"""Substitutions that find what packages install."""

import os
import shutil

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext, SomeSubstitutionsType, Substitution
from launch.frontend import register_substitution
from launch.substitutions import SubstitutionFailure
from launch.unsupported import refuse_names
from launch.utilities import normalize_to_list_of_substitutions, perform

__getattr__ = refuse_names(__name__, {"Parameter"})
__all__ = ["ExecutableInPackage", "FindPackage", "FindPackagePrefix", "FindPackageShare"]


class FindPackage(Substitution):
    """The base of what is found by a package's name."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = normalize_to_list_of_substitutions(package)

    def find(self, package_name: str) -> str:
        """Return the folder for a package."""
        raise NotImplementedError(f"{type(self).__name__} does not define find()")

    def perform(self, context: LaunchContext) -> str:
        """Return the folder; PackageNotFoundError if the package is not installed."""
        return self.find(perform(context, self.package))


class FindPackagePrefix(FindPackage):
    """The folder that a package is installed below."""

    def find(self, package_name: str) -> str:
        return get_package_prefix(package_name)


class FindPackageShare(FindPackage):
    """The folder of a package's shared files: launch files, parameters, worlds."""

    def find(self, package_name: str) -> str:
        """Return <prefix>/share/<package>."""
        return get_package_share_directory(package_name)


class ExecutableInPackage(FindPackagePrefix):
    """The path of an executable that a package installs."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        super().__init__(package)
        self.executable = normalize_to_list_of_substitutions(executable)

    def perform(self, context: LaunchContext) -> str:
        """Return <prefix>/lib/<package>/<executable>; SubstitutionFailure if there is none."""
        package, executable = perform(context, self.package), perform(context, self.executable)
        directory = os.path.join(self.find(package), "lib", package)
        path = shutil.which(executable, path=directory) if os.path.exists(directory) else None
        if path is None:
            raise SubstitutionFailure(
                f"package '{package}' has no executable '{executable}' in {directory}"
            )
        return path


register_substitution("find-pkg-prefix", FindPackagePrefix)
register_substitution("find-pkg-share", FindPackageShare)
