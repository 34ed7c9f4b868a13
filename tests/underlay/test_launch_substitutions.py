import os

import pytest
from launch.substitutions import (
    AllSubstitution,
    AndSubstitution,
    AnySubstitution,
    EnvironmentVariable,
    EqualsSubstitution,
    FindExecutable,
    IfElseSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
    OrSubstitution,
    PathJoinSubstitution,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFileDir,
)
from launch.utilities import normalize_to_list_of_substitutions


def test_text_and_lists_are_joined(text):
    assert text(["a", TextSubstitution(text="b"), LaunchConfiguration("c")], c="c") == "abc"


@pytest.mark.parametrize("wrong", [3, None, [1.5]])
def test_other_types_are_refused(wrong):
    with pytest.raises(TypeError):
        normalize_to_list_of_substitutions(wrong)


def test_launch_configuration(text):
    assert text(LaunchConfiguration("x"), x="1") == "1"
    assert text(LaunchConfiguration("x", default="d"), x="1") == "1"
    assert text(LaunchConfiguration("x", default="d")) == "d"
    assert text(LaunchConfiguration("x", default=["d", LaunchConfiguration("y")]), y="2") == "d2"
    assert text(LaunchConfiguration("x", default=5)) == "5"
    assert text(LaunchConfiguration(["a", LaunchConfiguration("b")]), b="b", ab="!") == "!"


def test_unset_launch_configuration_is_named(text):
    with pytest.raises(SubstitutionFailure, match="robot"):
        text(LaunchConfiguration("robot"))


def test_environment_variable(text, monkeypatch):
    monkeypatch.setenv("FORESIGHT_TEST", "value")
    assert text(EnvironmentVariable("FORESIGHT_TEST")) == "value"
    monkeypatch.delenv("FORESIGHT_TEST")
    assert text(EnvironmentVariable("FORESIGHT_TEST", default_value="other")) == "other"
    with pytest.raises(SubstitutionFailure, match="FORESIGHT_TEST"):
        text(EnvironmentVariable("FORESIGHT_TEST"))


def test_path_join(text):
    joined = PathJoinSubstitution([LaunchConfiguration("folder"), "config", "a.yaml"])
    assert text(joined, folder="/x") == os.path.join("/x", "config", "a.yaml")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 1", "2"),
        (["'", LaunchConfiguration("n"), "' == '3'"], "True"),
        (["sqrt(4.0) + ", LaunchConfiguration("n")], "5.0"),
        ("math.floor(2.5)", "2"),
    ],
)
def test_python_expression(text, expression, value):
    assert text(PythonExpression(expression), n="3") == value


def test_python_expression_with_other_modules(text):
    assert text(PythonExpression("os.sep", ["os"])) == os.sep


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("a", "a", "true"),
        ("a", "b", "false"),
        ("true", "1", "true"),
        ("True", "false", "false"),
        ("1.0", "1", "true"),
        ("0.5", "0.25", "false"),
        (True, "true", "true"),
        (None, "", "true"),
        (2, "2.0", "true"),
    ],
)
def test_equals(text, left, right, equal):
    assert text(EqualsSubstitution(left, right)) == equal
    opposite = {"true": "false", "false": "true"}[equal]
    assert text(NotEqualsSubstitution(left, right)) == opposite


@pytest.mark.parametrize(
    ("substitution", "value"),
    [
        (NotSubstitution("true"), "false"),
        (NotSubstitution("0"), "true"),
        (AndSubstitution("true", "1"), "true"),
        (AndSubstitution("true", "false"), "false"),
        (OrSubstitution("false", "true"), "true"),
        (OrSubstitution("false", "0"), "false"),
        (AllSubstitution("true", "on", "1"), "true"),
        (AllSubstitution("true", "off"), "false"),
        (AnySubstitution("false", "true", "false"), "true"),
        (AnySubstitution("false"), "false"),
    ],
)
def test_logic(text, substitution, value):
    assert text(substitution) == value


def test_logic_refuses_what_is_no_truth(text):
    with pytest.raises(SubstitutionFailure):
        text(NotSubstitution("maybe"))


def test_if_else(text):
    choice = IfElseSubstitution(LaunchConfiguration("on"), if_value="yes", else_value="no")
    assert text(choice, on="true") == "yes"
    assert text(choice, on="false") == "no"
    with pytest.raises(RuntimeError):
        IfElseSubstitution("true")


def test_find_executable(text):
    assert os.access(text(FindExecutable(name="sh")), os.X_OK)
    with pytest.raises(SubstitutionFailure):
        text(FindExecutable(name="no-such-executable"))


def test_this_launch_file_dir_needs_a_launch_file(text):
    with pytest.raises(SubstitutionFailure):
        text(ThisLaunchFileDir())
