"""Work spread over processes: a progress bar, a clean Ctrl-C, results in the order of the jobs."""

from __future__ import annotations

import multiprocessing as mp
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

Job = TypeVar("Job")
Result = TypeVar("Result")

_DEATHS = 3  # of worker processes, until it is no accident any more


def spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, label: str
) -> list[Result]:
    """The results of `work` for every job, done by `workers` processes (1: by this one).

    `work` must be a function of a module, and its outcome must depend on the job alone. Whatever
    it raises ends the others and is raised here. Jobs that are lost because a process dies are
    done again.

    Raises:
        RuntimeError: processes died again and again.
    """
    workers = min(workers, len(jobs))
    columns = (label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(jobs))
        done: dict[int, Result] = {}
        if workers == 1:
            for number, job in enumerate(jobs):
                done[number] = work(job)
                progress.advance(bar)
        deaths = 0
        while len(done) < len(jobs):
            try:
                _work_off(work, jobs, workers, done, lambda: progress.advance(bar))
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > _DEATHS:
                    raise RuntimeError(
                        f"{label}: worker processes died {deaths} times, see above; "
                        f"{len(done)} of {len(jobs)} were done"
                    ) from error
                progress.console.print(f"{label}: a worker died; what it was at is done again")
    return [done[number] for number in range(len(jobs))]


def _work_off(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    done: dict[int, Result],
    tick: Callable[[], object],
) -> None:
    """Do what is not in `done` yet; raises BrokenProcessPool when a process dies."""
    with ProcessPoolExecutor(workers, mp.get_context("spawn"), _die_quietly) as pool:
        try:
            todo = {
                pool.submit(work, job): number
                for number, job in enumerate(jobs)
                if number not in done
            }
            for future in as_completed(todo):
                done[todo[future]] = future.result()
                tick()
        except BaseException:
            for process in mp.active_children():
                process.terminate()
            raise


def _die_quietly() -> None:
    """Ctrl-C ends a process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
