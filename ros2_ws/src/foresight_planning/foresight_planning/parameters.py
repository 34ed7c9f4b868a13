"""What can be set of the planning node."""

from __future__ import annotations

from dataclasses import dataclass

from foresight.bundle.manifest import PLANNER
from foresight_node import BundleParameters, RobotParameters, parameter


@dataclass(frozen=True)
class Parameters(RobotParameters, BundleParameters):
    seed: int = parameter(0, "Seed of the search.", minimum=0, maximum=2**31 - 1)
    threads: int = parameter(1, "Threads of one plan.", minimum=1, maximum=64)
    planner: str = parameter(
        PLANNER, "Which of the bundle's planners: planner, fast, thorough ...", required=True
    )
    use_scan: bool = parameter(
        True, "Plan around what the scan shows, while there is one; exploring needs it."
    )
    use_memory: bool = parameter(
        False, "Follow what memory knows of the way to a goal image, if it knows any.", live=True
    )
    replan_period_s: float = parameter(
        0.3, "Shortest time between plans, s.", minimum=0.0, maximum=2.0, live=True
    )
    default_timeout_s: float = parameter(
        120.0, "Time for a goal that asks for 0, s.", minimum=1.0, maximum=86400.0, live=True
    )
    belief_timeout_s: float = parameter(
        1.0, "Oldest belief that a goal survives, s.", minimum=0.1, maximum=10.0, live=True
    )
    sensor_timeout_s: float = parameter(
        1.0,
        "Oldest odometry and scan that an exploration survives, s.",
        minimum=0.1,
        maximum=10.0,
        live=True,
    )
    subgoal_timeout_s: float = parameter(
        1.0, "Oldest subgoal of memory that is driven to, s.", minimum=0.1, maximum=10.0, live=True
    )
    resume_timeout_s: float = parameter(
        30.0,
        "A goal survives it when planning is inactive for this long, s.",
        minimum=0.0,
        maximum=600.0,
        live=True,
    )
    held_timeout_s: float = parameter(
        30.0,
        "A goal ends when actuation stops the robot for this long, s.",
        minimum=0.5,
        maximum=600.0,
        live=True,
    )
