"""Isolation of the tests that run ROS: nothing leaves this machine, and no two tests meet."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import domain_coordinator
import pytest
from harness import Bench

ROOT = Path(__file__).parents[2]
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
# Beginning elsewhere in each process finds a free one sooner.
_candidates = itertools.count(os.getpid())


@contextmanager
def _own_domain() -> Iterator[int]:
    with (
        domain_coordinator.domain_id(lambda: next(_candidates) % 100 + 1) as number,
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        patch.setenv("XDG_STATE_HOME", folder)  # where the memory of a launched robot lies
        patch.setenv("ROS_DOMAIN_ID", str(number))
        yield number


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain for this test alone; what it launches inherits it."""
    with _own_domain() as number:
        yield number


@pytest.fixture(scope="module")
def module_domain() -> Iterator[int]:
    """A ROS domain for the tests of a module, which share one launch."""
    with _own_domain() as number:
        yield number


@pytest.fixture
def bench(domain: int) -> Iterator[Bench]:
    """A node under test and its peer, see `harness.Bench`."""
    bench = Bench(domain)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def apartment() -> Path:
    """The shipped bundle, or the one that FORESIGHT_BUNDLE names."""
    return Path(os.environ.get("FORESIGHT_BUNDLE", ROOT / "models" / "apartment"))
