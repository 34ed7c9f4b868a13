"""What the machine must have before a node is started: else all of them would end at once.

An RMW_IMPLEMENTATION that is not installed is none of it: rcl ends the launch itself for that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HIGHEST_DOMAIN = 232
"""Beyond it the port numbers of DDS end."""


class UnfitError(RuntimeError):
    """No node can run here; the message is one sentence."""


def check(environment: Mapping[str, str]) -> None:
    """Raise UnfitError where ROS cannot start with this environment."""
    _check_domain(environment.get("ROS_DOMAIN_ID") or "0")
    _check_logs(environment)


def _check_domain(number: str) -> None:
    if not (number.isascii() and number.isdecimal() and int(number) <= HIGHEST_DOMAIN):
        raise UnfitError(
            f"ROS_DOMAIN_ID is {number!r}; set it to a whole number from 0 to {HIGHEST_DOMAIN}"
        )


def _check_logs(environment: Mapping[str, str]) -> None:
    """As rcl_logging finds the folder."""
    given, ros_home = environment.get("ROS_LOG_DIR"), environment.get("ROS_HOME")
    home = environment.get("HOME")
    if not (given or ros_home or home):
        raise UnfitError("HOME is not set, so ROS has no folder for its logs; set HOME")
    folder = Path(given or Path(ros_home or f"{home}/.ros", "log"))
    try:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder.expanduser(), os.W_OK) else "Permission denied"
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ without HOME
        reason = getattr(error, "strerror", None) or str(error)
    if reason:
        raise UnfitError(
            f"ROS cannot write its logs to {folder} ({reason}); set HOME or ROS_LOG_DIR to a "
            f"folder that can be written"
        )
