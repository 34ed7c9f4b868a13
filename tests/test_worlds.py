"""Worlds are made by name, and whoever drives in one cannot reach what is really so in it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.control.safety import Plan
from foresight.evaluation import baselines, driving, explore_suite, explorer_driver, memory_tour
from foresight.evaluation.driving import Driver, drive
from foresight.interfaces import (
    FloorPlan,
    Grid,
    Observation,
    OdometryReading,
    Outline,
    World,
)
from foresight.planning import Status
from foresight.worlds import simulation, tasks
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.floor_plan import free_space, line_of_sight, path_lengths, shortest_path

SOURCE = Path(worlds.__file__).parents[1]
OFFSET = (-20.0, 5.0)


@pytest.fixture(scope="module")
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


@pytest.fixture(scope="module")
def world(profile: RobotProfile) -> Iterator[World]:
    made = worlds.make("apartment/3", profile)
    yield made
    made.environment.close()


# ----- names


@pytest.mark.parametrize("name", [3, "3", "apartment/3"])
def test_a_home_has_a_number_and_a_name(
    world: World, profile: RobotProfile, name: int | str
) -> None:
    assert worlds.plan_of(name).name == 3
    again = worlds.make(name, profile)
    for made in (world, again):
        made.truth.place((2.0, 2.0, 0.5))
    assert (again.truth.render_at((2.0, 2.0, 0.5)) > 0).any()
    np.testing.assert_array_equal(
        again.truth.floor_plan.occupied().cells, world.truth.floor_plan.occupied().cells
    )
    again.environment.close()


@pytest.mark.parametrize("name", ["garden", "apartment", "apartment/", "apartment/x", -1, ""])
def test_an_unknown_world_is_refused_with_a_list_of_what_there_is(
    profile: RobotProfile, name: int | str
) -> None:
    for make in (lambda: worlds.make(name, profile), lambda: worlds.plan_of(name)):
        with pytest.raises(ValueError, match="^world is .*; there is apartment/NUMBER") as refused:
            make()
        assert all(form in str(refused.value) for form in worlds.names())
        assert "\n" not in str(refused.value)


def test_an_option_names_worlds_by_numbers_ranges_and_names() -> None:
    assert worlds.parse("7") == [7]
    assert worlds.parse("3,5,8") == [3, 5, 8]
    assert worlds.parse("0-3,apartment/9") == [0, 1, 2, 3, 9]


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "1,,2", "-5", "1-", "9999999", "apartment/", "garden/3"]
)
def test_what_names_no_world_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="names no homes; give numbers such as 7, 3,5,8 or 0-99"):
        worlds.parse(text)


@pytest.mark.parametrize("text", ["3,3", "1-4,2", "5,apartment/5"])
def test_a_world_that_is_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names a home twice"):
        worlds.parse(text)


def test_a_floor_plan_is_there_without_a_simulator() -> None:
    script = (
        "import sys; sys.modules['mujoco'] = None\n"
        "from foresight import worlds; worlds.plan_of(0).occupied()"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_robot_is_put_down_where_the_seed_says(world: World, profile: RobotProfile) -> None:
    environment, truth = world
    free = free_space(truth.floor_plan.occupied(), profile.footprint_radius_m + 0.1)
    places = []
    for seed in (1, 1, 2, 3):
        seen = environment.reset(seed)
        assert seen.time_s == 0.0 and seen.odometry.pose == (0.0, 0.0, 0.0)
        places.append(truth.pose)
        assert free.at(*truth.pose[:2])
    assert places[0] == places[1] and len(set(places)) == 3


def test_a_robot_without_room_is_refused_in_a_sentence(profile: RobotProfile) -> None:
    wide = profile.model_copy(update={"footprint_radius_m": 1.9})
    with pytest.raises(ValueError, match="world 0 has no room for homebot"):
        worlds.make(0, wide)


# ----- the truth is out of reach of drivers


def reachable(root: object) -> Iterator[tuple[str, object]]:
    """Every object that public attributes, items and calls without arguments lead to."""
    known: set[int] = set()
    left: list[tuple[str, object]] = [("it", root)]
    alive = []
    while left:
        path, at = left.pop()
        if id(at) in known or isinstance(at, str | bytes | type) or inspect.ismodule(at):
            continue
        known.add(id(at))
        alive.append(at)  # so that no other object gets its id
        yield path, at
        if isinstance(at, np.ndarray | int | float):
            continue
        if isinstance(at, tuple | list | dict):
            items = at.items() if isinstance(at, dict) else enumerate(at)
            left += [(f"{path}[{key!r}]", item) for key, item in items]
            if not hasattr(at, "_fields"):  # a named tuple has attributes of its own
                continue
        if callable(at) and not takes_arguments(at):
            left.append((f"{path}()", at()))
        names = (name for name in dir(at) if not name.startswith("_"))
        left += [(f"{path}.{name}", getattr(at, name)) for name in names]


def takes_arguments(call: Any) -> bool:
    try:
        return bool(inspect.signature(call).parameters)
    except ValueError:  # of a builtin that does not tell
        return True


def told(value: object, secret: float) -> bool:
    """Whether an attribute holds a number of the true pose."""
    if not isinstance(value, int | float | np.ndarray):
        return False
    numbers = np.asarray(value, float).ravel()
    return bool((np.abs(numbers - secret) < 1e-6).any())


class Nosy:
    """A driver that keeps all that it is handed."""

    def __init__(self) -> None:
        self.status = Status.DRIVING
        self.handed: list[object] = []

    def begin(self, *handed: object) -> None:
        self.look_into(*handed)

    def plan(self, *handed: object) -> Plan:
        self.look_into(*handed)
        return Plan(float(handed[0]), 0.5, np.array([[0.2, 0.3]]))  # type: ignore[arg-type]

    def look_into(self, *handed: object) -> None:
        """At once: sensors cannot be measured later."""
        for one in handed:
            self.handed += [at for _, at in reachable(one)]


def test_nothing_that_a_driver_is_handed_leads_to_the_truth(
    world: World, profile: RobotProfile
) -> None:
    """Neither an object that knows it, nor a number of the true pose."""
    start = tasks.draw_poses(world.truth.floor_plan, profile, 1, 4)[0]
    driver = Nosy()
    done = drive(world, profile, tasks.Task(start, start, 0.0), driver, 0.6)
    assert done.driven_m > 0.0
    kinds = {type(at) for at in driver.handed}
    assert {Observation, OdometryReading} <= kinds, "else this test looked into nothing"
    mujoco = simulation.mujoco
    forbidden = {World, Apartment, mujoco.MjModel, mujoco.MjData, mujoco.Renderer, tasks.Task}
    forbidden |= {type(world.truth), type(world.environment)}
    assert not kinds & forbidden
    for x, y, yaw in done.path:
        for secret in (x, y, yaw):
            assert not any(told(value, secret) for value in driver.handed)


def test_the_search_for_the_truth_finds_it_where_it_is(world: World) -> None:
    """What the test before rests on."""
    found = dict((type(at), path) for path, at in reachable({"hidden": [world.truth]}))
    assert found[type(world.truth)] == "it['hidden'][0]"
    assert Apartment in found
    x = world.truth.pose[0]
    assert any(told(at, x) for _, at in reachable([world.truth]))


def test_environment_does_not_lead_to_the_truth_either(world: World) -> None:
    """A driver of its own loop, such as the collecting one, holds the environment."""
    world.truth.place((2.0, 2.0, 0.5))
    for name in (name for name in dir(world.environment) if not name.startswith("_")):
        value = getattr(world.environment, name)
        assert callable(value) or not told(value, 2.0), name
    kinds = {type(at) for _, at in reachable(world.environment.observe())}
    assert not kinds & {type(world.truth), Apartment, simulation.mujoco.MjData}


def test_types_promise_a_driver_observations_only() -> None:
    allowed = {float, Observation, Plan, type(None)}
    for method in (Driver.begin, Driver.plan):
        for hint in get_type_hints(method).values():
            parts = set(get_args(hint)) if isinstance(hint, UnionType) else {hint}
            assert parts <= allowed, f"{method.__name__}: {hint}"


def test_drivers_that_know_the_truth_say_so_in_their_constructor() -> None:
    """The oracle, the straight driver and the tour do; nobody else is told."""
    privileged, others = set(), set()
    for module in (baselines, driving, explore_suite, explorer_driver, memory_tour):
        for node in ast.parse(Path(module.__file__).read_text()).body:
            if not isinstance(node, ast.ClassDef) or node.name == "Driver":
                continue
            methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
            if {"begin", "plan"} <= methods.keys():
                takes = ast.unparse(methods["__init__"].args)
                (privileged if "GroundTruth" in takes else others).add(node.name)
    assert privileged == {"PathFollower", "Tour"}
    assert {"Agent", "Random", "Cloning", "ExplorerDriver", "CollectionDriver"} <= others


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("foresight.") for name in found if name.startswith("foresight.")}


def test_worlds_know_bodies_and_interfaces_only() -> None:
    for path in (SOURCE / "worlds").rglob("*.py"):
        rooms = {name.split(".")[0] for name in imports(path)}
        assert rooms <= {"worlds", "interfaces", "bodies", "geometry"}, path


def test_only_worlds_knows_what_kinds_of_worlds_there_are() -> None:
    """Who uses a world works with any: with its environment, its truth and its floor plan."""
    kinds = {folder.name for folder in (SOURCE / "worlds").iterdir() if folder.is_dir()}
    kinds -= {"__pycache__"}
    assert "apartments" in kinds
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "worlds" not in path.parents:
            used = {name.split(".")[1] for name in imports(path) if name.startswith("worlds.")}
            assert not used & kinds, path


# ----- floor plans of any world


@dataclass(frozen=True)
class Moved:
    """An apartment that lies elsewhere, as a world with an origin of its own does."""

    plan: Apartment
    name: str = "moved"

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def room_count(self) -> int:
        return self.plan.room_count

    @property
    def doors(self) -> list[tuple[float, float]]:
        return [(x + OFFSET[0], y + OFFSET[1]) for x, y in self.plan.doors]

    def room_of(self, x_m: float, y_m: float) -> int:
        return self.plan.room_of(x_m - OFFSET[0], y_m - OFFSET[1])

    def occupied(self, cell_m: float = 0.05) -> Grid:
        grid = self.plan.occupied(cell_m)
        return Grid(grid.cells, grid.cell_m, OFFSET)

    def outlines(self) -> list[Outline]:
        return [Outline(o.kind, o.corners + OFFSET) for o in self.plan.outlines()]


def moved(pose: tuple[float, ...]) -> tuple[float, ...]:
    return pose[0] + OFFSET[0], pose[1] + OFFSET[1], *pose[2:]


@pytest.mark.parametrize("suite", tasks.SUITES)
def test_tasks_are_drawn_on_any_floor_plan(profile: RobotProfile, suite: tasks.Suite) -> None:
    here, there = Apartment(1), Moved(Apartment(1))
    drawn = [tasks.sample_tasks(plan, profile, suite, 6, 2) for plan in (here, there)]
    for task, elsewhere in zip(*drawn, strict=True):
        assert elsewhere.start == pytest.approx(moved(task.start))
        assert elsewhere.goal == pytest.approx(moved(task.goal))
        assert elsewhere.path_m == pytest.approx(task.path_m)


def test_a_tour_and_names_are_drawn_on_any_floor_plan(profile: RobotProfile) -> None:
    here, there = Apartment(0), Moved(Apartment(0))
    start, goals = tasks.demo_task(here, profile, 1)
    assert tasks.demo_task(there, profile, 1)[1] == pytest.approx([moved(g) for g in goals])
    before = tasks.draw_elsewhere(here, profile, 0, start)
    assert tasks.draw_elsewhere(there, profile, 0, moved(start)) == pytest.approx(moved(before))
    namings = tasks.Naming(here, profile, start, 3), tasks.Naming(there, profile, moved(start), 3)
    wanted = [
        (namings[0].wants(pose), namings[1].wants(moved(pose)))
        for pose in tasks.draw_poses(here, profile, 60, 5)
    ]
    assert all(a == b for a, b in wanted) and 0 < sum(a for a, _ in wanted) < 60


def test_paths_are_found_on_any_floor_plan(profile: RobotProfile) -> None:
    here, there = Apartment(0), Moved(Apartment(0))
    task = tasks.sample_tasks(here, profile, "house", 1, 3)[0]
    paths = []
    for plan, start, goal in (
        (here, task.start, task.goal),
        (there, moved(task.start), moved(task.goal)),
    ):
        free = free_space(plan.occupied(), 0.25)
        paths.append(shortest_path(path_lengths(free, goal), start, goal))
        assert line_of_sight(plan.occupied(), start, goal)
        assert not line_of_sight(plan.occupied(), start, (start[0], start[1] + 4.0))
    np.testing.assert_allclose(paths[1], paths[0] + OFFSET)


def test_coverage_is_measured_on_any_floor_plan(profile: RobotProfile) -> None:
    turn = np.stack([np.full(60, 3.2), np.full(60, 3.2), np.linspace(0, 6, 60)], 1)
    home: FloorPlan = Apartment(3)
    there: FloorPlan = Moved(Apartment(3))
    here = explore_suite.measure(home, profile, turn)
    elsewhere = explore_suite.measure(there, profile, turn + [*OFFSET, 0.0])
    assert 0.0 < here.share(here.covered_s) < 1.0
    assert elsewhere.share(elsewhere.covered_s) == pytest.approx(
        here.share(here.covered_s), abs=1e-3
    )


def test_a_grid_says_where_its_cells_are() -> None:
    grid = Grid(np.arange(12).reshape(3, 4), 0.5, (-1.0, 10.0))
    assert grid.at(-0.9, 10.1) == 0 and grid.at(0.9, 11.4) == 11
    assert grid.at(-5.0, 99.0) == 8, "the nearest cell"
    assert grid.point(0.5, 0.5) == (-0.75, 10.25)
    assert grid.extent == (-1.0, 1.0, 10.0, 11.5)
    assert grid.holds(-1.0, 10.0) and not grid.holds(1.0, 10.0) and not grid.holds(0.0, 11.6)
    np.testing.assert_array_equal(grid.at([-0.9, 0.9], [10.1, 11.4]), [0, 11])


@pytest.mark.parametrize("drawn", ["legs", "exploration"])
def test_any_floor_plan_is_drawn(tmp_path: Path, drawn: str) -> None:
    """Two rooms and a wall show in the picture, wherever the world's origin is."""
    import cv2

    from foresight.evaluation import pictures

    plan, file = Moved(Apartment(0)), tmp_path / "new" / "plan.png"
    path = np.array([moved((1.0 + 0.1 * k, 1.0, 0.0)) for k in range(20)])
    start = (float(path[0][0]), float(path[0][1]), 0.0)
    if drawn == "legs":
        photo = np.full((60, 80, 3), 90, np.uint8)
        leg = pictures.DrawnLeg(moved((4.0, 4.0, 0.0)), photo, path, start, photo, "missed")
        pictures.draw_legs(file, plan, 0.17, start, [leg], "one drive", "a note")
    else:
        floor = free_space(plan.occupied(), 0.17)
        seconds = np.where(floor.cells, 5.0, np.inf)
        pictures.draw_exploration(file, plan, 0.17, path, floor, seconds)
    picture = cv2.imread(str(file)).astype(int)
    wall = [int(pictures._WALL[at : at + 2], 16) for at in (5, 3, 1)]
    assert (np.abs(picture - wall).max(-1) < 8).sum() > 1000
