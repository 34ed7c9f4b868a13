"""The memory node: localisation, names, routes, guidance, and persistence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from harness import Bench
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from unique_identifier_msgs.msg import UUID

from foresight import bundle
from foresight.memory import Places, PlacesError
from foresight.memory.file import PlacesFile
from foresight_interfaces.msg import Belief, Observation, Place, Subgoal
from foresight_interfaces.srv import Forget, Guide, Recall, Remember, Route
from foresight_memory.node import MemoryNode, default_file
from foresight_node.messages import LATCHED, LATEST, floats, picture_message

pytestmark = pytest.mark.timeout(60)

GREYS = (0.05, 0.2, 0.35, 0.5, 0.65)
"""Places in a row, about 3.5 s apart by the distance of `passthrough`, and distinct."""
FAST_HZ = 60.0
SERVICES = (Remember, Recall, Forget, Route, Guide)


class Robot:
    """The rest of the graph: publishes to the node and calls its services."""

    def __init__(self, bench: Bench, digest: str) -> None:
        self.bench, self.digest = bench, digest
        self.odom = bench.publisher(Odometry, "odom")
        self.views = bench.publisher(Image, "model_image", qos_profile_sensor_data)
        self.observations = bench.publisher(Observation, "observation", LATEST)
        self.beliefs = bench.publisher(Belief, "belief", LATEST)
        self.places: list[Place] = bench.collect(Place, "current_place", LATCHED)
        self.aims: list[Subgoal] = bench.collect(Subgoal, "subgoal", LATEST)
        self.clients = {
            kind: bench.peer.create_client(kind, kind.__name__.lower()) for kind in SERVICES
        }
        bench.wait_for(lambda: all(c.service_is_ready() for c in self.clients.values()))
        bench.wait_for(lambda: bench.peer.count_publishers("current_place"))
        bench.wait_for(lambda: bench.peer.count_publishers("subgoal"))
        self.metres = 0.0

    def send(self, grey: float, view: bool = True) -> Time:
        """Publish odometry, picture and observation; returns their stamp."""
        stamp = self.bench.now()
        odometry = Odometry()
        odometry.header.stamp, odometry.header.frame_id = stamp, "odom"
        odometry.pose.pose.position.x = self.metres
        observation = Observation(latent=floats([grey] * 3), proprioception=[0.0] * 3)
        observation.header.stamp, observation.header.frame_id = stamp, "camera"
        observation.bundle_digest = self.digest
        self.odom.publish(odometry)
        if view:
            picture = np.full((60, 80, 3), round(255 * grey), np.uint8)
            self.views.publish(picture_message(picture, observation.header))
        self.observations.publish(observation)
        return stamp

    def look(self, grey: float) -> Place:
        """Publish this view and wait for the place."""
        seen = []

        def told() -> bool:
            self.bench.spin(0.02)
            return any(place.header.stamp in seen for place in self.places)

        def again() -> bool:  # best effort: odometry may come late, a view may be lost
            seen.append(self.send(grey))
            return any(told() for _ in range(10))

        self.bench.wait_for(again)
        return self.places[-1]

    def drive(self, *greys: float) -> list[int]:
        """Drive past these places; returns their numbers."""
        passed = []
        for grey in greys:
            self.metres += 0.5
            passed.append(self.look(grey).node)
        return passed

    def ask(self, kind: type, **request: Any) -> Any:
        future = self.clients[kind].call_async(kind.Request(**request))
        self.bench.wait_for(future.done)
        return future.result()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "places.db"


@pytest.fixture
def start(bench: Bench, passthrough: Path, file: Path) -> Callable[..., Any]:
    """Starts the node."""

    def start(**parameters: Any) -> Any:
        values = {"bundle": str(passthrough), "file": str(file), "rate_hz": FAST_HZ} | parameters
        return bench.bring_up(MemoryNode, **values)

    return start


@pytest.fixture
def memory(start: Callable[..., Any]) -> Any:
    return start()


@pytest.fixture
def digest(passthrough: Path) -> str:
    return bundle.load(passthrough).digest


@pytest.fixture
def robot(bench: Bench, memory: Any, digest: str) -> Robot:
    return Robot(bench, digest)


def again(node: Any) -> None:
    """Take the node down to unconfigured, and up again."""
    for step in (
        node.trigger_deactivate,
        node.trigger_cleanup,
        node.trigger_configure,
        node.trigger_activate,
    ):
        assert step() == TransitionCallbackReturn.SUCCESS


# --- localisation


def test_publishes_a_place_for_each_observation(robot: Robot) -> None:
    first = robot.look(0.2)
    assert (first.header.frame_id, first.name, first.confidence) == ("odom", "", 1.0)
    robot.metres = 0.5
    second = robot.look(0.5)
    assert second.node != first.node and second.pose_hint.position.x == pytest.approx(0.5)
    robot.metres = 0.0
    back = robot.look(0.2)
    assert back.node == first.node and 0.6 < back.confidence <= 1.0


def test_a_late_subscriber_gets_the_last_place(robot: Robot) -> None:
    known = robot.look(0.2)
    late = robot.bench.collect(Place, "current_place", LATCHED)
    robot.bench.wait_for(lambda: late)
    assert late[0].node == known.node


def test_learns_only_while_learn_is_true(robot: Robot, memory: Any) -> None:
    known = robot.look(0.2)
    memory.set_parameters([_parameter("learn", False)])
    robot.metres = 0.5
    assert robot.look(0.5).node == known.node
    memory.set_parameters([_parameter("learn", True)])
    assert robot.look(0.5).node != known.node


def _parameter(name: str, value: Any) -> Any:
    from rclpy.parameter import Parameter

    return Parameter(name, value=value)


def test_limits_the_rate_of_observations(robot: Robot, memory: Any) -> None:
    robot.look(0.2)
    memory.set_parameters([_parameter("rate_hz", 0.5)])
    count = len(robot.places)
    for _ in range(5):
        robot.send(0.2)
        robot.bench.spin(0.05)
    assert len(robot.places) == count


def test_localises_an_observation_without_its_picture(robot: Robot, memory: Any) -> None:
    known = robot.look(0.2)
    count = len(robot.places)

    def told() -> bool:
        robot.send(0.2, view=False)
        robot.bench.spin(0.05)
        return len(robot.places) > count

    robot.bench.wait_for(told)
    assert robot.places[-1].node == known.node
    assert "observations without view" in values(memory)


def test_refuses_another_bundle(robot: Robot, memory: Any) -> None:
    robot.digest = "0" * 64

    def refused() -> bool:
        robot.send(0.2)
        robot.bench.spin(0.05)
        return "start all nodes with the same bundle" in memory.health.status().message

    robot.bench.wait_for(refused)
    assert not robot.places


def test_reset_odometry_begins_a_session(robot: Robot, memory: Any) -> None:
    known = robot.look(0.2)
    before = memory._memory.places.session
    robot.metres = 500.0
    assert robot.look(0.2).node == known.node
    assert memory._memory.places.session == before + 1


def test_diagnostics_report_the_size_of_the_memory(robot: Robot, memory: Any, file: Path) -> None:
    robot.drive(*GREYS[:3])
    told = values(memory)
    assert (told["places"], told["edges"], told["file"]) == ("3", "4", str(file))
    assert float(told["localise p95 (ms)"]) > 0 and "observations (Hz)" in told
    assert told["confidence"] == "1.00"


def values(node: Any) -> dict[str, str]:
    return {value.key: value.value for value in node.health.status().values}


# --- names


def test_a_name_outlives_the_node(robot: Robot, memory: Any) -> None:
    robot.look(0.2)
    answer = robot.ask(Remember, name="kitchen")
    assert answer.success, answer.message
    again(memory)
    robot = Robot(robot.bench, robot.digest)
    recalled = robot.ask(Recall, name="kitchen")
    assert recalled.success, recalled.message
    assert (recalled.place.node, recalled.place.name) == (answer.node, "kitchen")
    assert recalled.place.confidence == 0.0  # nothing was seen yet
    picture = recalled.image
    assert (picture.height, picture.width, picture.encoding) == (60, 80, "rgb8")
    assert np.abs(np.asarray(picture.data, float) - 51).max() < 4
    here = robot.look(0.2)
    assert (here.node, here.name) == (answer.node, "kitchen")
    assert robot.ask(Recall, name="kitchen").place.confidence > 0.6


def test_a_named_place_has_the_present_picture(robot: Robot) -> None:
    near = robot.look(0.2)
    assert robot.ask(Remember, name="a").node == near.node  # it still stands there
    robot.metres = 0.2
    robot.look(0.22)
    answer = robot.ask(Remember, name="b")
    assert answer.node != near.node
    assert abs(robot.ask(Recall, name="b").image.data[0] - 56) < 3


def test_a_forgotten_name_is_gone(robot: Robot) -> None:
    robot.look(0.2)
    robot.ask(Remember, name="kitchen")
    assert robot.ask(Forget, name="kitchen").success
    for kind in (Forget, Recall, Route):
        answer = robot.ask(kind, name="kitchen")
        assert not answer.success
        assert answer.message == "no place is called 'kitchen'; known are: none"


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "name is empty"), ("x" * 65, "65 characters"), ("a\tb", "control characters")],
)
def test_refuses_a_bad_name_in_one_sentence(robot: Robot, name: str, says: str) -> None:
    robot.look(0.2)
    answer = robot.ask(Remember, name=name)
    assert not answer.success and says in answer.message and "\n" not in answer.message


def test_remember_needs_a_fresh_observation(robot: Robot, memory: Any) -> None:
    assert "nothing was observed yet" in robot.ask(Remember, name="kitchen").message
    robot.look(0.2)
    memory.set_parameters([_parameter("observation_max_age_s", 0.1)])
    robot.bench.spin(0.15)
    assert "s old, at most 0.1 s" in robot.ask(Remember, name="kitchen").message
    memory.trigger_deactivate()
    assert "not active" in robot.ask(Remember, name="kitchen").message


# --- routes and guidance


def test_a_route_follows_the_places_that_were_passed(robot: Robot) -> None:
    robot.look(GREYS[0])
    start = robot.ask(Remember, name="start").node
    passed = robot.drive(*GREYS[1:])
    answer = robot.ask(Route, name="start")
    assert answer.success, answer.message
    assert list(answer.nodes) == [*reversed(passed), start]
    assert 4.0 < answer.expected_s < 30.0


def test_reports_a_missing_route_in_one_sentence(robot: Robot, memory: Any) -> None:
    robot.look(0.05)
    robot.ask(Remember, name="start")
    assert "not known where the robot is" in _route_after_restart(robot, memory)
    robot.metres = 90.0
    robot.look(0.95)
    assert "no route from here to 'start' is known" in robot.ask(Route, name="start").message


def _route_after_restart(robot: Robot, memory: Any) -> str:
    again(memory)
    robot.bench.wait_for(lambda: robot.observations.get_subscription_count() == 1)
    robot.bench.wait_for(robot.clients[Route].service_is_ready)
    return str(robot.ask(Route, name="start").message)


def test_guides_from_place_to_place(robot: Robot, digest: str) -> None:
    robot.look(GREYS[0])
    start = robot.ask(Remember, name="start").node
    passed = robot.drive(*GREYS[1:])
    goal = UUID(uuid=np.arange(16, dtype=np.uint8))
    answer = robot.ask(Guide, goal_id=goal, start=True, name="start")
    assert answer.success, answer.message
    aim = _aim(robot, GREYS[4])
    assert (aim.place, aim.final) == (passed[2], False)
    np.testing.assert_allclose(aim.latent, [GREYS[3]] * 3, atol=1e-3)
    assert aim.expected_s > 5.0
    assert bytes(aim.goal_id.uuid) == bytes(goal.uuid) and aim.bundle_digest == digest
    robot.metres = 0.5
    aim = _aim(robot, GREYS[1])
    assert (aim.place, aim.final) == (start, True)
    assert robot.ask(Guide, goal_id=goal, start=False).success
    robot.aims.clear()
    robot.look(GREYS[1])
    assert not robot.aims


def _aim(robot: Robot, grey: float) -> Subgoal:
    """The one that belongs to the present view."""
    robot.aims.clear()
    stamp = robot.look(grey).header.stamp
    robot.bench.wait_for(lambda: any(aim.header.stamp == stamp for aim in robot.aims))
    return robot.aims[-1]


def test_guides_to_a_picture(robot: Robot, digest: str) -> None:
    robot.drive(*GREYS)
    goal = UUID(uuid=np.arange(16, dtype=np.uint8))
    latent = floats([GREYS[0]] * 3)
    answer = robot.ask(Guide, goal_id=goal, start=True, latent=latent, bundle_digest=digest)
    assert answer.success, answer.message
    aim = _aim(robot, GREYS[4])
    assert not aim.final and len(aim.latent) == 3


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({}, "either a name or a latent"),
        ({"name": "attic"}, "no place is called 'attic'"),
        ({"name": "attic", "latent": [0.0] * 3}, "either a name or a latent"),
        ({"latent": [0.0] * 3, "bundle_digest": "0" * 64}, "same bundle"),
        ({"latent": [0.0] * 4, "bundle_digest": None}, "has 4 numbers; give 3"),
        ({"latent": [0.0, 0.0, float("nan")], "bundle_digest": None}, "all finite"),
    ],
)
def test_refuses_a_bad_guide_request_in_one_sentence(
    robot: Robot, digest: str, request_: dict[str, Any], says: str
) -> None:
    robot.look(0.2)
    own = {"bundle_digest": digest} if "bundle_digest" in request_ else {}
    if request_.get("bundle_digest"):
        own = {}
    answer = robot.ask(Guide, start=True, **request_ | own)
    assert not answer.success and says in answer.message and "\n" not in answer.message


# --- the file


def names(file: Path) -> dict[str, int]:
    try:
        reader = PlacesFile.read(file)
    except PlacesError:
        return {}
    found = dict(reader.contents().names)
    reader.close()
    return found


class Process:
    """The active node in its own process."""

    def __init__(self, bench: Bench, passthrough: Path, file: Path) -> None:
        program = "import sys; from foresight_memory.node import main; sys.exit(main())"
        values = {"bundle": passthrough, "file": file, "rate_hz": FAST_HZ}
        options = [part for k, v in values.items() for part in ("-p", f"{k}:={v}")]
        self.bench = bench
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "--ros-args", *options], text=True
        )
        change = bench.peer.create_client(ChangeState, "memory/change_state")
        bench.wait_for(change.service_is_ready, 30.0)
        for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            future = change.call_async(ChangeState.Request(transition=Transition(id=step)))
            bench.wait_for(future.done, 30.0)
            assert future.result().success

    def end(self, number: int) -> int:
        os.kill(self.process.pid, number)
        return self.process.wait(20)


@pytest.fixture
def process(bench: Bench, passthrough: Path, file: Path) -> Iterator[Process]:
    process = Process(bench, passthrough, file)
    yield process
    process.process.kill()
    process.process.wait()


def test_a_name_outlives_a_killed_node(
    bench: Bench, process: Process, file: Path, digest: str, start: Callable[..., Any]
) -> None:
    robot = Robot(bench, digest)
    robot.look(0.2)
    node = robot.ask(Remember, name="kitchen").node
    bench.wait_for(lambda: names(file) == {"kitchen": node}, 2.0)
    process.end(signal.SIGKILL)
    memory = start()
    assert memory._memory.places.names == {"kitchen": node}


def test_a_terminated_node_writes_everything(
    bench: Bench, process: Process, file: Path, digest: str
) -> None:
    robot = Robot(bench, digest)
    robot.look(0.2)
    node = robot.ask(Remember, name="kitchen").node
    assert process.end(signal.SIGTERM) == 0
    assert names(file) == {"kitchen": node}


def test_deactivation_writes_everything(robot: Robot, memory: Any, file: Path) -> None:
    robot.look(0.2)
    node = robot.ask(Remember, name="kitchen").node
    memory.trigger_deactivate()
    assert names(file) == {"kitchen": node}


@pytest.fixture
def damaged(file: Path) -> Path:
    file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    return file


def test_refuses_a_damaged_file(
    bench: Bench, passthrough: Path, damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = damaged.read_bytes()
    node = bench.start(MemoryNode, bundle=str(passthrough), file=str(damaged))
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert f"cannot configure: {damaged}" in said and "Traceback" not in said
    assert damaged.read_bytes() == before


def test_moves_a_damaged_file_aside_on_request(start: Callable[..., Any], damaged: Path) -> None:
    node = start(fresh_if_damaged=True)
    assert len(node._memory.places) == 0
    assert len(list(damaged.parent.glob("places.db.damaged-*"))) == 1


def test_refuses_a_file_in_use(
    bench: Bench, memory: Any, passthrough: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    second = bench.start(MemoryNode, bundle=str(passthrough), file=str(file))
    assert second.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "another process has it open" in capfd.readouterr().err


def test_a_full_disk_is_reported_and_stops_nothing(
    robot: Robot, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PlacesFile, batch: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PlacesFile, "write", full)
        robot.look(0.2)
        robot.bench.wait_for(lambda: "no space left" in memory.health.status().message)
        assert "no space left" in values(memory)["write error"]
        assert memory.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert memory.trigger_activate() == TransitionCallbackReturn.SUCCESS
    robot.bench.wait_for(lambda: values(memory)["write error"] == "none")


def test_re_embeds_places_of_another_encoder(
    bench: Bench, file: Path, digest: str, start: Callable[..., Any]
) -> None:
    with Places.open(file, "another", 5) as places:
        for k in range(20):
            picture = np.full((60, 80, 3), 10 * k, np.uint8)
            place = places.add(np.ones(5), picture, (k, 0, 0))
        places.name("kitchen", place)
    memory = start()
    bench.wait_for(lambda: values(memory)["places to encode anew"] == "0")
    assert memory._encoder is None
    robot = Robot(bench, digest)
    here = robot.look(190 / 255)
    assert (here.node, here.name) == (place, "kitchen")


def test_the_default_file_depends_on_user_and_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_file("/") == Path("/state/foresight/places.db")
    assert default_file("/fleet/robot1") == Path("/state/foresight/fleet/robot1/places.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_file("/") == Path("/home/somebody/.local/state/foresight/places.db")
