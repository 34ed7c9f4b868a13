"""A bundle whose graphs compute what a test can work out by hand.

encoder: the mean colour, latent (3,) in 0 to 1. dynamics: the latent stays, each step drives
(v * 0.5 s, 0, w * 0.5 s), nothing is hit. planner: always (SPEED, 0), at the goal when the colours
agree; log1p(seconds to go) is the mean difference of the colours times ten.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from foresight.bundle.manifest import (
    ActionSpec,
    Calibration,
    GraphFile,
    ImageSpec,
    Manifest,
    PlannerSpec,
)

HORIZON = 4
SPEED = 0.2
FLOAT = TensorProto.FLOAT


def write(folder: Path) -> Path:
    """Write the bundle to `folder` and return it."""
    folder.mkdir(parents=True)
    image = ImageSpec(width=80, height=60, hfov_deg=90.0)
    models = {"encoder": _encoder(image), "dynamics": _dynamics(), "planner": _planner()}
    graphs = {}
    for name, model in models.items():
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        (folder / f"{name}.onnx").write_bytes(data)
        graphs[name] = GraphFile(file=f"{name}.onnx", sha256=hashlib.sha256(data).hexdigest())
    manifest = Manifest(
        name="passthrough",
        robot="homebot",
        image=image,
        action=ActionSpec(),
        latent_size=3,
        planner=PlannerSpec(samples=2, iterations=1, horizon=HORIZON, elites=1),
        graphs=graphs,
        calibration=Calibration(surprise_scale=0.01, arrived_gap=0.2),
        training={},
        metrics={},
    )
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False)
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    return folder


def _value(name: str, *shape: int | str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _constant(name: str, value: object) -> onnx.TensorProto:
    array = np.asarray(value)
    return numpy_helper.from_array(
        array.astype(np.float32) if array.dtype == np.float64 else array, name
    )


def _model(name, nodes, inputs, outputs, constants) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _encoder(image: ImageSpec) -> onnx.ModelProto:
    return _model(
        "encoder",
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Div", ["mean", "white"], ["latent"]),
        ],
        [_value("image", "batch", image.height, image.width, 3, kind=TensorProto.UINT8)],
        [_value("latent", "batch", 3)],
        [_constant("axes", np.array([1, 2])), _constant("white", 255.0)],
    )


def _dynamics() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["latent"], ["next_latent"]),
        helper.make_node("MatMul", ["action", "to_body"], ["next_proprioception"]),
        helper.make_node("MatMul", ["action", "to_offset"], ["displacement"]),
        helper.make_node("MatMul", ["action", "to_nothing"], ["none"]),
        helper.make_node("Squeeze", ["none", "last"], ["collision"]),
    ]
    return _model(
        "dynamics",
        nodes,
        [
            _value("latent", "batch", 3),
            _value("proprioception", "batch", 3),
            _value("action", "batch", 2),
        ],
        [
            _value("next_latent", "batch", 3),
            _value("next_proprioception", "batch", 3),
            _value("collision", "batch"),
            _value("displacement", "batch", 3),
        ],
        [
            _constant("to_body", [[1.0, 0, 0], [0, 1, 0]]),
            _constant("to_offset", [[0.5, 0, 0], [0, 0, 0.5]]),
            _constant("to_nothing", [[0.0], [0]]),
            _constant("last", np.array([1])),
        ],
    )


def _planner() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["ahead"], ["actions"]),
        helper.make_node("Identity", ["zeros"], ["collision"]),
        helper.make_node("Sub", ["latent", "goal"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("ReduceMean", ["distance", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["gap"]),
        helper.make_node("Add", ["zeros", "gap"], ["energy"]),
        helper.make_node("Expand", ["latent", "steps"], ["latents"]),
        helper.make_node("Sub", ["one", "gap"], ["near"]),
        helper.make_node("Mul", ["near", "to_close"], ["scaled"]),
        helper.make_node("Add", ["scaled", "straight"], ["relation"]),
    ]
    ahead = np.zeros((1, HORIZON, 2))
    ahead[..., 0] = SPEED
    return _model(
        "planner",
        nodes,
        [
            _value("latent", 1, 3),
            _value("proprioception", 1, 3),
            _value("goal", 1, 3),
            _value("warm_start", 1, HORIZON, 2),
            _value("proposals", 1, HORIZON, 2),
            _value("noise", 1, 1, HORIZON, 2),
        ],
        [
            _value("actions", 1, HORIZON, 2),
            _value("energy", 1, HORIZON),
            _value("latents", 1, HORIZON, 3),
            _value("collision", 1, HORIZON),
            _value("gap", 1),
            _value("relation", 1, 5),
        ],
        [
            _constant("ahead", ahead),
            _constant("zeros", np.zeros((1, HORIZON))),
            _constant("axes", np.array([1])),
            _constant("ten", 10.0),
            _constant("one", 1.0),
            _constant("steps", np.array([1, HORIZON, 3])),
            _constant("to_close", [[0.0, 0, 0, 0, 10]]),
            _constant("straight", [[0.0, 0, 0, 1, 0]]),
        ],
    )
