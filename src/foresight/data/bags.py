"""`foresight import-bag`: converts rosbag2 recordings to the data set that `dataset` describes.

Bags are read in one pass, message by message; at most one episode is in memory. Times are those of
the headers; messages without a stamp (Twist, Bool) are put on that clock by the lag with which
odometry was received. A frame is the picture nearest to a 10 Hz tick, with everything else at its
stamp.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.typesys import Stores, get_typestore

from foresight.bodies.profile import Limits, RobotProfile
from foresight.bundle.manifest import ImageSpec
from foresight.data.dataset import PERIOD_S, DatasetError, Episode, save_episode
from foresight.perception import image
from foresight.perception.camera import CameraView
from foresight.perception.image import ImageError, Rgb

MAX_FRAMES = 1000
"""Longer drives are split."""
MIN_FRAMES = 50
"""Shorter ones are dropped."""
MAX_GAP_S = 0.3
"""A longer gap in pictures or odometry ends an episode."""
MAX_AGE_S = 0.101
"""Maximum age of a picture at its tick: one period, plus jitter of the clocks."""
_WAIT_FRAMES = 20  # to wait for odometry and commands that arrive after their picture
_KEEP_S = 5.0  # of odometry before the first picture, which may arrive that much later
_MAX_ROWS = 200_000  # messages of one topic in memory: an episode at 2 kHz

_IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TYPES = {
    "image": _IMAGE,
    "odom": ("nav_msgs/msg/Odometry",),
    "cmd_vel": ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped"),
    "camera_info": ("sensor_msgs/msg/CameraInfo",),
    "bumper": ("std_msgs/msg/Bool",),
}
_OPTIONAL = ("camera_info", "bumper")


class Topics(NamedTuple):
    """Topic names; None: the default, "none": do without (optional topics only)."""

    image: str | None = None
    odom: str | None = None
    cmd_vel: str | None = None
    camera_info: str | None = None
    bumper: str | None = None


@dataclass
class Tally:
    """Counts of an import so far. `problems` has one sentence for each bag that failed."""

    frames: int = 0
    episodes: int = 0
    kept: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unusable: str = ""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        minutes = self.frames * PERIOD_S / 60
        lines = [f"{self.frames} frames in {self.episodes} episodes, {minutes:.1f} minutes"]
        if self.kept:
            lines.append(
                f"{self.kept} episodes existed already and were left as they are; "
                f"delete them to import them again"
            )
        lines += [f"dropped: {count} {what}" for what, count in self.dropped.items()]
        lines += [f"episodes ended early: {count}, {why}" for why, count in self.ended.items()]
        if self.unusable:
            lines.append(f"the first unusable picture: {self.unusable}")
        return "\n".join(lines)


def import_bags(
    bags: Sequence[Path], out: Path, profile_path: Path, topics: Topics, tally: Tally
) -> None:
    """Import recordings into the folder `out` and count in `tally`.

    Args:
        bags: folders with metadata.yaml, or single .mcap or .db3 files.
        out: for files BAG-START-NUMBER.h5, where START is the bag's start in whole seconds;
            existing files are left as they are, so an import can be repeated.
        profile_path: of the robot that recorded.
        topics: names in the bags.
        tally: counts; a bag that is damaged or incomplete adds a problem, the others continue.

    Raises:
        ProfileError: the profile cannot be read.
        ImageError: the profile's camera does not fit the model's.
    """
    profile = RobotProfile.load(profile_path)
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    done: set[str] = set()
    with Progress(*columns, TimeRemainingColumn()) as progress:
        for path in bags:
            try:
                _import_bag(path, out, profile, topics, tally, done, progress)
            except DatasetError as error:
                tally.problems.append(str(error))


def _import_bag(
    path: Path,
    out: Path,
    profile: RobotProfile,
    topics: Topics,
    tally: Tally,
    done: set[str],
    progress: Progress,
) -> None:
    with ExitStack() as stack:
        bag = _Bag(path, stack)
        chosen = _choose(bag, topics)
        name = path.resolve().name if path.is_dir() else path.stem
        prefix = f"{name}-{int(bag.first(chosen['odom'])[0])}"
        if prefix in done:
            raise DatasetError(
                f"{path}: has the name and start of an earlier bag; give each bag once"
            )
        done.add(prefix)
        progress.console.print(f"{name}: {_described(chosen)}", highlight=False, soft_wrap=True)
        numbers = iter(range(10**9))

        def save(episode: Episode) -> None:
            file = out / f"{prefix}-{next(numbers):04d}.h5"
            if file.exists():
                tally.kept += 1
                return
            save_episode(file, episode, profile.name, f"bag {name}")
            tally.episodes += 1
            tally.frames += len(episode)

        before = tally.episodes + tally.kept
        feed = _Feed(bag, chosen, profile, save, tally)
        task = progress.add_task(name, total=bag.count(chosen.values()) or None)
        for role, receive_s, message in bag.messages(chosen):
            feed(role, receive_s, message)
            progress.advance(task)
        if bag.unreadable:
            tally.dropped["unreadable messages"] += bag.unreadable
        feed.finish()
        if bag.damage:
            raise DatasetError(f"{path}: damaged ({bag.damage}); what could be read was imported")
        if tally.episodes + tally.kept == before:
            raise DatasetError(
                f"{path}: gave no episode of {MIN_FRAMES * PERIOD_S:.0f} s or longer; see what was "
                f"dropped, and check that camera and odometry share a clock"
            )


def _described(chosen: dict[str, _Topic]) -> str:
    words = [f"{role} {topic.name}" for role, topic in chosen.items()]
    if "camera_info" not in chosen:
        words.append("no camera_info, so the profile's pinhole is used")
    if "bumper" not in chosen:
        words.append("no bumper")
    return ", ".join(words)


# Reading a bag


class _Topic(NamedTuple):
    name: str
    type: str


class _Part(Protocol):
    """A readable part of a recording, with the interface of `rosbags`."""

    @property
    def connections(self) -> list[Any]: ...

    def messages(self, connections: Collection[Any]) -> Iterator[tuple[Any, int, bytes]]: ...


class _Bag:
    """A recording, complete or damaged. `damage` says briefly what is wrong with it.

    Messages are parsed with Jazzy's definitions, because those in a bag would be turned into code.
    The types used here are the same in every distribution.
    """

    _STORE = get_typestore(Stores.ROS2_JAZZY)

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """Raises DatasetError if nothing of it can be read; `stack` closes the files."""
        self.path = path
        self.damage = ""
        self.unreadable = 0
        self._parts = self._open(stack)

    def _open(self, stack: ExitStack) -> list[_Part]:
        try:
            return [stack.enter_context(Reader(self.path))]
        except Exception as error:  # of any kind: the file may hold anything
            self.damage = _words(error)
        files = [self.path]
        if self.path.is_dir():
            if not (self.path / "metadata.yaml").exists():
                self.damage = "it has no metadata.yaml, as after an interrupted recording"
            files = [f for f in self.path.iterdir() if f.suffix in (".mcap", ".db3")]
            files.sort(key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)] or [0])
        parts: list[_Part] = []
        for file in files:
            with suppress(Exception):
                parts.append(_open_file(file, stack))
        if not any(part.connections for part in parts):
            raise DatasetError(
                f"{self.path}: cannot be read as a rosbag2 recording ({self.damage}); give a "
                f"folder with metadata.yaml, or an .mcap or .db3 file"
            )
        return parts

    @property
    def topics(self) -> list[_Topic]:
        """All topics, sorted by name; a damaged file may have none."""
        connections = [c for part in self._parts for c in part.connections]
        return sorted({_Topic(c.topic, c.msgtype) for c in connections if c.topic and c.msgtype})

    def count(self, topics: Collection[_Topic]) -> int:
        """Number of messages on these topics; 0 if unknown."""
        parts = (_connections(part, topics) for part in self._parts)
        return sum(c.msgcount for connections in parts for c in connections)

    def first(self, topic: _Topic) -> tuple[float, Any]:
        """The first message and its receive time (s).

        Raises:
            DatasetError: there is none.
        """
        for _, receive_s, message in self.messages({"": topic}):
            return receive_s, message
        reason = f" that can be read ({self.damage})" if self.damage else ""
        raise DatasetError(f"{self.path}: no message on {topic.name}{reason}; record that topic")

    def messages(self, topics: dict[str, _Topic]) -> Iterator[tuple[str, float, Any]]:
        """(key in `topics`, receive time s, message), in receive order, up to any damage."""
        keys = {topic: key for key, topic in topics.items()}
        self.unreadable = 0
        raw_messages = self._raw_messages(keys)
        while True:
            try:
                connection, receive_ns, raw = next(raw_messages)
            except StopIteration:
                return
            except Exception as error:  # of any kind: the file may hold anything
                self.damage = self.damage or _words(error)
                return
            try:
                message = self._STORE.deserialize_cdr(raw, connection.msgtype)
            except Exception:
                self.unreadable += 1
                continue
            yield keys[_Topic(connection.topic, connection.msgtype)], receive_ns * 1e-9, message

    def _raw_messages(self, topics: Collection[_Topic]) -> Iterator[tuple[Any, int, bytes]]:
        for part in self._parts:
            connections = _connections(part, topics)
            if connections:
                yield from part.messages(connections)


def _connections(part: _Part, topics: Collection[_Topic]) -> list[Any]:
    return [c for c in part.connections if _Topic(c.topic, c.msgtype) in topics]


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _open_file(path: Path, stack: ExitStack) -> _Part:
    try:
        return stack.enter_context(Reader(path))
    except Exception:  # of any kind: the file may hold anything
        if path.suffix == ".mcap":
            return _DamagedMcap(path, stack)
        return _DamagedSqlite(path, stack)


class _DamagedMcap:
    """The beginning of an MCAP file whose end is missing, in write order."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._reader = McapReader(path)
        self._reader.bio = stack.enter_context(path.open("rb"))
        self._reader.data_start = len(b"\x89MCAP0\r\n")
        self._reader.data_end = path.stat().st_size
        with suppress(Exception):  # collects the topics until the file ends
            self._reader.meta_scan()

    @property
    def connections(self) -> list[Any]:
        return self._reader.connections

    def messages(self, connections: Collection[Any]) -> Iterator[tuple[Any, int, bytes]]:
        return self._reader.messages_scan(connections)


class _Connection(NamedTuple):
    id: int
    topic: str
    msgtype: str
    msgcount: int = 0


class _DamagedSqlite:
    """The readable part of an SQLite recording, in write order."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._database = stack.enter_context(closing(sqlite3.connect(uri, uri=True)))
        # Without this SQLite does not open a truncated file.
        self._database.execute("PRAGMA writable_schema=ON")
        rows = self._database.execute("SELECT id, name, type FROM topics")
        self.connections = [_Connection(*row) for row in rows]

    def messages(self, connections: Collection[Any]) -> Iterator[tuple[Any, int, bytes]]:
        by_id = {connection.id: connection for connection in connections}
        marks = ", ".join("?" * len(by_id))
        rows = self._database.execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({marks}) ORDER BY id",
            list(by_id),
        )
        for topic_id, receive_ns, data in rows:
            yield by_id[topic_id], receive_ns, data


def _choose(bag: _Bag, wanted: Topics) -> dict[str, _Topic]:
    """The topic of each role that the bag has.

    Raises:
        DatasetError: a required or requested topic is missing or of another type.
    """
    chosen: dict[str, _Topic] = {}
    for role, name in wanted._asdict().items():
        if name == "none" and role in _OPTIONAL:
            continue
        if name is None and role == "camera_info":
            name = _beside(chosen["image"].name)
            if _Topic(name, _TYPES[role][0]) not in bag.topics:
                continue
        topic = _find(bag, role, name)
        if topic is not None:
            chosen[role] = topic
    return chosen


def _beside(image_topic: str) -> str:
    """The topic on which drivers publish a camera's calibration."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"


def _find(bag: _Bag, role: str, name: str | None) -> _Topic | None:
    option = "--" + role.replace("_", "-")
    if name is not None:
        found = [topic for topic in bag.topics if topic.name.lstrip("/") == name.lstrip("/")]
    else:
        found = _by_default_name(bag, role)
    fitting = [topic for topic in found if topic.type in _TYPES[role]]
    if len(fitting) == 1:
        return fitting[0]
    if name is None and not found and role in _OPTIONAL:
        return None
    if len(fitting) > 1:
        raise DatasetError(
            f"{bag.path}: several topics could be {role} ({_listed(fitting)}); "
            f"choose one with {option}"
        )
    types = " or ".join(_TYPES[role])
    if found:
        what = f"topic {found[0].name} is a {found[0].type}, but {role} must be a {types}"
    else:
        what = f"there is no topic {name or role}"
    others = [topic for topic in bag.topics if topic.type in _TYPES[role]]
    remedy = f"choose with {option} from {_listed(others)}" if others else f"record a {types}"
    raise DatasetError(f"{bag.path}: {what}; {remedy}")


def _by_default_name(bag: _Bag, role: str) -> list[_Topic]:
    for name in (role, "image/compressed") if role == "image" else (role,):
        exact = [topic for topic in bag.topics if topic.name == f"/{name}"]
        found = exact or [topic for topic in bag.topics if topic.name.endswith(f"/{name}")]
        if found:
            return found
    return []


def _listed(topics: Sequence[_Topic]) -> str:
    return ", ".join(topic.name for topic in topics)


# From messages to frames


def _decoded(message: Any) -> Rgb:
    """The pixels of a sensor_msgs/Image or CompressedImage; raises ImageError."""
    if hasattr(message, "encoding"):
        m = message
        return image.decode(m.data, m.width, m.height, m.step, m.encoding)
    return image.decode_compressed(message.data)


class _Feed:
    """Puts a bag's messages on one clock and passes them to a `Resampler`."""

    def __init__(
        self,
        bag: _Bag,
        chosen: dict[str, _Topic],
        profile: RobotProfile,
        save: Callable[[Episode], None],
        tally: Tally,
    ) -> None:
        """Raises DatasetError if a required topic has no message."""
        self._tally = tally
        self._bag = bag
        self._camera = CameraView(ImageSpec(hfov_deg=profile.camera.hfov_deg), profile.camera)
        self._lag_s = 0.0  # from the stamp of odometry to its receive time
        self._resampler = Resampler(profile, save, tally)
        for role in ("image", "cmd_vel"):
            bag.first(chosen[role])
        receive_s, odometry = bag.first(chosen["odom"])
        self._lag_s = receive_s - self._stamp_s(receive_s, odometry)
        if "camera_info" in chosen:  # arrives with the pictures, but maybe after the first
            with suppress(DatasetError):
                self._calibrate(bag.first(chosen["camera_info"])[1])

    def __call__(self, role: str, receive_s: float, message: Any) -> None:
        if role == "odom":
            self._odometry(receive_s, message)
            return
        stamp_s = self._stamp_s(receive_s, message)
        if role == "image":
            self._resampler.picture(stamp_s, lambda: self._pixels(message))
        elif role == "cmd_vel":
            twist = getattr(message, "twist", message)
            self._command(stamp_s, twist.linear.x, twist.angular.z)
        elif role == "bumper":
            self._resampler.bumper(stamp_s, bool(message.data))
        else:
            self._calibrate(message)

    def finish(self) -> None:
        """Call at the end of the bag."""
        self._resampler.finish()

    def _stamp_s(self, receive_s: float, message: Any) -> float:
        if hasattr(message, "header"):
            stamp = message.header.stamp
            if stamp.sec or stamp.nanosec:
                return stamp.sec + stamp.nanosec * 1e-9
        return receive_s - self._lag_s

    def _odometry(self, receive_s: float, message: Any) -> None:
        pose, twist = message.pose.pose, message.twist.twist
        q = pose.orientation
        sine = 2 * (q.w * q.z + q.x * q.y)
        cosine = q.w * q.w + q.x * q.x - q.y * q.y - q.z * q.z
        place = (pose.position.x, pose.position.y, math.atan2(sine, cosine))
        values = (*place, twist.linear.x, twist.angular.z)
        if not _are_numbers(*values) or not (sine or cosine):
            self._tally.dropped["odometry messages with invalid numbers"] += 1
            return
        self._lag_s = 0.0  # odometry without a stamp is dated by its receive time
        stamp_s = self._stamp_s(receive_s, message)
        self._lag_s = receive_s - stamp_s
        self._resampler.odometry(stamp_s, *values)

    def _command(self, stamp_s: float, linear: float, angular: float) -> None:
        if _are_numbers(linear, angular):
            self._resampler.command(stamp_s, linear, angular)
        else:
            self._tally.dropped["commands with invalid numbers"] += 1

    def _calibrate(self, info: Any) -> None:
        try:
            self._camera.calibrate(info)
        except ImageError as error:
            raise DatasetError(
                f"{self._bag.path}: {error}; --camera-info none uses the profile's camera instead"
            ) from error

    def _pixels(self, message: Any) -> Rgb | None:
        try:
            return self._camera(_decoded(message))
        except ImageError as error:
            self._tally.dropped["unusable pictures"] += 1
            self._tally.unusable = self._tally.unusable or str(error)
            return None


def _are_numbers(*values: float) -> bool:
    return all(abs(value) < 1e9 for value in values)  # neither NaN nor absurd


@dataclass
class _Picture:
    stamp_s: float
    decode: Callable[[], Rgb | None]

    @cached_property
    def pixels(self) -> Rgb | None:
        """None if it cannot be used. Decoded on demand: a fast camera sends more than needed."""
        return self.decode()


class Resampler:
    """Makes episodes of 10 Hz frames from stamped messages that arrive roughly in time order.

    Stamps are in seconds on one clock. A picture belongs to its nearest tick; odometry is
    interpolated at its stamp; the command is the mean of what was in force from its stamp to the
    next picture's, zero where the last command is older than the driver's timeout; the bump says
    whether the bumper was pressed since the previous picture. `save` gets every episode, in order.
    """

    def __init__(
        self, profile: RobotProfile, save: Callable[[Episode], None], tally: Tally
    ) -> None:
        self._limits, self._timeout_s = profile.limits, profile.driver_timeout_s
        self._save, self._tally = save, tally
        self._frames: list[tuple[float, Rgb]] = []
        self._held: _Picture | None = None
        self._tick_s = 0.0
        self._odometry, self._commands, self._bumps = (
            deque[tuple[float, ...]](maxlen=_MAX_ROWS) for _ in range(3)
        )

    def picture(self, stamp_s: float, decode: Callable[[], Rgb | None]) -> None:
        """`decode` is called at most once; if it returns None, the picture is ignored."""
        before_s = self._last_picture_s()
        if before_s is not None and stamp_s <= before_s:
            if before_s - stamp_s <= MAX_GAP_S:
                return
            self._start_over()
            before_s = None
        elif before_s is not None and stamp_s - before_s > MAX_GAP_S:
            self._end(f"pictures were missing for over {MAX_GAP_S} s")
            before_s = None
        if before_s is None:
            self._tick_s = stamp_s
        self._fill_ticks(_Picture(stamp_s, decode))
        if len(self._frames) >= MAX_FRAMES + _WAIT_FRAMES:
            self._emit(MAX_FRAMES)  # but keep the newest, whose odometry may still arrive

    def odometry(
        self, stamp_s: float, x: float, y: float, yaw: float, linear: float, angular: float
    ) -> None:
        """m and rad in a fixed frame, m/s and rad/s of the robot."""
        row, rows = (stamp_s, x, y, yaw, linear, angular), self._odometry
        if rows and stamp_s <= rows[-1][0]:
            if rows[-1][0] - stamp_s <= MAX_GAP_S:
                return
            self._start_over()
        elif rows and (fault := _fault(rows[-1], row, self._limits)):
            self._split(rows[-1][0], stamp_s, fault)
            rows.clear()
        rows.append(row)
        if not self._frames:
            self._forget(stamp_s - _KEEP_S)

    def command(self, stamp_s: float, linear: float, angular: float) -> None:
        """m/s and rad/s."""
        self._append(self._commands, stamp_s, linear, angular)

    def bumper(self, stamp_s: float, pressed: bool) -> None:
        self._append(self._bumps, stamp_s, float(pressed))

    def finish(self) -> None:
        """Call after the last message."""
        self._emit(len(self._frames))

    def _append(self, rows: deque[tuple[float, ...]], stamp_s: float, *values: float) -> None:
        if rows and rows[-1][0] - stamp_s > MAX_GAP_S:
            self._start_over()
        elif rows:  # a small step back is jitter: keep the order of arrival
            stamp_s = max(stamp_s, rows[-1][0])
        rows.append((stamp_s, *values))

    def _last_picture_s(self) -> float | None:
        if self._held is not None:
            return self._held.stamp_s
        return self._frames[-1][0] if self._frames else None

    def _fill_ticks(self, new: _Picture) -> None:
        while self._tick_s <= new.stamp_s:
            chosen, held = new, self._held
            if held is not None:
                age_s = self._tick_s - held.stamp_s
                if age_s <= MAX_AGE_S and age_s <= new.stamp_s - self._tick_s:
                    chosen = held
            if chosen.pixels is not None:
                self._frames.append((chosen.stamp_s, chosen.pixels))
                self._tick_s += PERIOD_S
            elif chosen is new:
                return
            else:
                self._held = None
        self._held = new

    def _end(self, why: str) -> None:
        if self._frames:
            self._tally.ended[why] += 1
        self.finish()
        self._held = None

    def _start_over(self) -> None:
        self._end("time jumped back")
        for rows in (self._odometry, self._commands, self._bumps):
            rows.clear()

    def _split(self, before_s: float, after_s: float, why: str) -> None:
        """Odometry is not continuous from `before_s` to `after_s`."""
        if self._frames:
            self._tally.ended[why] += 1
        self._emit(sum(stamp_s <= before_s for stamp_s, _ in self._frames))
        lost = sum(stamp_s < after_s for stamp_s, _ in self._frames)
        self._drop(lost, "frames without odometry")
        del self._frames[:lost]

    def _drop(self, frames: int, what: str) -> None:
        if frames:
            self._tally.dropped[what] += frames

    def _emit(self, count: int) -> None:
        """Save the first `count` frames, an uninterrupted drive."""
        while count:
            part = min(count, MAX_FRAMES)
            frames, self._frames = self._frames[:part], self._frames[part:]
            self._emit_episode(frames)
            count -= part

    def _emit_episode(self, frames: list[tuple[float, Rgb]]) -> None:
        next_s = self._frames[0][0] if self._frames else frames[-1][0] + PERIOD_S
        edges_s = np.array([*(stamp_s for stamp_s, _ in frames), next_s])
        odometry = np.array(self._odometry).reshape(-1, 6)
        known = np.flatnonzero(_covered(odometry[:, 0], edges_s[:-1]))
        self._drop(len(frames) - len(known), "frames without odometry")
        if len(known) < MIN_FRAMES:
            self._drop(
                len(known), f"frames in stretches of less than {MIN_FRAMES * PERIOD_S:.0f} s"
            )
        else:
            first, end = known[0], known[-1] + 1
            self._save(
                Episode(
                    np.stack([pixels for _, pixels in frames[first:end]]),
                    _interpolated(odometry, edges_s[first:end]),
                    _mean_command(self._commands, edges_s[first : end + 1], self._timeout_s),
                    _pressed(self._bumps, edges_s[first:end]),
                )
            )
        self._forget(next_s - 2 * PERIOD_S)

    def _forget(self, before_s: float) -> None:
        """Drop rows that are not needed from `before_s` on, but keep the last one before it."""
        for rows in (self._odometry, self._commands, self._bumps):
            while len(rows) > 1 and rows[1][0] <= before_s:
                rows.popleft()


def _fault(before: tuple[float, ...], after: tuple[float, ...], limits: Limits) -> str:
    """Why two odometry rows (stamp, x, y, yaw, ...) are not continuous; empty if they are."""
    gap_s = after[0] - before[0]
    if gap_s > MAX_GAP_S:
        return f"odometry was missing for over {MAX_GAP_S} s"
    fastest = 1.5 * max(limits.linear_max_mps, -limits.linear_min_mps)
    moved = math.hypot(after[1] - before[1], after[2] - before[2])
    turned = abs(math.remainder(after[3] - before[3], math.tau))
    # 1.5 times the limits, plus 5 cm or 0.1 rad for rounding and corrections.
    if moved > fastest * gap_s + 0.05 or turned > 1.5 * limits.angular_max_radps * gap_s + 0.1:
        return "odometry jumped by more than the robot can drive"
    return ""


def _covered(known_s: np.ndarray, stamps_s: np.ndarray) -> np.ndarray:
    if not len(known_s):
        return np.zeros(len(stamps_s), bool)
    return (stamps_s >= known_s[0]) & (stamps_s <= known_s[-1])


def _interpolated(odometry: np.ndarray, stamps_s: np.ndarray) -> np.ndarray:
    """(T, 5) float32 from rows (stamp, x, y, yaw, v, w); yaw is continuous."""
    odometry[:, 3] = np.unwrap(odometry[:, 3])
    columns = [np.interp(stamps_s, odometry[:, 0], column) for column in odometry.T[1:]]
    return np.stack(columns, 1).astype(np.float32)


def _mean_command(
    commands: Collection[tuple[float, ...]], edges_s: np.ndarray, timeout_s: float
) -> np.ndarray:
    """(T, 2) float32: the mean command (v, w) between consecutive edges (T + 1,).

    `commands` are rows (stamp, v, w), each in force until the next one or the timeout.
    """
    if not commands:
        return np.zeros((len(edges_s) - 1, 2), np.float32)
    origin_s = edges_s[0]  # stamps since 1970 would leave few digits for an integral
    rows = np.array(commands)
    starts = rows[:, 0] - origin_s
    ends = np.minimum(starts + timeout_s, np.append(starts[1:], np.inf))
    # The integral grows from start to end, then stays constant until the next start.
    knots = np.stack([starts, ends], 1).ravel()
    grown = np.cumsum(rows[:, 1:] * (ends - starts)[:, None], 0)
    integral = np.stack([np.concatenate([np.zeros((1, 2)), grown[:-1]]), grown], 1).reshape(-1, 2)
    begin = edges_s[:-1] - origin_s
    # If a picture serves two ticks, no time passes: take the command of that moment.
    end = np.maximum(edges_s[1:] - origin_s, begin + 1e-3)
    means = [
        (np.interp(end, knots, column) - np.interp(begin, knots, column)) / (end - begin)
        for column in integral.T
    ]
    return np.stack(means, 1).astype(np.float32)


def _pressed(bumps: Collection[tuple[float, ...]], stamps_s: np.ndarray) -> np.ndarray:
    """(T,) uint8: pressed at the frame, or by a message since the previous frame.

    `bumps` are rows (stamp, pressed).
    """
    rows = np.array(bumps).reshape(-1, 2)
    presses = np.concatenate([[0.0], np.cumsum(rows[:, 1])])
    state = np.concatenate([[0.0], rows[:, 1]])
    since = np.searchsorted(rows[:, 0], [stamps_s[0] - PERIOD_S, *stamps_s], side="right")
    hit = [presses[b] > presses[a] for a, b in pairwise(since)]
    return (np.array(hit) | (state[since[1:]] > 0)).astype(np.uint8)
