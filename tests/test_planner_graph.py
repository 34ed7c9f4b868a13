"""The exported planner graphs do what the algorithm says, as NumPy works it out beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from foresight import bundle
from foresight.bundle import Bundle, BundleError
from foresight.planning import Navigator
from foresight.solvers.coloured_noise import colouring
from foresight.training.export import fused
from foresight.training.pretrained import load_pretrained
from foresight.world_model.networks import LATENT, Predictor, WorldModel
from foresight.world_model.objective import Remaining
from foresight.world_model.rollout import Rollout
from passthrough import BODY
from reference_planner import ReferencePlanner

SHIPPED = Path(__file__).parents[1] / "models" / "apartment"
OUTPUTS = ["actions", "energy", "latents", "collision", "uncertainty"]


@pytest.fixture(scope="module")
def model(exported: Path) -> Bundle:
    """A bundle of real networks, which hardly learned anything."""
    return bundle.load(exported)


def situation(loaded: Bundle, planner: str, seed: int) -> dict[str, np.ndarray]:
    """Inputs of a planner as a robot might meet them: a goal somewhere, walls at random."""
    rng, spec = np.random.default_rng(seed), loaded.manifest.planners[planner]
    bounds = loaded.manifest.body.action
    low, high, action = np.array(bounds.low), np.array(bounds.high), len(bounds.names)
    plan = (spec.horizon, action)
    values = {
        "latent": rng.standard_normal((1, LATENT)),
        "proprioception": np.array([[0.3, -0.2, float(seed % 2)]]),
        "goal": rng.standard_normal((1, LATENT)),
        "goal_pose": rng.uniform(-1, 1, (1, 3)) * (1, 1, 3),
        "trust": rng.uniform(0, 1, 1),
        "obstacles": rng.uniform(-2, 2, (spec.obstacles, 2)),
        "committed": rng.uniform(low, high, (1, action)),
        "delay": rng.uniform(0, 0.6, 1),
        "warm_start": rng.uniform(low, high, (1, *plan)),
        "proposals": rng.uniform(low, high, (spec.proposals, *plan)),
        "noise": rng.standard_normal((spec.iterations, spec.samples - 1, *plan)),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


@pytest.mark.parametrize("planner", ["planner", "fast"])
def test_graph_and_reference_choose_the_same(model: Bundle, planner: str) -> None:
    """The best actions to 1e-4, whatever the situation."""
    session, reference = model.session(planner), ReferencePlanner(model, planner)
    for seed in range(20):
        inputs = situation(model, planner, seed)
        found = dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True))
        expected = reference(inputs)
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def test_half_precision_finds_a_plan_as_good(model: Bundle) -> None:
    """As TensorRT may compute: plans differ less than those of other noise."""
    half = ort.InferenceSession(in_half_precision(model).SerializeToString())
    session, reference = model.session("planner"), ReferencePlanner(model)
    rounding, luck = [], []
    for seed in range(30):
        inputs = situation(model, "planner", seed)
        other = inputs | {"noise": situation(model, "planner", 100 + seed)["noise"]}
        plans = [
            session.run(["actions"], inputs)[0],
            half.run(["actions"], inputs)[0],
            session.run(["actions"], other)[0],
        ]
        full, rounded, another = (reference.cost(plan, inputs)[0] for plan in plans)
        rounding.append(abs(rounded - full))
        luck.append(abs(another - full))
    assert np.mean(rounding) < 0.5 * np.mean(luck)


def in_half_precision(loaded: Bundle) -> onnx.ModelProto:
    """The planner with weights and arithmetic in half precision."""
    model = onnx.load(loaded.path / "planner.onnx")
    stored = {weight.name: weight for weight in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        weight = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if weight is None:
            nodes.append(node)
        else:  # the converter wants weights in single precision
            value = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(value, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return convert_float_to_float16(model, keep_io_types=True, op_block_list=["TopK"])


ON_CUDA = {
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Concat",
    "Cos",
    "CumSum",
    "Div",
    "Exp",
    "Expand",
    "Gather",
    "GatherND",
    "Gemm",
    "Greater",
    "Identity",
    "LayerNormalization",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "TopK",
    "Transpose",
    "Unsqueeze",
    "Where",
}
"""Operators that ONNX Runtime's CUDA provider has kernels for; one without would keep the planner
from being captured as a CUDA graph."""


@pytest.mark.parametrize("planner", ["planner", "fast"])
def test_a_planner_needs_nothing_that_cuda_lacks(model: Bundle, planner: str) -> None:
    graph = onnx.load(model.path / f"{planner}.onnx").graph
    assert {node.op_type for node in graph.node} <= ON_CUDA


def test_same_noise_same_plan(model: Bundle) -> None:
    session, inputs = model.session("planner"), situation(model, "planner", 3)
    first, second = (session.run(OUTPUTS, inputs) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_search_is_cheaper_than_what_it_started_from(model: Bundle) -> None:
    reference, session = ReferencePlanner(model), model.session("planner")
    for seed in range(20):
        inputs = situation(model, "planner", seed)
        plan = session.run(["actions"], inputs)[0]
        starts = np.concatenate([inputs["warm_start"], inputs["proposals"]])
        assert reference.cost(plan, inputs)[0] < np.median(reference.cost(starts, inputs))


def test_what_is_past_changing_is_imagined_too(model: Bundle) -> None:
    """With the whole first action committed, it no longer matters what a plan says of it."""
    reference, inputs = ReferencePlanner(model), situation(model, "planner", 1)
    inputs["delay"] = np.ones(1, np.float32)
    plans = np.repeat(inputs["warm_start"], 2, 0)
    plans[1, 0] = [0.5, 1.4]
    latents = reference.foresee(plans, inputs)[1]
    np.testing.assert_allclose(latents[0], latents[1], atol=1e-6)
    inputs["delay"] = np.zeros(1, np.float32)
    latents = reference.foresee(plans, inputs)[1]
    assert np.abs(latents[0] - latents[1]).max() > 1e-3


def test_parts_fused_anew_plan_what_the_shipped_graphs_plan() -> None:
    """Its weights, dynamics, objective and search are what the shipped bundle was made of."""
    shipped = bundle.load(SHIPPED)
    networks = WorldModel(shipped.manifest.body)
    load_pretrained(networks, SHIPPED)
    for planner, spec in shipped.manifest.planners.items():
        search = fused(networks, shipped.manifest.body, spec)
        inputs = situation(shipped, planner, 0)
        found = shipped.session(planner).run(OUTPUTS, inputs)
        with torch.no_grad():
            again = search(*(torch.from_numpy(value) for value in inputs.values()))
        for name, a, b in zip(OUTPUTS, found, again, strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-4, err_msg=f"{planner}: {name}")


@pytest.mark.parametrize("typical", [BODY.typical_action, (0.3, 0.2, 0.8)], ids=["two", "three"])
def test_rollout_is_the_predictor_step_by_step(typical: tuple[float, ...]) -> None:
    """For a base that takes two numbers an action, and for one of three."""
    torch.manual_seed(0)
    predictor, size = Predictor(typical).eval(), len(typical)
    with torch.no_grad():
        for weight in predictor.parameters():
            weight += 0.05 * torch.randn_like(weight)
        latent, body = torch.randn(1, LATENT), torch.tensor([[*[0.3, -0.4, 0.1][:size], 1.0]])
        actions = torch.randn(7, 5, size)
        found = Rollout(predictor)(latent, body, actions)
        state, body = latent.expand(7, -1), body.expand(7, -1)
        for k in range(5):
            step = predictor(state, body, actions[:, k])
            state, body = step.latent, step.proprioception
            torch.testing.assert_close(found.latents[k], state, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.bumps[k], body[:, -1], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.errors[k], step.log_error.exp(), atol=1e-4, rtol=1e-4)


def test_what_remains_to_a_goal_is_the_learned_distance() -> None:
    model = WorldModel(BODY).eval()
    latents, goal = torch.randn(8, 7, LATENT), torch.randn(1, LATENT)
    with torch.no_grad():
        found = Remaining(model.distance_net)(latents, goal)
        expected = model.distance_energy(latents, goal)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_coloured_noise_keeps_its_size_and_its_colour(exponent: float) -> None:
    white = np.random.default_rng(0).standard_normal((8, 200_000))
    noise = colouring(8, exponent) @ white
    np.testing.assert_allclose(noise.std(1), 1.0, atol=0.02)
    neighbours = np.mean(noise[1:] * noise[:-1])
    assert (abs(neighbours) < 0.01) if exponent == 0 else (neighbours > 0.2 * exponent)


def test_a_planner_is_chosen_by_its_name(model: Bundle) -> None:
    goal, seen = np.random.default_rng(0).standard_normal((2, LATENT))
    plans = {}
    for name in model.manifest.planners:
        navigator = Navigator(model, planner=name)
        navigator.set_goal(goal)
        plans[name] = navigator.update(0.0, seen, np.zeros(3)).actions
    assert plans.keys() == {"planner", "fast"}
    assert not np.allclose(plans["planner"], plans["fast"])


def test_a_planner_that_is_not_there_is_named(model: Bundle) -> None:
    with pytest.raises(BundleError, match="no planner 'slow'; choose one of planner, fast"):
        Navigator(model, planner="slow")
