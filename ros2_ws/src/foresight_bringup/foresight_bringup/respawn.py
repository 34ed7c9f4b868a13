"""Starts processes of a launch again that have ended: later and later, and not for ever.

launch's own respawn waits for the same time before each start, does not give up, and starts a
process with the same words as the first time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from launch import LaunchContext
from launch.action import Action
from launch.actions import (
    ExecuteProcess,
    GroupAction,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.logging import get_logger

from foresight_bringup.processes import OnExit, started


@dataclass
class BackOff:
    """How long to wait before a process that has ended is started again.

    Attributes:
        first_s, longest_s: the delay doubles from the one up to the other.
        tries: starts in a row that may come to nothing.
        well_s: a process that lived for so long was well: the counting begins anew.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    tries: int = 6
    well_s: float = 60.0
    ends: int = 0

    def delay_s(self, lived_s: float) -> float | None:
        """The delay after the end of a process that lived for `lived_s`; None: give up."""
        self.ends = 1 if lived_s >= self.well_s else self.ends + 1
        if self.ends > self.tries:
            return None
        return min(self.first_s * 2.0 ** (self.ends - 1), self.longest_s)


def respawning(
    make: Callable[[], ExecuteProcess],
    context: LaunchContext,
    back_off: BackOff,
    at_last: OnExit | None = None,
) -> list[Action]:
    """A process that is started again whenever it ends, until the launch does.

    Args:
        make: gives the process. The launch configuration `respawned` is true, or at its first
            start false.
        context: whose configurations and environment hold for each start, as they are when the
            result is visited.
        back_off: when.
        at_last: what to do when that is given up.
    """
    context.launch_configurations["respawned"] = "false"
    settings: dict[str, str] = {}
    environment: dict[str, str] = {}

    def keep(now: LaunchContext) -> None:
        """A group around us takes both back when it is done, long before the next start."""
        settings.update(now.launch_configurations, respawned="true")
        environment.update(now.environment)

    def restore(later: LaunchContext) -> None:
        later.launch_configurations.update(settings)
        later.environment.update(environment)

    def start() -> list[Action]:
        process, began_s = make(), time.monotonic()

        def on_exit(event: ProcessExited, now: LaunchContext) -> Action | list[Action] | None:
            if now.is_shutdown:
                return None
            lived_s = time.monotonic() - began_s
            delay_s, log = back_off.delay_s(lived_s), get_logger(event.process_name)
            ended = f"ended with code {event.returncode} after {lived_s:.0f} s"
            if delay_s is None:
                log.error(
                    f"{ended}, for the {back_off.ends}th time in a row; it is not started again: "
                    f"see above why, mend it and launch anew"
                )
                return at_last(event, now) if at_last is not None else None
            log.warning(f"{ended}; starting it again in {delay_s:g} s")
            anew = [
                OpaqueFunction(function=restore),
                OpaqueFunction(function=lambda _: start()),
            ]
            return TimerAction(period=delay_s, actions=[GroupAction(anew)], cancel_on_shutdown=True)

        handler = OnProcessExit(target_action=process, on_exit=on_exit)
        return [RegisterEventHandler(handler), *started(process)]

    return [OpaqueFunction(function=keep), *start()]
