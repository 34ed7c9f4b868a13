"""How launch tests fail, seen from outside."""

import subprocess
import sys

import pytest

HEADER = """
import launch, launch_pytest, pytest
from launch.actions import ExecuteProcess, OpaqueFunction
from launch_pytest.actions import ReadyToTest
from launch_pytest.tools import process as tools

process = ExecuteProcess(cmd=['sleep', '30'], cached_output=True)

@launch_pytest.fixture
def description():
    return launch.LaunchDescription([process, ReadyToTest()])
"""
CASES = {
    "passes": ("def test(): pass", "1 passed"),
    "fails": ("def test(): assert False", "1 failed"),
    "coroutine fails": ("async def test(): assert False", "1 failed"),
    "fails after shutdown": ("def test():\n    yield\n    assert False", "1 failed"),
    "async fails after shutdown": ("async def test():\n    yield\n    assert False", "1 failed"),
    "yields twice": ("def test():\n    yield\n    yield", "1 failed"),
    "waits for output without a timeout": (
        "def test(launch_context):\n"
        "    tools.wait_for_output_sync(launch_context, process, lambda text: False)",
        "1 failed",
    ),
}
UNFIT = {
    "no launch description": "return None",
    "an empty list": "return []",
    "a list that begins with something else": "return [5, launch.LaunchDescription([])]",
    "two actions that say it is ready": "return launch.LaunchDescription([ReadyToTest()] * 2)",
}


@pytest.mark.parametrize("case", CASES)
def test_outcome(tmp_path, case):
    body, outcome = CASES[case]
    mark = "@pytest.mark.launch(fixture=description)\n"
    assert outcome in _pytest(tmp_path, HEADER + mark + body)


def test_a_generator_cannot_be_run_after_shutdown(tmp_path):
    mark = "@pytest.mark.launch(fixture=description, shutdown=True)\n"
    assert "1 failed" in _pytest(tmp_path, HEADER + mark + "def test():\n    yield\n")


@pytest.mark.parametrize("what", UNFIT)
def test_what_a_fixture_gives_must_fit(tmp_path, what):
    text = f"""
@launch_pytest.fixture
def unfit():
    {UNFIT[what]}

@pytest.mark.launch(fixture=unfit)
def test(): pass
"""
    assert "1 error" in _pytest(tmp_path, HEADER + text)


def _pytest(folder, text: str) -> str:
    path = folder / "test_it.py"
    path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    ).stdout
