"""Tests of launch, launch_ros and launch_pytest: the underlay's, or ROS 2's own where installed.

Everything here holds for both; what only the underlay does is in test_launch_underlay_only.py.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

# read when launch first logs
os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="launch_log_")

import launch
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions

collect_ignore = (
    [] if hasattr(launch, "UnsupportedFeatureError") else ["test_launch_underlay_only.py"]
)


@pytest.fixture(autouse=True)
def _same_environment_afterwards() -> Iterator[None]:
    """Undo what a launch changed in this process's environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run() -> Callable[..., int]:
    """Launch entities until they end; returns the service's code."""

    def run_entities(*entities: LaunchDescriptionEntity) -> int:
        service = LaunchService()
        service.include_launch_description(LaunchDescription(list(entities)))
        return service.run()

    return run_entities


@pytest.fixture
def run_file(tmp_path, run) -> Callable[..., int]:
    """Launch the text of a launch file with arguments."""

    def run_text(text: str, **arguments: str) -> int:
        path = tmp_path / "test.launch.py"
        path.write_text(text)
        source = PythonLaunchDescriptionSource(str(path))
        return run(IncludeLaunchDescription(source, launch_arguments=list(arguments.items())))

    return run_text


@pytest.fixture
def text() -> Callable[..., str]:
    """Perform a substitution with launch configurations."""

    def perform(subject, **configurations: str) -> str:
        context = LaunchContext()
        context.launch_configurations.update(configurations)
        return perform_substitutions(context, normalize_to_list_of_substitutions(subject))

    return perform


@pytest.fixture
def python() -> Callable[[str], list[str]]:
    """The command that runs Python code, unbuffered."""
    return lambda code: [sys.executable, "-u", "-c", code]
