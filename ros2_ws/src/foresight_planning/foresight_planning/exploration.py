"""The goal of the action explore: drive by scan and odometry until nothing new is in reach."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import LaserScan

from foresight.exploration.explorer import (
    ExplorationStatus,
    ExplorationStep,
    Explorer,
    check_bounds,
)
from foresight.perception.scan import ScanMount
from foresight.perception.virtual_scan import VirtualScan
from foresight_interfaces.action import Explore
from foresight_planning.active_goal import ActiveGoal, Code, Ending, Host
from foresight_planning.sensor_buffer import Pulse

PERIOD_S = 0.1
GRACE_S = 2.0
"""After the time limit, for an explorer that sees it by the scans' stamps."""

_Layout = tuple[int, float, float, ScanMount]
"""Number of beams, the first one's angle, from one to the next, rad; and the scanner's mount."""


class Exploration(ActiveGoal):
    """Updates the explorer with every scan, ten times a second at most; only the worker touches
    it."""

    ACTION, NAME = Explore, "explore"

    def __init__(self, host: Host, handle: ServerGoalHandle) -> None:
        super().__init__(host, handle)
        self._explorer: Explorer | None = None
        self._layout: _Layout | None = None
        self._at_base: VirtualScan | None = None
        self._scanned = Pulse()
        self._told_presses = host.senses.presses
        self._reason = "waiting for scan and odometry"

    def fault(self) -> str:
        if not self.host.values.use_scan:
            return "exploring needs a scanner, but planning's parameter use_scan is false"
        try:
            check_bounds(self.handle.request.time_limit_s, self.handle.request.radius_m)
        except ValueError as error:
            return str(error)
        return ""

    def trouble(self, now_s: float) -> Ending | None:
        limit_s, usual_s = self.handle.request.time_limit_s, self.host.values.sensor_timeout_s
        for what, pulse, check in (
            ("odometry", self.host.senses.odometry, "the odometry's source"),
            ("scan", self._scanned, "the scanner, and that it and odometry share a clock"),
        ):
            allowed_s = self.allowed_s(pulse, usual_s)
            silent_s = pulse.age_s(now_s, allowed_s, self.since)
            if silent_s > allowed_s:
                return Code.STALE_SENSORS, (
                    f"no fresh {what} for {silent_s:.1f} s, at most {allowed_s:.1f} s are "
                    f"allowed; check {check}"
                )
        if self.elapsed_s > limit_s + GRACE_S:
            return 0, f"the time of {limit_s:.1f} s was up"
        return None

    def on_scan(self, scan: LaserScan, stamp_s: float) -> None:
        at_base = self._read_layout(scan)
        if at_base is None:
            text = f"scan: {len(scan.ranges)} beams from {scan.angle_min:.3f} rad cannot be used"
            rest = "to explore; its layout and mount must be valid and stay"
            self.host.health.problem("scan", f"{text} {rest}")
            return
        at = self.host.senses.driven.at(stamp_s)
        if at is None:
            return
        self._scanned.beat(stamp_s)
        if self.is_due(stamp_s, PERIOD_S):
            self._explore(at_base, scan, stamp_s, *map(np.array, at))

    def _read_layout(self, scan: LaserScan) -> VirtualScan | None:
        """What makes the scan one at base_link; None when it is no layout, or another one."""
        beams = len(scan.ranges), scan.angle_min, scan.angle_increment
        layout = (*beams, self.host.senses.mount)
        if self._at_base is None:
            radius_m = self.host.profile.footprint_radius_m
            with suppress(ValueError):
                self._at_base, self._layout = VirtualScan(*layout, radius_m), layout
        return self._at_base if layout == self._layout else None

    def progress(self) -> dict[str, float]:
        return {"surprise": self.host.senses.mean_surprise(self.host.now_s())}

    def doing(self) -> str:
        return f"{self.NAME}: {self._reason}"

    def _explore(
        self,
        at_base: VirtualScan,
        scan: LaserScan,
        stamp_s: float,
        pose: np.ndarray,
        twist: np.ndarray,
    ) -> None:
        host, senses = self.host, self.host.senses
        presses = senses.presses
        # a press counts until the explorer was told of it, however short it was
        bumped = senses.pressed or presses > self._told_presses
        novelty = senses.novelty_at(host.now_s(), host.values.belief_timeout_s)
        far_m = host.profile.scan.range_max_m

        def explore() -> tuple[ExplorationStep, float]:
            start_s = time.perf_counter()
            self._explorer = self._explorer or self._make(at_base.angles)
            ranges = at_base(np.array(scan.ranges, float), scan.range_min, far_m)
            step = self._explorer.update(stamp_s, ranges, pose, twist, bumped, novelty)
            return step, time.perf_counter() - start_s

        def done(explored: tuple[ExplorationStep, float]) -> None:
            self._told_presses = presses
            host.health.latency("explore", explored[1])
            self._on_step(stamp_s, explored[0])

        if host.worker.submit(explore, done, lambda error: host.fail(self, error)):
            host.health.count("scans dropped: explorer busy")

    def _make(self, angles: np.ndarray) -> Explorer:
        request, host = self.handle.request, self.host
        return Explorer(host.profile, angles, request.time_limit_s, request.radius_m, host.action_s)

    def _on_step(self, stamp_s: float, step: ExplorationStep) -> None:
        if not self.host.is_driving(self):
            return
        self._reason = step.reason
        if step.status is ExplorationStatus.DONE:
            self.host.finish(self, 0, step.reason)
        elif step.status is ExplorationStatus.BLOCKED:
            self.host.finish(self, Code.BLOCKED, step.reason)
        else:
            self.host.drive(self, stamp_s, step.actions, None)
