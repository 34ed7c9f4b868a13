"""Loggers that write to the screen and to the `launch.log` of this run."""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
import time
from pathlib import Path

from .unsupported import UnsupportedFeatureError, refuse_names

__getattr__ = refuse_names(__name__, {"launch_config", "reset", "handlers"})

_DESTINATIONS = {
    "screen": {"both": {"screen"}},
    "log": {"both": {"log"}, "stderr": {"screen"}},
    "both": {"both": {"screen", "log"}},
}


class _Screen(logging.StreamHandler):
    """Writes to what is sys.stdout now, so that a test runner can replace it."""

    @property
    def stream(self):
        return sys.stdout

    @stream.setter
    def stream(self, stream) -> None:
        pass


def _handler(handler: logging.Handler, fmt: str) -> logging.Handler:
    handler.setFormatter(logging.Formatter(fmt, style="{"))
    return handler


@functools.cache
def _log_directory() -> Path:
    """Make this run's folder in $ROS_LOG_DIR, else in $ROS_HOME/log, else in ~/.ros/log."""
    home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    root = Path(os.environ.get("ROS_LOG_DIR") or home / "log").expanduser()
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S")
    directory = root / f"{stamp}-{socket.gethostname()}-{os.getpid()}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@functools.cache
def _handlers(kind: str) -> dict[str, logging.Handler]:
    """Return the two handlers for `kind`: what launch says, or what processes say."""
    if kind == "process":
        screen, file = "{message}", "{created:.7f} {message}"
    else:
        screen = "[{levelname}] [{name}]: {message}"
        file = "{created:.7f} " + screen
    log_file = logging.FileHandler(_log_directory() / "launch.log", encoding="utf-8", delay=True)
    return {"screen": _handler(_Screen(), screen), "log": _handler(log_file, file)}


def _logger(name: str, kind: str, destinations: set[str]) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.propagate = False
    for destination in destinations:
        handler = _handlers(kind)[destination]
        if handler not in logger.handlers:
            logger.addHandler(handler)
    return logger


def set_level(level: int) -> None:
    """Set what launch and its processes' output are logged from."""
    logging.getLogger().setLevel(level)


def get_logger(name: str = "launch") -> logging.Logger:
    """Return the named logger, which writes `[LEVEL] [name]: message`."""
    return _logger(name, "launch", {"screen", "log"})


def get_output_loggers(
    process_name: str, output_config: str | dict[str, str | set[str]]
) -> tuple[logging.Logger, logging.Logger]:
    """Return the loggers for a process's standard output and error.

    `output_config` is `screen`, `log` (all to launch.log, errors also to the screen) or `both`,
    or a dict with any of the keys stdout, stderr, both and with screen or log as values.
    """
    if isinstance(output_config, str):
        if output_config in ("own_log", "full"):
            raise UnsupportedFeatureError(f"output={output_config!r}")
        if output_config not in _DESTINATIONS:
            raise ValueError(f"output={output_config!r} is none of {', '.join(_DESTINATIONS)}")
        output_config = _DESTINATIONS[output_config]
    wanted: dict[str, set[str]] = {}
    for source, destinations in output_config.items():
        chosen = {destinations} if isinstance(destinations, str) else set(destinations)
        if source not in ("stdout", "stderr", "both") or not chosen <= {"screen", "log"}:
            raise ValueError(
                f"output={output_config!r}: expected the keys stdout, stderr or both, with the "
                "values screen or log"
            )
        wanted[source] = chosen
    common = wanted.get("both", set())
    stdout, stderr = (
        _logger(f"{process_name}-{source}", "process", common | wanted.get(source, set()))
        for source in ("stdout", "stderr")
    )
    return stdout, stderr
