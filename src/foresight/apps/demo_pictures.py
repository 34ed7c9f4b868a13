"""Picture and video of a demonstration: where the robot drove, what it was shown, what it saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from foresight.apps.demo_report import DemoLog, Frame, Leg, decode_frame
from foresight.evaluation.pictures import (
    COLOURS,
    INK,
    MARGIN_M,
    DrawnLeg,
    draw_legs,
    floor_plan_pixels,
)
from foresight.geometry import Pose
from foresight.worlds.tasks import REACHED_M, pose_error

VIDEO_SPEED = 2
"""How much faster than real time the video runs, at the rate that frames were logged."""
_PANEL_PX, _GAP_PX, _HEAD_PX, _FOOT_PX = 360, 16, 52, 74
_BACKDROP, _PALE, _BRIGHT = (20, 23, 28), (150, 158, 170), (236, 239, 244)
HOLD_FRAMES = 12
"""The end of a leg stands still for this long."""
_SHIFT = 4  # bits of a fraction in OpenCV's fixed point


def draw_trajectory(log: DemoLog, file: Path) -> None:
    """The floor plan with path, start and goals, beside what the robot was shown and saw (PNG)."""
    legs = [
        DrawnLeg(
            leg.goal,
            leg.photo,
            np.array([pose for _, pose, at in log.path if at == index]),
            leg.final_pose,
            leg.final_view,
            _verdict(leg),
            leg.name,
        )
        for index, leg in enumerate(log.legs)
    ]
    draw_legs(
        file,
        log.plan,
        log.profile.footprint_radius_m,
        log.path[0][1] if log.path else log.start,
        legs,
        f"{sum(leg.reached for leg in log.legs)} of {len(legs)} places found",
        _explained(log),
        None if log.exploration is None else log.exploration.path,
    )


def _explained(log: DemoLog) -> str:
    text = f"World {log.plan.name}, tour {log.seed}. "
    before = log.exploration
    if before is None:
        return text + "The robot was given the photographs only; it has no floor plan."
    return text + (
        f"Grey: {before.seconds / 60:.1f} min of exploring, naming places; then a restart."
    )


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
        self._map, self._scale = floor_plan_pixels(log.plan, _PANEL_PX)
        left, _, low, _ = log.plan.occupied().extent
        self._corner = left - MARGIN_M, low - MARGIN_M
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
        note = f"shown at {VIDEO_SPEED}x speed; world {self._log.plan.name}, "
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

    def _pixel(self, pose: Pose) -> tuple[int, int]:
        """In fixed point of _SHIFT bits, as OpenCV takes it."""
        one = 1 << _SHIFT
        x = (pose[0] - self._corner[0]) * self._scale
        y = _PANEL_PX - (pose[1] - self._corner[1]) * self._scale
        return round((x - 0.5) * one), round((y - 0.5) * one)

    def _whole_pixel(self, pose: Pose) -> tuple[int, int]:
        x, y = self._pixel(pose)
        return x >> _SHIFT, y >> _SHIFT


def _ahead(pose: Pose, length_m: float) -> Pose:
    x, y, yaw = pose
    return x + length_m * math.cos(yaw), y + length_m * math.sin(yaw), yaw


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
