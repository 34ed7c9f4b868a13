"""The model card of a bundle: what it learned from, what was measured, where it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foresight import bundle as bundles
from foresight.bundle.manifest import Manifest

CARD = "CARD.md"
_LIMITS = """\
- It knows the homes that it was trained in; elsewhere its distances and positions mean little.
- Its camera must see at least 60% of the model's view, from where it sat when the drives were made.
- It sees one picture at a time: two places that look alike are one to it.
- Moving people, mirrors, glass and darkness are not in simulated drives.
- It is no safety device: the safety controller, the driver's timeout and an emergency stop are."""


def write_card(bundle: Path, results: Sequence[Path] = ()) -> Path:
    """Write CARD.md into a bundle, from its manifest and from what `evaluate --json` wrote.

    Raises:
        BundleError: the bundle cannot be used.
        ValueError: a result is no such file.
    """
    manifest = bundles.load(bundle).manifest
    body = manifest.body
    bounds = zip(body.action.names, body.action.low, body.action.high, strict=True)
    found = [_result(path) for path in results]
    lines = [
        f"# World model {manifest.name}",
        "",
        f"For the robot {body.robot}; licence {manifest.licence}. Body: {body.kinematics}, radius "
        f"{body.footprint_radius_m:g} m, "
        f"{', '.join(f'{name} {low:g} to {high:g}' for name, low, high in bounds)}.",
        "",
        "## Data and training",
        "",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in manifest.training.items()),
        "",
        "## Gates",
        "",
        *_gates(manifest, found),
        "",
        "## On held-out drives",
        "",
        *(f"- {key.replace('_', ' ')}: {value:g}" for key, value in manifest.metrics.items()),
        "",
        "## Results",
        "",
        *([line for one in found for line in _told(one)] or ["- none given"]),
        "",
        "## Limits",
        "",
        _LIMITS,
        "",
    ]
    file = bundle / CARD
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _result(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if {"suite", "worlds", "episodes", "seed"} <= content.keys():
            return content
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); give what evaluate wrote") from error
    raise ValueError(f"{path}: is no result of an evaluation; give what `evaluate --json` wrote")


def _gates(manifest: Manifest, results: Sequence[dict[str, Any]]) -> Iterator[str]:
    figures = manifest.metrics
    for name, title in (("copy_last", "repeating"), ("shuffled_actions", "shuffled actions")):
        ratios = [value for key, value in figures.items() if key.startswith(f"error_ratio_{name}")]
        if ratios:
            yield _gate(f"error over that of {title} at most 0.8", max(ratios), max(ratios) <= 0.8)
    if "effective_rank" in figures:
        rank = figures["effective_rank"]
        yield _gate("effective rank of the latent above 16", rank, rank > 16)
    for one in results:
        correlation = one.get("distance_rank_correlation")
        if correlation is not None:
            title = f"rank correlation of distance with the true way at least 0.7, {_where(one)}"
            yield _gate(title, correlation, correlation >= 0.7)
        if "success" in one:
            low, high = one["success"]["low"], one["baselines"]["random"]["high"]
            title = f"{one['suite']}: success far above random, {_where(one)}"
            yield _gate(title, one["success"]["rate"], low > high)
    yield "- passed: ONNX equals PyTorch (else there would be no bundle)"


def _gate(title: str, value: float, passed: bool) -> str:
    return f"- {'passed' if passed else 'FAILED'}: {title} ({value:.3g})"


def _told(one: dict[str, Any]) -> Iterator[str]:
    where = f"{one['suite']}, {_where(one)}"
    if "success" in one:
        drivers = {"this model": one["success"]} | one["baselines"]
        told = "; ".join(
            f"{name} {rate['rate']:.0%} ({rate['low']:.0%}-{rate['high']:.0%})"
            for name, rate in drivers.items()
        )
        yield f"- {where}, {one['episodes']} episodes, seed {one['seed']}: {told}; " + (
            f"{one['collisions_per_episode']:.2f} collisions per episode, SPL {one['spl']:.2f}"
        )
    elif "auroc" in one:
        told = ", ".join(f"{name.replace('_', ' ')} {x:.3f}" for name, x in one["auroc"].items())
        yield f"- {where}: AUROC {told}; {one['false_alarms_per_minute']:.2f} false alarms a minute"
    else:
        for name, ratio in one["error_ratio"].items():
            told = ", ".join(f"{x:.3f} at {k}" for k, x in ratio.items())
            yield f"- {where}: error over {name.replace('_', ' ')} {told} actions ahead"


def _where(one: dict[str, Any]) -> str:
    homes = ", ".join(map(str, one["worlds"]))
    return f"home {homes}" + (" after commissioning" if "commissioned" in one else "")
