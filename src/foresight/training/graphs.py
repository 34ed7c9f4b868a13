"""PyTorch modules as ONNX graphs: small, checked against PyTorch, and chained to larger ones."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from foresight.bundle.manifest import GraphFile

PARITY = 1e-3


class ExportError(RuntimeError):
    """The exported graph does not compute what the networks compute."""


def trace(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    any_batch: bool = False,
) -> onnx.ModelProto:
    """A module as an ONNX graph with the shapes of `inputs`, or for any size of their batch."""
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of missing torchvision
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            inputs,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=tuple(batch for _ in inputs) if any_batch else None,
            dynamo=True,
            verbose=False,
            optimize=True,
        )
    assert program is not None, "without a file, the exporter returns the graph"
    return program.model_proto


class Chain:
    """Graphs that are put one after another into one.

    Args:
        inputs: shapes by name; float32.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self._inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[bytes, TensorProto] = {}
        self._parts = 0
        self._opsets: Sequence[onnx.OperatorSetIdProto] = ()

    def split(self, name: str, count: int) -> list[str]:
        """Slices of an input along its first axis."""
        slices = [f"{name}.{k}" for k in range(count)]
        self._nodes.append(helper.make_node("Split", [name], slices, axis=0, num_outputs=count))
        return slices

    def add(self, part: onnx.ModelProto, inputs: Sequence[str]) -> list[str]:
        """Append a copy of a graph that takes these values; returns the names of its outputs."""
        assert not part.functions, "the exporter has inlined all functions"
        prefix, self._parts, self._opsets = f"{self._parts}.", self._parts + 1, part.opset_import
        names = dict(zip((entry.name for entry in part.graph.input), inputs, strict=True))
        names |= {weight.name: self._stored(weight) for weight in part.graph.initializer}
        for node in part.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            names |= {name: prefix + name for name in node.output}
            copy.name = prefix + node.name
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names[name] for name in node.output]
            self._nodes.append(copy)
        return [names[entry.name] for entry in part.graph.output]

    def finish(
        self, results: Sequence[str], outputs: Mapping[str, Sequence[int]]
    ) -> onnx.ModelProto:
        """The whole, which gives `results` under other names."""
        named = [
            helper.make_node("Identity", [result], [name])
            for result, name in zip(results, outputs, strict=True)
        ]
        starts, ends = (
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in entries.items()]
            for entries in (self._inputs, outputs)
        )
        weights = list(self._weights.values())
        graph = helper.make_graph([*self._nodes, *named], "chain", starts, ends, weights)
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=10)

    def _stored(self, weight: TensorProto) -> str:
        """The name under which a weight is in the graph; equal ones are stored once."""
        value = numpy_helper.to_array(weight)
        key = hashlib.sha256(repr((value.dtype, value.shape)).encode() + value.tobytes()).digest()
        if key not in self._weights:
            name = f"weight.{len(self._weights)}"
            self._weights[key] = numpy_helper.from_array(value, name)
        return self._weights[key].name


def write(
    model: onnx.ModelProto, module: nn.Module, inputs: tuple[Tensor, ...], file: Path
) -> GraphFile:
    """Write a graph that was made of `module`, and check it there.

    Raises:
        ExportError: it disagrees with PyTorch by more than PARITY.
    """
    _compact(model)
    onnx.save(model, str(file))
    _check_parity(module, inputs, file)
    return GraphFile(file=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def _compact(model: onnx.ModelProto) -> None:
    """Store weights in half precision where that loses nothing, and drop the exporter's notes.

    ONNX Runtime casts the weights back once, when it builds the session; the notes are megabytes
    that say where the exporter ran.
    """
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    casts = []
    for weight in graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.dtype != np.float32 or value.nbytes < 4096:
            continue
        half = value.astype(np.float16)
        if np.array_equal(half.astype(np.float32), value):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _check_parity(module: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    with torch.no_grad():
        expected = module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for output, a, b in zip(session.get_outputs(), found, expected, strict=True):
        gap = float(np.abs(a - b.numpy()).max())
        if not gap < PARITY:
            raise ExportError(
                f"{file.name}: output '{output.name}' differs from PyTorch by {gap:.2g} "
                f"(at most {PARITY} allowed)"
            )
