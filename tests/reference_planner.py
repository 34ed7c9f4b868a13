"""The planner graph's algorithm once more, in NumPy: what the graph is checked against.

It is made of the same three parts. Its dynamics calls the bundle's `dynamics` graph for every
imagined step, its objective the `relation` graph, where the planner graph has them inside. Slow,
and used by tests and benchmarks only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foresight.bundle import Bundle
from foresight.bundle.manifest import PLANNER
from foresight.solvers.coloured_noise import colouring

Array = np.ndarray
Inputs = dict[str, Array]

_HOMING_M = 0.8
_SLACK_M = 0.12


class _Foreseen(NamedTuple):
    """Latents (N, H, D), bumps (N, H), expected errors (N, H)."""

    latents: Array
    bumps: Array
    errors: Array


class ReferencePlanner:
    """The search. Takes and gives what the planner graph takes and gives, by name; see `ICEM`."""

    def __init__(self, bundle: Bundle, planner: str = PLANNER) -> None:
        self._spec, action = bundle.manifest.planners[planner], bundle.manifest.body.action
        self._foresee, self._objective = _Dynamics(bundle), _ReachGoal(bundle, planner)
        self._low, self._high = np.array(action.low), np.array(action.high)
        self._colour = colouring(self._spec.horizon, self._spec.noise_exponent)

    def __call__(self, inputs: Inputs) -> Inputs:
        """Search from these inputs."""
        spec, span = self._spec, self._high - self._low
        mean, spread = inputs["warm_start"], np.broadcast_to(span / 4, (spec.horizon, len(span)))
        kept, kept_cost = mean[:0], np.zeros(0)
        for k, noise in enumerate(inputs["noise"]):
            drawn = np.clip(mean + spread * (self._colour @ noise), self._low, self._high)
            if k == 0:
                drawn = np.concatenate([inputs["proposals"], drawn[spec.proposals :]])
            candidates = np.concatenate([mean, drawn, kept])
            cost = np.concatenate([self.cost(candidates[: spec.samples], inputs), kept_cost])
            best = np.argsort(cost, kind="stable")[: spec.elites]
            elite = candidates[best]
            kept, kept_cost = elite[: spec.kept], cost[best][: spec.kept]
            weight = np.exp((cost[best[0]] - cost[best]) / spec.temperature)
            mean = np.average(elite, 0, weight)[None]
            spread = np.sqrt(np.average(np.square(elite - mean), 0, weight))
            spread += spec.spread_floor * span / 4
        names = ("energy", "latents", "collision", "uncertainty")
        return {"actions": mean, **dict(zip(names, self.foresee(mean, inputs), strict=True))}

    def cost(self, actions: Array, inputs: Inputs) -> Array:
        """Of action sequences (N, H, A): (N,)."""
        driven = _driven(actions, inputs)
        return self._objective.cost(actions, driven, self._foresee(driven, inputs), inputs)

    def foresee(self, actions: Array, inputs: Inputs) -> tuple[Array, Array, Array, Array]:
        """Action sequences (N, H, A) -> energy (N, H), latents (N, H, D), collision (N, H),
        uncertainty (N, H)."""
        driven = _driven(actions, inputs)
        foreseen = self._foresee(driven, inputs)
        energy, collision = self._objective.judge(driven, foreseen, inputs)
        return energy, foreseen.latents, collision, foreseen.errors


def _driven(actions: Array, inputs: Inputs) -> Array:
    """What the robot does of plans (N, H, A): part of the first action is past changing."""
    driven = actions.copy()
    driven[:, 0] += inputs["delay"] * (inputs["committed"] - driven[:, 0])
    return driven


class _Dynamics:
    def __init__(self, bundle: Bundle) -> None:
        self._session = bundle.session("dynamics")

    def __call__(self, actions: Array, inputs: Inputs) -> _Foreseen:
        count = len(actions)
        state = np.repeat(inputs["latent"], count, 0)
        body = np.repeat(inputs["proprioception"], count, 0)
        outputs = ["next_latent", "next_proprioception", "collision", "expected_error"]
        found = []
        for k in range(actions.shape[1]):
            action = actions[:, k].astype(np.float32)
            feeds = {"latent": state, "proprioception": body, "action": action}
            state, body, bump, error = self._session.run(outputs, feeds)
            found.append((state, bump, error))
        return _Foreseen(*(np.stack(part, 1) for part in zip(*found, strict=True)))


class _ReachGoal:
    def __init__(self, bundle: Bundle, planner: str) -> None:
        self._relation = bundle.session("relation")
        self._spec, self._body = bundle.manifest.planners[planner], bundle.manifest.body
        self._span = np.array(self._body.action.high) - np.array(self._body.action.low)
        self._action_s = bundle.manifest.action_s

    def cost(self, planned: Array, driven: Array, foreseen: _Foreseen, inputs: Inputs) -> Array:
        """Of action sequences (N, H, A): (N,)."""
        spec, count = self._spec, len(planned)
        now = np.repeat(inputs["proprioception"][:, None, :-1], count, 0)
        before = np.concatenate([now, planned[:, :-1]], 1)
        jerk = np.square((planned - before) / self._span).sum(-1).mean(1)
        energy, collision = self.judge(driven, foreseen, inputs)
        energy = energy[:, spec.judged_every - 1 :: spec.judged_every]
        weight = np.ones(energy.shape[1])
        weight[-1] = spec.final_weight
        return (
            energy @ (weight / weight.sum())
            + spec.collision_weight * collision.mean(1)
            + spec.uncertainty_weight * foreseen.errors.mean(1)
            + spec.roughness_weight * jerk
        )

    def judge(self, driven: Array, foreseen: _Foreseen, inputs: Inputs) -> tuple[Array, Array]:
        """Energy and collision (N, H)."""
        place, heading = _path(driven, self._action_s)
        collision = np.maximum(foreseen.bumps, self._blocked(place, inputs["obstacles"]))
        learned = self._gap(foreseen.latents, inputs["goal"])
        pose, trust = inputs["goal_pose"][0], inputs["trust"]
        return self._homing(learned, place[:, 1::2], heading[:, 1::2], pose, trust), collision

    def _gap(self, latents: Array, goal: Array) -> Array:
        count, horizon, size = latents.shape
        feeds = {
            "latent": latents.reshape(-1, size),
            "other": np.repeat(goal, count * horizon, 0),
        }
        return self._relation.run(["gap"], feeds)[0].reshape(count, horizon)

    def _blocked(self, place: Array, obstacles: Array) -> Array:
        gap_m = np.linalg.norm(place[:, :, None] - obstacles, axis=-1).min(-1)
        gap_m = gap_m.reshape(len(place), -1, 2).min(-1)
        now_m = np.linalg.norm(obstacles, axis=-1).min()
        least_m = min(now_m - 0.01, self._body.footprint_radius_m + self._spec.margin_m)
        touching = 1 / (1 + np.exp(np.clip((gap_m - least_m) / 0.01, -80, 80)))
        return np.maximum.accumulate(touching, 1)

    def _homing(
        self, learned: Array, place: Array, heading: Array, pose: Array, trust: Array
    ) -> Array:
        """log1p(seconds to the goal), (N, H): learned, or by the goal's pose when close to it."""
        away = pose[:2] - place
        cos, sin = np.cos(heading), np.sin(heading)
        x = cos * away[..., 0] + sin * away[..., 1]
        y = cos * away[..., 1] - sin * away[..., 0]
        near = trust / (1 + np.exp(-(_HOMING_M - np.hypot(*pose[:2])) / (_HOMING_M / 5)))
        return learned + near * (np.log1p(self._seconds(x, y, pose[2] - heading)) - learned)

    def _seconds(self, x: Array, y: Array, yaw: Array) -> Array:
        travel = self._body.travel
        gap, yaw = np.hypot(x, y), _wrapped(yaw)
        share = np.square(gap) / (np.square(gap) + _SLACK_M**2)
        bearing = np.arctan2(y, x)

        def manoeuvre(heading: Array, speed: float) -> Array:
            turns = np.abs(_wrapped(heading)) + np.abs(_wrapped(yaw - heading))
            turned = share * turns + (1 - share) * np.abs(yaw)
            return gap / speed + turned / travel.turn_radps

        return np.minimum(
            manoeuvre(bearing, travel.cruise_mps), manoeuvre(bearing + np.pi, travel.reverse_mps)
        )


def _path(actions: Array, action_s: float) -> tuple[Array, Array]:
    """Places (N, 2H, 2) m and headings (N, 2H) rad, halfway through each action and at its end."""
    half = np.repeat(actions, 2, 1) * (action_s / 2)
    heading = np.cumsum(half[..., 1], 1)
    middle = heading - half[..., 1] / 2
    x, y = (np.cumsum(half[..., 0] * turned, 1) for turned in (np.cos(middle), np.sin(middle)))
    return np.stack([x, y], -1), heading


def _wrapped(angle: Array) -> Array:
    return (angle + np.pi) % (2 * np.pi) - np.pi
