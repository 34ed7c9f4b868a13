"""Where the shipped files are found: in an isolated install and in a merged one, sourced or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from foresight import resources


@pytest.fixture(autouse=True)
def installed_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This Python belongs to no workspace, and no workspace is sourced."""
    monkeypatch.setattr("sys.prefix", str(tmp_path / "python"))
    monkeypatch.delenv("FORESIGHT_WORKSPACE", raising=False)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)


def installed(prefix: Path) -> Path:
    """What colcon installs there; returns the package's share."""
    share = prefix / "share" / "foresight_bringup"
    (share / "launch").mkdir(parents=True)
    return share


def test_isolated_install_is_found_when_it_is_sourced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    share = installed(tmp_path / "install" / "foresight_bringup")
    prefixes = [tmp_path / "install" / name for name in ("foresight_node", "foresight_bringup")]
    monkeypatch.setenv("AMENT_PREFIX_PATH", ":".join(map(str, prefixes)))
    assert resources.share() == share
    assert resources.bundle() == share / "models" / "apartment"


def test_overlay_comes_before_what_it_overlays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    share, _ = installed(tmp_path / "overlay"), installed(tmp_path / "underlay")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'overlay'}:{tmp_path / 'underlay'}")
    assert resources.share() == share


@pytest.mark.parametrize("prefix", ("install", "install/foresight_bringup"))
def test_named_workspace_is_found_without_sourcing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str
) -> None:
    share = installed(tmp_path / prefix)
    (tmp_path / "install/setup.bash").touch()
    monkeypatch.setenv("FORESIGHT_WORKSPACE", str(tmp_path))
    assert resources.share() == share


def test_missing_install_is_one_sentence_with_its_remedy() -> None:
    with pytest.raises(resources.ResourceError, match="source the workspace that holds it"):
        resources.share()


def test_workspace_that_is_not_built_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORESIGHT_WORKSPACE", str(tmp_path))
    with pytest.raises(resources.ResourceError, match="correct FORESIGHT_WORKSPACE"):
        resources.share()
