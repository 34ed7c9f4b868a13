"""Node of the memory: takes observations, publishes the current place and subgoals."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from unique_identifier_msgs.msg import UUID

from foresight import bundle
from foresight.bundle import Bundle, Runtime
from foresight.geometry import yaw_of
from foresight.memory import CAPACITY, Places, PlacesError
from foresight.memory.file import DamagedError
from foresight.memory.spatial_memory import Here, SpatialMemory, View
from foresight.memory.topological_navigator import Subgoal as NextSubgoal
from foresight.odometry import OdometryBuffer
from foresight.perception import image
from foresight.perception.encoder import Encoder
from foresight.perception.image import ImageError, Rgb
from foresight.runtime.dynamics import Relation
from foresight_interfaces.msg import Belief, Observation, Place, Subgoal
from foresight_interfaces.srv import Forget, Guide, Recall, Remember, Route
from foresight_memory.markers import PlaceMarkers
from foresight_node import ERROR, BundleParameters, ForesightNode, parameter, run
from foresight_node.messages import (
    LATCHED,
    LATEST,
    fault_of,
    floats,
    picture_message,
    seconds,
    to_stamp,
)

VIEWS_KEPT = 8
ODOMETRY_KEPT_S = 10.0
STAMP_JITTER_S = 0.02
"""Observations arrive at the camera's rate, with jitter: a period may be this much shorter."""


@dataclass(frozen=True)
class Parameters(BundleParameters):
    file: str = parameter(
        "", "File of the memory; empty: places.db in the user's state folder, by namespace."
    )
    fresh_if_damaged: bool = parameter(
        False, "Move a file that cannot be used aside and begin an empty one."
    )
    capacity: int = parameter(CAPACITY, "Places kept at most.", minimum=2, maximum=1_000_000)
    rate_hz: float = parameter(
        4.0, "Observations taken in at most, Hz.", minimum=0.5, maximum=60.0, live=True
    )
    learn: bool = parameter(True, "Remember new places and edges.", live=True)
    observation_max_age_s: float = parameter(
        2.0, "Oldest observation that remember names, s.", minimum=0.1, maximum=60.0, live=True
    )
    odom_max_age_s: float = parameter(
        0.5, "Largest gap between odometry and an observation, s.", minimum=0.01, maximum=10.0
    )


class Observed(NamedTuple):
    """The worker's result for an observation."""

    here: Here | None
    subgoal: NextSubgoal | None
    fault: str
    places: int
    edges: int
    took_s: float


class MemoryNode(ForesightNode[Parameters]):
    """Publishes a place, and while it guides a subgoal, for each observation that it takes in.

    Only the worker accesses the memory. A fault in here never ends the node, because without the
    node the robot could not even drive to pictures.
    """

    def __init__(self, **options: object) -> None:
        super().__init__("memory", Parameters, **options)
        self._memory: SpatialMemory | None = None

    def configure(self) -> None:
        values = self.values
        self._memory = None
        runtime = Runtime(values.provider, values.half, self.get_logger().info)
        loaded = bundle.load(values.bundle, runtime)
        self._manifest, self._digest = loaded.manifest, loaded.digest
        self._driven = OdometryBuffer(ODOMETRY_KEPT_S, values.odom_max_age_s)
        self._frame = "odom"
        self._views: deque[tuple[tuple[int, int], Rgb]] = deque(maxlen=VIEWS_KEPT)
        self._unpaired: Observation | None = None
        self._taken_s = -math.inf
        self._surprise = 0.0
        self._guided: UUID | None = None
        self._worker = self.start_worker()
        self._memory = self._worker.call(lambda: self._open(loaded))
        PlaceMarkers(self, self._worker, self._memory.places, lambda: self._frame)
        self.health.fact("bundle", loaded.digest)
        self._places = self.advertise(Place, "current_place", LATCHED)
        self._subgoals = self.advertise(Subgoal, "subgoal", LATEST)
        self.listen(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        self.listen(Image, "model_image", self._on_view, qos_profile_sensor_data)
        self.listen(Observation, "observation", self._on_observation, LATEST)
        self.listen(Belief, "belief", self._on_belief, LATEST)
        self.every(1.0, self._look_after)
        for kind, answer in (
            (Remember, self._remember),
            (Recall, self._recall),
            (Forget, self._forget),
            (Route, self._route),
            (Guide, self._lead),
        ):
            self._serve(kind, answer)

    def deactivate(self) -> None:
        if self._memory is None:
            return
        self._guided = self._unpaired = None
        memory = self._memory
        self._worker.call(memory.leave)
        try:
            memory.places.flush()
        except PlacesError as error:  # must not prevent stopping
            self.get_logger().error(str(error))

    def cleanup(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            self._worker.call(memory.places.close)

    def _open(self, loaded: Bundle) -> SpatialMemory:
        values, manifest = self.values, loaded.manifest
        file = Path(values.file).expanduser() if values.file else default_file(self.get_namespace())
        relation, encoder = Relation(loaded), Encoder(loaded)
        digest = manifest.graphs["encoder"].sha256
        options: dict[str, Any] = {"capacity": values.capacity}
        try:
            places = Places.open(file, digest, manifest.latent_size, **options)
        except DamagedError as error:
            if not values.fresh_if_damaged:
                raise
            self.get_logger().warning(f"{error}; it was moved aside, and an empty file was created")
            options["fresh_if_damaged"] = True
            places = Places.open(file, digest, manifest.latent_size, **options)
        stale = len(places.stale())
        self._encoder = encoder if stale else None
        self.health.fact("places to encode anew", stale)
        self.health.fact("providers", ", ".join(relation.providers))
        self.health.fact("file", file)
        self._report_size(len(places), places.edge_count)
        return SpatialMemory(places, relation)

    # --- inputs

    def _on_odometry(self, odometry: Odometry) -> None:
        self._frame = odometry.header.frame_id or self._frame
        at, turn = odometry.pose.pose.position, odometry.pose.pose.orientation
        twist = odometry.twist.twist
        pose = at.x, at.y, yaw_of(turn.x, turn.y, turn.z, turn.w)
        try:
            stamp_s = seconds(odometry.header.stamp)
            reset = self._driven.add(stamp_s, pose, (twist.linear.x, twist.angular.z))
        except ValueError as error:
            self.health.problem("odom", str(error))
            return
        if reset and self._memory is not None:
            self.get_logger().info("odometry was reset; localising again")
            self._worker.call(self._memory.begin_session)

    def _on_belief(self, belief: Belief) -> None:
        if belief.bundle_digest == self._digest and math.isfinite(belief.surprise):
            self._surprise = max(self._surprise, belief.surprise)

    def _on_view(self, message: Image) -> None:
        try:
            picture = self._picture(message)
        except ImageError as error:
            self.health.problem("model_image", f"model_image: {error}")
            return
        stamp = message.header.stamp
        self._views.append(((stamp.sec, stamp.nanosec), picture))
        if self._unpaired is not None and self._unpaired.header.stamp == stamp:
            self._take(self._unpaired, picture)

    def _picture(self, message: Image) -> Rgb:
        args = message.data, message.width, message.height, message.step, message.encoding
        return image.to_model(image.decode(*args), self._manifest.image)

    def _on_observation(self, observation: Observation) -> None:
        fault = fault_of(observation, self._manifest, self._digest, "memory")
        if fault:
            self.health.problem("observation", fault, ERROR)
            return
        since_s = seconds(observation.header.stamp) - self._taken_s
        if 0 <= since_s < 1 / self.values.rate_hz - STAMP_JITTER_S:
            return
        if self._unpaired is not None:
            self.health.count("observations without view")
            self._take(self._unpaired, None)
        stamp = observation.header.stamp
        key = stamp.sec, stamp.nanosec
        picture = next((picture for other, picture in self._views if other == key), None)
        self._taken_s = seconds(stamp)
        self._unpaired = observation
        if picture is not None:
            self._take(observation, picture)  # else its picture has not arrived yet

    def _take(self, observation: Observation, picture: Rgb | None) -> None:
        """Pass an observation to the worker; the newest wins."""
        self._unpaired = None
        memory, header, learn = self._memory, observation.header, self.values.learn
        if memory is None:
            return
        stamp_s = seconds(header.stamp)
        driven = self._driven.at(stamp_s)
        if driven is None:
            self.health.problem("odom", self._silence(stamp_s))
            return
        latent = np.asarray(observation.latent, np.float32)
        view = View(stamp_s, latent, picture, driven[0], self._surprise)
        self._surprise = 0.0
        guided = self._guided
        replaced = self._worker.submit(
            lambda: _observe(memory, view, learn),
            lambda observed: self._on_observed(header, guided, observed),
            self._on_failed,
        )
        if replaced and self._encoder is None:
            self.health.count("observations dropped: memory busy")

    def _silence(self, stamp_s: float) -> str:
        silence_s = self._driven.silence_s(stamp_s)
        if math.isinf(silence_s):
            return "no odometry has been received; start its driver"
        return (
            f"the nearest odometry is {silence_s:.2f} s from the observation, but at most "
            f"{self.values.odom_max_age_s:.2f} s are allowed; check the odometry's source"
        )

    # --- outputs

    def _on_observed(self, header: Header, guided: UUID | None, observed: Observed) -> None:
        if not self.active:
            return
        self.health.event("observations")
        self.health.latency("localise", observed.took_s)
        self._report_size(observed.places, observed.edges)
        if observed.fault:
            self.health.problem("memory", observed.fault)
        if observed.here is not None:
            self.health.fact("confidence", f"{observed.here.confidence:.2f}")
            self._places.publish(self._place(observed.here, header.stamp))
        if observed.subgoal is not None and guided is not None and guided is self._guided:
            self._subgoals.publish(self._subgoal_message(observed.subgoal, header, guided))
            self.health.fact("guidance", _described(observed.subgoal))
        self._embed_when_idle()

    def _on_failed(self, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, ValueError | OSError):
            text = f"memory failed: {type(error).__name__}: {error}"
            self.get_logger().error("".join(traceback.format_exception(error)))
        self.health.problem("memory", text, ERROR)

    def _place(self, here: Here, stamp: Time) -> Place:
        place = Place(name=here.name, node=here.place, confidence=min(here.confidence, 1.0))
        place.header.stamp, place.header.frame_id = stamp, self._frame
        x, y, yaw = here.pose
        pose = place.pose_hint
        pose.position.x, pose.position.y = x, y
        pose.orientation.z, pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        return place

    def _subgoal_message(self, subgoal: NextSubgoal, header: Header, guided: UUID) -> Subgoal:
        message = Subgoal(
            header=header, goal_id=guided, final=subgoal.final, bundle_digest=self._digest
        )
        message.expected_s = (
            float(subgoal.expected_s) if math.isfinite(subgoal.expected_s) else -1.0
        )
        message.place = subgoal.place or 0
        if subgoal.latent is not None:
            message.latent = floats(subgoal.latent)
        return message

    def _report_size(self, places: int, edges: int) -> None:
        self.health.fact("places", places)
        self.health.fact("edges", edges)

    def _look_after(self) -> None:
        self._embed_when_idle()
        error = self._memory.places.error if self._memory is not None else None
        self.health.fact("write error", error or "none")
        if error:
            self.health.problem("file", error, ERROR)

    # --- re-embedding after a change of encoder, when idle

    def _embed_when_idle(self) -> None:
        if self._encoder is not None and self.active and not self._worker.busy:
            self._worker.submit(self._embed, self._on_embedded, self._on_embedding_failed)

    def _embed(self) -> int:
        memory, encoder = self._memory, self._encoder
        if memory is None or encoder is None:
            return 0

        def encode(pictures: np.ndarray) -> np.ndarray:
            spec = self._manifest.image
            return np.stack([encoder(image.to_model(picture, spec)) for picture in pictures])

        return memory.re_embed(encode)

    def _on_embedded(self, left: int) -> None:
        self.health.fact("places to encode anew", left)
        if not left:
            self._encoder = None
        self._embed_when_idle()

    def _on_embedding_failed(self, error: Exception) -> None:
        self._encoder = None  # it would fail again
        self._on_failed(error)

    # --- services

    def _serve(self, kind: type, answer: Callable[[SpatialMemory, Any, Any], None]) -> None:
        """A service whose `answer` runs on the worker; errors are reported in `message`."""

        def callback(request: Any, response: Any) -> Any:
            memory = self._memory
            try:
                if memory is None or not self.active:
                    raise PlacesError("memory is not active; activate it first")
                self._worker.call(lambda: answer(memory, request, response))
                response.success = True
            except PlacesError as error:
                response.message = str(error)
            except Exception as error:
                self._on_failed(error)
                response.message = f"memory failed: {type(error).__name__}: {error}"
            return response

        service = self.create_service(kind, kind.__name__.lower(), callback)
        self.release_later(lambda: self.destroy_service(service))

    def _remember(self, memory: SpatialMemory, request: Any, response: Any) -> None:
        max_age_s = self.values.observation_max_age_s
        response.node = memory.remember(request.name, self.now_s(), max_age_s)

    def _recall(self, memory: SpatialMemory, request: Any, response: Any) -> None:
        here, picture = memory.recall(request.name)
        response.place = self._place(here, to_stamp(here.first_seen))
        response.place.name = request.name
        response.image = picture_message(picture, Header(stamp=response.place.header.stamp))

    def _forget(self, memory: SpatialMemory, request: Any, _response: Any) -> None:
        memory.forget_name(request.name)

    def _route(self, memory: SpatialMemory, request: Any, response: Any) -> None:
        route = memory.route(request.name)
        response.nodes, response.expected_s = route.places, route.expected_s

    def _lead(self, memory: SpatialMemory, request: Any, _response: Any) -> None:
        if request.start:
            memory.lead(self._goal(request))
            self._guided = request.goal_id
        elif self._guided is not None and bytes(self._guided.uuid) == bytes(request.goal_id.uuid):
            memory.leave()
            self._guided = None
        self.health.fact("guidance", "on" if self._guided is not None else "off")

    def _goal(self, request: Any) -> str | np.ndarray:
        """The goal of a request for guidance; raises PlacesError."""
        if bool(request.name) == bool(len(request.latent)):
            raise PlacesError("the request must have either a name or a latent")
        if request.name:
            return str(request.name)
        if request.bundle_digest != self._digest:
            raise PlacesError(
                f"the latent comes from the bundle {request.bundle_digest[:12]!r}, but memory "
                f"runs {self._digest[:12]!r}; start all nodes with the same bundle"
            )
        latent = np.asarray(request.latent, np.float32)
        if latent.shape != (self._manifest.latent_size,) or not np.isfinite(latent).all():
            raise PlacesError(
                f"the latent has {len(latent)} numbers; give {self._manifest.latent_size}, all "
                f"finite"
            )
        return latent


def default_file(namespace: str) -> Path:
    """Default file of a robot's memory."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "foresight" / namespace.strip("/") / "places.db"


def _observe(memory: SpatialMemory, view: View, learn: bool) -> Observed:
    """Localise and map; runs on the worker."""
    start = time.perf_counter()
    subgoal, fault = None, ""
    try:
        subgoal = memory.observe(view)
        if learn:
            memory.learn()
    except PlacesError as error:
        fault = str(error)
    took_s = time.perf_counter() - start
    return Observed(
        memory.here(), subgoal, fault, len(memory.places), memory.places.edge_count, took_s
    )


def _described(subgoal: NextSubgoal) -> str:
    goal = "to the goal" if subgoal.final else f"to place {subgoal.place}"
    found = "looking around" if subgoal.latent is None else goal
    return f"{found} ({subgoal.reason})" if subgoal.reason else found


def main() -> int:
    return run(MemoryNode)
