"""What every node does with its parameters, its bundle, its profile and its process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from harness import Bench
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import String

from foresight_interfaces.msg import Heartbeat
from foresight_node import ERROR, ForesightNode, ParameterError, parameter, process
from foresight_node.messages import LATCHED, LATEST
from foresight_node.node import Sequence
from foresight_node.process import ProcessState
from foresight_perception.node import PerceptionNode
from foresight_planning.node import PlanningNode
from foresight_world_model.node import WorldModelNode

FAILURE, SUCCESS = TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.SUCCESS


@dataclass(frozen=True)
class Parameters:
    file: str = parameter("", "Some file.", required=True)
    mode: str = parameter("fast", "How.", choices=("fast", "slow"))
    period_s: float = parameter(0.5, "How often, s.", minimum=0.1, maximum=2.0, live=True)
    count: int = parameter(3, "How many.", minimum=1)


class Plain(ForesightNode[Parameters]):
    """A node that does what the test tells it to."""

    def __init__(self, **options: Any) -> None:
        super().__init__("plain", Parameters, **options)
        self.calls: list[str] = []
        self.fail_in = ""

    def configure(self) -> None:
        self._do("configure")
        self.file = self.values.file

    def activate(self) -> None:
        self._do("activate")

    def deactivate(self) -> None:
        self._do("deactivate")

    def cleanup(self) -> None:
        self._do("cleanup")

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what == self.fail_in:
            raise ZeroDivisionError(what)


# --- parameters


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "'file' has the value '', but a text that is not empty is expected (Some file)"),
        ({"file": 3}, "'file' has the value 3"),
        ({"mode": "best"}, "'mode' has the value 'best', but one of 'fast', 'slow' is expected"),
        ({"period_s": 9.0}, "a number from 0.1 to 2 is expected (How often, s)"),
        ({"period_s": float("nan")}, "'period_s' has the value nan"),
        ({"count": 2.5}, "'count' has the value 2.5, but a whole number from 1 is expected"),
        ({"count": True}, "'count' has the value True"),
        ({"periods": 1.0}, "parameter 'periods' is unknown; did you mean 'period_s'"),
    ],
)
def test_a_wrong_parameter_fails_the_configuration(
    bench: Bench, given: dict[str, Any], says: str
) -> None:
    node = bench.start(Plain, **({"file": "x"} | given if given else given))
    with pytest.raises(ParameterError) as error:
        _ = node.values
    assert says in str(error.value) and "\n" not in str(error.value)
    assert node.trigger_configure() == FAILURE
    assert node.lifecycle_state == State.PRIMARY_STATE_UNCONFIGURED


def test_parameters_have_types_and_defaults(bench: Bench) -> None:
    node = bench.start(Plain, file="x", period_s=1)  # YAML writes 1.0 as 1
    assert node.values == Parameters(file="x", period_s=1.0)
    assert type(node.values.period_s) is float
    description = node.describe_parameter("period_s")
    assert description.description == "How often, s."
    assert description.floating_point_range[0].to_value == 2.0


def test_a_choice_may_look_like_a_flag_in_yaml(bench: Bench) -> None:
    @dataclass(frozen=True)
    class Choice:
        stamped: str = parameter("auto", "Whether.", choices=("auto", "true", "false"))

    class Chooser(ForesightNode[Choice]):
        def __init__(self, **options: Any) -> None:
            super().__init__("chooser", Choice, **options)

    assert bench.start(Chooser, stamped=True).values == Choice(stamped="true")


def test_live_parameters_change_and_are_checked(bench: Bench) -> None:
    node = bench.start(Plain, file="x")
    (result,) = node.set_parameters([Parameter("period_s", value=0.7)])
    assert result.successful and node.values.period_s == 0.7
    (result,) = node.set_parameters([Parameter("period_s", value=7.0)])
    assert not result.successful and "Max: 2.0" in result.reason
    (result,) = node.set_parameters([Parameter("mode", value="slow")])
    assert not result.successful  # not live
    assert node.values == Parameters(file="x", period_s=0.7)


# --- lifecycle


def test_up_and_down_again(bench: Bench) -> None:
    node = bench.bring_up(Plain, file="x")
    for _ in range(50):
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
    node.take_down()
    assert node.calls[-2:] == ["deactivate", "cleanup"]
    assert node.lifecycle_state == State.PRIMARY_STATE_FINALIZED


@pytest.mark.parametrize(
    ("fail_in", "ends_in"),
    [
        ("configure", State.PRIMARY_STATE_UNCONFIGURED),
        ("activate", State.PRIMARY_STATE_INACTIVE),
        ("deactivate", State.PRIMARY_STATE_UNCONFIGURED),
        ("cleanup", State.PRIMARY_STATE_UNCONFIGURED),
    ],
)
def test_what_raises_is_logged_and_the_node_can_be_started_again(
    bench: Bench, capfd: pytest.CaptureFixture[str], fail_in: str, ends_in: int
) -> None:
    node = bench.start(Plain, file="x")
    node.fail_in = fail_in
    node.trigger_configure()
    if fail_in != "configure":
        node.trigger_activate()
    if fail_in in ("deactivate", "cleanup"):
        node.trigger_deactivate()
    if fail_in == "cleanup":
        node.trigger_cleanup()
    assert node.lifecycle_state == ends_in
    assert "ZeroDivisionError" in capfd.readouterr().err
    node.fail_in = ""
    if ends_in == State.PRIMARY_STATE_UNCONFIGURED:
        assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


def test_an_impossible_transition_is_answered(bench: Bench) -> None:
    node = bench.start(Plain, file="x")
    client = bench.peer.create_client(ChangeState, "plain/change_state")
    bench.wait_for(client.service_is_ready)
    for wish, possible in (
        (Transition.TRANSITION_DEACTIVATE, False),
        (77, False),
        (Transition.TRANSITION_CONFIGURE, True),
    ):
        future = client.call_async(ChangeState.Request(transition=Transition(id=wish)))
        bench.wait_for(future.done)
        assert future.result().success is possible
    assert node.lifecycle_state == State.PRIMARY_STATE_INACTIVE


def test_the_heart_beats_from_the_start(bench: Bench) -> None:
    beats = bench.collect(Heartbeat, "heartbeat")
    node = bench.start(Plain, file="x")
    bench.wait_for(lambda: beats)
    assert beats[0].node == "/plain"
    assert beats[0].lifecycle_state == State.PRIMARY_STATE_UNCONFIGURED
    node.trigger_configure()
    bench.wait_for(lambda: beats[-1].lifecycle_state == State.PRIMARY_STATE_INACTIVE)
    beats.clear()
    bench.spin(1.0)
    assert 7 <= len(beats) <= 13


def test_a_quality_of_service_that_does_not_fit_is_told(bench: Bench) -> None:
    bench.peer.create_publisher(String, "in", qos_profile_sensor_data)
    bench.peer.create_subscription(String, "out", lambda _: None, LATCHED)
    node = bench.start(Plain, file="x")
    node.listen(String, "in", lambda _: None, LATEST)
    node.advertise(String, "out", LATEST)
    told: set[str] = set()

    def both() -> bool:
        told.update(kind for kind in node.health._problems if kind.startswith("qos"))
        return told == {"qos of /in", "qos of /out"}

    bench.wait_for(both)
    text = node.health._problems["qos of /in"].text
    assert "/peer" in text and "/plain" in text and "\n" not in text


def test_a_topic_of_another_type_is_told(bench: Bench, domain: int) -> None:
    """On both sides, and by its name; the other is a participant of its own, as in a graph."""
    outside = Bench(domain)
    outside.peer.create_publisher(Heartbeat, "in", 10)
    outside.peer.create_subscription(Heartbeat, "out", lambda _: None, 10)
    node = bench.start(Plain, file="x")
    node.listen(String, "in", lambda _: None, LATEST)
    node.advertise(String, "out", LATEST)
    told: dict[str, str] = {}

    def both() -> bool:
        told.update({kind: p.text for kind, p in node.health._problems.items()})
        return {"type of /in at /peer", "type of /out at /peer"} <= told.keys()

    bench.wait_for(both)
    text = told["type of /in at /peer"]
    assert "/plain, which takes it as std_msgs/msg/String" in text
    assert "/peer, which takes it as foresight_interfaces/msg/Heartbeat" in text
    outside.close()


# --- the worker


def test_the_worker_keeps_only_the_newest_job(bench: Bench) -> None:
    node = bench.start(Plain, file="x")
    worker = node.start_worker()
    began, go = threading.Event(), threading.Event()
    done: list[Any] = []
    failed: list[Exception] = []

    def first() -> str:
        began.set()
        go.wait(5)
        return "first"

    assert not worker.submit(first, done.append, failed.append)
    assert began.wait(5)
    assert not worker.submit(lambda: "second", done.append, failed.append)
    assert worker.submit(lambda: 1 // 0, done.append, failed.append)
    go.set()
    bench.wait_for(lambda: failed)
    assert done == ["first"] and isinstance(failed[0], ZeroDivisionError)
    thread = []
    worker.submit(lambda: None, lambda _: thread.append(threading.current_thread()), failed.append)
    bench.wait_for(lambda: thread)
    assert thread == [threading.main_thread()]
    worker.stop()


def test_a_call_of_the_worker_goes_before_the_waiting_job(bench: Bench) -> None:
    node = bench.start(Plain, file="x")
    worker = node.start_worker()
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        go_on.wait()

    worker.submit(first, lambda _none: None, order.append)
    assert begun.wait(5.0)
    worker.submit(lambda: order.append("waiting"), lambda _none: order.append("done"), order.append)
    assert worker.busy
    threading.Timer(0.05, go_on.set).start()
    assert worker.call(lambda: order.append("called") or "answer") == "answer"
    bench.wait_for(lambda: "done" in order)
    assert order == ["called", "waiting", "done"]
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0)
    worker.stop()


# --- health


def test_health_tells_the_worst_problem_until_it_is_over(
    bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("foresight_node.health.time.monotonic", lambda: clock[0])
    health = bench.start(Plain, file="x").health
    assert (health.status().level, health.status().message) == (DiagnosticStatus.OK, "ok")
    for k in range(20):
        health.problem("image", f"bad image {k}")
    health.problem("bundle", "another bundle", ERROR)
    health.problem("odom", "bad odometry")
    status = health.status()
    assert (status.level, status.message) == (DiagnosticStatus.ERROR, "another bundle")
    assert capfd.readouterr().err.count("bad image") == 1  # the log is spared
    clock[0] += 2.0
    health.problem("odom", "bad odometry")
    clock[0] += 2.0
    assert health.status().message == "bad odometry"
    clock[0] += 2.0
    assert health.status().level == DiagnosticStatus.OK


def test_health_measures_rates_and_latencies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("foresight_node.health.time.monotonic", lambda: clock[0])
    health = bench.start(Plain, file="x").health
    for k in range(101):
        clock[0] += 0.1
        health.event("images")
        health.latency("encode", k * 1e-3)
    health.count("dropped")
    health.fact("bundle", "abc")
    values = {value.key: value.value for value in health.status().values}
    assert values["encode p50 (ms)"] == "50.0" and values["encode p95 (ms)"] == "95.0"
    assert float(values["images (Hz)"]) == pytest.approx(10.0, abs=0.3)
    assert values["dropped"] == "1" and values["bundle"] == "abc"
    assert values["encode_ms"].split()[:3] == ["0.0", "1.0", "2.0"]
    health.publish()
    assert "encode_ms" not in {value.key for value in health.status().values}
    clock[0] += 20.0
    values = {value.key: value.value for value in health.status().values}
    assert values["images (Hz)"] == "0.0"


# --- bundles and profiles


def _remove(folder: Path) -> str:
    shutil.rmtree(folder)
    return "manifest.yaml"


def _truncate(folder: Path) -> str:
    file = folder / "encoder.onnx"
    file.write_bytes(file.read_bytes()[:-50])
    return "encoder.onnx"


def _alter(folder: Path) -> str:
    file = folder / "dynamics.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return "dynamics.onnx"


def _edit(folder: Path) -> str:
    file = folder / "manifest.yaml"
    text = file.read_text().replace("latent_size: 3", "latent_size: 4")
    file.write_text(text.replace("width: 80", "width: 88"))
    return "shape"


@pytest.mark.parametrize("spoil", [_remove, _truncate, _alter, _edit])
@pytest.mark.parametrize("kind", [PerceptionNode, WorldModelNode, PlanningNode])
def test_a_bad_bundle_fails_the_configuration_with_one_sentence(
    bench: Bench,
    capfd: pytest.CaptureFixture[str],
    passthrough: Path,
    homebot: Path,
    tmp_path: Path,
    kind: Callable[..., Any],
    spoil: Callable[[Path], str],
) -> None:
    folder = shutil.copytree(passthrough, tmp_path / "bundle")
    names = spoil(folder)
    profile = {} if kind is WorldModelNode else {"robot": str(homebot)}
    node = bench.start(kind, bundle=str(folder), **profile)
    assert node.trigger_configure() == FAILURE
    said = [line for line in capfd.readouterr().err.splitlines() if "cannot configure" in line]
    assert len(said) == 1 and names in said[0] and str(folder) in said[0]


@pytest.mark.parametrize("kind", [PerceptionNode, PlanningNode])
def test_a_wrong_profile_fails_the_configuration_with_one_sentence(
    bench: Bench,
    capfd: pytest.CaptureFixture[str],
    passthrough: Path,
    homebot: Path,
    tmp_path: Path,
    kind: Callable[..., Any],
) -> None:
    content = yaml.safe_load(homebot.read_text())
    content["camera"]["hfov_deg"] = 700
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(content))
    node = bench.start(kind, bundle=str(passthrough), robot=str(wrong))
    assert node.trigger_configure() == FAILURE
    said = [line for line in capfd.readouterr().err.splitlines() if "cannot configure" in line]
    assert len(said) == 1
    assert all(part in said[0] for part in (str(wrong), "camera.hfov_deg", "700"))


# --- the process

_PROGRAM = """
import sys
from foresight_node import run
from test_node_base import Plain

def make():
    node = Plain()
    node.trigger_configure()
    node.trigger_activate()
    if {crash}:
        node.create_timer(0.1, lambda: 1 // 0)
    print("up", flush=True)
    return node

code = run(make, args=["--ros-args", "-p", "file:=x"])
print("down", flush=True)
sys.exit(code)
"""


def _program(crash: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(crash=crash)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_the_node_down_in_order(domain: int, number: signal.Signals) -> None:
    with _program(crash=False) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (output, process.returncode) == ("down\n", 0), errors


def test_an_unexpected_error_takes_the_node_down_and_is_told(domain: int) -> None:
    with _program(crash=True) as process:
        output, errors = process.communicate(timeout=20)
    assert (output, process.returncode) == ("up\ndown\n", 1)
    assert "ZeroDivisionError" in errors


# --- what was lost on the way


def test_messages_that_never_came_are_counted(bench: Bench) -> None:
    class Slow(Plain):
        def configure(self) -> None:
            super().configure()
            self.listen(String, "words", lambda _: None, LATEST, lost="words dropped: node busy")

    node = bench.bring_up(Slow, file="x")

    def dropped() -> str:
        return {v.key: v.value for v in node.health.status().values}["words dropped: node busy"]

    assert dropped() == "0"
    words = bench.publisher(String, "words", LATEST)
    words.publish(String(data="one"))
    bench.spin(0.5)
    for number in range(5):  # the node does not get to hear them, and only the last one is kept
        words.publish(String(data=str(number)))
    bench.wait_for(lambda: dropped() == "4")


def test_a_publisher_that_starts_anew_has_lost_nothing() -> None:
    sequence = Sequence()
    assert [sequence.missing_before(n) for n in (5, 6, 9, 1, 2, 2**64 - 1)] == [0, 0, 2, 0, 0, 0]


# --- processes


def test_a_process_is_seen_to_run_to_stand_still_and_to_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    there = process.own_name().rpartition(" ")[0]
    number = process.look_up(f"{there} {child.pid}")
    assert number == child.pid
    assert process.state_of(number) is ProcessState.RUNS
    child.send_signal(signal.SIGSTOP)
    until(lambda: process.state_of(number) is ProcessState.STOPPED)
    child.kill()
    until(lambda: process.state_of(number) is ProcessState.GONE)  # before anybody has waited for it
    child.communicate()
    assert process.state_of(number) is ProcessState.GONE


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["", "another-boot pid:[1] 1", "nonsense"])
def test_a_process_of_another_machine_is_not_looked_for_here(name: str) -> None:
    assert process.look_up(name) is None
