"""Pictures of drives: a floor plan from above with paths, goals, and what was covered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon

from foresight.geometry import Pose
from foresight.interfaces import FloorPlan, Grid
from foresight.worlds.tasks import REACHED_M

COLOURS = ("#2f6db5", "#d1602a", "#2b8a5f", "#8a4fa3", "#b08a1e")
INK = "#23272e"
_FLOORS = ("#f3ede2", "#e8eef2", "#eef1e4", "#f3e9e9", "#ece9f3")
_WALL, _FURNITURE, _FURNITURE_EDGE, _THRESHOLD = "#3a3f47", "#cbbfae", "#a3967f", "#d8d2c6"
_PALE = "#5d6672"
MARGIN_M = 0.25
"""Around the floor plan in a picture."""
_ARROW_EVERY_M = 0.55


@dataclass(frozen=True)
class DrawnLeg:
    """A drive to one goal, as a picture shows it.

    Attributes:
        goal: its pose.
        photo: what the robot was shown, (height, width, 3) uint8 RGB.
        path: true poses (T, 3) m, m, rad; none if it was not driven.
        final_pose, final_view: where it came to rest, and what it saw there.
        verdict: a few words on how it went.
        name: of the place; empty for a photograph.
    """

    goal: Pose
    photo: np.ndarray
    path: np.ndarray
    final_pose: Pose | None
    final_view: np.ndarray | None
    verdict: str
    name: str = ""


def draw_floor_plan(axes: Axes, plan: FloorPlan) -> None:
    """Rooms, doorways, furniture and walls on axes in metres."""
    rooms = 0
    for outline in plan.outlines():
        corners = outline.corners
        match outline.kind:
            case "room":
                floor = _FLOORS[rooms % len(_FLOORS)]
                axes.add_patch(Polygon(corners, color=floor, lw=0, zorder=0))
                rooms += 1
            case "doorway":
                axes.plot(*corners.T, color=_THRESHOLD, lw=2.5, zorder=1)
            case "furniture":
                axes.add_patch(
                    Polygon(corners, fc=_FURNITURE, ec=_FURNITURE_EDGE, lw=1.2, zorder=2)
                )
            case "wall":
                axes.add_patch(Polygon(corners, color=_WALL, lw=0, zorder=3))
    _show_all(axes, plan)
    axes.set_aspect("equal")
    axes.axis("off")


def _show_all(axes: Axes, plan: FloorPlan) -> None:
    left, right, low, high = plan.occupied().extent
    axes.set_xlim(left - MARGIN_M, right + MARGIN_M)
    axes.set_ylim(low - MARGIN_M, high + MARGIN_M)


def draw_legs(
    file: Path,
    plan: FloorPlan,
    radius_m: float,
    start: Pose,
    legs: Sequence[DrawnLeg],
    headline: str,
    note: str,
    before: np.ndarray | None = None,
) -> None:
    """The floor plan with paths, start and goals, beside what the robot was shown and saw (PNG).

    Args:
        radius_m: of the robot's footprint.
        start: the pose before the first leg.
        note: a sentence below the headline.
        before: the path (T, 3) m, m, rad of an earlier drive.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": INK}):
        figure = Figure(figsize=(14.0, 8.2), dpi=130, facecolor="white")
        grid = figure.add_gridspec(
            len(legs),
            3,
            width_ratios=(7.6, 2.95, 2.95),
            left=0.01,
            right=0.99,
            bottom=0.02,
            top=0.895,
            wspace=0.05,
            hspace=0.24,
        )
        axes = figure.add_subplot(grid[:, 0])
        draw_floor_plan(axes, plan)
        if before is not None:
            x, y, _ = before.T
            axes.plot(x, y, color="#8b929c", lw=1.1, alpha=0.55, zorder=3.5)
        for index, leg in enumerate(legs):
            _draw_leg(axes, index, leg, radius_m)
            _draw_photos(figure, grid, index, leg)
        _draw_start(axes, start, radius_m)
        _draw_scale(axes, plan)
        figure.text(0.022, 0.955, headline, fontsize=19, weight="bold")
        figure.text(0.022, 0.918, note, fontsize=10.5, color=_PALE)
        file.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(file))


def draw_exploration(
    file: Path,
    plan: FloorPlan,
    radius_m: float,
    path: np.ndarray,
    reachable: Grid,
    covered_s: np.ndarray,
) -> None:
    """The floor plan with the path, and when its floor was covered (PNG).

    Args:
        radius_m: of the robot's footprint.
        path: (T, 3) m, m, rad.
        reachable: bool, the floor that counts.
        covered_s: of the same shape, s; inf for never.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": INK}):
        figure = Figure(figsize=(7.6, 8.0), dpi=110, facecolor="white")
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.89))
        draw_floor_plan(axes, plan)
        floor, covered = reachable.cells, np.isfinite(covered_s)
        minutes = np.where(floor & covered, covered_s / 60, np.nan)
        shade = axes.imshow(
            minutes,
            extent=reachable.extent,
            origin="lower",
            cmap="YlGnBu_r",
            alpha=0.55,
            zorder=1.5,
        )
        missed = np.where(floor & ~covered, 1.0, np.nan)
        axes.imshow(
            missed,
            extent=reachable.extent,
            origin="lower",
            cmap="autumn",
            vmin=1,
            vmax=2,
            alpha=0.9,
            zorder=1.6,
        )
        axes.plot(path[:, 0], path[:, 1], color="white", lw=3.0, alpha=0.7, zorder=4)
        axes.plot(path[:, 0], path[:, 1], color=COLOURS[1], lw=1.3, zorder=5)
        _draw_robot(axes, path[0], radius_m, INK)
        _draw_robot_outline(axes, path[-1], radius_m, COLOURS[0])
        _show_all(axes, plan)
        _draw_scale(axes, plan)
        bar = figure.add_axes((0.66, 0.945, 0.3, 0.014))
        figure.colorbar(shade, cax=bar, orientation="horizontal").set_label(
            "covered after, minutes", fontsize=9
        )
        share = 100 * covered[floor].mean()
        figure.text(0.03, 0.955, f"{share:.1f}% of the floor covered", fontsize=15, weight="bold")
        figure.text(
            0.03,
            0.925,
            f"World {plan.name}, unknown to the robot; red: never covered.",
            fontsize=9.5,
            color=_PALE,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(file))


def floor_plan_pixels(plan: FloorPlan, side_px: int) -> tuple[np.ndarray, float]:
    """The floor plan as (side, side, 3) uint8, its lower left corner in that of the picture.

    Returns:
        the picture, and its pixels per metre.
    """
    left, right, low, high = plan.occupied().extent
    side_m = max(right - left, high - low) + 2 * MARGIN_M
    figure = Figure(figsize=(side_px / 100, side_px / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_floor_plan(axes, plan)
    axes.set_xlim(left - MARGIN_M, left - MARGIN_M + side_m)
    axes.set_ylim(low - MARGIN_M, low - MARGIN_M + side_m)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]), side_px / side_m


def _draw_leg(axes: Axes, index: int, leg: DrawnLeg, radius_m: float) -> None:
    colour, points = COLOURS[index % len(COLOURS)], leg.path.reshape(-1, 3)
    axes.plot(points[:, 0], points[:, 1], color="white", lw=5.5, zorder=4, alpha=0.8)
    axes.plot(points[:, 0], points[:, 1], color=colour, lw=2.6, zorder=5)
    for pose in _every(points, _ARROW_EVERY_M):
        _arrow(axes, pose, 0.17, colour, width=1.6, head=9)
    _draw_goal(axes, index, leg.goal, colour)
    if leg.final_pose is not None:
        _draw_robot_outline(axes, leg.final_pose, radius_m, colour)


def _draw_start(axes: Axes, start: Pose, radius_m: float) -> None:
    _draw_robot(axes, start, radius_m, INK)
    axes.annotate(
        "start",
        start[:2],
        xytext=(0, -16),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=10,
        weight="bold",
        zorder=9,
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85},
    )


def _draw_goal(axes: Axes, index: int, goal: Pose, colour: str) -> None:
    x, y, _ = goal
    axes.add_patch(Circle((x, y), REACHED_M, fc=colour, alpha=0.16, lw=0, zorder=4))
    axes.add_patch(Circle((x, y), REACHED_M, fill=False, ec=colour, lw=1.4, ls="--", zorder=6))
    _arrow(axes, goal, 0.62, colour, width=2.4, head=15)
    axes.plot(x, y, "o", ms=15, mfc=colour, mec="white", mew=1.4, zorder=8)
    axes.text(
        x, y - 0.005, str(index + 1), color="white", ha="center", va="center", weight="bold",
        fontsize=9.5, zorder=9,
    )  # fmt: skip


def _draw_robot(axes: Axes, pose: Sequence[float], radius_m: float, colour: str) -> None:
    x, y, yaw = pose
    axes.add_patch(Circle((x, y), radius_m, fc=colour, ec="white", lw=1.6, zorder=7))
    nose = (x + 0.8 * radius_m * math.cos(yaw), y + 0.8 * radius_m * math.sin(yaw))
    axes.plot([x, nose[0]], [y, nose[1]], color="white", lw=2.2, zorder=8)


def _draw_robot_outline(axes: Axes, pose: Sequence[float], radius_m: float, colour: str) -> None:
    x, y, yaw = pose
    axes.add_patch(Circle((x, y), radius_m, fill=False, ec=colour, lw=2.0, zorder=6))
    tip = (x + radius_m * math.cos(yaw), y + radius_m * math.sin(yaw))
    axes.plot([x, tip[0]], [y, tip[1]], color=colour, lw=2.0, zorder=6)


def _arrow(axes: Axes, pose: Pose, length_m: float, colour: str, width: float, head: float) -> None:
    x, y, yaw = pose
    tip = (x + length_m * math.cos(yaw), y + length_m * math.sin(yaw))
    axes.add_patch(
        FancyArrowPatch(
            (x, y),
            tip,
            arrowstyle="-|>",
            mutation_scale=head,
            color=colour,
            lw=width,
            shrinkA=0,
            shrinkB=0,
            zorder=6,
        )  # fmt: skip
    )


def _draw_scale(axes: Axes, plan: FloorPlan) -> None:
    _, right, low, _ = plan.occupied().extent
    left, y = right - 1.0, low - 0.17
    axes.plot([left, left + 1.0], [y, y], color=INK, lw=2.5, solid_capstyle="butt")
    axes.text(left - 0.08, y, "1 m", ha="right", va="center", fontsize=9)


def _every(points: np.ndarray, stride_m: float) -> Iterator[Pose]:
    """Poses along a path, about `stride_m` apart."""
    last = points[:1, :2]
    for x, y, yaw in points:
        if math.hypot(x - last[0, 0], y - last[0, 1]) >= stride_m:
            last = np.array([[x, y]])
            yield float(x), float(y), float(yaw)


def _draw_photos(
    figure: Figure, grid: matplotlib.gridspec.GridSpec, index: int, leg: DrawnLeg
) -> None:
    colour = COLOURS[index % len(COLOURS)]
    blank = np.full_like(leg.photo, 235)
    pictures = (leg.photo, blank if leg.final_view is None else leg.final_view)
    for column, picture in enumerate(pictures):
        axes = figure.add_subplot(grid[index, 1 + column])
        axes.imshow(picture)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set(color=colour, linewidth=2.5)
        if index == 0:
            shown = "when it was named" if leg.name else "the photograph"
            heading = shown if column == 0 else "where the robot stopped"
            axes.text(
                0.5, 1.14, heading, transform=axes.transAxes, ha="center", fontsize=10.5,
                color=_PALE,
            )  # fmt: skip
        if column == 0:
            axes.set_title(
                f"{index + 1} {leg.name}", loc="left", color=colour, weight="bold", fontsize=12
            )
        else:
            axes.set_title(leg.verdict, loc="right", fontsize=9.5, color=INK)
