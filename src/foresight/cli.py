"""The command `foresight`. Every subcommand ends with 0 on success, 2 on bad usage, else 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from foresight import __version__
from foresight.sim.demo import demo_command, report_command
from foresight.sim.tasks import Suite
from foresight.workspace import launch_command

app = typer.Typer(
    name="foresight",
    help="Learn a world model from a robot's own driving, and deploy it on ROS 2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="Look into a bundle.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
app.command("launch")(launch_command)
app.command("demo")(demo_command)
app.command("report")(report_command)

console = Console()

BundleDir = Annotated[Path, typer.Argument(help="Folder with manifest.yaml and its graphs.")]
Robot = Annotated[Path, typer.Option(help="Robot profile.")]
_CHECKOUT = Path(__file__).resolve().parents[2]
HOMEBOT = _CHECKOUT / "config" / "robots" / "homebot.yaml"
APARTMENT = _CHECKOUT / "models" / "apartment"


@contextmanager
def _one_sentence(command: str) -> Iterator[None]:
    """Expected failures end with their one sentence and exit code 1, Ctrl-C with 130."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(f"foresight {command}: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    os.environ.setdefault("MUJOCO_GL", "egl")


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Folder for the episodes.")],
    world: Annotated[int, typer.Option(min=0, help="Number of the home.")] = 0,
    frames: Annotated[int, typer.Option(min=1000, help="At 10 per second.")] = 80_000,
    workers: Annotated[int, typer.Option(min=1, help="Robots side by side.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Draws where and how they drive.")] = 0,
    robot: Robot = HOMEBOT,
) -> None:
    """Let simulated robots drive themselves around a home and record what they see."""
    from foresight.learning.collect import collect

    with _one_sentence("collect"):
        summary = collect(out, world, robot, frames, workers, seed)
        console.print(
            f"{summary['frames']:.0f} frames in {out}, {summary['frames_per_second']:.0f}/s, "
            f"{summary['bumps_per_minute']:.1f} bumps per minute of driving"
        )


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of recorded drives.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; training resumes from it.")],
    held_out: Annotated[
        Path | None, typer.Option(help="Drives to measure on [default: every 16th of --data].")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="World model updates.")] = 4000,
    distance_steps: Annotated[int, typer.Option(min=1, help="Distance head updates.")] = 6000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    start: Annotated[
        Path | None, typer.Option("--from", help="Bundle whose weights to start from.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda [default: the GPU if there is one].")
    ] = None,
) -> None:
    """Train a world model and its distance head; Ctrl-C and the same command go on later.

    On several GPUs or machines: torchrun --nproc-per-node N -m foresight.cli train ...
    """
    from foresight.learning.train import train

    with _one_sentence("train"):
        trained = train(data, out, held_out, steps, distance_steps, seed, start, device)
        console.print(_metrics_table(trained.metrics))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="Folder that `foresight train` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle, e.g. models/apartment.")],
    robot: Robot = HOMEBOT,
) -> None:
    """Export a trained model to a bundle of ONNX graphs, checked against PyTorch."""
    from foresight.learning.export import export_trained

    with _one_sentence("export"):
        manifest = export_trained(checkpoint, out, robot)
        size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        console.print(f"{out}: {', '.join(manifest.graphs)}; {size:.1f} MB")


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Option(help="Bundle to drive with.")],
    suite: Annotated[Suite, typer.Option(help="0.7-2 m, 2-4 m, or into another room.")] = "near",
    world: Annotated[int, typer.Option(min=0, help="Number of the home.")] = 0,
    episodes: Annotated[int, typer.Option(min=1)] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Draws starts and goals.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    robot: Robot = HOMEBOT,
) -> None:
    """Drive to goal pictures in simulation and count what is reached."""
    from foresight.learning.evaluate import evaluate

    with _one_sentence("evaluate"):
        result = evaluate(bundle, robot, suite, world, episodes, seed)
        _write_json(json, asdict(result))
        console.print(result.summary())


@app.command()
def bench(
    what: Annotated[
        Literal["all", "plan", "encode", "sim"], typer.Option(help="What to time.")
    ] = "all",
    bundle: Annotated[Path, typer.Option(help="Bundle to time.")] = APARTMENT,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    robot: Robot = HOMEBOT,
) -> None:
    """Time the parts, each beside the limit that this machine sets."""
    from foresight.bench import bench

    with _one_sentence("bench"):
        figures = bench(what, bundle, robot)
        _write_json(json, figures)
        for name, values in figures.items():
            console.print(f"{name}: " + ", ".join(f"{k} {v:.3g}" for k, v in values.items()))


@bundle_app.command("verify")
def bundle_verify(bundle: BundleDir) -> None:
    """Check digests, shapes and that ONNX Runtime can run every graph."""
    from foresight import bundle as bundles

    with _one_sentence("bundle verify"):
        loaded = bundles.load(bundle)
        for graph in loaded.manifest.graphs:
            providers = loaded.session(graph).get_providers()
            console.print(f"{graph}: intact, runs on {providers[0]}")


@bundle_app.command("show")
def bundle_show(bundle: BundleDir) -> None:
    """Show what the manifest says."""
    from foresight import bundle as bundles

    with _one_sentence("bundle show"):
        loaded = bundles.load(bundle)
        table = Table("key", "value", title=f"{loaded.manifest.name} ({loaded.digest[:12]})")
        for key, value in _flat(loaded.manifest.model_dump(mode="json")):
            table.add_row(key, value)
        console.print(table)


def _write_json(file: Path | None, content: Mapping[str, object]) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dumps(content, indent=2) + "\n", encoding="utf-8")


def _flat(content: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _metrics_table(metrics: dict[str, float]) -> Table:
    table = Table("on held-out drives", "")
    for name, value in metrics.items():
        table.add_row(name.replace("_", " "), f"{value:g}")
    return table


if __name__ == "__main__":  # for `torchrun -m foresight.cli train ...`
    app()
