"""Arguments, conditions, includes and scopes."""

import os

import pytest
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
    UnsetEnvironmentVariable,
    UnsetLaunchConfiguration,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.launch_description_sources import (
    AnyLaunchDescriptionSource,
    PythonLaunchDescriptionSource,
)
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, ThisLaunchFileDir

INCLUDED = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('robot', default_value='plain', description='which robot'),
        SetLaunchConfiguration('seen_robot', LaunchConfiguration('robot')),
        SetLaunchConfiguration('seen_folder', ThisLaunchFileDir()),
    ])
"""
REQUIRING = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

def generate_launch_description():
    return LaunchDescription([DeclareLaunchArgument('robot')])
"""


@pytest.fixture
def seen():
    return []


@pytest.fixture
def note(seen):
    """Make an action that notes the text of substitutions when it is visited."""

    def make(*subjects, **kwargs):
        return OpaqueFunction(
            function=lambda context: seen.append(
                "".join(s if isinstance(s, str) else s.perform(context) for s in subjects)
            ),
            **kwargs,
        )

    return make


@pytest.fixture
def included(tmp_path):
    path = tmp_path / "sub" / "included.launch.py"
    path.parent.mkdir()
    path.write_text(INCLUDED)
    return str(path)


def test_argument_takes_its_default(run, note, seen):
    assert (
        run(
            SetLaunchConfiguration("base", "b"),
            DeclareLaunchArgument("a", default_value=["1", LaunchConfiguration("base")]),
            note(LaunchConfiguration("a")),
        )
        == 0
    )
    assert seen == ["1b"]


def test_argument_keeps_what_was_given(run, note, seen):
    run(
        SetLaunchConfiguration("a", "given"),
        DeclareLaunchArgument("a", default_value="1"),
        note(LaunchConfiguration("a")),
    )
    assert seen == ["given"]


def test_missing_argument_ends_the_launch(run, note, seen):
    assert run(DeclareLaunchArgument("a"), note("too far")) == 1
    assert seen == []


def test_choices(run, note, seen):
    argument = DeclareLaunchArgument("a", default_value="x", choices=["x", "y"])
    assert run(argument, note(LaunchConfiguration("a"))) == 0
    assert run(SetLaunchConfiguration("a", "z"), argument, note("too far")) == 1
    assert seen == ["x"]
    with pytest.raises(RuntimeError, match="z"):
        DeclareLaunchArgument("a", default_value="z", choices=["x", "y"])
    with pytest.raises(RuntimeError):
        DeclareLaunchArgument("a", choices=[])


@pytest.mark.parametrize(
    ("expression", "holds"),
    [("true", True), ("1", True), (" True ", True), ("false", False), ("0", False)],
)
def test_conditions(expression, holds):
    assert IfCondition(expression).evaluate(LaunchContext()) is holds
    assert UnlessCondition(expression).evaluate(LaunchContext()) is not holds


@pytest.mark.parametrize("expression", ["yes", "on", "", "2"])
def test_conditions_take_only_true_and_false(expression):
    with pytest.raises(ValueError, match="true"):
        IfCondition(expression).evaluate(LaunchContext())


def test_actions_and_groups_obey_their_condition(run, note, seen):
    run(
        SetLaunchConfiguration("on", "true"),
        note("a", condition=IfCondition(LaunchConfiguration("on"))),
        note("b", condition=UnlessCondition(LaunchConfiguration("on"))),
        GroupAction([note("c")], condition=IfCondition("false")),
        GroupAction([note("d")], condition=IfCondition("1")),
    )
    assert seen == ["a", "d"]


def test_include_passes_arguments(run, note, seen, included):
    code = run(
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(included), launch_arguments={"robot": "tall"}.items()
        ),
        note(LaunchConfiguration("seen_robot"), " ", LaunchConfiguration("seen_folder")),
    )
    assert code == 0
    assert seen == [f"tall {os.path.dirname(included)}"]


def test_arguments_of_an_include_leak(run, note, seen, included):
    run(
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(included), launch_arguments=[("robot", "tall")]
        ),
        note(LaunchConfiguration("robot")),
        IncludeLaunchDescription(included),
        note(LaunchConfiguration("seen_robot")),
    )
    assert seen == ["tall", "tall"]


def test_a_group_keeps_arguments_in(run, note, seen, included):
    run(
        GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(included), launch_arguments=[("robot", "tall")]
                )
            ]
        ),
        note(LaunchConfiguration("robot", default="unset")),
    )
    assert seen == ["unset"]


def test_include_from_a_path_with_substitutions(run, note, seen, included):
    folder, file = os.path.split(included)
    run(
        SetLaunchConfiguration("folder", folder),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource([LaunchConfiguration("folder"), "/", file])
        ),
        note(LaunchConfiguration("seen_robot")),
    )
    assert seen == ["plain"]


def test_include_misses_a_required_argument(run, note, seen, tmp_path):
    path = tmp_path / "requiring.launch.py"
    path.write_text(REQUIRING)
    source = AnyLaunchDescriptionSource(str(path))
    assert run(IncludeLaunchDescription(source), note("too far")) == 1
    assert run(IncludeLaunchDescription(source, launch_arguments=[("robot", "x")])) == 0
    assert seen == []


@pytest.mark.parametrize("content", [None, "x = (", "x = 1", "import no_such_module"])
def test_a_launch_file_that_cannot_be_loaded(run, note, seen, tmp_path, content):
    path = tmp_path / "wrong.launch.py"
    if content is not None:
        path.write_text(content)
    source = PythonLaunchDescriptionSource(str(path))
    assert run(IncludeLaunchDescription(source), note("too far")) == 1
    assert seen == []


def test_arguments_are_found_before_launching(included):
    description = LaunchDescription(
        [
            DeclareLaunchArgument("a", default_value="1", description="first"),
            GroupAction([DeclareLaunchArgument("b")], condition=IfCondition("true")),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(included)),
            DeclareLaunchArgument("a", default_value="2"),
            TimerAction(period=1.0, actions=[DeclareLaunchArgument("c")]),
            RegisterEventHandler(OnShutdown(on_shutdown=[])),
            OpaqueFunction(function=lambda context: [DeclareLaunchArgument("hidden")]),
        ]
    )
    found = {argument.name: argument for argument in description.get_launch_arguments()}
    assert list(found) == ["a", "b", "robot", "c"]
    assert [part.describe() for part in found["a"].default_value] == ["'1'"]
    assert found["robot"].description == "which robot"
    assert found["b"].default_value is None


def test_scopes_of_configurations_and_environment(run, note, seen):
    variable = "FORESIGHT_TEST_SCOPE"
    settings = [SetLaunchConfiguration("a", "2"), SetEnvironmentVariable(variable, "2")]
    both = [LaunchConfiguration("a"), EnvironmentVariable(variable)]
    run(
        SetLaunchConfiguration("a", "1"),
        SetEnvironmentVariable(variable, "1"),
        GroupAction([*settings, note(*both)]),
        note(*both),
        GroupAction([note(*both)], launch_configurations={"a": "3"}),
        GroupAction(settings, scoped=False),
        note(*both),
        UnsetLaunchConfiguration("a"),
        UnsetEnvironmentVariable(variable),
        note(
            LaunchConfiguration("a", default="-"),
            EnvironmentVariable(variable, default_value="-"),
        ),
    )
    assert seen == ["22", "11", "31", "22", "--"]


def test_opaque_function_takes_arguments_and_gives_entities(run, note, seen):
    def function(context, first, *, second):
        seen.append((first, second))
        return [note("from it")]

    run(OpaqueFunction(function=function, args=[1], kwargs={"second": 2}), note("after"))
    assert seen == [(1, 2), "from it", "after"]


def test_an_exception_ends_the_launch_with_code_1(run, note, seen):
    def fail(context):
        raise ValueError("on purpose")

    assert run(OpaqueFunction(function=fail), note("too far")) == 1
    assert seen == []


def test_timers_fire_in_order_unless_cancelled_or_shut_down(run, note, seen):
    cancelled = TimerAction(period=0.1, actions=[note("cancelled")])
    code = run(
        TimerAction(period=0.3, actions=[note("second"), Shutdown(reason="enough")]),
        TimerAction(period=0.05, actions=[note("first")]),
        TimerAction(period=30.0, actions=[note("too late")]),
        cancelled,
        OpaqueFunction(function=lambda context: cancelled.cancel()),
    )
    assert code == 0
    assert seen == ["first", "second"]


def test_shutdown_is_announced_once_with_its_reason(run, seen):
    def on_shutdown(event, context):
        seen.append((event.reason, context.is_shutdown))

    run(
        RegisterEventHandler(OnShutdown(on_shutdown=on_shutdown)),
        EmitEvent(event=ShutdownEvent(reason="enough")),
    )
    assert [reason for reason, _ in seen] == ["enough"]


def test_launch_file_gets_its_arguments_and_folder(run_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = run_file(
        "from launch import LaunchDescription\n"
        "from launch.actions import OpaqueFunction\n"
        "from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir\n"
        "def write(context):\n"
        "    texts = (LaunchConfiguration('a'), ThisLaunchFileDir())\n"
        "    open('out', 'w').write(' '.join(t.perform(context) for t in texts))\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([OpaqueFunction(function=write)])\n",
        a="1",
    )
    assert code == 0
    assert (tmp_path / "out").read_text() == f"1 {tmp_path}"


def test_describe_tells_what_a_substitution_stands_for():
    assert "robot" in LaunchConfiguration("robot").describe()
    assert ThisLaunchFileDir().describe() == "ThisLaunchFileDir()"
