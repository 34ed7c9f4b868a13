"""What the command `foresight` promises: exit codes, and one sentence instead of a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foresight import __version__, resources
from foresight.apps.cli import app

runner = CliRunner()


def failure(*arguments: str) -> str:
    """The message of a command that must end with 1."""
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "command",
    [
        "collect",
        "train",
        "export",
        "evaluate",
        "bench",
        "soak",
        "launch",
        "demo",
        "report",
        "bundle",
        "mission",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["collect"],
        ["collect", "--out", "x", "--world", "-1"],
        ["train", "--data", "x"],
        ["evaluate", "--bundle", "x", "--episodes", "0"],
        ["bundle", "verify"],
        ["mission", "check"],
    ],
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
    result = runner.invoke(app, ["evaluate", "--bundle", str(passthrough), "--suite", "moon"])
    assert result.exit_code == 2
    assert all(word in result.output for word in ("--suite", "moon", "near", "room", "house"))


def test_an_unknown_benchmark_names_the_known_ones(passthrough: Path) -> None:
    result = runner.invoke(app, ["bench", "--bundle", str(passthrough), "--what", "tea"])
    assert result.exit_code == 2
    assert all(word in result.output for word in ("--what", "tea", "plan", "encode", "sim"))


@pytest.mark.parametrize("command", [["bundle", "verify"], ["bundle", "show"]])
def test_an_altered_bundle_is_one_sentence(
    passthrough: Path, tmp_path: Path, command: list[str]
) -> None:
    folder = Path(shutil.copytree(passthrough, tmp_path / "bundle"))
    with (folder / "encoder.onnx").open("ab") as file:
        file.write(b"more")
    assert "encoder.onnx: sha256 is" in failure(*command, folder)


def test_a_wrong_robot_profile_is_one_sentence(
    passthrough: Path, homebot: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "robot.yaml"
    wrong.write_text(homebot.read_text().replace("linear_max_mps: 0.5", "linear_max_mps: fast"))
    message = failure("evaluate", "--bundle", passthrough, "--robot", wrong)
    assert "robot.yaml: key 'limits.linear_max_mps' has the value 'fast'" in message


def test_damaged_drives_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "0.h5").write_bytes(b"half a drive")
    (tmp_path / "1.h5").write_bytes(b"half a drive")
    message = failure("train", "--data", tmp_path, "--out", tmp_path / "out")
    assert "0.h5: damaged" in message


def test_exporting_without_a_checkpoint_says_what_to_run(tmp_path: Path) -> None:
    message = failure("export", "--checkpoint", tmp_path, "--out", tmp_path / "bundle")
    assert "foresight train" in message
    assert not (tmp_path / "bundle").exists()


def test_the_installed_command_answers_on_the_right_streams(tmp_path: Path) -> None:
    """From any folder, without sourcing anything: 0 with the answer, 1 with one line of error."""
    command = str(Path(sys.executable).with_name("foresight"))
    version = subprocess.run(
        [command, "--version"], capture_output=True, text=True, cwd=tmp_path, env={}
    )
    assert (version.returncode, version.stdout.strip(), version.stderr) == (0, __version__, "")
    missing = subprocess.run(
        [command, "bundle", "show", "none"], capture_output=True, text=True, cwd=tmp_path, env={}
    )
    assert (missing.returncode, missing.stdout, missing.stderr.count("\n")) == (1, "", 1)


def test_training_without_data_says_what_to_run(tmp_path: Path) -> None:
    message = failure("train", "--data", tmp_path, "--out", tmp_path / "out")
    assert "foresight collect" in message


def test_the_shipped_bundle_is_intact() -> None:
    shipped = resources.bundle()
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
    from foresight.data.dataset import load_episode

    episode = load_episode(next(folder.glob("*.h5")))
    assert len(episode) == 1000
    assert episode.image.shape[1:] == (60, 80, 3)
    assert len({image.tobytes() for image in episode.image[::100]}) == 10
