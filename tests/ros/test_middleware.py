"""What Fast DDS is told in config/fastdds.xml."""

from __future__ import annotations

import re
from pathlib import Path

from harness import Bench

PICTURE = 640 * 480 * 3


def test_the_memory_that_pictures_are_passed_in_holds_several(bench: Bench) -> None:
    segments = re.findall(
        r"^(\w+)-(\w+) .*/fastrtps_[0-9a-f]{16}$", Path("/proc/self/maps").read_text(), re.MULTILINE
    )
    assert max(int(end, 16) - int(begin, 16) for begin, end in segments) > 4 * PICTURE
