"""Apartments drawn from a seed: rooms, doorways, furniture, textures. One seed is one home.

World frame: origin in a corner of the apartment, x and y along its outer walls, z up; metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from foresight.interfaces import Grid, Outline
from foresight.worlds.floor_plan import CELL_M, free_space

SIDE_M = 8.0
WALL_HEIGHT_M = 2.4
WALL_THICKNESS_M = 0.12
DOOR_WIDTH_M = 0.95
_PANEL_M = 2.2  # a wall longer than this is papered in several panels
_MIN_ROOM_M = 2.4
_DOOR_KEEPOUT_M = 0.85
_TEXTURE_PX = 128


@dataclass(frozen=True)
class Room:
    """An axis-aligned room, its floor between (x0, y0) and (x1, y1)."""

    x0: float
    y0: float
    x1: float
    y1: float

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies in the room."""
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1


@dataclass(frozen=True)
class Wall:
    """A straight piece of wall along x or y, from `start` to `end` at the cross coordinate `at`."""

    along_x: bool
    at: float
    start: float
    end: float


class Door(NamedTuple):
    """A doorway of DOOR_WIDTH_M, centred at (x, y)."""

    x: float
    y: float


@dataclass(frozen=True)
class Furniture:
    """A box (half sizes sx, sy, turned by yaw) or, with sy = 0, a cylinder of radius sx."""

    x: float
    y: float
    yaw: float
    sx: float
    sy: float
    height: float


class Apartment:
    """One home: a floor plan and what MuJoCo shows of it.

    Attributes:
        seed: what it was drawn from.
        rooms, walls, doors, furniture: its parts, in world coordinates.
    """

    def __init__(self, seed: int, looks: int | None = None) -> None:
        """`looks` draws other textures and lamps on the same floor plan; None: the home's own."""
        if seed < 0:
            raise ValueError(f"apartment seed is {seed}; give a number from 0 on")
        self.seed = seed
        rng = np.random.default_rng([2024, seed])
        self.rooms, self.walls, self.doors = _draw_rooms(rng)
        self.furniture = _draw_furniture(rng, self)
        own_looks = int(rng.integers(2**31))
        self._texture_seed = own_looks if looks is None else looks

    @property
    def name(self) -> int:
        """Its number."""
        return self.seed

    @property
    def room_count(self) -> int:
        """How many rooms there are."""
        return len(self.rooms)

    def room_of(self, x_m: float, y_m: float) -> int:
        """Index of the room that holds a point; raises ValueError outside."""
        for index, room in enumerate(self.rooms):
            if room.contains(x_m, y_m):
                return index
        raise ValueError(f"({x_m:.2f} m, {y_m:.2f} m) lies outside of apartment {self.seed}")

    def occupied(self, cell_m: float = CELL_M) -> Grid:
        """True (bool) where walls and furniture stand."""
        n = round(SIDE_M / cell_m)
        grid = np.zeros((n, n), np.uint8)
        scale = 1.0 / cell_m
        for wall in self.walls:
            corners = _rectangle(*_wall_rectangle(wall))
            cv2.fillPoly(grid, [np.round(corners * scale - 0.5).astype(np.int32)], 1)
        for piece in self.furniture:
            centre = np.array([piece.x, piece.y])
            if piece.sy == 0:
                middle = tuple(np.round(centre * scale - 0.5).astype(int).tolist())
                cv2.circle(grid, middle, round(piece.sx * scale), 1, -1)
            else:
                polygon = np.round(_box_corners(piece) * scale - 0.5).astype(np.int32)
                cv2.fillPoly(grid, [polygon], 1)
        return Grid(grid.astype(bool), cell_m)

    def outlines(self) -> list[Outline]:
        """What there is to draw, rooms first."""
        rooms = [_rectangle(r.x0, r.y0, r.x1, r.y1) for r in self.rooms]
        half = WALL_THICKNESS_M / 2
        ends = (0.0, SIDE_M)
        walls = [_rectangle(*_wall_rectangle(wall)) for wall in self.walls] + [
            _rectangle(x - half, y - half, x + half, y + half) for x in ends for y in ends
        ]
        return [
            *(Outline("room", corners) for corners in rooms),
            *(Outline("doorway", self._threshold(door)) for door in self.doors),
            *(Outline("furniture", _outline(piece)) for piece in self.furniture),
            *(Outline("wall", corners) for corners in walls),
        ]

    def _threshold(self, door: Door) -> np.ndarray:
        along_x = any(wall.along_x and abs(wall.at - door.y) < 1e-6 for wall in self.walls)
        half = np.array([1.0, 0.0] if along_x else [0.0, 1.0]) * DOOR_WIDTH_M / 2
        return np.stack([door - half, door + half])

    def to_mjcf(self) -> tuple[str, str, dict[str, bytes]]:
        """The home for MuJoCo: (asset XML, worldbody XML, texture files by name)."""
        scene = _Scene(np.random.default_rng([7, self._texture_seed]))
        for wall in self.walls:
            scene.add_wall(wall)
        for room in self.rooms:
            scene.add_room(room)
        for piece in self.furniture:
            scene.add_furniture(piece)
        return "\n".join(scene.assets), "\n".join(scene.bodies), scene.files


def _wall_rectangle(wall: Wall) -> tuple[float, float, float, float]:
    half = WALL_THICKNESS_M / 2
    if wall.along_x:
        return wall.start, wall.at - half, wall.end, wall.at + half
    return wall.at - half, wall.start, wall.at + half, wall.end


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _outline(piece: Furniture) -> np.ndarray:
    if piece.sy:
        return _box_corners(piece)
    angles = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    return piece.sx * np.stack([np.cos(angles), np.sin(angles)], 1) + [piece.x, piece.y]


def _box_corners(piece: Furniture) -> np.ndarray:
    c, s = np.cos(piece.yaw), np.sin(piece.yaw)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [piece.sx, piece.sy]
    return corners @ np.array([[c, s], [-s, c]]) + [piece.x, piece.y]


# ----- rooms ------------------------------------------------------------------------------------


def _draw_rooms(rng: np.random.Generator) -> tuple[list[Room], list[Wall], list[Door]]:
    """Split the square 2 to 4 times; every dividing wall has a doorway, so all rooms connect."""
    rooms = [Room(0.0, 0.0, SIDE_M, SIDE_M)]
    walls = [Wall(True, 0.0, 0, SIDE_M), Wall(True, SIDE_M, 0, SIDE_M)]
    walls += [Wall(False, 0.0, 0, SIDE_M), Wall(False, SIDE_M, 0, SIDE_M)]
    doors: list[Door] = []
    wanted = int(rng.integers(3, 6))
    for _ in range(60):
        if len(rooms) == wanted:
            break
        index = int(np.argmax([(r.x1 - r.x0) * (r.y1 - r.y0) for r in rooms]))
        split = _split(rng, rooms[index], doors)
        if split is None:
            continue
        halves, pieces, door = split
        rooms[index : index + 1] = halves
        walls += pieces
        doors.append(door)
    return rooms, walls, doors


def _split(
    rng: np.random.Generator, room: Room, doors: list[Door]
) -> tuple[list[Room], list[Wall], Door] | None:
    """Cut a room in two across its longer side; None if the cut would block a doorway."""
    width, depth = room.x1 - room.x0, room.y1 - room.y0
    along_x = depth > width  # the new wall runs along x
    low, high = (room.y0, room.y1) if along_x else (room.x0, room.x1)
    if high - low < 2 * _MIN_ROOM_M:
        return None
    at = float(rng.uniform(low + _MIN_ROOM_M, high - _MIN_ROOM_M))
    start, end = (room.x0, room.x1) if along_x else (room.y0, room.y1)
    centre = float(rng.uniform(start + 0.9, end - 0.9))
    for door in doors:
        cross, on = (door.y, door.x) if along_x else (door.x, door.y)
        if abs(cross - at) < DOOR_WIDTH_M / 2 + 0.4 and start - 0.1 <= on <= end + 0.1:
            return None
    half = DOOR_WIDTH_M / 2
    pieces = [Wall(along_x, at, start, centre - half), Wall(along_x, at, centre + half, end)]
    if along_x:
        halves = [Room(room.x0, room.y0, room.x1, at), Room(room.x0, at, room.x1, room.y1)]
        return halves, pieces, Door(centre, at)
    halves = [Room(room.x0, room.y0, at, room.y1), Room(at, room.y0, room.x1, room.y1)]
    return halves, pieces, Door(at, centre)


# ----- furniture --------------------------------------------------------------------------------


def _draw_furniture(rng: np.random.Generator, home: Apartment) -> list[Furniture]:
    """About a dozen pieces, mostly along walls; every room stays reachable through every door."""
    home.furniture = []
    per_room = max(2, round(12 / len(home.rooms)))
    for room in home.rooms:
        placed = 0
        for _ in range(40):
            if placed == per_room:
                break
            piece = _draw_piece(rng, room)
            home.furniture.append(piece)
            if _fits(piece, home):
                placed += 1
            else:
                home.furniture.pop()
    return home.furniture


def _draw_piece(rng: np.random.Generator, room: Room) -> Furniture:
    height = float(rng.uniform(0.35, 1.5))
    if rng.random() < 0.25:
        radius = float(rng.uniform(0.14, 0.28))
        x = float(rng.uniform(room.x0 + 0.8, room.x1 - 0.8))
        y = float(rng.uniform(room.y0 + 0.8, room.y1 - 0.8))
        return Furniture(x, y, 0.0, radius, 0.0, height)
    half_length, half_depth = float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.15, 0.32))
    side = int(rng.integers(4))
    gap = WALL_THICKNESS_M / 2 + half_depth + (0.0 if rng.random() < 0.75 else 0.9)
    if side < 2:
        x = float(rng.uniform(room.x0 + half_length + 0.1, room.x1 - half_length - 0.1))
        y = room.y0 + gap if side == 0 else room.y1 - gap
        return Furniture(x, y, 0.0, half_length, half_depth, height)
    y = float(rng.uniform(room.y0 + half_length + 0.1, room.y1 - half_length - 0.1))
    x = room.x0 + gap if side == 2 else room.x1 - gap
    return Furniture(x, y, np.pi / 2, half_length, half_depth, height)


def _fits(piece: Furniture, home: Apartment) -> bool:
    reach = float(np.hypot(piece.sx, piece.sy))
    for door in home.doors:
        if np.hypot(piece.x - door.x, piece.y - door.y) < reach + _DOOR_KEEPOUT_M:
            return False
    for other in home.furniture[:-1]:
        apart = np.hypot(piece.x - other.x, piece.y - other.y)
        if apart < reach + np.hypot(other.sx, other.sy) + 0.05:
            return False
    free = free_space(home.occupied(), 0.25)
    count, labels = cv2.connectedComponents(free.cells.astype(np.uint8))
    sizes = np.bincount(labels.ravel(), minlength=count)[1:]
    return bool(sizes.max() > 0.985 * sizes.sum())


# ----- looks ------------------------------------------------------------------------------------


class _Scene:
    """Collects MJCF: every panel of wall, floor and piece of furniture in a texture of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.assets: list[str] = []
        self.bodies: list[str] = []
        self.files: dict[str, bytes] = {}

    def add_wall(self, wall: Wall) -> None:
        """Two skins back to back, so that each side of a wall looks different."""
        panels = max(1, round((wall.end - wall.start) / _PANEL_M))
        edges = np.linspace(wall.start, wall.end, panels + 1)
        quarter = WALL_THICKNESS_M / 4
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            for side in (-1, 1):
                material = self._material("2d", (end - start) / WALL_HEIGHT_M)
                middle, cross = (start + end) / 2, wall.at + side * quarter
                x, y = (middle, cross) if wall.along_x else (cross, middle)
                # The geom's z axis is the wall's normal: 2d textures lie in the geom's x-y plane.
                axes = "1 0 0 0 0 1" if wall.along_x else "0 1 0 0 0 1"
                self.bodies.append(
                    f'<geom type="box" pos="{x:.4f} {y:.4f} {WALL_HEIGHT_M / 2}" xyaxes="{axes}" '
                    f'size="{(end - start) / 2:.4f} {WALL_HEIGHT_M / 2} {quarter}" '
                    f'material="{material}"/>'
                )

    def add_room(self, room: Room) -> None:
        """A floor covering (no collision: the one floor plane carries the robot) and a lamp."""
        width, depth = room.x1 - room.x0, room.y1 - room.y0
        x, y = (room.x0 + room.x1) / 2, (room.y0 + room.y1) / 2
        floor = self._material("2d", width / depth, muted=True)
        for z, material in ((0.0005, floor), (WALL_HEIGHT_M, "ceiling")):
            self.bodies.append(
                f'<geom type="box" pos="{x:.4f} {y:.4f} {z}" contype="0" conaffinity="0" '
                f'group="1" size="{width / 2:.4f} {depth / 2:.4f} 0.0005" material="{material}"/>'
            )
        brightness = self._rng.uniform(0.45, 0.7)
        tint = " ".join(f"{brightness * c:.3f}" for c in self._rng.uniform(0.85, 1.0, 3))
        self.bodies.append(
            f'<light pos="{x:.3f} {y:.3f} 2.2" dir="0 0 -1" cutoff="90" exponent="1" '
            f'attenuation="1 0 0.06" castshadow="false" diffuse="{tint}" specular="0 0 0"/>'
        )

    def add_furniture(self, piece: Furniture) -> None:
        """A solid from the floor up."""
        material = self._material("cube", 1.0)
        half = piece.height / 2
        kind = "box" if piece.sy else "cylinder"
        size = f"{piece.sx:.4f} {piece.sy:.4f} {half:.4f}" if piece.sy else f"{piece.sx} {half}"
        self.bodies.append(
            f'<geom type="{kind}" pos="{piece.x:.4f} {piece.y:.4f} {half:.4f}" '
            f'euler="0 0 {np.degrees(piece.yaw):.3f}" size="{size}" material="{material}"/>'
        )

    def _material(self, kind: str, aspect: float, muted: bool = False) -> str:
        name = f"look{len(self.files)}"
        picture = _draw_pattern(self._rng, aspect, muted)
        self.files[f"{name}.png"] = cv2.imencode(".png", picture)[1].tobytes()
        self.assets.append(f'<texture name="{name}" type="{kind}" file="{name}.png"/>')
        self.assets.append(
            f'<material name="{name}" texture="{name}" specular="0" shininess="0" '
            f'texuniform="false"/>'
        )
        return name


def _draw_pattern(rng: np.random.Generator, aspect: float, muted: bool) -> np.ndarray:
    """A (128, 128, 3) uint8 picture: stripes, tiles, clouds or wallpaper with framed pictures."""
    n = _TEXTURE_PX
    hue = rng.uniform(0, 180, 3)
    saturation = rng.uniform(20, 70, 3) if muted else rng.uniform(50, 200, 3)
    value = rng.uniform(90, 170, 3) if muted else rng.uniform(90, 240, 3)
    hsv = np.stack([hue, saturation, value], 1).astype(np.uint8)[None]
    a, b, c = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    x, y = np.meshgrid(np.arange(n) / n, np.arange(n) / n)
    kind = int(rng.integers(4))
    period = int(rng.integers(3, 8))
    if kind == 0:
        angle = rng.choice([0.0, np.pi / 2, np.pi / 4])
        mask = np.sin(2 * np.pi * period * (x * np.cos(angle) + y * np.sin(angle))) > 0
    elif kind == 1:
        mask = (np.floor(x * period * max(aspect, 0.3)) + np.floor(y * period)) % 2 > 0
    else:
        coarse = rng.standard_normal((period + 2, period + 2)).astype(np.float32)
        mask = cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC) > 0.2
    picture = np.where(mask[..., None], a, b)
    if kind == 3 or rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            w, h = (rng.uniform(0.12, 0.4, 2) * n).astype(int)
            left, top = int(rng.integers(0, n - w)), int(rng.integers(0, n - h))
            picture[top : top + h, left : left + w] = 255 - a
            picture[top + 3 : top + h - 3, left + 3 : left + w - 3] = c
    grain = rng.normal(0, 6, (n, n, 1))
    shade = 1.0 - 0.15 * np.abs(y - 0.5)[..., None]
    return np.clip(picture * shade + grain, 0, 255).astype(np.uint8)
