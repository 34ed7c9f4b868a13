"""A tour comes near all of a home, and what is remembered of it leads on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from foresight import bundle, worlds
from foresight.bodies.profile import RobotProfile
from foresight.evaluation import memory_tour
from foresight.evaluation.memory_tour import MemoryJob, path_lengths_to, remember, stations
from foresight.memory import Places
from foresight.worlds.tasks import draw_poses

HOMEBOT = Path("config/robots/homebot.yaml")


def test_a_station_is_near_wherever_the_robot_can_be() -> None:
    profile = RobotProfile.load(HOMEBOT)
    _, truth = worlds.make(3, profile)
    truth.place(draw_poses(truth.floor_plan, profile, 1, 1)[0])
    found = stations(truth, profile, 0)
    poses = draw_poses(truth.floor_plan, profile, 50, 9)
    reachable = np.isfinite(path_lengths_to(truth, profile, poses))
    assert reachable.sum() > 20
    for pose in (pose for pose, free in zip(poses, reachable, strict=True) if free):
        assert min(math.dist(pose[:2], s[:2]) for s in found) < 1.7


@pytest.mark.parametrize("explored", [False, True])
def test_what_is_remembered_of_a_drive_is_connected(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, explored: bool
) -> None:
    """Half a minute of a tour or an exploration, with a model that hardly learned anything."""
    file = tmp_path / "places.db"
    monkeypatch.setattr(memory_tour, "TOUR_S", 30.0)
    monkeypatch.setattr(memory_tour, "EXPLORE_S", 30.0)
    made = remember(MemoryJob(exported, HOMEBOT, 0, 3, file, explored))
    assert made.places > 1
    assert 0.0 < made.minutes <= 0.5
    manifest = bundle.load(exported).manifest
    with Places.open(file, manifest.graphs["encoder"].sha256, manifest.latent_size) as places:
        assert len(places) == made.places
        assert np.isfinite(places.costs_to(int(places.ids[-1])).costs).sum() > 1
