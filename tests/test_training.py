"""What training promises: the data it reads, the targets it learns from, what it leaves behind."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from foresight import bundle
from foresight.bodies import body_of
from foresight.bodies.profile import RobotProfile
from foresight.bundle import BundleError, ImageSpec
from foresight.bundle.manifest import PlannerSpec
from foresight.data.dataset import DatasetError, episode_files, load_episode
from foresight.data.windows import Drives
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.perception.encoder import Encoder
from foresight.training import export
from foresight.training.graphs import ExportError
from foresight.training.pretrained import load_pretrained, match_normalisation
from foresight.training.scores import auroc
from foresight.training.train import TrainingError, load_trained, train
from foresight.world_model.networks import WorldModel
from passthrough import BODY

LITTLE = PlannerSpec(samples=4, proposals=2, iterations=1, horizon=2, elites=2, kept=0)

# ----- data -------------------------------------------------------------------------------------


def test_an_episode_of_another_version_is_refused(driven: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(episode_files(driven)[0].read_bytes())
    with h5py.File(other, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(DatasetError, match="version is 99"):
        load_episode(other)


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="foresight collect"):
        episode_files(tmp_path)


def test_windows_never_run_from_one_drive_into_the_next(driven: Path) -> None:
    drives = Drives(episode_files(driven))
    last = drives.starts + drives.ticks * drives.steps
    assert bool((drives.episode[drives.starts] == drives.episode[last]).all())


def test_an_action_is_the_mean_command_until_the_next_frame(driven: Path) -> None:
    drives = Drives(episode_files(driven))
    command = load_episode(episode_files(driven)[0]).command
    assert drives.action[7].numpy() == pytest.approx(command[7:12].mean(0))


def test_neighbours_are_near_and_no_bump_lies_between(driven: Path) -> None:
    drives = Drives(episode_files(driven))
    first, last = drives.neighbours(200, torch.Generator().manual_seed(0), reach_m=0.5)
    gap = drives.pose[last] - drives.pose[first]
    assert float(torch.hypot(gap[:, 0], gap[:, 1]).max()) < 0.5
    assert bool(drives.free_between(first, last).all())


def test_a_wanderer_keeps_the_limits_and_steps_back_from_a_bump(homebot: Path) -> None:
    profile = RobotProfile.load(homebot)
    limits, driver = profile.limits, CollectionPolicy(profile, 0)
    rng = np.random.default_rng(0)
    reversed_after_bump = False
    for k in range(2000):
        ranges = rng.uniform(0.2, 6.0, profile.scan.beams)
        bumped = k % 50 < 5
        linear, angular = driver.act(ranges, bumped, rng.normal(size=3), 0.1)
        assert limits.linear_min_mps <= linear <= limits.linear_max_mps
        assert abs(angular) <= limits.angular_max_radps
        reversed_after_bump |= bumped and linear < 0
    assert reversed_after_bump


def test_auroc_ranks() -> None:
    low, high = np.array([0.1, 0.2]), np.array([0.8, 0.9])
    assert auroc(high, low) == 1.0
    assert auroc(low, high) == 0.0
    assert math.isnan(auroc(np.zeros(0), np.zeros(4)))


# ----- on from a bundle --------------------------------------------------------------------------


def test_weights_come_back_from_a_bundle(trained: Path, exported: Path, driven: Path) -> None:
    """Latents, predictions and distances agree; only the inverse head is in no graph."""
    image = Drives(episode_files(driven)).image[torch.arange(64)]
    expected, model = load_trained(trained).model.eval(), WorldModel(BODY)
    assert load_pretrained(model, exported) == ["inverse"]
    match_normalisation(model.encoder, image)
    with torch.no_grad():
        latent = expected.encoder(image)
        torch.testing.assert_close(model.eval().encoder(image), latent, atol=0.01, rtol=0.01)
        body, action = torch.rand(64, 3), torch.rand(64, 2)
        torch.testing.assert_close(
            model.predictor(latent, body, action).latent,
            expected.predictor(latent, body, action).latent,
            atol=0.01,
            rtol=0.01,
        )
        torch.testing.assert_close(
            model.distance_energy(latent, latent.flip(0)),
            expected.distance_energy(latent, latent.flip(0)),
            atol=0.01,
            rtol=0.01,
        )


def test_the_first_update_sees_what_the_bundle_sees(exported: Path, driven: Path) -> None:
    """Training normalises by batch, a bundle does not: the change must not throw latents about."""
    image = Drives(episode_files(driven)).image[torch.arange(200)]
    model = WorldModel(BODY)
    load_pretrained(model, exported)
    match_normalisation(model.encoder, image)
    with torch.no_grad():
        as_robot, as_trainer = model.eval().encoder(image), model.train().encoder(image)
    torch.testing.assert_close(as_trainer, as_robot, atol=0.02, rtol=0.02)


def test_training_from_a_bundle_starts_where_it_ended(
    driven: Path, exported: Path, tmp_path: Path
) -> None:
    train(driven, tmp_path / "new", None, steps=1, distance_steps=2, seed=0)
    train(driven, tmp_path / "on", None, steps=1, distance_steps=2, seed=0, start=exported)
    model = WorldModel(BODY)
    load_pretrained(model, exported)
    before = dict(model.predictor.blocks.named_parameters())  # not `exit`: calibration sets it

    def moved(folder: Path) -> float:
        now = load_trained(folder).model.predictor.blocks.named_parameters()
        return max(float((weight - before[name]).detach().abs().max()) for name, weight in now)

    assert moved(tmp_path / "on") < 1e-3 < 1e-2 < moved(tmp_path / "new")


def test_a_bundle_of_other_networks_is_refused(
    passthrough: Path, driven: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="latent_size is .*train without --from"):
        train(driven, tmp_path, None, steps=1, distance_steps=1, seed=0, start=passthrough)


# ----- the robot that drove


def of_robots(driven: Path, folder: Path, *names: str) -> Path:
    """The drives of three robots with these names."""
    shutil.copytree(driven, folder)
    for file, name in zip(episode_files(folder), names, strict=True):
        with h5py.File(file, "r+") as episode:
            episode.attrs["robot"] = name
    return folder


def test_a_model_is_trained_for_the_robot_that_drove(trained: Path) -> None:
    assert load_trained(trained).body == BODY


def test_drives_of_a_robot_without_a_profile_are_refused(driven: Path, tmp_path: Path) -> None:
    data = of_robots(driven, tmp_path / "data", "mine", "mine", "mine")
    with pytest.raises(TrainingError, match="the robot 'mine', .*give its profile with --robot"):
        train(data, tmp_path / "out", None, steps=1, distance_steps=2, seed=0)


def test_drives_of_several_robots_need_a_profile(driven: Path, tmp_path: Path) -> None:
    data = of_robots(driven, tmp_path / "data", "homebot", "mine", "mine")
    with pytest.raises(TrainingError, match="several robots, homebot, mine; .*--robot"):
        train(data, tmp_path / "out", None, steps=1, distance_steps=2, seed=0)


@pytest.fixture
def mine(homebot: Path, tmp_path: Path) -> Path:
    """The profile of a robot that is wider and slower than homebot."""
    content = yaml.safe_load(homebot.read_text())
    content |= {"name": "mine", "footprint_radius_m": 0.25, "travel": {}}
    content["limits"] |= {"linear_max_mps": 0.3}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_model_of_another_robot_keeps_its_numbers(
    driven: Path, mine: Path, tmp_path: Path
) -> None:
    """From the profile into the checkpoint, from there into the manifest."""
    data = of_robots(driven, tmp_path / "data", "mine", "mine", "mine")
    train(data, tmp_path / "out", None, steps=1, distance_steps=2, seed=0, robot=mine)
    trained, own = load_trained(tmp_path / "out"), body_of(RobotProfile.load(mine))
    assert trained.body == own and own.travel.cruise_mps == pytest.approx(0.24)
    scale = trained.model.predictor.action_scale.tolist()
    assert scale == pytest.approx(own.typical_action) and scale != pytest.approx([0.3, 0.8])


@pytest.mark.slow
def test_a_model_goes_to_a_wider_and_slower_robot(
    trained: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps what its weights were taught with."""
    monkeypatch.setattr(export, "PLANNERS", {"planner": LITTLE})
    manifest = export.export_trained(trained, tmp_path / "bundle", mine)
    body, own = manifest.body, body_of(RobotProfile.load(mine))
    assert (body.robot, body.footprint_radius_m, body.action) == ("mine", 0.25, own.action)
    assert body.travel == BODY.travel
    bundle.load(tmp_path / "bundle").check_robot(RobotProfile.load(mine))


def test_a_model_does_not_go_to_a_faster_robot(trained: Path, mine: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(mine.read_text())
    content["limits"] |= {"linear_max_mps": 0.9}
    mine.write_text(yaml.safe_dump(content))
    with pytest.raises(ExportError, match="linear_mps from -0.2 to 0.9, beyond -0.2 to 0.5"):
        export.export_trained(trained, tmp_path / "bundle", mine)
    assert not (tmp_path / "bundle").exists()


# ----- what is left behind ----------------------------------------------------------------------


def test_a_result_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": print}, tmp_path / "trained.pt")
    with pytest.raises(TrainingError, match="damaged"):
        load_trained(tmp_path)


def test_the_exported_encoder_sees_what_the_trained_one_sees(trained: Path, exported: Path) -> None:
    spec = ImageSpec()
    image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    with torch.no_grad():
        expected = load_trained(trained).model.encoder(torch.from_numpy(image)[None])[0].numpy()
    found = Encoder(bundle.load(exported))(image)
    assert found == pytest.approx(expected, abs=0.02)  # weights are stored in half precision


def test_a_bundle_says_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    here = str(Path(__file__).parents[1]).encode()
    assert not [file for file in exported.iterdir() if here in file.read_bytes()]
