"""Where the time of one plan goes, by operator of the planner's graph.

    .venv/bin/python benchmarks/hotspots.py

ONNX Runtime's own profiler measures every node of the graph over some runs on one thread; the
quickest run of each node counts, for other programs only ever add. The profiler itself costs about
two microseconds a node, so that the sum is more than a plan takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from foresight import bundle

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 12


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="Where the time of one plan goes, by operator.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "apartment")
    parser.add_argument("--planner", default="planner", help="which of the bundle's")
    parser.add_argument("--runs", type=int, default=50)
    default = ROOT / "docs" / "images" / "plan-hotspots.png"
    parser.add_argument("--out", type=Path, default=default, help="PNG file")
    options = parser.parse_args()
    loaded = bundle.load(options.bundle)  # checks digests before anything runs
    file = options.bundle / loaded.manifest.graphs[options.planner].file
    took, count = by_operator(file, options.runs)
    shown = Table(title=f"{options.planner}: {took.total():.1f} ms in {count.total()} nodes")
    for heading in ("operator", "nodes", "ms", "share"):
        shown.add_column(heading, justify="right" if heading != "operator" else "left")
    for name, ms in took.most_common():
        shown.add_row(name, str(count[name]), f"{ms:.2f}", f"{ms / took.total():.0%}")
    Console().print(shown)
    draw(took, count, options.out)
    print(options.out)


def by_operator(file: Path, runs: int) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds in one run, and nodes, by operator."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "plan")
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        inputs = {
            entry.name: rng.standard_normal(entry.shape).astype(np.float32)
            for entry in session.get_inputs()
        }
        for _ in range(runs):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    quickest: dict[str, float] = {}
    operator: dict[str, str] = {}
    for event in events:
        name = event["name"]
        if event.get("cat") == "Node" and name.endswith("kernel_time"):
            quickest[name] = min(quickest.get(name, np.inf), event["dur"])
            operator[name] = event["args"]["op_name"]
    took: Counter[str] = Counter()
    for name, microseconds in quickest.items():
        took[operator[name]] += microseconds / 1e3
    return took, Counter(operator.values())


def draw(took: Counter[str], count: Counter[str], file: Path) -> None:
    """One bar for each of the dearest operators, one for all others."""
    dearest = took.most_common(SHOWN)
    rest = took.total() - sum(ms for _, ms in dearest)
    names = [f"{name} x {count[name]}" for name, _ in dearest] + ["all others"]
    figure = Figure(figsize=(7, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.barh(names[::-1], [*[ms for _, ms in dearest], rest][::-1], color="tab:blue")
    axes.set_xlabel("ms of one plan, one thread")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(file)


if __name__ == "__main__":
    main()
