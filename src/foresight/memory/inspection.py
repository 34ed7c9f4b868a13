"""Looking into a file of places, also while a robot uses it: figures, a picture, JSON, a check."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from foresight.memory.file import Contents, PlacesFile
from foresight.memory.graph import bearers
from foresight.memory.records import PlacesError
from foresight.perception.image import ImageError, decode_compressed


def read(path: Path) -> Contents:
    """All that a file holds, less the pictures.

    Raises:
        PlacesError: it is not there or cannot be used.
    """
    file = PlacesFile.read(path)
    try:
        return file.contents()
    finally:
        file.close()


def check(path: Path) -> str:
    """Read everything, decode every picture.

    Returns:
        one sentence on what was found intact.

    Raises:
        PlacesError: something is damaged; the message says what.
    """
    file = PlacesFile.read(path)
    try:
        contents = file.contents()
        for place in contents.places["id"].tolist():
            try:
                decode_compressed(file.picture(place))
            except ImageError as error:
                raise PlacesError(f"{path}: the picture of place {place}: {error}") from error
    finally:
        file.close()
    _check_ends(path, contents)
    return (
        f"{path}: intact, {len(contents.places)} places with pictures, "
        f"{len(contents.edges)} edges, {len(contents.names)} names"
    )


def _check_ends(path: Path, contents: Contents) -> None:
    ids = contents.places["id"]
    for end in "ab":
        if not np.all(np.isin(contents.edges[end], ids)):
            raise PlacesError(f"{path}: damaged (an edge leads to a place that is not there)")
    if not set(contents.names.values()) <= set(ids.tolist()):
        raise PlacesError(f"{path}: damaged (a name belongs to a place that is not there)")


def figures(path: Path, contents: Contents, now: float | None = None) -> dict[str, str]:
    """What to show of it, as text by heading."""
    now = time.time() if now is None else now
    places, edges = contents.places, contents.edges
    driven = int(np.count_nonzero(edges["traversed"]))
    size = sum(p.stat().st_size for e in ("", "-wal") if (p := Path(f"{path}{e}")).exists())
    shown = {
        "places": str(len(places)),
        "edges": f"{len(edges)}: {driven} driven, {len(edges) - driven} inferred",
        "edges that failed lately": str(int(np.count_nonzero(edges["failures"] > 0.1))),
        "odometry sessions": str(len(np.unique(places["session"]))),
        "size": f"{size / 1e6:.1f} MB"
        + (f", {size / len(places):,.0f} bytes a place" if len(places) else ""),
    }
    for encoder in contents.encoders:
        count = int(np.count_nonzero(contents.encoders_of == encoder.number))
        shown[f"latents of encoder {encoder.digest[:12]}"] = f"{count}, {encoder.latent_size} long"
    if len(places):
        shown["first seen"] = _ago(now - float(places["first_seen"].min()))
        shown["last seen"] = _ago(now - float(places["last_seen"].max()))
        shown["longest unseen"] = _ago(now - float(places["last_seen"].min()))
    for place, names in bearers(contents.names, contents.names.values()).items():
        shown[f"place {place}"] = ", ".join(names)
    return shown


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} seconds ago"


def draw(contents: Contents, file: Path) -> None:
    """A picture of the graph over the odometry of the session with most places (PNG, PDF, SVG).

    Odometry of other sessions has another origin, so that their places cannot be drawn with it.

    Raises:
        PlacesError: there are no places.
        RuntimeError: matplotlib is not installed.
    """
    if not len(contents.places):
        raise PlacesError("there are no places to draw")
    try:
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError(
            "pictures need matplotlib, which is not installed: run ./setup.sh"
        ) from None

    sessions, counts = np.unique(contents.places["session"], return_counts=True)
    session = sessions[counts.argmax()]
    places = contents.places[contents.places["session"] == session]
    at = {int(row["id"]): (float(row["x"]), float(row["y"])) for row in places}
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot()
    for traversed, colour, label in ((0, "0.75", "inferred"), (1, "tab:blue", "driven")):
        lines = [
            (at[edge["a"]], at[edge["b"]])
            for edge in contents.edges[contents.edges["traversed"] == traversed]
            if edge["a"] in at and edge["b"] in at
        ]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.6, label=label))
    visits = axes.scatter(
        places["x"], places["y"], c=places["visits"], s=14, cmap="viridis", zorder=3
    )
    for name, place in contents.names.items():
        if place in at:
            axes.annotate(name, at[place], xytext=(4, 4), textcoords="offset points", zorder=4)
    axes.set(xlabel="x, m", ylabel="y, m", aspect="equal")
    axes.set_title(f"{len(places)} of {len(contents.places)} places: odometry of session {session}")
    axes.legend(loc="upper right")
    figure.colorbar(visits, ax=axes, shrink=0.6, label="visits")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def export(contents: Contents, file: Path) -> None:
    """Write everything but latents and pictures as one JSON object."""
    digests = {encoder.number: encoder.digest for encoder in contents.encoders}
    places = [
        dict(zip(contents.places.dtype.names or (), row, strict=True)) | {"encoder": digests[made]}
        for row, made in zip(contents.places.tolist(), contents.encoders_of.tolist(), strict=True)
    ]
    edges = [
        dict(zip(contents.edges.dtype.names or (), row, strict=True))
        for row in contents.edges.tolist()
    ]
    for edge in edges:
        edge["traversed"] = bool(edge["traversed"])
    whole: dict[str, Any] = {
        "units": {"pose": "m, m, rad", "seen and tried": "s since 1970", "seconds": "s"},
        "places": places,
        "edges": edges,
        "names": contents.names,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
