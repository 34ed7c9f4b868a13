"""LeWM's planner beside this project's, in turns on the same machine.

Theirs, in an environment of its own: one solve of LeWM's CEM from two pictures, encoding of
observation and goal included, 300 samples, 30 elites, 5 steps, with 30 iterations (the default)
and with 10; see lewm_peer.py. Ours, in this interpreter: `Navigator.update` on a bundle, from a
latent, and the same with the encoding of the camera's picture before it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from foresight import bundle as bundles
from foresight.bundle import Bundle
from foresight.perception.encoder import Encoder
from foresight.planning.navigator import Navigator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    "stable-worldmodel[train]==0.1.1",
    "stable-pretraining==0.1.8",
    "transformers==5.24.0",
    "torch==2.14.1",
    "torchvision==0.29.1",
    "imageio==2.38.1",  # stable-worldmodel imports it without asking for it
]
ITERATIONS = (10, 30)
OURS = ("Navigator.update", "image to plan")
OURS_PER_TURN = 10
console = Console(highlight=False)

Timing = tuple[float, float]  # seconds by the clock, seconds of processor time
Samples = dict[tuple[str, int], list[Timing]]  # by planner and number of threads


def environment(folder: Path) -> Path:
    """The interpreter of the peer's environment, made on the first call.

    Raises:
        RuntimeError: it cannot be made.
    """
    python, stamp, log = folder / "bin/python", folder / "installed", folder.parent / "install.log"
    if stamp.exists() and stamp.read_text() == "\n".join(PACKAGES):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    console.print(f"making {folder}: some minutes, up to 7 GB; progress in {log}")
    with log.open("w") as output, console.status("installing ..."):
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", *PACKAGES],
        ):
            done = subprocess.run(command, stdout=output, stderr=output, env=clean_environment())
            if done.returncode != 0:
                said = log.read_text().splitlines()
                why = [line for line in said if line.startswith("ERROR")] or said[-1:] or ["silent"]
                raise RuntimeError(f"no environment for LeWM (is there a network?): {why[-1]}")
    stamp.write_text("\n".join(PACKAGES))
    console.print(f"made in {time.monotonic() - started:.0f} s")
    return python


def clean_environment() -> dict[str, str]:
    """Without what leads to this project's or to ROS's modules and libraries."""
    ours = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    return {key: value for key, value in os.environ.items() if key not in ours}


class Peer:
    """The child process with LeWM; `about` says what it runs."""

    def __init__(self, python: Path) -> None:
        self._log = ROOT / "runs/peer/lewm.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, ROOT / "benchmarks/lewm_peer.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment() | {"HF_HUB_OFFLINE": "1"},
                text=True,
            )
        self.about = self._answer()

    def plan(self, threads: int, iterations: int) -> Timing:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer then says why
            self._process.stdin.write(f'{{"threads": {threads}, "iterations": {iterations}}}\n')
            self._process.stdin.flush()
        answer = self._answer()
        return answer["seconds"], answer["cpu_seconds"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = (self._log.read_text().splitlines() or ["silently"])[-1]
            raise RuntimeError(f"LeWM's process ended: {last} ({self._log})")
        return json.loads(line)


def ours(bundle: Bundle) -> list[Callable[[], object]]:
    """What OURS names, on one thread, as the nodes do: more do not help products this small. A plan
    every 0.3 s of the robot's time."""
    navigator, encoder = Navigator(bundle), Encoder(bundle)
    rng, picture = np.random.default_rng(0), bundle.manifest.image
    image = rng.integers(0, 256, (picture.height, picture.width, 3), np.uint8)
    navigator.set_goal(encoder(255 - image))
    latent, still = encoder(image), np.zeros(len(bundle.manifest.body.proprioception), np.float32)
    stamps = iter(np.arange(0, 1e5, 0.3))
    return [
        lambda: navigator.update(next(stamps), latent, still),
        lambda: navigator.update(next(stamps), encoder(image), still),
    ]


def timed(call: Callable[[], object]) -> Timing:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def measure(bundle: Bundle, peer: Peer, threads: list[int], rounds: int) -> Iterator[Samples]:
    """Ours some times, theirs once, ours again, theirs once with more iterations; and so on.

    Yields:
        after each round all that was timed so far.
    """
    calls = ours(bundle)
    samples: Samples = {}
    for count in threads:  # warm up
        peer.plan(count, 1)
        for call in calls * OURS_PER_TURN:
            call()
    for turn in range(rounds):
        for count in threads:
            for iterations in ITERATIONS:
                time.sleep(0.5)  # for their idle threads to sleep, too
                for name, call in zip(OURS, calls, strict=True):
                    times = samples.setdefault((name, count), [])
                    times.extend(timed(call) for _ in range(OURS_PER_TURN))
                theirs = peer.plan(count, iterations)
                samples.setdefault((f"LeWM, {iterations} iterations", count), []).append(theirs)
                console.print(
                    f"round {turn + 1}/{rounds}, threads {count}: ours {1e3 * times[-1][0]:.0f} ms,"
                    f" LeWM with {iterations} iterations {theirs[0]:.1f} s"
                )
        yield samples


def figures(samples: Samples) -> list[dict[str, str | float]]:
    """A row for each planner and number of threads; ratios of medians, ours being 1."""
    rows: list[dict[str, str | float]] = []
    for (name, count), times in samples.items():
        clock, processor = 1e3 * np.array(times).T
        (p50, p95), cpu_p50 = np.percentile(clock, [50, 95]), np.median(processor)
        reference = 1e3 * np.median(samples[OURS[0], count], axis=0)
        row: dict[str, str | float] = {"planner": name, "threads": count, "plans": len(times)}
        row |= {"p50_ms": float(p50), "p95_ms": float(p95), "cpu_p50_ms": float(cpu_p50)}
        row |= {"ratio": float(p50 / reference[0]), "cpu_ratio": float(cpu_p50 / reference[1])}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add, cores = parser.add_argument, os.cpu_count() or 1
    add("--bundle", type=Path, default=ROOT / "models/apartment", help="ours (models/apartment)")
    add(
        "--threads",
        type=int,
        nargs="+",
        default=sorted({cores, 1})[::-1],
        help="of LeWM (all cores; 1)",
    )
    add("--rounds", type=int, default=5, help="how often each of LeWM's is timed (5)")
    add("--environment", type=Path, default=ROOT / "runs/peer/venv", help="(runs/peer/venv)")
    add("--json", type=Path, default=ROOT / "results/lewm.json", help="(results/lewm.json)")
    given = parser.parse_args()
    if min(*given.threads, given.rounds) < 1:
        parser.error("--threads and --rounds must be at least 1")
    try:
        bundle, peer = bundles.load(given.bundle), Peer(environment(given.environment.resolve()))
        report = {"cores": cores, "load_before": os.getloadavg()[0], "lewm": peer.about}
        report |= {"foresight": bundle.manifest.planner.model_dump()}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        try:
            for samples in measure(bundle, peer, given.threads, given.rounds):
                rows = figures(samples)
                report |= {"load_after": os.getloadavg()[0], "figures": rows}
                given.json.write_text(json.dumps(report, indent=2) + "\n")
        finally:
            peer.close()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"lewm: {error}")
    except KeyboardInterrupt:
        sys.exit("lewm: stopped")
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    load = f"{report['load_before']:.1f} before, {report['load_after']:.1f} after"
    console.print(f"load of the machine {load}; {given.json}")


if __name__ == "__main__":
    main()
