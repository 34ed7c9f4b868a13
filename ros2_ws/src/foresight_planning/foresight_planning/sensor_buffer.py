"""What the sensors and the world model told last."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from sensor_msgs.msg import LaserScan

from foresight.geometry import yaw_of
from foresight.odometry import OdometryBuffer
from foresight.perception.scan import CENTRED, ScanMount, scan_points
from foresight_node.messages import seconds

SILENCE_FACTOR = 3.0
"""A stopped /clock hides an age; silence on the steady clock may last this much longer."""
SCANS_KEPT = 10
KEPT_S, REACH_S = 2.0, 0.3
"""Of odometry; so long after the last one the robot is taken to go on as it moved."""
SCAN_APART_S = 0.3
"""A scan farther in time from the belief shows another place."""
SURPRISE_WINDOW_S = 10.0
SURPRISES_KEPT = 1000
"""Of a sender whose clock stands, too."""


@dataclass
class Pulse:
    """When something came last: `stamp_s` in ROS time, `arrived_s` on the steady clock."""

    stamp_s: float = -math.inf
    arrived_s: float = -math.inf

    def beat(self, stamp_s: float) -> None:
        """It came now, with this stamp."""
        self.stamp_s, self.arrived_s = stamp_s, time.monotonic()

    def age_s(self, now_s: float, limit_s: float, since: Pulse) -> float:
        """How long nothing fresh has come, s, counted from `since` at the earliest.

        Args:
            now_s: ROS time.
            limit_s: the largest age that is allowed.
            since: when the waiting began.
        """
        silent_s = time.monotonic() - max(self.arrived_s, since.arrived_s)
        if silent_s > SILENCE_FACTOR * limit_s:
            return silent_s
        return now_s - max(self.stamp_s, since.stamp_s)


class SensorBuffer:
    """Collected on the executor's thread. Times are ROS time in seconds.

    Attributes:
        begun_s: since when it is collected, on the steady clock.
        base_frame: as odometry names it.
        driven: odometry of the last moments.
        odometry, belief: when the last one came.
        scans: the last ones, time and points (N, 2) m in the base frame.
        mount: where the scanner of the last one sits.
        pressed: whether the bumper is pressed; `presses` counts how often it was told so.
    """

    def __init__(self, base_frame: str = "base_link") -> None:
        self.begun_s = time.monotonic()
        self.base_frame = base_frame
        self.driven = OdometryBuffer(KEPT_S, REACH_S)
        self.odometry, self.belief = Pulse(), Pulse()
        self.scans: deque[tuple[float, np.ndarray]] = deque(maxlen=SCANS_KEPT)
        self.mount = CENTRED
        self.pressed, self.presses = False, 0
        self._surprises: deque[tuple[float, float]] = deque(maxlen=SURPRISES_KEPT)

    def on_odometry(self, odometry: Odometry, now_s: float) -> bool:
        """Returns whether its numbers are finite; else it counts as silence."""
        self.base_frame = odometry.child_frame_id or self.base_frame
        at, q, twist = odometry.pose.pose.position, odometry.pose.pose.orientation, odometry.twist
        pose = at.x, at.y, yaw_of(q.x, q.y, q.z, q.w)
        stamp_s = stamped(odometry.header.stamp, now_s)
        try:
            self.driven.add(stamp_s, pose, (twist.twist.linear.x, twist.twist.angular.z))
        except ValueError:
            return False
        self.odometry.beat(stamp_s)
        return True

    def on_scan(self, scan: LaserScan, mount: ScanMount, now_s: float) -> None:
        self.mount = mount
        points = scan_points(
            np.asarray(scan.ranges), scan.angle_min, scan.angle_increment, scan.range_min, mount
        )
        self.scans.append((stamped(scan.header.stamp, now_s), points))

    def on_bumper(self, pressed: bool) -> None:
        self.pressed = pressed
        self.presses += pressed

    def on_belief(self, stamp_s: float, surprise: float) -> None:
        self.belief.beat(stamp_s)
        if self._surprises and stamp_s < self._surprises[-1][0]:  # the clock was set back
            self._surprises.clear()
        if math.isfinite(surprise):
            self._surprises.append((stamp_s, surprise))
        while self._surprises and self._surprises[0][0] < stamp_s - SURPRISE_WINDOW_S:
            self._surprises.popleft()

    def obstacles_at(self, stamp_s: float) -> np.ndarray | None:
        """The scan nearest in time to a belief, (N, 2) m; None if none is near.

        Actuation still stops before what a plan made without a scan would run into.
        """
        nearest = min(self.scans, key=lambda scan: abs(scan[0] - stamp_s), default=None)
        if nearest is None or abs(nearest[0] - stamp_s) > SCAN_APART_S:
            return None
        return nearest[1]

    def novelty_at(self, now_s: float, max_age_s: float) -> float:
        """The last surprise; 0 when there is none, or it is older."""
        if not self._surprises or now_s - self._surprises[-1][0] > max_age_s:
            return 0.0
        return self._surprises[-1][1]

    def mean_surprise(self, now_s: float) -> float:
        """Of the last SURPRISE_WINDOW_S; 0 without any."""
        recent = [s for stamp_s, s in self._surprises if now_s - stamp_s <= SURPRISE_WINDOW_S]
        return sum(recent) / len(recent) if recent else 0.0


def stamped(stamp: Time, now_s: float) -> float:
    """A stamp in seconds; an empty one counts as now."""
    return seconds(stamp) or now_s
