"""What docker/ promises, as far as it shows without a container engine: the files hang together,
process 1 stops the robot, a GPU image never falls back unseen, the health check tells the truth."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = ["Dockerfile", "Dockerfile.jetson"]
IMAGE_ROOT = "/opt/foresight"  # where the checkout lies in an image, and for the systemd unit
DEBIAN_NAME = r"[a-z0-9][a-z0-9+.-]+"  # Debian Policy, 5.6.1

Instruction = tuple[str, str]


def instructions(name: str) -> list[Instruction]:
    """A Dockerfile's instructions, as (word, rest), with continued lines joined."""
    text = (DOCKER / name).read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, rest in pairs]


def stage(name: str, wanted: str) -> list[Instruction]:
    """The instructions that make up a stage, those of the stages below it first."""
    stages: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for word, rest in instructions(name):
        if word == "FROM":
            base, _, label = rest.partition(" AS ")
            current = stages[label] = list(stages.get(base, []))
        current.append((word, rest))
    return stages[wanted]


def last(found: list[Instruction], word: str) -> str:
    return [rest for each, rest in found if each == word][-1]


def variables(found: list[Instruction]) -> dict[str, str]:
    """What ENV sets."""
    parts = (part for word, rest in found if word == "ENV" for part in shlex.split(rest))
    return dict(part.split("=", 1) for part in parts)


def arguments(name: str) -> set[str]:
    return {rest.split("=")[0] for word, rest in instructions(name) if word == "ARG"}


def copied(name: str) -> set[str]:
    """Paths of the checkout that a Dockerfile copies or mounts."""
    paths: set[str] = set()
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            paths.update(rest.split()[:-1])
        if word == "RUN":
            for mount in re.findall(r"--mount=(type=bind\S*)", rest):
                options = dict(option.split("=", 1) for option in mount.split(","))
                if "from" not in options:
                    paths.add(options["source"])
    return paths


def packages(found: list[Instruction]) -> list[str]:
    """Names after `apt-get install`, less options and local files."""
    names = []
    for word, rest in found:
        if word == "RUN":
            for command in re.findall(r"apt-get install ([^&]*)", rest):
                names += [n for n in command.split() if not n.startswith(("-", "/"))]
    return names


# --- the Dockerfiles --------------------------------------------------------------------------

IMAGES = [("Dockerfile", "robot"), ("Dockerfile", "workstation"), ("Dockerfile.jetson", "robot")]
ROBOTS = [("Dockerfile", "robot"), ("Dockerfile.jetson", "robot")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile_passes_hadolint(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([hadolint, DOCKER / name], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_is_copied_exists(name: str) -> None:
    assert len(copied(name)) > 8
    assert [path for path in copied(name) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_is_copied_is_sent_to_the_builder(name: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines

    def is_sent(path: str) -> bool:
        parents = [path, *map(str, Path(path).parents)]
        below = [s for s in sent if s.startswith(f"{path}/")]
        return bool(below) or any(fnmatch(part, pattern) for part in parents for pattern in sent)

    assert [path for path in copied(name) if not is_sent(path)] == []


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_scripts_that_an_image_runs_are_copied_into_it(name: str, label: str) -> None:
    steps = " ".join(rest for word, rest in stage(name, label) if word != "COPY")
    used = set(re.findall(r"docker/[\w.]+\.(?:sh|py|xml)", steps))
    entrypoint = (DOCKER / "entrypoint.sh").read_text()
    used |= set(re.findall(r"docker/\w+\.py", entrypoint))
    assert "docker/entrypoint.sh" in used
    assert used <= copied(name)
    assert all(os.access(ROOT / path, os.X_OK) for path in used if path.endswith(".sh"))


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_image_stops_by_interrupt(name: str, label: str) -> None:
    assert last(stage(name, label), "STOPSIGNAL") == "SIGINT"


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_user_is_chosen_by_build_argument_and_is_not_root(name: str, label: str) -> None:
    found = stage(name, label)
    assert last(found, "USER") == "${USER_ID}:${GROUP_ID}"
    defaults = dict(rest.split("=") for word, rest in found if word == "ARG" and "ID=" in rest)
    assert defaults == {"USER_ID": "1000", "GROUP_ID": "1000"}


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_any_user_can_write_where_volumes_are_mounted(name: str, label: str) -> None:
    found = stage(name, label)
    made = next(rest for word, rest in found if word == "RUN" and "/data/memory" in rest)
    assert made.startswith("install --directory --mode=1777 ")
    folders = made.split()[3:]
    assert variables(found)["XDG_STATE_HOME"] in folders
    assert variables(found)["XDG_CACHE_HOME"] in folders
    assert mounts(label) <= set(folders)


@pytest.mark.parametrize(("name", "label"), ROBOTS)
def test_robot_is_launched_and_asked_how_it_is(name: str, label: str) -> None:
    found = stage(name, label)
    assert yaml.safe_load(last(found, "ENTRYPOINT"))[1:] == ["launch"]
    (file,) = yaml.safe_load(last(found, "CMD"))
    assert (ROOT / "launch" / file).is_file()
    check = last(found, "HEALTHCHECK")
    assert "docker/health.py" in check
    patience_s = float(re.search(r"--timeout=(\d+)s", check)[1])
    assert patience_s > 8 + 5  # what health.py waits, and its start on a busy machine


def test_jetson_differs_from_a_robot_with_a_gpu_in_how_it_gets_cuda_only() -> None:
    robot, jetson = stage(*ROBOTS[0]), stage(*ROBOTS[1])
    for word in ("USER", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
        assert last(robot, word) == last(jetson, word)
    same = variables(robot) | {"GPU": "1", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    assert variables(jetson) == same


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_package_names_are_well_formed_and_named_once(name: str, label: str) -> None:
    names = packages(stage(name, label))
    assert [n for n in names if not re.fullmatch(DEBIAN_NAME, n)] == []
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "label", "extras"),
    [(*image, "development" if image[1] == "workstation" else "robot") for image in IMAGES],
)
def test_image_has_what_setup_would_install_itself(name: str, label: str, extras: str) -> None:
    """The function of setup.sh that names missing packages, run where all are missing."""
    script = (
        f"source {ROOT}/setup.sh; ldconfig() {{ :; }}; compgen() {{ return 1; }}; "
        f"command() {{ return 1; }}; python=none; extras=${extras}; missing_system_packages"
    )
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    needed = set(ran.stdout.split())
    assert {"g++", "libgl1"} <= needed
    on_noble = {"libglib2.0-0": "libglib2.0-0t64"}
    in_the_base = {"python3"}
    assert {on_noble.get(n, n) for n in needed} - in_the_base <= set(packages(stage(name, label)))


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_image_is_made_by_an_option_that_setup_has(name: str, label: str) -> None:
    steps = " ".join(rest for word, rest in stage(name, label) if word == "RUN")
    (option,) = re.findall(r"\./setup\.sh (--\w+)", steps)
    assert f"\n    {option})" in (ROOT / "setup.sh").read_text()


def test_gpu_brings_cuda_and_cudnn() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = map(Requirement, project["optional-dependencies"]["gpu"])
    assert requirement.name == "onnxruntime-gpu"
    assert requirement.extras == {"cuda", "cudnn"}


def test_build_for_a_gpu_ends_where_cuda_is_missing(tmp_path: Path) -> None:
    """The build step on this machine's loader, without a CUDA provider in the environment."""
    for command in ("ldconfig", "ldd"):
        stub = tmp_path / "bin" / command
        stub.parent.mkdir(exist_ok=True)
        stub.write_text("#!/bin/sh\necho libcublas.so.13 '=>' not found\n")
        stub.chmod(0o755)
    script = (DOCKER / "link_cuda.sh").read_text()
    place = tmp_path / "docker" / "link_cuda.sh"
    place.parent.mkdir()
    place.write_text(script.replace("/etc/ld.so.conf.d", str(tmp_path)))
    library = tmp_path / ".venv/lib/libonnxruntime_providers_cuda.so"
    library.parent.mkdir(parents=True)
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def build() -> str:
        command = ["bash", str(place)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ran.returncode == 1
        return ran.stderr

    assert "no CUDA provider" in build()
    library.touch()
    assert "lacks libcublas.so.13 libcudnn" in build()


# --- compose.yaml -----------------------------------------------------------------------------


def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def mounts(service: str) -> set[str]:
    """Where a service mounts its named volumes."""
    return {entry.split(":")[1] for entry in compose()["services"][service]["volumes"]}


SERVICES = sorted(compose()["services"])


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_built_from_what_exists(service: str) -> None:
    build = compose()["services"][service]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    name = Path(build["dockerfile"]).name
    assert (ROOT / build["dockerfile"]).resolve() == DOCKER / name
    assert stage(name, build.get("target", "robot"))
    assert set(build["args"]) <= arguments(name)


@pytest.mark.parametrize("service", SERVICES)
def test_service_stops_by_interrupt_and_gets_the_time(service: str) -> None:
    found = compose()["services"][service]
    assert found["stop_signal"] == "SIGINT"
    assert float(found["stop_grace_period"].removesuffix("s")) >= 20


@pytest.mark.parametrize("service", SERVICES)
def test_service_runs_as_the_user_of_whoever_starts_it(service: str) -> None:
    found = compose()["services"][service]
    assert found["user"] == "${USER_ID:-1000}:${GROUP_ID:-1000}"
    assert found["build"]["args"]["USER_ID"] == "${USER_ID:-1000}"
    assert found["build"]["args"]["GROUP_ID"] == "${GROUP_ID:-1000}"


def test_volumes_are_declared_and_used() -> None:
    content = compose()
    used = {v.split(":")[0] for s in content["services"].values() for v in s["volumes"]}
    assert used == set(content["volumes"])


@pytest.mark.parametrize(("service", "image"), [("robot", ROBOTS[0]), ("jetson", ROBOTS[1])])
def test_memory_and_engines_outlive_the_container(service: str, image: Instruction) -> None:
    found = variables(stage(*image))
    kept = {found["XDG_STATE_HOME"], found["XDG_CACHE_HOME"], "/data/bundles"}
    assert kept <= mounts(service)


@pytest.mark.parametrize("service", ["robot", "jetson"])
def test_robot_reaches_the_drivers(service: str) -> None:
    found = compose()["services"][service]
    assert (found["network_mode"], found["ipc"]) == ("host", "host")
    profiles = found["environment"]["FASTRTPS_DEFAULT_PROFILES_FILE"]
    (default,) = re.findall(rf":-{IMAGE_ROOT}/(.*)}}", profiles)
    assert (ROOT / default).is_file()


def test_variables_of_compose_are_listed_in_its_head() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    head = text.partition("\nname:")[0]
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", head.partition("Variables")[2]))
    assert used <= set(re.findall(r"`(\w+)", (DOCKER / "README.md").read_text()))


# --- the systemd unit -------------------------------------------------------------------------

UNIT = DOCKER / "systemd" / "foresight.service"


def test_unit_stops_every_process_by_interrupt() -> None:
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert service["KillSignal"] == "SIGINT"
    assert service["KillMode"] == "control-group"
    assert float(service["TimeoutStopSec"]) >= 20
    assert service["Restart"] == "on-failure"


def test_unit_starts_what_exists() -> None:
    (command,) = re.findall(r"^ExecStart=(.*)", UNIT.read_text(), re.MULTILINE)
    program, *rest = command.split()
    assert program == f"{IMAGE_ROOT}/.venv/bin/foresight"
    assert rest[0] == "launch"
    assert (ROOT / "launch" / rest[1]).is_file()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With a program that exists, for systemd looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(f"{IMAGE_ROOT}/.venv/bin/foresight", "/bin/true"))
    ran = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


# --- process 1 --------------------------------------------------------------------------------

ORPHAN_BRAKES = """
import os, pathlib, subprocess, sys, time
if sys.argv[1:] == ["node"]:
    launch = os.getppid()
    while os.getppid() == launch:
        time.sleep(0.05)
    time.sleep(0.7)
    pathlib.Path("at_rest").touch()
else:
    subprocess.Popen([sys.executable, __file__, "node"])
    time.sleep(0.5)
    os.kill(os.getpid(), 9)
"""
NEVER_ENDS = """
import pathlib, time
try:
    pathlib.Path("running").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path("stopped").touch()
"""


class Container:
    """An imitated image: the entrypoint, this Python, and a `foresight` that a test plays."""

    def __init__(self, folder: Path, foresight: str) -> None:
        self.folder = folder
        for path in ("docker", "ros2_ws/install", ".venv/bin"):
            (folder / path).mkdir(parents=True)
        for name in ("entrypoint.sh", "provider.py"):
            shutil.copy(DOCKER / name, folder / "docker" / name)
        (folder / "models").symlink_to(ROOT / "models")
        (folder / "ros2_ws/install/setup.bash").touch()
        self._write("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self._write("foresight", f"#!{sys.executable}\n{foresight}")
        self.environment = os.environ | {"XDG_STATE_HOME": "/dev/shm", "GPU": "0"}
        self.command = ["bash", str(folder / "docker/entrypoint.sh")]

    def _write(self, name: str, text: str) -> None:
        program = self.folder / ".venv/bin" / name
        program.write_text(text)
        program.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )


def test_arguments_and_exit_code_pass_through(tmp_path: Path) -> None:
    container = Container(tmp_path, "import sys; print(sys.argv[1:]); sys.exit(3)")
    ran = container.run("train", "--out", "a b")
    assert ran.returncode == 3
    assert ran.stdout == "['train', '--out', 'a b']\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_container_interrupts_launch_and_waits_for_it(
    tmp_path: Path, number: int
) -> None:
    container = Container(tmp_path, NEVER_ENDS)
    process = subprocess.Popen(
        [*container.command, "collect"], env=container.environment, cwd=tmp_path
    )
    wait_for(tmp_path / "running")
    process.send_signal(number)
    assert process.wait(timeout=10) == 0
    assert (tmp_path / "stopped").exists()


def namespaces() -> list[str]:
    """A command that runs another as process 1; empty where that is not allowed."""
    tries = (["unshare"], ["unshare", "--user", "--map-root-user"])
    for start in tries if shutil.which("unshare") else ():
        command = [*start, "--pid", "--fork", "--mount-proc"]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


@pytest.mark.skipif(not namespaces(), reason="no process namespace may be made here")
def test_node_can_brake_when_launch_is_killed(tmp_path: Path) -> None:
    """As process 1, whose end would be the end of all others."""
    container = Container(tmp_path, ORPHAN_BRAKES)
    container.command = [*namespaces(), *container.command]
    ran = container.run("collect")
    assert ran.returncode == 128 + signal.SIGKILL, ran.stderr
    assert (tmp_path / "at_rest").exists()


def test_container_says_that_it_will_forget_its_places(tmp_path: Path) -> None:
    container = Container(tmp_path, "")
    ran = container.run("launch", XDG_STATE_HOME=str(tmp_path))
    assert "forgets its places when this container is removed" in ran.stderr
    assert ran.returncode == 0


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no folder is a mount here")
def test_container_with_a_volume_says_what_it_computes_on_and_nothing_else(tmp_path: Path) -> None:
    ran = Container(tmp_path, "").run("launch")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"ONNX Runtime computes on \w+ExecutionProvider\n", ran.stdout)


def test_memory_that_cannot_be_written_ends_the_container(tmp_path: Path) -> None:
    ran = Container(tmp_path, "raise SystemExit(9)").run("launch", XDG_STATE_HOME="/nowhere")
    assert ran.returncode == 1
    assert f"user {os.getuid()} may not write /nowhere" in ran.stderr


def test_image_for_a_gpu_does_not_start_without_one(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime may have a GPU")
    ran = Container(tmp_path, "raise SystemExit(9)").run("launch", GPU="1")
    assert ran.returncode == 1
    assert "provider 'cuda' was asked for" in ran.stderr
    assert "allow the CPU with -e GPU=0" in ran.stderr


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_script_is_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def wait_for(file: Path) -> None:
    end_s = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end_s, f"{file} did not come"
        time.sleep(0.02)


# --- the health check -------------------------------------------------------------------------

OK, WARN, ERROR = 0, 1, 2


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain for this test alone."""
    domain_coordinator = pytest.importorskip("domain_coordinator")
    pytest.importorskip("rclpy")
    candidates = iter(range(os.getpid(), os.getpid() + 1000))
    with domain_coordinator.domain_id(lambda: next(candidates) % 100 + 1) as number:
        yield number


def ask(domain: int, *options: str) -> tuple[int, str]:
    """Exit code and sentence of the health check."""
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
    }
    ran = subprocess.run(
        [sys.executable, DOCKER / "health.py", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.strip()


class Manager:
    """Tells what a lifecycle manager would: once of the stack, and ten times a second of itself."""

    def __init__(self, domain: int, namespace: str = "") -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import DurabilityPolicy, QoSProfile

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = Node("lifecycle_manager", namespace=namespace, context=self._context)
        self._stack = self._node.create_publisher(DiagnosticArray, "system_health", latched)
        self._own = self._node.create_publisher(DiagnosticArray, "diagnostics", 10)
        self._timer = self._node.create_timer(0.1, self._tell_of_itself)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def tell(self, level: int, message: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

        status = DiagnosticStatus(level=bytes([level]), name="system", message=message)
        broken = DiagnosticStatus(level=bytes([ERROR]), name="/a_node", message="not the stack")
        self._stack.publish(DiagnosticArray(status=[status, broken]))

    def _tell_of_itself(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

        status = DiagnosticStatus(name=self._node.get_fully_qualified_name())
        self._own.publish(DiagnosticArray(status=[status]))

    def hang(self) -> None:
        """Do no more, but stay on the network."""
        self._timer.cancel()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.shutdown()


@pytest.fixture
def manager(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    manager = Manager(domain, "robot1")
    yield manager
    manager.close()


@pytest.mark.parametrize(("level", "code"), [(OK, 0), (WARN, 0), (ERROR, 1)])
def test_health_is_the_level_of_the_stack(
    manager: Manager, domain: int, level: int, code: int
) -> None:
    """Told long before it is asked."""
    manager.tell(level, "the stack's own words")
    found, sentence = ask(domain, "--namespace", "robot1")
    assert found == code
    assert sentence.removeprefix("unhealthy: ") == "the stack's own words"


def test_robot_that_says_nothing_is_unhealthy(manager: Manager, domain: int) -> None:
    """Another robot of the machine does not speak for it."""
    manager.tell(OK, "active")
    code, sentence = ask(domain, "--namespace", "/robot2/", "--timeout", "3")
    assert code == 1
    assert sentence.startswith("unhealthy: nothing was heard on /robot2/system_health for 3 s")


def test_manager_that_hangs_is_unhealthy(manager: Manager, domain: int) -> None:
    """Its last word is still there to be had."""
    manager.tell(OK, "active")
    manager.hang()
    code, sentence = ask(domain, "--namespace", "robot1", "--timeout", "4")
    assert code == 1
    assert "the lifecycle manager has sent no diagnostics for 4 s" in sentence


def test_lifecycle_manager_is_understood(domain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, whose node never comes: down is well, a bring-up that failed is not."""
    pytest.importorskip("foresight_lifecycle")
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from foresight_lifecycle.manager import LifecycleManager

    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    overrides = {"node_names": ["absent"], "startup_timeout_s": 1.0, "autostart": False}
    parameters = [Parameter(name, value=value) for name, value in overrides.items()]
    node = LifecycleManager(context=context, parameter_overrides=parameters)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        code, sentence = ask(domain)
        assert (code, sentence.partition(":")[0]) == (0, "down")
        executor.create_task(node.start)
        end_s = time.monotonic() + 30
        while (found := ask(domain))[0] == 0:
            assert time.monotonic() < end_s
        assert "failed" in found[1] and "/absent" in found[1]
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        context.shutdown()


@pytest.mark.parametrize(
    ("command", "namespace"),
    [
        (["entrypoint.sh", "launch", "foresight.launch.py"], "/"),
        (["launch", "namespace:=/fleet/robot1/", "robot:=x"], "/fleet/robot1"),
        (["launch", "namespace:=a", "namespace:=b"], "/b"),
    ],
)
def test_health_check_takes_the_namespace_of_the_launch(command: list[str], namespace: str) -> None:
    pytest.importorskip("rclpy")
    script = "import sys, health; print(health.namespace_of(sys.argv[1:]))"
    ran = subprocess.run(
        [sys.executable, "-c", script, *command],
        env=os.environ | {"PYTHONPATH": str(DOCKER)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == namespace


# --- the README -------------------------------------------------------------------------------


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)", (DOCKER / "README.md").read_text())
    assert links
    assert [link for link in links if not (DOCKER / link).exists()] == []
