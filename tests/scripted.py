"""A bundle whose latents say themselves how far the goal is: a test writes the robot's story.

A latent is what `view` returns: the goal as decoded (x m, y m, yaw rad, probability of being close)
and the learned distance. encoder: sees one view, whatever the image. dynamics: the latent's x grows
by v * 0.5 s and its y by w * 0.5 s; displacement (v * 0.5 s, 0, w * 0.5 s); it runs into something
with probability |v|, and expects an error of 1. relation: what the first latent says, whatever the
other. planner: always AHEAD; its output `collision` shows the linear speeds that it was given as
warm start.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from passthrough import HORIZON, IMAGE, constant, model, relation, value, write_graphs

SIZE = 5
AHEAD = np.array([[0.2, 0.0], [0.3, 0.0], [0.4, 0.1], [0.5, 0.2]], np.float32)


def view(
    x: float = 0.0, y: float = 0.0, yaw: float = 0.0, close: float = 0.99, seconds: float = 0.0
) -> np.ndarray:
    """The latent of a place from which the goal is at (x, y, yaw), `seconds` away."""
    return np.array([x, y, yaw, close, math.log1p(seconds)], np.float32)


def write(folder: Path, seen: np.ndarray | None = None) -> Path:
    """Write the bundle to `folder` and return it; its camera sees `seen`."""
    seen = view() if seen is None else seen
    graphs = {
        "encoder": _encoder(seen),
        "dynamics": _dynamics(),
        "relation": _relation(),
        "planner": _planner(),
    }
    return write_graphs(folder, graphs, latent_size=SIZE)


def _encoder(seen: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "seen"], ["latent"]),
    ]
    return model(
        "encoder",
        nodes,
        [value("image", "batch", IMAGE.height, IMAGE.width, 3, kind=TensorProto.UINT8)],
        [value("latent", "batch", SIZE)],
        [
            constant("axes", np.array([1, 2])),
            constant("nothing", np.zeros((3, SIZE))),
            constant("seen", seen[None]),
        ],
    )


def _dynamics() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["action", "to_latent"], ["change"]),
        helper.make_node("Add", ["latent", "change"], ["next_latent"]),
        helper.make_node("MatMul", ["action", "to_body"], ["next_proprioception"]),
        helper.make_node("MatMul", ["action", "to_offset"], ["displacement"]),
        helper.make_node("MatMul", ["action", "to_linear"], ["linear"]),
        helper.make_node("Abs", ["linear"], ["speed"]),
        helper.make_node("Squeeze", ["speed", "last"], ["collision"]),
        helper.make_node("Sub", ["collision", "collision"], ["zero"]),
        helper.make_node("Add", ["zero", "one"], ["expected_error"]),
    ]
    to_latent = np.zeros((2, SIZE))
    to_latent[0, 0] = to_latent[1, 1] = 0.5
    return model(
        "dynamics",
        nodes,
        [
            value("latent", "batch", SIZE),
            value("proprioception", "batch", 3),
            value("action", "batch", 2),
        ],
        [
            value("next_latent", "batch", SIZE),
            value("next_proprioception", "batch", 3),
            value("collision", "batch"),
            value("displacement", "batch", 3),
            value("expected_error", "batch"),
        ],
        [
            constant("one", 1.0),
            constant("to_latent", to_latent),
            constant("to_body", [[1.0, 0, 0], [0, 1, 0]]),
            constant("to_offset", [[0.5, 0, 0], [0, 0, 0.5]]),
            constant("to_linear", [[1.0], [0]]),
            constant("last", np.array([1])),
        ],
    )


def _relation() -> onnx.ModelProto:
    to_displacement, to_close, to_gap = np.split(np.eye(SIZE), [3, 4], 1)
    nodes = [
        helper.make_node("MatMul", ["latent", "to_displacement"], ["displacement"]),
        helper.make_node("MatMul", ["latent", "to_close"], ["sure"]),
        helper.make_node("Squeeze", ["sure", "last"], ["close"]),
        helper.make_node("MatMul", ["latent", "to_gap"], ["distance"]),
        helper.make_node("Squeeze", ["distance", "last"], ["gap"]),
    ]
    constants = [
        constant("to_displacement", to_displacement),
        constant("to_close", to_close),
        constant("to_gap", to_gap),
        constant("last", np.array([1])),
    ]
    return relation(SIZE, nodes, constants)


def _planner() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["ahead"], ["actions"]),
        helper.make_node("Slice", ["latent", "four", "five", "one"], ["distance"]),
        helper.make_node("Expand", ["distance", "energy_shape"], ["energy"]),
        helper.make_node("Expand", ["latent", "latents_shape"], ["latents"]),
        helper.make_node("Slice", ["warm_start", "zero", "one", "two"], ["linear"]),
        helper.make_node("Squeeze", ["linear", "two"], ["collision"]),
        helper.make_node("Sub", ["collision", "collision"], ["uncertainty"]),
    ]
    return model(
        "planner",
        nodes,
        [
            value("latent", 1, SIZE),
            value("proprioception", 1, 3),
            value("goal", 1, SIZE),
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
            value("latents", 1, HORIZON, SIZE),
            value("collision", 1, HORIZON),
            value("uncertainty", 1, HORIZON),
        ],
        [
            constant("ahead", AHEAD[None]),
            constant("zero", np.array([0])),
            constant("one", np.array([1])),
            constant("two", np.array([2])),
            constant("four", np.array([4])),
            constant("five", np.array([5])),
            constant("energy_shape", np.array([1, HORIZON])),
            constant("latents_shape", np.array([1, HORIZON, SIZE])),
        ],
    )
