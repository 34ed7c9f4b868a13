"""The stack comes up and goes down again, time after time, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import Bench
from std_msgs.msg import String

from foresight_node.messages import LATCHED

CYCLES = int(os.environ.get("FORESIGHT_CYCLES", "2"))
BRING_UP_S = 60.0
TAKE_DOWN_S = 30.0
FILE = Path(__file__).parents[2] / "launch" / "foresight.launch.py"

pytestmark = [pytest.mark.alone, pytest.mark.timeout(60 + CYCLES * (BRING_UP_S + TAKE_DOWN_S))]


class Cycle:
    """One launch of the stack, as from a shell."""

    def __init__(self, **arguments: object) -> None:
        words = [f"{name}:={value}" for name, value in arguments.items()]
        command = [sys.executable, "-m", "foresight.apps.cli", "launch", str(FILE), *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def family(self) -> list[psutil.Process]:
        """Launch and all that it started."""
        launch = psutil.Process(self.process.pid)
        return [launch, *launch.children(recursive=True)]

    def kill(self) -> None:
        """In case that a test failed half way."""
        if self.process.poll() is None:
            for process in self.family():
                process.kill()
        self.process.communicate()


@pytest.fixture
def cycles() -> Iterator[list[Cycle]]:
    cycles: list[Cycle] = []
    yield cycles
    for cycle in cycles:
        cycle.kill()


@pytest.mark.slow
@pytest.mark.parametrize("composed", ["false", "true"], ids=["apart", "composed"])
def test_every_bring_up_reaches_active_and_every_end_is_clean(
    bench: Bench, cycles: list[Cycle], passthrough: Path, tmp_path: Path, composed: str
) -> None:
    states: list[String] = bench.collect(String, "system_state", LATCHED)
    for number in range(1, CYCLES + 1):
        states.clear()
        cycle = Cycle(
            bundle=passthrough,
            memory_file=tmp_path / "places.db",
            use_composition=composed,
            use_respawn="true",
        )
        cycles.append(cycle)
        bench.wait_for(lambda: states and states[-1].data == "active", BRING_UP_S)
        family = cycle.family()
        assert len(family) == (2 if composed == "true" else 7), f"cycle {number}: {family}"
        cycle.process.send_signal(signal.SIGINT)
        output, _ = cycle.process.communicate(timeout=TAKE_DOWN_S)
        text = output.decode()
        assert cycle.process.returncode == 0, f"cycle {number}:\n{text}"
        _, left = psutil.wait_procs(family, timeout=5.0)
        assert not left, f"cycle {number} left {left}:\n{text}"
        assert "Traceback" not in text and "[FATAL]" not in text, f"cycle {number}:\n{text}"
