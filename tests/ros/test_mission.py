"""The mission node against a fake stack: what it requests, and how it handles failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import launch_pytest
import numpy as np
import pytest
import yaml
from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Bench
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from foresight_interfaces.action import Explore, NavigateToPlace
from foresight_interfaces.msg import MissionStatus
from foresight_interfaces.srv import Recall, Remember
from foresight_mission import jobs
from foresight_mission.node import MissionNode
from foresight_node.messages import LATCHED

pytestmark = pytest.mark.timeout(60)

FILE = Path(__file__).parents[2] / "launch" / "mission.launch.py"
Result = NavigateToPlace.Result
Ending = tuple[int, str]
WELL: Ending = (Result.REACHED, "there")


class Goal:
    """One accepted goal, and how it ended."""

    def __init__(self, handle: Any, kind: Any) -> None:
        self.handle, self.request, self._kind = handle, handle.request, kind
        self.result = Future()

    def end(self, ending: Ending) -> None:
        code, message = ending
        if code == Result.CANCELLED:
            self.handle.canceled()
        elif code == Result.REACHED:
            self.handle.succeed()
        else:
            self.handle.abort()
        self.result.set_result(self._kind.Result(code=code, message=message))

    def give_feedback(self) -> None:
        self.handle.publish_feedback(self._kind.Feedback())

    @property
    def ended(self) -> bool:
        return self.result.done()


class Stack:
    """Fakes planning and memory; `does` says how a goal ends, None: not yet."""

    def __init__(self, bench: Bench, namespace: str = "") -> None:
        self.bench, self._prefix = bench, namespace
        self.goals: list[Goal] = []
        self.requests: list[str] = []
        self.active = True
        self.frozen = False  # its goals give no feedback and ignore cancellations
        self.unknown: set[str] = set()
        self.remembers: Callable[[str], str] = lambda _name: ""
        self.does: Callable[[Any], Ending | None] = lambda _request: WELL
        self._servers: dict[Any, ActionServer] = {}
        self._results: dict[bytes, Future] = {}
        bench.peer.create_service(Remember, f"{namespace}remember", self._on_remember)
        bench.peer.create_service(Recall, f"{namespace}recall", self._on_recall)
        self.states = bench.peer.create_publisher(String, f"{namespace}system_state", LATCHED)
        bench.peer.create_timer(0.02, self._cancel)
        bench.peer.create_timer(0.1, self._give_feedback)

    def serve(self) -> None:
        """Planning starts."""
        for kind, name in ((NavigateToPlace, "navigate_to_place"), (Explore, "explore")):
            self._servers[kind] = ActionServer(
                self.bench.peer,
                kind,
                self._prefix + name,
                execute_callback=self._result,
                goal_callback=self._on_request,
                handle_accepted_callback=lambda handle, kind=kind: self._on_accepted(handle, kind),
                cancel_callback=lambda _handle: CancelResponse.ACCEPT,
            )

    def die(self) -> None:
        """Planning dies and leaves its goals without a result."""
        while self._servers:
            self._servers.popitem()[1].destroy()
        self.goals.clear()

    def places(self) -> list[str]:
        return [goal.request.name for goal in self.goals]

    def _on_request(self, request: Any) -> GoalResponse:
        self.requests.append(getattr(request, "name", "explore"))
        return GoalResponse.ACCEPT if self.active else GoalResponse.REJECT

    def _on_accepted(self, handle: Any, kind: Any) -> None:
        goal = Goal(handle, kind)
        self.goals.append(goal)
        self._results[bytes(handle.goal_id.uuid)] = goal.result
        handle.execute()
        ending = self.does(handle.request)
        if ending is not None:
            goal.end(ending)

    async def _result(self, handle: Any) -> Any:
        return await self._results[bytes(handle.goal_id.uuid)]

    def _give_feedback(self) -> None:
        for goal in self.goals:
            if not goal.ended and not self.frozen:
                goal.give_feedback()

    def _cancel(self) -> None:
        for goal in self.goals:
            if not goal.ended and not self.frozen and goal.handle.is_cancel_requested:
                goal.end((Result.CANCELLED, "the client cancelled"))

    def _on_remember(self, request: Any, response: Any) -> Any:
        self.requests.append(f"remember {request.name}")
        response.message = self.remembers(request.name)
        response.success = not response.message
        return response

    def _on_recall(self, request: Any, response: Any) -> Any:
        response.success = request.name not in self.unknown
        response.message = "" if response.success else f"no place is called '{request.name}'"
        return response


class Player:
    """A mission node on the bench, and what it publishes."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.statuses: list[MissionStatus] = bench.collect(MissionStatus, "mission_status", LATCHED)
        self.nodes: list[MissionNode] = []

    def play(self, *steps: Any, parameters: dict[str, Any] | None = None, **keys: Any) -> Any:
        values = {
            "mission": str(write(self.folder, *steps, **keys)),
            "pictures": str(self.folder / "pictures"),
        } | (parameters or {})
        node = MissionNode(
            context=self.bench.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.nodes.append(node)
        self.bench.executor.add_node(node)
        return node

    @property
    def last(self) -> MissionStatus:
        return self.statuses[-1]

    def wait_for(self, state: int) -> MissionStatus:
        self.bench.wait_for(lambda: self.statuses and self.last.state == state)
        return self.last

    def wait_until_under_way(self) -> None:
        """Until the node knows that its goal was accepted."""
        tree = self.nodes[-1]._run._tree
        self.bench.wait_for(lambda: getattr(getattr(tree.tip(), "_job", None), "_handle", None))

    def call(self, service: str) -> Trigger.Response:
        client = self.bench.peer.create_client(Trigger, f"mission/{service}")
        self.bench.wait_for(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.bench.wait_for(future.done)
        return future.result()


def write(folder: Path, *steps: Any, **keys: Any) -> Path:
    path = folder / "mission.yaml"
    path.write_text(yaml.safe_dump({"name": "test", "steps": list(steps)} | keys))
    return path


@pytest.fixture
def stack(bench: Bench) -> Stack:
    stack = Stack(bench)
    stack.serve()
    return stack


@pytest.fixture
def player(bench: Bench, tmp_path: Path) -> Iterator[Player]:
    player = Player(bench, tmp_path)
    yield player
    for node in player.nodes:
        node.destroy_node()


def test_carries_out_a_mission_from_start_to_end(
    bench: Bench, stack: Stack, player: Player
) -> None:
    steps = [{"go": "kitchen", "timeout_s": 7}, {"explore": 9, "radius_m": 2}, {"remember": "dock"}]
    player.play(*steps, "return", repeat=2)
    status = player.wait_for(MissionStatus.SUCCEEDED)
    once = ["kitchen", "explore", "remember dock", "mission start"]
    assert stack.requests == ["remember mission start", *once, *once]
    assert (stack.goals[0].request.timeout_s, stack.goals[1].request.time_limit_s) == (7.0, 9.0)
    assert stack.goals[1].request.radius_m == 2.0
    assert (status.mission, status.message) == ("test", "all 2 rounds are done")
    assert (status.round, status.rounds, status.step, status.steps) == (2, 2, 4, 4)
    assert all(status.header.stamp.sec for status in player.statuses)


def test_a_late_subscriber_gets_the_last_status(bench: Bench, stack: Stack, player: Player) -> None:
    player.play({"go": "a"})
    player.wait_for(MissionStatus.SUCCEEDED)
    late = bench.collect(MissionStatus, "mission_status", LATCHED)
    bench.wait_for(lambda: late)
    assert late[-1].state == MissionStatus.SUCCEEDED


def test_waits_for_a_stack_that_starts_later(bench: Bench, player: Player) -> None:
    stack = Stack(bench)
    stack.active = False
    player.play({"go": "a"})
    bench.wait_for(lambda: player.statuses and player.last.doing == "go to a")
    stack.serve()
    bench.wait_for(lambda: stack.requests)
    stack.active = True  # planning is there before it is active
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a"]


def test_fails_when_patience_runs_out(bench: Bench, player: Player) -> None:
    Stack(bench)
    player.play({"go": "a"}, parameters={"patience_s": 0.5})
    status = player.wait_for(MissionStatus.FAILED)
    assert "could not go to a: navigate_to_place is not available (waited" in status.message


def test_waits_for_sensors_that_are_stale_at_first(
    bench: Bench, stack: Stack, player: Player
) -> None:
    endings = iter([(Result.STALE_SENSORS, "no belief yet"), WELL])
    refusals = iter(["no observation yet", ""])
    stack.does = lambda _request: next(endings)
    stack.remembers = lambda _name: next(refusals)
    player.play({"remember": "dock"}, {"go": "a"})
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.requests == ["remember dock"] * 2 + ["a"] * 2


def test_retries_a_failed_goal_then_skips_it(bench: Bench, stack: Stack, player: Player) -> None:
    shut = (Result.BLOCKED, "the door is shut")
    stack.does = lambda request: shut if request.name == "a" else WELL
    player.play({"go": "a", "retries": 1, "otherwise": "skip"}, {"go": "b"})
    status = player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a", "a", "b"]
    assert status.skipped == 1 and "1 step was skipped" in status.message
    told = [status.message for status in player.statuses]
    assert "could not go to a: the door is shut" in told


def test_an_unknown_place_fails_before_the_robot_moves(
    bench: Bench, stack: Stack, player: Player
) -> None:
    stack.unknown = {"kichen"}
    diagnostics: list[DiagnosticArray] = bench.collect(DiagnosticArray, "diagnostics")
    player.play({"go": "a"}, {"look": "kichen"})
    status = player.wait_for(MissionStatus.FAILED)
    assert "could not find kichen: no place is called 'kichen'" in status.message
    assert not stack.goals
    bench.wait_for(lambda: diagnostics and diagnostics[-1].status[0].level > DiagnosticStatus.OK)
    values = {pair.key: pair.value for pair in diagnostics[-1].status[0].values}
    assert (values["mission"], values["state"]) == ("test", "failed")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A goal without feedback counts as lost early."""
    monkeypatch.setattr(jobs, "SILENCE_S", 0.5)


def test_sends_the_goal_again_with_the_time_left_after_planning_died(
    bench: Bench, stack: Stack, player: Player, impatient: None
) -> None:
    stack.does = lambda _request: None
    player.play({"go": "a", "timeout_s": 60})
    player.wait_until_under_way()
    assert stack.goals[0].request.timeout_s == 60.0
    stack.die()
    bench.spin(1.0)
    assert player.last.state == MissionStatus.RUNNING
    stack.serve()
    bench.wait_for(lambda: stack.goals)
    assert stack.places() == ["a"] and 55.0 < stack.goals[0].request.timeout_s < 59.5
    stack.goals[0].end(WELL)
    player.wait_for(MissionStatus.SUCCEEDED)


def test_fails_if_planning_does_not_come_back(
    bench: Bench, stack: Stack, player: Player, impatient: None
) -> None:
    stack.does = lambda _request: None
    player.play({"go": "a"}, parameters={"patience_s": 1.0})
    player.wait_until_under_way()
    stack.die()
    status = player.wait_for(MissionStatus.FAILED)
    assert "step 1 failed: could not go to a: navigate_to_place is not available" in status.message


def test_waits_for_a_goal_that_waits_for_the_stack(
    bench: Bench, stack: Stack, player: Player, impatient: None
) -> None:
    stack.does = lambda _request: None
    stack.states.publish(String(data="active"))
    player.play({"go": "a"})
    player.wait_until_under_way()
    stack.states.publish(String(data="waiting"))
    bench.spin(1.0)
    stack.states.publish(String(data="active"))
    bench.spin(0.5)
    assert stack.places() == ["a"] and not stack.goals[0].ended
    stack.goals[0].end(WELL)
    player.wait_for(MissionStatus.SUCCEEDED)


def test_sends_a_lost_goal_again_only_when_the_manager_reports_active(
    bench: Bench, stack: Stack, player: Player, impatient: None
) -> None:
    """A killed server stays visible for long; the manager notices at once."""
    stack.does = lambda _request: None
    stack.states.publish(String(data="active"))
    player.play({"go": "a"})
    player.wait_until_under_way()
    stack.frozen = True
    stack.states.publish(String(data="waiting"))
    bench.spin(1.5)
    assert stack.places() == ["a"]
    stack.frozen = False
    bench.wait_for(lambda: stack.goals[0].ended)  # it was cancelled, in case it is alive
    stack.does = lambda _request: WELL
    stack.states.publish(String(data="active"))
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a", "a"]


def test_gives_up_a_goal_without_a_result(
    bench: Bench, stack: Stack, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "GRACE_S", 0.1)
    stack.does = lambda _request: None
    player.play({"go": "a", "timeout_s": 0.2})
    status = player.wait_for(MissionStatus.FAILED)
    assert "navigate_to_place gave no result 0.1 s after its time was over" in status.message
    bench.wait_for(lambda: stack.goals[0].ended)


def test_stop_cancels_and_start_starts_again(bench: Bench, stack: Stack, player: Player) -> None:
    stack.does = lambda _request: None
    player.play({"go": "a"}, {"go": "b"})
    bench.wait_for(lambda: stack.goals)
    assert not player.call("start").success
    assert player.call("stop").success
    status = player.wait_for(MissionStatus.CANCELLED)
    assert status.message == "stopped by the service" and not status.doing
    bench.wait_for(lambda: stack.goals[0].ended)
    assert not player.call("stop").success and not player.call("pause").success
    stack.does = lambda _request: WELL
    assert player.call("start").success
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a", "a", "b"]


def test_pause_stops_the_robot_and_start_continues(
    bench: Bench, stack: Stack, player: Player
) -> None:
    stack.does = lambda request: WELL if request.name == "a" else None
    player.play({"go": "a"}, {"go": "b"})
    bench.wait_for(lambda: len(stack.goals) == 2)
    assert player.call("pause").success
    player.wait_for(MissionStatus.PAUSED)
    bench.wait_for(lambda: stack.goals[1].ended)
    stack.does = lambda _request: WELL
    assert player.call("start").success
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a", "b", "b"]


def test_pauses_when_somebody_else_sends_a_goal(bench: Bench, stack: Stack, player: Player) -> None:
    stack.does = lambda _request: (Result.PREEMPTED, "a newer goal took over")
    player.play({"go": "a"}, retries=3)
    assert player.wait_for(MissionStatus.PAUSED).message == "a newer goal took over"
    stack.does = lambda _request: WELL
    assert player.call("start").success
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["a", "a"]


def test_pauses_when_somebody_else_cancels(bench: Bench, stack: Stack, player: Player) -> None:
    stack.does = lambda _request: None
    player.play({"go": "a"}, retries=3)
    player.wait_until_under_way()
    client = bench.peer.create_client(CancelGoal, "navigate_to_place/_action/cancel_goal")
    bench.wait_for(client.service_is_ready)
    client.call_async(CancelGoal.Request())  # without an id: all goals
    assert player.wait_for(MissionStatus.PAUSED).message == "the client cancelled"
    assert len(stack.goals) == 1


def test_cancels_a_goal_that_is_accepted_after_the_stop(
    bench: Bench, stack: Stack, player: Player
) -> None:
    stack.does = lambda _request: None
    node = player.play({"go": "a"})
    bench.wait_for(lambda: stack.requests)  # asked, but the answer is still on its way
    node.end(lambda timeout_s: bench.executor.spin_once(timeout_sec=timeout_s))
    assert stack.goals[0].ended and stack.goals[0].result.result().code == Result.CANCELLED


def test_the_node_cancels_its_goal_before_it_ends(
    bench: Bench, stack: Stack, player: Player
) -> None:
    stack.does = lambda _request: None
    node = player.play({"explore": 600})
    player.wait_until_under_way()
    node.end(lambda timeout_s: bench.executor.spin_once(timeout_sec=timeout_s))
    assert stack.goals[0].ended
    assert player.wait_for(MissionStatus.CANCELLED).message == "the mission node was shut down"


def test_without_autostart_waits_and_reads_the_file_again(
    bench: Bench, stack: Stack, player: Player
) -> None:
    player.play({"go": "a"}, parameters={"autostart": False})
    player.wait_for(MissionStatus.IDLE)
    write(player.folder, {"fly": "b"})
    refused = player.call("start")
    assert not refused.success and "it has no verb" in refused.message
    write(player.folder, {"go": "b"})
    assert player.call("start").success
    player.wait_for(MissionStatus.SUCCEEDED)
    assert stack.places() == ["b"]


def green(width: int = 32, height: int = 24) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 1] = 200
    return picture


def raw() -> Image:
    message = Image(height=24, width=32, encoding="rgb8", step=96)
    message.data.frombytes(green().tobytes())
    return message


def compressed() -> CompressedImage:
    return CompressedImage(format="jpeg", data=cv2.imencode(".jpg", green())[1].tobytes())


@pytest.mark.parametrize(("transport", "take"), [("raw", raw), ("compressed", compressed)])
def test_subscribes_to_the_camera_only_to_take_a_picture(
    bench: Bench, stack: Stack, player: Player, transport: str, take: Callable[[], Any]
) -> None:
    topic = "image" if transport == "raw" else "image/compressed"
    camera = bench.peer.create_publisher(type(take()), topic, 1)
    stack.does = lambda _request: None
    steps = [{"look": "hall", "save": "hall.png"}, {"go": "b"}]
    player.play(*steps, parameters={"image_transport": transport})
    bench.wait_for(lambda: stack.goals)
    assert camera.get_subscription_count() == 0
    stack.goals[0].end(WELL)
    bench.wait_for(lambda: camera.get_subscription_count() == 1)
    camera.publish(take())
    bench.wait_for(lambda: len(stack.goals) == 2)
    bench.wait_for(lambda: camera.get_subscription_count() == 0)
    seen = cv2.imread(str(player.folder / "pictures" / "hall.png"))
    assert seen.shape == (24, 32, 3) and abs(int(seen[12, 16, 1]) - 200) < 8


def test_a_silent_or_broken_camera_fails_the_step(
    bench: Bench, stack: Stack, player: Player
) -> None:
    camera = bench.peer.create_publisher(Image, "image", 1)
    player.play({"look": None, "otherwise": "skip"}, {"look": None}, parameters={"patience_s": 1.0})
    bench.wait_for(lambda: player.statuses and player.last.skipped)
    assert "no picture arrived from the camera" in player.last.message
    bench.wait_for(lambda: camera.get_subscription_count() == 1)
    camera.publish(Image(height=1, width=1, encoding="plaid", step=1))
    assert "plaid" in player.wait_for(MissionStatus.FAILED).message


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"mission": "absent.yaml"}, "absent.yaml: No such file"),
        ({"patience_s": 0.0}, "a number from 0.5 to 3600"),
        ({"pace": 1.0}, "'pace' is unknown"),
    ],
    ids=["file", "value", "name"],
)
def test_refuses_wrong_parameters_at_once(
    bench: Bench, player: Player, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        player.play({"go": "a"}, parameters=parameters)


# --- as a process


def mission_launch(**arguments: object) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(FILE)),
        launch_arguments=[(key, str(value)) for key, value in arguments.items()],
    )


@pytest.fixture
def processes() -> dict[str, list[Any]]:
    """Started and ended processes."""
    return {"pids": [], "codes": []}


@launch_pytest.fixture
def launched(domain: int, tmp_path: Path, processes: dict[str, list[Any]]) -> LaunchDescription:
    file = write(tmp_path, {"go": "a"}, otherwise="skip", retries=5)
    return LaunchDescription(
        [
            RegisterEventHandler(
                OnProcessStart(on_start=lambda event, _: processes["pids"].append(event.pid))
            ),
            RegisterEventHandler(
                OnProcessExit(on_exit=lambda event, _: processes["codes"].append(event.returncode))
            ),
            mission_launch(mission=file, namespace="robot1", pictures=tmp_path),
            ReadyToTest(),
        ]
    )


@pytest.mark.launch(fixture=launched)
def test_ctrl_c_cancels_what_the_robot_does(domain: int, processes: dict[str, list[Any]]) -> None:
    bench = Bench(domain)
    stack = Stack(bench, "/robot1/")
    stack.does = lambda _request: None
    stack.serve()
    statuses = bench.collect(MissionStatus, "/robot1/mission_status", LATCHED)
    bench.wait_for(lambda: stack.goals and statuses, 30.0)
    os.kill(processes["pids"][0], signal.SIGINT)
    bench.wait_for(lambda: stack.goals[0].ended)
    bench.wait_for(lambda: processes["codes"])
    assert processes["codes"] == [0] and len(stack.goals) == 1
    assert statuses[-1].state == MissionStatus.CANCELLED
    bench.close()


def test_a_missing_mission_ends_the_launch(domain: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "foresight.apps.cli", "launch", "mission.launch.py"]
    result = subprocess.run(
        [*command, f"mission:={tmp_path / 'absent.yaml'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 1
    assert "absent.yaml, which does not exist" in result.stdout
