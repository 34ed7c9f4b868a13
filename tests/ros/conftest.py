"""Isolation of the tests that run ROS: nothing leaves this machine, and no two tests meet."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import domain_coordinator
import pytest
from harness import Bench
from passthrough import write

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

ROOT = Path(__file__).parents[2]
# Beginning elsewhere in each process finds a free one sooner.
_candidates = itertools.count(os.getpid())


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain for this test alone; what it launches inherits it."""
    with domain_coordinator.domain_id(lambda: next(_candidates) % 100 + 1) as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield number


@pytest.fixture
def bench(domain: int) -> Iterator[Bench]:
    """A node under test and its peer, see `harness.Bench`."""
    bench = Bench(domain)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def passthrough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graphs a test can follow by hand, see `passthrough`."""
    return write(tmp_path_factory.mktemp("bundles") / "passthrough")


@pytest.fixture(scope="session")
def homebot() -> Path:
    """The simulated robot's profile."""
    return ROOT / "config" / "robots" / "homebot.yaml"
