"""How the time of one plan grows with samples, horizon and latent size.

    .venv/bin/python benchmarks/scaling.py

Planner graphs of these sizes, with random weights, run on one thread of ONNX Runtime as on the
robot. Beside each: what its matrix products alone would take at the rate of a large product, which
is measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import onnxruntime as ort
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from foresight import bundle, resources
from foresight.apps.bench.matmul import cpu_rate
from foresight.bundle.manifest import PlannerSpec
from foresight.training import export
from foresight.world_model.networks import LATENT, PairNetwork, Predictor, WorldModel

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "plan-scaling.png"
SHIPPED = PlannerSpec()
BODY = bundle.load(resources.bundle()).manifest.body
SAMPLES = (8, 16, 32, 64, 128, 256)
HORIZONS = (2, 4, 8, 16)
LATENTS = (48, 96, 192, 384, 768)
TITLES = {
    "samples": "samples in a round",
    "horizon": "horizon, actions",
    "latent": "latent size",
}


@dataclass(frozen=True)
class Size:
    """Of a planner; what is not varied is as shipped."""

    samples: int = SHIPPED.samples
    horizon: int = SHIPPED.horizon
    latent: int = LATENT


@dataclass(frozen=True)
class Planner:
    """A graph of some size that is ready to run, and its arithmetic."""

    session: ort.InferenceSession
    feed: dict[str, np.ndarray]
    mflop: float


@dataclass(frozen=True)
class Plan:
    """One plan of some size: how long it takes, and its arithmetic. On a busy machine the quickest
    run says more of the planner than the median."""

    size: Size
    quickest_ms: float
    p50_ms: float
    mflop: float


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="How the time of one plan grows.")
    parser.add_argument("--repeats", type=int, default=50, help="plans of each size")
    parser.add_argument("--out", type=Path, default=PICTURE, help="PNG file")
    options = parser.parse_args()
    panels = {
        "samples": [Size(samples=count) for count in SAMPLES],
        "horizon": [Size(horizon=count) for count in HORIZONS],
        "latent": [Size(latent=count) for count in LATENTS],
    }
    sizes = sorted({size for panel in panels.values() for size in panel}, key=repr)
    planners = {size: exported(size) for size in track(sizes, "exporting")}
    before = cpu_rate(1)
    plans = measure(planners, options.repeats)
    peak = max(before, cpu_rate(1))
    measured = {name: [plans[size] for size in panel] for name, panel in panels.items()}
    Console().print(table(measured, peak))
    draw(measured, peak, options.out)
    print(options.out)


def exported(size: Size) -> Planner:
    """A planner of this size with random weights, as the exporter writes it, on one thread."""
    model = networks(size.latent)
    share = SHIPPED.proposals / SHIPPED.samples
    spec = PlannerSpec(
        samples=size.samples, proposals=int(share * size.samples), horizon=size.horizon
    )
    with mock.patch.object(export, "LATENT", size.latent), TemporaryDirectory() as folder:
        search, inputs = export.fused(model, BODY, spec), export._planner_inputs(BODY, spec)
        file = Path(folder) / "planner.onnx"
        export._export_planner(search, inputs, file)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        search(*inputs)
    names = [entry.name for entry in session.get_inputs()]
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return Planner(session, feed, counter.get_total_flops() / 1e6)


def networks(latent: int) -> WorldModel:
    """Those that a planner needs, for latents of this size."""
    torch.manual_seed(0)
    model = WorldModel(BODY)
    model.predictor, model.distance_net = (
        Predictor(BODY.typical_action, latent),
        PairNetwork(1, latent),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn(weight.shape)  # the exporter merges equal ones
    return model.eval()


def measure(planners: dict[Size, Planner], repeats: int) -> dict[Size, Plan]:
    """Run all planners in turns, so that what else the machine does meets all alike."""
    milliseconds: dict[Size, list[float]] = {size: [] for size in planners}
    for _ in track(range(repeats), "planning"):
        for size, one in planners.items():
            started = time.perf_counter()
            one.session.run(None, one.feed)
            milliseconds[size].append(1e3 * (time.perf_counter() - started))
    return {
        size: Plan(size, min(taken), float(np.median(taken)), planners[size].mflop)
        for size, taken in milliseconds.items()
    }


def table(measured: dict[str, list[Plan]], peak: float) -> Table:
    """All plans; `peak` is in millions of operations a millisecond."""
    shown = Table(title=f"one plan on one thread; large products run at {peak:.0f} GFLOP/s")
    for heading in ("samples", "horizon", "latent", "MFLOP", "quickest ms", "p50 ms", "of limit"):
        shown.add_column(heading, justify="right")
    for plans in measured.values():
        for plan in plans:
            size = plan.size
            shown.add_row(
                str(size.samples),
                str(size.horizon),
                str(size.latent),
                f"{plan.mflop:.0f}",
                f"{plan.quickest_ms:.1f}",
                f"{plan.p50_ms:.1f}",
                f"{plan.mflop / peak / plan.quickest_ms:.0%}",
            )
        shown.add_section()
    return shown


def draw(measured: dict[str, list[Plan]], peak: float, file: Path) -> None:
    """One panel for each of what was varied."""
    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True)
    for panel, (name, plans) in zip(panels, measured.items(), strict=True):
        x = [getattr(plan.size, name) for plan in plans]
        quickest = [plan.quickest_ms for plan in plans]
        panel.plot(x, quickest, "o-", color="tab:blue", label="one plan, the quickest of many")
        limit = [plan.mflop / peak for plan in plans]
        panel.plot(x, limit, "--", color="tab:gray", label="its matrix products at the peak")
        panel.axvline(getattr(Size(), name), color="tab:orange", lw=0.8, label="as shipped")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(x, [str(value) for value in x])
        panel.set_xlabel(TITLES[name])
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("ms, one thread")
    panels[0].legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


if __name__ == "__main__":
    main()
