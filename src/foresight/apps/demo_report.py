"""What a demonstration measures: a log that is filled while the robot drives, and its report.

Stamps are ROS time in nanoseconds; sent times are the sender's system time in nanoseconds. Poses
are true ones, (x m, y m, yaw rad) in the frame of the world: they serve scoring only.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from foresight.bodies.profile import RobotProfile
from foresight.geometry import Pose
from foresight.interfaces import FloorPlan, Grid
from foresight.worlds.floor_plan import free_space, line_of_sight, path_lengths
from foresight.worlds.tasks import REACHED_DEG, REACHED_M, pose_error, reached

REPORT = "report.json"
EXPLORATION = "exploration.npz"
_REAL_TIME = 0.97  # a smaller real-time factor is told
_CLOCK_KEPT = 500  # ticks of /clock that an image's stamp is looked up in
DEFINITIONS = {
    "reached": "the stack said so, and the robot came to rest within "
    f"{REACHED_M} m and {REACHED_DEG:.0f} degrees of the pose that the photograph was taken from "
    "(true poses, known to the simulator only)",
    "seconds": "from sending the photograph to the action's result, by the simulation's clock",
    "plan_ms": "one run of the planner, as measured by the planning node (steady clock)",
    "image_to_command_ms": "from the instant at which the image was taken to the first velocity "
    "command that was sent after a plan resting on this image; both by the system clock of the "
    "senders, so rendering, transport, encoding, planning and actuation are all in it",
    "frames_dropped": "images taken by the camera that never became an observation",
    "shortest_way_m": "shortest path to the goal for a disc of the robot's footprint, from where "
    "the robot stood when the goal was sent",
}
NAMED = {
    "reached": "the stack said so, and the robot came to rest within "
    f"{REACHED_M} m and {REACHED_DEG:.0f} degrees of the pose that it had when memory confirmed "
    "the name (true poses, known to the simulator only)",
    "seconds": "from sending the name to the action's result, by the simulation's clock",
    "exploration": "the robot's drive through the home before the whole stack was stopped and "
    "started again; the names were given meanwhile",
}


@dataclass(frozen=True)
class Frame:
    """One picture of the video, with what was known at that time."""

    stamp_ns: int
    jpeg: bytes
    pose: Pose
    goal: int
    energy: float


@dataclass(frozen=True)
class Exploration:
    """How the robot came to know the home, in an earlier run of the stack.

    path (T, 3) m, m, rad: true poses; seconds: by the simulation's clock; distance_m: by odometry.
    """

    path: np.ndarray
    seconds: float
    distance_m: float
    code: str
    message: str
    bumps: int


@dataclass
class Leg:
    """The drive to one goal. `name`: of a place that memory knows; empty for a photograph."""

    goal: Pose
    photo: np.ndarray
    name: str = ""
    begin_ns: int = 0
    end_ns: int = 0
    begin_pose: Pose = (math.nan, math.nan, math.nan)
    final_pose: Pose | None = None
    final_view: np.ndarray | None = None
    code: str = "NOT_SENT"
    message: str = "the goal was not sent"
    distance_travelled_m: float = 0.0
    plan_ms: list[float] = field(default_factory=list)
    image_to_command_ms: list[float] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the stack said so, and the robot did come to rest at the goal."""
        if self.code != "REACHED" or self.final_pose is None:
            return False
        return reached(self.final_pose, self.goal)


class DemoLog:
    """Collects a demonstration. The legs follow one another: `begin` to `end`.

    Attributes:
        legs: one for each goal.
        failure: one sentence on what kept the demonstration from running to its end.
        bundle_digest: of the world model that made the observations.
        path: (stamp ns, pose, index of the leg or -1) of every true pose that came in.
        frames: pictures of the camera for the video.
        exploration: what went before, where the goals are places that memory knows.
    """

    def __init__(
        self,
        plan: FloorPlan,
        profile: RobotProfile,
        seed: int,
        start: Pose,
        goals: Iterable[tuple[Pose, np.ndarray]],
    ) -> None:
        """`goals`: for each goal its pose and its photograph, (height, width, 3) uint8 RGB."""
        self.plan, self.profile = plan, profile
        self.seed, self.start = seed, start
        self.legs = [Leg(pose, photo) for pose, photo in goals]
        self.path: list[tuple[int, Pose, int]] = []
        self.frames: list[Frame] = []
        self.current = -1
        self.failure: str | None = None
        self.bundle_digest: str | None = None
        self.exploration: Exploration | None = None
        self.bumps = 0
        self._bumped = False
        self._explores_since: int | None = None  # in `path`
        self._energy = math.nan
        self._clock: list[tuple[int, int]] = []  # (stamp, sent): the latest ticks
        self._first_tick: tuple[int, int] | None = None
        self._captured: list[int] = []
        self._observed: set[int] = set()
        self._awaiting: list[tuple[int, int]] = []  # (image taken, plan sent), both system time

    # ----- while the robot drives -----------------------------------------------------------

    @property
    def leg(self) -> Leg | None:
        """The leg under way."""
        return self.legs[self.current] if self.current >= 0 else None

    @property
    def pose(self) -> Pose:
        """The latest true pose."""
        return self.path[-1][1] if self.path else self.start

    @property
    def now_ns(self) -> int:
        """The latest tick of the simulation's clock."""
        return self._clock[-1][0] if self._clock else 0

    def begin(self, index: int) -> None:
        """Goal `index` is sent now."""
        self.current = index
        self.legs[index].begin_ns, self.legs[index].begin_pose = self.now_ns, self.pose
        self._awaiting.clear()

    def finish(self, code: str, message: str, distance_travelled_m: float) -> None:
        """The action of the leg under way has ended; the robot may still come to rest."""
        leg = self.legs[self.current]
        leg.end_ns = self.now_ns
        leg.code, leg.message, leg.distance_travelled_m = code, message, distance_travelled_m

    def end(self) -> None:
        """The robot is at rest: the leg under way is over."""
        leg = self.legs[self.current]
        leg.final_pose = self.pose
        if self.frames:
            leg.final_view = decode_frame(self.frames[-1])
        self.current = -1

    def begin_exploration(self) -> None:
        """The robot sets out to explore, in place of a leg."""
        self._explores_since = len(self.path)

    def finish_exploration(self, code: str, message: str, distance_m: float) -> None:
        """The action has ended."""
        assert self._explores_since is not None, "it was begun"
        gone = self.path[self._explores_since :]
        self.exploration = Exploration(
            np.array([pose for _, pose, _ in gone]).reshape(-1, 3),
            (gone[-1][0] - gone[0][0]) * 1e-9 if gone else 0.0,
            distance_m,
            code,
            message,
            int(self.bumps),
        )
        self._explores_since, self.bumps = None, 0

    def clock(self, stamp_ns: int, sent_ns: int) -> None:
        """A tick of the simulation's clock."""
        self._clock.append((stamp_ns, sent_ns))
        self._first_tick = self._first_tick or (stamp_ns, sent_ns)
        if len(self._clock) > 2 * _CLOCK_KEPT:
            del self._clock[:_CLOCK_KEPT]

    def captured(self, stamp_ns: int) -> None:
        """The camera took an image."""
        self._captured.append(stamp_ns)

    def observed(self, stamp_ns: int) -> None:
        """An image became an observation."""
        self._observed.add(stamp_ns)

    def planned(self, image_ns: int, sent_ns: int) -> None:
        """A plan that rests on the image stamped `image_ns` was sent."""
        at = bisect.bisect_left(self._clock, (image_ns, 0))
        if at < len(self._clock) and self._clock[at][0] == image_ns:
            self._awaiting.append((self._clock[at][1], sent_ns))

    def commanded(self, sent_ns: int) -> None:
        """A velocity command was sent."""
        if self.leg is not None:
            took = [sent_ns - taken for taken, planned in self._awaiting if planned <= sent_ns]
            self.leg.image_to_command_ms.extend(ns * 1e-6 for ns in took)
        self._awaiting = [pair for pair in self._awaiting if pair[1] > sent_ns]

    def planning_took(self, milliseconds: Iterable[float]) -> None:
        """Run times of the planner."""
        if self.leg is not None:
            self.leg.plan_ms.extend(milliseconds)

    def expects(self, energy: float) -> None:
        """The predicted cost that is left, dimensionless."""
        self._energy = energy

    def moved(self, stamp_ns: int, pose: Pose) -> None:
        """The robot's true pose."""
        self.path.append((stamp_ns, pose, self.current))

    def bumped(self, pressed: bool) -> None:
        """The bumper's state."""
        driving = self.current >= 0 or self._explores_since is not None
        self.bumps += pressed and not self._bumped and driving
        self._bumped = pressed

    def saw(self, stamp_ns: int, rgb: np.ndarray) -> None:
        """A picture for the video: (height, width, 3) uint8."""
        jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        self.frames.append(Frame(stamp_ns, jpeg, self.pose, self.current, self._energy))

    # ----- afterwards -----------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        legs = [self._leg_report(index) for index in range(len(self.legs))]
        return {
            "world": self.plan.name,
            "seed": self.seed,
            "robot": self.profile.name,
            "bundle_digest": self.bundle_digest,
            "goals_reached": sum(leg["reached"] for leg in legs),
            "all_reached": bool(legs) and all(leg["reached"] for leg in legs),
            "failure": self.failure,
            "bumps": int(self.bumps),
            "real_time_factor": self._real_time_factor(),
            "plan_ms": _percentiles([ms for leg in self.legs for ms in leg.plan_ms]),
            "image_to_command_ms": _percentiles(
                [ms for leg in self.legs for ms in leg.image_to_command_ms]
            ),
            "start": _pose_report(self.start),
            "goals": legs,
            "definitions": DEFINITIONS,
        } | self._exploration_report()

    def _exploration_report(self) -> dict[str, Any]:
        """What is different where the robot explored the home before."""
        before = self.exploration
        if before is None:
            return {}
        told = {
            "code": before.code,
            "message": before.message,
            "seconds": round(before.seconds, 1),
            "distance_travelled_m": round(before.distance_m, 1),
            "bumps": before.bumps,
        }
        return {"exploration": told, "definitions": DEFINITIONS | NAMED}

    def _leg_report(self, index: int) -> dict[str, Any]:
        leg = self.legs[index]
        occupied = self.plan.occupied()
        errors = pose_error(leg.final_pose, leg.goal) if leg.final_pose is not None else None
        taken = [stamp for stamp in self._captured if leg.begin_ns < stamp <= leg.end_ns]
        return {
            "goal": index + 1,
            "name": leg.name,
            "reached": leg.reached,
            "code": leg.code,
            "message": leg.message,
            "final_distance_m": round(errors[0], 3) if errors else None,
            "final_heading_error_deg": round(errors[1], 1) if errors else None,
            "seconds": round((leg.end_ns - leg.begin_ns) * 1e-9, 2) if leg.end_ns else None,
            "distance_travelled_m": round(leg.distance_travelled_m, 2),
            "shortest_way_m": self._shortest_path_m(leg, occupied),
            "in_sight_from_start": line_of_sight(occupied, self.start, leg.goal),
            "plan_ms": _percentiles(leg.plan_ms),
            "image_to_command_ms": _percentiles(leg.image_to_command_ms),
            "frames": len(taken),
            "frames_dropped": sum(stamp not in self._observed for stamp in taken),
            "pose": _pose_report(leg.goal),
        }

    def _shortest_path_m(self, leg: Leg, occupied: Grid) -> float | None:
        if not math.isfinite(leg.begin_pose[0]):
            return None
        free = free_space(occupied, self.profile.footprint_radius_m)
        x, y, _ = leg.begin_pose
        length = float(path_lengths(free, leg.goal).at(x, y))
        return round(length, 2) if math.isfinite(length) else None

    def _real_time_factor(self) -> float | None:
        if self._first_tick is None or self._clock[-1] == self._first_tick:
            return None
        stamp, sent = self._clock[-1]
        return round((stamp - self._first_tick[0]) / (sent - self._first_tick[1]), 3)


def decode_frame(frame: Frame) -> np.ndarray:
    """The picture of a frame: (height, width, 3) uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("a frame of the log is no JPEG picture")
    return bgr[..., ::-1]


def save_exploration(log: DemoLog, folder: Path) -> None:
    """Write exploration.npz: what an explored home is known by, and the places that were named."""
    done = log.exploration
    assert done is not None, "it was finished"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / EXPLORATION,
        path=done.path,
        figures=np.array([done.seconds, done.distance_m, done.bumps]),
        words=np.array([done.code, done.message]),
        names=np.array([leg.name for leg in log.legs]),
        poses=np.array([leg.goal for leg in log.legs]),
        photos=np.array([leg.photo for leg in log.legs]),
    )


def load_exploration(folder: Path) -> tuple[Exploration, list[Leg]]:
    """Read exploration.npz; the legs to its places are not driven yet.

    Raises:
        ValueError: it is missing or not of an exploration; one sentence.
    """
    file = folder / EXPLORATION
    try:
        with np.load(file) as content:
            seconds, distance_m, bumps = content["figures"].tolist()
            code, message = content["words"].tolist()
            done = Exploration(content["path"], seconds, distance_m, code, message, int(bumps))
            x_y_yaw, photos = content["poses"].tolist(), content["photos"]
            names = content["names"].tolist()
        places = zip(x_y_yaw, photos, names, strict=True)
        legs = [Leg(tuple(at), photo, name) for at, photo, name in places]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ValueError(f"{file}: not an exploration ({error}); explore again") from error
    return done, legs


def save(report: dict[str, Any], folder: Path) -> None:
    """Write report.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> dict[str, Any]:
    """Read report.json.

    Raises:
        ValueError: it is missing or no report; one sentence.
    """
    path = folder / REPORT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; run `foresight demo` first") from error
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); run `foresight demo` again") from error
    if not isinstance(content, dict) or "goals" not in content:
        raise ValueError(f"{path}: not the report of a demonstration; run `foresight demo` again")
    return content


def table(report: dict[str, Any]) -> Table:
    """The report for a terminal of 80 columns."""
    goals = report["goals"]
    shown = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=_title(report),
        title_style="bold",
        caption=_caption(report),
    )
    shown.add_column("goal", justify="right", no_wrap=True)
    shown.add_column("reached", no_wrap=True)
    for heading in ("off by", "time", "driven", "plan ms", "command ms", "dropped"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for goal in goals:
        shown.add_row(
            goal.get("name") or str(goal["goal"]),
            _outcome(goal),
            _error(goal),
            _number(goal["seconds"], ".0f", " s"),
            _number(goal["distance_travelled_m"], ".1f", " m"),
            _pair(goal["plan_ms"]),
            _pair(goal["image_to_command_ms"]),
            f"{goal['frames_dropped']}/{goal['frames']}",
        )
    return shown


def _title(report: dict[str, Any]) -> str:
    text = f"World {report['world']}, seed {report['seed']}: "
    text += f"{report['goals_reached']} of {len(report['goals'])} goals reached"
    before = report.get("exploration")
    if before is not None:
        text += (
            f"\nafter {before['seconds'] / 60:.1f} min of exploring "
            f"({before['distance_travelled_m']:.0f} m) and a restart"
        )
    return text


def _caption(report: dict[str, Any]) -> str:
    text = "ms: median/95th percentile; command: from image to velocity command"
    factor = report.get("real_time_factor")
    if factor is not None and factor < _REAL_TIME:
        text += f"\nthis machine was too busy: simulated time ran at {factor:.2f} of real time"
    return text


def _error(goal: dict[str, Any]) -> str:
    if goal["final_distance_m"] is None:
        return "-"
    return f"{goal['final_distance_m']:.2f} m {goal['final_heading_error_deg']:3.0f}°"


def _outcome(goal: dict[str, Any]) -> str:
    """Whether it was reached; what the stack said, where that is not the same."""
    word = "[green]yes[/]" if goal["reached"] else "[bold red]no[/]"
    said = goal["code"].lower().replace("_", " ")
    return word if goal["reached"] else f"{word} ({said})"


def _percentiles(milliseconds: list[float]) -> dict[str, float | None]:
    if not milliseconds:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def _pose_report(pose: Pose) -> dict[str, float]:
    x, y, yaw = pose
    return {"x_m": round(x, 3), "y_m": round(y, 3), "yaw_rad": round(yaw, 3)}


def _number(value: float | None, form: str, unit: str) -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _pair(percentiles: dict[str, float | None]) -> str:
    if percentiles["p50"] is None:
        return "-"
    return f"{percentiles['p50']:.0f}/{percentiles['p95']:.0f}"
