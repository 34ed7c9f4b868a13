"""The explorer as a driver in simulation, on scan, bumper and odometry that drifts."""

from __future__ import annotations

import time

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.control.safety import Plan
from foresight.evaluation.baselines import HOLD_S
from foresight.exploration.explorer import ExplorationStatus, ExplorationStep, Explorer
from foresight.interfaces import Observation
from foresight.planning.navigator import Status

_DRIVING = {ExplorationStatus.EXPLORING, ExplorationStatus.RETURNING}


class ExplorerDriver:
    """Drives as the planning node does while it explores; there is no goal.

    Attributes:
        last: the latest step.
        update_ms: CPU time of each update.
    """

    def __init__(self, profile: RobotProfile, time_limit_s: float, radius_m: float = 0.0) -> None:
        angles = 2 * np.pi * np.arange(profile.scan.beams) / profile.scan.beams
        self._explorer = Explorer(profile, angles, time_limit_s, radius_m, HOLD_S)
        self.status = Status.DRIVING
        self.last: ExplorationStep | None = None
        self.update_ms: list[float] = []

    def begin(self, seen: Observation) -> None:
        """The start is where the robot stands."""
        del seen

    def plan(self, now_s: float, seen: Observation) -> Plan:
        """What the explorer wants, from scan, odometry and bumper."""
        reading, ranges = seen.odometry, seen.scan
        pose = np.array(reading.pose)
        twist = np.array([reading.linear, reading.angular])
        began = time.process_time()
        self.last = self._explorer.update(now_s, ranges, pose, twist, seen.bumper)
        self.update_ms.append(1e3 * (time.process_time() - began))
        if self.last.status not in _DRIVING:
            done = self.last.status is ExplorationStatus.DONE
            self.status = Status.REACHED if done else Status.BLOCKED
        return Plan(now_s, HOLD_S, self.last.actions)
