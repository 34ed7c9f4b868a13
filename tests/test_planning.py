"""Imagining, believing and driving to a goal, as the robot does it: bundle in, actions out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foresight import bundle
from foresight.bundle import Bundle
from foresight.perception.scan import scan_points
from foresight.planning import NavigationStep, Navigator, Status
from foresight.planning.navigator import FAR_M, nearest_by_sector
from foresight.runtime.belief import Belief, BeliefTracker
from foresight.runtime.dynamics import LatentDynamics
from scripted import AHEAD, SIZE, view

ACTION_S = 0.5
REPLAN_S = 0.3
FAR = view(x=2.0, y=1.0, yaw=1.0, close=0.1, seconds=8.0)
THERE = view()
STANDING = np.zeros(3, np.float32)
ANYWHERE = np.zeros(SIZE, np.float32)  # as a goal: the scripted graphs do not look at it


@pytest.fixture(scope="module")
def story(scripted: Path) -> Bundle:
    """The bundle whose latents tell where the goal is."""
    return bundle.load(scripted)


@pytest.fixture(scope="module")
def model(exported: Path) -> Bundle:
    """A bundle of real networks, which hardly learned anything."""
    return bundle.load(exported)


@pytest.fixture
def navigator(story: Bundle) -> Navigator:
    navigator = Navigator(story)
    navigator.set_goal(ANYWHERE)
    return navigator


def drive(
    navigator: Navigator,
    seconds: float,
    seen: np.ndarray | Callable[[float], np.ndarray],
    speed: float = 0.0,
    since: float = 0.0,
) -> Iterator[NavigationStep]:
    """Replan at a steady rate while the camera shows `seen`, a view or one by the time."""
    for k in range(round(seconds / REPLAN_S)):
        now = since + k * REPLAN_S
        shown = seen(now) if callable(seen) else seen
        yield navigator.update(now, shown, np.array([speed, 0, 0], np.float32))


def recovers(step: NavigationStep) -> bool:
    """Whether something else than the planner's plan is to be driven."""
    return step.status is Status.DRIVING and not np.array_equal(step.actions, AHEAD)


# ----- arriving


def test_far_from_the_goal_the_plan_is_driven(navigator: Navigator) -> None:
    step = navigator.update(0.0, FAR, STANDING)
    assert step.status is Status.DRIVING
    np.testing.assert_array_equal(step.actions, AHEAD)
    assert step.eta_s == pytest.approx(8.0, rel=1e-4)
    assert step.offset == pytest.approx((2.0, 1.0, 1.0), abs=1e-4)
    assert step.close == pytest.approx(0.1, abs=1e-4)


def test_arrives_at_the_second_view_of_the_goal(navigator: Navigator) -> None:
    first, second = drive(navigator, 0.6, THERE)
    assert first.status is Status.DRIVING
    assert second.status is Status.REACHED
    assert not second.actions.any()


def test_two_views_of_the_goal_must_follow_each_other(navigator: Navigator) -> None:
    flicker = [THERE, FAR, THERE, FAR, THERE]
    for k, seen in enumerate(flicker):
        assert navigator.update(k * REPLAN_S, seen, STANDING).status is Status.DRIVING


@pytest.mark.parametrize(
    "seen",
    [
        view(x=0.5),
        view(y=-0.5),
        view(yaw=1.0),
        view(yaw=-1.0),
        view(close=0.2),
        view(seconds=3.0),
    ],
    ids=["ahead", "to the right", "turned left", "turned right", "elsewhere", "a long way"],
)
def test_distance_and_displacement_must_agree(navigator: Navigator, seen: np.ndarray) -> None:
    assert Status.REACHED not in {step.status for step in drive(navigator, 20.0, seen)}


def test_nearly_there_for_a_while_is_there(navigator: Navigator) -> None:
    """No closer is to be had: it settles, and does not back off from the goal first."""
    steps = list(drive(navigator, 6.0, view(x=0.15)))
    assert steps[1].status is Status.DRIVING
    assert steps[-1].status is Status.REACHED
    assert not any(map(recovers, steps))


def test_new_goal_forgets_the_old_one(navigator: Navigator) -> None:
    """One view of the old goal and one of the new one do not make an arrival."""
    navigator.update(0.0, THERE, STANDING)
    navigator.set_goal(ANYWHERE)
    assert navigator.update(0.3, THERE, STANDING).status is Status.DRIVING
    assert navigator.update(0.6, THERE, STANDING).status is Status.REACHED


def test_without_a_goal_there_is_nothing_to_plan(story: Bundle, navigator: Navigator) -> None:
    with pytest.raises(RuntimeError, match="no goal"):
        Navigator(story).update(0.0, FAR, STANDING)
    navigator.clear_goal()
    with pytest.raises(RuntimeError, match="no goal"):
        navigator.update(0.0, FAR, STANDING)


def test_a_clock_that_is_set_back_leaves_no_past(story: Bundle, navigator: Navigator) -> None:
    """As when a recording starts anew: as from a fresh start, towards the same goal."""
    for _ in drive(navigator, 6.0, view(x=0.4), since=100.0):
        pass
    again, fresh = navigator.update(0.0, view(x=0.1), STANDING), Navigator(story)
    assert again.offset == pytest.approx((0.1, 0.0, 0.0), abs=1e-6)
    fresh.set_goal(ANYWHERE)
    fresh.update(0.0, view(x=0.1), STANDING)
    assert navigator.update(0.3, THERE, STANDING).status is Status.REACHED
    assert fresh.update(0.3, THERE, STANDING).status is Status.REACHED


# ----- getting stuck


def test_recovers_when_it_does_not_move(navigator: Navigator) -> None:
    recovery = next(filter(recovers, drive(navigator, 30.0, FAR)))
    assert recovery.actions[0, 0] < 0  # back first: what is ahead may be what holds it
    assert recovery.actions[:, 1].any()  # and not in the same direction again


@pytest.mark.parametrize(("wall_y_m", "turn"), [(0.3, -1.0), (-0.3, 1.0)])
def test_recovers_to_the_side_that_the_scan_shows_open(
    navigator: Navigator, wall_y_m: float, turn: float
) -> None:
    """A wall ahead and another one beside the robot."""
    beside = np.stack([np.linspace(-1.0, 0.3, 27), np.full(27, wall_y_m)], 1)
    ahead = np.stack([np.full(13, 0.3), np.linspace(-0.3, 0.3, 13)], 1)
    walls = np.concatenate([beside, ahead])
    steps = (navigator.update(k * REPLAN_S, FAR, STANDING, walls) for k in range(100))
    turns = next(filter(recovers, steps)).actions[:, 1]
    assert np.sign(turns[turns != 0]).tolist() == [turn] * np.count_nonzero(turns)


def test_recoveries_in_a_row_turn_elsewhere(navigator: Navigator) -> None:
    """The robot turns as it is told, but gets no nearer to the goal."""
    heading, headings, twist, recovering = 0.0, [0.0], np.zeros(3, np.float32), False
    for k in range(100):
        step = navigator.update(k * REPLAN_S, FAR, twist)
        if recovering and not recovers(step):
            headings.append(heading)
        recovering = recovers(step)
        twist[1] = step.actions[0, 1] if recovering else 0.0
        heading += REPLAN_S * float(twist[1])
    towards = np.exp(1j * np.array(headings[:3]))
    apart = np.abs(np.angle(towards[:, None] / towards)) + 10 * np.eye(3)
    assert apart.min() > 0.7


def test_recovers_when_it_drives_about_without_getting_nearer(navigator: Navigator) -> None:
    assert any(map(recovers, drive(navigator, 60.0, FAR, speed=0.4)))


def test_no_recovery_while_the_goal_comes_nearer(navigator: Navigator) -> None:
    def nearing(now: float) -> np.ndarray:
        return view(x=2.0, close=0.1, seconds=62.0 - now)

    assert not any(map(recovers, drive(navigator, 60.0, nearing)))


def test_after_a_recovery_the_plan_is_driven_again(navigator: Navigator) -> None:
    steps = [recovers(step) for step in drive(navigator, 30.0, FAR)]
    assert False in steps[steps.index(True) :]


def test_gives_up_after_repeated_recoveries(navigator: Navigator) -> None:
    steps = list(drive(navigator, 300.0, FAR))
    blocked = [step.status for step in steps].index(Status.BLOCKED)
    tries = [recovers(step) for step in steps[:blocked]]
    assert sum(a and not b for a, b in zip(tries[1:], tries[:-1], strict=True)) >= 3
    assert not steps[blocked].actions.any()


def test_does_not_give_up_while_it_gets_nearer_now_and_then(navigator: Navigator) -> None:
    """It gets stuck again and again, but each time a little further on."""

    def in_jerks(now: float) -> np.ndarray:
        return view(x=2.0, close=0.1, seconds=60.0 - 5.0 * (now // 30.0))

    statuses = {step.status for step in drive(navigator, 300.0, in_jerks)}
    assert statuses == {Status.DRIVING}


def test_new_goal_after_giving_up(navigator: Navigator) -> None:
    assert any(step.status is Status.BLOCKED for step in drive(navigator, 300.0, FAR))
    navigator.set_goal(ANYWHERE)
    steps = list(drive(navigator, 1.2, FAR, since=300.0))
    assert all(step.status is Status.DRIVING and not recovers(step) for step in steps)


def test_every_recovery_keeps_the_limits(story: Bundle) -> None:
    low, high = story.manifest.body.action.low, story.manifest.body.action.high
    for seed in range(5):
        navigator = Navigator(story, seed)
        navigator.set_goal(ANYWHERE)
        for step in drive(navigator, 60.0, FAR):
            assert (step.actions >= low).all() and (step.actions <= high).all()


# ----- planning


def test_plan_goes_on_where_the_last_one_has_got_to(navigator: Navigator) -> None:
    """The scripted planner shows its warm start as `collision`."""
    assert not navigator.update(0.0, FAR, STANDING).collision.any()
    later = navigator.update(ACTION_S, FAR, STANDING)
    np.testing.assert_allclose(later.collision, AHEAD[[1, 2, 3, 3], 0], atol=1e-6)
    within = navigator.update(1.5 * ACTION_S, FAR, STANDING)
    np.testing.assert_allclose(within.collision, [0.25, 0.35, 0.45, 0.5], atol=1e-6)
    navigator.set_goal(ANYWHERE)
    assert not navigator.update(2 * ACTION_S, FAR, STANDING).collision.any()


def test_plan_that_led_nowhere_is_not_taken_up_again(navigator: Navigator) -> None:
    steps = list(drive(navigator, 30.0, FAR))
    assert steps[1].collision.any()  # the warm start, as the scripted planner shows it
    assert not steps[list(map(recovers, steps)).index(True) + 1].collision.any()


def test_same_seed_same_plan(model: Bundle) -> None:
    def plans(seed: int) -> np.ndarray:
        navigator, rng = Navigator(model, seed), np.random.default_rng(0)
        navigator.set_goal(rng.standard_normal(192))
        latent = rng.standard_normal((2, 192))
        return np.stack([navigator.update(k * 0.3, latent[k], STANDING).actions for k in (0, 1)])

    np.testing.assert_array_equal(plans(3), plans(3))
    assert not np.array_equal(plans(3), plans(4))


def test_what_is_done_until_a_plan_arrives_is_past_changing(story: Bundle) -> None:
    """It takes 0.4 s: the last plan goes on until then, through two of its actions."""
    navigator = Navigator(story)
    navigator.set_goal(ANYWHERE)
    asked: list[dict[str, np.ndarray]] = []
    run = navigator._session.run
    navigator._session.run = lambda names, inputs: asked.append(dict(inputs)) or run(names, inputs)  # type: ignore[method-assign]
    moving = np.array([0.3, -0.2, 0], np.float32)
    navigator.update(0.0, FAR, moving, delay_s=0.1)
    # Whatever made it move before this goal came goes on until then.
    np.testing.assert_allclose(asked[0]["committed"][0], moving[:2])
    assert float(asked[0]["delay"][0]) == pytest.approx(0.1 / ACTION_S)
    navigator.update(0.3, FAR, STANDING, delay_s=0.4)
    np.testing.assert_allclose(asked[1]["committed"][0], AHEAD[:2].mean(0), atol=1e-6)
    assert float(asked[1]["delay"][0]) == pytest.approx(0.4 / ACTION_S)
    navigator.update(0.6, FAR, STANDING, delay_s=60.0)
    assert float(asked[2]["delay"][0]) == 1.0


def test_plans_keep_the_limits_of_the_bundle(model: Bundle) -> None:
    action, navigator = model.manifest.body.action, Navigator(model)
    rng = np.random.default_rng(0)
    for k in range(20):
        navigator.set_goal(rng.standard_normal(192))
        step = navigator.update(k * 0.3, 3 * rng.standard_normal(192), STANDING)
        assert step.actions.shape == (model.manifest.planner.horizon, len(action.names))
        assert (step.actions >= np.array(action.low) - 1e-6).all()
        assert (step.actions <= np.array(action.high) + 1e-6).all()
        assert (step.energy >= 0).all() and step.eta_s >= 0
        assert ((step.collision >= 0) & (step.collision <= 1)).all()


def test_planner_and_dynamics_imagine_the_same(model: Bundle) -> None:
    """What the planner foresaw for its plan is what the dynamics graph says of that plan."""
    rng = np.random.default_rng(1)
    latent, navigator = rng.standard_normal(192).astype(np.float32), Navigator(model)
    navigator.set_goal(rng.standard_normal(192))
    body = np.array([0.2, -0.3, 0], np.float32)
    step = navigator.update(0.0, latent, body)
    imagined = LatentDynamics(model).imagine(latent, body, step.actions[None])
    np.testing.assert_allclose(imagined.latents[0], step.latents, atol=1e-4)
    np.testing.assert_allclose(imagined.collision[0], step.collision, atol=1e-4)


# ----- imagining


def test_imagined_way_around_a_corner(story: Bundle) -> None:
    """Half a metre on, a quarter turn left, half a metre on: in the frame of the start."""
    actions = np.array([[[1.0, 0.0], [0.0, math.pi], [1.0, 0.0]]])
    imagined = LatentDynamics(story).imagine(THERE, STANDING, actions)
    way = [[0.5, 0, 0], [0.5, 0, math.pi / 2], [0.5, 0.5, math.pi / 2]]
    np.testing.assert_allclose(imagined.displacement[0], way, atol=1e-6)
    np.testing.assert_allclose(imagined.collision[0], [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(imagined.latents[0, :, 0] - THERE[0], [0.5, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(
        imagined.latents[0, :, 1] - THERE[1], [0, math.pi / 2, math.pi / 2], atol=1e-6
    )


@given(hnp.arrays(np.float64, (3, 5, 2), elements=st.floats(-2, 2)))
def test_imagined_ways_add_up(scripted: Path, actions: np.ndarray) -> None:
    """Each future on its own, against arithmetic on complex numbers."""
    imagined = LatentDynamics(bundle.load(scripted)).imagine(THERE, STANDING, actions)
    assert imagined.latents.shape == (3, 5, SIZE)
    assert imagined.collision.shape == (3, 5)
    for future, way in zip(actions, imagined.displacement, strict=True):
        place, heading = 0j, 0.0
        for (linear, angular), (x, y, yaw) in zip(future, way, strict=True):
            place += ACTION_S * linear * complex(math.cos(heading), math.sin(heading))
            heading += ACTION_S * angular
            assert (x, y, yaw) == pytest.approx((place.real, place.imag, heading), abs=1e-5)


# ----- keeping clear


def test_a_scan_becomes_points_ahead_and_to_the_left() -> None:
    """Of four beams, one is an echo ahead, one to the left; one is too near, one has no echo."""
    points = scan_points(np.array([2.0, 1.0, 0.05, np.inf]), 0.0, math.pi / 2, 0.1)
    np.testing.assert_allclose(points, [[2.0, 0.0], [0.0, 1.0]], atol=1e-9)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 300), st.just(2)), elements=st.floats(-5, 5))
)
def test_the_nearest_point_of_a_scan_is_never_lost(points: np.ndarray) -> None:
    found = nearest_by_sector(points, 64)
    assert found.shape == (64, 2)
    if len(points):
        nearest = np.hypot(*points.T).min()
        assert np.hypot(*found.T).min() == pytest.approx(nearest, abs=1e-5)


def test_without_a_scanner_nothing_is_near() -> None:
    for nothing in (None, np.zeros((0, 2))):
        assert np.hypot(*nearest_by_sector(nothing, 16).T).min() >= FAR_M


# ----- believing


class Watcher:
    """A robot that commands `linear` at 10 Hz, and sees itself move as the scripted model says."""

    def __init__(self, story: Bundle) -> None:
        self.tracker = BeliefTracker(story)
        self.now, self.x, self.turning = 0.0, 0.0, 0.0

    def watch(
        self,
        seconds: float,
        linear: float = 0.4,
        actual: float | None = None,
        wheels: float | None = None,
        pressed: bool = False,
    ) -> list[Belief]:
        """What it believes; it moves at `actual` and its wheels count `wheels` (m/s)."""
        actual = linear if actual is None else actual
        wheels = actual if wheels is None else wheels
        beliefs = []
        for _ in range(round(seconds / 0.1)):
            body = np.array([self.turning, 0.0, pressed], np.float32)
            beliefs.append(self.tracker.update(self.now, view(x=self.x), body))
            self.tracker.add_command(self.now, 0.1, linear, 0.0)
            self.now, self.x, self.turning = self.now + 0.1, self.x + 0.1 * actual, wheels
        return beliefs


@pytest.fixture
def watcher(story: Bundle) -> Watcher:
    return Watcher(story)


def test_no_surprise_before_there_is_a_past(watcher: Watcher) -> None:
    assert [belief.surprise for belief in watcher.watch(ACTION_S)] == [0.0] * 5


def test_no_surprise_while_all_goes_as_foreseen(watcher: Watcher) -> None:
    assert max(belief.surprise for belief in watcher.watch(3.0)) < 1e-3


def test_jump_surprises_by_its_size(story: Bundle, watcher: Watcher) -> None:
    watcher.watch(1.0)
    watcher.x += 0.6
    beliefs = watcher.watch(0.5)
    alarm = story.manifest.calibration.latent_surprise.alarm
    assert beliefs[0].surprise == pytest.approx(0.6**2 / SIZE / alarm / 5, rel=0.01)
    assert beliefs[-1].surprise == pytest.approx(0.6**2 / SIZE / alarm, rel=0.01)
    assert beliefs[0].surprise > 1


def test_uncertainty_outlasts_a_surprise_and_fades(watcher: Watcher) -> None:
    watcher.watch(1.0)
    watcher.x += 0.6
    shaken = watcher.watch(1.0)[-1]
    assert shaken.surprise < 0.01 < shaken.uncertainty
    assert watcher.watch(4.0)[-1].uncertainty < 0.1 * shaken.uncertainty


def test_being_held_while_driving_surprises(watcher: Watcher) -> None:
    """Commanded to 0.4 m/s but at rest: 4 times the usual gap on one of two axes."""
    found = watcher.watch(2.0, 0.4, actual=0.0)[-1].surprise
    assert found == pytest.approx(4.0**2 / 2, rel=0.01)


def test_being_held_by_what_the_bumper_feels_is_no_surprise(watcher: Watcher) -> None:
    held = watcher.watch(2.0, 0.4, actual=0.0, pressed=True)[-1]
    assert held.surprise == pytest.approx(0.2**2 / SIZE / 0.01, rel=0.01)  # the prediction's error


def test_wheels_that_slip_surprise(watcher: Watcher) -> None:
    """The view moves on by 0.08 m instead of 0.2 m: nearer to nothing than to what was expected."""
    found = watcher.watch(2.0, 0.4, actual=0.16, wheels=0.4)[-1].surprise
    assert found == pytest.approx((0.12**2 - 0.08**2) / SIZE / 0.001, rel=0.01)


def test_picture_that_stands_still_while_the_wheels_turn_surprises(watcher: Watcher) -> None:
    """More with every frame, up to the length of an action."""
    watcher.watch(2.0, 0.4)
    surprises = [belief.surprise for belief in watcher.watch(2.0, 0.4, actual=0.0, wheels=0.4)]
    assert sorted(surprises[:10]) == surprises[:10]
    assert surprises[0] < 1 < surprises[-1] == pytest.approx(0.2**2 / SIZE / 0.001, rel=0.01)


def test_expectation_follows_the_mean_of_what_was_executed(watcher: Watcher) -> None:
    """Commands change within an action: the mean over it counts, not the last one."""
    beliefs = []
    for linear in (0.4, 0.0, -0.2, 0.4):
        beliefs += watcher.watch(0.3, linear)
    assert len(beliefs) == 12 and max(belief.surprise for belief in beliefs) < 1e-3


def test_without_known_commands_nothing_can_be_expected(story: Bundle) -> None:
    tracker = BeliefTracker(story)
    beliefs = [tracker.update(0.1 * k, view(x=float(k)), STANDING) for k in range(20)]
    assert [belief.surprise for belief in beliefs] == [0.0] * 20


def test_older_stamp_starts_over(watcher: Watcher) -> None:
    """A clock that jumps back, as when a recording starts anew, is no surprise."""
    watcher.watch(1.0)
    watcher.x += 0.6
    assert watcher.watch(0.2)[-1].uncertainty > 0
    watcher.now, watcher.x = 0.0, 5.0
    beliefs = watcher.watch(2.0)
    assert beliefs[0].surprise == beliefs[0].uncertainty == 0.0
    assert max(belief.surprise for belief in beliefs) < 1e-3


def test_belief_carries_what_was_observed(watcher: Watcher) -> None:
    belief = watcher.watch(0.1)[0]
    np.testing.assert_array_equal(belief.latent, view(x=0.0))
    assert belief.stamp_s == 0.0
