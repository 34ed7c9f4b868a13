"""Wait for what processes write and do.

Every tool comes as a coroutine for tests that are coroutines and as a `_sync` function for others.
Those for output take a function of the text written so far and need `cached_output=True` of the
process: `wait_for_*` return whether the function's answer became true within `timeout` (s),
`assert_*` let its AssertionError out if it still fails then. They need a timeout unless all is well
at once: TypeError without. Those for start and exit return whether it happened, counted from the
call; without a timeout they wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from launch import LaunchContext
from launch.actions import ExecuteProcess
from launch.event_handler import BaseEventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart

MakeHandler = Callable[[ExecuteProcess, Callable[..., None]], BaseEventHandler]
Condition = Callable[[], Any]


@contextlib.contextmanager
def _registered(context: LaunchContext, handler: BaseEventHandler) -> Iterator[None]:
    context.register_event_handler(handler, append=True)
    try:
        yield
    finally:
        context.unregister_event_handler(handler)


async def _wait(
    context: LaunchContext,
    handler: BaseEventHandler,
    seen: asyncio.Event,
    holds: Condition,
    timeout: float | None,
) -> Any:
    """Wait until `holds`, asked now and whenever the handler has `seen` an event."""
    with _registered(context, handler), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while not (held := holds()):
                await seen.wait()
                seen.clear()
    return held


def _wait_sync(
    context: LaunchContext,
    handler: BaseEventHandler,
    seen: threading.Event,
    holds: Condition,
    timeout: float | None,
) -> Any:
    """Do the same in a thread that is not the launch's."""
    end = None if timeout is None else time.monotonic() + timeout
    with _registered(context, handler):
        while not (held := holds()):
            if not seen.wait(None if end is None else max(0.0, end - time.monotonic())):
                break
            seen.clear()
    return held


def _require(timeout: float | None, held: Any) -> None:
    """Refuse to wait for output without an end, as ROS 2's launch_pytest does."""
    if timeout is None and not held:
        raise TypeError("waiting for output takes a timeout (s)")


def _output_tools(source: str, is_assertion: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the coroutine function and the function that wait for output from `source`."""

    def make(action: ExecuteProcess, note: Callable[..., None]) -> BaseEventHandler:
        return OnProcessIO(target_action=action, **{f"on_{source}": note})

    def condition(action: ExecuteProcess, validate: Callable[[str], Any]) -> Condition:
        read = getattr(action, f"get_{source}")

        def passes() -> bool:
            try:
                validate(read())
            except AssertionError:
                return False
            return True

        return passes if is_assertion else lambda: validate(read())

    def conclude(action: ExecuteProcess, validate: Callable[[str], Any], held: Any) -> Any:
        if is_assertion and not held:
            validate(getattr(action, f"get_{source}")())
        return None if is_assertion else held

    async def wait(
        launch_context: LaunchContext,
        execute_process_action: ExecuteProcess,
        validate_output: Callable[[str], Any],
        timeout: float | None = None,
    ) -> Any:
        seen = asyncio.Event()
        handler = make(execute_process_action, lambda _: seen.set())
        holds = condition(execute_process_action, validate_output)
        _require(timeout, holds())
        held = await _wait(launch_context, handler, seen, holds, timeout)
        return conclude(execute_process_action, validate_output, held)

    def wait_sync(
        launch_context: LaunchContext,
        execute_process_action: ExecuteProcess,
        validate_output: Callable[[str], Any],
        timeout: float | None = None,
    ) -> Any:
        seen = threading.Event()
        handler = make(execute_process_action, lambda _: seen.set())
        holds = condition(execute_process_action, validate_output)
        _require(timeout, holds())
        held = _wait_sync(launch_context, handler, seen, holds, timeout)
        return conclude(execute_process_action, validate_output, held)

    return wait, wait_sync


def _event_tools(make: MakeHandler) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the coroutine function and the function that wait for an event."""

    async def wait(
        launch_context: LaunchContext,
        execute_process_action: ExecuteProcess,
        timeout: float | None = None,
    ) -> bool:
        seen, happened = asyncio.Event(), threading.Event()
        handler = make(execute_process_action, lambda *_: (happened.set(), seen.set())[0])
        return await _wait(launch_context, handler, seen, happened.is_set, timeout)

    def wait_sync(
        launch_context: LaunchContext,
        execute_process_action: ExecuteProcess,
        timeout: float | None = None,
    ) -> bool:
        seen, happened = threading.Event(), threading.Event()
        handler = make(execute_process_action, lambda *_: (happened.set(), seen.set())[0])
        return _wait_sync(launch_context, handler, seen, happened.is_set, timeout)

    return wait, wait_sync


wait_for_output, wait_for_output_sync = _output_tools("stdout", is_assertion=False)
wait_for_stderr, wait_for_stderr_sync = _output_tools("stderr", is_assertion=False)
assert_output, assert_output_sync = _output_tools("stdout", is_assertion=True)
assert_stderr, assert_stderr_sync = _output_tools("stderr", is_assertion=True)
wait_for_start, wait_for_start_sync = _event_tools(
    lambda action, note: OnProcessStart(target_action=action, on_start=note)
)
wait_for_exit, wait_for_exit_sync = _event_tools(
    lambda action, note: OnProcessExit(target_action=action, on_exit=note)
)
