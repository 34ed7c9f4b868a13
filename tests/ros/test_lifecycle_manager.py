"""The lifecycle manager: order of transitions, refusals, and lost nodes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import Bench
from idle_node import Nothing
from launch import LaunchDescription
from launch.actions import ExecuteProcess, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch_pytest.actions import ReadyToTest
from launch_ros.actions import Node
from lifecycle_msgs.msg import State
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight_interfaces.msg import Heartbeat
from foresight_lifecycle.manager import LifecycleManager
from foresight_node import ERROR, OK, WARN, ForesightNode
from foresight_node.messages import LATCHED

pytestmark = pytest.mark.timeout(60)

NAMES = ("first", "second", "third")
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE


class Crew:
    """Idle nodes and their manager in one process; `log` records the transitions in order."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.log: list[str] = []
        self.refuses: set[str] = set()
        self.manager: LifecycleManager | None = None
        self.states: list[String] = bench.collect(String, "system_state", LATCHED)
        self.nodes = {name: bench.start(self._kind(name)) for name in NAMES}

    def _kind(self, name: str) -> Callable[..., ForesightNode[Nothing]]:
        crew = self

        class Idle(ForesightNode[Nothing]):
            def _do(self, verb: str) -> None:
                crew.log.append(f"{verb} {name}")
                if f"{verb} {name}" in crew.refuses:
                    raise ValueError("told to refuse")

            def configure(self) -> None:
                self._do("configure")

            def activate(self) -> None:
                self._do("activate")

            def deactivate(self) -> None:
                self._do("deactivate")

        return lambda **options: Idle(name, Nothing, **options)

    def manage(self, **parameters: Any) -> None:
        values = {"node_names": list(NAMES)} | parameters
        self.manager = LifecycleManager(
            context=self.bench.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.bench.executor.add_node(self.manager)

    def wait_for(self, state: str) -> None:
        self.bench.wait_for(lambda: self.states and self.states[-1].data == state)

    def call(self, service: str) -> Trigger.Response:
        client = self.bench.peer.create_client(Trigger, f"lifecycle_manager/{service}")
        self.bench.wait_for(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.bench.wait_for(future.done)
        return future.result()

    def lifecycle_states(self) -> list[int]:
        return [node.lifecycle_state for node in self.nodes.values()]


@pytest.fixture
def crew(bench: Bench) -> Iterator[Crew]:
    crew = Crew(bench)
    yield crew
    if crew.manager is not None:
        crew.manager.destroy_node()


def each(verb: str, *names: str) -> list[str]:
    return [f"{verb} {name}" for name in names]


def test_configures_all_nodes_then_activates_them_in_order(crew: Crew) -> None:
    crew.manage()
    crew.wait_for("active")
    assert crew.log == each("configure", *NAMES) + each("activate", *NAMES)
    assert crew.lifecycle_states() == [ACTIVE] * 3


def test_without_autostart_waits_for_the_service(crew: Crew) -> None:
    crew.manage(autostart=False)
    crew.wait_for("down")
    crew.bench.spin(0.5)
    assert crew.log == []
    assert crew.call("startup").success
    crew.wait_for("active")


def test_shutdown_runs_backwards_and_startup_works_again(crew: Crew) -> None:
    crew.manage()
    crew.wait_for("active")
    crew.log.clear()
    assert crew.call("shutdown").success
    crew.wait_for("down")
    assert crew.log == each("deactivate", *reversed(NAMES))
    assert crew.lifecycle_states() == [UNCONFIGURED] * 3
    crew.call("startup")
    crew.wait_for("active")
    assert crew.lifecycle_states() == [ACTIVE] * 3


@pytest.mark.parametrize(
    ("refusal", "left"),
    [
        ("configure second", [INACTIVE, UNCONFIGURED, UNCONFIGURED]),
        ("activate second", [INACTIVE, INACTIVE, INACTIVE]),
    ],
)
def test_a_refused_transition_ends_the_bring_up(
    crew: Crew, capfd: pytest.CaptureFixture[str], refusal: str, left: list[int]
) -> None:
    crew.refuses.add(refusal)
    crew.manage()
    crew.wait_for("failed")
    assert crew.log.count(refusal) == 1
    assert crew.lifecycle_states() == left
    verb, name = refusal.split()
    assert f"bring-up failed: /{name} refused to {verb}" in capfd.readouterr().err
    crew.refuses.clear()
    crew.call("startup")
    crew.wait_for("active")


def test_names_a_node_that_never_appears(crew: Crew, capfd: pytest.CaptureFixture[str]) -> None:
    crew.manage(node_names=["first", "absent"], startup_timeout_s=1.5)
    crew.wait_for("failed")
    assert "/absent is not seen after 1.5 s" in capfd.readouterr().err
    assert "activate first" not in crew.log


def test_a_silent_node_stops_the_others_in_reverse_order(
    crew: Crew, capfd: pytest.CaptureFixture[str]
) -> None:
    crew.manage()
    crew.wait_for("active")
    crew.log.clear()
    crew.bench.executor.remove_node(crew.nodes["second"])
    crew.wait_for("failed")
    assert crew.log == each("deactivate", "third", "first")
    assert capfd.readouterr().err.count("lost /second: it has been silent for 1 s") == 1
    crew.bench.executor.add_node(crew.nodes["second"])
    crew.bench.wait_for(lambda: crew.lifecycle_states() == [INACTIVE] * 3)  # it rests, too
    assert crew.states[-1].data == "failed"


def test_starts_all_again_when_a_lost_node_is_back(crew: Crew) -> None:
    crew.manage(respawn=True)
    crew.wait_for("active")
    crew.bench.executor.remove_node(crew.nodes["second"])
    crew.wait_for("waiting")
    crew.log.clear()
    crew.bench.executor.add_node(crew.nodes["second"])
    crew.wait_for("active")
    assert crew.log == ["deactivate second"] + each("activate", *NAMES)


def test_needs_a_person_after_the_loss_of_the_driving_node(
    crew: Crew, capfd: pytest.CaptureFixture[str]
) -> None:
    crew.manage(respawn=True)
    crew.wait_for("active")
    crew.bench.executor.remove_node(crew.nodes["third"])
    crew.wait_for("waiting for reset")
    crew.bench.executor.add_node(crew.nodes["third"])
    crew.bench.wait_for(lambda: crew.lifecycle_states() == [INACTIVE] * 3)
    crew.log.clear()
    crew.bench.spin(1.0)
    assert crew.log == [] and crew.states[-1].data == "waiting for reset"
    said = (
        "lost /third: it has been silent for 1 s; the robot rests until lifecycle_manager/startup"
    )
    assert said in capfd.readouterr().err
    assert crew.call("startup").success
    crew.wait_for("active")


def test_needs_a_person_if_the_driving_node_is_lost_while_waiting(crew: Crew) -> None:
    crew.manage(respawn=True)
    crew.wait_for("active")
    crew.bench.executor.remove_node(crew.nodes["first"])
    crew.wait_for("waiting")
    crew.nodes["third"].trigger_cleanup()  # as after a quick death
    crew.wait_for("waiting for reset")
    crew.bench.executor.add_node(crew.nodes["first"])
    crew.bench.spin(0.5)
    assert ACTIVE not in crew.lifecycle_states()[1:]


def test_a_node_that_falls_back_during_bring_up_is_lost(
    crew: Crew, capfd: pytest.CaptureFixture[str]
) -> None:
    crew.manage(node_names=[*NAMES, "absent"])
    crew.bench.wait_for(lambda: crew.states and crew.states[-1].data == "starting")
    crew.bench.spin(0.3)
    crew.nodes["first"].trigger_configure()
    crew.bench.spin(0.3)
    crew.nodes["first"].trigger_cleanup()
    crew.wait_for("failed")
    assert "lost /first: it has become unconfigured by itself" in capfd.readouterr().err


@pytest.mark.parametrize("left", [INACTIVE, ACTIVE])
def test_a_manager_that_finds_active_nodes_stops_them_and_needs_a_person(
    crew: Crew, capfd: pytest.CaptureFixture[str], left: int
) -> None:
    for node in crew.nodes.values():
        node.trigger_configure()
        if left == ACTIVE:
            node.trigger_activate()
    crew.manage(respawn=True)
    crew.wait_for("waiting for reset")
    crew.bench.wait_for(lambda: crew.lifecycle_states() == [INACTIVE] * 3)
    assert "another manager was lost" in capfd.readouterr().err
    crew.call("startup")
    crew.wait_for("active")


def test_a_respawned_manager_waits_for_a_person(crew: Crew) -> None:
    crew.manage(respawn=True, respawned=True)
    crew.wait_for("waiting for reset")
    crew.bench.spin(0.5)
    assert crew.log == []
    crew.call("startup")
    crew.wait_for("active")


def test_a_node_that_leaves_active_stops_the_others(
    crew: Crew, capfd: pytest.CaptureFixture[str]
) -> None:
    crew.manage()
    crew.wait_for("active")
    crew.log.clear()
    crew.nodes["first"].trigger_deactivate()
    crew.wait_for("failed")
    assert crew.log == each("deactivate", "first", "third", "second")
    assert "lost /first: it has become inactive" in capfd.readouterr().err


def test_system_health_reports_the_stack_and_each_node(crew: Crew) -> None:
    health: list[DiagnosticArray] = crew.bench.collect(DiagnosticArray, "system_health", LATCHED)

    def told(*expected: tuple[bytes, str]) -> bool:
        status = health[-1].status if health else []
        return [(s.level, s.message) for s in status] == list(expected)

    well = (OK, "ok")
    crew.manage(respawn=True)
    crew.bench.wait_for(lambda: told((OK, "active"), well, well, well))
    assert [s.name for s in health[-1].status] == ["system", "/first", "/second", "/third"]
    crew.nodes["second"].health.problem("cough", "second has a cough")
    cough = (WARN, "second has a cough")
    crew.bench.wait_for(
        lambda: told((WARN, "active: /second: second has a cough"), well, cough, well)
    )
    crew.bench.executor.remove_node(crew.nodes["third"])
    crew.wait_for("waiting for reset")
    late: list[DiagnosticArray] = crew.bench.collect(DiagnosticArray, "system_health", LATCHED)
    crew.bench.wait_for(lambda: late and late[-1].status[3].message == "it is silent")
    crew.bench.spin(4.0)  # longer than a passing problem is told
    system, *_, third = late[-1].status
    assert system.level == third.level == ERROR
    assert system.message.startswith("waiting for reset: lost /third: it has been silent for 1 s")


@pytest.mark.parametrize("names", [[], ["first", "first"], [""], "first", [1, 2]])
def test_refuses_an_empty_or_duplicate_list_of_nodes(bench: Bench, names: Any) -> None:
    value = Parameter("node_names", value=names)
    with pytest.raises(ValueError, match="parameter 'node_names' has the value"):
        LifecycleManager(context=bench.context, parameter_overrides=[value])


# ---- as processes ----

processes: dict[str, int] = {}


@launch_pytest.fixture
def managed(domain: int) -> LaunchDescription:
    script = str(Path(__file__).with_name("idle_node.py"))
    actions: dict[str, ExecuteProcess] = {
        name: ExecuteProcess(
            cmd=[sys.executable, script, "--ros-args", "-r", f"__node:={name}"],
            respawn=True,
            respawn_delay=0.5,
            output="screen",
        )
        for name in ("first", "second")
    }
    actions["manager"] = Node(
        package="foresight_lifecycle",
        executable="lifecycle_manager",
        parameters=[{"node_names": ["first", "second"], "respawn": True}],
        output="screen",
    )
    return LaunchDescription(
        [
            *[RegisterEventHandler(noted(name, action)) for name, action in actions.items()],
            *actions.values(),
            ReadyToTest(),
        ]
    )


def noted(name: str, action: ExecuteProcess) -> OnProcessStart:
    def note(event: Any, _: Any) -> None:
        processes[name] = event.pid

    return OnProcessStart(target_action=action, on_start=note)


@pytest.mark.launch(fixture=managed)
def test_a_killed_process_is_respawned_and_a_signal_ends_all(bench: Bench) -> None:
    states: list[String] = bench.collect(String, "system_state", LATCHED)
    beats: list[Heartbeat] = bench.collect(Heartbeat, "heartbeat")

    def seen() -> list[str]:
        return [state.data for state in states]

    bench.wait_for(lambda: seen()[-1:] == ["active"], 20.0)
    killed = processes["first"]
    os.kill(killed, signal.SIGKILL)
    bench.wait_for(lambda: "waiting" in seen(), 3.0)
    bench.wait_for(lambda: seen()[-1] == "active", 20.0)
    assert processes["first"] != killed
    beats.clear()
    bench.wait_for(lambda: {beat.node for beat in beats} == {"/first", "/second"})
    assert all(beat.lifecycle_state == ACTIVE for beat in beats)
    os.kill(processes["manager"], signal.SIGINT)
    bench.wait_for(lambda: seen()[-1] == "down")
    beats.clear()
    bench.wait_for(lambda: {beat.node for beat in beats} == {"/first", "/second"})
    assert all(beat.lifecycle_state == UNCONFIGURED for beat in beats)
