"""Sends the robot to three places, watches, and reports.

To what three photographs show, or, in two runs of the stack, to places that were named while the
robot explored. The second run has nothing of the first but memory's file.
"""

from __future__ import annotations

import math
import os
import sys
from array import array
from pathlib import Path
from typing import Any, ClassVar

import rclpy
from rclpy.action import ActionClient
from rclpy.logging import get_logger
from rclpy.task import Future
from rich.console import Console
from sensor_msgs.msg import Image

from foresight.bodies.profile import RobotProfile
from foresight.evaluation import pictures, report
from foresight.evaluation.report import DemoLog, Leg
from foresight.worlds import tasks
from foresight.worlds.apartments.apartment import Apartment
from foresight.worlds.apartments.simulator import Simulator
from foresight_demo.demo_node import (
    FRAMES_PER_S,
    DemoNode,
    Parameters,
    SentGoal,
    StackFailure,
)
from foresight_interfaces.action import Explore, NavigateToImage, NavigateToPlace
from foresight_interfaces.msg import Place
from foresight_interfaces.srv import Remember
from foresight_node.messages import LATCHED
from foresight_node.spin import Interrupted, init

CODES = {
    getattr(NavigateToImage.Result, name): name
    for name in (
        "REACHED",
        "TIMED_OUT",
        "BLOCKED",
        "CANCELLED",
        "PREEMPTED",
        "STALE_SENSORS",
        "BAD_GOAL",
        "INTERNAL",
    )
}
NAMES = ("kitchen", "bedroom", "study", "bathroom", "hall")
CALM = (0.35, 0.35)
"""A name is given while the robot is no faster (m/s, rad/s), for memory's last picture is up to a
quarter of a second old."""
TABLE_COLUMNS = 80


class Visits:
    """Sends the robot to one goal after the other.

    Attributes:
        log: with a leg for each goal.
    """

    ACTION: ClassVar[Any]
    TOPIC: ClassVar[str]
    OFFERS: ClassVar[str]

    def __init__(self, node: DemoNode) -> None:
        self.node, self.log = node, self.draw(node.values)
        node.listen(self.log)
        self._action = ActionClient(node, self.ACTION, self.TOPIC)

    # --- for subclasses to override

    def draw(self, values: Parameters) -> DemoLog:
        """Whereto.

        Raises:
            ValueError: the world, the profile or what was explored does not allow it.
        """
        raise NotImplementedError

    def goal(self, leg: Leg) -> Any:
        """As the action takes it."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the stack can take a goal."""
        return bool(self._action.server_is_ready())

    # --- what is shared

    def run(self) -> bool:
        """Visit the goals; whether a report shall follow.

        Raises:
            StackFailure: the stack did not start, or it stopped.
            Interrupted: a signal came.
        """
        self.node.await_stack(self.ready, self.OFFERS)
        self.log.start = self.log.pose
        for index in range(len(self.log.legs)):
            self._visit(index)
            self.node.say(self._verdict(index))
        return True

    def _visit(self, index: int) -> None:
        log, limit_s = self.log, self.node.values.goal_timeout_s
        name = f"goal {index + 1}"
        log.begin(index)
        handle = self.node.send(self._action, self.goal(log.legs[index]), name)
        try:
            result = self.node.pursue(handle, SentGoal(name, limit_s, lambda: self._words(index)))
        except StackFailure as failure:
            log.finish("LOST", str(failure), 0.0)
            log.end()
            raise
        code = CODES.get(result.code, str(result.code))
        log.finish(code, result.message, result.distance_travelled_m)
        self.node.rest()
        log.end()

    def _called(self, index: int) -> str:
        name = self.log.legs[index].name
        return f"goal {index + 1}/{len(self.log.legs)}" + (f" {name}" if name else "")

    def _words(self, index: int) -> str:
        elapsed = (self.log.now_ns - self.log.legs[index].begin_ns) * 1e-9
        text = f"{self._called(index)}   {elapsed:4.0f} s"
        told = self.node.feedback
        if told is not None:
            text += f"   {told.distance_travelled_m:4.1f} m driven"
            if math.isfinite(told.energy):  # there is none before the first plan
                text += f"   energy {told.energy:6.3f}"
            if told.estimated_s_left >= 0:
                text += f"   about {told.estimated_s_left:.0f} s to go"
        return text

    def _verdict(self, index: int) -> str:
        leg = self.log.legs[index]
        distance, heading = tasks.pose_error(leg.final_pose or leg.begin_pose, leg.goal)
        word = "reached" if leg.reached else "missed"
        seconds = (leg.end_ns - leg.begin_ns) * 1e-9
        text = f"{self._called(index)}   {word} after {seconds:.0f} s: "
        text += f"{distance:.2f} m and {heading:.0f} degrees off"
        return text if leg.code == "REACHED" else f"{text} ({leg.message})"


class Photographs(Visits):
    """To what photographs show that a camera took which is not the robot's."""

    ACTION, TOPIC = NavigateToImage, "navigate_to_image"
    OFFERS = TOPIC

    def draw(self, values: Parameters) -> DemoLog:
        profile = RobotProfile.load(values.robot)
        apartment = Apartment(values.world_seed)
        start, goals = tasks.demo_task(apartment, profile, values.tour_seed)
        photographer = Simulator(apartment, profile, seed=values.tour_seed + 1)
        photographed = [(goal, photographer.render_at(goal)) for goal in goals]
        photographer.close()
        return DemoLog(apartment, profile, values.tour_seed, start, photographed)

    def goal(self, leg: Leg) -> NavigateToImage.Goal:
        height, width = leg.photo.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = array("B", leg.photo.tobytes())
        return NavigateToImage.Goal(image=message, timeout_s=self.node.values.goal_timeout_s)


class NamedPlaces(Visits):
    """By name to the places that were named in an earlier run of the stack."""

    ACTION, TOPIC = NavigateToPlace, "navigate_to_place"
    OFFERS = "navigate_to_place and says on place where the robot is"

    def __init__(self, node: DemoNode) -> None:
        super().__init__(node)
        self._located = False
        node.create_subscription(Place, "current_place", self._on_place, LATCHED)

    def draw(self, values: Parameters) -> DemoLog:
        exploration, legs = report.load_exploration(Path(values.results))
        profile = RobotProfile.load(values.robot)
        rest = tuple(map(float, exploration.path[-1]))
        log = DemoLog(Apartment(values.world_seed), profile, values.tour_seed, rest, ())
        log.exploration, log.legs = exploration, legs
        return log

    def goal(self, leg: Leg) -> NavigateToPlace.Goal:
        return NavigateToPlace.Goal(name=leg.name, timeout_s=self.node.values.goal_timeout_s)

    def ready(self) -> bool:
        return super().ready() and self._located

    def _on_place(self, _place: Place) -> None:
        self._located = True


class Exploring:
    """Has the robot explore, and names what it comes by; nobody tells the robot where it is.

    Attributes:
        log: gets a leg for each named place.
    """

    def __init__(self, node: DemoNode) -> None:
        values, self.node = node.values, node
        profile = RobotProfile.load(values.robot)
        apartment = Apartment(values.world_seed)
        start, _ = tasks.demo_task(apartment, profile, values.tour_seed)
        self.log = DemoLog(apartment, profile, values.tour_seed, start, ())
        self._naming = tasks.Naming(apartment, profile, start, values.places)
        node.listen(self.log)
        self._action = ActionClient(node, Explore, "explore")
        self._remember = node.create_client(Remember, "remember")
        self._asked: Future | None = None

    def run(self) -> bool:
        """Explore; whether a report shall follow: no, if the places can be visited now.

        Raises:
            StackFailure: the stack failed, or not all names were given.
            Interrupted: a signal came.
        """
        node, values = self.node, self.node.values
        node.await_stack(
            lambda: self._action.server_is_ready() and self._remember.service_is_ready(),
            "explore and remember",
        )
        self.log.begin_exploration()
        goal = Explore.Goal(time_limit_s=values.explore_limit_s)
        handle = node.send(self._action, goal, "exploring")
        self._begun_ns = self.log.now_ns
        pursuit = SentGoal("exploring", values.explore_limit_s, self._words, self._name)
        result = node.pursue(handle, pursuit)
        node.rest()
        code = CODES.get(result.code, str(result.code)) if result.code else "COMPLETED"
        self.log.finish_exploration(code, result.message, result.distance_travelled_m)
        node.say(f"explored in {self._elapsed_s / 60:.1f} min: {result.message}")
        if not self._naming.complete:
            raise StackFailure(
                f"{len(self.log.legs)} of {values.places} places were named when exploring ended "
                f"({result.message})"
            )
        report.save_exploration(self.log, Path(values.results))
        return False

    @property
    def _elapsed_s(self) -> float:
        return (self.log.now_ns - self._begun_ns) * 1e-9

    def _name(self) -> None:
        """Name where the robot is, if that is worth it."""
        pending = self._asked is not None
        calm = all(abs(now) <= most for now, most in zip(self.node.speed, CALM, strict=True))
        if pending or not calm or not self._naming.wants(self.log.pose):
            return
        name = NAMES[len(self.log.legs)]
        self._asked = self._remember.call_async(Remember.Request(name=name))
        self._asked.add_done_callback(lambda answer: self._on_named(name, answer))

    def _on_named(self, name: str, answer: Future) -> None:
        self._asked = None
        response = answer.result()
        if not response.success:
            self.node.get_logger().warning(f"{name} was not remembered: {response.message}")
            return
        pose = self.log.pose
        self._naming.given.append(pose)
        self.log.legs.append(Leg(pose, report.decode_frame(self.log.frames[-1]), name))
        self.node.say(f"here is the {name} (place {response.node} of memory)")

    def _words(self) -> str:
        text = f"exploring {self._elapsed_s:4.0f} s"
        if self.node.feedback is not None:
            text += f"   {self.node.feedback.distance_travelled_m:5.1f} m driven"
        text += f"   {self.node.remembered} places remembered"
        return f"{text}, {len(self.log.legs)}/{self.node.values.places} named"


PARTS = {"photographs": Photographs, "explore": Exploring, "visit": NamedPlaces}


def _publish_results(log: DemoLog, folder: Path) -> dict[str, Any]:
    summary = log.report()
    report.save(summary, folder)
    if any(frame.goal >= 0 for frame in log.frames):
        pictures.draw_trajectory(log, folder / "trajectory.png")
        pictures.write_video(log, folder / "demo.mp4", FRAMES_PER_S)
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console() if known else Console(width=TABLE_COLUMNS)
    console.print(report.table(summary))
    return summary


def main() -> int:
    """Run a part of the demonstration; 0 when it succeeded, else 1."""
    init()
    try:
        node = DemoNode()
        part = PARTS[node.values.part](node)
    except (ValueError, OSError) as error:
        get_logger("demo_client").fatal(str(error))
        return 1
    try:
        over = part.run()
    except StackFailure as failure:
        over, part.log.failure = True, str(failure)
        print(f"the demonstration failed: {failure}", flush=True)
    except Interrupted:
        return 1
    succeeded = not over or _tell(part.log, Path(node.values.results))
    node.destroy_node()
    rclpy.try_shutdown()
    return 0 if succeeded else 1


def _tell(log: DemoLog, folder: Path) -> bool:
    """Publish the results; whether all goals were reached."""
    summary = _publish_results(log, folder)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", flush=True)
    return bool(summary["all_reached"])
