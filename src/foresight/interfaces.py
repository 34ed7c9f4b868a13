"""What a world offers: an `Environment` to the robot, the `GroundTruth` to who keeps score.

The two are separate objects. Whoever drives gets observations; only evaluation, tasks and pictures
hold the ground truth. `foresight.worlds.make` makes both by name.

Metres, radians, seconds; poses are (x m, y m, yaw rad) in the frame of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from foresight.geometry import Pose

WorldName = int | str
"""What `foresight.worlds.make` takes: the number of an apartment, or a name such as apartment/7."""

# ----- what the robot knows ---------------------------------------------------------------------


@dataclass(frozen=True)
class OdometryReading:
    """Pose (m, m, rad) in the odometry frame, which starts at the robot; twist (m/s, rad/s)."""

    x: float
    y: float
    yaw: float
    linear: float
    angular: float

    @property
    def pose(self) -> Pose:
        """x m, y m, yaw rad."""
        return self.x, self.y, self.yaw


@dataclass(eq=False)
class Observation:
    """What the robot's sensors say at one moment.

    Scan and image cost time, so each is measured when it is first asked for. That must be before
    the robot moves on: an environment refuses it afterwards (RuntimeError).

    Attributes:
        time_s: since the robot was last reset.
        odometry: with its errors.
        bumper: whether the robot touches something.
    """

    time_s: float
    odometry: OdometryReading
    bumper: bool
    scanner: InitVar[Callable[[], np.ndarray]]
    camera: InitVar[Callable[[], Callable[[], np.ndarray]]]

    def __post_init__(
        self,
        scanner: Callable[[], np.ndarray],
        camera: Callable[[], Callable[[], np.ndarray]],
    ) -> None:
        """`scanner` measures the scan. `camera` opens the shutter, what it returns develops."""
        self._scanner, self._camera = scanner, camera

    @cached_property
    def scan(self) -> np.ndarray:
        """Ranges (beams,) in m, counter-clockwise from straight ahead; inf beyond the range."""
        return self._scanner()

    @cached_property
    def image(self) -> np.ndarray:
        """What the camera sees: (height, width, 3) uint8 RGB."""
        return self.expose()()

    def expose(self) -> Callable[[], np.ndarray]:
        """Open the shutter now, in place of `image`; the result develops the picture later.

        Develop in the thread that exposed first; the robot may drive on meanwhile in another.
        """
        return self._camera()


class Environment(Protocol):
    """A robot in its world, as its own drivers know it.

    As in Gymnasium it is made by name, reset with a seed, and stepped with an action; a step lasts
    as long as the caller says, and there is no reward. A driver that only decides is handed
    observations, not the environment.
    """

    @property
    def hfov_deg(self) -> float:
        """Horizontal field of view of the camera, an ideal pinhole."""
        ...

    def reset(self, seed: int) -> Observation:
        """Put the robot down at rest, at a free place that the seed draws.

        Odometry and time start at zero there. The sensors' noise goes on as it was: the seed of the
        world draws it.

        Raises:
            ValueError: the world has no room for the robot.
        """
        ...

    def step(self, action: Sequence[float], duration_s: float) -> Observation:
        """Drive by an action, (m/s, rad/s), for so long; what is sensed then."""
        ...

    def observe(self) -> Observation:
        """What is sensed now. Each call measures anew, with noise of its own."""
        ...

    def close(self) -> None:
        """Free what the camera needs."""
        ...


# ----- what only scoring knows ------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """A map of square cells from above.

    Attributes:
        cells: (rows, columns), indexed [y, x].
        cell_m: side of a cell.
        origin: (x m, y m) of the outer corner of cell [0, 0].
    """

    cells: np.ndarray
    cell_m: float
    origin: tuple[float, float] = (0.0, 0.0)

    def index(self, x_m: Any, y_m: Any) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the cell that holds a point, or points; the nearest one if outside."""
        rows, columns = self.cells.shape
        row = np.floor((np.asarray(y_m) - self.origin[1]) / self.cell_m).astype(int)
        column = np.floor((np.asarray(x_m) - self.origin[0]) / self.cell_m).astype(int)
        return row.clip(0, rows - 1), column.clip(0, columns - 1)

    def at(self, x_m: Any, y_m: Any) -> Any:
        """What the map says at a point, or at points; at the nearest cell if outside."""
        return self.cells[self.index(x_m, y_m)]

    def holds(self, x_m: float, y_m: float) -> bool:
        """Whether a point lies on the map."""
        left, right, low, high = self.extent
        return left <= x_m < right and low <= y_m < high

    def point(self, row: float, column: float) -> tuple[float, float]:
        """(x m, y m) of a place in a cell; [0.5, 0.5] is the middle of cell [0, 0]."""
        return column * self.cell_m + self.origin[0], row * self.cell_m + self.origin[1]

    def filled(self, cells: np.ndarray) -> Grid:
        """The same map of other contents."""
        return replace(self, cells=cells)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, low and high edge, m."""
        rows, columns = self.cells.shape
        right, high = self.point(rows, columns)
        return self.origin[0], right, self.origin[1], high


@dataclass(frozen=True)
class Outline:
    """Something on a floor plan, to be drawn: corners (N, 2) m; of a doorway, its two ends."""

    kind: Literal["room", "doorway", "wall", "furniture"]
    corners: np.ndarray


class FloorPlan(Protocol):
    """A world from above: what stands where, and which room is which."""

    @property
    def name(self) -> WorldName:
        """As `foresight.worlds.make` takes it, in short: an apartment has its number."""
        ...

    @property
    def seed(self) -> int:
        """What tasks in this world are drawn from, beside a seed of their own."""
        ...

    @property
    def room_count(self) -> int: ...

    @property
    def doors(self) -> Sequence[tuple[float, float]]:
        """The middles of the doorways, (x m, y m)."""
        ...

    def room_of(self, x_m: float, y_m: float) -> int:
        """Index of the room that holds a point; raises ValueError outside."""
        ...

    def occupied(self, cell_m: float = ...) -> Grid:
        """True (bool) where something stands that a robot would touch."""
        ...

    def outlines(self) -> Sequence[Outline]:
        """What there is to draw, rooms first."""
        ...


class GroundTruth(Protocol):
    """What is really so in a world with one robot in it. For scoring only, never for a driver."""

    @property
    def floor_plan(self) -> FloorPlan: ...

    @property
    def pose(self) -> Pose:
        """The robot's true pose."""
        ...

    @property
    def velocity(self) -> tuple[float, float]:
        """The robot's true velocity, forward (m/s) and counter-clockwise (rad/s)."""
        ...

    def place(self, pose: Pose) -> None:
        """Put the robot down at rest; its odometry and time start at zero there."""
        ...

    def render_at(self, pose: Pose) -> np.ndarray:
        """What the robot's camera would see from a pose: (height, width, 3) uint8 RGB.

        The robot stays where it is.
        """
        ...


class World(NamedTuple):
    """The two sides of one world."""

    environment: Environment
    truth: GroundTruth
