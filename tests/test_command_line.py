"""What the command `foresight` promises: exit codes, and one sentence instead of a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foresight.cli import app

runner = CliRunner()


def failure(*arguments: str) -> str:
    """The message of a command that must end with 1."""
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "command",
    ["collect", "train", "export", "evaluate", "bench", "launch", "demo", "report", "bundle"],
)
def test_every_command_explains_itself(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["collect"], ["train", "--data", "x"], ["evaluate", "--bundle", "x", "--episodes", "0"]],
)
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_a_whole_bundle_is_verified_and_shown(passthrough: Path) -> None:
    verified = runner.invoke(app, ["bundle", "verify", str(passthrough)])
    assert verified.exit_code == 0
    assert "planner: intact" in verified.output
    assert "latent_size" in runner.invoke(app, ["bundle", "show", str(passthrough)]).output


def test_a_missing_bundle_is_one_sentence(tmp_path: Path) -> None:
    assert "manifest.yaml: No such file" in failure("bundle", "verify", tmp_path / "none")


def test_an_unknown_suite_names_the_known_ones(passthrough: Path) -> None:
    message = failure("evaluate", "--bundle", passthrough, "--suite", "moon")
    assert "'moon'; choose one of near, room, house" in message


def test_an_unknown_benchmark_names_the_known_ones(passthrough: Path) -> None:
    assert "plan, encode, sim" in failure("bench", "--bundle", passthrough, "--what", "tea")


def test_training_without_data_says_what_to_run(tmp_path: Path) -> None:
    message = failure("train", "--data", tmp_path, "--out", tmp_path / "out")
    assert "foresight collect" in message


def test_the_shipped_bundle_is_intact() -> None:
    shipped = Path(__file__).parents[1] / "models" / "apartment"
    assert runner.invoke(app, ["bundle", "verify", str(shipped)]).exit_code == 0
    assert sum(file.stat().st_size for file in shipped.iterdir()) < 12e6


def test_an_evaluation_is_written_as_json(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "near.json"
    arguments = ["evaluate", "--bundle", str(exported), "--episodes", "1", "--json", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["suite"] == "near"
    assert 0 <= found["success"]["low"] <= found["success"]["high"] <= 1
    assert set(found["plan_ms"]) == {"p50", "p95"}


def test_collected_drives_train(homebot: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    arguments = ["collect", "--out", str(folder), "--frames", "1000", "--workers", "1"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    from foresight.learning.dataset import load_episode

    episode = load_episode(next(folder.glob("*.h5")))
    assert len(episode) == 1000
    assert episode.image.shape[1:] == (60, 80, 3)
    assert len({image.tobytes() for image in episode.image[::100]}) == 10
