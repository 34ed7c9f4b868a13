"""Tests that share one launch: what follows its shutdown comes after all else.

A module has launches of one scope: launch_pytest gives it one launch service.
"""

import sys

import launch
import launch_pytest
import pytest
from launch.actions import ExecuteProcess
from launch_pytest.actions import ReadyToTest
from launch_pytest.tools import process as tools

TALKER = """
import sys, time
try:
    sys.stdout.write('ready\\n')
    time.sleep(30)
except KeyboardInterrupt:
    sys.stdout.write('bye\\n')
"""
order = []


@pytest.fixture(scope="module")
def shared_process():
    return ExecuteProcess(cmd=[sys.executable, "-u", "-c", TALKER], cached_output=True)


@launch_pytest.fixture(scope="module")
def shared_launch(shared_process):
    return launch.LaunchDescription([shared_process, ReadyToTest()])


@pytest.mark.launch(fixture=shared_launch, shutdown=True)
def test_shared_ends_last(shared_process):
    order.append("shutdown")
    assert shared_process.return_code == 0


@pytest.mark.launch(fixture=shared_launch)
def test_shared_generator(shared_process, launch_context):
    order.append("first part")
    assert tools.wait_for_output_sync(
        launch_context, shared_process, lambda text: "ready\n" in text, timeout=10.0
    )
    yield
    order.append("second part")
    assert shared_process.get_stdout() == "ready\nbye\n"


@pytest.mark.launch(fixture=shared_launch)
async def test_shared_is_the_same_launch(shared_process, launch_service):
    order.append("coroutine")
    assert shared_process.process_details["pid"]
    assert shared_process.return_code is None
    assert not launch_service.context.is_shutdown


def test_shared_launches_shut_down_after_their_last_use():
    assert order[:2] == ["first part", "coroutine"]
    assert sorted(order[2:]) == ["second part", "shutdown"]
