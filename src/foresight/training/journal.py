"""The learning curve: on screen, in TensorBoard's event files, and at last as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

CURVE = "curve.png"
_PANELS = {
    "loss/": "loss",
    "held_out/copy_last_": "held out: error over that of repeating the last latent",
    "held_out/effective_rank": "held out: effective rank",
}


class Journal:
    """Where a run reports to while it goes on (a context manager).

    Attributes:
        rows: all that was recorded, one dict for each time; they go into the checkpoint.
    """

    def __init__(
        self, out: Path, first: int, steps: int, rows: list[dict[str, float]], silent: bool = False
    ) -> None:
        """Go on after update `first` of `steps`; event files begin there anew."""
        from tensorboardX import SummaryWriter

        self.rows, self._out, self._seen = rows, out, dict[str, float]()
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._progress = Progress("training", *columns, TimeRemainingColumn(), disable=silent)
        self._bar = self._progress.add_task("", total=steps, completed=first)
        self._events = None if silent else SummaryWriter(str(out), purge_step=first)

    def __enter__(self) -> Journal:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if self._events is not None:
            self._events.close()
            draw_curve(self.rows, self._out / CURVE)

    def record(self, step: int, group: str, figures: Mapping[str, float]) -> None:
        """Keep figures as they are after `step` updates, under `group`/name."""
        row = {f"{group}/{name}": figure for name, figure in figures.items()}
        self._seen |= row
        self.rows.append({"step": step} | row)
        if self._events is not None:
            for name, figure in row.items():
                self._events.add_scalar(name, figure, step)

    def show(self, step: int, loss: float) -> None:
        """One more update is done: bring the line on screen up to date."""
        speed = self._progress.tasks[0].speed
        ratios = [f"{v:.2f}" for k, v in self._seen.items() if "copy_last" in k]
        text = f"loss {loss:.3f}"
        if ratios:
            rank = self._seen["held_out/effective_rank"]
            text += f", copy-last ratio {'/'.join(ratios)}, rank {rank:.0f}"
        if speed:
            text += f", {speed:.1f}/s"
        self._progress.update(self._bar, completed=step, description=text)


def draw_curve(rows: list[dict[str, float]], file: Path) -> None:
    """A picture of what was recorded, over updates: losses, error ratios and rank."""
    from matplotlib.figure import Figure

    figure = Figure((13, 4), layout="constrained")
    for axes, (prefix, title) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
        for name in dict.fromkeys(key for row in rows for key in row if key.startswith(prefix)):
            points = [(row["step"], row[name]) for row in rows if name in row]
            points = [(step, value) for step, value in points if math.isfinite(value)]
            axes.plot(*zip(*points, strict=True), label=name.removeprefix(prefix) or name)
        axes.set(title=title, xlabel="updates", yscale="linear" if "rank" in prefix else "log")
        if len(axes.lines) > 1:
            axes.legend(fontsize="x-small")
    figure.savefig(file, dpi=120)
