"""What a node tells of its own state: rates, latencies, counts, and what is wrong."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from math import inf

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class _Problem:
    text: str
    level: bytes
    seen_at: float
    logged_at: float


class Health:
    """Collects on the executor's thread; `publish` sends one DiagnosticStatus."""

    WINDOW = 200
    """Latencies and events that the percentiles and rates are taken over."""
    HOLD_S = 3.0
    """A problem is reported until it has not been seen for this long."""
    LOG_EVERY_S = 5.0
    """The same kind of problem is logged once in this time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "diagnostics", 10)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as when the node is configured anew."""
        self._facts: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._latencies: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=self.WINDOW))
        self._unsent: dict[str, list[float]] = defaultdict(list)
        self._events: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=self.WINDOW))
        self._problems: dict[str, _Problem] = {}

    def fact(self, key: str, value: object) -> None:
        """Something that stays, such as the bundle's digest."""
        self._facts[key] = str(value)

    def count(self, key: str, more: int = 1) -> None:
        """So many more of what should be rare, such as dropped frames."""
        self._counts[key] += more

    def event(self, key: str) -> None:
        """Something that should keep a rate, such as an observation sent."""
        self._events[key].append(time.monotonic())

    def latency(self, key: str, seconds: float) -> None:
        """How long something took; told as percentiles, and each value once as `<key>_ms`."""
        self._latencies[key].append(seconds)
        self._unsent[key].append(seconds)

    def problem(self, kind: str, text: str, level: bytes = WARN, *, lasting: bool = False) -> None:
        """Report and log (throttled) one sentence; `kind` groups sentences that vary in numbers.

        A `lasting` one is reported until it is solved.
        """
        now = time.monotonic()
        before = self._problems.get(kind)
        due = before is None or now - before.logged_at >= self.LOG_EVERY_S
        logged_at = now if due or before is None else before.logged_at
        self._problems[kind] = _Problem(text, level, inf if lasting else now, logged_at)
        self._counts[f"problems: {kind}"] += 1
        if not due:
            return
        if level == ERROR:  # on lines of their own: rclpy ties a line to one severity
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().warning(text)

    def solved(self, kind: str) -> None:
        """A problem is known to be over."""
        self._problems.pop(kind, None)

    def publish(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [self.status()]
        self._publisher.publish(message)
        self._unsent.clear()

    def status(self) -> DiagnosticStatus:
        """The state now; its message is the worst problem, or 'ok'."""
        now = time.monotonic()
        current = [p for p in self._problems.values() if now - p.seen_at < self.HOLD_S]
        worst = max(current, key=lambda p: (p.level, p.seen_at), default=None)
        return DiagnosticStatus(
            level=worst.level if worst else OK,
            name=self._node.get_fully_qualified_name(),
            message=worst.text if worst else "ok",
            values=[KeyValue(key=key, value=value) for key, value in self._values(now).items()],
        )

    def _values(self, now: float) -> dict[str, str]:
        values = dict(self._facts)
        for key, times in self._events.items():
            values[f"{key} (Hz)"] = f"{_rate(times, now):.1f}"
        for key, seconds in self._latencies.items():
            p50, p95 = np.percentile(np.asarray(seconds) * 1e3, [50, 95])
            values[f"{key} p50 (ms)"] = f"{p50:.1f}"
            values[f"{key} p95 (ms)"] = f"{p95:.1f}"
        for key, seconds in self._unsent.items():
            values[f"{key.replace(' ', '_')}_ms"] = " ".join(f"{s * 1e3:.1f}" for s in seconds)
        values.update({key: str(count) for key, count in sorted(self._counts.items())})
        return values


def _rate(times: deque[float], now: float) -> float:
    """Events a second over the last five seconds, or since the first one."""
    recent = [t for t in times if now - t <= 5.0]
    return len(recent) / max(now - recent[0], 1e-3) if len(recent) > 1 else 0.0
