"""The last watchdog before the wheels: plan, sensors and clocks in, a safe command out.

`SafetyController` is pure: no ROS, no clock of its own, no thread. The same class runs in the
actuation node, in data collection and in offline evaluation. Frames are REP-103 (x forward,
y left, yaw counter-clockwise), scans follow REP-117 (+inf nothing seen, -inf too near, NaN none).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foresight.bodies.profile import RobotProfile
from foresight.control.limits import VelocityLimiter
from foresight.geometry import Pose, relative
from foresight.odometry import OdometryBuffer
from foresight.perception.scan import CENTRED, ScanMount, beam_directions

MAX_PLAN_STEPS = 64
MIN_ACTION_DURATION_S, MAX_ACTION_DURATION_S = 0.001, 5.0
_IMPOSSIBLE = 10.0  # measured speed, in multiples of the robot's highest
_CLOCK_JUMP_S = 0.1  # a clock that runs back by more than this voids every stamp
_MAX_STEP_S = 0.1  # a late step may not use the time it lost to change the command faster
_RESPONSE_S = 0.1  # from a command to the wheels' answer
_SIDE_M = 0.01  # what passes closer than this touches: the beams miss the tips of corners
_CLOSED_MPS = 0.01  # a slower allowance than this counts as no way through
_TOO_NEAR_M = 0.01  # range given to a beam that reports "nearer than I can measure"
_CIRCLE_RAD = 2.0 * math.pi + 0.01  # a scan has no beams beyond it
_BUMP_PATIENCE_S = 0.5  # the planner's time to lead away from a bump by itself
_BACK_OFF_M, _BACK_OFF_MPS = 0.1, 0.1
_TURN_AWAY_RAD, _TURN_AWAY_RADPS = 0.6, 0.6
_PHASE_LIMIT_S = 2.0  # for each of the two


class State(IntEnum):
    """What the controller does; the numbers are those of the message `ActuationStatus`."""

    STARTING = 0
    DRIVING = 1
    HOLDING = 2
    STOPPED = 3
    EMERGENCY = 4


class Reason(Enum):
    """Why the controller is in its state; `state` and `sentence` belong to each reason."""

    NOT_ACTIVE = (State.STARTING, "not active yet: nothing moves")
    WAITING_FOR_ODOMETRY = (State.STARTING, "waiting for the first odometry")
    WAITING_FOR_SCAN = (State.STARTING, "waiting for the first scan")
    WAITING_FOR_PLAN = (State.STARTING, "waiting for the first plan")
    FOLLOWING_PLAN = (State.DRIVING, "following the plan")
    SLOWED = (State.DRIVING, "slower than planned: something is near in the scan")
    BUMPER_LIMITS = (State.DRIVING, "bumper pressed: only turning and reversing")
    BACKING_OFF = (State.DRIVING, "backing off after a bump")
    TURNING_AWAY = (State.DRIVING, "turning away after a bump")
    PLAN_PENDING = (State.HOLDING, "the plan has not started yet")
    PLAN_EMPTY = (State.HOLDING, "the plan is empty: nothing to do")
    PLAN_ENDED = (State.HOLDING, "the plan has ended at rest")
    PLAN_STALE = (State.STOPPED, "no fresh plan")
    PLAN_BAD_SHAPE = (State.STOPPED, "plan refused: its actions are not pairs of linear, angular")
    PLAN_BAD_NUMBER = (State.STOPPED, "plan refused: it holds a number that is not finite")
    PLAN_BAD_DURATION = (State.STOPPED, "plan refused: the duration of an action is impossible")
    PLAN_TOO_LONG = (State.STOPPED, "plan refused: it has too many steps")
    PLAN_FROM_FUTURE = (State.STOPPED, "plan refused: it starts too far in the future")
    PLAN_FROM_PAST = (State.STOPPED, "plan refused: it was over when it came")
    CLOCK_JUMPED = (State.STOPPED, "the clock jumped back: what came before is void")
    CLOCK_BAD_NUMBER = (State.STOPPED, "the clock is not a number")
    BELIEF_STALE = (State.STOPPED, "the plan rests on an old picture")
    ODOMETRY_STALE = (State.STOPPED, "no fresh odometry")
    ODOMETRY_BAD_NUMBER = (State.STOPPED, "odometry holds an impossible number")
    SCAN_STALE = (State.STOPPED, "no fresh scan")
    SCAN_INVALID = (State.STOPPED, "the scan cannot be used")
    PATH_CLOSED = (State.STOPPED, "the path is closed in the scan")
    BUMPER_PRESSED = (State.STOPPED, "bumper pressed: the plan leads forward")
    DEACTIVATED = (State.STOPPED, "deactivated: braking to rest")
    EMERGENCY_STOP = (State.EMERGENCY, "emergency stop: release it, then reset it")

    def __init__(self, state: State, sentence: str) -> None:
        self.state = state
        self.sentence = sentence


@dataclass(frozen=True)
class Plan:
    """Actions to execute by the clock.

    Attributes:
        start_s: ROS time at which action 0 starts, s.
        action_duration_s: length of one action, s.
        actions: (H, 2) float, columns linear m/s and angular rad/s; H = 0 asks for rest.
        seen_s: ROS time of the picture that it rests on, s; None when it rests on none.
    """

    start_s: float
    action_duration_s: float
    actions: NDArray[np.floating]
    seen_s: float | None = None

    @property
    def end_s(self) -> float:
        """ROS time at which the last action ends, s."""
        return self.start_s + len(self.actions) * self.action_duration_s


@dataclass(frozen=True)
class Command:
    """One safe command in base_link: `linear` m/s, `angular` rad/s, and why it is so.

    `detail` holds the measured value and its limit where there is one, else nothing.
    """

    linear: float
    angular: float
    reason: Reason
    detail: str = ""

    @property
    def state(self) -> State:
        """The state that the reason belongs to."""
        return self.reason.state

    @property
    def explanation(self) -> str:
        """The reason as one sentence, with the measured value where there is one."""
        return f"{self.reason.sentence} ({self.detail})" if self.detail else self.reason.sentence

    @property
    def at_rest(self) -> bool:
        """True when the command is zero on both axes."""
        return self.linear == 0.0 and self.angular == 0.0


@dataclass(frozen=True)
class SafetySettings:
    """Time limits of the watchdogs (s, steady clock) and the gap kept to obstacles (m).

    Raises:
        ValueError: a value is not positive and finite.
    """

    plan_timeout_s: float = 1.0
    belief_timeout_s: float = 1.0
    odometry_timeout_s: float = 0.5
    scan_timeout_s: float = 0.5
    margin_m: float = 0.02
    use_scan: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and (value > 0 or field.name == "use_scan")):
                raise ValueError(f"{field.name} is {value}; give a number greater than 0")


@dataclass(frozen=True)
class _Wish:
    """What the robot should do before the velocity limits are applied."""

    reason: Reason
    linear: float = 0.0
    angular: float = 0.0
    detail: str = ""


class SafetyController:
    """Executes plans by their stamps and brings the robot to rest when anything is amiss.

    Times named `steady_s` come from one clock that never jumps; `ros_s` is the clock of the
    plan's stamps. Call `step` at a steady rate, 20 Hz or more; what it returns never exceeds
    the velocity, acceleration and jerk of the profile, and every stop brakes at the profile's
    deceleration. Forward and backward motion is held to a speed from which the robot can stop
    short of anything in the scan along its arc (a swept circle); turning in place is always free,
    for the footprint is round. What the scan does not show cannot close a path.
    """

    def __init__(self, profile: RobotProfile, settings: SafetySettings | None = None) -> None:
        self._settings = settings or SafetySettings()
        self._limits = profile.limits
        self._radius_m = profile.footprint_radius_m + _SIDE_M
        self._limiter = VelocityLimiter(profile.limits)
        self._driver_timeout_s = profile.driver_timeout_s
        # Full speed for this long costs the way that is lost before braking is at its full.
        self._delay_s = _RESPONSE_S + self._limits.linear_decel_mps2 / (
            2.0 * self._limits.linear_jerk_mps3
        )
        self._reach_m = self._farthest_point_of_interest()
        self._active = self._was_active = False
        self._emergency_pressed = self._emergency_latched = False
        self._bumper = False
        self._steady_s = self._ros_s = -math.inf  # of the last step
        self._period_s = 0.0  # before it; stands in where the clock tells none
        self._forget_plans()
        self._odometry_s = self._odometry_bad_s = -math.inf
        self._scan_s = self._scan_bad_s = -math.inf
        self._points = np.zeros((0, 2))
        self._driven = OdometryBuffer(2.0 * self._settings.scan_timeout_s)

    # ---- inputs -------------------------------------------------------------------------

    def activate(self) -> None:
        """Allow motion from now on; plans from before are forgotten."""
        self._active, self._was_active = True, True
        self._forget_plans()

    def deactivate(self) -> None:
        """Brake to rest and stay there; keep calling `step` until the command is at rest."""
        self._active = False
        self._forget_plans()

    def on_plan(self, steady_s: float, plan: Plan) -> Reason | None:
        """Take a plan that arrived at `steady_s`; returns why it is refused, or None.

        A refused plan stops the robot until a good one comes: its sender cannot be trusted.
        The stamps are checked in the next `step`.
        """
        fault = _plan_fault(plan) if math.isfinite(steady_s) else Reason.PLAN_BAD_NUMBER
        if fault is not None:
            self._refuse_plans(fault)
            return fault
        actions = np.array(plan.actions, dtype=np.float64)
        own = Plan(float(plan.start_s), float(plan.action_duration_s), actions, plan.seen_s)
        self._inbox.append(_Arrived(steady_s, own))
        return None

    def on_odometry(self, steady_s: float, v: float, w: float) -> Reason | None:
        """Take the speeds (m/s, rad/s) at `steady_s`; returns why they are refused, or None.

        A bad number stops the robot until none has come for the odometry's time limit.
        """
        limits = self._limits
        highest = max(limits.linear_max_mps, -limits.linear_min_mps)
        possible = (
            math.isfinite(steady_s)
            and abs(v) <= _IMPOSSIBLE * highest
            and abs(w) <= _IMPOSSIBLE * limits.angular_max_radps
        )
        if not possible:
            self._odometry_bad_s = self._noticed_s(steady_s)
            return Reason.ODOMETRY_BAD_NUMBER
        self._odometry_s = max(self._odometry_s, steady_s)
        self._driven.drive(steady_s, (v, w))
        return None

    def on_scan(
        self,
        steady_s: float,
        ranges: ArrayLike,
        angle_min: float,
        angle_increment: float,
        range_min_m: float = 0.0,
        mount: ScanMount = CENTRED,
    ) -> Reason | None:
        """Take a scan; returns why it is refused, or None.

        Args:
            steady_s: when it was taken, s; the way driven since is allowed for.
            ranges: (B,) m, read as REP-117 says.
            angle_min: of beam 0, rad, in the scanner's frame.
            angle_increment: from one beam to the next, rad, counter-clockwise positive there.
            range_min_m: finite numbers below this, zero, negative numbers and NaN are no reading.
            mount: where the scanner sits on base_link.
        """
        points = self._points_near(ranges, angle_min, angle_increment, range_min_m, mount)
        if points is None or not math.isfinite(steady_s):
            self._scan_bad_s = self._noticed_s(steady_s)
            return Reason.SCAN_INVALID
        self._points = points
        self._scan_s = steady_s
        return None

    def on_bumper(self, steady_s: float, pressed: bool) -> None:
        """Take the bumper's state; it holds until the next one."""
        del steady_s  # a bumper that falls silent keeps its last word
        self._bumper = bool(pressed)

    def emergency_stop(self, pressed: bool) -> None:
        """Take the emergency stop's state; pressing it latches until it is reset."""
        self._emergency_pressed = bool(pressed)
        if self._emergency_pressed:
            self._emergency_latched = True
            self._forget_plans()

    def reset_emergency_stop(self) -> bool:
        """Leave the emergency state; False when the stop is still pressed.

        Nothing that was planned before is driven after it.
        """
        if self._emergency_latched and not self._emergency_pressed:
            self._emergency_latched = False
            self._forget_plans()
        return not self._emergency_latched

    # ---- output -------------------------------------------------------------------------

    def step(self, steady_s: float, ros_s: float) -> Command:
        """The command for now; call it once per period of the control loop.

        A clock that is no number, or that jumps back, brakes as everything else that is amiss does.
        """
        if math.isfinite(steady_s):
            step_s = self._pass_time(steady_s)
        else:
            step_s = self._pass_time(self._steady_s + self._period_s)
            self._refuse_plans(Reason.CLOCK_BAD_NUMBER)
        if math.isfinite(ros_s):
            self._admit_plans(ros_s)
        else:
            self._refuse_plans(Reason.CLOCK_BAD_NUMBER)
        wish = self._wish(self._steady_s, ros_s)
        linear, angular = self._limiter.step(wish.linear, wish.angular, step_s)
        return Command(linear, angular, wish.reason, wish.detail)

    def _pass_time(self, steady_s: float) -> float:
        """Take note of the time; returns how much of it the command may use, s."""
        elapsed_s, self._steady_s = steady_s - self._steady_s, steady_s
        newest_s = max(self._odometry_s, self._scan_s)
        if elapsed_s < -_CLOCK_JUMP_S or newest_s > steady_s + _CLOCK_JUMP_S:
            # Every age and the way driven would be wrong: begin again.
            self._odometry_s = self._scan_s = -math.inf
            self._odometry_bad_s = self._scan_bad_s = -math.inf
            self._driven = OdometryBuffer(2.0 * self._settings.scan_timeout_s)
            self._refuse_plans(Reason.CLOCK_JUMPED)
        if elapsed_s > self._driver_timeout_s:
            self._limiter.reset()  # the driver has stopped the robot meanwhile: on from rest
        if elapsed_s > _MAX_STEP_S:
            return _MAX_STEP_S if elapsed_s < math.inf else 0.0
        if elapsed_s > 0.0:
            self._period_s = elapsed_s
        return 0.0 if elapsed_s == 0.0 else self._period_s

    def _noticed_s(self, steady_s: float) -> float:
        """When a bad input counts from: its own stamp may be as bad as the rest of it."""
        return steady_s if steady_s > self._steady_s else self._steady_s

    def _wish(self, steady_s: float, ros_s: float) -> _Wish:
        if self._emergency_latched:
            return _Wish(Reason.EMERGENCY_STOP)
        if not self._active:
            return _Wish(Reason.DEACTIVATED if self._was_active else Reason.NOT_ACTIVE)
        fault = self._sensor_fault(steady_s)
        if fault is not None:
            self._bump_reaction = _BumpReaction()
            return fault
        planned = self._planned(steady_s, ros_s)
        wish = self._after_bump(planned, steady_s)
        return self._held_back(wish, steady_s) if wish.linear else wish

    def _after_bump(self, planned: _Wish, steady_s: float) -> _Wish:
        """The wish, or the reaction to a bump that the planner does not leave by itself."""
        forward = planned.linear > 0.0
        pose = self._pose_at(steady_s)
        turn = math.copysign(_TURN_AWAY_RADPS, planned.angular)
        phase = self._bump_reaction.phase(steady_s, pose, forward, self._bumper)
        if phase is Reason.BACKING_OFF:
            return _Wish(phase, -min(_BACK_OFF_MPS, -self._limits.linear_min_mps))
        if phase is Reason.TURNING_AWAY:
            return _Wish(phase, 0.0, turn)
        return planned

    def _pose_at(self, steady_s: float) -> Pose:
        """By dead reckoning, to carry old points to the present."""
        known = self._driven.at(steady_s)
        return known[0] if known is not None else (0.0, 0.0, 0.0)

    def _sensor_fault(self, steady_s: float) -> _Wish | None:
        settings = self._settings
        odometry_age_s = steady_s - self._odometry_s
        scan_age_s = steady_s - self._scan_s
        if steady_s - self._odometry_bad_s < settings.odometry_timeout_s:
            return _Wish(Reason.ODOMETRY_BAD_NUMBER)
        if odometry_age_s == math.inf:
            return _Wish(Reason.WAITING_FOR_ODOMETRY)
        if not _is_fresh(odometry_age_s, settings.odometry_timeout_s):
            return _Wish(
                Reason.ODOMETRY_STALE, detail=_age(odometry_age_s, settings.odometry_timeout_s)
            )
        if not settings.use_scan:
            return None
        if steady_s - self._scan_bad_s < settings.scan_timeout_s:
            return _Wish(Reason.SCAN_INVALID)
        if scan_age_s == math.inf:
            return _Wish(Reason.WAITING_FOR_SCAN)
        if not _is_fresh(scan_age_s, settings.scan_timeout_s):
            return _Wish(Reason.SCAN_STALE, detail=_age(scan_age_s, settings.scan_timeout_s))
        return None

    # ---- plans --------------------------------------------------------------------------

    def _forget_plans(self) -> None:
        self._inbox: list[_Arrived] = []
        self._plans: list[_Arrived] = []  # the one being executed, then those yet to start
        self._plan_fault: Reason | None = None
        self._bump_reaction = _BumpReaction()

    def _refuse_plans(self, fault: Reason) -> None:
        self._forget_plans()
        self._plan_fault = fault

    def _admit_plans(self, ros_s: float) -> None:
        """Check the stamps of what arrived since the last step, and note a clock that jumped."""
        inbox, self._inbox = self._inbox, []
        if ros_s < self._ros_s - _CLOCK_JUMP_S and self._plans:
            self._refuse_plans(Reason.CLOCK_JUMPED)
        self._ros_s = ros_s
        for arrived in inbox:
            plan = arrived.plan
            if not len(plan.actions):
                self._forget_plans()
                self._plans = [arrived]
            elif plan.start_s - ros_s > self._settings.plan_timeout_s:
                self._refuse_plans(Reason.PLAN_FROM_FUTURE)
            elif plan.end_s <= ros_s:
                self._refuse_plans(Reason.PLAN_FROM_PAST)
            elif plan.seen_s is not None and ros_s - plan.seen_s > self._settings.belief_timeout_s:
                self._refuse_plans(Reason.BELIEF_STALE)
            else:
                self._plan_fault = None
                self._plans.append(arrived)
        started = [i for i, a in enumerate(self._plans) if _started(a.plan, ros_s)]
        if started:
            del self._plans[: started[-1]]

    def _planned(self, steady_s: float, ros_s: float) -> _Wish:
        """The action whose time it is, or why there is none."""
        if self._plan_fault is not None:
            return _Wish(self._plan_fault)
        if not self._plans:
            return _Wish(Reason.WAITING_FOR_PLAN)
        arrived = self._plans[0]
        plan, age_s = arrived.plan, steady_s - arrived.steady_s
        if not len(plan.actions):
            return _Wish(Reason.PLAN_EMPTY)
        ended = ros_s >= plan.end_s
        if ended and not plan.actions[-1].any():
            return _Wish(Reason.PLAN_ENDED)
        if ended:
            return _Wish(Reason.PLAN_STALE, detail=f"it ended {ros_s - plan.end_s:.2f} s ago")
        if not _is_fresh(age_s, self._settings.plan_timeout_s):
            return _Wish(Reason.PLAN_STALE, detail=_age(age_s, self._settings.plan_timeout_s))
        if not _started(plan, ros_s):
            return _Wish(Reason.PLAN_PENDING)
        index = int((ros_s - plan.start_s) / plan.action_duration_s + 1e-9)
        linear, angular = plan.actions[min(index, len(plan.actions) - 1)]
        return _Wish(Reason.FOLLOWING_PLAN, float(linear), float(angular))

    # ---- obstacles ----------------------------------------------------------------------

    def _held_back(self, wish: _Wish, steady_s: float) -> _Wish:
        """The wish with its linear speed held to what bumper and scan allow."""
        if self._bumper and wish.linear > 0.0:
            reason = Reason.BUMPER_LIMITS if wish.angular else Reason.BUMPER_PRESSED
            return _Wish(reason, 0.0, wish.angular)
        limits = self._limits
        linear = min(max(wish.linear, limits.linear_min_mps), limits.linear_max_mps)
        angular = min(max(wish.angular, -limits.angular_max_radps), limits.angular_max_radps)
        if not self._settings.use_scan or not len(self._points) or linear == 0.0:
            return wish
        then, now = self._pose_at(self._scan_s), self._pose_at(steady_s)
        points = _seen_from(self._points, then, now)
        speed, free_m = self._open_speed(points, linear, angular)
        if speed >= abs(linear):
            return wish
        detail = f"free for {free_m:.2f} m"
        if speed >= _CLOSED_MPS:
            reason = Reason.SLOWED if wish.reason is Reason.FOLLOWING_PLAN else wish.reason
            return _Wish(reason, math.copysign(speed, linear), wish.angular, detail)
        reason = Reason.SLOWED if wish.angular else Reason.PATH_CLOSED
        return _Wish(reason, 0.0, wish.angular, detail)

    def _open_speed(
        self, points: NDArray[np.float64], linear: float, angular: float
    ) -> tuple[float, float]:
        """Speed (m/s, not negative) from which the robot can stop in time, and the way it has (m).

        Looks along the wanted arc, along the arc that the present rate of turn makes (it takes time
        to change), and along the tighter arc that a lower speed at the wanted rate makes.
        """
        speed, free_m = abs(linear), math.inf
        for rate in (angular, self._limiter.angular_radps, angular):
            arc_speed = math.copysign(max(speed, _CLOSED_MPS), linear)
            way_m = free_distance(points, arc_speed, rate, self._radius_m)
            free_m = min(free_m, way_m)
            speed = min(speed, self._stoppable(way_m - self._settings.margin_m))
        return speed, free_m

    def _stoppable(self, way_m: float) -> float:
        """The speed v with v * delay + v^2 / (2 decel) = way."""
        if way_m <= 0.0:
            return 0.0
        decel, delay_s = self._limits.linear_decel_mps2, self._delay_s
        return decel * (math.sqrt(delay_s**2 + 2.0 * way_m / decel) - delay_s)

    def _farthest_point_of_interest(self) -> float:
        limits = self._limits
        speed = max(limits.linear_max_mps, -limits.linear_min_mps)
        delay_s = self._settings.scan_timeout_s + self._delay_s
        way_m = speed * delay_s + speed**2 / (2.0 * limits.linear_decel_mps2)
        return self._radius_m + self._settings.margin_m + way_m

    def _points_near(
        self,
        ranges: ArrayLike,
        angle_min: float,
        angle_increment: float,
        range_min_m: float,
        mount: ScanMount,
    ) -> NDArray[np.float64] | None:
        """Points (N, 2), m, near enough to matter, or None when the scan is of no use."""
        try:
            metres = np.asarray(ranges, dtype=np.float64)
        except (TypeError, ValueError):
            return None
        span_rad = abs(angle_increment) * (len(metres) - 1) if metres.ndim == 1 else math.inf
        if not (abs(angle_min) <= _CIRCLE_RAD and span_rad <= _CIRCLE_RAD):  # NaN is not, either
            return None
        read = ((metres > 0.0) & (metres >= range_min_m)) | (metres == -math.inf)
        if 2 * np.count_nonzero(read) <= len(metres) or angle_increment == 0.0:
            return None
        near = read & (metres <= self._reach_m + mount.distance_m)
        directions = beam_directions(len(metres), angle_min, angle_increment, mount)[near]
        return directions * np.maximum(metres[near], _TOO_NEAR_M)[:, None] + (mount.x_m, mount.y_m)


@dataclass(frozen=True)
class _Arrived:
    steady_s: float
    plan: Plan


class _BumpReaction:
    """The last resort after a bump: wait for the planner, back off, turn, return to the plan.

    Unlike the manoeuvre of `foresight.control.recovery`, which is a plan, this closes its loop on
    odometry, and ends the moment that the plan no longer leads forward.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._phase: Reason | None = None
        self._since_s: float | None = None  # when the phase, or the wait for the planner, began
        self._from: Pose = (0.0, 0.0, 0.0)

    def phase(self, now_s: float, pose: Pose, forward: bool, pressed: bool) -> Reason | None:
        """What to do now, BACKING_OFF or TURNING_AWAY, or None to do as planned.

        Args:
            now_s: steady clock, s.
            pose: by dead reckoning.
            forward: whether the plan leads forward; one that does not leads away by itself.
            pressed: whether the bumper is pressed.
        """
        if not forward or not (pressed or self._phase):
            self._reset()
            return None
        if self._since_s is None:
            self._since_s = now_s
        x, y, yaw = (now - then for now, then in zip(pose, self._from, strict=True))
        late = now_s - self._since_s >= _PHASE_LIMIT_S  # wheels that slip, no room behind
        if self._phase is None and now_s - self._since_s >= _BUMP_PATIENCE_S:
            self._phase, self._since_s, self._from = Reason.BACKING_OFF, now_s, pose
        elif self._phase is Reason.BACKING_OFF and (math.hypot(x, y) >= _BACK_OFF_M or late):
            self._phase, self._since_s, self._from = Reason.TURNING_AWAY, now_s, pose
        elif self._phase is Reason.TURNING_AWAY and (abs(yaw) >= _TURN_AWAY_RAD or late):
            self._reset()
        return self._phase


def free_distance(
    points: NDArray[np.float64], linear: float, angular: float, radius_m: float
) -> float:
    """How far a disc can drive on an arc before it touches a point.

    Args:
        points: (N, 2) in the disc's frame, m.
        linear: speed along x, m/s, not 0; its sign is the direction of travel.
        angular: rate of turn, rad/s; only the ratio to `linear` matters.
        radius_m: of the disc.

    Returns:
        Length of the arc, m, or inf. Points inside the disc stop it only when it moves onto them.
    """
    if not len(points):
        return math.inf
    x, y = points.T if linear > 0.0 else -points.T
    squared = x * x + y * y
    inside = squared < radius_m * radius_m
    if np.any(inside & (x > 0.0)):
        return 0.0
    if abs(angular) < 1e-3 * abs(linear):
        hit = (np.abs(y) < radius_m) & (x > 0.0)
        if not hit.any():
            return math.inf
        return float(np.min(x[hit] - np.sqrt(radius_m * radius_m - y[hit] ** 2)))
    turn_m = abs(linear / angular)
    y = y if angular > 0.0 else -y
    # In polar coordinates about the centre of the turn (0, turn_m), the disc's centre stays at
    # distance turn_m; it touches a point where the triangle's third side is the radius.
    from_centre = np.sqrt(squared - 2.0 * turn_m * y + turn_m * turn_m)
    hit = (np.abs(from_centre - turn_m) < radius_m) & ~inside
    if not hit.any():
        return math.inf
    x, y, from_centre = x[hit], y[hit], from_centre[hit]
    ahead = np.arctan2(x, turn_m - y) % (2.0 * math.pi)
    cosine = (turn_m * turn_m + from_centre * from_centre - radius_m * radius_m) / (
        2.0 * turn_m * from_centre
    )
    contact = ahead - np.arccos(np.clip(cosine, -1.0, 1.0))
    return float(turn_m * max(np.min(contact), 0.0))


def _seen_from(points: NDArray[np.float64], then: Pose, now: Pose) -> NDArray[np.float64]:
    """Points (N, 2) of the robot's frame at pose `then`, in its frame at pose `now`."""
    x, y, yaw = relative(then, now)
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


class CommandAverage:
    """Averages commands over fixed intervals: what moved the robot, for the world model.

    Each command is taken to hold from its time to the next one's. Intervals are told to `emit`
    as (start s, duration s, mean linear m/s, mean angular rad/s).
    """

    def __init__(
        self, interval_s: float, emit: Callable[[float, float, float, float], None]
    ) -> None:
        self._interval_s = interval_s
        self._emit = emit
        self._start_s = self._last_s = math.nan
        self._command = (0.0, 0.0)
        self._sum = [0.0, 0.0]

    def add(self, ros_s: float, linear: float, angular: float) -> None:
        """Note the command (m/s, rad/s) sent at `ros_s`; a gap or a jump back starts afresh."""
        if not 0.0 <= ros_s - self._last_s <= 5.0 * self._interval_s:
            self._start_s, self._sum = ros_s, [0.0, 0.0]
        else:
            self._hold_until(ros_s)
        self._last_s, self._command = ros_s, (linear, angular)

    def _hold_until(self, ros_s: float) -> None:
        while ros_s >= self._start_s + self._interval_s - 1e-9:
            end_s = self._start_s + self._interval_s
            self._accumulate(end_s - self._last_s)
            linear, angular = (total / self._interval_s for total in self._sum)
            self._emit(self._start_s, self._interval_s, linear, angular)
            self._start_s = self._last_s = end_s
            self._sum = [0.0, 0.0]
        self._accumulate(ros_s - self._last_s)

    def _accumulate(self, seconds: float) -> None:
        for axis in (0, 1):
            self._sum[axis] += self._command[axis] * seconds


def _started(plan: Plan, ros_s: float) -> bool:
    return not len(plan.actions) or plan.start_s <= ros_s


def _is_fresh(age_s: float, limit_s: float) -> bool:
    return -_CLOCK_JUMP_S <= age_s <= limit_s  # NaN is not


def _age(age_s: float, limit_s: float) -> str:
    return f"the last one is {age_s:.2f} s old, limit {limit_s:.2f} s"


def _plan_fault(plan: Plan) -> Reason | None:
    try:
        actions = np.asarray(plan.actions, dtype=np.float64)
    except (TypeError, ValueError):
        return Reason.PLAN_BAD_SHAPE
    if actions.ndim != 2 or actions.shape[1] != 2:
        return Reason.PLAN_BAD_SHAPE
    if len(actions) > MAX_PLAN_STEPS:
        return Reason.PLAN_TOO_LONG
    if not len(actions):
        return None
    stamps = (plan.start_s, plan.seen_s or 0.0)
    if not (np.isfinite(stamps).all() and np.isfinite(actions).all()):
        return Reason.PLAN_BAD_NUMBER
    if not MIN_ACTION_DURATION_S <= plan.action_duration_s <= MAX_ACTION_DURATION_S:
        return Reason.PLAN_BAD_DURATION
    return None
