"""The policies fit the nodes, launch hands them on, and nobody listens for strangers."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementInclude, ElementTree

import psutil
import pytest
from endpoints import Rules, rules_in, rules_of
from harness import Bench
from launch import LaunchContext
from launch.substitutions import LocalSubstitution

from foresight_actuation.node import ActuationNode
from foresight_lifecycle.manager import LifecycleManager
from foresight_memory.node import MemoryNode
from foresight_mission.node import MissionNode
from foresight_perception.node import PerceptionNode
from foresight_planning.node import PlanningNode
from foresight_world_model.node import WorldModelNode

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "config" / "security" / "policy.xml"
STACK = ("perception", "world_model", "memory", "planning", "actuation", "lifecycle_manager")
NOT_ALWAYS = {"/image", "/image/compressed", "/clock"}
"""Of one transport only the one is used, a mission photographs when it is told to, and only
simulated time is heard."""


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What launch sets ends with the test: it writes into the process's own environment."""
    with patch.dict(os.environ):
        yield


@pytest.fixture
def robot(bench: Bench, passthrough: Path, homebot: Path, tmp_path: Path) -> Bench:
    """All nodes of a robot, active."""
    model, profile = str(passthrough), str(homebot)
    bench.bring_up(PerceptionNode, bundle=model, robot=profile)
    bench.bring_up(WorldModelNode, bundle=model)
    bench.bring_up(MemoryNode, bundle=model, file=str(tmp_path / "places.db"))
    bench.bring_up(PlanningNode, bundle=model, robot=profile)
    bench.bring_up(ActuationNode, robot=profile)
    mission = tmp_path / "mission.yaml"
    mission.write_text("name: tour\nsteps:\n  - wait: 1\n")
    for node in (
        bench.start(LifecycleManager, node_names=list(STACK[:-1]), autostart=False),
        bench.start(MissionNode, mission=str(mission), pictures=str(tmp_path), autostart=False),
    ):
        node.take_down = lambda: None  # no lifecycle node
    return bench


def enclaves() -> dict[str, dict[str, Rules]]:
    """What each enclave allows, by node."""
    tree = ElementTree.parse(POLICY).getroot()
    ElementInclude.include(tree, base_url=str(POLICY))
    return {
        str(enclave.get("path")): {
            str(profile.get("node")): rules_in(profile) for profile in enclave.iter("profile")
        }
        for enclave in tree.iter("enclave")
    }


@pytest.mark.parametrize("name", (*STACK, "mission"))
def test_a_nodes_enclave_allows_just_what_the_node_does(robot: Bench, name: str) -> None:
    allowed = enclaves()[f"/foresight/{name}"][name]

    def missing_and_superfluous() -> dict[Any, tuple[set[str], set[str]]]:
        found = rules_of(robot.peer, name)
        compared = {
            rule: (
                found.get(rule, set()) - allowed.get(rule, set()),
                allowed.get(rule, set()) - found.get(rule, set()) - NOT_ALWAYS,
            )
            for rule in {*found, *allowed}
        }
        return {rule: both for rule, both in compared.items() if any(both)}

    try:
        robot.wait_for(lambda: not missing_and_superfluous())
    except AssertionError:
        pytest.fail(f"missing and superfluous in the policy: {missing_and_superfluous()}")


def test_one_process_for_all_has_what_the_processes_have() -> None:
    known = enclaves()
    assert known["/foresight/stack"] == {n: known[f"/foresight/{n}"][n] for n in STACK}


def test_only_actuation_may_drive() -> None:
    drivers = [
        path
        for path, nodes in enclaves().items()
        for rules in nodes.values()
        if "/cmd_vel" in rules[("topic", "publish")]
    ]
    assert drivers == ["/foresight/actuation", "/foresight/stack"]


def test_no_node_listens_on_a_tcp_port(robot: Bench) -> None:
    robot.spin(0.2)
    assert _listening() == []
    with socket.create_server(("127.0.0.1", 0)):
        assert len(_listening()) == 1, "the test would not have seen it"


def _listening() -> list[Any]:
    process = psutil.Process()
    return [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def _launched(file: str, **arguments: str) -> tuple[LaunchContext, list[Any]]:
    """The context after a launch file's own preparations, and its processes."""
    spec = importlib.util.spec_from_file_location("launched", ROOT / "launch" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    made: list[Any] = []
    todo = list(module.generate_launch_description().entities)
    while todo:
        entity = todo.pop(0)
        if type(entity).__name__ == "Node":
            made.append(entity)
        else:
            todo = list(entity.visit(context) or []) + todo
    return context, made


def _words(context: LaunchContext, process: Any) -> str:
    """Its command line, but for what launch_ros knows only when it starts it."""
    parts = [[p for p in word if not isinstance(p, LocalSubstitution)] for word in process.cmd]
    return " ".join("".join(part.perform(context) for part in word) for word in parts if word)


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    for name in (*STACK, "stack", "mission"):
        (tmp_path / "enclaves" / "foresight" / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("composed", ("false", "true"))
def test_with_a_keystore_each_process_has_its_enclave(keystore: Path, composed: str) -> None:
    context, processes = _launched(
        "foresight.launch.py", security=str(keystore), use_composition=composed
    )
    names = ["stack"] if composed == "true" else list(STACK)
    enclaves_given = [_words(context, p).split("--enclave ")[1].split()[0] for p in processes]
    assert enclaves_given == [f"/foresight/{name}" for name in names]
    assert context.environment["ROS_SECURITY_ENABLE"] == "true"
    assert context.environment["ROS_SECURITY_STRATEGY"] == "Enforce"
    assert context.environment["ROS_SECURITY_KEYSTORE"] == str(keystore)


def test_without_a_keystore_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_SECURITY_ENABLE", raising=False)
    context, processes = _launched("foresight.launch.py")
    assert "ROS_SECURITY_ENABLE" not in context.environment
    assert not any("--enclave" in _words(context, process) for process in processes)


def test_a_keystore_without_an_enclave_ends_the_launch_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no enclave /foresight/perception"):
        _launched("foresight.launch.py", security=str(tmp_path))


def test_a_missions_process_has_its_enclave(keystore: Path) -> None:
    mission = str(ROOT / "config" / "missions" / "patrol.yaml")
    context, processes = _launched("mission.launch.py", security=str(keystore), mission=mission)
    assert ["--enclave /foresight/mission" in _words(context, p) for p in processes] == [True]
    assert context.environment["ROS_SECURITY_ENABLE"] == "true"
