"""Work spread over processes: nothing is lost when one of them dies."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from foresight.evaluation.workers import spread


@dataclass(frozen=True)
class Job:
    number: int
    folder: Path


def square(job: Job) -> int:
    return job.number**2


def square_but_die_once(job: Job) -> int:
    """Killed at job 3, but not if it comes again."""
    mark = job.folder / "died"
    if job.number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number**2


def die(job: Job) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job.number


def refuse(job: Job) -> int:
    raise ValueError(f"job {job.number} cannot be done")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_jobs(tmp_path: Path, workers: int) -> None:
    jobs = [Job(k, tmp_path) for k in range(6)]
    assert spread(square, jobs, workers, "squares") == [0, 1, 4, 9, 16, 25]


def test_the_work_of_a_process_that_died_is_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(k, tmp_path) for k in range(6)]
    assert spread(square_but_die_once, jobs, 2, "squares") == [0, 1, 4, 9, 16, 25]
    assert "a worker died" in capsys.readouterr().out


def test_processes_that_die_again_and_again_end_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"squares: worker processes died .* 0 of 3 were done"):
        spread(die, [Job(k, tmp_path) for k in range(3)], 2, "squares")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_work_raises_is_raised(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ValueError, match="cannot be done"):
        spread(refuse, [Job(k, tmp_path) for k in range(3)], workers, "squares")
