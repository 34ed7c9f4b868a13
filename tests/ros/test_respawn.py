"""Processes that are started again: when, how often, and as what."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch import LaunchContext, LaunchDescription, LaunchService
from launch.action import Action
from launch.actions import (
    ExecuteProcess,
    GroupAction,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessStart
from launch.substitutions import LaunchConfiguration

from foresight_bringup.processes import OnExit, required
from foresight_bringup.respawn import BackOff, respawning

pytestmark = pytest.mark.timeout(60)


def test_the_delay_doubles_up_to_a_limit_and_then_it_is_given_up() -> None:
    back_off = BackOff(first_s=1.0, longest_s=10.0, tries=6)
    delays = [back_off.delay_s(lived_s=0.5) for _ in range(8)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, None, None]


def test_a_process_that_ran_well_is_started_soon_again() -> None:
    back_off = BackOff(first_s=1.0, well_s=60.0)
    assert [back_off.delay_s(lived_s) for lived_s in (5.0, 5.0, 61.0, 5.0)] == [1, 2, 1, 2]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What launch logs, to whichever stream it does so."""
    texts: list[str] = []
    make = logging.getLogRecordFactory()

    def note(*args: object, **more: object) -> logging.LogRecord:
        record = make(*args, **more)
        texts.append(record.getMessage())
        return record

    logging.setLogRecordFactory(note)
    yield texts
    logging.setLogRecordFactory(make)


class Launched:
    """A launch in which a process ends at once whenever it is started."""

    def __init__(self, tmp_path: Path, back_off: BackOff, at_last: OnExit | None = None) -> None:
        self.log = tmp_path / "said"
        self.started: list[float] = []
        self.back_off, self.at_last = back_off, at_last
        self.code: int | None = None

    def _make(self) -> ExecuteProcess:
        program = "import sys; print(*sys.argv[2:], file=open(sys.argv[1], 'a')); sys.exit(3)"
        words = [LaunchConfiguration("word"), LaunchConfiguration("respawned")]
        command = [sys.executable, "-c", program, str(self.log), *words]
        return ExecuteProcess(cmd=command, name="mayfly")

    def run(self, *more: object) -> list[str]:
        """What the processes said."""

        def note(_event: object, _context: object) -> None:
            self.started.append(time.monotonic())

        service = LaunchService()
        service.include_launch_description(
            LaunchDescription(
                [
                    RegisterEventHandler(OnProcessStart(on_start=note)),
                    SetLaunchConfiguration("word", "first"),
                    OpaqueFunction(
                        function=lambda context: respawning(
                            self._make, context, self.back_off, self.at_last
                        )
                    ),
                    # as the arguments of another launch file that is included later do
                    SetLaunchConfiguration("word", "other"),
                    *more,
                ]
            )
        )
        self.code = service.run()
        return self.log.read_text().splitlines()


def test_it_is_started_with_what_held_at_first_later_and_later_and_then_given_up(
    tmp_path: Path, logged: list[str]
) -> None:
    launched = Launched(tmp_path, BackOff(first_s=0.4, tries=3), required("the mayfly is missed"))
    assert launched.run() == ["first false", *["first true"] * 3]
    assert launched.code == 1
    gaps = [b - a for a, b in zip(launched.started, launched.started[1:], strict=False)]
    assert all(gap > delay for gap, delay in zip(gaps, (0.4, 0.8, 1.6), strict=True)), gaps
    text = "\n".join(logged)
    assert "for the 4th time in a row; it is not started again" in text
    assert "the mayfly is missed; its exit code was 3" in text
    assert "ended with code 3" in text and "starting it again in 0.8 s" in text


def test_nothing_is_started_after_the_launch_has_ended(tmp_path: Path) -> None:
    launched = Launched(tmp_path, BackOff(first_s=30.0))
    end = TimerAction(period=2.0, actions=[Shutdown(reason="the test is over")])
    began_s = time.monotonic()
    assert launched.run(end) == ["first false"]
    assert launched.code == 0
    assert time.monotonic() - began_s < 20.0


def test_in_a_group_it_is_started_again_with_the_group_s_settings_and_environment(
    tmp_path: Path,
) -> None:
    """As where a robot's own launch file includes the stack in a group, to remap its topics."""
    log = tmp_path / "said"
    program = (
        "import os, sys; print(sys.argv[2], os.environ.get('KEY'), file=open(sys.argv[1], 'a'))"
    )

    def make() -> ExecuteProcess:
        command = [sys.executable, "-c", program, str(log), LaunchConfiguration("managed")]
        return ExecuteProcess(cmd=command, name="mayfly")

    def processes(context: LaunchContext) -> list[Action]:
        given = [SetLaunchConfiguration("managed", "all"), SetEnvironmentVariable("KEY", "kept")]
        return [*given, *respawning(make, context, BackOff(first_s=0.1, tries=1))]

    service = LaunchService()
    group = GroupAction([OpaqueFunction(function=processes)])
    over = TimerAction(period=20.0, actions=[Shutdown()])
    service.include_launch_description(LaunchDescription([group, over]))
    threading.Thread(target=_end_when_started, args=(log, 2, service), daemon=True).start()
    assert service.run() == 0
    assert log.read_text().splitlines() == ["all kept"] * 2


def _end_when_started(log: Path, times: int, service: LaunchService) -> None:
    while not log.exists() or len(log.read_text().splitlines()) < times:
        time.sleep(0.05)
    service.shutdown()
