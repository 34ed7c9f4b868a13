"""All nodes in one process: the same as in processes of their own, from bring-up to a signal."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from geometry_msgs.msg import Twist
from harness import Bench
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.action import ActionClient
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight_interfaces.action import NavigateToImage
from foresight_interfaces.msg import ActuationStatus, Heartbeat
from foresight_node.messages import LATCHED
from passthrough import SPEED

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

FILE = Path(__file__).parents[2] / "launch" / "foresight.launch.py"
NODES = ("perception", "world_model", "memory", "planning", "actuation", "lifecycle_manager")
BRING_UP_S = 60.0
PARAMETERS = """
/**/planning:
  ros__parameters: {replan_period_s: 0.2, seed: 7}
/**/actuation:
  ros__parameters: {plan_timeout_s: 2.0}
/**/lifecycle_manager:
  ros__parameters: {heartbeat_timeout_s: 3.0}
"""


class Launched:
    """What launch tells of the processes of one launch."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.ended: list[tuple[int, int]] = []
        self.text = ""

    def handlers(self) -> list[RegisterEventHandler]:
        def output(event: Any) -> None:
            self.text += event.text.decode()

        return [
            RegisterEventHandler(handler)
            for handler in (
                OnProcessStart(on_start=lambda e, _: self.started.append((e.process_name, e.pid))),
                OnProcessExit(on_exit=lambda e, _: self.ended.append((e.pid, e.returncode))),
                OnProcessIO(on_stdout=output, on_stderr=output),
            )
        ]


def stack(**arguments: object) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(FILE)),
        launch_arguments=[(key, str(value)) for key, value in arguments.items()],
    )


@pytest.fixture
def launched() -> Launched:
    return Launched()


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    file = tmp_path / "parameters.yaml"
    file.write_text(PARAMETERS)
    return file


@launch_pytest.fixture
def both_ways(domain: int, passthrough: Path, params_file: Path) -> LaunchDescription:
    shared = {"params_file": params_file, "bundle": passthrough, "autostart": "false"}
    shared |= {"log_level": "warn", "use_sim_time": "true"}
    return LaunchDescription(
        [
            stack(namespace="apart", use_composition="false", **shared),
            stack(namespace="together", use_composition="true", **shared),
            ReadyToTest(),
        ]
    )


@launch_pytest.fixture
def composed(domain: int, passthrough: Path, launched: Launched) -> LaunchDescription:
    arguments = {"bundle": passthrough, "use_composition": "true", "use_respawn": "true"}
    return LaunchDescription([*launched.handlers(), stack(**arguments), ReadyToTest()])


class Robot:
    """A robot that stands before a grey wall, whatever it is told, and somebody who sends it on."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.commands: list[Twist] = bench.collect(Twist, "cmd_vel")
        self.states: list[String] = bench.collect(String, "system_state", LATCHED)
        self.statuses: list[ActuationStatus] = bench.collect(
            ActuationStatus, "actuation_status", LATCHED
        )
        peer = bench.peer
        self._images = peer.create_publisher(Image, "image", qos_profile_sensor_data)
        self._odom = peer.create_publisher(Odometry, "odom", qos_profile_sensor_data)
        self._scans = peer.create_publisher(LaserScan, "scan", qos_profile_sensor_data)
        peer.create_timer(0.1, self._publish)
        self.client = ActionClient(peer, NavigateToImage, "navigate_to_image")

    def _publish(self) -> None:
        now = self.bench.now()
        image, odom = self._picture(0.8), Odometry()
        scan = LaserScan(angle_increment=math.tau / 36, range_max=8.0, ranges=[math.inf] * 36)
        for message, publisher in (
            (image, self._images),
            (odom, self._odom),
            (scan, self._scans),
        ):
            message.header.stamp = now
            publisher.publish(message)

    def _picture(self, brightness: float) -> Image:
        """Stripes, for a blank goal is refused."""
        row = np.where(np.arange(320) // 20 % 2, 200.0, 100.0) * brightness
        message = Image(height=240, width=320, encoding="mono8", step=320)
        message.data.frombytes(np.tile(row.astype(np.uint8), 240).tobytes())
        return message

    def is_active(self) -> bool:
        return bool(self.states) and self.states[-1].data == "active"

    def drive(self) -> None:
        """To a place that it never reaches; returns when it drives at full speed."""
        self.bench.wait_for(self.client.server_is_ready)
        goal = NavigateToImage.Goal(image=self._picture(1.2), timeout_s=60.0)
        accepted = self.client.send_goal_async(goal)
        self.bench.wait_for(accepted.done)
        assert accepted.result().accepted
        self.bench.wait_for(self._is_fast)

    def _is_fast(self) -> bool:
        return bool(self.commands) and self.commands[-1].linear.x > 0.99 * SPEED


@pytest.fixture
def robot(bench: Bench) -> Iterator[Robot]:
    robot = Robot(bench)
    yield robot
    robot.client.destroy()


def parameters(bench: Bench, node: str) -> dict[str, Any]:
    """All parameters of a node, as it has them."""

    def ask(kind: type, service: str, request: Any) -> Any:
        client = bench.peer.create_client(kind, f"{node}/{service}")
        bench.wait_for(client.service_is_ready, BRING_UP_S)
        future = client.call_async(request)
        bench.wait_for(future.done)
        return future.result()

    names = ask(ListParameters, "list_parameters", ListParameters.Request()).result.names
    request = GetParameters.Request(names=names)
    return dict(zip(names, ask(GetParameters, "get_parameters", request).values, strict=True))


@pytest.mark.launch(fixture=both_ways)
def test_every_node_has_the_parameters_that_it_has_in_a_process_of_its_own(bench: Bench) -> None:
    found = {name: parameters(bench, f"/together/{name}") for name in NODES}
    for name in NODES:
        assert found[name] == parameters(bench, f"/apart/{name}")
        assert found[name]["use_sim_time"].bool_value
    assert found["planning"]["seed"].integer_value == 7
    assert found["planning"]["replan_period_s"].double_value == 0.2
    assert found["actuation"]["plan_timeout_s"].double_value == 2.0
    assert found["lifecycle_manager"]["heartbeat_timeout_s"].double_value == 3.0
    assert not found["lifecycle_manager"]["autostart"].bool_value
    for namespace in ("/apart", "/together"):
        bench.wait_for(lambda there=namespace: names(bench, there) == sorted(NODES))


def names(bench: Bench, namespace: str) -> list[str]:
    """Of the nodes there, as far as they are discovered."""
    nodes = bench.peer.get_node_names_and_namespaces()
    return sorted(name for name, place in nodes if place == namespace)


@pytest.mark.launch(fixture=composed)
def test_one_process_drives_brakes_on_a_signal_and_comes_back_after_its_death(
    robot: Robot, launched: Launched
) -> None:
    bench = robot.bench
    bench.wait_for(robot.is_active, BRING_UP_S)
    ((name, pid),) = launched.started
    assert name.startswith("stack")
    assert not any(command.linear.x or command.angular.z for command in robot.commands)
    robot.drive()

    robot.states.clear()
    robot.commands.clear()
    os.kill(pid, signal.SIGINT)
    bench.wait_for(lambda: launched.ended and robot.states and robot.states[-1].data == "down")
    bench.wait_for(lambda: robot.commands[-1].linear.x == 0.0)
    speeds = [command.linear.x for command in robot.commands]
    assert any(0.0 < speed < 0.9 * SPEED for speed in speeds), speeds
    assert launched.ended == [(pid, 0)]
    assert "Traceback" not in launched.text and "[ERROR]" not in launched.text

    again(robot, launched, 2)
    robot.drive()
    os.kill(launched.started[-1][1], signal.SIGKILL)
    again(robot, launched, 3)


def again(robot: Robot, launched: Launched, count: int) -> None:
    """The stack is there for the `count`th time, waits for a person, and the robot stays at rest.

    Actuation was lost with the others.
    """
    robot.bench.wait_for(lambda: len(launched.started) == count)
    robot.states.clear()
    robot.commands.clear()
    robot.bench.wait_for(
        lambda: robot.states and robot.states[-1].data == "waiting for reset", BRING_UP_S
    )
    robot.bench.spin(1.0)
    assert robot.states[-1].data == "waiting for reset" and not robot.commands
    startup = robot.bench.peer.create_client(Trigger, "lifecycle_manager/startup")
    robot.bench.wait_for(startup.service_is_ready)
    startup.call_async(Trigger.Request())
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.bench.wait_for(lambda: len(robot.commands) > 5)
    assert not any(command.linear.x or command.angular.z for command in robot.commands)
    assert robot.statuses[-1].state != ActuationStatus.DRIVING


# ---- run() with several nodes ----

PROGRAM = """
import sys, time
from foresight_node import ForesightNode, run
from idle_node import Nothing

def maker(name):
    class Node(ForesightNode):
        def deactivate(self):
            print("deactivate", name, flush=True)

    def make():
        if name == "refusing":
            raise ValueError("no such thing")
        node = Node(name, Nothing)
        node.trigger_configure()
        node.trigger_activate()
        if name == "busy":
            node.every(0.2, lambda: time.sleep(2.0))
        if name == "broken":
            node.every(0.2, lambda: 1 // 0)
        return node
    return make

code = run(*map(maker, sys.argv[1:]), args=[])
print("down", flush=True)
sys.exit(code)
"""


@pytest.fixture
def start(domain: int) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process with nodes of these names."""
    processes: list[subprocess.Popen[str]] = []

    def start(*names: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *names]
        pipe = subprocess.PIPE
        here = Path(__file__).parent
        processes.append(subprocess.Popen(command, cwd=here, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_node_that_blocks_holds_up_no_other(
    bench: Bench, start: Callable[..., subprocess.Popen[str]]
) -> None:
    beats: list[Heartbeat] = bench.collect(Heartbeat, "heartbeat")
    process = start("free", "busy")

    def gap(name: str) -> float:
        stamps = [b.header.stamp for b in beats if b.node == name]
        return max(np.diff([s.sec + s.nanosec * 1e-9 for s in stamps]), default=0.0)

    bench.wait_for(lambda: gap("/busy") > 1.5, 20.0)
    gaps = {name: gap(name) for name in ("/free", "/busy")}
    assert gaps["/free"] < 0.5 * gaps["/busy"], gaps
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert (output, process.returncode) == ("deactivate busy\ndeactivate free\ndown\n", 0), errors


def test_an_unexpected_error_in_one_node_ends_all(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("first", "broken", "last")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    said = output.splitlines()
    assert said[-1] == "down" and said.index("deactivate last") < said.index("deactivate first")
    assert errors.count("ZeroDivisionError") == 1 and "[broken]" in errors


def test_a_node_that_cannot_be_made_is_told_in_one_line(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("first", "refusing")
    output, errors = process.communicate(timeout=20)
    assert (output, process.returncode) == ("down\n", 1)
    assert errors.count("\n") == 1 and "no such thing" in errors
