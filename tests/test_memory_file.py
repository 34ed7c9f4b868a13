"""What the file of places promises: nothing older than a second is lost, nothing bad is opened or
overwritten. FORESIGHT_KILLS=100 lets the test of kills kill that many times."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foresight.memory import PlacesError, inspection
from foresight.memory.records import checksums
from memories import ENCODER, SIZE, corridor, latent, opened, picture

KILLS = int(os.environ.get("FORESIGHT_KILLS", "10"))
SIDE_BY_SIDE = 5
PROMISED_S = 1.0


def content(path: Path) -> list:
    """Everything that a file holds except pictures."""
    found = inspection.read(path)
    return [
        found.places.tolist(),
        found.edges.tolist(),
        found.latents,
        sorted(found.names.items()),
        [found.encoders, found.encoders_of.tolist(), found.next_place],
    ]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file with 200 places."""
    path = tmp_path / "places.db"
    with opened(path) as memory:
        ids = corridor(memory, 200)
        memory.name("here", ids[7])
    assert not Path(f"{path}-wal").exists(), "a closed file is one file"
    return path


# ----- killed -----------------------------------------------------------------------------------


def write_steadily(path: str, log: str) -> None:
    """Add places, edges and names until killed; print a line with progress and time after each."""
    places = opened(Path(path), capacity=10**6)
    journal = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    last, count, end = None, 0, time.monotonic() + 30
    while time.monotonic() < end:
        place = places.add(latent(count), picture(count), (count, 0, 0))
        name = f"name {count % 7}"
        places.name(name, place)
        if last is not None:
            places.connect(last, place, 1.0, (1, 0, 0), traversed=True)
            places.visit(last)
        done = {"at": time.monotonic(), "place": place, "after": last, "name": name}
        os.write(journal, (json.dumps(done) + "\n").encode())
        last, count = place, count + 1
        time.sleep(0.004)


def kill_one(path: Path, log: Path, after_s: float) -> Callable[[], int]:
    """Start a writer. The result kills it, checks its file, and returns how much was kept."""
    log.unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["foresight.memory", "memories"])
    writer = context.Process(target=write_steadily, args=(str(path), str(log)), daemon=True)
    writer.start()
    end = time.monotonic() + after_s

    def finish() -> int:
        time.sleep(max(0.0, end - time.monotonic()))
        os.kill(writer.pid or 0, signal.SIGKILL)
        killed = time.monotonic()
        writer.join()
        lines = log.read_text().splitlines() if log.exists() else []
        whole = [json.loads(line) for line in lines]
        return check_kept(path, [done for done in whole if done["at"] < killed - PROMISED_S])

    return finish


def check_kept(path: Path, promised: list[dict]) -> int:
    if promised:
        assert {done["place"] for done in promised} <= {row[0] for row in content(path)[0]}
    with opened(path, capacity=10**6) as places:
        edges = {(int(row["a"]), int(row["b"])) for row in places.edge_table()}
        for done in promised:
            assert done["place"] in places
            assert done["after"] is None or (done["after"], done["place"]) in edges
            assert places.names[done["name"]] >= done["place"]
        if promised:
            places.picture(promised[-1]["place"])
    return len(promised)


@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_loses_at_most_the_last_second(tmp_path: Path) -> None:
    """The same few files are written, killed and opened over and over."""
    draw = random.Random(KILLS)
    kept = 0
    for begin in range(0, KILLS, SIDE_BY_SIDE):
        finishes = [
            kill_one(tmp_path / f"{k}.db", tmp_path / f"{k}.log", draw.uniform(0.0, 2.5))
            for k in range(min(SIDE_BY_SIDE, KILLS - begin))
        ]
        kept += sum(finish() for finish in finishes)
    assert kept > 0
    for path in tmp_path.glob("*.db"):
        inspection.check(path)


def test_a_change_is_on_disk_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "places.db"
    with opened(path) as memory:
        place = memory.add(latent(0), picture(), (0, 0, 0))
        time.sleep(PROMISED_S)
        assert [row[0] for row in content(path)[0]] == [place]


# ----- damaged, foreign, newer --------------------------------------------------------------------


def refused(path: Path, match: str = "") -> None:
    """Every way of opening it refuses it in one sentence and leaves it as it is."""
    before = path.read_bytes()
    for use in (opened, inspection.check):
        with pytest.raises(PlacesError, match=match) as failure:
            use(path)
        assert str(path) in str(failure.value) and "\n" not in str(failure.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0003, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_refuses_a_truncated_file(written: Path, share: float) -> None:
    os.truncate(written, int(share * written.stat().st_size))
    refused(written)


def test_refuses_a_file_with_an_empty_page(written: Path) -> None:
    page = 8192
    whole = written.read_bytes()
    for number in range(0, len(whole) // page, 5):
        written.write_bytes(whole[: number * page] + bytes(page) + whole[(number + 1) * page :])
        refused(written)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_are_detected_or_change_nothing(written: Path, seed: int) -> None:
    draw = random.Random(seed)
    whole, sound = written.read_bytes(), content(written)
    pictures = [bytes_of(written, place) for place in (0, 50, 199)]
    found = 0
    for _ in range(25):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        written.write_bytes(flipped)
        try:
            inspection.check(written)
        except PlacesError:
            found += 1
        else:
            assert content(written) == sound
            assert [bytes_of(written, place) for place in (0, 50, 199)] == pictures
    assert found > 5


def bytes_of(path: Path, place: int) -> bytes:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT jpeg FROM views WHERE id = ?", (place,)).fetchone()[0]


def test_refuses_other_files(tmp_path: Path) -> None:
    garbage, other = tmp_path / "garbage", tmp_path / "other.db"
    garbage.write_bytes(random.Random(0).randbytes(100_000))
    refused(garbage, "no file of places")
    garbage.write_bytes(b"SQLite format 3\0" + random.Random(0).randbytes(100_000))
    refused(garbage)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    refused(other, "none of places")


def altered(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


def test_refuses_a_newer_format(written: Path) -> None:
    refused(altered(written, "PRAGMA user_version = 2"), "update Foresight")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON places BEGIN DELETE FROM edges; END", "its tables"),
        ("DROP TABLE names", "its tables"),
        ("UPDATE edges SET seconds = -1", "checksum"),
        ("UPDATE edges SET seconds = 3 WHERE a = 0", "checksum"),
        ("UPDATE places SET x = 9e999", "checksum"),
        ("UPDATE views SET latent = x'0000'", "latent"),
        ("UPDATE views SET latent = zeroblob(100000)", "latent"),
        ("UPDATE views SET jpeg = zeroblob(100000)", "picture"),
        ("UPDATE views SET encoder = 2", "latent"),
        ("UPDATE names SET place = 3", "checksum"),
        ("DELETE FROM views WHERE id = 3", "do not go together"),
        ("DELETE FROM counters; DELETE FROM encoders", "latent"),
    ],
)
def test_refuses_a_file_with_impossible_contents(written: Path, statement: str, words: str) -> None:
    refused(
        altered(written, *statement.split("; ") if "TRIGGER" not in statement else [statement]),
        words,
    )


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seconds", -1.0, "takes no time"),
        ("seconds", np.inf, "seconds is out of bounds"),
        ("x", 1e7, "x is out of bounds"),
        ("b", 0, "where it began"),
    ],
)
def test_refuses_impossible_numbers_whatever_their_checksum(
    written: Path, field: str, value: float, words: str
) -> None:
    edge = inspection.read(written).edges[:1]  # from place 0 to place 1
    edge[field] = value
    checksum = int(checksums(edge)[0])
    key = "a = 0 AND b = 1"
    number = "9e999" if value == np.inf else str(value)
    altered(written, f"UPDATE edges SET {field} = {number}, checksum = {checksum} WHERE {key}")
    refused(written, words)


def test_refuses_edges_to_missing_places(written: Path) -> None:
    altered(written, "DELETE FROM places WHERE id = 3", "DELETE FROM views WHERE id = 3")
    refused(written, "place that is not there")


def test_moves_a_damaged_file_aside_on_request(written: Path) -> None:
    os.truncate(written, 50_000)
    bad = written.read_bytes()
    with opened(written, fresh_if_damaged=True) as memory:
        assert len(memory) == 0
        memory.add(latent(0), picture(), (0, 0, 0))
    (aside,) = written.parent.glob("places.db.damaged-*")
    assert aside.read_bytes() == bad
    with opened(written, fresh_if_damaged=True) as memory:
        assert len(memory) == 1, "a sound file is opened as ever"


def test_treats_an_empty_file_as_new(tmp_path: Path) -> None:
    (tmp_path / "places.db").touch()
    with opened(tmp_path / "places.db") as memory:
        assert len(memory) == 0


def test_a_damaged_picture_only_prevents_re_embedding_its_place(written: Path) -> None:
    altered(written, "UPDATE views SET jpeg = x'ffd8ffd9' WHERE id = 9")
    with pytest.raises(PlacesError, match="picture of place 9 is damaged"):
        inspection.check(written)
    with opened(written, encoder="newer") as memory:
        with pytest.raises(PlacesError, match="picture of place 9 is damaged"):
            memory.picture(9)
        while memory.re_embed(lambda images: np.zeros((len(images), SIZE)), 64):
            pass
        assert memory.place(9).encoder == ENCODER and memory.place(8).encoder == "newer"


# ----- several processes --------------------------------------------------------------------------


def test_refuses_a_second_robot_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "places.db"
    with opened(path) as memory:
        memory.add(latent(0), picture(), (0, 0, 0))
        for options in ({}, {"fresh_if_damaged": True}):
            with pytest.raises(PlacesError, match="another process has it open"):
                opened(path, **options)
    opened(path).close()


def test_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "places.db"
    with opened(path) as memory:
        seen = []
        for k in range(200):
            memory.add(latent(k), picture(k), (k, 0, 0))
            if k % 40 == 39:
                memory.flush()
                seen.append(len(content(path)[0]))
                inspection.check(path)
    assert seen == [40, 80, 120, 160, 200]


FULL = """
import resource, sys, time
from pathlib import Path
from memories import corridor, latent, opened, picture
path, told = Path(sys.argv[1]), []
memory = opened(path, on_error=told.append)
ids = corridor(memory, 20)
memory.flush()
limit = 300_000
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
for k in range(20, 600):
    ids.append(memory.add(latent(k), picture(k), (k, 0, 0)))
until = time.monotonic() + 10
while memory.error is None and time.monotonic() < until:
    time.sleep(0.05)
assert "cannot be written" in memory.error and "trying again" in memory.error, memory.error
try:
    memory.flush()
except ValueError as problem:
    assert "cannot be written" in str(problem)
else:
    raise AssertionError("flush says nothing")
assert memory.nearest(latent(599), 1)[0] == [ids[599]] and memory.picture(ids[599]).shape
memory.remove(ids[30])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
while memory.error is not None and time.monotonic() < until:
    time.sleep(0.05)
memory.close()
assert len(told) == 2 and told[1] is None, told
"""


def test_a_full_disk_loses_nothing_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "places.db"
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    with opened(path) as memory:
        assert len(memory) == 599
    inspection.check(path)


def test_closing_on_a_full_disk_reports_the_lost_changes(tmp_path: Path) -> None:
    script = FULL.partition("until =")[0] + "memory.close()\n"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "places.db")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1 and "cannot be written" in ran.stderr.splitlines()[-1]
    inspection.check(tmp_path / "places.db")


def test_reports_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlacesError, match="cannot be opened"):
        opened(tmp_path / "file" / "places.db")
