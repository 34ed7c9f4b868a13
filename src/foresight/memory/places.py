"""The robot's memory of places: what a node of the robot holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from foresight.geometry import Pose
from foresight.memory.file import DamagedError, EncoderRecord, PlacesFile, set_aside
from foresight.memory.forgetting import least_valuable
from foresight.memory.graph import Graph
from foresight.memory.index import LatentIndex
from foresight.memory.records import (
    MAX_JPEG_BYTES,
    MAX_LATENT,
    Edge,
    Place,
    PlacesError,
    as_edge,
    checked_latent,
    checked_pose,
    checked_seconds,
    checked_time,
)
from foresight.memory.routes import Field, Route, Router
from foresight.memory.writing import Writer
from foresight.perception.image import ImageError, decode_compressed

CAPACITY = 5000
"""Places that a home may take."""
_QUALITY = 90
_FORGOTTEN_AT_ONCE = 0.01  # of the capacity: places are ranked this seldom
_FLUSH_S = 10.0
_NOWHERE: Pose = (0.0, 0.0, 0.0)

Encode = Callable[[np.ndarray], np.ndarray]
"""(B, h, w, 3) uint8 RGB -> (B, D) float32."""


class Places:
    """A graph of remembered places, each a latent with a small picture; the edges between them; and
    names. It lives in memory, and a thread brings every change to disk within a second.

    One thread uses it. Times are seconds since 1970 and default to now; poses and displacements are
    (x m, y m, yaw rad). Unknown places, and arguments out of bounds, raise `PlacesError`.
    """

    def __init__(
        self,
        file: PlacesFile,
        encoder: str,
        latent_size: int,
        capacity: int,
        on_error: Callable[[str | None], None],
    ) -> None:
        """Takes over the file; use `Places.open`."""
        contents = file.contents()
        self._digests = {entry.number: entry.digest for entry in contents.encoders}
        self._encoder = file.add_encoder(encoder, latent_size, contents.encoders)
        self._digests[self._encoder.number] = encoder
        self._graph = Graph(latent_size)
        latents = _stacked(contents.latents, contents.encoders_of, self._encoder)
        try:
            self._graph.restore(
                contents.places, contents.encoders_of, latents, contents.edges, contents.names
            )
        except PlacesError as error:
            raise DamagedError(f"{file.path}: damaged ({error})") from error
        self._graph.next_place = contents.next_place
        self._graph.next_session = contents.next_session
        current = self._graph.of_encoder(self._encoder.number)
        self._index = LatentIndex(self._graph.places["id"][current], latents[current])
        self._unreadable: set[int] = set()
        self._router = Router(self._graph)
        self._capacity, self._surplus = capacity, list[int]()
        self._ranked_at = 0.0
        self._file, self._reader = file, PlacesFile.reader(file.path)
        self._lock = threading.RLock()
        self._writer = Writer(self._graph, self._lock, file, on_error)
        self._closed = False
        self.session = self.begin_session()

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: str,
        latent_size: int,
        *,
        fresh_if_damaged: bool = False,
        capacity: int = CAPACITY,
        on_error: Callable[[str | None], None] = lambda error: None,
    ) -> Places:
        """Open the file, or make it. A session of odometry begins.

        Args:
            encoder: digest of the encoder whose latents will be given.
            fresh_if_damaged: a file that cannot be used is moved aside, and an empty one is begun.
            capacity: places that are kept at most.
            on_error: called by another thread with a sentence when changes cannot be written, with
                None when they can again.

        Raises:
            PlacesError: the file is damaged, not one of places, of a newer version, or open in
                another process. It is left as it is.
        """
        path = Path(path)
        if not 0 < latent_size <= MAX_LATENT or not 0 < len(encoder) <= 128 or capacity < 2:
            raise PlacesError(
                f"a latent of {latent_size} numbers, an encoder called {encoder[:140]!r} or a "
                f"capacity of {capacity} places cannot be"
            )
        try:
            return cls._open(path, encoder, latent_size, capacity, on_error)
        except DamagedError:
            if not fresh_if_damaged:
                raise
        set_aside(path)
        return cls._open(path, encoder, latent_size, capacity, on_error)

    @classmethod
    def _open(
        cls,
        path: Path,
        encoder: str,
        latent_size: int,
        capacity: int,
        on_error: Callable[[str | None], None],
    ) -> Places:
        file = PlacesFile.open(path)
        try:
            return cls(file, encoder, latent_size, capacity, on_error)
        except BaseException:
            file.close()
            raise

    # ----- durability -----------------------------------------------------------------------------

    @property
    def encoder(self) -> str:
        """Digest of the encoder whose latents are given."""
        return self._encoder.digest

    @property
    def error(self) -> str | None:
        """One sentence while changes cannot be written to disk; they stay in memory, and writing is
        tried again."""
        return self._writer.error

    def flush(self) -> None:
        """Wait until every change is on disk.

        Raises:
            PlacesError: it cannot be written now.
        """
        if not self._writer.flush(_FLUSH_S):
            raise PlacesError(self.error or f"{self._file.path}: not written in {_FLUSH_S:.0f} s")

    def close(self) -> None:
        """Write what is left and let go of the file. A second call does nothing.

        Raises:
            PlacesError: it could not be written; the changes since `error` came up are lost.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            self._index.close()
            self._writer.stop()
            self._reader.close()
            self._file.close()

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ----- places ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._graph.slots)

    def __contains__(self, place: object) -> bool:
        return place in self._graph.slots

    @property
    def ids(self) -> np.ndarray:
        """(N,) uint32 of all places, in no order; that of `table`."""
        return self._graph.places["id"][self._graph.alive]

    @property
    def edge_count(self) -> int:
        """How many edges there are."""
        return len(self._graph.edges)

    def table(self) -> np.ndarray:
        """(N,) `records.PLACE` of all places, a copy."""
        return self._graph.places[self._graph.alive]

    def begin_session(self) -> int:
        """Odometry begins anew; poses given from now on are in a frame of their own."""
        with self._lock:
            self._graph.next_session += 1
            self.session = self._graph.next_session
            self._changed(counters=True)
        return self.session

    def add(
        self,
        latent: np.ndarray,
        picture: np.ndarray,
        pose: Sequence[float],
        now: float | None = None,
    ) -> int:
        """Remember a place that was not known. Over the capacity, the least valuable one goes.

        Args:
            latent: (D,) of the current encoder; kept as float16.
            picture: (h, w, 3) uint8 RGB, what was encoded.
            pose: of odometry.

        Returns:
            its id, which will never be used again.
        """
        now = _moment(now)
        half = checked_latent(latent, self._encoder.latent_size)
        jpeg, pose = _jpeg(picture), checked_pose(pose, "the pose")
        with self._lock:
            place = self._graph.add(half, self._encoder.number, self.session, pose, jpeg, now)
            self._index.put(place, half)
            if len(self) > self._capacity:
                self._make_room(place, now)
            self._changed()
        return place

    def visit(
        self, place: int, pose: Sequence[float] | None = None, now: float | None = None
    ) -> None:
        """The robot is at a known place, again; with the pose of odometry if it is sure."""
        now, checked = _moment(now), None if pose is None else checked_pose(pose, "the pose")
        with self._lock:
            self._graph.visit(place, self.session, checked, now)
            self._changed()

    def place(self, place: int) -> Place:
        """What is known of a place."""
        slot = self._graph.slot(place)
        id, session, visits, x, y, yaw, first, last = self._graph.places[slot].item()
        digest = self._digests[int(self._graph.encoders[slot])]
        return Place(id, session, visits, (x, y, yaw), first, last, digest)

    def latents(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """(K, D) float32; zeros for places that wait for `re_embed`."""
        slots = [self._graph.slot(place) for place in places]
        return self._graph.latents[slots].astype(np.float32)

    def picture(self, place: int) -> np.ndarray:
        """(h, w, 3) uint8 RGB.

        Raises:
            PlacesError: the place is not known, or its picture is damaged.
        """
        self._graph.slot(place)
        with self._lock:
            jpeg = self._writer.pending_picture(place)
        try:
            return decode_compressed(jpeg or self._reader.picture(place))
        except ImageError as error:
            raise PlacesError(f"the picture of place {place} is damaged ({error})") from error

    def nearest(self, latent: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The places whose latents are nearest to one, nearest first.

        Args:
            latent: (D,) of the current encoder.

        Returns:
            ids (K,) uint32 and Euclidean distances (K,) float32, K at most `count`; places that
            wait for `re_embed` are not among them.
        """
        if count < 1:
            raise PlacesError(f"{count} nearest places were asked for")
        return self._index.nearest(checked_latent(latent, self._encoder.latent_size), count)

    def wait_for_index(self) -> None:
        """Until the index stands. A large one is built in the background after opening; meanwhile
        `nearest` is slower."""
        self._index.wait()

    def compared(self, latent: np.ndarray, count: int) -> int:
        """How many latents `nearest` compares for this."""
        return self._index.compared(checked_latent(latent, self._encoder.latent_size), count)

    def merge(
        self,
        keep: int,
        gone: int,
        offset: Sequence[float] = _NOWHERE,
        now: float | None = None,
    ) -> None:
        """Two places are the same one: edges, names and counts of `gone` go to `keep`.

        Args:
            offset: `gone` seen from `keep`.
        """
        now, offset = _moment(now), checked_pose(offset, "the offset")
        with self._lock:
            self._graph.merge(int(keep), int(gone), offset, now)
            self._index.remove(int(gone))
            self._changed()

    def remove(self, place: int, now: float | None = None) -> None:
        """Drop a place and its names. Its neighbours are joined: routes through it remain."""
        now = _moment(now)
        with self._lock:
            self._graph.remove(int(place), now)
            self._index.remove(int(place))
            self._changed()

    def _make_room(self, newest: int, now: float) -> None:
        named = set(self.names.values())
        fit = [p for p in self._surplus if p in self and p not in named and not self._seen(p)]
        if not fit:
            count = 2 + int(_FORGOTTEN_AT_ONCE * self._capacity)
            fit = [p for p in least_valuable(self._graph, count, now) if p != newest]
            self._ranked_at = now
        if not fit:
            self.remove(newest, now)
            raise PlacesError(f"all {self._capacity} places have names; none can be added")
        self._surplus = fit[1:]
        self.remove(fit[0], now)

    def _seen(self, place: int) -> bool:
        """Whether the robot was there since places were ranked."""
        row = self._graph.places[self._graph.slot(place)]
        return bool(row["last_seen"] > self._ranked_at)

    # ----- names ----------------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, int]:
        """Places by name, a copy."""
        return dict(self._graph.names)

    def name(self, name: str, place: int) -> None:
        """Give a place a name, of at most 64 characters; one that is in use moves here."""
        with self._lock:
            self._graph.name(name, place)
            self._changed()

    def unname(self, name: str) -> None:
        """Take a name away; what is known of the place stays."""
        with self._lock:
            self._graph.unname(name)
            self._changed()

    # ----- edges ----------------------------------------------------------------------------------

    def connect(
        self,
        a: int,
        b: int,
        seconds: float,
        displacement: Sequence[float],
        *,
        traversed: bool,
        now: float | None = None,
    ) -> None:
        """The robot can drive from `a` to `b`. A driven edge is not replaced by an inferred one;
        else time and displacement are the new ones, and the counts stay.

        Args:
            seconds: expected. displacement: b seen from a. traversed: it was just driven, which
                counts as a success.
        """
        now, offset = _moment(now), checked_pose(displacement, "the displacement")
        seconds = checked_seconds(seconds)
        with self._lock:
            known = self._graph.edge(int(a), int(b))
            if known is not None and known["traversed"] and not traversed:
                return
            counts = (0, 0.0, now)
            if known is not None:
                counts = known["successes"], known["failures"], known["tried"]
            whole = known is not None and known["traversed"]
            before = known["seconds"] if known is not None and whole else seconds
            self._graph.put((a, b, int(whole), *counts, before, *offset))
            if traversed:
                self._graph.tried(int(a), int(b), True, seconds, now)
            self._changed()

    def tried(
        self,
        a: int,
        b: int,
        succeeded: bool,
        seconds: float | None = None,
        now: float | None = None,
    ) -> None:
        """A known edge was driven, or could not be. A failure makes it dearer; that fades.

        Args:
            seconds: that a success took.
        """
        now = _moment(now)
        took = None if seconds is None else checked_seconds(seconds)
        with self._lock:
            self._graph.tried(int(a), int(b), succeeded, took, now)
            self._changed()

    def disconnect(self, a: int, b: int) -> None:
        """Drop the edge from `a` to `b`, if there is one."""
        with self._lock:
            self._graph.cut(int(a), int(b))
            self._changed()

    def edge(self, a: int, b: int) -> Edge | None:
        """The edge from `a` to `b`."""
        found = self._graph.edge(int(a), int(b))
        return None if found is None else as_edge(found)

    def edges_from(self, place: int) -> list[Edge]:
        """All edges that begin at a place."""
        return [as_edge(row) for row in self._graph.leaving(place)]

    def edges_to(self, place: int) -> list[Edge]:
        """All edges that end at a place."""
        return [as_edge(row) for row in self._graph.arriving(place)]

    def edge_table(self) -> np.ndarray:
        """(E,) `records.EDGE` of all edges, a copy."""
        return self._graph.edges.copy()

    def costs_to(self, goal: int, now: float | None = None) -> Field:
        """What it costs, in seconds and risk, to get to `goal` from everywhere."""
        return self._router.costs_to(int(goal), _moment(now))

    def route(
        self, start: int | Mapping[int, float], goal: int, now: float | None = None
    ) -> Route | None:
        """The cheapest known route, see `Field.route`; None if there is none.

        Args:
            start: an id, or probabilities by id.
        """
        return self.costs_to(goal, now).route(start)

    # ----- another encoder ------------------------------------------------------------------------

    def stale(self) -> np.ndarray:
        """(K,) uint32 ids of the places whose latents come from another encoder, the last seen
        first. Those whose picture is damaged stay so and are left out."""
        others = self._graph.alive & (self._graph.encoders != self._encoder.number)
        rows = self._graph.places[others]
        ids = rows["id"][np.argsort(-rows["last_seen"], kind="stable")]
        return ids[~np.isin(ids, list(self._unreadable))]

    def re_embed(self, encode: Encode, batch: int = 16) -> int:
        """Give up to `batch` stale places the latents of the current encoder, from their pictures.

        Returns:
            how many are left; call it again until that is 0.

        Raises:
            PlacesError: `encode` gave something else than (B, D) finite numbers.
        """
        pictures: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for place in self.stale()[:batch].tolist():
            try:
                picture = self.picture(place)
            except PlacesError:
                self._unreadable.add(place)
                continue
            pictures.setdefault(picture.shape, []).append((place, picture))
        for group in pictures.values():
            latents = encode(np.stack([picture for _, picture in group]))
            if len(latents) != len(group):
                raise PlacesError(f"{len(latents)} latents came of {len(group)} pictures")
            for (place, _), latent in zip(group, latents, strict=True):
                self._embed(place, checked_latent(latent, self._encoder.latent_size))
        return len(self.stale())

    def _embed(self, place: int, latent: np.ndarray) -> None:
        with self._lock:
            self._graph.embed(place, latent, self._encoder.number)
            self._index.put(place, latent)
            self._changed()

    def _changed(self, counters: bool = False) -> None:
        self._graph.changes.counters |= counters
        self._writer.announce()


def _moment(now: float | None) -> float:
    return time.time() if now is None else checked_time(now)


def _stacked(latents: list[bytes], encoders_of: np.ndarray, current: EncoderRecord) -> np.ndarray:
    """(N, D) float16; zeros where another encoder made the latent."""
    empty = bytes(2 * current.latent_size)
    own = (encoders_of == current.number).tolist()
    whole = b"".join(blob if mine else empty for blob, mine in zip(latents, own, strict=True))
    return np.frombuffer(bytearray(whole), np.float16).reshape(-1, current.latent_size)


def _jpeg(picture: np.ndarray) -> bytes:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise PlacesError(f"a picture {picture.shape} {picture.dtype}; give (h, w, 3) uint8")
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if len(data) > MAX_JPEG_BYTES:
        raise PlacesError(f"a picture takes {len(data)} bytes, more than {MAX_JPEG_BYTES}")
    return data.tobytes()
