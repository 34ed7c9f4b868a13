"""Inference sessions: order and options of providers, sharing, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from foresight import bundle
from foresight.bundle import Runtime, sessions
from foresight.bundle.sessions import (
    PROVIDERS,
    ProviderError,
    _Buffers,
    engine_cache,
    provider_options,
)

EVERYTHING = [*PROVIDERS.values(), "AzureExecutionProvider"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that caches engines, with TensorRT installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sessions, "_tensorrt_version", lambda: "100200")
    return tmp_path


def names(options: list[tuple[str, dict[str, str]]]) -> list[str]:
    return [name for name, _ in options]


def test_the_fastest_provider_comes_first_and_cpu_last() -> None:
    found = names(provider_options(Runtime(), EVERYTHING, "d", True))
    assert found == [PROVIDERS["tensorrt"], PROVIDERS["cuda"], PROVIDERS["cpu"]]
    without = names(provider_options(Runtime(), [PROVIDERS["cpu"], PROVIDERS["cuda"]], "d", True))
    assert without == [PROVIDERS["cuda"], PROVIDERS["cpu"]]


def test_leaves_out_tensorrt_if_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "_tensorrt_version", lambda: sessions.NONE)
    found = names(provider_options(Runtime(), EVERYTHING, "d", True))
    assert found == [PROVIDERS["cuda"], PROVIDERS["cpu"]]


def test_does_not_cache_engines_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    options = dict(provider_options(Runtime(), EVERYTHING, "d", True))[PROVIDERS["tensorrt"]]
    assert "trt_engine_cache_path" not in options


@pytest.mark.parametrize("wanted", list(PROVIDERS))
def test_a_requested_provider_is_the_only_one_besides_cpu(wanted: str) -> None:
    found = names(provider_options(Runtime(wanted), EVERYTHING, "d", True))
    assert found == list(dict.fromkeys([PROVIDERS[wanted], PROVIDERS["cpu"]]))


def test_captures_only_static_graphs() -> None:
    for static in (True, False):
        options = dict(provider_options(Runtime(), EVERYTHING, "d", static))
        assert options[PROVIDERS["cuda"]]["enable_cuda_graph"] == str(int(static))
        assert options[PROVIDERS["tensorrt"]]["trt_cuda_graph_enable"] == str(int(static))


def test_uses_half_precision_only_on_request() -> None:
    for half in (False, True):
        options = dict(provider_options(Runtime(half=half), EVERYTHING, "d", True))
        assert options[PROVIDERS["tensorrt"]]["trt_fp16_enable"] == str(int(half))


def test_refuses_an_unavailable_provider_with_the_remedy() -> None:
    with pytest.raises(ProviderError, match="GPU=1"):
        provider_options(Runtime("cuda"), ["CPUExecutionProvider"], "d", True)
    with pytest.raises(ProviderError, match="choose one of auto, tensorrt, cuda, cpu"):
        provider_options(Runtime("npu"), EVERYTHING, "d", True)


def test_caches_engines_by_graph_version_and_gpu(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    first = engine_cache("graph a")
    assert first.is_dir() and cache in first.parents
    assert engine_cache("graph a") == first
    others = [engine_cache("graph b")]
    monkeypatch.setattr("foresight.bundle.sessions._gpu_name", lambda: "Orin")
    others.append(engine_cache("graph a"))
    monkeypatch.setattr("foresight.bundle.sessions._tensorrt_version", lambda: "100300")
    others.append(engine_cache("graph a"))
    monkeypatch.setattr(ort, "__version__", "9.9")
    others.append(engine_cache("graph a"))
    assert len({first, *others}) == 5


def test_reports_a_missing_provider_in_one_sentence(passthrough: Path) -> None:
    missing = next(
        name for name, long in PROVIDERS.items() if long not in ort.get_available_providers()
    )
    loaded = bundle.load(passthrough, Runtime(provider=missing))
    with pytest.raises(ProviderError, match=missing) as caught:
        loaded.session("encoder")
    assert "\n" not in str(caught.value)


def test_nodes_in_one_process_share_a_graph(passthrough: Path) -> None:
    first, second = (bundle.load(passthrough).session("encoder") for _ in range(2))
    assert first._session is second._session
    planners = [bundle.load(passthrough).session("planner") for _ in range(2)]
    assert planners[0]._session is not planners[1]._session  # tied to its owner's buffers


@pytest.mark.parametrize(
    "spoil",
    [
        lambda inputs: inputs.pop("goal"),
        lambda inputs: inputs.update(goal=inputs["goal"].astype(np.float64)),
        lambda inputs: inputs.update(goal=inputs["goal"][0]),
    ],
    ids=["missing", "double", "flat"],
)
def test_buffers_refuse_inputs_that_do_not_fit(
    exported: Path, spoil: Callable[[dict[str, np.ndarray]], object]
) -> None:
    session = bundle.load(exported).session("planner")
    inputs = {name: np.zeros(shape, np.float32) for name, shape in session.inputs.items()}
    spoil(inputs)
    with pytest.raises((ValueError, KeyError), match="goal"):
        _Buffers(session._session, "cpu").run(["actions"], inputs)


def test_runs_without_capture_if_the_gpu_cannot_capture(
    passthrough: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that the GPU lacks may cost speed, but not the drive."""
    build, tried = sessions._build, []

    def cannot_capture(*args: object) -> ort.InferenceSession:
        tried.append(args[-1])
        if args[-1]:
            raise RuntimeError("capture failed\nwith details")
        monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cpu"]])
        return build(*args)

    monkeypatch.setattr(sessions, "_build", cannot_capture)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*PROVIDERS.values()])
    told: list[str] = []
    session = bundle.load(passthrough, Runtime(tell=told.append)).session("planner")
    assert tried == [True, False]
    assert told == ["planner: no CUDA graph can be captured (capture failed); running without"]
    assert session.providers == [PROVIDERS["cpu"]]


def test_reports_an_unusable_gpu_when_the_cpu_takes_over(
    passthrough: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself falls back silently, for example when CUDA's libraries are missing."""
    preloads: list[None] = []
    monkeypatch.setattr(sessions, "_preload_cuda", lambda: preloads.append(None))
    available = [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    monkeypatch.setattr(ort, "get_available_providers", lambda: available)
    told: list[str] = []
    session = bundle.load(passthrough, Runtime(tell=told.append)).session("encoder")
    assert session.providers == [PROVIDERS["cpu"]] and preloads
    assert "runs on the CPU, for ONNX Runtime could not start CUDAExecutionProvider" in told[0]


def test_buffers_give_the_same_results_as_a_plain_run(exported: Path) -> None:
    """As on a GPU, where inputs and outputs keep their addresses; here in CPU memory."""
    session = bundle.load(exported).session("planner")
    buffers = _Buffers(session._session, "cpu")
    rng = np.random.default_rng(0)
    for _ in range(3):
        inputs = {
            name: rng.standard_normal(shape).astype(np.float32)
            for name, shape in session.inputs.items()
        }
        expected = session.run(["actions", "latents"], inputs)
        found = buffers.run(["actions", "latents"], inputs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
