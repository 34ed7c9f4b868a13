"""What a run of `foresight train` promises while it lasts: it can be stopped and taken up again, it
ends early when it is hopeless, it reports, and several processes do as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from drives import circle
from foresight.data.dataset import Episode, episode_files, save_episode
from foresight.data.windows import Drives
from foresight.training import monitor as watch
from foresight.training import train as training
from foresight.training.train import CHECKPOINT, TrainingError, train_world_model
from foresight.world_model.distributed import Team, join
from foresight.world_model.losses import Windows, world_model_loss
from foresight.world_model.networks import WorldModel
from passthrough import BODY

Loss = tuple[torch.Tensor, dict[str, float]]


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and looks at the run after every fifth update."""
    monkeypatch.setattr(training, "BATCH", 8)
    monkeypatch.setattr(training, "CHECK_STEPS", 5)
    monkeypatch.setattr(training, "CHECK_WINDOWS", 16)


@pytest.fixture
def drives(driven: Path) -> Drives:
    return Drives(episode_files(driven))


def at_update(number: int, happens: Callable[[], None]) -> Callable[..., Loss]:
    """The loss, but during one update something happens."""
    calls = 0

    def loss(model: WorldModel, windows: Windows) -> Loss:
        nonlocal calls
        calls += 1
        if calls == number:
            happens()
        return world_model_loss(model, windows)

    return loss


def weights(model: WorldModel) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / CHECKPOINT, weights_only=True)


# ----- stopped and taken up again


def test_an_interrupted_run_ends_as_one_that_was_not(
    drives: Drives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_world_model(drives, BODY, tmp_path / "whole", 12, 0)
    interrupt = at_update(5, lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(training, "world_model_loss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_world_model(drives, BODY, tmp_path / "parts", 12, 0)
    assert 5 <= checkpoint(tmp_path / "parts")["step"] < 12
    again = train_world_model(drives, BODY, tmp_path / "parts", 12, 0)
    assert torch.equal(weights(whole), weights(again))
    assert checkpoint(tmp_path / "parts")["curve"] == checkpoint(tmp_path / "whole")["curve"]


def test_a_seed_repeats_a_run_and_another_does_not(drives: Drives, tmp_path: Path) -> None:
    first, same, other = (
        weights(train_world_model(drives, BODY, tmp_path / name, 2, seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize(("steps", "seed", "named"), [(3, 0, "--steps"), (2, 1, "--seed")])
def test_a_run_does_not_go_on_with_other_settings(
    drives: Drives, tmp_path: Path, steps: int, seed: int, named: str
) -> None:
    train_world_model(drives, BODY, tmp_path, 2, 0)
    with pytest.raises(TrainingError, match=f"another {named} .*another --out"):
        train_world_model(drives, BODY, tmp_path, steps, seed)


def test_a_run_does_not_go_on_with_other_drives(drives: Drives, tmp_path: Path) -> None:
    train_world_model(drives, BODY, tmp_path, 1, 0)
    drives.pose += 1.0
    with pytest.raises(TrainingError, match="another --data"):
        train_world_model(drives, BODY, tmp_path, 1, 0)


def test_a_run_does_not_go_on_with_another_robot(drives: Drives, tmp_path: Path) -> None:
    train_world_model(drives, BODY, tmp_path, 1, 0)
    other = BODY.model_copy(update={"robot": "mine"})
    with pytest.raises(TrainingError, match="another --robot"):
        train_world_model(drives, other, tmp_path, 1, 0)


def test_a_checkpoint_that_names_no_robot_goes_on(drives: Drives, tmp_path: Path) -> None:
    """As those of the versions before."""
    train_world_model(drives, BODY, tmp_path, 1, 0)
    state = checkpoint(tmp_path)
    del state["settings"]["robot"]
    torch.save(state, tmp_path / CHECKPOINT)
    train_world_model(drives, BODY, tmp_path, 1, 0)


# ----- hopeless runs


def circles(folder: Path, views: Callable[[Episode], np.ndarray]) -> Drives:
    """Three drives in circles, on which these pictures were seen."""
    for seed in range(3):
        episode = circle(seed)
        episode.image = views(episode)
        save_episode(folder / f"{seed}.h5", episode, "homebot", "a test")
    return Drives(episode_files(folder))


def grey(episode: Episode) -> np.ndarray:
    return np.full_like(episode.image, 127)


def panorama(episode: Episode) -> np.ndarray:
    """Coloured waves that move by with the heading."""
    bearing = episode.odometry[:, 2, None] + np.linspace(-0.8, 0.8, 80)
    waves = np.stack([np.sin(bearing), np.cos(bearing), np.sin(3 * bearing)], -1)
    image = (127 + 120 * waves).astype(np.uint8)
    return np.repeat(image[:, None], 60, 1)


def test_a_run_that_sees_nothing_is_stopped_and_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WARM_UP_STEPS", 10)
    blind = circles(tmp_path, grey)
    with pytest.raises(TrainingError, match="latents have collapsed.*pictures") as stopped:
        train_world_model(blind, BODY, tmp_path / "out", 40, 0, held=blind)
    assert "\n" not in str(stopped.value)
    assert checkpoint(tmp_path / "out")["step"] < 20


def test_a_healthy_run_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WARM_UP_STEPS", 10)
    seeing = circles(tmp_path, panorama)
    train_world_model(seeing, BODY, tmp_path / "out", 30, 0, held=seeing)
    assert checkpoint(tmp_path / "out")["step"] == 30


@pytest.mark.parametrize(
    ("name", "figure", "told"),
    [
        ("spread", 0.001, "standard deviation 0.001"),
        ("effective_rank", 2.0, "effective rank 2.0"),
        ("effective_rank", np.nan, "effective rank"),
        ("copy_last_8", 1.1, "error ratio 1.10 8 actions ahead"),
    ],
)
def test_each_figure_raises_its_alarm_after_the_warm_up(
    name: str, figure: float, told: str
) -> None:
    healthy = {"copy_last_1": 0.4, "copy_last_8": 0.1, "effective_rank": 40.0, "spread": 0.9}
    assert watch.complaint(healthy, watch.WARM_UP_STEPS) is None
    assert watch.complaint(healthy | {name: figure}, watch.WARM_UP_STEPS - 1) is None
    assert told in str(watch.complaint(healthy | {name: figure}, watch.WARM_UP_STEPS))


def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(
    drives: Drives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)

    def poison() -> None:
        drives.pose[:] = np.nan

    monkeypatch.setattr(training, "world_model_loss", at_update(3, poison))
    monkeypatch.setattr(
        drives, "neighbours", lambda n, _: torch.zeros(2, n, dtype=torch.int64).unbind()
    )
    with pytest.raises(TrainingError, match="loss nan.*still sound"):
        train_world_model(drives, BODY, tmp_path, 20, 0)
    state = checkpoint(tmp_path)
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


# ----- reports


def test_tensorboard_can_follow_a_run(drives: Drives, tmp_path: Path) -> None:
    train_world_model(drives, BODY, tmp_path, 6, 0, held=drives)
    (file,) = tmp_path.glob("events.out.tfevents.*")
    content, seen, at = file.read_bytes(), set(), 0
    while at < len(content):  # length, its checksum, the event, its checksum
        size = int.from_bytes(content[at : at + 8], "little")
        event = Event.FromString(content[at + 12 : at + 12 + size])
        seen |= {(value.tag, event.step) for value in event.summary.value}
        at += size + 16
    assert {("loss/prediction", 1), ("optimiser/rate", 1)} <= seen
    assert {("held_out/copy_last_8", 5), ("held_out/effective_rank", 6)} <= seen


# ----- several processes


@pytest.mark.slow
@pytest.mark.timeout(400)  # three processes learn PyTorch's import first
def test_two_processes_do_as_one(
    driven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same global batch, half of it on each: the same curve but for rounding."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", "--local-addr=127.0.0.1", "-m", "foresight.apps.cli", "train"]
    command += ["--data", str(driven), "--out", str(tmp_path / "two"), "--device", "cpu"]
    command += ["--steps", "11", "--distance-steps", "2"]
    here = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=os.environ | here, stdout=pipe, stderr=pipe, text=True
    ) as run:
        try:
            said, complaints = run.communicate()
        except BaseException:
            run.terminate()  # it takes its processes along; killed, it would leave them behind
            raise
    assert run.returncode == 0, complaints
    assert said.count("on held-out drives") == 1  # only one of them speaks
    files = episode_files(driven)
    monkeypatch.setattr(training, "BATCH", 48)
    train_world_model(Drives(files[:-1]), BODY, tmp_path / "one", 11, 0)
    one, two = (
        [row for row in checkpoint(tmp_path / name)["curve"] if "loss/total" in row]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 2
    for alone, together in zip(one, two, strict=True):
        assert together["loss/total"] == pytest.approx(alone["loss/total"], rel=0.02)
        assert together["loss/covariance"] == pytest.approx(alone["loss/covariance"], rel=0.05)


def test_processes_must_divide_the_batch() -> None:
    assert Team(1, 4).share(48) == slice(12, 24)
    with pytest.raises(ValueError, match="48 does not divide by 5"):
        Team(1, 5).share(48)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="expected cpu or cuda"):
        join("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="--device cpu"):
            join("cuda")
