"""Weights out of a shipped bundle, to go on training from them.

A bundle holds ONNX graphs and no checkpoint. The exporter keeps the names of the weights, but folds
every batch normalisation into the layer before it; `match_normalisation` takes them apart again.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from foresight import bundle
from foresight.bundle import BundleError
from foresight.world_model.networks import LATENT, WorldModel

_NEEDED = ("encoder", "predictor")
_WHOLE = ("encoder", "policy")  # graphs of one part each; the others hold the model as a whole
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def load_pretrained(model: WorldModel, folder: Path) -> list[str]:
    """Load the weights of a bundle into `model`, which computes in eval mode what the bundle does.

    Every batch normalisation becomes a mere shift; see `match_normalisation`. What actions are
    divided by comes from the bundle, too: its weights were learned for that.

    Returns:
        The parts that the bundle lacks, since no graph needs them; they stay as they are.

    Raises:
        BundleError: the bundle is damaged, or of another architecture than `model`.
    """
    found = _weights(folder)
    wanted: dict[str, Tensor] = dict(model.named_parameters())
    wanted["predictor.scale"] = model.predictor.scale
    for layer, name, norm in _normalisations(model):
        del wanted[f"{name}.weight"]
        wanted[f"{layer}.bias"] = wanted.pop(f"{name}.bias")
        norm.reset_running_stats()
        nn.init.constant_(norm.weight, math.sqrt(1.0 + norm.eps))
    fresh = set()
    for name, weight in wanted.items():
        value = found.get(name)
        if value is None:
            fresh.add(name.split(".")[0])
        elif value.shape != weight.shape:
            raise BundleError(
                f"{folder}: weight '{name}' is {tuple(value.shape)}, these networks need "
                f"{tuple(weight.shape)}; train without --from"
            )
        else:
            with torch.no_grad():
                weight.copy_(value)
    for part in _NEEDED:
        if part in fresh:
            raise BundleError(
                f"{folder}: lacks weights of the {part}, it comes from other networks; "
                "train without --from"
            )
    return sorted(fresh)


@torch.no_grad()
def match_normalisation(module: nn.Module, inputs: Tensor) -> None:
    """Make every batch normalisation compute in training mode what it now computes in eval mode.

    Its running statistics become those of the batch `inputs`, and its gain and shift undo the
    change. Without this, the first update would normalise what folding left as it was.
    """

    def match(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _NORMS)
        assert norm.running_mean is not None and norm.running_var is not None
        axes = [axis for axis in range(arguments[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(arguments[0].float(), axes)
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(gain * (mean - norm.running_mean))
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [part for part in module.modules() if isinstance(part, _NORMS)]
    hooks = [norm.register_forward_pre_hook(match) for norm in norms]
    training = module.training
    module.eval()(inputs)
    module.train(training)
    for hook in hooks:
        hook.remove()


def _normalisations(model: nn.Module) -> list[tuple[str, str, nn.BatchNorm1d | nn.BatchNorm2d]]:
    """(name of the layer before, own name, itself) of every batch normalisation."""
    return [
        (f"{name}.{before}", f"{name}.{after}", norm)
        for name, module in model.named_modules()
        if isinstance(module, nn.Sequential)
        for (before, _), (after, norm) in itertools.pairwise(module.named_children())
        if isinstance(norm, _NORMS)
    ]


def _weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a bundle in float32, by the names that they have in `WorldModel`."""
    loaded = bundle.load(folder)
    if loaded.manifest.latent_size != LATENT:
        raise BundleError(
            f"{folder}: latent_size is {loaded.manifest.latent_size}, this version of the networks "
            f"has {LATENT}; train without --from"
        )
    weights: dict[str, Tensor] = {}
    for graph, entry in loaded.manifest.graphs.items():
        loaded.session(graph)  # refuses what is no graph, or not of the manifest's shapes
        content = onnx.load_model(str(folder / entry.file), load_external_data=False).graph
        for tensor in content.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.dtype in (np.float16, np.float32):
                name = tensor.name.removesuffix(".half")
                whole = f"{graph}.{name}" if graph in _WHOLE else name.removeprefix("model.")
                weights[whole] = torch.from_numpy(value.astype(np.float32))
    return weights
