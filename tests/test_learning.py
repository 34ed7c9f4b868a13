"""Recorded drives become windows, ways through the home, and at last a bundle."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from drives import circle, straight
from foresight import bundle
from foresight.bodies.profile import RobotProfile
from foresight.bundle.card import CARD, write_card
from foresight.data.dataset import DatasetError, Episode, episode_files, load_episode, save_episode
from foresight.data.windows import Drives
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.runtime.dynamics import LatentDynamics
from foresight.training.calibrate import calibrate
from foresight.training.distance import Teacher, build_teacher
from foresight.training.journal import CURVE
from foresight.training.train import CHECKPOINT, TRAINED, TrainingError, load_trained, train
from foresight.world_model.losses import displacement
from foresight.world_model.motion import motion_of
from foresight.world_model.networks import WorldModel
from passthrough import BODY

SEED = 0


def saved(folder: Path, episodes: Sequence[Episode]) -> list[Path]:
    for number, episode in enumerate(episodes):
        save_episode(folder / f"{number}.h5", episode, "homebot", "a test")
    return episode_files(folder)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


# ----- data sets


def test_episode_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    episode = circle(0, 50)
    (file,) = saved(tmp_path, [episode])
    again = load_episode(file)
    assert len(again) == 50
    for name in ("image", "odometry", "command", "bump"):
        np.testing.assert_array_equal(getattr(again, name), getattr(episode, name))


def test_episode_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    episode = straight()
    episode.command = np.array([object()])  # cannot be written, and comes after the images
    with pytest.raises(TypeError):
        save_episode(tmp_path / "0.h5", episode, "homebot", "a test")
    with pytest.raises(DatasetError, match="no episodes"):
        episode_files(tmp_path)


def test_episodes_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        save_episode(tmp_path / f"{name}.h5", straight(), "homebot", "a test")
    (tmp_path / "notes.txt").write_text("no episode")
    assert [file.stem for file in episode_files(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all" * 100], ids=["empty", "text"])
def test_file_that_is_no_episode_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.h5").write_bytes(content)
    with pytest.raises(DatasetError, match=r"0\.h5: damaged"):
        Drives(episode_files(tmp_path))


def test_episode_without_one_of_its_arrays_is_named(tmp_path: Path) -> None:
    (file,) = saved(tmp_path, [straight()])
    with h5py.File(file, "r+") as content:
        del content["bump"]
    with pytest.raises(DatasetError, match=r"0\.h5: damaged.*bump"):
        load_episode(file)


def test_episode_that_a_crash_cut_short_is_named(tmp_path: Path) -> None:
    (file,) = saved(tmp_path, [straight()])
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DatasetError, match=r"0\.h5: damaged.*truncated"):
        load_episode(file)


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("image", np.zeros((60, 4, 4), np.uint8), "image is uint8.*not as documented"),
        ("image", np.zeros((60, 4, 4, 3), np.float32), "image is float32.*not as documented"),
        ("command", np.zeros((60, 3), np.float32), "command is float32.*not as documented"),
        ("odometry", np.full((60, 5), np.nan, np.float32), "odometry.*not finite"),
    ],
    ids=["grey", "float", "three wheels", "NaN"],
)
def test_arrays_that_no_robot_records_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, complaint: str
) -> None:
    (file,) = saved(tmp_path, [straight()])
    with h5py.File(file, "r+") as content:
        del content[name]
        content[name] = array
    with pytest.raises(DatasetError, match=complaint):
        load_episode(file)


def test_numbers_that_no_machine_has_are_refused(tmp_path: Path) -> None:
    (file,) = saved(tmp_path, [straight()])
    strange = h5py.h5t.IEEE_F32LE.copy()
    strange.set_ebias(2**20)
    with h5py.File(file, "r+") as content:
        del content["command"]
        h5py.h5d.create(content.id, b"command", strange, h5py.h5s.create_simple((60, 2)))
    with pytest.raises(DatasetError, match=r"0\.h5: damaged"):
        load_episode(file)


def test_few_bytes_cannot_stand_for_many(tmp_path: Path) -> None:
    """A file of a few kB that unpacks to a gigabyte, and one that points into another."""
    files = saved(tmp_path, [straight(), straight()])
    with h5py.File(files[0], "r+") as content:
        del content["image"]
        content.create_dataset("image", (60, 2400, 2400, 3), "u1", compression="gzip")
    with pytest.raises(DatasetError, match="compressed"):
        load_episode(files[0])
    with h5py.File(files[1], "r+") as content:
        del content["image"]
        content["image"] = h5py.ExternalLink(str(files[0]), "image")
    with pytest.raises(DatasetError, match="no array 'image'"):
        load_episode(files[1])


def test_pictures_stay_on_disk_until_they_are_asked_for(tmp_path: Path) -> None:
    """What is written to the file after loading shows: nothing was copied."""
    files = saved(tmp_path, [straight(50), straight(60)])
    pictures = Drives(files).image
    with h5py.File(files[1], "r+") as content:
        content["image"][7] = 200
    frames = torch.tensor([[3, 49], [50, 57]])
    assert pictures[frames].shape == (2, 2, 4, 4, 3)
    assert pictures[frames][..., 0, 0, 0].tolist() == [[3, 49], [0, 200]]
    assert [len(part) for part in pictures.split(64)] == [64, 46] and len(pictures) == 110


def test_drives_of_an_earlier_version_are_still_read(tmp_path: Path) -> None:
    episode = straight()
    (file,) = saved(tmp_path, [episode])
    with h5py.File(file, "r+") as content:
        del content["image"]
        content.create_dataset("image", data=episode.image, chunks=(10, 4, 4, 3))
        content.attrs["version"] = 1
    np.testing.assert_array_equal(load_episode(file).image, episode.image)


def test_pictures_of_one_data_set_have_one_size(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"1\.h5: images are .*keep one size"):
        Drives(saved(tmp_path, [straight(), circle(0)]))


def test_arrays_of_one_episode_must_be_equally_long(tmp_path: Path) -> None:
    episode = straight()
    episode.odometry = episode.odometry[:-1]
    (file,) = saved(tmp_path, [episode])
    with pytest.raises(DatasetError, match="differ in length"):
        load_episode(file)


# ----- windows


def test_window_shows_one_frame_per_action(tmp_path: Path) -> None:
    drives = Drives(saved(tmp_path, [straight(speed=0.4)]), ticks=5, steps=4)
    windows = drives.windows(torch.tensor([7]), generator())
    assert windows.image[0, :, 0, 0, 0].tolist() == [7, 12, 17, 22, 27]
    driven = windows.pose[0, 1:, 0] - windows.pose[0, :-1, 0]
    torch.testing.assert_close(driven, torch.full((4,), 0.4 * 0.5))
    torch.testing.assert_close(windows.action[0], torch.tensor([[0.4, 0.0]]).repeat(4, 1))


def test_bump_belongs_to_the_action_that_ended_in_it(tmp_path: Path) -> None:
    """Pressed at frame 20: the five-frame actions from 15 to 19 ran into it, that from 20 not."""
    drives = Drives(saved(tmp_path, [straight(pressed=(20,))]), ticks=5, steps=4)
    assert drives.bump.nonzero().flatten().tolist() == [15, 16, 17, 18, 19]


def test_free_between_counts_both_ends(tmp_path: Path) -> None:
    drives = Drives(saved(tmp_path, [straight(pressed=(20,))]), ticks=5, steps=4)
    first, last = torch.tensor([10, 10, 20, 21]), torch.tensor([19, 20, 30, 30])
    assert drives.free_between(first, last).tolist() == [True, False, False, True]


def test_neighbours_belong_to_one_drive(tmp_path: Path) -> None:
    """Two drives in the same place by their own odometry: nothing says that they were."""
    drives = Drives(saved(tmp_path, [straight(), straight()]), ticks=5, steps=4)
    first, last = drives.neighbours(100, generator())
    assert len(first) == 100
    assert (drives.episode[first] == drives.episode[last]).all()


def test_episodes_too_short_for_a_window_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no episode is longer than 40 frames"):
        Drives(saved(tmp_path, [straight(40)]))


def test_short_episode_beside_a_long_one_is_no_trouble(tmp_path: Path) -> None:
    drives = Drives(saved(tmp_path, [straight(10), straight(60)]))
    assert drives.starts.tolist() == list(range(10, 30))


def test_drives_without_a_free_stretch_are_told(tmp_path: Path) -> None:
    drives = Drives(saved(tmp_path, [straight(pressed=tuple(range(60)))]))
    with pytest.raises(DatasetError, match="bumps"):
        drives.neighbours(10, generator())


# ----- driving about


def test_wanderer_repeats_itself_for_a_seed(homebot: Path) -> None:
    profile = RobotProfile.load(homebot)
    ranges = np.full(profile.scan.beams, 3.0)

    def commands(seed: int) -> list[tuple[float, float]]:
        driver = CollectionPolicy(profile, seed)
        return [driver.act(ranges, False, np.zeros(3), 0.1) for _ in range(100)]

    assert commands(1) == commands(1)
    assert commands(1) != commands(2)


def test_wanderer_gets_around(homebot: Path) -> None:
    """Ten minutes in an endless hall: it drives every way, and far from where it began."""
    profile = RobotProfile.load(homebot)
    ranges, driver = np.full(profile.scan.beams, np.inf), CollectionPolicy(profile, SEED)
    pose, places, twists = np.zeros(3), [], []
    for _ in range(6000):
        linear, angular = driver.act(ranges, False, pose, 0.1)
        pose = pose + 0.1 * np.array(
            [linear * math.cos(pose[2]), linear * math.sin(pose[2]), angular]
        )
        places.append(pose[:2])
        twists.append((linear, angular))
    assert np.ptp(places, axis=0).min() > 3.0
    linear, angular = np.array(twists).T
    assert linear.min() < 0 < 0.3 < linear.max()
    assert angular.min() < -0.5 and angular.max() > 0.5


# ----- the teacher of distances


class Stub:
    """Stands in for the networks: recognises places by pose, or nothing at all."""

    def __init__(self, recognises: bool) -> None:
        self.recognises = recognises

    def relation(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        offset = displacement(a, b)
        near = torch.hypot(offset[..., 0], offset[..., 1]) < 1.0
        return offset, torch.where(near & self.recognises, 5.0, -5.0)


def teacher_of(drives: Drives, recognises: bool) -> Teacher:
    return build_teacher(Stub(recognises), drives, drives.pose, motion_of(BODY))  # type: ignore[arg-type]


def test_teacher_knows_the_way_that_was_driven(tmp_path: Path) -> None:
    """At cruising speed, driving on takes the seconds it took; reversing takes longer."""
    drives = Drives(saved(tmp_path, [straight(speed=0.4)]))
    drives.pose[:, 1:] += 1e-3 * torch.randn(60, 2, generator=generator())
    teacher = teacher_of(drives, recognises=False)
    frames = teacher.goals[:, None] - teacher.nodes[None]
    on = frames > 0
    torch.testing.assert_close(teacher.seconds[on], 0.1 * frames[on].float(), atol=0.15, rtol=0.05)
    assert (teacher.seconds[frames == 0] == 0).all()
    assert (teacher.seconds[frames < 0] > 0.15 * -frames[frames < 0]).all()
    assert teacher.seconds.isfinite().all()


def test_teacher_does_not_trust_odometry_through_a_bump(tmp_path: Path) -> None:
    drives = Drives(saved(tmp_path, [straight(pressed=(30,))]))
    teacher = teacher_of(drives, recognises=False)
    across = (teacher.goals[:, None] > 30) != (teacher.nodes[None] > 30)
    assert teacher.seconds[across].isinf().all()
    assert teacher.seconds[~across].isfinite().sum() > len(teacher.nodes)


def test_teacher_joins_drives_where_a_place_is_recognised(tmp_path: Path) -> None:
    episodes = [circle(0), circle(1)]
    for episode in episodes:
        episode.bump[:] = 0
    drives = Drives(saved(tmp_path, episodes))
    apart, joined = teacher_of(drives, recognises=False), teacher_of(drives, recognises=True)
    other = drives.episode[joined.goals][:, None] != drives.episode[joined.nodes][None]
    assert apart.closures == 0 < joined.closures
    assert apart.seconds[other].isinf().all()
    assert joined.seconds[other].isfinite().all()
    assert (joined.seconds <= apart.seconds + 1e-4).all()


# ----- from drives to a bundle


def test_training_leaves_a_result_and_a_learning_curve(trained: Path) -> None:
    result = load_trained(trained)
    assert result.training["steps"] == 2 and result.training["frames"] == 400
    calibration = result.calibration
    for scale in (calibration.latent_surprise, calibration.no_effect, calibration.twist_surprise):
        assert scale.usual < scale.alarm
    assert {"effective_rank", "error_ratio_copy_last_8"} <= result.metrics.keys()
    assert (trained / CURVE).read_bytes().startswith(b"\x89PNG")


def test_exported_planner_and_dynamics_say_what_the_manifest_says(exported: Path) -> None:
    loaded = bundle.load(exported)
    for graph in loaded.manifest.graphs:
        loaded.session(graph)
    size, horizon = loaded.manifest.latent_size, loaded.manifest.planner.horizon
    actions = np.zeros((7, horizon, 2))
    imagined = LatentDynamics(loaded).imagine(np.ones(size), np.zeros(3), actions)
    assert imagined.latents.shape == (7, horizon, size)
    assert ((imagined.collision >= 0) & (imagined.collision <= 1)).all()


def test_a_bundle_carries_a_card_that_takes_results(exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "bundle"))
    assert "frames: 400" in (copy / CARD).read_text()
    rate = {"rate": 0.9, "low": 0.8, "high": 0.95}
    result = {"suite": "near", "worlds": [3], "episodes": 40, "seed": 1, "success": rate}
    result |= {"baselines": {"random": {"rate": 0.0, "low": 0.0, "high": 0.1}}}
    result |= {"collisions_per_episode": 0.0, "spl": 0.8}
    (tmp_path / "near.json").write_text(json.dumps(result))
    text = write_card(copy, [tmp_path / "near.json"]).read_text()
    assert "passed: near: success far above random, home 3 (0.9)" in text
    assert "FAILED: error over that of repeating at most 0.8" in text  # it has hardly been trained


def test_a_card_refuses_what_is_no_result(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"other\.json"):
        write_card(exported, [tmp_path / "other.json"])


def test_a_single_episode_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    saved(tmp_path, [straight()])
    with pytest.raises(TrainingError, match="collect more"):
        train(tmp_path, tmp_path / "out", None, steps=1, distance_steps=1, seed=0)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "half"])
def test_damaged_result_is_named(trained: Path, tmp_path: Path, content: bytes | None) -> None:
    whole = (trained / TRAINED).read_bytes()
    (tmp_path / TRAINED).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(TrainingError, match=r"trained\.pt: damaged") as caught:
        load_trained(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_checkpoint_is_named_not_trained_over(driven: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"half a checkpoint")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: damaged"):
        train(driven, tmp_path, None, steps=1, distance_steps=1, seed=0)
    assert (tmp_path / CHECKPOINT).read_bytes() == b"half a checkpoint"


def test_figures_that_the_drives_cannot_show_are_left_out(tmp_path: Path) -> None:
    """Without a bump on the held-out drives there is no telling how well bumps are foreseen."""
    episode = circle(0)
    episode.bump[:] = 0
    _, quality = calibrate(WorldModel(BODY), Drives(saved(tmp_path, [episode])), count=20)
    metrics = quality.metrics()
    assert "bump_auroc" not in metrics and "effective_rank" in metrics
