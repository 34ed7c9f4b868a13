"""The peak rate of matrix products on this machine: the limit of a network's arithmetic.

Rates are millions of floating-point operations a millisecond. This file is also run by itself, in
a process of its own: BLAS takes its number of threads when it is loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_MEASURE_S = 1.0
_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def cpu_rate(threads: int) -> float:
    """Peak rate of float32 products on at most this many threads.

    One thread is tried, too: where another program holds a core, a product on all of them waits
    for its slowest part and falls below what a single one reaches.
    """
    return max(_rate_on(count) for count in {1, threads})


def _rate_on(threads: int) -> float:
    environment = os.environ | dict.fromkeys(_VARIABLES, str(threads))
    command = [sys.executable, "-P", __file__]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(result.stdout)


def torch_rate(device: torch.device, *kinds: torch.dtype) -> float:
    """Peak rate of PyTorch's products over these number types, on at most as many threads as it
    uses (see `cpu_rate`)."""
    import torch

    threads = torch.get_num_threads()
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False  # nor do the sessions
    try:
        rates = []
        for count in {1, threads} if device.type == "cpu" else {threads}:
            torch.set_num_threads(count)
            rates += [_torch_rate(device, kind) for kind in kinds]
        return max(rates)
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = allowed


def _torch_rate(device: torch.device, kind: torch.dtype) -> float:
    import torch

    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 1536
    a = torch.randn(size, size, device=device).to(kind)

    def multiply() -> None:
        a @ a
        if on_gpu:
            torch.cuda.synchronize(device)

    return _best(multiply, size)


def _best(multiply: Callable[[], object], size: int) -> float:
    """The fastest of many runs: on a busy machine most are interrupted."""
    multiply()
    best, until = np.inf, time.perf_counter() + _MEASURE_S
    while time.perf_counter() < until:
        started = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - started)
    return float(2 * size**3 / 1e9 / best)


def _numpy_rate(size: int = 768) -> float:
    a = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    return _best(lambda: a @ a, size)


if __name__ == "__main__":
    print(_numpy_rate())
