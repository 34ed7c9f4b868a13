"""Pictures of a demonstration: the apartment from above with the driven path, and a video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image, ImageDraw, ImageFont

from foresight.bodies.profile import RobotProfile
from foresight.evaluation.report import DemoLog, Frame, Leg, decode_frame
from foresight.worlds.apartments.apartment import DOOR_WIDTH_M, SIDE_M, WALL_THICKNESS_M, Apartment
from foresight.worlds.tasks import REACHED_M, Pose, pose_error

COLOURS = ("#2f6db5", "#d1602a", "#2b8a5f", "#8a4fa3", "#b08a1e")
INK = "#23272e"
_FLOORS = ("#f3ede2", "#e8eef2", "#eef1e4", "#f3e9e9", "#ece9f3")
_WALL, _FURNITURE, _FURNITURE_EDGE, _THRESHOLD = "#3a3f47", "#cbbfae", "#a3967f", "#d8d2c6"
_MARGIN_M = 0.25
_ARROW_EVERY_M = 0.55

VIDEO_SPEED = 2
"""How much faster than real time the video runs, at the rate that frames were logged."""
_PANEL_PX, _GAP_PX, _HEAD_PX, _FOOT_PX = 360, 16, 52, 74
_BACKDROP, _PALE, _BRIGHT = (20, 23, 28), (150, 158, 170), (236, 239, 244)
HOLD_FRAMES = 12  # the end of a leg stands still for this long


# ----- the apartment from above -----------------------------------------------------------------


def draw_floor_plan(axes: Axes, apartment: Apartment) -> None:
    """Rooms, doorways, furniture and walls on axes in metres."""
    for index, room in enumerate(apartment.rooms):
        size = room.x1 - room.x0, room.y1 - room.y0
        floor = _FLOORS[index % len(_FLOORS)]
        axes.add_patch(Rectangle((room.x0, room.y0), *size, color=floor, lw=0, zorder=0))
    for wall in apartment.walls:
        length = wall.end - wall.start + WALL_THICKNESS_M / 2
        start, cross = wall.start - WALL_THICKNESS_M / 4, wall.at - WALL_THICKNESS_M / 2
        corner = (start, cross) if wall.along_x else (cross, start)
        size = (length, WALL_THICKNESS_M) if wall.along_x else (WALL_THICKNESS_M, length)
        axes.add_patch(Rectangle(corner, *size, color=_WALL, lw=0, zorder=3))
    for x, y in ((0, 0), (0, SIDE_M), (SIDE_M, 0), (SIDE_M, SIDE_M)):
        half = WALL_THICKNESS_M / 2
        corner = (x - half, y - half)
        axes.add_patch(Rectangle(corner, 2 * half, 2 * half, color=_WALL, lw=0, zorder=3))
    for door in apartment.doors:
        half = DOOR_WIDTH_M / 2
        along_x = any(w.along_x and abs(w.at - door.y) < 1e-6 for w in apartment.walls)
        ends = ((-half, half), (0, 0)) if along_x else ((0, 0), (-half, half))
        xs, ys = [door.x + d for d in ends[0]], [door.y + d for d in ends[1]]
        axes.plot(xs, ys, color=_THRESHOLD, lw=2.5, zorder=1)
    for piece in apartment.furniture:
        look: dict[str, Any] = {"fc": _FURNITURE, "ec": _FURNITURE_EDGE, "lw": 1.2, "zorder": 2}
        if piece.sy == 0:
            axes.add_patch(Circle((piece.x, piece.y), piece.sx, **look))
            continue
        turned = Affine2D().rotate(piece.yaw).translate(piece.x, piece.y) + axes.transData
        box = Rectangle((-piece.sx, -piece.sy), 2 * piece.sx, 2 * piece.sy, **look)
        box.set_transform(turned)
        axes.add_patch(box)
    axes.set_xlim(-_MARGIN_M, SIDE_M + _MARGIN_M)
    axes.set_ylim(-_MARGIN_M, SIDE_M + _MARGIN_M)
    axes.set_aspect("equal")
    axes.axis("off")


def draw_trajectory(log: DemoLog, file: Path) -> None:
    """The apartment with path, start and goals, beside what the robot was shown and found (PNG)."""
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": INK}):
        rows = len(log.legs)
        figure = Figure(figsize=(14.0, 8.2), dpi=130, facecolor="white")
        grid = figure.add_gridspec(
            rows,
            3,
            width_ratios=(7.6, 2.95, 2.95),
            left=0.01,
            right=0.99,
            bottom=0.02,
            top=0.895,
            wspace=0.05,
            hspace=0.24,
        )
        plan = figure.add_subplot(grid[:, 0])
        draw_floor_plan(plan, log.apartment)
        _draw_legs(plan, log)
        _draw_scale(plan)
        for index, leg in enumerate(log.legs):
            _draw_photos(figure, grid, index, leg)
        count = sum(leg.reached for leg in log.legs)
        figure.text(0.022, 0.955, f"{count} of {rows} places found", fontsize=19, weight="bold")
        figure.text(0.022, 0.918, _explained(log), fontsize=10.5, color="#5d6672")
        file.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(file))


def _explained(log: DemoLog) -> str:
    text = f"Apartment {log.apartment.seed}, tour {log.seed}. "
    before = log.exploration
    if before is None:
        return text + "The robot was given the photographs only; it has no floor plan."
    return text + (
        f"Grey: {before.seconds / 60:.1f} min of exploring, naming places; then a restart."
    )


def draw_exploration(
    file: Path,
    apartment: Apartment,
    profile: RobotProfile,
    path: np.ndarray,
    reachable: np.ndarray,
    covered_s: np.ndarray,
) -> None:
    """The apartment with the path, and when its floor was covered (PNG).

    Args:
        path: (T, 3) m, m, rad.
        reachable: (n, n) bool [y, x], the floor that counts.
        covered_s: (n, n) s, inf for never.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": INK}):
        figure = Figure(figsize=(7.6, 8.0), dpi=110, facecolor="white")
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.89))
        draw_floor_plan(axes, apartment)
        minutes = np.where(reachable & np.isfinite(covered_s), covered_s / 60, np.nan)
        span = (0.0, SIDE_M, 0.0, SIDE_M)
        shade = axes.imshow(
            minutes, extent=span, origin="lower", cmap="YlGnBu_r", alpha=0.55, zorder=1.5
        )
        missed = np.where(reachable & ~np.isfinite(covered_s), 1.0, np.nan)
        axes.imshow(
            missed, extent=span, origin="lower", cmap="autumn", vmin=1, alpha=0.9, zorder=1.6
        )
        axes.plot(path[:, 0], path[:, 1], color="white", lw=3.0, alpha=0.7, zorder=4)
        axes.plot(path[:, 0], path[:, 1], color=COLOURS[1], lw=1.3, zorder=5)
        _draw_robot(axes, _pose(path[0]), profile.footprint_radius_m, INK)
        _draw_robot_outline(axes, _pose(path[-1]), COLOURS[0])
        axes.set_xlim(-_MARGIN_M, SIDE_M + _MARGIN_M)
        axes.set_ylim(-_MARGIN_M, SIDE_M + _MARGIN_M)
        _draw_scale(axes)
        bar = figure.add_axes((0.66, 0.945, 0.3, 0.014))
        figure.colorbar(shade, cax=bar, orientation="horizontal").set_label(
            "covered after, minutes", fontsize=9
        )
        share = 100 * np.isfinite(covered_s[reachable]).mean()
        figure.text(0.03, 0.955, f"{share:.1f}% of the floor covered", fontsize=15, weight="bold")
        figure.text(
            0.03,
            0.925,
            f"Apartment {apartment.seed}, unknown to the robot; red: never covered.",
            fontsize=9.5,
            color="#5d6672",
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(file))


def _pose(row: np.ndarray) -> Pose:
    return float(row[0]), float(row[1]), float(row[2])


def _draw_legs(axes: Axes, log: DemoLog) -> None:
    start = log.path[0][1] if log.path else log.start
    if log.exploration is not None:
        x, y, _ = log.exploration.path.T
        axes.plot(x, y, color="#8b929c", lw=1.1, alpha=0.55, zorder=3.5)
    for index, leg in enumerate(log.legs):
        colour = COLOURS[index % len(COLOURS)]
        points = np.array([pose for _, pose, at in log.path if at == index]).reshape(-1, 3)
        axes.plot(points[:, 0], points[:, 1], color="white", lw=5.5, zorder=4, alpha=0.8)
        axes.plot(points[:, 0], points[:, 1], color=colour, lw=2.6, zorder=5)
        for x, y, yaw in _every(points, _ARROW_EVERY_M):
            _arrow(axes, (x, y, yaw), 0.17, colour, width=1.6, head=9)
        _draw_goal(axes, index, leg, colour)
    _draw_robot(axes, start, log.profile.footprint_radius_m, INK)
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


def _draw_goal(axes: Axes, index: int, leg: Leg, colour: str) -> None:
    x, y, yaw = leg.goal
    axes.add_patch(Circle((x, y), REACHED_M, fc=colour, alpha=0.16, lw=0, zorder=4))
    axes.add_patch(Circle((x, y), REACHED_M, fill=False, ec=colour, lw=1.4, ls="--", zorder=6))
    _arrow(axes, leg.goal, 0.62, colour, width=2.4, head=15)
    axes.plot(x, y, "o", ms=15, mfc=colour, mec="white", mew=1.4, zorder=8)
    axes.text(
        x, y - 0.005, str(index + 1), color="white", ha="center", va="center", weight="bold",
        fontsize=9.5, zorder=9,
    )  # fmt: skip
    if leg.final_pose is not None:
        _draw_robot_outline(axes, leg.final_pose, colour)


def _draw_robot(axes: Axes, pose: Pose, radius_m: float, colour: str) -> None:
    x, y, yaw = pose
    axes.add_patch(Circle((x, y), radius_m, fc=colour, ec="white", lw=1.6, zorder=7))
    nose = (x + 0.8 * radius_m * math.cos(yaw), y + 0.8 * radius_m * math.sin(yaw))
    axes.plot([x, nose[0]], [y, nose[1]], color="white", lw=2.2, zorder=8)


def _draw_robot_outline(axes: Axes, pose: Pose, colour: str) -> None:
    x, y, yaw = pose
    axes.add_patch(Circle((x, y), 0.17, fill=False, ec=colour, lw=2.0, zorder=6))
    tip = (x + 0.17 * math.cos(yaw), y + 0.17 * math.sin(yaw))
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


def _draw_scale(axes: Axes) -> None:
    left, y = SIDE_M - 1.0, -0.17
    axes.plot([left, left + 1.0], [y, y], color=INK, lw=2.5, solid_capstyle="butt")
    axes.text(left - 0.08, y, "1 m", ha="right", va="center", fontsize=9)


def _every(points: np.ndarray, stride_m: float) -> Iterator[Pose]:
    """Poses along a path, about `stride_m` apart."""
    last = points[:1, :2]
    for x, y, yaw in points:
        if math.hypot(x - last[0, 0], y - last[0, 1]) >= stride_m:
            last = np.array([[x, y]])
            yield float(x), float(y), float(yaw)


def _draw_photos(figure: Figure, grid: matplotlib.gridspec.GridSpec, index: int, leg: Leg) -> None:
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
                color="#5d6672",
            )  # fmt: skip
        if column == 0:
            axes.set_title(
                f"{index + 1} {leg.name}", loc="left", color=colour, weight="bold", fontsize=12
            )
        else:
            axes.set_title(_verdict(leg), loc="right", fontsize=9.5, color=INK)


def _verdict(leg: Leg) -> str:
    if leg.final_pose is None:
        return leg.code.lower().replace("_", " ")
    distance, heading = pose_error(leg.final_pose, leg.goal)
    word = "found" if leg.reached else "missed"
    return (
        f"{word}: {distance:.2f} m, {heading:.0f}° off, {(leg.end_ns - leg.begin_ns) / 1e9:.0f} s"
    )


# ----- the video --------------------------------------------------------------------------------


def write_video(log: DemoLog, file: Path, frames_per_s: float) -> None:
    """Camera, goal and map side by side (H.264, yuv420p, starts while it loads).

    Args:
        log: a demonstration with frames.
        file: an .mp4.
        frames_per_s: the rate at which the frames were logged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas = _Canvas(log)
    rate = Fraction(frames_per_s * VIDEO_SPEED).limit_denominator(1000)
    with av.open(str(file), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = canvas.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "22", "preset": "veryfast"}
        for picture in canvas.pictures():
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


class _Canvas:
    """Draws the video's pictures one after another; the path on the map grows."""

    def __init__(self, log: DemoLog) -> None:
        self._log = log
        self._map = _floor_plan_pixels(log.apartment, _PANEL_PX)
        for index, leg in enumerate(log.legs):
            dot = _rgb(COLOURS[index % len(COLOURS)])
            cv2.circle(self._map, self._pixel(leg.goal), 4 << _SHIFT, dot, -1, cv2.LINE_AA, _SHIFT)
        self._drawn = 0
        camera = log.profile.camera
        self._view_px = round(_PANEL_PX * camera.width / camera.height / 2) * 2
        width = 2 * self._view_px + _PANEL_PX + 4 * _GAP_PX
        self.size = width + width % 2, _PANEL_PX + _HEAD_PX + _FOOT_PX
        regular, bold = findfont("DejaVu Sans"), findfont("DejaVu Sans:bold")
        self._small = ImageFont.truetype(regular, 14)
        self._plain = ImageFont.truetype(regular, 18)
        self._bold = ImageFont.truetype(bold, 18)
        self._photos = [self._fit(leg.photo) for leg in log.legs]

    def pictures(self) -> Iterator[np.ndarray]:
        """(height, width, 3) uint8 RGB."""
        frames = [frame for frame in self._log.frames if frame.goal >= 0]
        for frame, following in zip(frames, [*frames[1:], None], strict=True):
            last = following is None or following.goal != frame.goal
            picture = self._compose(frame, last)
            for _ in range(HOLD_FRAMES if last else 1):
                yield picture

    def _compose(self, frame: Frame, last: bool) -> np.ndarray:
        leg = self._log.legs[frame.goal]
        image = Image.new("RGB", self.size, _BACKDROP)
        lefts = [_GAP_PX, 2 * _GAP_PX + self._view_px, 3 * _GAP_PX + 2 * self._view_px]
        image.paste(Image.fromarray(self._fit(decode_frame(frame))), (lefts[0], _HEAD_PX))
        image.paste(Image.fromarray(self._photos[frame.goal]), (lefts[1], _HEAD_PX))
        image.paste(Image.fromarray(self._draw_map(frame)), (lefts[2], _HEAD_PX))
        draw = ImageDraw.Draw(image)
        colour = COLOURS[frame.goal % len(COLOURS)]
        goal = f"{frame.goal + 1} of {len(self._log.legs)}"
        for left, text in zip(
            lefts,
            (
                "what the robot sees",
                f"{leg.name}, place {goal}" if leg.name else f"photograph {goal}",
                "from above (the robot has no map)",
            ),
            strict=True,
        ):
            draw.text((left, 18), text, font=self._bold, fill=_BRIGHT)
        box = (lefts[1], _HEAD_PX, lefts[1] + self._view_px - 1, _HEAD_PX + _PANEL_PX - 1)
        draw.rectangle(box, outline=colour, width=5)
        self._write_foot(draw, frame, leg, last)
        return np.asarray(image)

    def _write_foot(self, draw: ImageDraw.ImageDraw, frame: Frame, leg: Leg, last: bool) -> None:
        top = _HEAD_PX + _PANEL_PX + 14
        elapsed = (frame.stamp_ns - leg.begin_ns) * 1e-9
        text = f"{elapsed:.1f} s"
        if math.isfinite(frame.energy):
            text += f"     predicted cost left {frame.energy:.2f}"
        draw.text((_GAP_PX, top), text, font=self._plain, fill=_BRIGHT)
        note = f"shown at {VIDEO_SPEED}x speed; apartment {self._log.apartment.seed}, "
        note += f"tour {self._log.seed}"
        draw.text((_GAP_PX, top + 29), note, font=self._small, fill=_PALE)
        if last:
            good = leg.reached
            draw.text(
                (2 * _GAP_PX + self._view_px, top),
                _verdict(leg),
                font=self._bold,
                fill=(104, 211, 145) if good else (252, 129, 129),
            )

    def _draw_map(self, frame: Frame) -> np.ndarray:
        """The path so far on the map that stays, the robot on a copy of it."""
        path = self._log.path
        while self._drawn < len(path) and path[self._drawn][0] <= frame.stamp_ns:
            if self._drawn > 0:
                a, b = path[self._drawn - 1][1], path[self._drawn][1]
                colour = _rgb(COLOURS[max(path[self._drawn][2], 0) % len(COLOURS)])
                cv2.line(self._map, self._pixel(a), self._pixel(b), colour, 2, cv2.LINE_AA, _SHIFT)
            self._drawn += 1
        shown = self._map.copy()
        colour = _rgb(COLOURS[frame.goal % len(COLOURS)])
        goal = self._log.legs[frame.goal].goal
        radius = round(REACHED_M * self._scale * (1 << _SHIFT))
        cv2.circle(shown, self._pixel(goal), radius, colour, 2, cv2.LINE_AA, _SHIFT)
        cv2.arrowedLine(
            shown,
            self._whole_pixel(goal),
            self._whole_pixel(_ahead(goal, 0.6)),
            colour,
            2,
            cv2.LINE_AA,
            0,
            0.3,
        )
        robot = round(self._log.profile.footprint_radius_m * self._scale * (1 << _SHIFT))
        cv2.circle(shown, self._pixel(frame.pose), robot, _rgb(INK), -1, cv2.LINE_AA, _SHIFT)
        nose = _ahead(frame.pose, 0.15)
        white = (255, 255, 255)
        cv2.line(shown, self._pixel(frame.pose), self._pixel(nose), white, 2, cv2.LINE_AA, _SHIFT)
        return shown

    def _fit(self, rgb: np.ndarray) -> np.ndarray:
        return cv2.resize(rgb, (self._view_px, _PANEL_PX), interpolation=cv2.INTER_CUBIC)

    @property
    def _scale(self) -> float:
        return _PANEL_PX / (SIDE_M + 2 * _MARGIN_M)

    def _pixel(self, pose: Pose) -> tuple[int, int]:
        """In fixed point of _SHIFT bits, as OpenCV takes it."""
        one = 1 << _SHIFT
        x = (pose[0] + _MARGIN_M) * self._scale
        y = _PANEL_PX - (pose[1] + _MARGIN_M) * self._scale
        return round((x - 0.5) * one), round((y - 0.5) * one)

    def _whole_pixel(self, pose: Pose) -> tuple[int, int]:
        x, y = self._pixel(pose)
        return x >> _SHIFT, y >> _SHIFT


_SHIFT = 4


def _floor_plan_pixels(apartment: Apartment, side_px: int) -> np.ndarray:
    """The floor plan as (side, side, 3) uint8; the axes fill the picture."""
    figure = Figure(figsize=(side_px / 100, side_px / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    draw_floor_plan(figure.add_axes((0, 0, 1, 1)), apartment)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _ahead(pose: Pose, length_m: float) -> Pose:
    x, y, yaw = pose
    return x + length_m * math.cos(yaw), y + length_m * math.sin(yaw), yaw


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
