"""Carries out a mission, as a client of the stack."""

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
"""After a signal: less than launch waits before it escalates."""


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
    """Runs one mission at a time, from start to end.

    It is not a lifecycle node and not managed: a failed mission is no reason to stop the stack, and
    nothing in the stack waits for one. If this node dies, the running action continues to its end
    under actuation's usual watchdogs.
    """

    def __init__(self, **options: object) -> None:
        """
        Raises:
            ParameterError: a parameter is wrong.
            MissionError: the mission is wrong.
        """
        super().__init__("mission", automatically_declare_parameters_from_overrides=True, **options)
        self.values: Parameters = ParameterServer(self, Parameters).values
        self._mission = Mission.load(self.values.mission)
        self._run: Run | None = None
        self._reported: Progress | None = None
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
        self._publish_idle()
        if self.values.autostart:
            self._start()

    def end(self, spin_once: Callable[[float], None]) -> None:
        """Cancel what the robot is doing and wait for it to end; see `Runnable`."""
        self._stop("the mission node was shut down")
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
            self._publish_progress()
            return _answer(response, True, "the mission continues")
        try:
            self._mission = Mission.load(self.values.mission)  # it may have been edited
        except MissionError as error:
            return _answer(response, False, str(error))
        self._start()
        return _answer(response, True, "started; the topic mission_status reports its progress")

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._run is None or self._run.over:
            return _answer(response, False, "no mission is running")
        self._stop("stopped by the service")
        return _answer(response, True, "stopped; what the robot was doing is cancelled")

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._run is None or self._run.state is not State.RUNNING:
            return _answer(response, False, "no mission is running")
        self._run.pause()
        self._publish_progress()
        return _answer(response, True, "paused; start restarts the same step")

    # --- the run

    def _start(self) -> None:
        self._run = Run(self._mission, self._robot, self._log)
        self.health.solved("mission")
        self.get_logger().info(f"mission '{self._mission.name}' from {self.values.mission}")
        self._publish_progress()

    def _stop(self, why: str) -> None:
        if self._run is not None:
            self._run.stop(why)
            self._publish_progress()

    def _tick(self) -> None:
        if self._run is not None:
            self._run.tick()
            self._publish_progress()

    # --- reports

    def _log(self, text: str, problem: bool) -> None:
        if problem:  # two lines of code: rclpy ties a line to one severity
            self.health.count("troubles")
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _publish_progress(self) -> None:
        """Publish the progress of the run if it has changed."""
        progress = self._run.progress if self._run is not None else None
        if progress is None or progress == self._reported:
            return
        ended = self._reported is None or progress.state is not self._reported.state
        self._reported = progress
        values = asdict(progress) | {"state": getattr(MissionStatus, progress.state.name)}
        self._publish(MissionStatus(**values))
        if ended and progress.state is State.FAILED:
            text = f"mission '{progress.mission}' failed: {progress.message}"
            self.health.problem("mission", text, ERROR)
        elif ended:
            about = f": {progress.message}" if progress.message else ""
            self.get_logger().info(f"mission '{progress.mission}' {progress.state.value}{about}")

    def _publish_idle(self) -> None:
        mission = self._mission
        self._publish(
            MissionStatus(mission=mission.name, rounds=mission.rounds, steps=len(mission.steps))
        )

    def _publish(self, status: MissionStatus) -> None:
        status.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(status)

    def _report(self) -> None:
        self.health.fact("mission", self._mission.name)
        self.health.fact("state", self._reported.state.value if self._reported else "idle")
        if self._reported is not None:
            for name in ("round", "step", "skipped", "doing", "message"):
                self.health.fact(name, getattr(self._reported, name))
        self.health.publish()


def _answer(response: Trigger.Response, success: bool, message: str) -> Trigger.Response:
    response.success, response.message = success, message
    return response


def main() -> int:
    """Run the node until a signal; a wrong parameter or mission ends it with 1."""
    return run(MissionNode)
