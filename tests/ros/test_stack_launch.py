"""The launch files: their arguments reach the nodes, and what is wrong is told and fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import launch_pytest
import psutil
import pytest
from harness import Bench
from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_pytest.actions import ReadyToTest
from rcl_interfaces.srv import GetParameters
from std_msgs.msg import String

from foresight_bringup.arguments import FALSE, TRUE, declared
from foresight_interfaces.msg import Heartbeat
from foresight_node.messages import LATCHED

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
FILES = ("demo", "foresight", "mission", "simulation", "soak")
DISCOVERY, PROFILES = "ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTRTPS_DEFAULT_PROFILES_FILE"
BRING_UP_S = 60.0


def stack(**arguments: object) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(ROOT / "launch" / "foresight.launch.py")),
        launch_arguments=[(key, str(value)) for key, value in arguments.items()],
    )


@launch_pytest.fixture
def in_a_namespace(domain: int, passthrough: Path, tmp_path: Path) -> LaunchDescription:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**/planning:\n  ros__parameters:\n    replan_period_s: 0.7\n")
    arguments = {"namespace": "robot1", "params_file": parameters, "bundle": passthrough}
    arguments |= {"memory_file": tmp_path / "remembered.db"}
    arguments |= {"use_sim_time": "False", "autostart": "True"}  # as Nav2's users write it
    return LaunchDescription([stack(**arguments), ReadyToTest()])


@launch_pytest.fixture(params=["false", "true"], ids=["apart", "composed"])
def without_memory(
    domain: int, passthrough: Path, request: pytest.FixtureRequest
) -> LaunchDescription:
    arguments = {"bundle": passthrough, "memory": "false", "use_composition": request.param}
    return LaunchDescription([stack(**arguments), ReadyToTest()])


@launch_pytest.fixture
def with_an_altered_bundle(domain: int, altered: Path) -> LaunchDescription:
    return LaunchDescription([stack(bundle=altered), ReadyToTest()])


@pytest.fixture
def altered(passthrough: Path, tmp_path: Path) -> Path:
    """A bundle whose encoder is not the one of its manifest."""
    folder = tmp_path / "altered"
    folder.mkdir()
    for file in passthrough.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with (folder / "encoder.onnx").open("ab") as graph:
        graph.write(b"\0")
    return folder


@pytest.fixture
def peer(domain: int) -> Iterator[Bench]:
    peer = Bench(domain)
    yield peer
    peer.close()


@pytest.mark.launch(fixture=in_a_namespace)
def test_a_namespace_moves_the_whole_robot(peer: Bench, tmp_path: Path) -> None:
    states: list[String] = peer.collect(String, "/robot1/system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    client = peer.peer.create_client(GetParameters, "/robot1/planning/get_parameters")
    peer.wait_for(client.service_is_ready)
    names = ["replan_period_s", "default_timeout_s", "use_sim_time"]
    future = client.call_async(GetParameters.Request(names=names))
    peer.wait_for(future.done)
    period, timeout, sim_time = future.result().values
    assert (period.double_value, timeout.double_value) == (0.7, 120.0)
    assert not sim_time.bool_value
    ours = {"action_plan", "belief", "observation", "model_image", "current_place", "subgoal"}
    ours |= {"actuation_status", "cmd_vel"}
    ours |= {"heartbeat", "diagnostics"}

    def topics() -> set[str]:
        return {name for name, _ in peer.peer.get_topic_names_and_types()}

    peer.wait_for(lambda: {f"/robot1/{topic}" for topic in ours} <= topics())
    assert not {f"/{topic}" for topic in ours} & topics()
    assert (tmp_path / "remembered.db").exists()


@pytest.mark.launch(fixture=without_memory)
def test_a_robot_drives_without_memory(peer: Bench) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    assert "memory" not in peer.peer.get_node_names()


@pytest.mark.launch(fixture=with_an_altered_bundle)
def test_an_altered_bundle_keeps_everything_down(peer: Bench) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    peer.wait_for(lambda: states and states[-1].data == "failed", BRING_UP_S)
    assert "active" not in [state.data for state in states]


@pytest.mark.parametrize(
    ("given", "meant"), [(v, "true") for v in TRUE] + [(v, "false") for v in FALSE]
)
def test_a_flag_is_taken_however_it_is_written(given: str, meant: str) -> None:
    context = LaunchContext()
    context.launch_configurations["use_sim_time"] = given
    for action in declared("use_sim_time"):
        action.visit(context)
    assert context.launch_configurations["use_sim_time"] == meant


@pytest.mark.parametrize("name", FILES)
def test_every_flag_of_a_launch_file_is_one(name: str) -> None:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    for argument in source.get_launch_description(LaunchContext()).get_launch_arguments():
        default = "".join(part.perform(LaunchContext()) for part in argument.default_value or ())
        if default.lower() in ("true", "false"):
            assert argument.choices == [*TRUE, *FALSE], argument.name


# --- as from a shell


class Launch:
    """A launch file that is run as `ros2 launch` does, in this environment or with changes."""

    def __init__(self, file: Path, *words: str, **environment: str | None) -> None:
        command = [sys.executable, "-P", "-m", "foresight.apps.launching", "--", str(file), *words]
        self.process = subprocess.Popen(
            command,
            env={n: v for n, v in (os.environ | environment).items() if v is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def nodes(self) -> dict[str, psutil.Process]:
        """Those whose names are on their command lines."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            name = re.search(r"__node:=(\w+)", " ".join(process.cmdline()))
            if name is not None:
                found[name[1]] = process
        return found

    def line(self, text: str) -> str:
        """Read on to the first line with this text."""
        assert self.process.stdout is not None
        before = []
        for line in self.process.stdout:
            before.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} did not come, but:\n{''.join(before)}")

    def end(self) -> tuple[int, str]:
        """Its exit code and its output, when it has ended by itself."""
        output, _ = self.process.communicate(timeout=BRING_UP_S)
        return self.process.returncode, output

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.communicate(timeout=BRING_UP_S)


@pytest.fixture
def launched(domain: int) -> Iterator[Callable[..., Launch]]:
    """Launches, which the end of the test ends."""
    launches: list[Launch] = []

    def launch(name: str | Path, *words: str, **environment: str | None) -> Launch:
        file = name if isinstance(name, Path) else ROOT / "launch" / f"{name}.launch.py"
        if name == "mission":
            words = (f"mission:={ROOT / 'config' / 'missions' / 'patrol.yaml'}", *words)
        launches.append(Launch(file, *words, **environment))
        return launches[-1]

    yield launch
    for each in launches:
        each.close()


def test_a_dead_node_leaves_the_others_alive(
    peer: Bench, launched: Callable[..., Launch], passthrough: Path
) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    launch = launched("foresight", f"bundle:={passthrough}")
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    nodes = launch.nodes()
    assert len(nodes) == 6
    nodes.pop("world_model").kill()
    peer.wait_for(lambda: states[-1].data == "failed")
    beats: list[Heartbeat] = peer.collect(Heartbeat, "heartbeat", 50)
    others = set(nodes) - {"lifecycle_manager"}
    peer.wait_for(lambda: {beat.node.strip("/") for beat in beats} == others)
    assert launch.process.poll() is None
    assert nodes["lifecycle_manager"].is_running()


def test_without_respawn_a_dead_manager_ends_the_launch_which_has_failed(
    peer: Bench, launched: Callable[..., Launch], passthrough: Path
) -> None:
    states: list[String] = peer.collect(String, "system_state", LATCHED)
    launch = launched("foresight", f"bundle:={passthrough}")
    peer.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
    nodes = launch.nodes()
    nodes["lifecycle_manager"].kill()
    code, text = launch.end()
    assert code == 1
    assert "the lifecycle manager ended" in text
    assert not any(node.is_running() for node in nodes.values())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "the lifecycle manager ended"),
        (["use_composition:=true"], "the process of all nodes ended"),
    ],
    ids=["apart", "composed"],
)
def test_a_launch_whose_nodes_all_end_at_once_has_failed(
    launched: Callable[..., Launch], tmp_path: Path, words: list[str], reason: str
) -> None:
    """As with a PYTHONPATH from elsewhere."""
    (tmp_path / "std_srvs.py").write_text("raise ImportError('another one of this name')")
    path = f"{tmp_path}:{os.environ['PYTHONPATH']}"
    code, text = launched("foresight", *words, PYTHONPATH=path).end()
    assert code == 1
    (told,) = [line for line in text.splitlines() if "its exit code was 1" in line]
    assert reason in told


def test_a_mission_that_cannot_begin_fails_its_launch(
    launched: Callable[..., Launch], tmp_path: Path
) -> None:
    mission = tmp_path / "mission.yaml"
    mission.write_text("name: nothing to do\n")
    code, text = launched("mission", f"mission:={mission}").end()
    assert code == 1
    assert "the mission node ended; its exit code was 1" in text


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ROS_DOMAIN_ID": "300"}, ("ROS_DOMAIN_ID is '300'", "from 0 to 232")),
        ({"HOME": None, "ROS_LOG_DIR": None}, ("HOME is not set", "logs")),
    ],
    ids=["domain", "home"],
)
def test_a_machine_that_cannot_run_nodes_is_told_in_one_sentence(
    launched: Callable[..., Launch],
    file: str,
    environment: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    code, text = launched(file, **environment).end()
    assert code == 1
    (line,) = [line for line in text.splitlines() if words[0] in line]
    assert all(word in line for word in words)
    assert "Traceback" not in text and "process started" not in text


@pytest.mark.parametrize("argument", ["params_file", "robot", "bundle"])
def test_a_file_that_does_not_exist_ends_the_launch(
    launched: Callable[..., Launch], tmp_path: Path, argument: str
) -> None:
    code, text = launched("foresight", f"{argument}:={tmp_path / 'absent'}").end()
    assert code == 1
    assert f"{argument} is {tmp_path / 'absent'}, which does not exist" in text
    assert "process started" not in text


OUTER = """
import sys
from pathlib import Path
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

PROGRAM = "import os, time; print('mine', os.environ.get({discovery!r})); time.sleep(60)"

def generate_launch_description():
    mine = ExecuteProcess(cmd=[sys.executable, "-uc", PROGRAM], output="screen", name="mine")
    theirs = IncludeLaunchDescription(PythonLaunchDescriptionSource({file!r}))
    return LaunchDescription([theirs, mine])
"""


@pytest.mark.parametrize(
    ("discovery", "profiles"),
    [(None, None), ("SUBNET", "/dev/null")],
    ids=["nothing_set", "set_by_the_user"],
)
def test_nodes_keep_to_this_machine_unless_told_otherwise(
    launched: Callable[..., Launch],
    tmp_path: Path,
    discovery: str | None,
    profiles: str | None,
) -> None:
    """And whatever else a user launches beside them is left as it is."""
    file = tmp_path / "outer.launch.py"
    ours = ROOT / "launch" / "foresight.launch.py"
    file.write_text(OUTER.format(discovery=DISCOVERY, file=str(ours)))
    launch = launched(file, **{DISCOVERY: discovery, PROFILES: profiles})
    assert f"mine {discovery}" in launch.line("] mine ")
    nodes = launch.nodes()
    assert len(nodes) == 6
    for node in nodes.values():
        environment = node.environ()
        assert environment[DISCOVERY] == (discovery or "LOCALHOST")
        shipped = ROOT / "config" / "fastdds.xml"
        assert Path(environment[PROFILES]).resolve() == Path(profiles or shipped)
