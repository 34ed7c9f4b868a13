"""`foresight export`: trained networks -> a bundle of ONNX graphs, checked against PyTorch."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from foresight import bundle
from foresight.bundle.manifest import (
    ActionSpec,
    GraphFile,
    ImageSpec,
    Manifest,
    PlannerSpec,
)
from foresight.dynamics.losses import as_pose
from foresight.dynamics.networks import ACTION, LATENT, PROPRIOCEPTION, WorldModel
from foresight.learning.card import write_card
from foresight.learning.train import Trained, load_trained
from foresight.planning.optimiser import Optimiser, Settings
from foresight.robot import RobotProfile

PARITY = 1e-3


class ExportError(RuntimeError):
    """The exported graph does not compute what the networks compute."""


def export_trained(checkpoint: Path, out: Path, robot: Path) -> Manifest:
    """Export what `foresight train` left in a folder, for the robot of a profile.

    Raises:
        TrainingError: nothing usable is in `checkpoint`.
        ProfileError: the robot profile is wrong.
        ExportError: a graph disagrees with PyTorch.
    """
    trained = load_trained(checkpoint)
    profile = RobotProfile.load(robot)
    limits = profile.limits
    return export_bundle(
        trained,
        out,
        image=ImageSpec(hfov_deg=profile.camera.hfov_deg),
        action=ActionSpec(
            low=(limits.linear_min_mps, -limits.angular_max_radps),
            high=(limits.linear_max_mps, limits.angular_max_radps),
        ),
        settings=Settings(radius_m=profile.footprint_radius_m),
        robot=profile.name,
    )


class _Dynamics(nn.Module):
    """The predictor, with the step's displacement decoded and the expected error calibrated."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor, proprioception: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        step = self.model.predictor(latent, proprioception, action)
        offset, _ = self.model.relation(latent, step.latent)
        collision, error = step.proprioception[:, -1], step.log_error.exp()
        return step.latent, step.proprioception, collision, as_pose(offset), error


class _Relation(nn.Module):
    """How one place lies from another: seconds, displacement, and whether that can be told."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        offset, close = self.model.relation(latent, other)
        return self.model.distance_energy(latent, other), as_pose(offset), torch.sigmoid(close)


def export_bundle(
    trained: Trained,
    out: Path,
    *,
    image: ImageSpec,
    action: ActionSpec,
    settings: Settings,
    robot: str,
) -> Manifest:
    """Write a bundle to `out`; an older one there is replaced only when the new one is complete.

    Raises:
        ExportError: a graph disagrees with PyTorch by more than PARITY.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        model = _rounded(trained.model)
        graphs = {
            "encoder": _export_encoder(model, image, partial),
            "dynamics": _export_dynamics(model, partial),
            "relation": _export_pairs(
                _Relation(model),
                "other",
                ["gap", "displacement", "close"],
                partial / "relation.onnx",
            ),
            "policy": _export_pairs(model.policy, "goal", ["action"], partial / "policy.onnx"),
            "planner": _export_planner(model, action, settings, partial),
        }
        manifest = Manifest(
            name=out.name,
            robot=robot,
            image=image,
            action=action,
            latent_size=LATENT,
            planner=PlannerSpec(
                samples=settings.samples,
                iterations=settings.iterations,
                horizon=settings.horizon,
                elites=settings.elites,
            ),
            graphs=graphs,
            calibration=trained.calibration,
            training=trained.training,
            metrics=trained.metrics | _arithmetic(model, image, action, settings),
        )
        text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False)
        (partial / bundle.loading.MANIFEST).write_text(text, encoding="utf-8")
        write_card(partial)
        partial.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _arithmetic(
    model: WorldModel, image: ImageSpec, action: ActionSpec, settings: Settings
) -> dict[str, float]:
    """Millions of floating-point operations in the matrix products of one encoding, one plan."""
    modules = {
        "encoder_mflop": (model.encoder, _encoder_inputs(image, 1)),
        "planner_mflop": (_optimiser(model, action, settings), _planner_inputs(settings)),
    }
    counts = {}
    for name, (module, inputs) in modules.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*inputs)
        counts[name] = round(counter.get_total_flops() / 1e6, 2)
    return counts


def _export_encoder(model: WorldModel, image: ImageSpec, folder: Path) -> GraphFile:
    inputs = _encoder_inputs(image, 2)
    return _export(model.encoder, inputs, ["image"], ["latent"], folder / "encoder.onnx", True)


def _encoder_inputs(image: ImageSpec, batch: int) -> tuple[Tensor, ...]:
    shape = (batch, image.height, image.width, 3)
    return (torch.randint(0, 256, shape, dtype=torch.uint8),)


def _export_dynamics(model: WorldModel, folder: Path) -> GraphFile:
    inputs = (torch.randn(2, LATENT), torch.zeros(2, PROPRIOCEPTION), torch.zeros(2, ACTION))
    names = ["latent", "proprioception", "action"]
    outputs = ["next_latent", "next_proprioception", "collision", "displacement", "expected_error"]
    return _export(_Dynamics(model), inputs, names, outputs, folder / "dynamics.onnx", True)


def _export_pairs(module: nn.Module, other: str, outputs: list[str], file: Path) -> GraphFile:
    """A function of a latent and another one."""
    inputs = (torch.randn(2, LATENT), torch.randn(2, LATENT))
    return _export(module, inputs, ["latent", other], outputs, file, True)


def _export_planner(
    model: WorldModel, action: ActionSpec, settings: Settings, folder: Path
) -> GraphFile:
    names = ["latent", "proprioception", "goal", "goal_pose", "trust", "obstacles"]
    names += ["warm_start", "proposals", "noise"]
    outputs = ["actions", "energy", "latents", "collision", "uncertainty"]
    module, inputs = _optimiser(model, action, settings), _planner_inputs(settings)
    return _export(module, inputs, names, outputs, folder / "planner.onnx", False)


def _optimiser(model: WorldModel, action: ActionSpec, settings: Settings) -> Optimiser:
    return Optimiser(model, list(action.low), list(action.high), settings).eval()


def _planner_inputs(settings: Settings) -> tuple[Tensor, ...]:
    plan = (settings.horizon, ACTION)
    return (
        torch.randn(1, LATENT),
        torch.zeros(1, PROPRIOCEPTION),
        torch.randn(1, LATENT),
        torch.tensor([[0.3, 0.1, 0.2]]),
        torch.full((1,), 0.5),
        1.0 + torch.rand(settings.obstacles, 2),
        torch.zeros(1, *plan),
        0.2 * torch.randn(settings.proposals, *plan),
        torch.randn(settings.iterations, settings.samples - 1, *plan),
    )


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: list[str],
    outputs: list[str],
    file: Path,
    any_batch: bool,
) -> GraphFile:
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of missing torchvision
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            str(file),
            input_names=names,
            output_names=outputs,
            dynamic_shapes=tuple(batch for _ in inputs) if any_batch else None,
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=True,
        )
        _compact(file)
        _check_parity(module, inputs, names, file)
    return GraphFile(file=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def _rounded(model: WorldModel) -> WorldModel:
    """A copy whose weights are all numbers that half precision holds, so that files may use it.

    Normalisation over batches is folded into the layers before it, as the exporter would.
    """
    copy = deepcopy(model).float().eval()
    for layers in (copy.encoder.convolutions, copy.encoder.head):
        _fold_batch_norm(layers)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.copy_(weight.half().float())
    return copy


def _fold_batch_norm(layers: nn.Sequential) -> None:
    for k, (layer, norm) in enumerate(pairwise(list(layers)), start=1):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[k - 1], layers[k] = fuse_conv_bn_eval(layer, norm), nn.Identity()
        elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            layers[k - 1], layers[k] = fuse_linear_bn_eval(layer, norm), nn.Identity()


def _compact(file: Path) -> None:
    """Store weights in half precision where that loses nothing, and drop the exporter's notes.

    ONNX Runtime casts the weights back once, when it builds the session; the notes are megabytes
    that say where the exporter ran.
    """
    model = onnx.load(str(file))
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    casts = []
    for weight in graph.initializer:
        value = onnx.numpy_helper.to_array(weight)
        if value.dtype != np.float32 or value.nbytes < 4096:
            continue
        half = value.astype(np.float16)
        if np.array_equal(half.astype(np.float32), value):
            name = weight.name
            weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
            casts.append(
                onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(file))


def _check_parity(
    module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], file: Path
) -> None:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    expected = module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for output, a, b in zip(session.get_outputs(), found, expected, strict=True):
        gap = float(np.abs(a - b.numpy()).max())
        if not gap < PARITY:
            raise ExportError(
                f"{file.name}: output '{output.name}' differs from PyTorch by {gap:.2g} "
                f"(at most {PARITY} allowed)"
            )
