"""Where surprise alarms: what normal driving hardly ever exceeds."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.bundle.manifest import Calibration, Scale
from foresight.training.calibrate import _lasting, _no_lower, _scale, per_minute_threshold

MINUTE = 600  # frames


def normal(minutes: int, seed: int, heavy: bool) -> np.ndarray:
    """Scores (T,) of frames of normal driving."""
    drawn = np.random.default_rng(seed).standard_normal(minutes * MINUTE)
    return np.exp(drawn) if heavy else drawn


@pytest.mark.parametrize("heavy", [True, False], ids=["heavy tail", "light tail"])
@pytest.mark.parametrize("minutes", [20, 400])
def test_alarms_in_one_of_a_hundred_minutes_at_most(minutes: int, heavy: bool) -> None:
    """On average over calibrations, from many minutes or from few."""
    rates = []
    for seed in range(30):
        limit = per_minute_threshold(normal(minutes, seed, heavy), 0.01, log=heavy)
        fresh = normal(200, 1000 + seed, heavy).reshape(-1, MINUTE)
        rates.append((fresh.max(1) > limit).mean())
    assert np.mean(rates) <= 0.02


def test_nothing_seen_in_calibration_alarms_when_there_are_few_minutes() -> None:
    score = normal(5, 0, heavy=True)
    assert per_minute_threshold(score, 0.01) >= score.max()


@pytest.mark.parametrize("level", [-0.3, 0.0, 95.0])
@pytest.mark.parametrize("log", [True, False])
def test_drives_in_which_nothing_happens_have_a_scale_too(level: float, log: bool) -> None:
    scale = _scale(np.full(1500, level, np.float32), log)
    assert scale.usual == pytest.approx(level)
    assert np.isfinite(scale.alarm) and scale.alarm > scale.usual


def test_means_do_not_reach_across_episodes() -> None:
    score = np.array([0.0, 0, 0, 0, 10, 10, 10])
    episode = np.array([0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(_lasting(score, episode, 3), [0, 0, 10])
    np.testing.assert_allclose(_lasting(score[:2], episode[:2], 5), [0])


def test_a_new_home_never_alarms_below_the_bundle_it_came_from() -> None:
    def told(alarm: float) -> Calibration:
        scale = Scale(usual=0.0, alarm=alarm)
        return Calibration(
            latent_surprise=scale,
            no_effect=scale,
            twist_surprise=Scale(usual=0.0, alarm=5.0),
            twist_spread=(0.1, 0.1),
            arrived_gap=0.3,
        )

    raised = _no_lower(told(2.0), told(7.0))
    assert (raised.latent_surprise.alarm, raised.no_effect.alarm) == (7.0, 7.0)
    assert _no_lower(told(9.0), told(7.0)) == told(9.0)
