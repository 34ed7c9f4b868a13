"""Nodes: what they are started with, and what a real one makes of it."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import PackageNotFoundError
from domain_coordinator import domain_id
from launch import LaunchContext
from launch.actions import GroupAction, OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, SubstitutionFailure
from launch_ros.actions import (
    LifecycleNode,
    Node,
    PushRosNamespace,
    SetParameter,
    SetRemap,
)
from launch_ros.descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import ExecutableInPackage, FindPackagePrefix, FindPackageShare

ECHO = "import json, sys; print(json.dumps(sys.argv[1:]))"


class Started:
    """What a node was started with."""

    def __init__(self, node: Node) -> None:
        (line,) = node.get_stdout().splitlines()
        self.words = json.loads(line)
        pairs = list(zip(self.words, self.words[1:], strict=False))
        self.rules = [word for flag, word in pairs if flag == "-r"]
        self.parameters = dict(word.split(":=") for flag, word in pairs if flag == "-p")
        self.files = [Path(word) for flag, word in pairs if flag == "--params-file"]

    @property
    def written(self) -> dict:
        """The content of the only parameter file."""
        (path,) = self.files
        # ROS 2's launch tags lists as Python's tuples, which rcl overlooks
        return yaml.safe_load(path.read_text().replace("!!python/tuple", ""))


def echo(**kwargs) -> Node:
    arguments = ["-c", ECHO, *kwargs.pop("arguments", ())]
    kwargs = {"executable": sys.executable, "cached_output": True} | kwargs
    return Node(arguments=arguments, **kwargs)


@pytest.fixture
def start(run):
    """Run one echoing node after other entities; returns what it was started with."""

    def run_node(*before, **kwargs) -> Started:
        node = echo(**kwargs)
        assert run(*before, node) == 0
        return Started(node)

    return run_node


def test_arguments_names_and_remappings(start):
    started = start(
        SetLaunchConfiguration("x", "a"),
        name=["cam", "era"],
        namespace=LaunchConfiguration("x"),
        arguments=["--own", LaunchConfiguration("x")],
        ros_arguments=["--log-level", "debug"],
        remappings=[("image", ["/", LaunchConfiguration("x"), "/image"]), ("odom", "o")],
    )
    assert started.words[:2] == ["--own", "a"]
    assert started.words[2:5] == ["--ros-args", "--log-level", "debug"]
    assert started.rules == ["__node:=camera", "__ns:=/a", "image:=/a/image", "odom:=o"]
    assert started.files == []


def test_a_bare_node_gets_no_rules(start):
    assert start().words == ["--ros-args"]


@pytest.mark.parametrize(
    ("pushed", "own", "namespace"),
    [
        (["fleet"], None, "/fleet"),
        (["fleet", "robot1"], None, "/fleet/robot1"),
        (["fleet"], "arm", "/fleet/arm"),
        (["fleet"], "/arm", "/arm"),
        (["fleet", "/other"], None, "/other"),
        ([], "arm", "/arm"),
        ([""], None, "/"),
    ],
)
def test_namespaces(start, pushed, own, namespace):
    started = start(*map(PushRosNamespace, pushed), name="n", namespace=own)
    assert started.rules == ["__node:=n", f"__ns:={namespace}"]


def test_groups_scope_namespaces_parameters_and_remappings(run):
    nodes = [echo(name="inside"), echo(name="outside")]
    run(
        GroupAction(
            [
                PushRosNamespace("robot"),
                SetParameter("use_sim_time", True),
                SetParameter("gain", LaunchConfiguration("gain", default="2.5")),
                SetRemap("a", "b"),
                nodes[0],
            ]
        ),
        nodes[1],
    )
    inside, outside = map(Started, nodes)
    assert inside.rules == ["__node:=inside", "__ns:=/robot", "a:=b"]
    values = {name: yaml.safe_load(text) for name, text in inside.parameters.items()}
    assert values == {"use_sim_time": True, "gain": 2.5}
    assert (outside.rules, outside.parameters) == (["__node:=outside"], {})


def test_parameter_dictionaries(start):
    started = start(
        SetLaunchConfiguration("n", "3"),
        SetLaunchConfiguration("word", "left"),
        parameters=[
            {
                "flag": True,
                "count": 3,
                "rate": 2.0,
                "text": "true",
                "number": LaunchConfiguration("n"),
                "word": LaunchConfiguration("word"),
                "joined": [LaunchConfiguration("n"), "0"],
                "kept": ParameterValue(LaunchConfiguration("n"), value_type=str),
                "real": ParameterValue(LaunchConfiguration("n"), value_type=float),
                "mixed": [1, 2.5],
                "names": ["true", "3", "x"],
                "list": ParameterValue(["[", LaunchConfiguration("n"), ", 4]"]),
                "limits": {"linear": {"max": 0.5}, LaunchConfiguration("word"): 1},
            }
        ],
    )
    assert started.written == {
        "/**": {
            "ros__parameters": {
                "flag": True,
                "count": 3,
                "rate": 2.0,
                "text": "true",
                "number": 3,
                "word": "left",
                "joined": 30,
                "kept": "3",
                "real": 3.0,
                "mixed": [1.0, 2.5],
                "names": ["true", "3", "x"],
                "list": [3, 4],
                "limits.linear.max": 0.5,
                "limits.left": 1,
            }
        }
    }


def test_parameters_of_a_node_with_a_full_name_are_its_own(start):
    started = start(name="n", namespace="a", parameters=[{"x": 1}])
    assert started.written == {"/a/n": {"ros__parameters": {"x": 1}}}


@pytest.mark.parametrize("wrong", [{"x": None}, {"x": []}, {"x": [1, [2]]}, {"x": object()}])
def test_values_that_are_no_parameters_are_refused(run, wrong):
    def start_wrong(context):
        return [echo(parameters=[wrong])]

    assert run(OpaqueFunction(function=start_wrong)) == 1


def test_a_substitution_of_the_wrong_type_is_refused(run):
    value = ParameterValue(LaunchConfiguration("n"), value_type=int)
    assert run(SetLaunchConfiguration("n", "many"), echo(parameters=[{"count": value}])) == 1


def test_parameter_files(start, tmp_path):
    plain = tmp_path / "plain.yaml"
    plain.write_text("/**: {ros__parameters: {a: 1}}")
    started = start(
        SetLaunchConfiguration("folder", str(tmp_path)),
        parameters=[
            str(plain),
            plain,
            PathJoinSubstitution([LaunchConfiguration("folder"), "plain.yaml"]),
            str(tmp_path / "missing.yaml"),
            {"b": 2},
        ],
    )
    assert started.files[:3] == [plain] * 3  # the missing one is only warned of
    assert yaml.safe_load(started.files[3].read_text())["/**"] == {"ros__parameters": {"b": 2}}


def test_substitutions_in_parameter_files(start, tmp_path, monkeypatch):
    monkeypatch.setenv("FORESIGHT_TEST", "from-env")
    path = tmp_path / "substituted.yaml"
    path.write_text(
        "/**:\n"
        "  ros__parameters:\n"
        "    robot: $(var robot)\n"
        "    file: $(env FORESIGHT_TEST)/$(var robot).yaml\n"
        "    share: $(find-pkg-share rclpy)\n"
        "    sum: $(eval '1 + 2')\n"
        "    nested: $(env NOT_SET_AT_ALL $(var robot))\n"
    )
    started = start(
        SetLaunchConfiguration("robot", "tall"), parameters=[ParameterFile(path, allow_substs=True)]
    )
    assert started.written["/**"]["ros__parameters"] == {
        "robot": "tall",
        "file": "from-env/tall.yaml",
        "share": FindPackageShare("rclpy").perform(LaunchContext()),
        "sum": 3,
        "nested": "tall",
    }
    assert path not in started.files
    assert start(parameters=[ParameterFile(path)]).files == [path]


def test_an_unset_substitution_in_a_parameter_file_ends_the_launch(run, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("/**: {ros__parameters: {a: $(var nowhere_set)}}")
    assert run(echo(parameters=[ParameterFile(str(path), allow_substs=True)])) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "two words"},
        {"name": "1st"},
        {"name": "n", "namespace": "/a//b"},
        {"package": "no_such_package", "executable": "x"},
        {"package": "rclpy", "executable": "no_such_executable"},
    ],
)
def test_wrong_names_end_the_launch(run, wrong):
    assert run(echo(**wrong)) == 1


def test_node_name_is_known_once_it_runs(run):
    node = echo(name="n", namespace="a")
    with pytest.raises(RuntimeError):
        _ = node.node_name
    run(node)
    assert node.node_name == "/a/n"


def test_find_package(text):
    prefix = text(FindPackagePrefix("rclpy"))
    assert text(FindPackageShare(["rcl", "py"])) == f"{prefix}/share/rclpy"
    with pytest.raises(PackageNotFoundError):
        text(FindPackageShare("no_such_package"))


def test_executables_of_packages(text, tmp_path, monkeypatch):
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/mine").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(SubstitutionFailure):
        text(ExecutableInPackage("tool", "mine"))
    executable = tmp_path / "lib/mine/tool"
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    assert text(ExecutableInPackage("tool", "mine")) == str(executable)


NODE = """
import json
import rclpy
rclpy.init()
node = rclpy.create_node('unnamed', automatically_declare_parameters_from_overrides=True)
names = ('all', 'mine', 'late', 'use_sim_time', 'word', 'nested.value')
print(json.dumps({
    'name': node.get_fully_qualified_name(),
    'topic': node.resolve_topic_name('image'),
    'values': {n: node.get_parameter_or(n).value for n in names},
}), flush=True)
rclpy.shutdown()
"""
PARAMETERS = """
/**: {ros__parameters: {all: 1, mine: 0, late: 0}}
/robot/camera: {ros__parameters: {mine: 1}}
/robot/other: {ros__parameters: {mine: 2}}
"""


@pytest.mark.parametrize("kind", [Node, LifecycleNode])
def test_a_real_node_gets_all_of_it(run, tmp_path, kind):
    path = tmp_path / "parameters.yaml"
    path.write_text(PARAMETERS)
    with domain_id() as domain:
        environment = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        node = kind(
            executable=sys.executable,
            arguments=["-c", NODE],
            name="camera",
            namespace="robot",
            parameters=[path, {"late": 2, "word": "left", "nested": {"value": 0.5}}],
            remappings=[("image", "picture")],
            additional_env=environment,
            cached_output=True,
        )
        assert run(SetParameter("use_sim_time", True), node) == 0
    assert node.return_code == 0, node.get_stderr()
    assert json.loads(node.get_stdout()) == {
        "name": "/robot/camera",
        "topic": "/robot/picture",
        "values": {
            "all": 1,
            "mine": 1,
            "late": 2,
            "use_sim_time": True,
            "word": "left",
            "nested.value": 0.5,
        },
    }
