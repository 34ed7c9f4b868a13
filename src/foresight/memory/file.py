"""The place graph on disk: one SQLite file, checked whole when it is opened. Its format is
described in docs/memory.md."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foresight.memory.graph import Changes, Graph
from foresight.memory.records import (
    EDGE,
    MAX_JPEG_BYTES,
    MAX_LATENT,
    PLACE,
    PlacesError,
    checked_name,
    checked_rows,
    checksums,
)

SCHEMA_VERSION = 1
APPLICATION_ID = 0x46506C63  # "FPlc"
MAX_PLACES, MAX_EDGES, MAX_NAMES = 2_000_000, 20_000_000, 100_000
_BUSY_S = 5.0
_PAGE_BYTES = 8192  # three views to a page; of 4096 bytes, it would often be one
_NOT_ITS_FAULT = {  # the file's
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
_SQLITE = b"SQLite format 3\0"
_TABLES = {
    "counters": "CREATE TABLE counters (key TEXT PRIMARY KEY, value INTEGER NOT NULL, "
    "crc INTEGER NOT NULL) STRICT",
    "encoders": "CREATE TABLE encoders (number INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, "
    "latent_size INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT",
    "places": "CREATE TABLE places (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, "
    "visits INTEGER NOT NULL, x REAL NOT NULL, y REAL NOT NULL, yaw REAL NOT NULL, "
    "first_seen REAL NOT NULL, last_seen REAL NOT NULL, checksum INTEGER NOT NULL) STRICT",
    "views": "CREATE TABLE views (id INTEGER PRIMARY KEY, encoder INTEGER NOT NULL, "
    "latent BLOB NOT NULL, latent_crc INTEGER NOT NULL, jpeg BLOB NOT NULL, "
    "jpeg_crc INTEGER NOT NULL) STRICT",
    "edges": "CREATE TABLE edges (a INTEGER NOT NULL, b INTEGER NOT NULL, "
    "traversed INTEGER NOT NULL, successes INTEGER NOT NULL, failures REAL NOT NULL, "
    "tried REAL NOT NULL, seconds REAL NOT NULL, x REAL NOT NULL, y REAL NOT NULL, "
    "yaw REAL NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID",
    "names": "CREATE TABLE names (name TEXT PRIMARY KEY, place INTEGER NOT NULL, "
    "crc INTEGER NOT NULL) STRICT, WITHOUT ROWID",
}
_COLUMNS = {"places": ", ".join(PLACE.names or ()), "edges": ", ".join(EDGE.names or ())}


class BusyError(PlacesError):
    """Another process has the file open."""


class DamagedError(PlacesError):
    """The file is there, but it is not one that this version can use."""


@dataclass(frozen=True)
class EncoderRecord:
    """One that made latents of this file: its number here, digest, and latent size."""

    number: int
    digest: str
    latent_size: int


@dataclass(frozen=True)
class Contents:
    """All that a file holds, less the pictures. Rows are in ascending order of id.

    places: (N,) PLACE. encoders_of: (N,) uint32. latents: N times bytes, float16. edges: (E,) EDGE.
    """

    places: np.ndarray
    encoders_of: np.ndarray
    latents: list[bytes]
    edges: np.ndarray
    names: dict[str, int]
    encoders: list[EncoderRecord]
    next_place: int
    next_session: int


@dataclass
class Batch:
    """Rows to write and keys to remove, in one transaction."""

    places: np.ndarray
    edges: np.ndarray
    latents: list[tuple[int, int, bytes]]  # id, encoder, latent
    views: list[tuple[int, int, bytes, bytes]]  # with the picture
    names: dict[str, int]
    counters: dict[str, int]
    gone_places: list[int] = field(default_factory=list)
    gone_edges: list[tuple[int, int]] = field(default_factory=list)
    gone_names: list[str] = field(default_factory=list)


def gather(graph: Graph, changes: Changes) -> Batch:
    """What has to be written so that the file holds the present state of what changed."""
    slots, there = graph.slots, graph.slots.__contains__
    present = [slots[place] for place in changes.places if there(place)]
    rows = {pair: graph.edge(*pair) for pair in changes.edges}
    kept = [row for row in rows.values() if row is not None]

    def view(place: int) -> tuple[int, int, bytes]:
        slot = slots[place]
        return place, int(graph.encoders[slot]), graph.latents[slot].tobytes()

    new = changes.pictures
    return Batch(
        places=graph.places[present],
        edges=np.array(kept, EDGE),
        latents=[view(place) for place in changes.latents if there(place) and place not in new],
        views=[(*view(place), jpeg) for place, jpeg in new.items() if there(place)],
        names={name: graph.names[name] for name in changes.names if name in graph.names},
        counters={"next_place": graph.next_place, "next_session": graph.next_session},
        gone_places=[place for place in changes.places if not there(place)],
        gone_edges=[pair for pair, row in rows.items() if row is None],
        gone_names=[name for name in changes.names if name not in graph.names],
    )


class PlacesFile:
    """An open file: either the one that may write it, or a reader beside it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int | None) -> None:
        self.path, self._connection, self._lock = path, connection, lock

    @classmethod
    def open(cls, path: Path) -> PlacesFile:
        """For reading and writing, made if it is not there; one process at a time.

        Raises:
            PlacesError: another process has it open, or it cannot be used.
        """
        lock = _locked(path)
        try:
            connection = _checked(path, _connect(path, writing=True), writing=True)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, connection, lock)

    @classmethod
    def read(cls, path: Path) -> PlacesFile:
        """For reading only, also while a robot writes it.

        Raises:
            PlacesError: it is not there or cannot be used.
        """
        if not path.exists():
            raise PlacesError(f"{path}: there is no such file")
        return cls(path, _checked(path, _connect(path, writing=False), writing=False), None)

    @classmethod
    def reader(cls, path: Path) -> PlacesFile:
        """A second connection to a file that this process has open and checked."""
        return cls(path, _connect(path, writing=False), None)

    def contents(self) -> Contents:
        """All of it, as of one moment, checked.

        Raises:
            DamagedError: it is damaged.
        """
        try:
            self._connection.execute("BEGIN")
            return _contents(self._connection)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            raise DamagedError(f"{self.path}: damaged ({error}); {_REMEDY}") from error
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def picture(self, place: int) -> bytes:
        """The JPEG of a place.

        Raises:
            PlacesError: there is none, or it is damaged.
        """
        try:
            row = self._connection.execute(
                "SELECT jpeg, jpeg_crc FROM views WHERE id = ?", (place,)
            ).fetchone()
        except sqlite3.Error as error:
            raise PlacesError(f"{self.path}: cannot read a picture ({error})") from error
        if row is None:
            raise PlacesError(f"{self.path}: no picture of place {place}")
        if len(row[0]) > MAX_JPEG_BYTES or zlib.crc32(row[0], place) != row[1]:
            raise PlacesError(f"{self.path}: the picture of place {place} is damaged")
        return row[0]

    def add_encoder(
        self, digest: str, latent_size: int, known: list[EncoderRecord]
    ) -> EncoderRecord:
        """The entry of an encoder, made if it is not among the `known` ones.

        Raises:
            PlacesError: the file cannot be written, or knows the digest with another latent size.
        """
        for encoder in known:
            if encoder.digest == digest:
                if encoder.latent_size != latent_size:
                    raise PlacesError(
                        f"{self.path}: encoder {digest[:12]} made latents of "
                        f"{encoder.latent_size} here, not of {latent_size}"
                    )
                return encoder
        added = EncoderRecord(1 + max((e.number for e in known), default=0), digest, latent_size)
        try:
            with self._connection:
                self._connection.execute(
                    _insert("encoders", 4), _with_crc(added.number, digest, latent_size)
                )
        except sqlite3.Error as error:
            raise PlacesError(f"{self.path}: cannot be written ({error})") from error
        return added

    def write(self, batch: Batch) -> None:
        """All of it or nothing.

        Raises:
            sqlite3.Error: it cannot be written, e.g. the disk is full.
        """
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            many = connection.executemany
            many("DELETE FROM edges WHERE a = ? AND b = ?", batch.gone_edges)
            many("DELETE FROM names WHERE name = ?", [(name,) for name in batch.gone_names])
            for table in ("places", "views"):
                many(f"DELETE FROM {table} WHERE id = ?", [(id,) for id in batch.gone_places])
            many(_insert("places", 9), _with_checksums(batch.places))
            many(_insert("edges", 11), _with_checksums(batch.edges))
            many(_insert("views", 6), (_with_crcs(*view) for view in batch.views))
            many(
                "UPDATE views SET encoder = ?, latent = ?, latent_crc = ? WHERE id = ?",
                ((made, blob, zlib.crc32(blob, made), id) for id, made, blob in batch.latents),
            )
            many(_insert("names", 3), (_with_crc(*item) for item in batch.names.items()))
            many(_insert("counters", 3), (_with_crc(*item) for item in batch.counters.items()))

    def close(self) -> None:
        """Let go of file and lock."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


_REMEDY = "move it away, or open it with fresh_if_damaged, which does so"


def set_aside(path: Path) -> Path:
    """Move a file that cannot be used out of the way, with what SQLite keeps beside it.

    Returns:
        its new path, which ends with a time stamp.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S") + f".{time.time_ns() % 10**9:09d}"
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    # the log first: left behind, it would be taken for the new file's
    for ending in ("-wal", "-shm", ""):
        source = Path(f"{path}{ending}")
        if source.exists():
            source.rename(f"{target}{ending}")
    return target


# ----- opening -----------------------------------------------------------------------------------


def _locked(path: Path) -> int:
    """A descriptor that holds the lock until it is closed or the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PlacesError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise BusyError(
            f"{path}: another process has it open; stop that one first (reading works beside it)"
        ) from None
    return lock


def _connect(path: Path, writing: bool) -> sqlite3.Connection:
    """Raises: DamagedError: it is no SQLite file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
    except FileNotFoundError:
        head = b""
    except OSError as error:
        raise PlacesError(f"{path}: cannot be read ({error.strerror})") from error
    if head and head != _SQLITE:
        raise DamagedError(f"{path}: no file of places; {_REMEDY}")
    try:
        return sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={'rwc' if writing else 'ro'}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise PlacesError(f"{path}: cannot be opened ({error})") from error


def _checked(path: Path, connection: sqlite3.Connection, writing: bool) -> sqlite3.Connection:
    """The connection, if the file is one of ours or new and empty; else it is closed."""
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        _check_size(path, connection)
        if writing:
            if _is_empty(connection):
                _create(connection)
            else:
                _check_ours(path, connection)
                connection.execute("PRAGMA journal_mode = WAL")
            # every commit is synced: a loss of power costs no more than a kill does
            connection.execute("PRAGMA synchronous = FULL")
        else:
            _check_ours(path, connection)
        _check_sound(path, connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in _NOT_ITS_FAULT:
            raise PlacesError(f"{path}: cannot be used ({error})") from error
        raise DamagedError(f"{path}: damaged ({error}); {_REMEDY}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _value(connection: sqlite3.Connection, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]


def _is_empty(connection: sqlite3.Connection) -> bool:
    """So it is when it is new, and when its maker was killed before it was made."""
    return (
        _value(connection, "PRAGMA application_id") == 0
        and _value(connection, "PRAGMA user_version") == 0
        and _value(connection, "SELECT count(*) FROM sqlite_schema") == 0
    )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_size(path: Path, connection: sqlite3.Connection) -> None:
    """SQLite itself does not miss pages that a truncated file has lost until it needs them."""
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        return  # the newest pages may be in the log only
    told = _value(connection, "PRAGMA page_count") * _value(connection, "PRAGMA page_size")
    size = path.stat().st_size
    if size < told:
        raise DamagedError(f"{path}: {size} bytes of {told} are left, it is truncated; {_REMEDY}")


def _check_ours(path: Path, connection: sqlite3.Connection) -> None:
    if _value(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise DamagedError(f"{path}: a SQLite file, but none of places; {_REMEDY}")
    version = _value(connection, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise DamagedError(
            f"{path}: of format {version}, newer than this version's {SCHEMA_VERSION}; "
            f"update Foresight"
        )
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL LIMIT 50")
    if version != SCHEMA_VERSION or dict(found.fetchall()) != _TABLES:
        raise DamagedError(f"{path}: its tables are not those of format {version}; {_REMEDY}")


def _check_sound(path: Path, connection: sqlite3.Connection) -> None:
    for table, limit in {
        "places": MAX_PLACES,
        "edges": MAX_EDGES,
        "names": MAX_NAMES,
        "encoders": 1000,
    }.items():
        count = _value(connection, f"SELECT count(*) FROM {table}")
        if count > limit:
            raise DamagedError(f"{path}: {count} {table}, more than {limit}, refused")
    problem = _value(connection, "PRAGMA quick_check(1)")
    if problem != "ok":
        problem = " ".join(str(problem).removeprefix("*** in database main ***").split())
        raise DamagedError(f"{path}: damaged ({problem}); {_REMEDY}")


# ----- reading -----------------------------------------------------------------------------------


def _contents(connection: sqlite3.Connection) -> Contents:
    encoders = [EncoderRecord(*row) for row in _small(connection, "encoders")]
    if any(not 0 < e.latent_size <= MAX_LATENT or len(e.digest) > 128 for e in encoders):
        raise PlacesError("an encoder's entry is out of bounds")
    places, edges = _rows(connection, "places", PLACE), _rows(connection, "edges", EDGE)
    checked_rows(places, edges)
    encoders_of, latents = _latents(connection, encoders, places["id"])
    names = dict(_small(connection, "names"))
    if any(checked_name(name) != name for name in names):
        raise PlacesError("a name is not in normal form")
    counters = dict(_small(connection, "counters"))
    highest = int(places["id"].max(initial=0)) if len(places) else -1
    return Contents(
        places,
        encoders_of,
        latents,
        edges,
        names,
        encoders,
        max(counters.get("next_place", 0), highest + 1),
        max(counters.get("next_session", 0), int(places["session"].max(initial=0))),
    )


def _small(connection: sqlite3.Connection, table: str) -> list[tuple]:
    """Rows of a table whose last column is a checksum, without that."""
    rows = connection.execute(f"SELECT * FROM {table} LIMIT {MAX_NAMES}").fetchall()
    if any(row != _with_crc(*row[:-1]) for row in rows):
        raise PlacesError(f"{table}: a row does not match its checksum")
    return [row[:-1] for row in rows]


def _rows(connection: sqlite3.Connection, table: str, dtype: np.dtype) -> np.ndarray:
    key = "id" if table == "places" else "a, b"
    kept = np.dtype([*dtype.descr, ("checksum", "i8")])
    found = np.fromiter(
        connection.execute(f"SELECT {_COLUMNS[table]}, checksum FROM {table} ORDER BY {key}"), kept
    )
    rows = np.empty(len(found), dtype)
    for name in dtype.names or ():
        rows[name] = found[name]
    if not np.array_equal(checksums(rows), found["checksum"]):
        raise PlacesError(f"{table}: a row does not match its checksum")
    return rows


def _latents(
    connection: sqlite3.Connection, encoders: list[EncoderRecord], ids: np.ndarray
) -> tuple[np.ndarray, list[bytes]]:
    longest = _value(connection, "SELECT max(length(jpeg)) FROM views") or 0
    if longest > MAX_JPEG_BYTES:
        raise PlacesError(f"a picture of {longest} bytes, more than {MAX_JPEG_BYTES}")
    longest = _value(connection, "SELECT max(length(latent)) FROM views") or 0
    if longest > 2 * MAX_LATENT:
        raise PlacesError(f"a latent of {longest} bytes, more than {2 * MAX_LATENT}")
    rows = connection.execute(
        "SELECT id, encoder, latent, latent_crc FROM views ORDER BY id"
    ).fetchall()
    if [row[0] for row in rows] != ids.tolist():
        raise PlacesError("places and views do not go together")
    sizes = {encoder.number: 2 * encoder.latent_size for encoder in encoders}
    for _, encoder, latent, crc in rows:
        if len(latent) != sizes.get(encoder) or zlib.crc32(latent, encoder) != crc:
            raise PlacesError("a latent does not match its encoder or its checksum")
    return np.array([row[1] for row in rows], np.uint32), [row[2] for row in rows]


# ----- writing -----------------------------------------------------------------------------------


def _insert(table: str, columns: int) -> str:
    named = f" ({_COLUMNS[table]}, checksum)" if table in _COLUMNS else ""
    return f"INSERT OR REPLACE INTO {table}{named} VALUES ({', '.join('?' * columns)})"


def _with_crc(*values: object) -> tuple:
    return (*values, zlib.crc32(repr(values).encode()))


def _with_crcs(place: int, encoder: int, latent: bytes, jpeg: bytes) -> tuple:
    """A row of views; each checksum begins with what the blob belongs to."""
    return place, encoder, latent, zlib.crc32(latent, encoder), jpeg, zlib.crc32(jpeg, place)


def _with_checksums(rows: np.ndarray) -> list[tuple]:
    return [
        (*row, checksum)
        for row, checksum in zip(rows.tolist(), checksums(rows).tolist(), strict=True)
    ]
