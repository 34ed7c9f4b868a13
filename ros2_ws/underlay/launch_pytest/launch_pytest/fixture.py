"""The fixtures: the user's, which give launch descriptions, and those that run them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from launch import LaunchContext, LaunchService

_SCOPES = ("function", "class", "module", "package", "session")


class LaunchFixture(NamedTuple):
    """What `fixture` was told about the launch description that a function gives."""

    name: str
    scope: str
    shutdown_when_idle: bool
    auto_shutdown: bool


def fixture(
    decorated: Callable[..., Any] | None = None,
    *args: Any,
    shutdown_when_idle: bool = True,
    auto_shutdown: bool = True,
    **kwargs: Any,
) -> Any:
    """Make a pytest fixture of a function that returns a LaunchDescription.

    The function may also return a sequence that begins with one. Other arguments are those of
    pytest.fixture. Without `auto_shutdown` the launch is expected to end by itself.
    """
    scope = kwargs.get("scope", "function")
    if scope != "function":
        _provide_service(sys._getframe(1).f_globals, scope)

    def decorate(function: Callable[..., Any]) -> Any:
        settings = LaunchFixture(function.__name__, scope, shutdown_when_idle, auto_shutdown)
        function._launch_pytest = settings
        made = pytest.fixture(*args, **kwargs)(function)
        made._launch_pytest = settings
        return made

    return decorate if decorated is None else decorate(decorated)


def finish(service: LaunchService, auto_shutdown: bool = True) -> None:
    """End a launch, and wait for its end; AssertionError if it failed."""
    if auto_shutdown:
        service.shutdown(force_sync=True)
    if service.task is not None and not service.task.get_loop().is_closed():
        code = service.task.get_loop().run_until_complete(service.task)
        assert code == 0, f"the launch ended with code {code}: its log says why"


def service_fixtures(scope: str) -> dict[str, Any]:
    """Return the fixtures that run launch descriptions, made for a scope."""

    @pytest.fixture(scope=scope)
    def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
        """The loop that the launch and the coroutines under test run in."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        yield loop
        loop.close()
        asyncio.set_event_loop(None)

    @pytest.fixture(scope=scope)
    def launch_service(event_loop: asyncio.AbstractEventLoop) -> Iterator[LaunchService]:
        """The service that runs the launch description."""
        service = LaunchService()
        yield service
        finish(service)

    @pytest.fixture(scope=scope)
    def launch_context(launch_service: LaunchService) -> LaunchContext:
        """The context of the running launch."""
        return launch_service.context

    return {
        "event_loop": event_loop,
        "launch_service": launch_service,
        "launch_context": launch_context,
    }


def _provide_service(module: dict[str, Any], scope: str) -> None:
    """Give a test module running fixtures that live as long as `scope`, unless it has its own."""
    present = module.get("_launch_pytest_scope")
    if present is not None and _SCOPES.index(present) >= _SCOPES.index(scope):
        return
    ours = module.get("_launch_pytest_fixtures", {})
    made = service_fixtures(scope)
    for name, made_fixture in made.items():
        if module.get(name) is ours.get(name):
            module[name] = made_fixture
    module["_launch_pytest_fixtures"] = made
    module["_launch_pytest_scope"] = scope
