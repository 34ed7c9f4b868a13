"""Bundles that tests share. What makes them is imported late: not every test has ONNX at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def passthrough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graphs a test can follow by hand, see `passthrough`."""
    from passthrough import write

    return write(tmp_path_factory.mktemp("bundles") / "passthrough")


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose latents tell where the goal is, see `scripted`."""
    from scripted import write

    return write(tmp_path_factory.mktemp("bundles") / "scripted")


@pytest.fixture(scope="session")
def homebot() -> Path:
    """The simulated robot's profile."""
    return ROOT / "config" / "robots" / "homebot.yaml"


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set: three robots that drove in circles and saw noise."""
    from drives import circle
    from foresight.data.dataset import save_episode

    folder = tmp_path_factory.mktemp("driven")
    for seed in range(3):
        save_episode(folder / f"{seed}.h5", circle(seed), "homebot", "a test")
    return folder


@pytest.fixture(scope="session")
def trained(driven: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `foresight train` leaves behind after hardly any training.

    Its weights are shaken, as if it had been long: the exporter merges equal ones, such as zeros.
    """
    import torch

    from foresight.training.train import load_trained, save_trained, train

    folder = tmp_path_factory.mktemp("trained")
    train(driven, folder, None, steps=2, distance_steps=4, seed=0)
    result = load_trained(folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in result.model.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=generator)
    save_trained(folder, result)
    return folder


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `trained`, with planners that search little."""
    from foresight.bundle.manifest import ImageSpec, PlannerSpec
    from foresight.training.export import export_bundle
    from foresight.training.train import load_trained

    folder = tmp_path_factory.mktemp("bundles") / "exported"
    small = PlannerSpec(samples=16, proposals=8, iterations=3, horizon=4, elites=4, kept=2)
    least = small.model_copy(update={"iterations": 1, "judged_every": 2})
    export_bundle(
        load_trained(trained),
        folder,
        image=ImageSpec(),
        planners={"planner": small, "fast": least},
    )
    return folder
