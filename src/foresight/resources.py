"""Finds what the stack is shipped with: launch files, configuration, robot profiles, bundles.

All of it is installed in the share folder of the ROS package `foresight_bringup`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = "foresight_bringup"


class ResourceError(RuntimeError):
    """The workspace is not built or not sourced; the message says what to do."""


def workspace() -> Path | None:
    """The colcon workspace that this Python environment belongs to.

    $FORESIGHT_WORKSPACE, else the one that `setup.sh` noted when it made the environment; None
    where neither is set, as in a workspace that somebody else's colcon has built.

    Raises:
        ResourceError: it has not been built.
    """
    named, note = (
        os.environ.get("FORESIGHT_WORKSPACE"),
        Path(sys.prefix, "share/foresight/workspace"),
    )
    if not named and not note.is_file():
        return None
    found = Path(named or note.read_text(encoding="utf-8").strip())
    if not (found / "install" / "setup.bash").is_file():
        remedy = "correct FORESIGHT_WORKSPACE" if named else "run `make setup` in the checkout"
        raise ResourceError(f"{found} holds no built ROS workspace: {remedy}")
    return found.resolve()


def share() -> Path:
    """The folder that holds `launch`, `config` and `models`.

    Raises:
        ResourceError: it is not installed, or its workspace has not been sourced.
    """
    prefixes = [
        Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if entry
    ]
    if (own := workspace()) is not None:
        install = own / "install"
        prefixes = [install / _PACKAGE, install, *prefixes]
    for prefix in prefixes:
        if (found := prefix / "share" / _PACKAGE / "launch").is_dir():
            return found.parent
    raise ResourceError(
        f"the ROS package {_PACKAGE} is not installed here: source the workspace that holds it, or "
        "run `make setup` in the checkout"
    )


def robot_profile() -> Path:
    """The shipped profile, of the simulated robot."""
    return share() / "config" / "robots" / "homebot.yaml"


def bundle() -> Path:
    """The shipped world model."""
    return share() / "models" / "apartment"


def parameters() -> Path:
    """The shipped parameters of the stack's nodes."""
    return share() / "config" / "foresight.yaml"


def soak_mission() -> Path:
    """The shipped mission without end, for `foresight soak`."""
    return share() / "config" / "missions" / "soak.yaml"
