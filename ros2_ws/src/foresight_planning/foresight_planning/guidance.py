"""Memory's help with one goal: asked for over the service `guide`, it comes as aims."""

from __future__ import annotations

import math
import time

import numpy as np
from rclpy.client import Client
from rclpy.task import Future

from foresight_interfaces.msg import Subgoal
from foresight_interfaces.srv import Guide
from foresight_node.messages import seconds
from foresight_planning.sensor_buffer import Pulse

AGAIN_S = 1.0
"""Between two requests, until there is an answer."""


class Guidance:
    """Never waits: `ask` until it was heard, then look at `refusal` and `aim_at`.

    Attributes:
        asked: the request was sent.
        refusal: why memory does not help, a sentence; empty while it may.
    """

    def __init__(self, client: Client, request: Guide.Request, latent_size: int) -> None:
        """
        Args:
            client: of the service.
            request: says whereto; `bundle_digest` is that of the latents that are understood.
            latent_size: their length.
        """
        self._client, self._request, self._latent_size = client, request, latent_size
        self._answer: Future | None = None
        self._asked_s = -math.inf
        self._aim: Subgoal | None = None
        self._heard = Pulse()
        self.refusal = ""

    @property
    def asked(self) -> bool:
        return self._answer is not None

    def ask(self) -> None:
        """Send the request as soon as there is somebody to take it, and again until an answer
        comes: who seems to be there may have died."""
        if self._answer is not None and self._answer.done():
            return
        late = time.monotonic() - self._asked_s > AGAIN_S
        if late and self._client.service_is_ready():
            self._forget()
            self._request.start, self._asked_s = True, time.monotonic()
            self._answer = self._client.call_async(self._request)
            self._answer.add_done_callback(self._on_answer)

    def take(self, aim: Subgoal) -> str:
        """Keep an aim, if it is one for this goal.

        Returns:
            A sentence on why it cannot be used; empty when there is nothing wrong.
        """
        if bytes(aim.goal_id.uuid) != bytes(self._request.goal_id.uuid):
            return ""
        if aim.bundle_digest != self._request.bundle_digest:
            return (
                f"aim comes from the bundle {aim.bundle_digest[:12]!r}, but planning runs "
                f"{self._request.bundle_digest[:12]!r}; start all nodes with the same bundle"
            )
        if len(aim.latent) not in (0, self._latent_size):
            return f"aim has a latent of {len(aim.latent)} numbers, not {self._latent_size}"
        if not np.isfinite(aim.latent).all():
            return "aim has a latent with a number that is not finite; check memory"
        self._aim = aim
        self._heard.beat(seconds(aim.header.stamp))
        return ""

    def aim_at(self, now_s: float, timeout_s: float, since: Pulse) -> Subgoal | None:
        """The last aim; None when there is none, or it is older than `timeout_s`."""
        return self._aim if self.silent_s(now_s, timeout_s, since) <= timeout_s else None

    def silent_s(self, now_s: float, timeout_s: float, since: Pulse) -> float:
        """How long no aim has come, s, see `Pulse.age_s`."""
        return self._heard.age_s(now_s, timeout_s, since)

    def end(self) -> None:
        """No more help is needed."""
        if self._answer is None:
            return
        self._forget()
        if self._client.service_is_ready():
            last = Guide.Request(goal_id=self._request.goal_id, start=False)
            last.bundle_digest = self._request.bundle_digest
            self._client.call_async(last)

    def _forget(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._client.remove_pending_request(self._answer)

    def _on_answer(self, answer: Future) -> None:
        if not answer.cancelled() and not answer.result().success:
            self.refusal = answer.result().message or "memory refused without saying why"
