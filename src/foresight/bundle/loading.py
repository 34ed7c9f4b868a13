"""Opening a bundle from anywhere: sizes bounded, digests checked, nothing executed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from pydantic import ValidationError

from foresight.bodies import body_of
from foresight.bodies.profile import RobotProfile
from foresight.bundle.manifest import Manifest, PlannerSpec
from foresight.bundle.sessions import ProviderError, Runtime, Session, first_line, open_session

MANIFEST = "manifest.yaml"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_GRAPH_BYTES = 512 * 1024 * 1024


class BundleError(ValueError):
    """The bundle cannot be used; the message says in one sentence which file and why."""


class Bundle:
    """A verified world model.

    Attributes:
        path: its folder.
        manifest: the checked manifest.
        digest: sha256 of the manifest, which itself holds the digest of every graph.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        digest: str,
        graphs: dict[str, bytes],
        runtime: Runtime,
    ) -> None:
        self.path, self.manifest, self.digest = path, manifest, digest
        self._graphs, self._runtime = graphs, runtime

    def check_robot(self, profile: RobotProfile) -> None:
        """Make sure that the robot of this profile can drive by this model.

        Raises:
            BundleError: it moves otherwise, is slower, or is wider than the model was made for.
        """
        body = self.manifest.body
        if misfit := body.misfit(body_of(profile)):
            raise BundleError(
                f"{self.path}: made for the robot '{body.robot}', it does not fit the robot "
                f"'{profile.name}': {misfit}; use a bundle that was trained for this robot, or "
                "correct its profile"
            )

    def session(self, graph: str, threads: int = 1) -> Session:
        """A warm session for a graph of the manifest: 'encoder', 'dynamics', 'planner', ...

        The bytes that were verified are the bytes that run, whatever happens to the file later.

        Raises:
            BundleError: ONNX Runtime cannot build the graph, or its shapes disagree with the
                manifest.
            ProviderError: the provider that the bundle was loaded for is not there.
        """
        entry = self.manifest.graphs[graph]
        file = self.path / entry.file
        try:
            return open_session(
                self._graphs[graph],
                entry.sha256,
                graph,
                threads,
                self._runtime,
                static=graph in self.manifest.planners,
                check=lambda session: _check_shapes(session, graph, self.manifest, file),
            )
        except (BundleError, ProviderError):
            raise
        except Exception as error:  # onnxruntime raises many types of its own
            raise BundleError(
                f"{file}: ONNX Runtime cannot run it ({first_line(error)})"
            ) from error


def load(path: str | Path, runtime: Runtime | None = None) -> Bundle:
    """Open a bundle and verify it whole; its sessions will run on `runtime`.

    Raises:
        BundleError: something is missing, damaged, altered or of another version.
    """
    folder = Path(path)
    text = _read(folder / MANIFEST, MAX_MANIFEST_BYTES)
    try:
        content = yaml.safe_load(text)
        manifest = Manifest.model_validate(content)
    except (yaml.YAMLError, ValueError) as error:
        raise BundleError(f"{folder / MANIFEST}: {_one_sentence(error)}") from error
    except RecursionError:
        raise BundleError(f"{folder / MANIFEST}: nested too deeply, refused") from None
    graphs = {}
    for name, entry in manifest.graphs.items():
        data = _read(folder / entry.file, MAX_GRAPH_BYTES)
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise BundleError(
                f"{folder / entry.file}: sha256 is {digest[:12]}..., the manifest says "
                f"{entry.sha256[:12]}...; it is truncated or altered; restore it or export again"
            )
        graphs[name] = data
    digest = hashlib.sha256(text).hexdigest()
    return Bundle(folder, manifest, digest, graphs, runtime or Runtime())


def _read(file: Path, limit: int) -> bytes:
    try:
        if file.stat().st_size > limit:
            raise BundleError(f"{file}: larger than {limit} bytes, refused")
        return file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{file}: {error.strerror or error}; a bundle is a folder with {MANIFEST} and graphs"
        ) from error


def _one_sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "manifest"
        return f"key '{key}': {fault['msg']}; export the bundle again with this version"
    return " ".join(str(error).split())


def _check_shapes(session: Session, graph: str, manifest: Manifest, file: Path) -> None:
    """Every input and output that callers rely on must have the shape that the manifest states."""
    inputs, outputs = _shapes(manifest, graph)
    for kind, expected, found in (
        ("input", inputs, session.inputs),
        ("output", outputs, session.outputs),
    ):
        for name, shape in expected.items():
            if name not in found:
                raise BundleError(
                    f"{file}: the graph has no {kind} '{name}'; export the bundle again"
                )
            if not _agree(found[name], shape):
                raise BundleError(
                    f"{file}: {kind} '{name}' has shape {_written(found[name])}, the manifest says "
                    f"{_written(shape)}; graph and manifest do not belong together"
                )
        strange = sorted(found.keys() - expected.keys())
        if expected and strange:
            raise BundleError(f"{file}: nobody knows the graph's {kind} '{strange[0]}', refused")


_Shape = list[int | None]  # None: the batch, any number


def _shapes(manifest: Manifest, graph: str) -> tuple[dict[str, _Shape], dict[str, _Shape]]:
    """Inputs and outputs of a graph."""
    if graph in manifest.planners:
        return _planner_shapes(manifest, manifest.planners[graph])
    image, size = manifest.image, manifest.latent_size
    body, action = len(manifest.body.proprioception), len(manifest.body.action.names)
    state: dict[str, _Shape] = {"latent": [None, size], "proprioception": [None, body]}
    known: dict[str, tuple[dict[str, _Shape], dict[str, _Shape]]] = {
        "encoder": (
            {"image": [None, image.height, image.width, image.channels]},
            {"latent": [None, size]},
        ),
        "dynamics": (
            state | {"action": [None, action]},
            {
                "next_latent": [None, size],
                "next_proprioception": [None, body],
                "collision": [None],
                "displacement": [None, 3],
                "expected_error": [None],
            },
        ),
        "relation": (
            {"latent": [None, size], "other": [None, size]},
            {"gap": [None], "displacement": [None, 3], "close": [None]},
        ),
        "policy": (
            {"latent": [None, size], "goal": [None, size]},
            {"action": [None, action]},
        ),
    }
    return known.get(graph, ({}, {}))


def _planner_shapes(
    manifest: Manifest, plan: PlannerSpec
) -> tuple[dict[str, _Shape], dict[str, _Shape]]:
    size, body = manifest.latent_size, len(manifest.body.proprioception)
    action = len(manifest.body.action.names)
    inputs: dict[str, _Shape] = {
        "latent": [1, size],
        "proprioception": [1, body],
        "goal": [1, size],
        "goal_pose": [1, 3],
        "trust": [1],
        "obstacles": [plan.obstacles, 2],
        "committed": [1, action],
        "delay": [1],
        "warm_start": [1, plan.horizon, action],
        "proposals": [plan.proposals, plan.horizon, action],
        "noise": [plan.iterations, plan.samples - 1, plan.horizon, action],
    }
    outputs: dict[str, _Shape] = {
        "actions": [1, plan.horizon, action],
        "energy": [1, plan.horizon],
        "latents": [1, plan.horizon, size],
        "collision": [1, plan.horizon],
        "uncertainty": [1, plan.horizon],
    }
    return inputs, outputs


def _agree(found: list[int | str | None], expected: _Shape) -> bool:
    if len(found) != len(expected):
        return False
    return all(b is None or a == b for a, b in zip(found, expected, strict=True))


def _written(shape: list[int | str | None] | _Shape) -> str:
    return f"({', '.join('batch' if size is None else str(size) for size in shape)})"
