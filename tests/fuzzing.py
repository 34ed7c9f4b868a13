"""Two rounds of generated inputs: in the second one, a process must hardly grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MOST_GROWTH_MIB = 200


def bombard(inputs: st.SearchStrategy[Any], take: Callable[[Any], object], count: int) -> None:
    """`take` gets `count` inputs, half of them in each round; what it raises fails the test."""

    @settings(
        max_examples=-(-count // 2),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(inputs)
    def take_all(one: Any) -> None:
        take(one)

    process = psutil.Process()
    take_all()
    before = process.memory_info().rss
    take_all()
    growth_mib = (process.memory_info().rss - before) / 2**20
    assert growth_mib < MOST_GROWTH_MIB, f"{growth_mib:.0f} MiB more after as many inputs again"
