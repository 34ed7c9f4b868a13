"""The whole graph on the simulated robot, with the shipped bundle; all tests share one launch."""

from __future__ import annotations

import math
import os
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from harness import Bench
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight import bundle, worlds
from foresight.bodies.profile import RobotProfile
from foresight.missions import Outcome
from foresight.worlds import tasks
from foresight_interfaces.action import Explore, NavigateToImage
from foresight_interfaces.msg import ActuationStatus, Place, Plan
from foresight_interfaces.srv import Recall, Remember
from foresight_mission.robot_client import RosRobot
from foresight_node.messages import LATCHED, LATEST

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]

Result = NavigateToImage.Result
LAUNCH = Path(__file__).parents[2] / "launch"
BRING_UP_S = 60.0
DRIVE_S = 60.0
EXPLORE_S, RADIUS_M = 26.0, 1.5
"""Of it the explorer keeps seven seconds and more for the way back."""
MOVING_MPS = 0.05
NOTICED_AND_AT_REST_S = 4.0
"""What docs/safety.md promises is less, and `make faults` holds it to that: here, two cores that
also simulate may be late."""
AT_REST = 0.01
"""m/s and rad/s."""

processes: dict[str, int] = {}
"""Name in the launch -> process id, the latest one."""


@pytest.fixture(scope="module")
def task(homebot: Path) -> tasks.Task:
    """The easiest of some near tasks: the least turning on the way and at its end."""
    plan, profile = worlds.plan_of(0), RobotProfile.load(homebot)
    return min(tasks.sample_tasks(plan, profile, "near", 20, seed=5), key=_turning)


def _turning(task: tasks.Task) -> float:
    (x, y, yaw), (goal_x, goal_y, goal_yaw) = task.start, task.goal
    way = math.atan2(goal_y - y, goal_x - x)
    return abs(math.remainder(way - yaw, math.tau)) + abs(math.remainder(goal_yaw - way, math.tau))


@pytest.fixture(scope="module")
def pictures(homebot: Path, task: tasks.Task) -> dict[str, Image]:
    """What the camera sees at the task's goal, and back at its start."""
    environment, truth = worlds.make(0, RobotProfile.load(homebot))
    pictures = {}
    for name, pose in (("goal", task.goal), ("start", task.start)):
        truth.place(pose)
        pixels = np.ascontiguousarray(environment.observe().image)
        height, width = pixels.shape[:2]
        picture = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        picture.data = array("B", pixels.tobytes())
        pictures[name] = picture
    environment.close()
    return pictures


@launch_pytest.fixture(scope="module")
def graph(module_domain: int, task: tasks.Task, apartment: Path) -> LaunchDescription:
    def include(name: str, **arguments: object) -> IncludeLaunchDescription:
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH / f"{name}.launch.py")),
            launch_arguments=[(key, str(value)) for key, value in arguments.items()],
        )

    def remember(event: Any, _context: Any) -> None:
        processes[event.process_name.rsplit("-", 1)[0]] = event.pid

    x, y, yaw = task.start
    return LaunchDescription(
        [
            RegisterEventHandler(OnProcessStart(on_start=remember)),
            include("simulation", start_x=x, start_y=y, start_yaw=yaw),
            include("foresight", bundle=apartment, use_sim_time="true", use_respawn="true"),
            ReadyToTest(),
        ]
    )


class Robot:
    """What a user of the graph sees and does."""

    def __init__(self, domain: int) -> None:
        self.bench = Bench(domain)
        self.client = ActionClient(self.bench.peer, NavigateToImage, "navigate_to_image")
        self.explore_client = ActionClient(self.bench.peer, Explore, "explore")
        self.plans: list[Plan] = self.bench.collect(Plan, "action_plan", LATEST)
        self.states: list[String] = self.bench.collect(String, "system_state", LATCHED)
        self.statuses: list[ActuationStatus] = self.bench.collect(
            ActuationStatus, "actuation_status", LATCHED
        )
        self.truth: list[Odometry] = self.bench.collect(Odometry, "ground_truth")
        self.feedback: list[Any] = []

    def close(self) -> None:
        self.client.destroy()
        self.explore_client.destroy()
        self.bench.close()

    @property
    def pose(self) -> tuple[float, float, float]:
        """The true one: m, m, rad."""
        pose = self.truth[-1].pose.pose
        return (
            pose.position.x,
            pose.position.y,
            2 * math.atan2(pose.orientation.z, pose.orientation.w),
        )

    def farther_end(self, task: tasks.Task) -> str:
        """Which end of the task's way is farther from here."""
        self.bench.wait_for(lambda: self.truth)
        x, y, _ = self.pose
        ends = {"start": task.start, "goal": task.goal}
        return max(ends, key=lambda name: math.hypot(ends[name][0] - x, ends[name][1] - y))

    def is_active(self) -> bool:
        return bool(self.states) and self.states[-1].data == "active"

    def moves(self) -> bool:
        twist = self.truth[-1].twist.twist
        return abs(twist.linear.x) > MOVING_MPS

    def rests(self) -> bool:
        twist = self.truth[-1].twist.twist
        return abs(twist.linear.x) < AT_REST and abs(twist.angular.z) < AT_REST

    def send(self, picture: Image) -> Any:
        """A goal image's handle; the goal is accepted."""
        return self._ask(self.client, NavigateToImage.Goal(image=picture, timeout_s=DRIVE_S))

    def explore(self, time_limit_s: float, radius_m: float) -> Any:
        """An exploration's handle; the goal is accepted."""
        goal = Explore.Goal(time_limit_s=time_limit_s, radius_m=radius_m)
        return self._ask(self.explore_client, goal)

    def _ask(self, client: ActionClient, goal: Any) -> Any:
        self.bench.wait_for(client.server_is_ready)
        self.feedback.clear()
        self.plans.clear()
        future = client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        self.bench.wait_for(future.done)
        assert future.result().accepted
        return future.result()

    def result(self, handle: Any, timeout_s: float) -> Any:
        future = handle.get_result_async()
        self.bench.wait_for(future.done, timeout_s)
        return future.result().result

    def ask(self, kind: type, name: str) -> Any:
        """What memory answers."""
        client = self.bench.peer.create_client(kind, kind.__name__.lower())
        self.bench.wait_for(client.service_is_ready)
        future = client.call_async(kind.Request(name=name))
        self.bench.wait_for(future.done)
        return future.result()

    def seconds_until(self, condition: Callable[[], bool], timeout_s: float) -> float:
        start = time.monotonic()
        self.bench.wait_for(condition, timeout_s)
        return time.monotonic() - start


@pytest.fixture(scope="module")
def robot(module_domain: int) -> Iterator[Robot]:
    robot = Robot(module_domain)
    yield robot
    robot.close()


@pytest.mark.launch(fixture=graph)
def test_bring_up_to_active_at_rest(robot: Robot) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.bench.wait_for(lambda: robot.truth and robot.statuses)
    assert robot.rests() and robot.statuses[-1].state != ActuationStatus.DRIVING


@pytest.mark.launch(fixture=graph)
def test_a_goal_is_reached(robot: Robot, pictures: dict[str, Image], task: tasks.Task) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    result = robot.result(robot.send(pictures["goal"]), DRIVE_S + 10)
    assert result.code == Result.REACHED, result.message
    assert tasks.reached(robot.pose, task.goal), f"{robot.pose} is not at {task.goal}"
    assert 0.5 * task.path_m < result.distance_travelled_m < 3 * task.path_m + 1
    assert robot.feedback and robot.feedback[-1].distance_travelled_m > 0
    robot.bench.wait_for(robot.rests, 3.0)


@pytest.mark.launch(fixture=graph)
def test_it_remembers_where_it_drove(robot: Robot, apartment: Path) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    places: list[Place] = robot.bench.collect(Place, "current_place", LATCHED)
    robot.bench.wait_for(lambda: len(places) > 2)
    assert places[-1].confidence > 0.3
    remembered = robot.ask(Remember, "here")
    assert remembered.success, remembered.message
    recalled = robot.ask(Recall, "here")
    assert recalled.place.node == remembered.node
    spec = bundle.load(apartment).manifest.image
    assert (recalled.image.height, recalled.image.width) == (spec.height, spec.width)
    robot.bench.wait_for(lambda: places[-1].name == "here")


@pytest.mark.launch(fixture=graph)
def test_a_cancelled_goal_leaves_the_robot_at_rest(
    robot: Robot, pictures: dict[str, Image]
) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    handle = robot.send(pictures["start"])
    robot.bench.wait_for(robot.moves, 20.0)
    handle.cancel_goal_async()
    assert robot.result(handle, 5.0).code == Result.CANCELLED
    robot.bench.wait_for(robot.rests, 3.0)
    robot.bench.wait_for(lambda: robot.statuses[-1].state == ActuationStatus.HOLDING)


@pytest.mark.launch(fixture=graph)
def test_exploring_comes_to_an_end(robot: Robot, homebot: Path) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.bench.wait_for(lambda: robot.truth)
    x, y, _ = robot.pose
    robot.truth.clear()
    handle = robot.explore(EXPLORE_S, RADIUS_M)
    result = robot.result(handle, EXPLORE_S + 10)
    assert result.code == Explore.Result.COMPLETED, result.message
    assert result.elapsed_s < EXPLORE_S + 1 and result.distance_travelled_m > 0.3
    assert robot.feedback and 0.0 < robot.feedback[-1].surprise < 2.0
    limits = RobotProfile.load(homebot).limits
    plans = [plan for plan in robot.plans if len(plan.linear)]
    assert len(plans) > 50 and all(plan.goal_id == handle.goal_id for plan in plans)
    linear, angular = (np.array([getattr(p, n) for p in plans]) for n in ("linear", "angular"))
    assert limits.linear_min_mps <= linear.min() and linear.max() <= limits.linear_max_mps
    assert np.abs(angular).max() <= limits.angular_max_radps
    at = [message.pose.pose.position for message in robot.truth]
    assert max(math.hypot(p.x - x, p.y - y) for p in at) < RADIUS_M + 0.1
    robot.bench.wait_for(robot.rests, 3.0)


@pytest.mark.slow
@pytest.mark.launch(fixture=graph)
def test_a_cancelled_exploration_leaves_the_robot_at_rest(robot: Robot) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.bench.wait_for(lambda: robot.truth)
    handle = robot.explore(DRIVE_S, 0.0)
    robot.bench.wait_for(robot.moves, 20.0)
    handle.cancel_goal_async()
    assert robot.result(handle, 5.0).code == Result.CANCELLED
    robot.bench.wait_for(robot.rests, 3.0)
    robot.bench.wait_for(lambda: robot.statuses[-1].state == ActuationStatus.HOLDING)


def kill(name: str) -> None:
    """Kill the process of a node."""
    os.kill(processes[name], signal.SIGKILL)


@pytest.mark.launch(fixture=graph)
@pytest.mark.parametrize(
    "name",
    [
        "world_model",
        pytest.param("perception", marks=pytest.mark.slow),
        pytest.param("memory", marks=pytest.mark.slow),
    ],
)
def test_a_goal_goes_on_when_a_lost_node_is_back(
    robot: Robot, pictures: dict[str, Image], task: tasks.Task, name: str
) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    handle = robot.send(pictures[robot.farther_end(task)])
    robot.bench.wait_for(robot.moves, 20.0)
    before = processes[name]
    kill(name)
    assert robot.seconds_until(robot.rests, 5.0) < NOTICED_AND_AT_REST_S
    robot.bench.wait_for(lambda: robot.feedback and robot.feedback[-1].interrupted)
    assert not robot.is_active()
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    assert processes[name] != before
    result = robot.result(handle, 2 * DRIVE_S)
    assert result.code == Result.REACHED, result.message
    assert not robot.feedback[-1].interrupted


@pytest.mark.launch(fixture=graph)
def test_a_mission_drives_on_after_the_death_of_the_planner(
    robot: Robot, pictures: dict[str, Image], task: tasks.Task, tmp_path: Path
) -> None:
    """The goal died with the process; who follows it as a mission does sends it again."""
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    if robot.farther_end(task) == "start":
        assert robot.result(robot.send(pictures["start"]), 2 * DRIVE_S).code == Result.REACHED
    mission = RosRobot(robot.bench.peer, BRING_UP_S, str(tmp_path), False)
    job = mission.go("here", 2 * DRIVE_S)
    robot.bench.wait_for(lambda: job.poll() or robot.moves(), 20.0)
    before = processes["planning"]
    kill("planning")
    assert robot.seconds_until(robot.rests, 5.0) < NOTICED_AND_AT_REST_S
    outcomes: list[Outcome] = []
    robot.bench.wait_for(lambda: outcomes.append(job.poll()) or outcomes[-1], 4 * DRIVE_S)
    assert processes["planning"] != before
    assert outcomes[-1].ok, outcomes[-1].message
    mission.destroy()


@pytest.mark.launch(fixture=graph)
def test_after_the_death_of_actuation_the_robot_rests_until_a_person_calls(
    robot: Robot, pictures: dict[str, Image], task: tasks.Task
) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    handle = robot.send(pictures[robot.farther_end(task)])
    robot.bench.wait_for(robot.moves, 20.0)
    before = processes["actuation"]
    kill("actuation")
    robot.bench.wait_for(lambda: robot.states[-1].data == "waiting for reset")
    result = robot.result(handle, 10.0)
    assert result.code == Result.INTERNAL and "waiting for reset" in result.message
    assert robot.seconds_until(robot.rests, 5.0) < 2.0  # by the driver's own timeout
    robot.bench.wait_for(lambda: processes["actuation"] != before, BRING_UP_S)
    robot.bench.spin(3.0)
    assert robot.states[-1].data == "waiting for reset" and robot.rests()
    startup = robot.bench.peer.create_client(Trigger, "lifecycle_manager/startup")
    robot.bench.wait_for(startup.service_is_ready)
    startup.call_async(Trigger.Request())
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.bench.spin(1.0)
    assert robot.rests()


@pytest.mark.launch(fixture=graph)
def test_after_the_death_of_the_manager_the_robot_rests_until_a_person_calls(
    robot: Robot, pictures: dict[str, Image], task: tasks.Task
) -> None:
    robot.bench.wait_for(robot.is_active, BRING_UP_S)
    robot.send(pictures[robot.farther_end(task)])
    robot.bench.wait_for(robot.moves, 20.0)
    robot.states.clear()
    kill("lifecycle_manager")
    robot.bench.wait_for(lambda: robot.states and robot.states[-1].data == "waiting for reset", 30)
    robot.bench.wait_for(robot.rests, 5.0)
    robot.bench.spin(2.0)
    assert robot.states[-1].data == "waiting for reset" and robot.rests()
