"""The whole graph: runs the demonstration and measures it from outside."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from foresight.apps import demo_report
from foresight.apps.bench.usage import Meter
from foresight.apps.launching import faults_in, launched, own_domain

LOG = "launch.log"
LAUNCH = "launch"
BESIDE = (LAUNCH, "sim", "demo_client")
"""Processes that do not run on a robot."""
ALONE = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": own_domain()}
"""Isolates the graph from other robots on the machine."""
_GOAL = re.compile(r"^\[demo_client(?:-\d+)?\] (goal (\d+)/(\d+) .*)$")


class LoopError(RuntimeError):
    """The loop could not be measured; the message is one sentence."""


def loop(
    bundle: Path, robot: Path, limit_ms: float, composed: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Drive the demonstration's goals.

    Args:
        limit_ms: time of encoding and planning alone.
        composed: the nodes share one process.
        say: called with lines of progress.

    Returns:
        p50_ms, p95_ms from image to command; cores and MB of the stack, and of each of `nodes`.

    Raises:
        LoopError: the graph did not start or failed.
        ResourceError: it is not built.
    """
    folder = Path(tempfile.mkdtemp(prefix="foresight-bench-"))
    arguments = {"bundle": str(bundle.resolve()), "robot": str(robot.resolve())}
    arguments |= {"results": str(folder), "progress_period": "1.0"}
    arguments |= {"use_composition": "true"} if composed else {}
    try:
        say("loop: starting the graph")
        with launched("demo", arguments, ALONE) as process:
            meter = Meter(process.pid, LAUNCH)
            assert process.stdout is not None
            with (folder / LOG).open("w", encoding="utf-8") as log:
                _watch(process.stdout, log, meter, say)
        figures = summary(_report(folder), meter.usage(), limit_ms)
    except LoopError as error:
        raise LoopError(
            f"the loop was not measured: {error}; all output is in {folder / LOG}"
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return figures


def summary(
    content: dict[str, Any], usage: dict[str, dict[str, float]], limit_ms: float
) -> dict[str, Any]:
    """Figures of the loop, from the report and the processes' usage.

    Raises:
        LoopError: no plan was driven.
    """
    plan, whole = content["plan_ms"], content["image_to_command_ms"]
    if plan["p50"] is None or whole["p50"] is None:
        raise LoopError("no plan became a command")
    stack = [use for name, use in usage.items() if name not in BESIDE]
    return {
        "p50_ms": whole["p50"],
        "p95_ms": whole["p95"],
        "limit_ratio": limit_ms / whole["p50"],
        "limit_ms": limit_ms,
        "plan_p50_ms": plan["p50"],
        "plan_p95_ms": plan["p95"],
        "stack_cores": sum(use["cores"] for use in stack),
        "stack_mb": sum(use["pss_mb"] for use in stack),
        "goals_reached": content["goals_reached"],
        "seconds": sum(goal["seconds"] or 0.0 for goal in content["goals"]),
        "real_time_factor": content["real_time_factor"],
        "nodes": usage,
    }


def _watch(lines: IO[str], log: IO[str], meter: Meter, say: Callable[[str], None]) -> None:
    """Measure from the client's first line on the first goal to its last on the last one."""
    driving = False
    for line in lines:
        log.write(line)
        log.flush()
        told = _GOAL.match(line)
        if told is None:
            continue
        words, goal, goals = told.groups()
        over = " reached after " in words or " missed after " in words
        if not driving and not over and goal == "1":
            driving = True
            meter.begin()
        elif driving:
            meter.sample()
        driving = driving and not (over and goal == goals)
        say(f"loop: {words}")


def _report(folder: Path) -> dict[str, Any]:
    """The client's report; raises LoopError without one."""
    try:
        content = demo_report.load(folder)
    except ValueError:
        faults = faults_in((folder / LOG).read_text(encoding="utf-8"))
        reason = faults[0] if faults else "the demonstration ended without a report"
        raise LoopError(reason) from None
    if content["failure"] is not None:
        raise LoopError(content["failure"])
    return content
