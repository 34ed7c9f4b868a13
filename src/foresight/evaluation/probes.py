"""What a world model knows, measured on fresh drives: is it surprised by faults (`surprise`), does
it predict what actions cause, and does its distance tell how far a place is (`causal`)?

The true pose is recorded here, but serves scoring only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import spearmanr

from foresight import bundle as bundles
from foresight import worlds
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.control.limits import VelocityLimiter
from foresight.evaluation.driving import PERIOD_S
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.geometry import Pose, wrap
from foresight.interfaces import WorldName
from foresight.perception.encoder import Encoder
from foresight.perception.image import to_model
from foresight.runtime.belief import BeliefTracker
from foresight.runtime.dynamics import LatentDynamics, Relation
from foresight.training.scores import auroc, effective_rank
from foresight.worlds.floor_plan import free_space, path_lengths, shortest_path
from foresight.worlds.tasks import draw_poses, driving_seconds

FAULTS = ("teleport", "blocked", "frozen_camera", "wheel_slip")
SLIP = 0.4  # share of what the wheels roll that a slipping robot moves
STEPS_AHEAD = (1, 2, 4, 8)
PLAIN_FRAMES = 1000
_CYCLES = 40
# A cycle (frames): the last fault's traces fade, then normal driving, then the next fault.
_CYCLE, _SETTLED, _ONSET = 60, 20, 50
_EVENT = 10  # frames: the second in which a fault must show
_MOVING_MPS, _MOVING_RADPS = 0.1, 0.4  # at rest nothing can be seen
_CARRIED_M = 1.0
_BLOCK = 100  # frames: neighbouring windows are no independent evidence
_RESAMPLES = 1000
_GOALS, _STARTS = 40, 50
_BESIDE_M = (0.3, 0.6)
_PROBABILITIES = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])  # edges of the bins
_SINGLES = ("effective_rank", "distance_rank_correlation", "displacement_error_m")


@dataclass(frozen=True)
class Job:
    """One drive through a world, watched by a bundle. `seed` draws robot, start and driver."""

    bundle: Path
    robot: Path
    world: WorldName
    seed: int


@dataclass(frozen=True)
class Watched:
    """A drive with faults: surprise (T,) and executed commands (T, 2) m/s, rad/s by frame."""

    world: WorldName
    surprise: np.ndarray
    command: np.ndarray


@dataclass(frozen=True)
class Plain:
    """A drive without faults, by frame.

    latent (T, D); body (T, 3) as the model takes it; command (T, 2) until the next frame; pose
    (T, 3) the true one, m, m, rad.
    """

    world: WorldName
    bundle: Path
    latent: np.ndarray
    body: np.ndarray
    command: np.ndarray
    pose: np.ndarray


# ----- driving ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    image: np.ndarray  # at the model's size
    body: np.ndarray
    command: tuple[float, float]
    pose: Pose


def _drive(job: Job, bundle: Bundle, frames: int, fault: Callable[[int], str]) -> Iterator[_Frame]:
    """A robot drives itself around; `fault` names what is wrong at each frame ("": nothing).

    A robot that is blocked or slips at a frame has been so since the frame before.
    """
    profile, view = RobotProfile.load(job.robot), bundle.manifest.image
    environment, truth = worlds.make(job.world, profile, seed=job.seed)
    places = draw_poses(truth.floor_plan, profile, 200, job.seed)
    driver, limiter = CollectionPolicy(profile, job.seed), VelocityLimiter(profile.limits)
    truth.place(places.pop())
    image = np.zeros((view.height, view.width, 3), np.uint8)
    try:
        for k in range(frames):
            now, seen = fault(k), environment.observe()
            reading = seen.odometry
            if now == "teleport" and fault(k - 1) != "teleport":
                here = truth.pose
                truth.place(next(p for p in places if math.dist(p[:2], here[:2]) > _CARRIED_M))
                places = places[1:] + places[:1]
                seen = environment.observe()  # odometry has not noticed yet
            if now != "frozen_camera":
                image = to_model(seen.image, view)
            told = 1 / SLIP if now == "wheel_slip" else 1.0  # what the wheels say
            body = [told * reading.linear, told * reading.angular, seen.bumper]
            wish = driver.act(seen.scan, seen.bumper, np.array(reading.pose), PERIOD_S)
            command = limiter.step(*wish, PERIOD_S)
            yield _Frame(image, np.array(body, np.float32), command, truth.pose)
            moved = {"blocked": 0.0, "wheel_slip": SLIP}.get(fault(k + 1), 1.0)
            environment.step((moved * command[0], moved * command[1]), PERIOD_S)
    finally:
        environment.close()


def fault_drive(job: Job) -> Watched:
    """Drive through faults of all kinds in turn, the surprise taken as the ROS node takes it."""
    bundle = bundles.load(job.bundle)
    encoder, tracker = Encoder(bundle), BeliefTracker(bundle)
    surprise: list[float] = []
    commands: list[tuple[float, float]] = []
    for k, frame in enumerate(_drive(job, bundle, _CYCLES * _CYCLE, _fault_at)):
        if commands:
            tracker.add_command((k - 1) * PERIOD_S, PERIOD_S, *commands[-1])
        belief = tracker.update(k * PERIOD_S, encoder(frame.image), frame.body)
        surprise.append(belief.surprise)
        commands.append(frame.command)
    return Watched(job.world, np.array(surprise), np.array(commands))


def _fault_at(frame: int) -> str:
    cycle, phase = divmod(frame, _CYCLE)
    return FAULTS[cycle % len(FAULTS)] if phase >= _ONSET else ""


def plain_drive(job: Job) -> Plain:
    """Drive without faults."""
    bundle = bundles.load(job.bundle)
    encoder = Encoder(bundle)
    frames = list(_drive(job, bundle, PLAIN_FRAMES, lambda _: ""))
    return Plain(
        job.world,
        job.bundle,
        np.stack([encoder(frame.image) for frame in frames]),
        np.stack([frame.body for frame in frames]),
        np.array([frame.command for frame in frames], np.float32),
        np.array([frame.pose for frame in frames]),
    )


# ----- surprise ---------------------------------------------------------------------------------


def surprise(drives: Sequence[Watched], seed: int) -> dict[str, Any]:
    """How well surprise tells faults from normal driving.

    An event's score is its highest surprise in the second from its onset; a normal second shortly
    before it is scored alike. Both count only if the robot was told to move in both.

    Returns:
        `auroc` by fault, `auroc_interval` (95%, bootstrap over events), `events` counted; `caught`,
        the share of them in which surprise rises above 1 within the second;
        `false_alarms_per_minute`: how often, in normal driving, surprise rises above 1;
        `alarm_share`: of the frames then; `normal_minutes`; `by_world`.
    """
    rng = np.random.default_rng(seed)
    homes = list(dict.fromkeys(one.world for one in drives))
    by_world = {str(w): _surprise([d for d in drives if d.world == w], rng) for w in homes}
    return _surprise(drives, rng) | {"by_world": by_world}


def _surprise(drives: Sequence[Watched], rng: np.random.Generator) -> dict[str, Any]:
    scores: dict[str, list[tuple[float, float]]] = {fault: [] for fault in FAULTS}
    alarms = raised = frames = 0
    for one in drives:
        for onset in range(_ONSET, len(one.surprise), _CYCLE):
            before = slice(onset - _EVENT - 5, onset - 5)
            after = slice(onset, onset + _EVENT)
            if _moving(one.command[before]) and _moving(one.command[after]):
                pair = float(one.surprise[after].max()), float(one.surprise[before].max())
                scores[_fault_at(onset)].append(pair)
            alarm = one.surprise[onset - _ONSET + _SETTLED : onset] > 1
            alarms += int(np.count_nonzero(np.diff(alarm.astype(int), prepend=0) > 0))
            raised, frames = raised + int(alarm.sum()), frames + len(alarm)
    minutes = frames * PERIOD_S / 60
    known = {fault: np.array(pairs) for fault, pairs in scores.items() if pairs}
    return {
        "auroc": {fault: auroc(*pairs.T) for fault, pairs in known.items()},
        "auroc_interval": {
            fault: _interval(
                [auroc(*pairs[rng.integers(len(pairs), size=len(pairs))].T) for _ in range(300)]
            )
            for fault, pairs in known.items()
        },
        "events": {fault: len(pairs) for fault, pairs in scores.items()},
        "caught": {fault: float((pairs[:, 0] > 1).mean()) for fault, pairs in known.items()},
        "false_alarms_per_minute": alarms / minutes,
        "alarm_share": raised / frames,
        "normal_minutes": minutes,
    }


def _moving(command: np.ndarray) -> bool:
    linear, angular = np.abs(command).mean(0)
    return bool(linear > _MOVING_MPS or angular > _MOVING_RADPS)


# ----- cause and effect -------------------------------------------------------------------------


def causal(drives: Sequence[Plain], profile: RobotProfile, seed: int) -> dict[str, Any]:
    """Prediction against baselines, and the learned distance against the true one.

    Returns:
        `error_ratio`: squared error of the predicted latent, by actions ahead, over that of
        repeating the last latent (`copy_last`) and over that with another drive's actions
        (`shuffled_actions`); `error_ratio_interval` (95%, bootstrap over 10 s of driving);
        `effective_rank` of the latent and `distance_rank_correlation` (Spearman, learned distance
        against the time that the shortest path takes), both the mean over the worlds;
        `displacement_error_m` (median, views 0.3 to 0.6 m apart); `reliability` of the collision
        probability and of the expected error, see `reliability`; `by_world`. A figure that the
        drives cannot show is left out.
    """
    rng = np.random.default_rng(seed)
    homes = list(dict.fromkeys(one.world for one in drives))
    errors, by_world = [], {}
    for world in homes:
        own = [one for one in drives if one.world == world]
        bundle = bundles.load(own[0].bundle)
        errors.append(_errors(own, bundle, rng))
        latent = np.concatenate([one.latent for one in own])
        by_world[str(world)] = (
            _ratios([errors[-1]], rng)
            | {"effective_rank": effective_rank(latent)}
            | _distances(own, bundle, profile, rng)
        )
    means = {
        key: float(np.mean([figures[key] for figures in by_world.values()]))
        for key in _SINGLES
        if all(key in figures for figures in by_world.values())
    }
    collision = np.concatenate([part.collision for part in errors])
    expected = np.concatenate([part.expected for part in errors])
    happened = np.concatenate([part.model[:, 0] for part in errors])
    told, bumped = collision.T
    reliable = {
        "collision": reliability(told, bumped, _PROBABILITIES),
        "error": reliability(expected, happened, np.quantile(expected, np.linspace(0, 1, 11))),
    }
    return _ratios(errors, rng) | means | {"reliability": reliable, "by_world": by_world}


def reliability(told: np.ndarray, happened: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
    """What was told (N,) against what happened (N,), on average in each bin of what was told.

    Of a calibrated model the two agree in every bin (DeGroot & Fienberg 1983). Empty bins are left
    out.
    """
    place = np.clip(np.digitize(told, edges[1:-1]), 0, len(edges) - 2)
    return [
        {
            "told": float(told[place == k].mean()),
            "happened": float(happened[place == k].mean()),
            "count": int((place == k).sum()),
        }
        for k in range(len(edges) - 1)
        if (place == k).any()
    ]


@dataclass(frozen=True)
class _Errors:
    """By window: squared errors by action ahead (N, K); the stretch that it lies in (N,); the error
    expected of the first action (N,); its probability of collision and whether it collided (N, 2).
    """

    model: np.ndarray
    copy_last: np.ndarray
    shuffled_actions: np.ndarray
    stretch: np.ndarray
    expected: np.ndarray
    collision: np.ndarray


def _errors(drives: Sequence[Plain], bundle: Bundle, rng: np.random.Generator) -> _Errors:
    ticks = round(bundle.manifest.action_s / PERIOD_S)
    horizon, span = max(STEPS_AHEAD), ticks * max(STEPS_AHEAD)
    world_model = LatentDynamics(bundle)
    which, start = np.array(
        [(d, k) for d, one in enumerate(drives) for k in range(0, len(one.latent) - span, ticks)]
    ).T
    actions = np.stack(
        [
            drives[d].command[k : k + span].reshape(horizon, ticks, 2).mean(1)
            for d, k in zip(which, start, strict=True)
        ]
    )
    others = [np.flatnonzero(which != d) for d in range(len(drives))]
    errors: list[list[np.ndarray]] = [[], [], []]
    expected, collision = [], []
    for k, (d, at) in enumerate(zip(which, start, strict=True)):
        one = drives[d]
        seen = one.latent[at : at + span + 1 : ticks]
        wrong = rng.choice(others[d]) if len(others[d]) else rng.integers(len(actions))
        pair = np.stack([actions[k], actions[int(wrong)]])
        imagined = world_model.imagine(seen[0], one.body[at], pair)
        guesses = (imagined.latents[0], seen[:1], imagined.latents[1])
        for into, guess in zip(errors, guesses, strict=True):
            into.append(((guess - seen[1:]) ** 2).mean(1))
        bumped = one.body[at + 1 : at + ticks + 1, 2].any()
        expected.append(imagined.expected_error[0, 0])
        collision.append((imagined.collision[0, 0], bumped))
    model, copied, shuffled = (np.stack(part) for part in errors)
    stretch = which * PLAIN_FRAMES + start // _BLOCK
    return _Errors(model, copied, shuffled, stretch, np.array(expected), np.array(collision))


def _ratios(errors: Sequence[_Errors], rng: np.random.Generator) -> dict[str, Any]:
    """Ratios of the sums, and their intervals, stretches of driving drawn with replacement."""
    sums: dict[str, np.ndarray] = {}
    for name in ("model", "copy_last", "shuffled_actions"):
        sums[name] = np.concatenate(
            [
                [getattr(part, name)[part.stretch == s].sum(0) for s in np.unique(part.stretch)]
                for part in errors
            ]
        )
    count = len(sums["model"])
    drawn = rng.integers(count, size=(_RESAMPLES, count))
    model = sums.pop("model")
    ratio: dict[str, dict[str, float]] = {}
    interval: dict[str, dict[str, dict[str, float]]] = {}
    for name, baseline in sums.items():
        whole = model.sum(0) / baseline.sum(0)
        again = model[drawn].sum(1) / baseline[drawn].sum(1)
        ratio[name] = {str(k): float(whole[k - 1]) for k in STEPS_AHEAD}
        interval[name] = {str(k): _interval(again[:, k - 1]) for k in STEPS_AHEAD}
    return {"error_ratio": ratio, "error_ratio_interval": interval}


def _distances(
    drives: Sequence[Plain], bundle: Bundle, profile: RobotProfile, rng: np.random.Generator
) -> dict[str, float]:
    """Learned distance and decoded displacement against the truth, between frames of a world."""
    latent = np.concatenate([one.latent for one in drives])
    pose = np.concatenate([one.pose for one in drives])
    free = free_space(worlds.plan_of(drives[0].world).occupied(), profile.footprint_radius_m)
    pairs, seconds = [], []
    for goal in rng.choice(len(pose), _GOALS, replace=False):
        lengths = path_lengths(free, pose[goal])
        for start in rng.choice(len(pose), _STARTS, replace=False):
            path = shortest_path(lengths, tuple(pose[start]), tuple(pose[goal]))
            if path is not None and len(path) > 1:
                pairs.append((start, goal))
                ends = tuple(pose[start]), tuple(pose[goal])
                seconds.append(driving_seconds(path, *ends, profile))
    a, b = np.array(pairs).T
    relation = Relation(bundle)
    gap = relation(latent[a], latent[b]).gap
    a, b = _beside(pose, rng)
    figures = {}
    if np.ptp(gap) > 0:
        figures["distance_rank_correlation"] = float(spearmanr(gap, seconds).statistic)
    if len(a):
        offset = relation(latent[a], latent[b]).displacement
        missed_m = np.hypot(*(offset[:, :2] - _seen_from(pose[a], pose[b])).T)
        figures["displacement_error_m"] = float(np.median(missed_m))
    return figures


def _beside(pose: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to 100 pairs of frames 0.3 to 0.6 m apart whose headings are within 60 degrees."""
    a, b = rng.integers(len(pose), size=(2, 50_000))
    apart = np.hypot(*(pose[a, :2] - pose[b, :2]).T)
    turn = np.abs(wrap(pose[a, 2] - pose[b, 2]))
    good = (apart > _BESIDE_M[0]) & (apart < _BESIDE_M[1]) & (turn < math.radians(60))
    chosen = np.flatnonzero(good)[:100]
    return a[chosen], b[chosen]


def _seen_from(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where poses (N, 3) lie in the frames of others: (N, 2) m."""
    dx, dy = (there - here)[:, :2].T
    cos, sin = np.cos(here[:, 2]), np.sin(here[:, 2])
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx], 1)


def _interval(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return {"low": float(low), "high": float(high)}


# ----- for people -------------------------------------------------------------------------------


def summary(content: dict[str, Any]) -> tuple[str, Table]:
    """The figures of `surprise` or `causal` with their intervals."""
    return _surprise_summary(content) if "auroc" in content else _causal_summary(content)


def _surprise_summary(content: dict[str, Any]) -> tuple[str, Table]:
    headline = (
        f"surprise: {content['false_alarms_per_minute']:.2f} false alarms per minute in "
        f"{content['normal_minutes']:.1f} minutes of normal driving"
    )
    table = Table("fault", "AUROC", "95% interval", "events", "alarms within 1 s")
    for fault, value in content["auroc"].items():
        ends, count = content["auroc_interval"][fault], content["events"][fault]
        ends_text = f"{ends['low']:.3f}-{ends['high']:.3f}"
        caught = f"{content['caught'][fault]:.0%}"
        table.add_row(fault, f"{value:.3f}", ends_text, str(count), caught)
    return headline, table


def draw_reliability(content: dict[str, Any], file: Path) -> None:
    """The reliability diagrams of `causal` as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    titles = {"collision": "collision within one action", "error": "squared latent error"}
    for axis, (name, bins) in zip(axes, content["reliability"].items(), strict=True):
        told, happened = [b["told"] for b in bins], [b["happened"] for b in bins]
        ends = [min(told + happened), max(told + happened)]
        axis.plot(ends, ends, "--", color="grey", label="calibrated")
        axis.plot(told, happened, "o-", label="measured")
        axis.set(title=titles[name], xlabel="told beforehand", ylabel="happened")
        if name == "error":
            axis.set(xscale="log", yscale="log")
        axis.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _causal_summary(content: dict[str, Any]) -> tuple[str, Table]:
    known = [
        f"{name.replace('_', ' ')} {content[name]:.3g}" for name in _SINGLES if name in content
    ]
    headline = "causal: " + ", ".join(known)
    table = Table("actions ahead", *map(str, STEPS_AHEAD))
    for name, ratio in content["error_ratio"].items():
        ends = content["error_ratio_interval"][name]
        cells = (f"{ratio[k]:.2f}\n{e['low']:.2f}-{e['high']:.2f}" for k, e in ends.items())
        table.add_row(f"error / {name.replace('_', ' ')}", *cells)
    return headline, table
