"""Goals that are driven to by their latents: a picture, or a place that memory knows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from rclpy.action.server import ServerGoalHandle

from foresight.planning import NavigationStep, Status
from foresight.planning.path_following import look_around
from foresight_interfaces.action import NavigateToImage, NavigateToPlace
from foresight_interfaces.msg import Belief, Subgoal
from foresight_interfaces.srv import Guide
from foresight_node.messages import floats
from foresight_planning.active_goal import ActiveGoal, Code, Ending, Host
from foresight_planning.guidance import Guidance
from foresight_planning.sensor_buffer import Pulse

LOOK_AROUND_S = 15.0
"""Once around; towards a picture the robot then drives, whether it knows where it is or not."""
LOST_AIM_S = 5.0
"""A goal ends when it is at rest for want of an aim for so long."""
LOOK_STEPS = 4
"""Actions of a plan that looks around."""
REST = np.zeros((0, 2))


@dataclass(frozen=True)
class Heading:
    """Whereto: a latent (D,), None to look around; at a `final` one the robot is to arrive."""

    latent: np.ndarray | None
    final: bool


LOOK = Heading(None, False)


class Navigation(ActiveGoal):
    """Replans from beliefs; a subclass says whereto."""

    def __init__(self, host: Host, handle: ServerGoalHandle) -> None:
        super().__init__(host, handle)
        self._timeout_s = handle.request.timeout_s or host.values.default_timeout_s
        self._guidance: Guidance | None = None
        self._step: NavigationStep | None = None
        self._afresh = True
        self._heading: Heading | None = None

    # --- for subclasses to override

    def heading(self, now_s: float) -> Heading | None:
        """Whereto now; None to rest."""
        raise NotImplementedError

    def want_of_guidance(self, now_s: float) -> Ending | None:
        """What ends it for want of memory's help, if that is needed."""
        del now_s
        return None

    # --- see `ActiveGoal`

    def fault(self) -> str:
        if math.isfinite(self._timeout_s) and self._timeout_s > 0:
            return ""
        return f"timeout_s is {self._timeout_s}; give seconds, or 0 for the default"

    def trouble(self, now_s: float) -> Ending | None:
        heard = self.host.senses.belief
        limit_s = self.allowed_s(heard, self.host.values.belief_timeout_s)
        silent_s = heard.age_s(now_s, limit_s, self.since)
        if silent_s > limit_s:
            return Code.STALE_SENSORS, (
                f"no fresh belief for {silent_s:.1f} s, at most {limit_s:.1f} s "
                f"are allowed; check camera, odometry, perception and world_model"
            )
        if self.elapsed_s > self._timeout_s:
            left = (
                f"{self._left_s():.1f} s were left to drive" if self._step else "no plan was made"
            )
            return Code.TIMED_OUT, f"not reached within {self._timeout_s:.1f} s; {left}"
        return self.want_of_guidance(now_s)

    def on_belief(self, belief: Belief, stamp_s: float) -> None:
        if self._guidance is not None:
            self._guidance.ask()
        if not self.is_due(stamp_s, self.host.values.replan_period_s):
            return
        heading = self._heading = self.heading(self.host.now_s())
        if heading is not None and heading.latent is not None:
            self._plan(heading.latent, heading.final, belief, stamp_s)
            return
        around = look_around(self.host.profile.limits, LOOK_STEPS)
        self.host.drive(self, stamp_s, REST if heading is None else around, None)
        self._afresh = True

    def on_aim(self, aim: Subgoal) -> None:
        if self._guidance is not None and (fault := self._guidance.take(aim)):
            self.host.health.problem("subgoal", fault)

    def resume(self) -> None:
        super().resume()
        self._afresh = True
        if self._guidance is not None:
            self._guide(**self._whereto)

    def leave(self) -> None:
        if self._guidance is not None:
            self._guidance.end()

    def progress(self) -> dict[str, float]:
        left_s = self._left_s()
        return self.outcome() | {"estimated_s_left": left_s if math.isfinite(left_s) else -1.0}

    def outcome(self) -> dict[str, float]:
        return {"energy": float(self._step.energy[-1]) if self._step is not None else math.nan}

    def doing(self) -> str:
        if self._heading is None:
            return f"{self.NAME}: waiting"
        if self._heading.latent is None:
            return f"{self.NAME}: looking around"
        return f"{self.NAME}: {'to the goal' if self._heading.final else 'to a place on the way'}"

    # --- plans

    def _plan(self, goal: np.ndarray, final: bool, belief: Belief, stamp_s: float) -> None:
        host, afresh = self.host, self._afresh
        obstacles = host.senses.obstacles_at(stamp_s)
        latent = np.asarray(belief.latent, dtype=np.float32)
        proprioception = np.asarray(belief.proprioception, dtype=np.float32)

        def plan() -> tuple[NavigationStep, float]:
            return host.helm.steer(goal, final, afresh, stamp_s, latent, proprioception, obstacles)

        def done(planned: tuple[NavigationStep, float]) -> None:
            host.health.latency("plan", planned[1])
            self._on_step(stamp_s, planned[0])

        if host.worker.submit(plan, done, lambda error: host.fail(self, error)):
            host.health.count("beliefs dropped: planner busy")

    def _on_step(self, stamp_s: float, step: NavigationStep) -> None:
        heading = self._heading
        if not self.host.is_driving(self) or heading is None or heading.latent is None:
            return  # it has ended, or there is nothing to drive to any more
        self._step, self._afresh = step, False
        left = f"{step.eta_s:.1f} s from the goal by the learned distance"
        if step.status == Status.REACHED:
            self.host.finish(self, Code.REACHED, f"reached, {left}")
        elif step.status == Status.BLOCKED:
            self.host.finish(self, Code.BLOCKED, f"no way on was found, {left}")
        else:
            self.host.drive(self, stamp_s, step.actions, step.energy)
            took_s = self.host.now_s() - stamp_s
            self.host.health.latency("image to plan", took_s)
            self.host.helm.took(took_s)

    # --- guidance

    def _guide(self, **whereto: object) -> None:
        """Ask memory for help; `whereto` are fields of the request."""
        helm, self._whereto = self.host.helm, whereto
        request = Guide.Request(goal_id=self.handle.goal_id, bundle_digest=helm.digest, **whereto)
        self._guidance = Guidance(self.host.guide, request, helm.latent_size)
        self._guided_since = Pulse()
        self._guided_since.beat(self.host.now_s())
        self._guidance.ask()

    def _aim(self, now_s: float) -> Subgoal | None:
        """Memory's, if it sends one."""
        if self._guidance is None:
            return None
        return self._guidance.aim_at(now_s, self.host.values.subgoal_timeout_s, self._guided_since)

    def _left_s(self) -> float:
        """Seconds to the goal: by memory while it leads there, else by the learned distance."""
        aim = self._aim(self.host.now_s())
        if aim is not None and not aim.final:
            return aim.expected_s
        return self._step.eta_s if self._step is not None else math.nan


class ToImage(Navigation):
    """Straight to the picture, unless memory leads there."""

    ACTION, NAME = NavigateToImage, "navigate_to_image"

    def __init__(self, host: Host, handle: ServerGoalHandle) -> None:
        super().__init__(host, handle)
        self._goal: np.ndarray | None = None
        self._looking_since_s: float | None = None

    def begin(self) -> None:
        picture, host = self.handle.request.image, self.host
        host.worker.submit(
            lambda: host.helm.encode(picture),
            self._on_encoded,
            lambda error: host.fail(self, error),
        )

    def on_belief(self, belief: Belief, stamp_s: float) -> None:
        if self._goal is not None:  # else the worker's line must stay free for the picture
            super().on_belief(belief, stamp_s)

    def heading(self, now_s: float) -> Heading | None:
        straight, aim = Heading(self._goal, True), self._aim(now_s)
        if aim is None:
            return straight
        if len(aim.latent):
            self._looking_since_s = None
            return Heading(np.asarray(aim.latent, dtype=np.float32), aim.final)
        if self._looking_since_s is None:
            self._looking_since_s = now_s
        return LOOK if now_s - self._looking_since_s < LOOK_AROUND_S else straight

    def _on_encoded(self, latent: np.ndarray) -> None:
        self._goal = latent
        if self.host.is_driving(self) and self.host.values.use_memory:
            self._guide(latent=floats(latent))


class ToPlace(Navigation):
    """Wherever memory leads."""

    ACTION, NAME = NavigateToPlace, "navigate_to_place"

    def fault(self) -> str:
        named = bool(self.handle.request.name)
        return super().fault() if named else "name is empty; give one that a place was given"

    def begin(self) -> None:
        # what an earlier goal planned leads elsewhere
        self.host.drive(self, self.host.now_s(), REST, None)
        self._guide(name=self.handle.request.name)

    def heading(self, now_s: float) -> Heading | None:
        aim = self._aim(now_s)
        if aim is None:
            return None
        if not len(aim.latent):
            return LOOK
        return Heading(np.asarray(aim.latent, dtype=np.float32), aim.final)

    def want_of_guidance(self, now_s: float) -> Ending | None:
        guidance, patience_s = self._guidance, self.host.values.subgoal_timeout_s
        assert guidance is not None, "made in begin"
        if guidance.refusal:
            return Code.BAD_GOAL, guidance.refusal
        silent_s = guidance.silent_s(now_s, patience_s, self._guided_since)
        if not guidance.asked and silent_s > patience_s:
            return Code.BAD_GOAL, "no node serves 'guide'; start memory, then send the goal"
        if silent_s > patience_s + LOST_AIM_S:
            return Code.INTERNAL, f"memory has sent no aim for {silent_s:.1f} s; is it running?"
        return None
