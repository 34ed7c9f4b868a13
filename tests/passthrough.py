"""A bundle whose graphs compute what a test can work out by hand.

encoder: the mean colour, latent (3,) in 0 to 1. dynamics: the latent stays, each step drives
(v * 0.5 s, 0, w * 0.5 s), nothing is hit. relation: two places are one when the colours agree;
log1p(seconds between them) is the mean difference of the colours times ten. planner: always
(SPEED, 0), with that figure as its energy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from foresight.bodies import body_of
from foresight.bodies.profile import RobotProfile
from foresight.bundle.manifest import (
    Calibration,
    GraphFile,
    ImageSpec,
    Manifest,
    PlannerSpec,
    Scale,
)

HOMEBOT = Path(__file__).parents[1] / "config" / "robots" / "homebot.yaml"
BODY = body_of(RobotProfile.load(HOMEBOT))
ACTION_S = 0.5
HORIZON = 4
SPEED = 0.2
FLOAT = TensorProto.FLOAT
IMAGE = ImageSpec(width=80, height=60, hfov_deg=90.0)
SEARCH = PlannerSpec(
    samples=2, proposals=1, iterations=1, horizon=HORIZON, elites=2, kept=0, obstacles=8
)


def write(folder: Path) -> Path:
    """Write the bundle to `folder` and return it."""
    graphs = {
        "encoder": encoder(),
        "dynamics": _dynamics(),
        "relation": _relation(),
        "planner": _planner(),
    }
    return write_graphs(folder, graphs, latent_size=3)


def write_graphs(folder: Path, models: dict[str, onnx.ModelProto], latent_size: int) -> Path:
    """Write a bundle of these graphs, planning HORIZON actions, to `folder` and return it."""
    folder.mkdir(parents=True)
    graphs = {}
    for name, graph in models.items():
        onnx.checker.check_model(graph)
        data = graph.SerializeToString()
        (folder / f"{name}.onnx").write_bytes(data)
        graphs[name] = GraphFile(file=f"{name}.onnx", sha256=hashlib.sha256(data).hexdigest())
    manifest = Manifest(
        name=folder.name,
        body=BODY,
        image=IMAGE,
        action_s=ACTION_S,
        latent_size=latent_size,
        planners={"planner": SEARCH},
        graphs=graphs,
        calibration=Calibration(
            latent_surprise=Scale(usual=0.0, alarm=0.01),
            no_effect=Scale(usual=0.0, alarm=0.001),
            twist_surprise=Scale(usual=0.0, alarm=1.0),
            twist_spread=(0.1, 0.1),
            arrived_gap=0.2,
        ),
        training={},
        metrics={},
    )
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False)
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    return folder


def value(name: str, *shape: int | str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, content: object) -> onnx.TensorProto:
    """Numbers inside a graph: floats as float32, integers as they are."""
    array = np.asarray(content)
    return numpy_helper.from_array(
        array.astype(np.float32) if array.dtype == np.float64 else array, name
    )


def model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:
    """A graph as ONNX Runtime takes it."""
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def encoder() -> onnx.ModelProto:
    """The mean colour."""
    return model(
        "encoder",
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Div", ["mean", "white"], ["latent"]),
        ],
        [value("image", "batch", IMAGE.height, IMAGE.width, 3, kind=TensorProto.UINT8)],
        [value("latent", "batch", 3)],
        [constant("axes", np.array([1, 2])), constant("white", 255.0)],
    )


def _dynamics() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["latent"], ["next_latent"]),
        helper.make_node("MatMul", ["action", "to_body"], ["next_proprioception"]),
        helper.make_node("MatMul", ["action", "to_offset"], ["displacement"]),
        helper.make_node("MatMul", ["action", "to_nothing"], ["none"]),
        helper.make_node("Squeeze", ["none", "last"], ["collision"]),
        helper.make_node("Add", ["collision", "one"], ["expected_error"]),
    ]
    return model(
        "dynamics",
        nodes,
        [
            value("latent", "batch", 3),
            value("proprioception", "batch", 3),
            value("action", "batch", 2),
        ],
        [
            value("next_latent", "batch", 3),
            value("next_proprioception", "batch", 3),
            value("collision", "batch"),
            value("displacement", "batch", 3),
            value("expected_error", "batch"),
        ],
        [
            constant("one", 1.0),
            constant("to_body", [[1.0, 0, 0], [0, 1, 0]]),
            constant("to_offset", [[0.5, 0, 0], [0, 0, 0.5]]),
            constant("to_nothing", [[0.0], [0]]),
            constant("last", np.array([1])),
        ],
    )


def _relation() -> onnx.ModelProto:
    return relation(
        3,
        [
            helper.make_node("Sub", ["latent", "latent"], ["displacement"]),
            helper.make_node("Sub", ["latent", "other"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["distance"]),
            helper.make_node("ReduceMean", ["distance", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "ten"], ["gap"]),
            helper.make_node("Sub", ["one", "gap"], ["near"]),
            helper.make_node("Mul", ["near", "ten"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["close"]),
        ],
        [constant("axes", np.array([1])), constant("one", 1.0), constant("ten", 10.0)],
    )


def relation(
    size: int, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    """A relation graph; the nodes give gap, displacement and close."""
    return model(
        "relation",
        nodes,
        [value("latent", "batch", size), value("other", "batch", size)],
        [value("gap", "batch"), value("displacement", "batch", 3), value("close", "batch")],
        constants,
    )


def _planner() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["ahead"], ["actions"]),
        helper.make_node("Identity", ["zeros"], ["collision"]),
        helper.make_node("Identity", ["zeros"], ["uncertainty"]),
        helper.make_node("Sub", ["latent", "goal"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("ReduceMean", ["distance", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["gap"]),
        helper.make_node("Add", ["zeros", "gap"], ["energy"]),
        helper.make_node("Expand", ["latent", "steps"], ["latents"]),
    ]
    ahead = np.zeros((1, HORIZON, 2))
    ahead[..., 0] = SPEED
    return model(
        "planner",
        nodes,
        [
            value("latent", 1, 3),
            value("proprioception", 1, 3),
            value("goal", 1, 3),
            value("goal_pose", 1, 3),
            value("trust", 1),
            value("obstacles", 8, 2),
            value("committed", 1, 2),
            value("delay", 1),
            value("warm_start", 1, HORIZON, 2),
            value("proposals", 1, HORIZON, 2),
            value("noise", 1, 1, HORIZON, 2),
        ],
        [
            value("actions", 1, HORIZON, 2),
            value("energy", 1, HORIZON),
            value("latents", 1, HORIZON, 3),
            value("collision", 1, HORIZON),
            value("uncertainty", 1, HORIZON),
        ],
        [
            constant("ahead", ahead),
            constant("zeros", np.zeros((1, HORIZON))),
            constant("axes", np.array([1])),
            constant("ten", 10.0),
            constant("steps", np.array([1, HORIZON, 3])),
        ],
    )
