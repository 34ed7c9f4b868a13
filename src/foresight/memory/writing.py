"""The thread that brings changes to disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

from foresight.memory.file import PlacesFile, gather
from foresight.memory.graph import Changes, Graph

GATHER_S = 0.25
"""How long changes are gathered for one transaction: the promise is one second."""
RETRY_S = 1.0


class Writer:
    """Writes what changed in a graph, while its owner goes on.

    Attributes:
        error: one sentence while the last attempt failed, else None.
    """

    def __init__(
        self,
        graph: Graph,
        lock: threading.RLock,
        file: PlacesFile,
        report: Callable[[str | None], None],
    ) -> None:
        """
        Args:
            lock: whoever changes the graph holds it.
            report: called by the writing thread when `error` changes.
        """
        self.error: str | None = None
        self._graph, self._lock, self._file, self._report = graph, lock, file, report
        self._writing: Changes | None = None
        self._state = threading.Condition()
        self._asked = self._done = 0  # changes that were announced; that are on disk
        self._failures = 0
        self._hurry = self._closing = False
        self._thread = threading.Thread(target=self._run, name="places", daemon=True)
        self._thread.start()

    def announce(self) -> None:
        """There is something to write. Called with the lock held."""
        with self._state:
            self._asked += 1
            if self._asked == self._done + 1:
                self._state.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was announced is on disk; False if an attempt failed or it is not by
        then."""
        with self._state:
            wanted, failures = self._asked, self._failures
            self._hurry = True
            self._state.notify_all()
            self._state.wait_for(
                lambda: self._done >= wanted or self._failures > failures, timeout_s
            )
            return self._done >= wanted

    def stop(self) -> None:
        """End the thread; what is not on disk by now is not written."""
        with self._state:
            self._closing = True
            self._state.notify_all()
        self._thread.join()

    def pending_picture(self, place: int) -> bytes | None:
        """The picture of a place that may not be on disk yet. Called with the lock held."""
        found = self._graph.changes.pictures.get(place)
        if found is None and self._writing is not None:
            found = self._writing.pictures.get(place)
        return found

    # ----- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closing or self._asked > self._done)
                wait_s = GATHER_S if self.error is None else RETRY_S
                self._state.wait_for(lambda: self._closing or self._hurry, timeout=wait_s)
                if self._closing:
                    return
                self._hurry = False
            self._write()

    def _write(self) -> None:
        with self._lock:
            with self._state:
                asked = self._asked
            changes, self._graph.changes = self._graph.changes, Changes()
            self._writing = changes
            batch = gather(self._graph, changes)
        error = None
        try:
            self._file.write(batch)
        except Exception as problem:  # whatever it is, the changes must not be lost
            error = f"{self._file.path}: cannot be written ({problem}); trying again"
        with self._lock:
            if error is not None:
                changes.update(self._graph.changes)
                self._graph.changes = changes
            self._writing = None
        self._tell(error, asked)

    def _tell(self, error: str | None, asked: int) -> None:
        changed, self.error = error != self.error, error
        with self._state:
            if error is None:
                self._done = asked
            else:
                self._failures += 1
            self._state.notify_all()
        if changed:
            self._report(error)
