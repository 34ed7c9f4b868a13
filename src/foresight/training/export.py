"""`foresight export`: trained networks -> a bundle of ONNX graphs, checked against PyTorch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import onnx
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from foresight import bundle
from foresight.bodies import AnyBody, body_of
from foresight.bodies.profile import RobotProfile
from foresight.bundle.card import write_card
from foresight.bundle.manifest import PLANNER, GraphFile, ImageSpec, Manifest, PlannerSpec
from foresight.solvers.icem import ICEM
from foresight.solvers.protocols import Solver
from foresight.training import graphs
from foresight.training.train import Trained, load_trained
from foresight.world_model.losses import as_pose
from foresight.world_model.networks import LATENT, WorldModel
from foresight.world_model.objective import ReachGoal
from foresight.world_model.rollout import Rollout

ACTION_S = 0.5
"""How long an action is held: what `foresight.data.windows.Drives` joins to one."""
PLANNERS = {
    PLANNER: PlannerSpec(),
    "fast": PlannerSpec(iterations=5, judged_every=2),
    "thorough": PlannerSpec(samples=256, proposals=128, elites=16, iterations=4),
}
"""What goes into a bundle, by the name that a robot asks for it. The thorough one has few rounds of
many samples, as suits a GPU, which takes as long for one sample as for hundreds."""


def export_trained(checkpoint: Path, out: Path, robot: Path) -> Manifest:
    """Export what `foresight train` left in a folder, for the robot of a profile.

    It can be wider and slower than the robot that the model was trained for, but move no other way.

    Raises:
        TrainingError: nothing usable is in `checkpoint`.
        ProfileError: the robot profile is wrong.
        ExportError: the model was trained for another robot, or a graph disagrees with PyTorch.
    """
    trained = load_trained(checkpoint)
    profile = RobotProfile.load(robot)
    own, taught = body_of(profile), trained.body
    if own.kinematics != taught.kinematics:
        raise graphs.ExportError(
            f"{robot}: a base '{own.kinematics}', but {checkpoint} was trained for "
            f"'{taught.kinematics}'; train for this robot"
        )
    if excess := own.action.excess(taught.action):
        raise graphs.ExportError(
            f"{robot}: the limits allow {excess} that {checkpoint} was trained for; lower them, or "
            "train for this robot"
        )
    here = {"robot": own.robot, "footprint_radius_m": own.footprint_radius_m, "action": own.action}
    return export_bundle(
        replace(trained, body=taught.model_copy(update=here)),
        out,
        image=ImageSpec(hfov_deg=profile.camera.hfov_deg),
        planners=PLANNERS,
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
    planners: dict[str, PlannerSpec],
) -> Manifest:
    """Write a bundle to `out`; an older one there is replaced only when the new one is complete.

    Raises:
        ExportError: a graph disagrees with PyTorch by more than `graphs.PARITY`.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        model, body = _rounded(trained.model), trained.body
        files = {
            "encoder": _export_encoder(model, image, partial),
            "dynamics": _export_dynamics(model, partial),
            "relation": _export_pairs(
                _Relation(model),
                "other",
                ["gap", "displacement", "close"],
                partial / "relation.onnx",
            ),
            "policy": _export_pairs(model.policy, "goal", ["action"], partial / "policy.onnx"),
            **{
                name: _export_planner(
                    fused(model, body, spec), _planner_inputs(body, spec), partial / f"{name}.onnx"
                )
                for name, spec in planners.items()
            },
        }
        manifest = Manifest(
            name=out.name,
            body=body,
            image=image,
            action_s=ACTION_S,
            latent_size=LATENT,
            planners=planners,
            graphs=files,
            calibration=trained.calibration,
            training=trained.training,
            metrics=trained.metrics | _arithmetic(model, body, image, planners),
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
    model: WorldModel, body: AnyBody, image: ImageSpec, planners: dict[str, PlannerSpec]
) -> dict[str, float]:
    """Millions of floating-point operations in the matrix products of one encoding, one plan."""
    modules: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
        "encoder_mflop": (model.encoder, _encoder_inputs(image, 1))
    }
    for name, spec in planners.items():
        modules[f"{name}_mflop"] = (fused(model, body, spec), _planner_inputs(body, spec))
    counts = {}
    for name, (module, inputs) in modules.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*inputs)
        counts[name] = round(counter.get_total_flops() / 1e6, 2)
    return counts


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    file: Path,
) -> GraphFile:
    """A module of any batch."""
    return graphs.write(graphs.trace(module, inputs, names, outputs, True), module, inputs, file)


def _export_encoder(model: WorldModel, image: ImageSpec, folder: Path) -> GraphFile:
    inputs = _encoder_inputs(image, 2)
    return _export(model.encoder, inputs, ["image"], ["latent"], folder / "encoder.onnx")


def _encoder_inputs(image: ImageSpec, batch: int) -> tuple[Tensor, ...]:
    shape = (batch, image.height, image.width, 3)
    return (torch.randint(0, 256, shape, dtype=torch.uint8),)


def _export_dynamics(model: WorldModel, folder: Path) -> GraphFile:
    actions = model.predictor.actions
    inputs = (torch.randn(2, LATENT), torch.zeros(2, actions + 1), torch.zeros(2, actions))
    names = ["latent", "proprioception", "action"]
    outputs = ["next_latent", "next_proprioception", "collision", "displacement", "expected_error"]
    return _export(_Dynamics(model), inputs, names, outputs, folder / "dynamics.onnx")


def _export_pairs(module: nn.Module, other: str, outputs: list[str], file: Path) -> GraphFile:
    """A function of a latent and another one."""
    inputs = (torch.randn(2, LATENT), torch.randn(2, LATENT))
    return _export(module, inputs, ["latent", other], outputs, file)


_SITUATION = ["latent", "proprioception", "goal", "goal_pose", "trust", "obstacles"]
_SITUATION += ["committed", "delay"]
_SEARCH = ["warm_start", "proposals", "noise"]


def fused(model: WorldModel, body: AnyBody, settings: PlannerSpec) -> ICEM:
    """The planner as one module: what the model foresees, what is wanted of it, and the search."""
    dynamics = Rollout(model.predictor)
    objective = ReachGoal(model.distance_net, body, ACTION_S, settings)
    return ICEM(dynamics, objective, body.action, settings).eval()


def _export_planner(search: Solver, inputs: tuple[Tensor, ...], file: Path) -> GraphFile:
    """The whole search as one graph: a round is traced once and repeated."""
    assert isinstance(search, nn.Module)
    *situation, warm_start, proposals, noise = inputs
    white = noise[:1]
    with torch.no_grad():
        state = search.begin(*situation, warm_start, proposals, white)
        outputs = search.end(*situation, state[0])
    passed = [f"state.{k}" for k in range(len(state))]
    names = ["actions", "energy", "latents", "collision", "uncertainty"]
    names_in = [*_SITUATION, *_SEARCH]
    chain = graphs.Chain({n: tuple(x.shape) for n, x in zip(names_in, inputs, strict=True)})
    rounds = chain.split("noise", len(noise))

    def part(
        method: str, values: Sequence[Tensor], taken: list[str], given: list[str]
    ) -> onnx.ModelProto:
        return graphs.trace(_Method(search, method), (*situation, *values), taken, given)

    begin = part("begin", (warm_start, proposals, white), [*_SITUATION, *_SEARCH], passed)
    found = chain.add(begin, [*_SITUATION, "warm_start", "proposals", rounds[0]])
    if len(rounds) > 1:
        again = part("go_on", (*state, white), [*_SITUATION, *passed, "noise"], passed)
        for name in rounds[1:]:
            found = chain.add(again, [*_SITUATION, *found, name])
    end = part("end", state[:1], [*_SITUATION, passed[0]], names)
    found = chain.add(end, [*_SITUATION, found[0]])
    shapes = {name: tuple(x.shape) for name, x in zip(names, outputs, strict=True)}
    return graphs.write(chain.finish(found, shapes), search, inputs, file)


class _Method(nn.Module):
    """One method of a module as a module of its own."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        super().__init__()
        self.owner, self.name = owner, name

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return getattr(self.owner, self.name)(*inputs)


def _planner_inputs(body: AnyBody, settings: PlannerSpec) -> tuple[Tensor, ...]:
    actions = len(body.action.names)
    plan = (settings.horizon, actions)
    return (
        torch.randn(1, LATENT),
        torch.zeros(1, len(body.proprioception)),
        torch.randn(1, LATENT),
        torch.tensor([[0.3, 0.1, 0.2]]),
        torch.full((1,), 0.5),
        1.0 + torch.rand(settings.obstacles, 2),
        torch.full((1, actions), 0.2),
        torch.full((1,), 0.2),
        torch.zeros(1, *plan),
        0.2 * torch.randn(settings.proposals, *plan),
        torch.randn(settings.iterations, settings.samples - 1, *plan),
    )


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
