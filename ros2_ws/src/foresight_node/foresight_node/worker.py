"""One background thread for inference, so that the executor is never blocked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from rclpy.node import Node

R = TypeVar("R")
_Job = tuple[Callable[[], Any], Callable[[Any], None], Callable[[Exception], None]]


class Worker:
    """Runs one job at a time off the executor's thread and hands its result back to that thread.

    The waiting line holds a single job: a newer one takes its place, because in control a late
    answer to an old question is worth nothing. Not thread-safe but for what it promises: call
    its methods from the executor's thread only.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._changed = threading.Condition()
        self._waiting: _Job | None = None
        self._called: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._finished: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._guard = node.create_guard_condition(self._hand_back)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self, job: Callable[[], R], done: Callable[[R], None], failed: Callable[[Exception], None]
    ) -> bool:
        """Run `job` on the worker, then `done(result)` or `failed(error)` on the executor's thread.

        Returns:
            True when a job that had not begun was dropped for this one.
        """
        with self._changed:
            replaced = self._waiting is not None
            self._waiting = (job, done, failed)
            self._changed.notify()
        return replaced

    def call(self, job: Callable[[], R]) -> R:
        """Run `job` after the running one and before the waiting one, and wait for it.

        What the job raises is raised here.
        """
        answer: Future[R] = Future()

        def run() -> None:
            try:
                answer.set_result(job())
            except Exception as error:  # raised again where it is waited for
                answer.set_exception(error)

        with self._changed:
            self._called.append(run)
            self._changed.notify()
        return answer.result()

    @property
    def busy(self) -> bool:
        """Whether a job waits for the running one."""
        return self._waiting is not None

    def stop(self) -> None:
        """Finish the running job, drop the waiting one and every result; returns when done."""
        with self._changed:
            self._stopping, self._waiting = True, None
            self._changed.notify()
        self._thread.join()
        self._finished.clear()
        self._node.destroy_guard_condition(self._guard)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_wanted)
                called = self._called.popleft() if self._called else None
                if called is None:
                    if self._waiting is None:
                        return
                    (job, done, failed), self._waiting = self._waiting, None
            if called is not None:
                called()
                continue
            try:
                self._finished.append((done, job()))
            except Exception as error:  # a job may fail in any way; its owner decides what then
                self._finished.append((failed, error))
            self._guard.trigger()

    def _is_wanted(self) -> bool:
        return bool(self._called) or self._waiting is not None or self._stopping

    def _hand_back(self) -> None:
        while self._finished:
            done, result = self._finished.popleft()
            done(result)
