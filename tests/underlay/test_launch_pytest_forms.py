"""The four forms of launch tests, and all the waiting tools."""

import sys

import launch
import launch_pytest
import pytest
from launch.actions import ExecuteProcess, TimerAction
from launch_pytest.actions import ReadyToTest
from launch_pytest.tools import process as tools

TALKER = """
import sys, time
try:
    sys.stdout.write('ready\\n')
    sys.stderr.write('warned\\n')
    time.sleep(30)
except KeyboardInterrupt:
    sys.stdout.write('bye\\n')
"""
TIMEOUT_S = 10.0


def talker() -> ExecuteProcess:
    return ExecuteProcess(cmd=[sys.executable, "-u", "-c", TALKER], cached_output=True)


@pytest.fixture
def process():
    return talker()


@launch_pytest.fixture
def own_launch(process):
    return launch.LaunchDescription([process, ReadyToTest()])


@pytest.mark.launch(fixture=own_launch)
def test_function(process, launch_context):
    assert tools.wait_for_output_sync(
        launch_context, process, lambda text: "ready\n" in text, timeout=TIMEOUT_S
    )
    assert tools.wait_for_stderr_sync(
        launch_context, process, lambda text: text == "warned\n", timeout=TIMEOUT_S
    )
    assert not tools.wait_for_output_sync(
        launch_context, process, lambda text: "never" in text, timeout=0.2
    )
    assert not tools.wait_for_exit_sync(launch_context, process, timeout=0.2)


@pytest.mark.launch(fixture=own_launch)
async def test_coroutine(process, launch_context):
    assert await tools.wait_for_output(
        launch_context, process, lambda text: "ready\n" in text, timeout=TIMEOUT_S
    )
    assert await tools.wait_for_stderr(
        launch_context, process, lambda text: text == "warned\n", timeout=TIMEOUT_S
    )
    assert not await tools.wait_for_output(
        launch_context, process, lambda text: "never" in text, timeout=0.2
    )
    assert not await tools.wait_for_exit(launch_context, process, timeout=0.2)


@pytest.mark.launch(fixture=own_launch)
def test_generator(process, launch_context):
    def validate(text):
        assert "ready\n" in text

    tools.assert_output_sync(launch_context, process, validate, timeout=TIMEOUT_S)
    yield
    assert process.return_code == 0
    assert process.get_stdout() == "ready\nbye\n"


@pytest.mark.launch(fixture=own_launch)
async def test_async_generator(process, launch_context):
    def validate(text):
        assert "warned" in text

    await tools.assert_stderr(launch_context, process, validate, timeout=TIMEOUT_S)
    yield
    assert process.get_stdout() == "ready\nbye\n"


@pytest.mark.launch(fixture=own_launch, shutdown=True)
def test_after_shutdown(process, launch_service):
    assert process.return_code is not None
    assert launch_service.context.is_shutdown


@pytest.mark.launch(fixture=own_launch)
def test_assertions_of_validators_come_out(process, launch_context):
    def validate(text):
        assert "never" in text, "on purpose"

    for tool in (tools.assert_output_sync, tools.assert_stderr_sync):
        with pytest.raises(AssertionError, match="on purpose"):
            tool(launch_context, process, validate, timeout=0.2)


@pytest.fixture
def late_process():
    return ExecuteProcess(cmd=["sleep", "0.5"])


@launch_pytest.fixture
def late_launch(late_process):
    timer = TimerAction(period=0.5, actions=[late_process])
    return launch.LaunchDescription([timer, ReadyToTest()]), "more"


@pytest.mark.launch(fixture=late_launch)
async def test_start_and_exit(late_process, late_launch, launch_context):
    assert late_launch[1] == "more"
    assert await tools.wait_for_start(launch_context, late_process, timeout=TIMEOUT_S)
    assert await tools.wait_for_exit(launch_context, late_process, timeout=TIMEOUT_S)


@pytest.mark.launch(fixture=late_launch)
def test_start_and_exit_sync(late_process, launch_context):
    assert tools.wait_for_start_sync(launch_context, late_process, timeout=TIMEOUT_S)
    assert tools.wait_for_exit_sync(launch_context, late_process, timeout=TIMEOUT_S)
