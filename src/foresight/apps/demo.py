"""`foresight demo` and `foresight report`: run the demonstration and show its results."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console

from foresight import resources, worlds
from foresight.apps import demo_report
from foresight.apps.launching import launched, own_domain
from foresight.bodies.profile import RobotProfile
from foresight.worlds import tasks

LAUNCH_LOG = "launch.log"
_CLIENT = re.compile(r"^\[demo_client(?:-\d+)?\] ?(.*)$")
# "[node-3] [ERROR] [time] [logger]: text" of a node, "[ERROR] [node-3]: process has died" of launch
_FAULT = re.compile(r"^(?:\[[\w.-]+\] )?\[(?:ERROR|FATAL)\] (?:\[[\d.]+\] )?\[([\w./-]+)\]: (.*)$")
_COMMAND = re.compile(r"(?<=\d): /\S+/lib/\S+ .*$")  # of a process that has died
_PROGRESS = re.compile(r"^(?:goal \d+/\d+(?: \w+)?|exploring) +\d+ s\b")


def demo_command(
    seed: Annotated[int, typer.Option(min=0, help="Draws the start and the three goals.")] = 0,
    world: Annotated[int, typer.Option(min=0, help="Number of the home.")] = 0,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory",
            help="Explore the home, name three places, restart everything, and visit them by name; "
            "some ten minutes.",
        ),
    ] = False,
    results: Annotated[
        Path, typer.Option(help="Folder for report.json, trajectory.png and demo.mp4.")
    ] = Path("results/demo"),
    bundle: Annotated[
        Path | None, typer.Option(help="World model; default: the shipped one.")
    ] = None,
    robot: Annotated[
        Path | None, typer.Option(help="Robot profile; default: config/robots/homebot.yaml.")
    ] = None,
) -> None:
    """A simulated robot finds three places that it knows only from photographs.

    With --memory: it finds three places by name, after everything was stopped and restarted.

    Ends with 0 if it reached all of them (report.json says how), else with 1.
    """
    arguments = {"seed": str(seed), "world": str(world), "results": str(results.resolve())}
    arguments |= {"bundle": str(bundle.resolve())} if bundle is not None else {}
    arguments |= {"robot": str(robot.resolve())} if robot is not None else {}
    try:
        _clear(results)
        if memory:
            remember(arguments, results)
        else:
            _run(arguments, results)
    except (resources.ResourceError, ValueError, OSError) as error:
        typer.echo(f"foresight demo: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped")
        raise typer.Exit(130) from None
    try:
        reached = demo_report.load(results)["all_reached"]
    except ValueError:
        typer.echo(
            f"foresight demo: the demonstration ended without a report; all output of its nodes is "
            f"in {results / LAUNCH_LOG}",
            err=True,
        )
        raise typer.Exit(1) from None
    raise typer.Exit(0 if reached else 1)


def report_command(
    results: Annotated[Path, typer.Argument(help="Folder of a demonstration.")] = Path(
        "results/demo"
    ),
) -> None:
    """Show the report of the last demonstration."""
    try:
        content = demo_report.load(results)
    except ValueError as error:
        typer.echo(f"foresight report: {error}", err=True)
        raise typer.Exit(1) from None
    console = Console()
    console.print(demo_report.table(content))
    if content.get("failure"):
        console.print(content["failure"], style="red")


def remember(arguments: dict[str, str], results: Path) -> None:
    """Explore and name places in one launch, visit them in another that has only memory's file.

    The robot starts again elsewhere in the room where it stopped, with odometry at zero. If the
    first part fails, the second is skipped.

    Args:
        arguments: of demo.launch.py.
        results: the folder that they name.

    Raises:
        ValueError: the robot profile is wrong, or there is no free place for the robot.
        OSError: the profile cannot be read.
        resources.ResourceError: the workspace is not built.
    """
    profile = RobotProfile.load(arguments.get("robot", resources.robot_profile()))
    _run(arguments | {"part": "explore"}, results)
    if not (results / demo_report.EXPLORATION).exists():
        return  # the client has reported why
    exploration, _ = demo_report.load_exploration(results)
    x, y, yaw = map(float, exploration.path[-1])
    plan, seed = worlds.plan_of(int(arguments["world"])), int(arguments["seed"])
    x, y, yaw = tasks.draw_elsewhere(plan, profile, seed, (x, y, yaw))
    start = {"start_x": str(x), "start_y": str(y), "start_yaw": str(yaw)}
    typer.echo(
        "everything is stopped; the robot is moved elsewhere, and only memory's file is kept"
    )
    _run(arguments | {"part": "visit", "noise_seed": "1"} | start, results)


def _clear(results: Path) -> None:
    """Remove the results of an earlier demonstration."""
    results.mkdir(parents=True, exist_ok=True)
    for name in (
        demo_report.REPORT,
        demo_report.EXPLORATION,
        "trajectory.png",
        "demo.mp4",
        LAUNCH_LOG,
    ):
        (results / name).unlink(missing_ok=True)


def _run(arguments: dict[str, str], results: Path) -> None:
    """Run demo.launch.py: show the client's output, and log all output beside the report."""
    terminal = sys.stdout.isatty()
    arguments = arguments | {"progress_period": "0.5" if terminal else "5.0"}
    domain = os.environ.get("ROS_DOMAIN_ID", own_domain())
    environment = {"ROS_DOMAIN_ID": domain}
    if terminal:
        width = shutil.get_terminal_size().columns
        environment |= {"FORCE_COLOR": "1", "COLUMNS": str(width)}
    typer.echo(f"starting on ROS_DOMAIN_ID {domain} ...")
    with (
        (results / LAUNCH_LOG).open("a", encoding="utf-8") as log,
        launched("demo", arguments, environment) as process,
    ):
        assert process.stdout is not None
        _relay(process.stdout, log, terminal)


def _relay(lines: IO[str], log: IO[str], terminal: bool) -> None:
    """Show the client's lines, and each fault once; on a terminal, progress stays on one line."""
    live = False
    shown: set[str] = set()
    for line in lines:
        log.write(line)
        log.flush()
        text = _worth_showing(line.rstrip("\n"), shown)
        if text is None:
            continue
        passing = terminal and _PROGRESS.match(text) is not None
        sys.stdout.write(("\r\x1b[K" if live else "") + text + ("" if passing else "\n"))
        sys.stdout.flush()
        live = passing


def _worth_showing(line: str, shown: set[str]) -> str | None:
    """The part of an output line that a user needs, or None; adds faults to `shown`."""
    spoken = _CLIENT.match(line)
    if spoken is not None:
        return spoken.group(1)
    fault = _FAULT.match(line)
    if fault is None or fault.group(1).startswith("demo_client"):
        return None
    text = f"{fault.group(1)}: {_COMMAND.sub('', fault.group(2))}"
    if text in shown:
        return None
    shown.add(text)
    return text
