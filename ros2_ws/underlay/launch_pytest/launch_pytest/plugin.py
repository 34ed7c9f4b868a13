"""The pytest plugin: runs launch descriptions around tests, and tests beside them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from launch import LaunchDescription, LaunchDescriptionEntity, LaunchService

from .actions import ReadyToTest
from .fixture import LaunchFixture, finish, service_fixtures

_function_fixtures = service_fixtures("function")
event_loop = _function_fixtures["event_loop"]
launch_service = _function_fixtures["launch_service"]
launch_context = _function_fixtures["launch_context"]


def pytest_configure(config: pytest.Config) -> None:
    """Document the mark."""
    config.addinivalue_line(
        "markers",
        "launch(fixture=FIXTURE, shutdown=False): run the test beside the launch description that "
        "FIXTURE gives, or after its shutdown",
    )


# the launch


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the launch description that a launch fixture gives, up to its ReadyToTest."""
    settings: LaunchFixture | None = getattr(fixturedef.func, "_launch_pytest", None)
    if settings is None:
        return (yield)
    service: LaunchService = request.getfixturevalue("launch_service")
    loop: asyncio.AbstractEventLoop = request.getfixturevalue("event_loop")
    result = yield
    description = result[0] if isinstance(result, Sequence) and result else result
    assert isinstance(description, LaunchDescription), (
        f"launch fixture {settings.name} must return a LaunchDescription, or a sequence that "
        f"begins with one, got {result!r}"
    )
    ready = loop.create_future()
    _ready_action(settings, description)._add_callback(
        lambda: ready.done() or ready.set_result(None)
    )
    service.include_launch_description(description)
    run = loop.create_task(service.run_async(shutdown_when_idle=settings.shutdown_when_idle))
    fixturedef.addfinalizer(functools.partial(finish, service, settings.auto_shutdown))
    loop.run_until_complete(asyncio.wait({run, ready}, return_when=asyncio.FIRST_COMPLETED))
    if not ready.done():
        pytest.fail(f"the launch of {settings.name} ended before it was ready: its log says why")
    return result


def _ready_action(settings: LaunchFixture, description: LaunchDescription) -> ReadyToTest:
    """Return the description's ReadyToTest, put at its end if there is none."""
    found = list(_find_ready(description.entities))
    if len(found) > 1:
        raise RuntimeError(f"launch fixture {settings.name} has {len(found)} ReadyToTest actions")
    if not found:
        found = [ReadyToTest()]
        description.add_action(found[0])
    return found[0]


def _find_ready(entities: Iterable[LaunchDescriptionEntity]) -> Iterator[ReadyToTest]:
    for entity in entities:
        if isinstance(entity, ReadyToTest):
            yield entity
        yield from _find_ready(entity.describe_sub_entities())
        for _, sub_entities in entity.describe_conditional_sub_entities():
            yield from _find_ready(sub_entities)


# collection


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: Any
) -> list[pytest.Function] | None:
    """Collect launch tests, of which pytest itself would refuse coroutines and generators."""
    if not inspect.isfunction(obj) or not collector.funcnamefilter(name):
        return None
    mark = next((m for m in getattr(obj, "pytestmark", ()) if m.name == "launch"), None)
    mark = mark or collector.get_closest_marker("launch")
    if mark is None:
        return None
    settings: LaunchFixture | None = getattr(mark.kwargs.get("fixture"), "_launch_pytest", None)
    if settings is None:
        raise collector.CollectError(
            f"{name}: @pytest.mark.launch needs fixture=a function made by @launch_pytest.fixture"
        )
    shutdown = mark.kwargs.get("shutdown", False)
    pytest.mark.usefixtures(settings.name, "launch_service", "event_loop")(obj)
    items = list(collector._genfunctions(name, obj))
    for item in items:
        item._launch = _LaunchTest(settings, shutdown)
    if not _is_in_two_parts(obj) or shutdown or settings.scope == "function":
        return items
    # others still use the launch: the second part becomes an item that runs after all of them
    second_items = list(collector._genfunctions(name, obj))
    for item, second in zip(items, second_items, strict=True):
        second.name += "[shutdown_test]"
        second._nodeid += "[shutdown_test]"
        second._launch = _LaunchTest(settings, shutdown=True, is_second=True)
        item._launch.second = second._launch
    return items + second_items


def _is_in_two_parts(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move tests that shut a shared launch down behind the others that use it."""
    for item in [item for item in items if _shares_shutdown(item)]:
        users = [i for i, other in enumerate(items) if _same_launch(item, other)]
        last = max((i for i in users if not items[i]._launch.shutdown), default=-1)
        position = items.index(item)
        if position < last:
            items.insert(last, items.pop(position))


def _shares_shutdown(item: pytest.Item) -> bool:
    test = getattr(item, "_launch", None)
    return test is not None and test.shutdown and test.settings.scope != "function"


def _same_launch(item: pytest.Item, other: pytest.Item) -> bool:
    """Return whether two tests use one launch: the same fixture with the same parameter."""
    test, other_test = item._launch, getattr(other, "_launch", None)
    if other_test is None or test.settings is not other_test.settings:
        return False
    name = test.settings.name
    params = [getattr(i, "callspec", None) and i.callspec.params.get(name) for i in (item, other)]
    return params[0] == params[1] and (
        test.settings.scope not in ("module", "class") or item.parent == other.parent
    )


# the tests


class _LaunchTest:
    """How one collected test is to be run; `generator` is what the first part left suspended."""

    def __init__(self, settings: LaunchFixture, shutdown: bool, is_second: bool = False) -> None:
        self.settings = settings
        self.shutdown = shutdown
        self.is_second = is_second
        self.second: _LaunchTest | None = None
        self.generator: Any = None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a launch test while its launch goes on in the event loop, or after its shutdown."""
    test: _LaunchTest | None = getattr(pyfuncitem, "_launch", None)
    if test is None:
        return None
    loop: asyncio.AbstractEventLoop = pyfuncitem.funcargs["event_loop"]
    service: LaunchService = pyfuncitem.funcargs["launch_service"]
    function = pyfuncitem.obj
    if test.shutdown and not test.is_second and _is_in_two_parts(function):
        pytest.fail(
            "what follows a generator's yield runs after shutdown, so it cannot be marked "
            "shutdown=True",
            pytrace=False,
        )
    if test.shutdown:
        finish(service, test.settings.auto_shutdown)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    if inspect.iscoroutinefunction(function):
        loop.run_until_complete(function(**arguments))
    elif not _is_in_two_parts(function):
        loop.run_until_complete(_in_thread(functools.partial(function, **arguments)))
    elif test.shutdown:
        if test.generator is None:
            pytest.skip("its first part failed")
        _second_part(loop, test.generator)
    else:
        generator = function(**arguments)
        _first_part(loop, generator)
        if test.second is not None:
            test.second.generator = generator
        else:
            finish(service, test.settings.auto_shutdown)
            _second_part(loop, generator)
    return True


def _first_part(loop: asyncio.AbstractEventLoop, generator: Any) -> None:
    """Run up to the yield; with ROS 2's launch a generator that has none hangs or fails."""
    if inspect.isasyncgen(generator):
        loop.run_until_complete(anext(generator))
        return
    ended = object()
    if loop.run_until_complete(_in_thread(functools.partial(next, generator, ended))) is ended:
        pytest.fail("a launch test that is a generator must yield once", pytrace=False)


def _second_part(loop: asyncio.AbstractEventLoop, generator: Any) -> None:
    """Run what follows the yield."""
    try:
        if inspect.isasyncgen(generator):
            loop.run_until_complete(anext(generator))
        else:
            next(generator)
    except (StopIteration, StopAsyncIteration):
        return
    pytest.fail("a launch test may yield only once", pytrace=False)


async def _in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function)
