"""The command `foresight`. Exit codes: 0 success, 2 bad usage, 1 failure, 130 after Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from foresight import __version__, resources
from foresight.apps.demo import demo_command, report_command
from foresight.apps.launching import launch_command

app = typer.Typer(
    name="foresight",
    help="Learn a world model from a robot's own driving, and deploy it on ROS 2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="Inspect a bundle.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
memory_app = typer.Typer(help="Inspect a robot's memory.", no_args_is_help=True)
app.add_typer(memory_app, name="memory")
mission_app = typer.Typer(help="Check a mission.", no_args_is_help=True)
app.add_typer(mission_app, name="mission")
app.command("launch")(launch_command)
app.command("demo")(demo_command)
app.command("report")(report_command)

console = Console()


def _shipped(find: Callable[[], Path]) -> Callable[[], Path]:
    """A default that is looked up only when needed; bad usage if it is not installed."""

    def default() -> Path:
        try:
            return find()
        except resources.ResourceError as error:
            raise typer.BadParameter(f"the shipped one is missing: {error}") from None

    return default


def _shipped_option(find: Callable[[], Path], text: str) -> Any:
    return typer.Option(help=text, default_factory=_shipped(find), show_default="the shipped one")


Robot = Annotated[Path, _shipped_option(resources.robot_profile, "Robot profile.")]
PlacesPath = Annotated[Path, typer.Argument(help="Memory file; a robot may be using it.")]
BundleDir = Annotated[Path, typer.Argument(help="Folder with manifest.yaml and its graphs.")]


@contextmanager
def _one_sentence(command: str) -> Iterator[None]:
    """Expected failures exit with one sentence and code 1, Ctrl-C with 130."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(f"foresight {command}: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt as interrupt:
        typer.echo(": ".join(["stopped", *map(str, interrupt.args)]), err=True)
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
    *,
    out: Annotated[Path, typer.Option(help="Folder for the episodes; existing ones are kept.")],
    world: Annotated[
        str, typer.Option(help="Homes, e.g. 0 or 3,5,8 or 0-99. From 1000 on: evaluation only.")
    ] = "0",
    frames: Annotated[
        int, typer.Option(min=1000, help="At 10 per second, spread over the homes.")
    ] = 80_000,
    workers: Annotated[int, typer.Option(min=1, help="Robots in parallel.")] = 2,
    ray: Annotated[
        str | None,
        typer.Option(help="Drive on a Ray cluster: its address, 'auto' or 'local'."),
    ] = None,
    randomise: Annotated[
        bool, typer.Option("--randomise", help="Vary looks, light, camera, wheels, latency.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws where and how they drive.")] = 0,
    robot: Robot,
) -> None:
    """Let simulated robots drive around homes by themselves and record their drives.

    The same command continues where an interrupted one stopped.
    """
    worlds = _worlds(world)
    from foresight.data.collect import collect

    with _one_sentence("collect"):
        summary = collect(out, worlds, robot, frames, workers, seed, randomise, ray)
        console.print(
            f"{summary['frames']:.0f} frames in {out}, {summary['frames_per_second']:.0f}/s, "
            f"{summary['bumps_per_minute']:.1f} bumps per minute of driving"
        )


@app.command("import-bag")
def import_bag(
    bags: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders of recordings, .mcap or .db3 files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the episodes.")],
    robot: Annotated[Path, typer.Option(help="Profile of the robot that recorded.")],
    image: Annotated[str | None, typer.Option(help="Topic of the pictures.")] = None,
    camera_info: Annotated[
        str | None, typer.Option(help="Topic [default: beside the pictures], or none.")
    ] = None,
    odom: Annotated[str | None, typer.Option(help="Topic of the odometry.")] = None,
    cmd_vel: Annotated[str | None, typer.Option(help="Topic of the commands.")] = None,
    bumper: Annotated[
        str | None, typer.Option(help="Topic of the bumper [default: bumper, if present], or none.")
    ] = None,
) -> None:
    """Turn rosbag2 recordings of a robot into drives to train on."""
    from foresight.data.bags import Tally, Topics, import_bags

    topics, tally = Topics(image, odom, cmd_vel, camera_info, bumper), Tally()
    with _one_sentence("import-bag"):
        try:
            import_bags(bags, out, robot, topics, tally)
        finally:
            if tally != Tally():
                console.print(f"{out}: {tally}", highlight=False, soft_wrap=True)
    for problem in tally.problems:
        typer.echo(f"foresight import-bag: {problem}", err=True)
    if tally.problems:
        raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of recorded drives.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; training resumes from it.")],
    held_out: Annotated[
        Path | None, typer.Option(help="Drives to measure on [default: every 10th of --data].")
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
    robot: Annotated[
        Path | None,
        typer.Option(help="Profile of the robot that drove [default: of the one the drives name]."),
    ] = None,
) -> None:
    """Train a world model and its distance head; after Ctrl-C the same command continues.

    On several GPUs or machines: torchrun --nproc-per-node N -m foresight.apps.cli train ...
    """
    from foresight.training.train import train

    with _one_sentence("train"):
        trained = train(data, out, held_out, steps, distance_steps, seed, start, device, robot)
        console.print(_metrics_table(trained.metrics))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="Folder that `foresight train` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle, e.g. models/apartment.")],
    robot: Robot,
) -> None:
    """Export a trained model to a bundle of ONNX graphs, checked against PyTorch."""
    from foresight.training.export import export_trained

    with _one_sentence("export"):
        manifest = export_trained(checkpoint, out, robot)
        size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        console.print(f"{out}: {', '.join(manifest.graphs)}; {size:.1f} MB")


@app.command()
def evaluate(
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to test; the suite explore needs none.")
    ] = None,
    suite: Annotated[
        Literal["near", "room", "house", "surprise", "causal", "explore"],
        typer.Option(
            help="Drives of 0.7-2 m, of 2-4 m, to another room; faults; cause and effect; "
            "covering an unknown home."
        ),
    ] = "near",
    world: Annotated[str, typer.Option(help="Numbers of the homes: SEED[,SEED...].")] = "0",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Total, spread over the homes [default: 50; surprise 8, causal 4, explore 1 for "
            "each home].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws starts and goals.")] = 0,
    commission: Annotated[
        float | None,
        typer.Option(
            min=4,
            help="First let a robot drive by itself in each home for MINUTES and train on that.",
        ),
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for --commission; it resumes there.")] = Path(
        "runs/commission"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes in parallel [default: one per core].")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of failed drives, reliability, explored homes."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=1, max=240, help="Time limit of an exploration, simulated.")
    ] = 20.0,
    memory: Annotated[
        Literal["none", "tour", "explore"],
        typer.Option(
            help="Navigate with memory: of a tour of each home, or of the robot's own "
            "exploration of at most 20 simulated minutes."
        ),
    ] = "none",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    robot: Robot,
) -> None:
    """Test a bundle, or the explorer, in simulation, against baselines on the same tasks."""
    worlds = _worlds(world)
    workers = workers or len(os.sched_getaffinity(0))
    if suite == "explore":
        if commission is not None:
            raise typer.BadParameter("explore needs no model", param_hint="--commission")
        if memory != "none":
            raise typer.BadParameter("explore drives without memory", param_hint="--memory")
        from foresight.evaluation import explore_suite as exploration

        with _one_sentence("evaluate"):
            explored = exploration.evaluate(
                robot,
                worlds,
                episodes or len(worlds),
                seed,
                minutes,
                workers=workers,
                pictures=pictures,
            )
            _write_json(json, explored)
            console.print(exploration.summary(explored))
        return
    if bundle is None:
        raise typer.BadParameter(f"{suite} drives with a bundle; give one", param_hint="--bundle")
    from foresight.evaluation import goal_suites as evaluation

    with _one_sentence("evaluate"):
        adapted = {}
        if commission is not None:
            from foresight.training.commission import commission as commissioned

            adapted = {
                home: commissioned(bundle, robot, home, commission, work, seed, console)
                for home in worlds
            }
        count = episodes or evaluation.default_episodes(suite, len(worlds))
        result = evaluation.evaluate(
            bundle,
            robot,
            suite,
            worlds,
            count,
            seed,
            workers=workers,
            commissioned=adapted,
            pictures=pictures,
            memory=memory,
        )
        _write_json(json, result)
        console.print(evaluation.summary(result))


@app.command()
def bench(
    *,
    what: Annotated[
        Literal["all", "plan", "encode", "loop", "sim", "train", "memory"],
        typer.Option(help="What to time; loop: the whole graph, from image to command."),
    ] = "all",
    bundle: Annotated[Path, _shipped_option(resources.bundle, "Bundle to time.")],
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of a plan or an encoding [default: as the nodes]."),
    ] = None,
    composed: Annotated[
        bool, typer.Option("--composed", help="The loop's nodes share one process.")
    ] = False,
    places: Annotated[
        list[int] | None,
        typer.Option(
            min=100, max=2_000_000, help="Places in the memory [default: 1000, 10000 and 100000]."
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    robot: Robot,
) -> None:
    """Time the parts, each against the limit of this machine."""
    from foresight.apps.bench import LIMITS, PLACES, bench
    from foresight.apps.bench.show import ProgressLine, tables

    progress = ProgressLine()
    with _one_sentence("bench"):
        try:
            figures = bench(
                what, bundle, robot, threads, composed, say=progress, places=places or PLACES
            )
        finally:
            progress.clear()
        _write_json(json, figures)
        for table in tables(figures, LIMITS):
            console.print(table)


@app.command()
def soak(
    *,
    minutes: Annotated[
        float, typer.Option(min=1, max=100_000, help="Duration in wall time.")
    ] = 60.0,
    results: Annotated[
        Path, typer.Option(help="Folder for record.jsonl, soak.png, launch.log, memory, pictures.")
    ] = Path("results/soak"),
    period: Annotated[
        float, typer.Option(min=0.5, max=600, help="Time between two samples, s.")
    ] = 10.0,
    world: Annotated[int, typer.Option(min=0, help="Number of the home.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Draws the start.")] = 0,
    bundle: Annotated[Path, _shipped_option(resources.bundle, "World model to drive with.")],
    mission: Annotated[
        Path, _shipped_option(resources.soak_mission, "Mission that the robot repeats.")
    ],
    params: Annotated[
        Path, _shipped_option(resources.parameters, "Parameters of the stack's nodes.")
    ],
    composed: Annotated[
        bool, typer.Option("--composed", help="The stack's nodes share one process.")
    ] = False,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="Do not drive: judge the record in --results again."),
    ] = False,
    robot: Robot,
) -> None:
    """A simulated robot patrols for hours: does anything grow, slow down or die?

    Exit code 0 if no check fails (docs/soak.md has the limits), else 1. Ctrl-C judges the record so
    far, and exits with 130.
    """
    from foresight.apps import soak as soaking
    from foresight.apps import soak_record

    files = {"bundle": bundle, "robot": robot, "mission": mission, "params_file": params}
    arguments = {name: str(file.resolve()) for name, file in files.items()}
    arguments |= {"world": str(world), "seed": str(seed)}
    arguments |= {"use_composition": str(composed).lower()}
    record = results / soaking.RECORD
    with _one_sentence("soak"):
        try:
            if not judge:
                with soaking.ProgressBar(minutes) as progress:
                    soaking.soak(results, minutes, period, arguments, progress.show)
        finally:
            recorded = record.is_file() and record.stat().st_size > 0
            if recorded:
                rows = soak_record.load(record)
                checks = soak_record.judge(rows)
                console.print(soak_record.table(rows), soak_record.verdict(checks))
                soak_record.draw(rows, results / soaking.PICTURE)
        if not recorded:
            raise ValueError(f"{record} holds no record: a soak without --judge writes one")
    if any(check.passed is False for check in checks):
        raise typer.Exit(1)


@bundle_app.command("verify")
def bundle_verify(bundle: BundleDir) -> None:
    """Check digests, shapes and that ONNX Runtime can run every graph."""
    from foresight import bundle as bundles

    with _one_sentence("bundle verify"):
        loaded = bundles.load(bundle)
        for graph in loaded.manifest.graphs:
            providers = loaded.session(graph).providers
            console.print(f"{graph}: intact, runs on {providers[0]}")


@bundle_app.command("show")
def bundle_show(bundle: BundleDir) -> None:
    """Show the manifest, and the providers of each graph on this machine."""
    from foresight import bundle as bundles

    with _one_sentence("bundle show"):
        loaded = bundles.load(bundle)
        table = Table("key", "value", title=f"{loaded.manifest.name} ({loaded.digest[:12]})")
        for key, value in _flat(loaded.manifest.model_dump(mode="json")):
            table.add_row(key, value)
        for graph in loaded.manifest.graphs:
            table.add_row(f"runs here.{graph}", ", ".join(loaded.session(graph).providers))
        console.print(table)


@memory_app.command("show")
def memory_show(
    places: PlacesPath,
    picture: Annotated[
        Path | None, typer.Option(help="PNG for the drawn graph [default: beside the memory file].")
    ] = None,
) -> None:
    """Show counts, names, sizes and ages, and draw the graph over the odometry."""
    from foresight.memory import inspection

    with _one_sentence("memory show"):
        contents = inspection.read(places)
        table = Table("", "", title=str(places), show_header=False)
        for heading, text in inspection.figures(places, contents).items():
            table.add_row(heading, text)
        console.print(table)
        if len(contents.places):
            target = picture or places.with_suffix(".png")
            inspection.draw(contents, target)
            console.print(f"drawn in {target}", soft_wrap=True)


@memory_app.command("check")
def memory_check(places: PlacesPath) -> None:
    """Check the whole file, including every picture."""
    from foresight.memory import inspection

    with _one_sentence("memory check"):
        console.print(inspection.check(places), highlight=False, soft_wrap=True)


@memory_app.command("export")
def memory_export(
    places: PlacesPath, out: Annotated[Path, typer.Option(help="File to write (JSON).")]
) -> None:
    """Write places, edges and names as JSON, without latents and pictures."""
    from foresight.memory import inspection

    with _one_sentence("memory export"):
        inspection.export(inspection.read(places), out)


@mission_app.command("check")
def mission_check(
    file: Annotated[Path, typer.Argument(help="Mission, as in config/missions.")],
) -> None:
    """Check a mission and show its behaviour tree."""
    from foresight.missions import Mission, outline

    with _one_sentence("mission check"):
        typer.echo(outline(Mission.load(file)), nl=False)


def _worlds(text: str) -> list[int]:
    """Numbers of homes from '7', '3,5,8', '0-99' or a mixture; raises typer.BadParameter."""
    worlds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 10**6):
            raise typer.BadParameter(
                f"{part!r} names no homes; give numbers such as 7, 3,5,8 or 0-99",
                param_hint="--world",
            )
        worlds += range(int(first), int(last) + 1)
    if len(set(worlds)) < len(worlds):
        raise typer.BadParameter(f"{text!r} names a home twice", param_hint="--world")
    return worlds


@bundle_app.command("card")
def bundle_card(
    bundle: BundleDir,
    results: Annotated[
        list[Path] | None, typer.Argument(help="Files that `foresight evaluate --json` wrote.")
    ] = None,
) -> None:
    """Write the model card, CARD.md: data, gates, results, limits."""
    from foresight.bundle.card import write_card

    with _one_sentence("bundle card"):
        console.print(str(write_card(bundle, results or ())))


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


if __name__ == "__main__":  # for `torchrun -m foresight.apps.cli train ...`
    app()
