"""`foresight evaluate --suite explore`: how much of an unknown home the explorer covers, how soon.

The explorer drives through the safety controller and the physics of the simulator, on odometry that
drifts. It is judged by the true pose and the floor plan, which it never sees, and compared with the
policy that collects training data and with a random walk, for the same time from the same start.

All shares are of the reachable floor: cells of 0.05 m where the robot's centre can be and to which
it can come from the start, by its footprint alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Group
from rich.table import Table

from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.control.safety import Plan
from foresight.evaluation import baselines
from foresight.evaluation.baselines import HOLD_S
from foresight.evaluation.driving import PERIOD_S, Driver, DriveRecord, drive
from foresight.evaluation.explorer_driver import ExplorerDriver
from foresight.evaluation.goal_suites import episode_seed, wilson
from foresight.evaluation.workers import spread
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.exploration.coverage import blind_m
from foresight.exploration.traversability import SIGHT_M
from foresight.geometry import Pose, wrap
from foresight.interfaces import FloorPlan, Grid, Observation, WorldName
from foresight.planning.navigator import Status
from foresight.worlds.floor_plan import CELL_M, free_space
from foresight.worlds.tasks import Task, draw_poses

COVERED_M = 1.0  # floor is covered when the robot's centre was so near, with line of sight ...
VISITED_M = 0.5
WANTED = 0.9  # of the reachable floor covered
HOME_M = 0.3
_OFFSET = 9_000_000  # added to seeds: the starts are those of no other suite
_MOVED_M, _TURNED_RAD = 0.03, math.radians(3)  # poses nearer to the last one show nothing new
_RAY_STEP_M = 0.04
_CHUNK = 200  # poses
_SHARES = ("covered", "seen", "two_sides", "visited")


class CollectionDriver:
    """The policy that collects training data, held to the safety controller like the others."""

    def __init__(self, profile: RobotProfile, seed: int) -> None:
        self._policy = CollectionPolicy(profile, seed)
        self.status = Status.DRIVING

    def begin(self, seen: Observation) -> None:
        """It drives from wherever the robot stands."""
        del seen

    def plan(self, now_s: float, seen: Observation) -> Plan:
        """One command, renewed every tick."""
        pose = np.array(seen.odometry.pose)
        command = self._policy.act(seen.scan, seen.bumper, pose, PERIOD_S)
        return Plan(now_s, HOLD_S, np.array([command]))


# ----- what was covered -------------------------------------------------------------------------


@dataclass(frozen=True)
class Covered:
    """When floor was first covered, seen by the camera, visited, s; inf for never.

    All are of the shape of `reachable` (bool), the floor that counts. `sides_s`: when the camera
    had seen it under headings of two quarters of the compass.
    """

    reachable: Grid
    covered_s: np.ndarray
    seen_s: np.ndarray
    sides_s: np.ndarray
    visited_s: np.ndarray

    def share(self, first_s: np.ndarray, by_s: float = math.inf) -> float:
        """Of the reachable floor, what was marked before `by_s`."""
        marked = first_s[self.reachable.cells] < by_s
        return float(marked.mean())

    def wanted_after_s(self) -> float | None:
        """When WANTED of the floor was covered; None for never."""
        times = np.sort(self.covered_s[self.reachable.cells])
        at = float(times[math.ceil(WANTED * len(times)) - 1])
        return at if math.isfinite(at) else None


def reachable_floor(plan: FloorPlan, profile: RobotProfile, start: Pose) -> Grid:
    """Cells (bool) where the robot's centre can be, connected with the start."""
    free = free_space(plan.occupied(), profile.footprint_radius_m)
    _, labels = cv2.connectedComponents(free.cells.astype(np.uint8), connectivity=4)
    return free.filled(free.cells & (labels == labels[free.index(start[0], start[1])]))


def measure(plan: FloorPlan, profile: RobotProfile, path: np.ndarray) -> Covered:
    """Coverage by a true path (T, 3) m, m, rad, one pose every PERIOD_S."""
    occupied, camera = plan.occupied(), profile.camera
    x, y, yaw = map(float, path[0])
    poses, times = _distinct(path)
    around = np.linspace(-math.pi, math.pi, 120, endpoint=False)
    half = math.radians(camera.hfov_deg) / 2
    ahead = np.linspace(-half, half, 80)
    eyes = poses + np.stack(
        [camera.x_m * np.cos(poses[:, 2]), camera.x_m * np.sin(poses[:, 2]), 0 * poses[:, 2]], 1
    )
    floor_m = (blind_m(camera) - camera.x_m, SIGHT_M)
    quarter = (poses[:, 2] % (2 * math.pi) / (math.pi / 2)).astype(int) % 4
    by_side = [
        _first_in_sight(occupied, eyes[quarter == k], times[quarter == k], ahead, floor_m)
        for k in range(4)
    ]
    once, twice = np.sort(by_side, 0)[:2]
    been_near = _first_in_sight(occupied, poses, times, around, (0.0, COVERED_M))
    return Covered(
        reachable_floor(plan, profile, (x, y, yaw)),
        np.maximum(been_near, once),  # ... and the camera has seen it, too
        once,
        twice,
        _first_in_sight(occupied, poses, times, around, (0.0, VISITED_M)),
    )


def _distinct(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses that differ from the last one kept, and their times, s."""
    kept = [0]
    for k, (x, y, yaw) in enumerate(path):
        x0, y0, yaw0 = path[kept[-1]]
        turned = abs(wrap(yaw - yaw0))
        if math.hypot(x - x0, y - y0) > _MOVED_M or turned > _TURNED_RAD:
            kept.append(k)
    return path[kept], PERIOD_S * np.array(kept)


def _first_in_sight(
    occupied: Grid,
    poses: np.ndarray,
    times: np.ndarray,
    bearings: np.ndarray,
    span_m: tuple[float, float],
) -> np.ndarray:
    """When each cell first lay within a span (m) on a free ray from a pose, s."""
    first = np.full(occupied.cells.shape, np.inf)
    radii = np.arange(0.0, span_m[1], _RAY_STEP_M)
    counted = radii >= span_m[0]
    chunks = range(0, len(poses), _CHUNK)
    for begin in reversed(chunks):  # the earliest time is written last
        x, y, yaw = poses[begin : begin + _CHUNK][::-1].T
        heading = yaw[:, None] + bearings
        along = np.stack([np.sin(heading), np.cos(heading)])[..., None] * radii
        rows, columns = occupied.index(x[:, None, None] + along[1], y[:, None, None] + along[0])
        lit = ~np.maximum.accumulate(occupied.cells[rows, columns], 2) & counted
        when = np.broadcast_to(times[begin : begin + _CHUNK][::-1, None, None], lit.shape)
        first[rows[lit], columns[lit]] = when[lit]
    return first


# ----- episodes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    robot: Path
    world: WorldName
    start: Pose
    seed: int  # draws the robot, its noise, the baselines
    limit_s: float
    picture: Path | None


def evaluate(
    robot: Path,
    homes: Sequence[WorldName],
    episodes: int,
    seed: int,
    minutes: float,
    *,
    workers: int = 1,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Let the explorer and its baselines drive.

    Args:
        episodes: in all; they are spread evenly over the homes.
        seed: draws starts, robots and noise; the figures depend on nothing else but `update_ms`.
        minutes: simulated time limit of an episode.
        pictures: folder for the floor plan with path and coverage, one per episode.

    Returns:
        what `--json` writes.

    Raises:
        ValueError: fewer episodes than homes, no such home, or the profile cannot be used.
    """
    if episodes < len(homes):
        raise ValueError(f"--episodes is {episodes}; give at least one for each of {len(homes)}")
    profile, jobs = RobotProfile.load(robot), []
    for number, world in enumerate(homes):
        count, plan = len(range(number, episodes, len(homes))), worlds.plan_of(world)
        for k, start in enumerate(draw_poses(plan, profile, count, _OFFSET + seed)):
            picture = pictures and pictures / f"explore-world-{world}-{k:03d}.png"
            draw = episode_seed(seed, plan.seed, k)
            jobs.append(_Job(robot, world, start, draw, 60.0 * minutes, picture))
    records = spread(_explore, jobs, workers, "explore")
    content = {
        "suite": "explore",
        "worlds": list(homes),
        "episodes": episodes,
        "seed": seed,
        "minutes": minutes,
        "workers": workers,
    }
    return content | _summed_up(records)


def _explore(job: _Job) -> dict[str, Any]:
    """The explorer's drive from one start, and those of its baselines."""
    profile = RobotProfile.load(job.robot)
    world = worlds.make(job.world, profile, seed=job.seed)
    plan = world.truth.floor_plan
    task = Task(job.start, job.start, 0.0)
    explorer = ExplorerDriver(profile, job.limit_s)
    own = drive(world, profile, task, explorer, job.limit_s + 5.0)
    covered = measure(plan, profile, own.path)
    if job.picture is not None:
        from foresight.evaluation.pictures import draw_exploration

        draw_exploration(
            job.picture,
            plan,
            profile.footprint_radius_m,
            own.path,
            covered.reachable,
            covered.covered_s,
        )
    others: dict[str, Driver] = {
        "wander": CollectionDriver(profile, job.seed),
        "random": baselines.Random(profile, job.seed),
    }
    paired = {}
    for name, driver in others.items():
        other = drive(world, profile, task, driver, own.seconds)
        paired[name] = _figures(other, measure(plan, profile, other.path))
    last = explorer.last
    assert last is not None
    return {
        "world": job.world,
        "start": job.start,
        "status": last.status.value,
        "reason": last.reason,
        "maps": last.maps,
        "believed_home_error_m": round(last.distance_m, 3),
        **_figures(own, covered),
        "update_ms": explorer.update_ms,
        "baselines": paired,
    }


def _figures(done: DriveRecord, covered: Covered) -> dict[str, Any]:
    after_s = covered.wanted_after_s()
    return {
        "covered": round(covered.share(covered.covered_s), 4),
        "seen": round(covered.share(covered.seen_s), 4),
        "two_sides": round(covered.share(covered.sides_s), 4),
        "visited": round(covered.share(covered.visited_s), 4),
        "minutes_to_90": None if after_s is None else round(after_s / 60, 2),
        "minutes": round(done.seconds / 60, 2),
        "driven_m": round(done.driven_m, 1),
        "collisions": done.collisions,
        "home_error_m": round(done.error_m, 3),
        "reachable_m2": round(float(covered.reachable.cells.sum()) * CELL_M**2, 2),
    }


# ----- all of them ------------------------------------------------------------------------------


def _summed_up(records: list[dict[str, Any]]) -> dict[str, Any]:
    update_ms = np.concatenate([record.pop("update_ms") for record in records])
    names = list(records[0]["baselines"])
    return {
        "explorer": _means(records),
        "baselines": {name: _means([r["baselines"][name] for r in records]) for name in names},
        "back_home": wilson(
            sum(r["status"] == "done" and r["home_error_m"] <= HOME_M for r in records),
            len(records),
        ),
        "update_ms": {
            "p50": float(np.percentile(update_ms, 50)),
            "p95": float(np.percentile(update_ms, 95)),
            "p99": float(np.percentile(update_ms, 99)),
            "highest": float(np.max(update_ms)),
        },
        "drives": records,
    }


def _means(drives: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("minutes", "driven_m", "collisions", "home_error_m")
    means = {key: float(np.mean([one[key] for one in drives])) for key in (*_SHARES, *keys)}
    return means | {"wanted": wilson(sum(one["covered"] >= WANTED for one in drives), len(drives))}


def summary(content: dict[str, Any]) -> Group:
    """What `evaluate` returned, as text and tables."""
    own, back, update_ms = content["explorer"], content["back_home"], content["update_ms"]
    headline = (
        f"explore, {content['episodes']} episodes, seed {content['seed']}: 90% of the floor "
        f"covered in {100 * own['wanted']['rate']:.0f}%, back at the start in "
        f"{100 * back['rate']:.0f}%, update p50 {update_ms['p50']:.1f} ms "
        f"p95 {update_ms['p95']:.1f} ms"
    )
    drivers = Table("driver", "covered", "seen", "two sides", "visited", "driven", "collisions")
    for name, figures in {"explorer": own, **content["baselines"]}.items():
        drivers.add_row(name, *_shares(figures))
    columns = "world,end,covered,seen,two sides,visited,driven,collisions,90% after,minutes"
    drives = Table(*columns.split(","), "from start")
    for one in content["drives"]:
        after = one["minutes_to_90"]
        drives.add_row(
            str(one["world"]),
            one["status"],
            *_shares(one),
            "-" if after is None else f"{after:.1f} min",
            f"{one['minutes']:.1f}",
            f"{one['home_error_m']:.2f} m",
        )
    return Group(headline, drivers, drives)


def _shares(figures: dict[str, Any]) -> list[str]:
    shares = [f"{100 * figures[key]:.1f}%" for key in _SHARES]
    return [*shares, f"{figures['driven_m']:.0f} m", f"{figures['collisions']:.1f}"]
