"""Carries out a mission: a client of the stack, no part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from foresight.missions import Mission, MissionError, Progress, Run, State
from foresight_interfaces.msg import MissionStatus
from foresight_mission.robot_client import RosRobot
from foresight_node import ERROR, Health, parameter, run
from foresight_node.messages import LATCHED
from foresight_node.parameters import ParameterServer

TICK_PERIOD_S = 0.1
REPORT_PERIOD_S = 1.0
QUIT_LIMIT_S = 3.0
"""On a signal: less than launch waits before it sends a stronger one."""


@dataclass(frozen=True)
class Parameters:
    mission: str = parameter("", "YAML file of the mission.", required=True)
    autostart: bool = parameter(True, "Begin at once, not when the service start is called.")
    pictures: str = parameter("results/mission", "Folder for the pictures.", required=True)
    patience_s: float = parameter(
        30.0,
        "How long a step waits for the node that does it, s.",
        minimum=0.5,
        maximum=3600.0,
    )
    image_transport: str = parameter(
        "raw",
        "Take sensor_msgs/Image from 'image', or CompressedImage from 'image/compressed'.",
        choices=("raw", "compressed"),
    )


class MissionNode(Node):
    """Runs one mission at a time, from its start to its end.

    No lifecycle node, and not the manager's: a mission that fails is no reason to stop the stack,
    and nothing in the stack waits for one. When this node dies, the running action goes on to its
    end, and actuation watches over it as over any other.
    """

    def __init__(self, **options: object) -> None:
        """
        Raises:
            ParameterError: a parameter is wrong.
            MissionError: the mission is.
        """
        super().__init__("mission", automatically_declare_parameters_from_overrides=True, **options)
        self.values: Parameters = ParameterServer(self, Parameters).values
        self._mission = Mission.load(self.values.mission)
        self._run: Run | None = None
        self._told: Progress | None = None
        self.health = Health(self)
        self._robot = RosRobot(
            self,
            self.values.patience_s,
            self.values.pictures,
            compressed=self.values.image_transport == "compressed",
        )
        self._statuses = self.create_publisher(MissionStatus, "mission_status", LATCHED)
        for name in ("start", "stop", "pause"):
            self.create_service(Trigger, f"~/{name}", getattr(self, f"_on_{name}"))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_PERIOD_S, self._tick, clock=steady)
        self.create_timer(REPORT_PERIOD_S, self._report, clock=steady)
        self._tell_idle()
        if self.values.autostart:
            self._start()

    def end(self, spin_once: Callable[[float], None]) -> None:
        """Cancel what the robot is doing, and wait until it has ended; see `Runnable`."""
        self._stop("the mission node was ended")
        give_up_s = time.monotonic() + QUIT_LIMIT_S
        while not self._robot.settled and time.monotonic() < give_up_s:
            spin_once(0.02)

    def destroy_node(self) -> None:
        self._robot.destroy()
        super().destroy_node()

    # --- services

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        state = self._run.state if self._run is not None else None
        if state is State.RUNNING:
            return _answer(response, False, "the mission is running; stop it first")
        if self._run is not None and state is State.PAUSED:
            self._run.resume()
            self._tell()
            return _answer(response, True, "the mission goes on")
        try:
            self._mission = Mission.load(self.values.mission)  # it may have been edited
        except MissionError as error:
            return _answer(response, False, str(error))
        self._start()
        return _answer(response, True, "begun; the topic mission_status tells how it goes")

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._run is None or self._run.over:
            return _answer(response, False, "no mission is running")
        self._stop("stopped by the service")
        return _answer(response, True, "stopped; what the robot was doing is cancelled")

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._run is None or self._run.state is not State.RUNNING:
            return _answer(response, False, "no mission is running")
        self._run.pause()
        self._tell()
        return _answer(response, True, "paused; start goes on with the same step")

    # --- the run

    def _start(self) -> None:
        self._run = Run(self._mission, self._robot, self._say)
        self.health.solved("mission")
        self.get_logger().info(f"mission '{self._mission.name}' from {self.values.mission}")
        self._tell()

    def _stop(self, why: str) -> None:
        if self._run is not None:
            self._run.stop(why)
            self._tell()

    def _tick(self) -> None:
        if self._run is not None:
            self._run.tick()
            self._tell()

    # --- what is told

    def _say(self, text: str, trouble: bool) -> None:
        if trouble:  # on lines of their own: rclpy ties a line to one severity
            self.health.count("troubles")
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _tell(self) -> None:
        """Publish how far the run is when that has changed."""
        progress = self._run.progress if self._run is not None else None
        if progress is None or progress == self._told:
            return
        ended = self._told is None or progress.state is not self._told.state
        self._told = progress
        values = asdict(progress) | {"state": getattr(MissionStatus, progress.state.name)}
        self._publish(MissionStatus(**values))
        if ended and progress.state is State.FAILED:
            text = f"mission '{progress.mission}' failed: {progress.message}"
            self.health.problem("mission", text, ERROR)
        elif ended:
            about = f": {progress.message}" if progress.message else ""
            self.get_logger().info(f"mission '{progress.mission}' {progress.state.value}{about}")

    def _tell_idle(self) -> None:
        mission = self._mission
        self._publish(
            MissionStatus(mission=mission.name, rounds=mission.rounds, steps=len(mission.steps))
        )

    def _publish(self, status: MissionStatus) -> None:
        status.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(status)

    def _report(self) -> None:
        self.health.fact("mission", self._mission.name)
        self.health.fact("state", self._told.state.value if self._told else "idle")
        if self._told is not None:
            for name in ("round", "step", "skipped", "doing", "message"):
                self.health.fact(name, getattr(self._told, name))
        self.health.publish()


def _answer(response: Trigger.Response, success: bool, message: str) -> Trigger.Response:
    response.success, response.message = success, message
    return response


def main() -> int:
    """Run the node until a signal; a wrong parameter or mission ends it with 1."""
    return run(MissionNode)
