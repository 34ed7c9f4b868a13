"""Faults while the robot drives at full speed: it rests in time, reports why, and drives again.

One graph of processes, as the launch files start it, meets every fault of a table. What is measured
goes to results/faults.json; FORESIGHT_FAULTS=20 repeats each fault 20 times, in rounds, and allows
nothing for a busy machine. fault_table.py makes the tables of docs/reliability.md from it.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from launch_ros.actions import SetRemap
from rclpy.action import ActionClient
from rig import REMAPS, START, TAPPED, Change, Rig

from foresight.bodies.profile import RobotProfile
from foresight_interfaces.action import Explore, NavigateToImage, NavigateToPlace
from foresight_interfaces.srv import Remember
from foresight_node.messages import floats, seconds, to_stamp

ROOT = Path(__file__).parents[2]
REPETITIONS = int(os.environ.get("FORESIGHT_FAULTS", "1"))
MEASURING = "FORESIGHT_FAULTS" in os.environ
SLACK_S = 0.0 if MEASURING else 1.0
"""Extra time for a busy machine when nothing is measured."""

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

PROFILE = RobotProfile.load(ROOT / "config" / "robots" / "homebot.yaml")
BRAKING_S = PROFILE.limits.linear_max_mps / PROFILE.limits.linear_decel_mps2
STOP_S = 0.2 + BRAKING_S
"""From the detection of a fault to rest."""
PLAN_S = BELIEF_S = 1.0
ODOMETRY_S = SCAN_S = PICTURE_S = 0.5
"""Limits of age, see docs/safety.md and perception's image_max_age_s."""
ODOMETRY_PERIOD_S, SCAN_PERIOD_S, PLAN_PERIOD_S = 0.05, 0.1, 0.1
GOAL_S = 0.2
"""From a client to planning, which checks a goal's picture before it refuses it."""
LOST_S = 0.3
"""The manager detects a lost process within this."""
RESTART_S = 5.0
"""From the manager's death until another one has taken over: 1 s plus its start."""
BRING_UP_S = 60.0
TOLD_S = 30.0
"""Longest wait for the reason: some come only when a process is back."""
JERK_MPS = PROFILE.limits.linear_accel_mps2 * 0.1
"""What a late step may add."""
ROUNDING_MPS = 1e-6
WATCH_S = 2.0
"""How long a fault is watched during which the robot drives on."""

INJECTION, BAD_MESSAGE, LAST_PLAN = "the fault", "the first bad message", "the last plan"
CLOCK = (
    "the clock jumped",
    "it ended",
    "plan refused",
    "no fresh odometry",
    "no fresh scan",
    "no fresh plan",
)
"""What is detected first after a jump depends on the order of messages."""
BY_ITSELF, WHEN_HEALED = "by itself", "when it has passed"
RESPAWNED, AFTER_RESET = "when it is started again", "after a reset by a person"

Inject = Callable[[Rig], AbstractContextManager[object]]


@dataclass(frozen=True)
class Fault:
    """A fault, and what is promised.

    Attributes:
        inject: makes it fail; the end of the context heals it.
        told: text that is published, or one of several: in actuation_status, system_state,
            diagnostics or a goal's result.
        notice_s: the robot brakes within this time after `since`; None: it drives on.
        returns: what makes the robot drive again.
        simulated: timed on the simulator's clock, as its driver is.
    """

    name: str
    inject: Inject
    told: str | tuple[str, ...]
    notice_s: float | None = None
    since: str = INJECTION
    returns: str = WHEN_HEALED
    simulated: bool = False

    @property
    def bound_s(self) -> float | None:
        """At rest within this time after `since`."""
        return None if self.notice_s is None else self.notice_s + STOP_S


# ---- messages ----


def lost(_message: Any) -> None:
    """All messages are lost."""


def held(field: str = "") -> Change:
    """Repeat the first message, or this field of it, for ever."""
    first: list[Any] = []

    def hold(message: Any) -> Any:
        first.append(message)
        if not field:
            return first[0]
        setattr(message, field, getattr(first[0], field))
        return message

    return hold


def black(image: Any) -> Any:
    image.data = array("B", bytes(len(image.data)))
    return image


def scaled(columns: int, rows: int) -> Change:
    """A picture of another size."""

    def scale(image: Any) -> Any:
        pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, -1)
        y = np.arange(rows) * image.height // rows
        x = np.arange(columns) * image.width // columns
        pixels = pixels[y[:, None], x]
        image.height, image.width, image.step = rows, columns, pixels[0].nbytes
        image.data = array("B", pixels.tobytes())
        return image

    return scale


def put(path: str, value: Any) -> Change:
    """Set a field, by its path, to a value."""
    *owners, name = path.split(".")

    def change(message: Any) -> Any:
        owner = message
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, name, value)
        return message

    return change


def later(seconds_: float, *paths: str) -> Change:
    """Shift the stamps at these paths; positive is forward."""

    def change(message: Any) -> Any:
        for path in paths:
            *owners, name = path.split(".")
            owner = message
            for part in owners:
                owner = getattr(owner, part)
            setattr(owner, name, to_stamp(seconds(getattr(owner, name)) + seconds_))
        return message

    return change


def moved(metres: float) -> Change:
    """Shift the pose of odometry."""

    def change(odometry: Any) -> Any:
        odometry.pose.pose.position.x += metres
        return odometry

    return change


def thinned(share: float) -> Change:
    """Lose this share of the messages."""
    dice = random.Random(0)
    return lambda message: None if dice.random() < share else message


def every_time(seconds_: float) -> dict[str, Change]:
    """Shift all stamps, as when the system clock is set."""
    stamped = {topic: later(seconds_, "header.stamp") for topic in TAPPED}
    del stamped["/clock"], stamped["bumper"]
    return stamped | {"clock": later(seconds_, "clock")}


def messages(make: Callable[[], dict[str, Change]]) -> Inject:
    """Alter messages, with fresh changes each time."""
    return lambda rig: rig.altered(**make())


# ---- goals ----


def goal(kind: Any, action: str, /, **request: Any) -> Inject:
    """Replace the pilot's goal by one that planning cannot pursue."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        def told(future: Any) -> None:
            rig.report("result", future.result().result.message)

        client = ActionClient(rig.bench.peer, kind, action)
        rig.bench.wait_for(client.server_is_ready)
        try:
            with rig.without_pilot():
                sent = client.send_goal_async(kind.Goal(**request))
                rig.bench.wait_for(sent.done)
                sent.result().get_result_async().add_done_callback(told)
                yield
        finally:
            client.destroy()

    return inject


def picture(width: int, height: int, data: bytes) -> Any:
    image = NavigateToImage.Goal().image
    image.width, image.height, image.step, image.encoding = width, height, 3 * width, "rgb8"
    image.data = array("B", data)
    return image


# ---- processes ----

processes: dict[str, int] = {}
"""Name in the launch -> process id, the latest one."""
started: set[int] = set()


def is_running(pid: int) -> bool:
    """Whether a process runs; an ended one may still be a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def killed(name: str) -> Inject:
    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        before = processes[name]
        os.kill(before, signal.SIGKILL)
        yield
        rig.bench.wait_for(lambda: processes[name] != before, BRING_UP_S)
        assert not is_running(before)

    return inject


def frozen(name: str) -> Inject:
    @contextmanager
    def inject(_rig: Rig) -> Iterator[None]:
        os.kill(processes[name], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(processes[name], signal.SIGCONT)

    return inject


def silently(inject: Inject) -> Inject:
    """As `inject`, and stop the plans: the pilot plays the planner that is gone."""

    @contextmanager
    def both(rig: Rig) -> Iterator[None]:
        with rig.without_pilot(), inject(rig):
            yield

    return both


# ---- files ----


@contextmanager
def full_disk(rig: Rig) -> Iterator[None]:
    """The memory process can write no more, while something new is remembered."""
    pid = processes["memory"]
    client = rig.bench.peer.create_client(Remember, "remember")
    rig.bench.wait_for(client.service_is_ready)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        client.call_async(Remember.Request(name=f"while full {time.monotonic()}"))
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def replaced(rewrite: Callable[[Path], None], then: Inject | None = None) -> Inject:
    """Change the bundle's files under the running nodes."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[None]:
        folder = bundles[0]
        safe = folder.with_name("safe")
        shutil.copytree(folder, safe)
        try:
            rewrite(folder)
            if then is None:
                yield
            else:
                with then(rig):
                    yield
        finally:
            shutil.rmtree(folder)
            safe.rename(folder)
        if then is not None:  # all load it anew
            rig.call("shutdown")
            rig.bench.wait_for(lambda: rig.system == "down")
            rig.call("startup")

    return inject


def damage(folder: Path) -> None:
    for graph in folder.glob("*.onnx"):
        graph.write_bytes(b"damaged")


def rename(folder: Path) -> None:
    """Put a valid but different bundle there."""
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("name: ", "name: other-", 1))


# ---- the table ----

NAN, HUGE = math.nan, floats(np.zeros(1_000_000))
TWIST, POSE = "twist.twist.linear.x", "pose.pose.position.x"

FAULTS = (
    # sensors
    Fault(
        "camera stops",
        messages(lambda: {"image": lost}),
        "no fresh plan",
        PLAN_S,
        LAST_PLAN,
    ),
    Fault(
        "camera repeats an old message",
        messages(lambda: {"image": held()}),
        "no fresh plan",
        PLAN_S,
        LAST_PLAN,
    ),
    Fault(
        "camera freezes: one picture, fresh stamps",
        messages(lambda: {"image": held("data")}),
        "image has not changed",
        PICTURE_S + PLAN_S + PLAN_PERIOD_S,
    ),
    Fault(
        "camera goes black",
        messages(lambda: {"image": black}),
        "image is black",
        PLAN_S,
        LAST_PLAN,
    ),
    Fault(
        "pictures of another shape",
        messages(lambda: {"image": scaled(320, 160)}),
        "image is 320x160",
        PLAN_S,
        LAST_PLAN,
    ),
    Fault("pictures of twice the size", messages(lambda: {"image": scaled(640, 480)}), ""),
    Fault("odometry stops", messages(lambda: {"odom": lost}), "no fresh odometry", ODOMETRY_S),
    Fault(
        "odometry repeats an old message",
        messages(lambda: {"odom": held()}),
        "no fresh odometry",
        ODOMETRY_S + ODOMETRY_PERIOD_S,
    ),
    Fault(
        "odometry's speed is NaN",
        messages(lambda: {"odom": put(TWIST, NAN)}),
        "odometry holds an impossible number",
        0.0,
        BAD_MESSAGE,
    ),
    Fault(
        "odometry's speed jumps to 50 m/s",
        messages(lambda: {"odom": put(TWIST, 50.0)}),
        "odometry holds an impossible number",
        0.0,
        BAD_MESSAGE,
    ),
    Fault("odometry's pose jumps by 5 m", messages(lambda: {"odom": moved(5.0)}), ""),
    Fault(
        "odometry's pose is NaN",
        messages(lambda: {"odom": put(POSE, NAN)}),
        "odom has numbers that are not finite",
    ),
    Fault("scan stops", messages(lambda: {"scan": lost}), "no fresh scan", SCAN_S),
    Fault(
        "scan repeats an old message",
        messages(lambda: {"scan": held()}),
        "no fresh scan",
        SCAN_S + SCAN_PERIOD_S,
    ),
    Fault(
        "scan is all NaN",
        messages(lambda: {"scan": put("ranges", floats([NAN] * 120))}),
        "the scan cannot be used",
        0.0,
        BAD_MESSAGE,
    ),
    # clocks
    Fault(
        "/clock alone jumps 5 s forward",
        messages(lambda: {"clock": later(5.0, "clock")}),
        CLOCK,
        0.0,
        BAD_MESSAGE,
    ),
    Fault(
        "/clock alone jumps 5 s back",
        messages(lambda: {"clock": later(-5.0, "clock")}),
        CLOCK,
        0.0,
        BAD_MESSAGE,
    ),
    Fault("/clock stops", messages(lambda: {"clock": lost}), "no fresh plan", PLAN_S, LAST_PLAN),
    Fault(
        "all clocks jump 5 s forward",
        messages(lambda: every_time(5.0)),
        CLOCK,
        returns=BY_ITSELF,
    ),
    Fault(
        "all clocks jump 5 s back",
        messages(lambda: every_time(-5.0)),
        CLOCK,
        returns=BY_ITSELF,
    ),
    # plans
    *(
        Fault(f"plan: {name}", messages(lambda c=change: {"plan": c}), words, 0.0, BAD_MESSAGE)
        for name, change, words in (
            ("NaN", put("linear", floats([NAN] * 8)), "a number that is not finite"),
            ("inf", put("angular", floats([math.inf] * 8)), "a number that is not finite"),
            ("lengths that differ", put("angular", floats([0.0] * 7)), "not pairs"),
            ("a million steps", put("linear", HUGE), "not pairs"),
            (
                "65 steps",
                lambda p: put("angular", [0.0] * 65)(put("linear", [0.5] * 65)(p)),
                "too many",
            ),
            ("steps of no length", put("action_duration_s", 0.0), "duration of an action"),
            ("stamp of 10 s ago", later(-10.0, "header.stamp"), "it was over when it came"),
            ("stamp 10 s ahead", later(10.0, "header.stamp"), "too far in the future"),
            ("picture of 2 s ago", later(-2.0, "observation_stamp"), "rests on an old picture"),
        )
    ),
    # goals
    *(
        Fault(f"goal: {name}", inject, words, GOAL_S, returns="with the next goal")
        for name, inject, words in (
            (
                "time limit NaN",
                goal(NavigateToImage, "navigate_to_image", timeout_s=NAN),
                "timeout_s is nan",
            ),
            (
                "time limit inf",
                goal(NavigateToPlace, "navigate_to_place", name="dock", timeout_s=math.inf),
                "timeout_s is inf",
            ),
            (
                "radius NaN",
                goal(Explore, "explore", time_limit_s=10.0, radius_m=NAN),
                "radius_m is nan",
            ),
            (
                "picture larger than its data",
                goal(NavigateToImage, "navigate_to_image", image=picture(64000, 48000, b"")),
                "goal cannot be used",
            ),
            (
                "picture of 4 MB, all black",
                goal(
                    NavigateToImage,
                    "navigate_to_image",
                    image=picture(1280, 960, bytes(1280 * 960 * 3)),
                ),
                "is blank",
            ),
        )
    ),
    # the way between
    Fault(
        "30% of all sensor messages and plans are lost",
        messages(lambda: {t.strip("/"): thinned(0.3) for t in (*TAPPED, "plan")}),
        "",
    ),
    # files
    Fault("disk full under the memory", full_disk, "cannot be written"),
    Fault("bundle damaged under running nodes", replaced(damage), ""),
    Fault(
        "bundle damaged, then planning killed",
        replaced(damage, silently(killed("planning"))),
        "refused to configure",
        LOST_S,
        returns="bundle restored, brought up anew",
    ),
    # processes
    *(
        Fault(f"{name} killed", inject(name), f"lost /{name}", LOST_S, returns=RESPAWNED)
        for name, inject in (
            ("perception", killed),
            ("world_model", killed),
            ("memory", killed),
            ("planning", lambda name: silently(killed(name))),
        )
    ),
    Fault(
        "actuation killed",
        killed("actuation"),
        "lost /actuation",
        PROFILE.driver_timeout_s,
        returns=AFTER_RESET,
        simulated=True,
    ),
    Fault(
        "lifecycle manager killed",
        killed("lifecycle_manager"),
        "the manager itself was lost",
        RESTART_S,
        returns=AFTER_RESET,
    ),
    *(
        Fault(f"{name} frozen", inject(name), f"lost /{name}", LOST_S)
        for name, inject in (
            ("perception", frozen),
            ("world_model", frozen),
            ("memory", frozen),
            ("planning", lambda name: silently(frozen(name))),
        )
    ),
    Fault(
        "actuation frozen",
        frozen("actuation"),
        "lost /actuation",
        PROFILE.driver_timeout_s,
        returns=AFTER_RESET,
        simulated=True,
    ),
    Fault("lifecycle manager frozen", frozen("lifecycle_manager"), ""),
    Fault(
        "another bundle put there, then world_model killed",
        replaced(rename, killed("world_model")),
        "comes from the bundle",
        LOST_S,
        returns="bundle restored, brought up anew",
    ),
)


# ---- the graph ----

bundles: list[Path] = []
"""The bundle of the running graph: a copy, which a fault may damage."""


@pytest.fixture(scope="module")
def nothing_left(module_domain: int) -> Iterator[None]:
    """After the launch has ended, so has every process that it started."""
    processes.clear()
    started.clear()
    yield
    assert [pid for pid in started if is_running(pid)] == []


@launch_pytest.fixture(scope="module")
def graph(
    nothing_left: None,
    module_domain: int,
    apartment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> LaunchDescription:
    bundles[:] = [tmp_path_factory.mktemp("bundles") / "apartment"]
    shutil.copytree(apartment, bundles[0])

    def include(name: str, **arguments: object) -> IncludeLaunchDescription:
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py")),
            launch_arguments=[(key, str(value)) for key, value in arguments.items()],
        )

    def remember(event: Any, _context: Any) -> None:
        processes[event.process_name.rsplit("-", 1)[0]] = event.pid
        started.add(event.pid)

    x, y, yaw = START
    simulation = include("simulation", start_x=x, start_y=y, start_yaw=yaw)
    return LaunchDescription(
        [
            RegisterEventHandler(OnProcessStart(on_start=remember)),
            GroupAction([*(SetRemap(src, dst) for src, dst in REMAPS), simulation]),
            include("foresight", bundle=bundles[0], use_sim_time="true", use_respawn="true"),
            ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def rig(module_domain: int) -> Iterator[Rig]:
    rig = Rig(module_domain, PROFILE.limits)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def record() -> dict[str, dict[str, Any]]:
    """Measurements, by the name of the fault."""
    return {
        fault.name: {
            "name": fault.name,
            "bound_s": fault.bound_s,
            "since": fault.since,
            "simulated": fault.simulated,
            "returns": fault.returns,
            "runs": [],
        }
        for fault in FAULTS
    }


def save(record: dict[str, dict[str, Any]]) -> None:
    load = os.getloadavg()[0]
    machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load at the end {load:.1f}."
    file = ROOT / "results" / "faults.json"
    file.parent.mkdir(exist_ok=True)
    content = {"machine": machine, "faults": list(record.values())}
    file.write_text(json.dumps(content, indent=1))


# ---- the measurement ----

ONE_OF_EACH_KIND = (
    "camera stops",
    "camera freezes: one picture, fresh stamps",
    "odometry's speed is NaN",
    "scan stops",
    "planning killed",
    "actuation killed",
    "lifecycle manager killed",
)
CASES = [
    pytest.param(
        fault,
        id=f"{fault.name}-{number}".replace(" ", "_"),
        marks=() if fault.name in ONE_OF_EACH_KIND else pytest.mark.slow,
    )
    for number in range(REPETITIONS)
    for fault in FAULTS
]
"""In rounds, because a process that dies often within a minute is respawned later."""


@pytest.mark.launch(fixture=graph)
@pytest.mark.parametrize("fault", CASES)
def test_fault(rig: Rig, fault: Fault, record: dict[str, dict[str, Any]]) -> None:
    rig.reach_full_speed(BRING_UP_S)
    run = _drives_on(rig, fault) if fault.bound_s is None else _rests(rig, fault)
    record[fault.name]["runs"].append(run)
    save(record)
    if fault.bound_s is not None:
        assert run["rest_s"] <= fault.bound_s + SLACK_S, f"at rest too late: {run}"


def _rests(rig: Rig, fault: Fault) -> dict[str, Any]:
    began_s, stamp_s = time.monotonic(), rig.stamp_s
    with fault.inject(rig):
        rest = rig.rest_after(began_s, 10.0)
        told_s, words = _told(rig, fault, began_s)
        since_s = max(began_s, _since(rig, fault))
        healed_s = time.monotonic()
    if fault.returns == AFTER_RESET:
        rig.bench.wait_for(lambda: rig.system == "waiting for reset", BRING_UP_S)
    rig.reach_full_speed(BRING_UP_S)
    after_s = rest.said_s - began_s
    simulated_s = rest.stamp_s - stamp_s
    _sets_off_gently(rig, rest.said_s)
    return {
        "rest_s": simulated_s if fault.simulated else rest.said_s - since_s,
        "after_fault_s": after_s,
        "simulated_s": simulated_s,
        "told_s": told_s - began_s,
        "told": words,
        "back_s": time.monotonic() - healed_s,
    }


def _drives_on(rig: Rig, fault: Fault) -> dict[str, Any]:
    began_s = time.monotonic()
    with fault.inject(rig):
        rig.bench.spin(WATCH_S)
        told_s, words = _told(rig, fault, began_s)
        speeds = [truth.linear for truth in rig.truth if truth.said_s > began_s]
    assert speeds, f"the simulator was not heard of for {WATCH_S} s: {rig.seen()}"
    mean = sum(speeds) / len(speeds) / PROFILE.limits.linear_max_mps
    assert mean > 0.5, f"it drove on with {mean:.0%} of the highest speed"
    healed_s = time.monotonic()
    rig.reach_full_speed(BRING_UP_S)
    return {
        "mean_speed": mean,
        "least_speed": min(speeds) / PROFILE.limits.linear_max_mps,
        "told_s": told_s - began_s,
        "told": words,
        "back_s": time.monotonic() - healed_s,
    }


def _since(rig: Rig, fault: Fault) -> float:
    if fault.since == LAST_PLAN:
        return rig.taps["plan"].sent_s
    if fault.since == BAD_MESSAGE:
        return min(tap.altered_s for tap in rig.taps.values() if tap.change is not None)
    return -math.inf


def _told(rig: Rig, fault: Fault, began_s: float) -> tuple[float, str]:
    """Time and text of the published reason."""
    texts = (fault.told,) if isinstance(fault.told, str) else fault.told
    if not any(texts):
        return math.nan, ""
    try:
        rig.bench.wait_for(lambda: rig.told_after(began_s, *texts), TOLD_S)
    except AssertionError:
        said = sorted({words for s, words in rig.reports if s > began_s})
        pytest.fail(f"{fault.told!r} was not published, but {said}")
    told = rig.told_after(began_s, *texts)
    assert told is not None
    return told


def _sets_off_gently(rig: Rig, rested_s: float) -> None:
    """From rest no command is faster than the one sent before it by more than a late step may use;
    one that was sent but not received may have used as much."""
    before, last = 0.0, 0
    for said_s, speed, number in rig.commands:
        steps = number - last if number > last else number  # a new process counts from 1
        last = number
        if said_s > rested_s:
            faster = abs(speed) - before
            allowed = JERK_MPS * steps + ROUNDING_MPS
            assert faster <= allowed, f"it jerked by {faster:.2f} m/s in {steps} commands"
            before = abs(speed)
