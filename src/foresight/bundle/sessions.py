"""Running graphs: on which provider, with how many threads, in which buffers."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""By the names that users give, the fastest first."""
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
NONE = "none"
_Options = list[tuple[str, dict[str, str]]]


class ProviderError(ValueError):
    """The execution provider that was asked for is not there; the message says so."""


@dataclass(frozen=True)
class Runtime:
    """What sessions run on.

    provider: 'auto' takes the fastest that there is, and falls back; 'tensorrt', 'cuda' or 'cpu'
    takes that one or fails. half: TensorRT may compute in half precision. tell: is given a sentence
    before and after something that takes long, such as building a TensorRT engine.
    """

    provider: str = "auto"
    half: bool = False
    tell: Callable[[str], object] = lambda _text: None


class Session:
    """One graph, ready to run; several may share what ONNX Runtime holds of it.

    A graph of static shapes runs in buffers that are made once, and on a GPU as one captured CUDA
    graph. Not thread-safe: each thread takes a session of its own.

    Attributes:
        inputs, outputs: their shapes by name; a text stands for any size.
        providers: those really in use, the first one preferred.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs = {entry.name: list(entry.shape) for entry in session.get_inputs()}
        self.outputs = {entry.name: list(entry.shape) for entry in session.get_outputs()}
        self.providers: list[str] = session.get_providers()
        self._bound = is_static(session) and self.providers[0] != PROVIDERS["cpu"]
        self._buffers: _Buffers | None = None

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs; arrays of the graph's types, no copy is made of contiguous ones."""
        if self._bound:
            self._buffers = self._buffers or _Buffers(self._session, "cuda")
            return self._buffers.run(outputs, inputs)
        return self._session.run(outputs, inputs)

    def warm_up(self) -> None:
        """Run once on zeros: memory is taken, engines are built, CUDA graphs captured."""
        kinds = {entry.name: _DTYPES[entry.type] for entry in self._session.get_inputs()}
        zeros = {
            name: np.zeros([size if isinstance(size, int) else 1 for size in shape], kinds[name])
            for name, shape in self.inputs.items()
        }
        self.run(list(self.outputs), zeros)


class _Buffers:
    """Inputs and outputs of a graph of static shapes at fixed addresses on a device."""

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session, self._binding = session, session.io_binding()
        self._inputs = {e.name: _buffer(e, device) for e in session.get_inputs()}
        self._kinds = {e.name: np.dtype(_DTYPES[e.type]) for e in session.get_inputs()}
        self._outputs = {e.name: _buffer(e, device) for e in session.get_outputs()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        for name, buffer in self._inputs.items():
            value, shape, kind = inputs[name], buffer.shape(), self._kinds[name]
            if value.dtype != kind or list(value.shape) != list(shape):
                raise ValueError(
                    f"input '{name}' is {value.dtype} {value.shape}, {kind} {shape} is needed"
                )
            buffer.update_inplace(np.ascontiguousarray(value))
        self._session.run_with_iobinding(self._binding)
        return [self._outputs[name].numpy() for name in outputs]


def _buffer(entry: ort.NodeArg, device: str) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_shape_and_type(entry.shape, _DTYPES[entry.type], device)


def is_static(session: ort.InferenceSession) -> bool:
    """Whether every input and output has one shape only."""
    entries = [*session.get_inputs(), *session.get_outputs()]
    return all(isinstance(size, int) for entry in entries for size in entry.shape)


_shared: WeakValueDictionary[tuple[str, str, bool, int], ort.InferenceSession] = (
    WeakValueDictionary()
)
_opening = threading.Lock()


def open_session(
    data: bytes,
    digest: str,
    name: str,
    threads: int,
    runtime: Runtime,
    static: bool,
    check: Callable[[Session], None],
) -> Session:
    """A warm session of a graph. What ONNX Runtime holds of it is shared within the process, but
    for graphs of static shapes: those may be tied to one owner's buffers.

    Args:
        digest: the sha256 that `data` was verified to have.
        check: is called before anything runs, and raises what speaks against it.

    Raises:
        ProviderError: the provider asked for is unknown or not there.
        Exception: of many types, when ONNX Runtime cannot build or run the graph.
    """
    if static:
        return _own_session(data, digest, name, threads, runtime, check)
    with _opening:
        key = (digest, runtime.provider, runtime.half, threads)
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _build(data, digest, name, threads, runtime, False)
    session = Session(shared)
    check(session)
    session.warm_up()
    return session


def _own_session(
    data: bytes,
    digest: str,
    name: str,
    threads: int,
    runtime: Runtime,
    check: Callable[[Session], None],
) -> Session:
    """With a captured CUDA graph if there is a GPU that can do it."""
    gpu = set(ort.get_available_providers()) & {PROVIDERS["tensorrt"], PROVIDERS["cuda"]}
    for capture in (True, False) if gpu and runtime.provider != "cpu" else (False,):
        try:
            built = Session(_build(data, digest, name, threads, runtime, capture))
            check(built)
            built.warm_up()
        except (ValueError, OSError, MemoryError):
            raise
        except Exception as error:  # onnxruntime raises many types of its own
            if not capture:
                raise
            reason = first_line(error)
            runtime.tell(f"{name}: no CUDA graph can be captured ({reason}); running without")
        else:
            return built
    raise AssertionError("the last attempt returns or raises")


def first_line(error: Exception) -> str:
    """What an error says, without its details."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _build(
    data: bytes, digest: str, name: str, threads: int, runtime: Runtime, capture: bool
) -> ort.InferenceSession:
    available = ort.get_available_providers()
    if PROVIDERS["cuda"] in available:
        _preload_cuda()
    providers = provider_options(runtime, available, digest, capture)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads that spin would take cores from the other nodes between two calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if providers[0][0] == PROVIDERS["tensorrt"]:
        runtime.tell(f"{name}: TensorRT builds its engine, which takes minutes the first time")
    began_s = time.monotonic()
    # ONNX Runtime's own fallback would drop the options, and change providers under way.
    session = ort.InferenceSession(data, options, providers=providers, enable_fallback=0)
    session.disable_fallback()
    found = session.get_providers()[0]
    if runtime.provider != "auto" and found != PROVIDERS[runtime.provider]:
        raise ProviderError(
            f"provider '{runtime.provider}' was asked for, but ONNX Runtime could start only "
            f"{found}; check the GPU's driver and libraries, or ask for 'auto'"
        )
    if found == PROVIDERS["cpu"] != providers[0][0]:
        runtime.tell(
            f"{name}: runs on the CPU, for ONNX Runtime could not start {providers[0][0]}; check "
            "the GPU's driver, CUDA and cuDNN"
        )
    if found != PROVIDERS["cpu"]:
        runtime.tell(f"{name}: built for {found} in {time.monotonic() - began_s:.1f} s")
    return session


@cache
def _preload_cuda() -> None:
    """CUDA and cuDNN that came with pip lie where the loader does not look by itself."""
    ort.preload_dlls()


def provider_options(
    runtime: Runtime, available: Sequence[str], digest: str, capture: bool
) -> _Options:
    """Providers in the order of preference, each with its options; CPU always comes last.

    Args:
        available: what ONNX Runtime was built with.
        digest: of the graph, for the cache of TensorRT engines.
        capture: a CUDA graph, for which all shapes must be fixed.

    Raises:
        ProviderError: unknown, or this build of ONNX Runtime lacks it.
    """
    wanted = runtime.provider
    if wanted != "auto" and wanted not in PROVIDERS:
        raise ProviderError(
            f"provider '{wanted}' is unknown; choose one of auto, {', '.join(PROVIDERS)}"
        )
    names = list(PROVIDERS) if wanted == "auto" else [wanted]
    found = [name for name in names if PROVIDERS[name] in available]
    if wanted == "auto" and _tensorrt_version() == NONE and "tensorrt" in found:
        found.remove("tensorrt")  # GPU builds offer it whether or not it is installed
    if not found:
        raise ProviderError(
            f"provider '{wanted}' was asked for, but this ONNX Runtime has only "
            f"{', '.join(available)}; install onnxruntime-gpu (make setup GPU=1), or ask for 'auto'"
        )
    captured = str(int(capture))
    options = {
        "tensorrt": lambda: {
            **_cached(digest),
            "trt_cuda_graph_enable": captured,
            "trt_fp16_enable": str(int(runtime.half)),
        },
        # TF32 would round products to 10 bits, and elites would differ from the reference's.
        "cuda": lambda: {"enable_cuda_graph": captured, "use_tf32": "0"},
        "cpu": dict,
    }
    if "cpu" not in found:
        found.append("cpu")
    return [(PROVIDERS[name], options[name]()) for name in found]


def _cached(digest: str) -> dict[str, str]:
    """Options that keep TensorRT's engines; none where there is no place to keep them."""
    try:
        folder = str(engine_cache(digest))
    except OSError:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def engine_cache(digest: str) -> Path:
    """The folder, made if need be, for TensorRT engines of a graph; engines fit one GPU model and
    one version of TensorRT and ONNX Runtime, so each combination has its own."""
    parts = (digest, ort.__version__, _tensorrt_version(), _gpu_name())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "foresight" / "tensorrt" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _tensorrt_version() -> str:
    for library in ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so"):
        try:
            return str(ctypes.CDLL(library).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return NONE


def _gpu_name() -> str:
    """Name of the first GPU by the CUDA driver, which a Jetson has, too."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return NONE
    name = ctypes.create_string_buffer(256)
    device = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return NONE
    cuda.cuDeviceGetName(name, len(name), device)
    return name.value.decode(errors="replace")
