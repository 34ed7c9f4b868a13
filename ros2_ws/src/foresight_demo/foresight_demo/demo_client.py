"""The demonstration: sends the robot to three places, measures, and reports.

The places are what three photographs show. Or, in two runs of the stack, they are named while the
robot explores, and visited by name after a restart from which only memory's file is left.
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

from foresight import worlds
from foresight.apps import demo_pictures, demo_report
from foresight.apps.demo_report import DemoLog, Leg
from foresight.bodies.profile import RobotProfile
from foresight.worlds import tasks
from foresight_demo.stack_client import (
    FRAMES_PER_S,
    Parameters,
    SentGoal,
    StackClient,
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
NAMING_SPEED = (0.35, 0.35)
"""A place is named while the robot is no faster (m/s, rad/s): memory's latest picture is up to a
quarter of a second old."""
TABLE_COLUMNS = 80


class Tour:
    """Sends the robot to one goal after the other.

    Attributes:
        log: with a leg for each goal.
    """

    ACTION: ClassVar[Any]
    TOPIC: ClassVar[str]
    OFFERS: ClassVar[str]

    def __init__(self, client: StackClient) -> None:
        self.client, self.log = client, self.new_log(client.values)
        client.record(self.log)
        self._action = ActionClient(client, self.ACTION, self.TOPIC)

    # --- for subclasses to override

    def new_log(self, values: Parameters) -> DemoLog:
        """A log whose legs are the goals.

        Raises:
            ValueError: world, robot profile or results folder do not allow a tour.
        """
        raise NotImplementedError

    def goal(self, leg: Leg) -> Any:
        """The goal of a leg as the action takes it."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the stack can take a goal."""
        return bool(self._action.server_is_ready())

    # --- what is shared

    def run(self) -> bool:
        """Visit the goals; whether there is something to report.

        Raises:
            StackFailure: the stack did not start, or it stopped.
            Interrupted: a signal came.
        """
        self.client.await_stack(self.ready, self.OFFERS)
        self.log.start = self.log.pose
        for index in range(len(self.log.legs)):
            self._visit(index)
            self.client.say(self._verdict(index))
        return True

    def _visit(self, index: int) -> None:
        log, limit_s = self.log, self.client.values.goal_timeout_s
        name = f"goal {index + 1}"
        log.begin(index)
        handle = self.client.send(self._action, self.goal(log.legs[index]), name)
        sent = SentGoal(name, limit_s, lambda: self._progress(index))
        try:
            result = self.client.await_result(handle, sent)
        except StackFailure as failure:
            log.finish("LOST", str(failure), 0.0)
            log.end()
            raise
        code = CODES.get(result.code, str(result.code))
        log.finish(code, result.message, result.distance_travelled_m)
        self.client.await_rest()
        log.end()

    def _label(self, index: int) -> str:
        name = self.log.legs[index].name
        return f"goal {index + 1}/{len(self.log.legs)}" + (f" {name}" if name else "")

    def _progress(self, index: int) -> str:
        elapsed = (self.log.now_ns - self.log.legs[index].begin_ns) * 1e-9
        text = f"{self._label(index)}   {elapsed:4.0f} s"
        feedback = self.client.feedback
        if feedback is not None:
            text += f"   {feedback.distance_travelled_m:4.1f} m driven"
            if math.isfinite(feedback.energy):  # there is none before the first plan
                text += f"   energy {feedback.energy:6.3f}"
            if feedback.estimated_s_left >= 0:
                text += f"   about {feedback.estimated_s_left:.0f} s to go"
        return text

    def _verdict(self, index: int) -> str:
        leg = self.log.legs[index]
        distance, heading = tasks.pose_error(leg.final_pose or leg.begin_pose, leg.goal)
        word = "reached" if leg.reached else "missed"
        seconds = (leg.end_ns - leg.begin_ns) * 1e-9
        text = f"{self._label(index)}   {word} after {seconds:.0f} s: "
        text += f"{distance:.2f} m and {heading:.0f} degrees off"
        return text if leg.code == "REACHED" else f"{text} ({leg.message})"


class PhotographTour(Tour):
    """To what photographs show. They were taken by another camera than the robot's."""

    ACTION, TOPIC = NavigateToImage, "navigate_to_image"
    OFFERS = TOPIC

    def new_log(self, values: Parameters) -> DemoLog:
        profile = RobotProfile.load(values.robot)
        photographer, truth = worlds.make(values.world_seed, profile, seed=values.tour_seed + 1)
        start, goals = tasks.demo_task(truth.floor_plan, profile, values.tour_seed)
        photographed = [(goal, truth.render_at(goal)) for goal in goals]
        photographer.close()
        return DemoLog(truth.floor_plan, profile, values.tour_seed, start, photographed)

    def goal(self, leg: Leg) -> NavigateToImage.Goal:
        height, width = leg.photo.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = array("B", leg.photo.tobytes())
        return NavigateToImage.Goal(image=message, timeout_s=self.client.values.goal_timeout_s)


class NamedPlaceTour(Tour):
    """By name to the places that were named in an earlier run of the stack."""

    ACTION, TOPIC = NavigateToPlace, "navigate_to_place"
    OFFERS = "navigate_to_place and says on current_place where the robot is"

    def __init__(self, client: StackClient) -> None:
        super().__init__(client)
        self._located = False
        client.create_subscription(Place, "current_place", self._on_place, LATCHED)

    def new_log(self, values: Parameters) -> DemoLog:
        exploration, legs = demo_report.load_exploration(Path(values.results))
        profile, plan = RobotProfile.load(values.robot), worlds.plan_of(values.world_seed)
        stopped = tuple(map(float, exploration.path[-1]))
        log = DemoLog(plan, profile, values.tour_seed, stopped, ())
        log.exploration, log.legs = exploration, legs
        return log

    def goal(self, leg: Leg) -> NavigateToPlace.Goal:
        return NavigateToPlace.Goal(name=leg.name, timeout_s=self.client.values.goal_timeout_s)

    def ready(self) -> bool:
        return super().ready() and self._located

    def _on_place(self, _place: Place) -> None:
        self._located = True


class NamingExploration:
    """Has the robot explore, and names places that it comes by.

    Attributes:
        log: gets a leg for each named place.
    """

    def __init__(self, client: StackClient) -> None:
        values, self.client = client.values, client
        profile, plan = RobotProfile.load(values.robot), worlds.plan_of(values.world_seed)
        start, _ = tasks.demo_task(plan, profile, values.tour_seed)
        self.log = DemoLog(plan, profile, values.tour_seed, start, ())
        self._naming = tasks.Naming(plan, profile, start, values.places)
        client.record(self.log)
        self._action = ActionClient(client, Explore, "explore")
        self._remember = client.create_client(Remember, "remember")
        self._pending: Future | None = None

    def run(self) -> bool:
        """Explore; whether there is something to report: no, if the places can be visited now.

        Raises:
            StackFailure: the stack failed, or not all names were given.
            Interrupted: a signal came.
        """
        client, values = self.client, self.client.values
        client.await_stack(
            lambda: self._action.server_is_ready() and self._remember.service_is_ready(),
            "explore and remember",
        )
        self.log.begin_exploration()
        goal = Explore.Goal(time_limit_s=values.explore_limit_s)
        handle = client.send(self._action, goal, "exploring")
        self._begun_ns = self.log.now_ns
        sent = SentGoal("exploring", values.explore_limit_s, self._progress, self._name_place)
        result = client.await_result(handle, sent)
        client.await_rest()
        code = CODES.get(result.code, str(result.code)) if result.code else "COMPLETED"
        self.log.finish_exploration(code, result.message, result.distance_travelled_m)
        client.say(f"explored in {self._elapsed_s / 60:.1f} min: {result.message}")
        if not self._naming.complete:
            raise StackFailure(
                f"{len(self.log.legs)} of {values.places} places were named when exploring ended "
                f"({result.message})"
            )
        demo_report.save_exploration(self.log, Path(values.results))
        return False

    @property
    def _elapsed_s(self) -> float:
        return (self.log.now_ns - self._begun_ns) * 1e-9

    def _name_place(self) -> None:
        """Name where the robot is, if the place deserves one of the names that are left."""
        speed = zip(self.client.speed, NAMING_SPEED, strict=True)
        slow = all(abs(now) <= limit for now, limit in speed)
        if self._pending is not None or not slow or not self._naming.wants(self.log.pose):
            return
        name = NAMES[len(self.log.legs)]
        self._pending = self._remember.call_async(Remember.Request(name=name))
        self._pending.add_done_callback(lambda answer: self._on_named(name, answer))

    def _on_named(self, name: str, answer: Future) -> None:
        self._pending = None
        response = answer.result()
        if not response.success:
            self.client.get_logger().warning(f"{name} was not remembered: {response.message}")
            return
        pose = self.log.pose
        self._naming.given.append(pose)
        self.log.legs.append(Leg(pose, demo_report.decode_frame(self.log.frames[-1]), name))
        self.client.say(f"here is the {name} (place {response.node} of memory)")

    def _progress(self) -> str:
        text = f"exploring {self._elapsed_s:4.0f} s"
        if self.client.feedback is not None:
            text += f"   {self.client.feedback.distance_travelled_m:5.1f} m driven"
        text += f"   {self.client.remembered} places remembered"
        return f"{text}, {len(self.log.legs)}/{self.client.values.places} named"


PARTS = {"photographs": PhotographTour, "explore": NamingExploration, "visit": NamedPlaceTour}


def main() -> int:
    """Run a part of the demonstration; 0 when it succeeded, else 1."""
    init()
    try:
        client = StackClient()
        part = PARTS[client.values.part](client)
    except (ValueError, OSError) as error:
        get_logger("demo_client").fatal(str(error))
        return 1
    try:
        reports = part.run()
    except StackFailure as failure:
        reports, part.log.failure = True, str(failure)
        print(f"the demonstration failed: {failure}", flush=True)
    except Interrupted:
        return 1
    succeeded = not reports or _publish_results(part.log, Path(client.values.results))
    client.destroy_node()
    rclpy.try_shutdown()
    return 0 if succeeded else 1


def _publish_results(log: DemoLog, folder: Path) -> bool:
    """Write report, picture and video, and print the report; whether all goals were reached."""
    summary = log.report()
    demo_report.save(summary, folder)
    if any(frame.goal >= 0 for frame in log.frames):
        demo_pictures.draw_trajectory(log, folder / "trajectory.png")
        demo_pictures.write_video(log, folder / "demo.mp4", FRAMES_PER_S)
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console() if known else Console(width=TABLE_COLUMNS)
    console.print(demo_report.table(summary))
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", flush=True)
    return bool(summary["all_reached"])
