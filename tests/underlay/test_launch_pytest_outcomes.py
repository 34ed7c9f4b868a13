"""How launch tests fail, seen from outside."""

import subprocess
import sys

import pytest

HEADER = """
import launch, launch_pytest, pytest
from launch.actions import ExecuteProcess, OpaqueFunction
from launch_pytest.actions import ReadyToTest

@launch_pytest.fixture
def description():
    return launch.LaunchDescription([ExecuteProcess(cmd=['sleep', '30']), ReadyToTest()])
"""
CASES = {
    "passes": ("def test(): pass", "1 passed"),
    "fails": ("def test(): assert False", "1 failed"),
    "coroutine fails": ("async def test(): assert False", "1 failed"),
    "fails after shutdown": ("def test():\n    yield\n    assert False", "1 failed"),
    "async fails after shutdown": ("async def test():\n    yield\n    assert False", "1 failed"),
    "yields twice": ("def test():\n    yield\n    yield", "1 failed"),
}


@pytest.mark.parametrize("case", CASES)
def test_outcome(tmp_path, case):
    body, outcome = CASES[case]
    mark = "@pytest.mark.launch(fixture=description)\n"
    assert outcome in _pytest(tmp_path, HEADER + mark + body)


def _pytest(folder, text: str) -> str:
    path = folder / "test_it.py"
    path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    ).stdout
