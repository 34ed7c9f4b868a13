"""Work spread over processes: a progress bar, a clean Ctrl-C, results in the order of the jobs."""

from __future__ import annotations

import multiprocessing as mp
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, label: str
) -> list[Result]:
    """`work` done on every job, by so many processes (1: by this one).

    `work` must be a function of a module, and its outcome must depend on the job alone. Whatever
    it raises ends the others and is raised here.

    Raises:
        RuntimeError: a process died.
    """
    workers = min(workers, len(jobs))
    columns = (label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(jobs))
        if workers == 1:
            done = []
            for job in jobs:
                done.append(work(job))
                progress.advance(bar)
            return done
        context = mp.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _die_quietly) as pool:
            try:
                futures: list[Future[Result]] = [pool.submit(work, job) for job in jobs]
                for future in as_completed(futures):
                    future.result()
                    progress.advance(bar)
            except BaseException:
                for process in mp.active_children():
                    process.terminate()
                raise
        return [future.result() for future in futures]


def _die_quietly() -> None:
    """Ctrl-C ends a process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
