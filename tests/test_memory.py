"""The memory of places: places, names, edges, routes, change of encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foresight.apps.cli import app
from foresight.memory import Places, PlacesError, costs
from foresight.memory.index import LatentIndex
from memories import ENCODER, NOW, SIZE, corridor, latent, opened, picture

HOUR = 3600.0


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with opened(tmp_path / "places.db") as memory:
        yield memory


# ----- places -----------------------------------------------------------------------------------


def test_finds_a_place_by_its_latent_and_returns_its_picture(places: Places) -> None:
    ids = corridor(places, 20)
    found, distances = places.nearest(latent(7), 3)
    assert found[0] == ids[7] and distances[0] < 0.01
    assert np.all(np.diff(distances) >= 0) and len(found) == 3
    assert np.abs(places.picture(ids[7]).astype(int) - 7).max() <= 2
    assert np.allclose(places.latents([ids[7]])[0], latent(7), atol=2e-3)


def test_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path / "places.db") as memory:
        ids = corridor(memory, 10)
        memory.name("Küche 🍳", ids[4])
        memory.visit(ids[3], (9, 8, 7), NOW + 99)
        before = memory.table(), memory.edge_table(), memory.place(ids[3])
    with opened(tmp_path / "places.db") as memory:
        assert np.array_equal(memory.table(), before[0])
        assert np.array_equal(np.sort(memory.edge_table()), np.sort(before[1]))
        assert memory.place(ids[3]) == before[2] and before[2].visits == 2
        assert memory.names == {"Küche 🍳": ids[4]}
        assert memory.nearest(latent(4), 1)[0] == [ids[4]]
        assert np.abs(memory.picture(ids[4]).astype(int) - 4).max() <= 2


def test_each_start_is_a_new_odometry_session(tmp_path: Path) -> None:
    sessions = []
    for _ in range(3):
        with opened(tmp_path / "places.db") as memory:
            place = memory.add(latent(0), picture(), (0, 0, 0))
            sessions.append(memory.place(place).session)
    assert len(set(sessions)) == 3


def test_never_reuses_a_place_number(tmp_path: Path) -> None:
    with opened(tmp_path / "places.db") as memory:
        first = memory.add(latent(0), picture(), (0, 0, 0))
        memory.remove(first)
        second = memory.add(latent(1), picture(), (0, 0, 0))
        memory.remove(second)
    with opened(tmp_path / "places.db") as memory:
        third = memory.add(latent(2), picture(), (0, 0, 0))
        assert len({first, second, third}) == 3 and len(memory) == 1


@pytest.mark.parametrize(
    "bad", [latent(0)[:-1], latent(0)[None], np.full(SIZE, np.nan), np.full(SIZE, 1e9)]
)
def test_refuses_an_invalid_latent(places: Places, bad: np.ndarray) -> None:
    with pytest.raises(PlacesError, match="latent"):
        places.add(bad, picture(), (0, 0, 0))
    with pytest.raises(PlacesError, match="latent"):
        places.nearest(bad, 1)
    assert len(places) == 0


def test_refuses_invalid_pictures_and_poses(places: Places) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    for image in (noise, picture().astype(float), picture()[..., 0]):
        with pytest.raises(PlacesError, match="picture"):
            places.add(latent(0), image, (0, 0, 0))
    for pose in ((0, 0), (0, 0, np.nan), (1e9, 0, 0)):
        with pytest.raises(PlacesError, match="pose"):
            places.add(latent(0), picture(), pose)


def test_reports_unknown_places_and_edges(places: Places) -> None:
    place = places.add(latent(0), picture(), (0, 0, 0))
    for ask in (places.place, places.picture, places.remove, places.edges_from, places.costs_to):
        with pytest.raises(PlacesError, match="place 77 is not known"):
            ask(77)
    with pytest.raises(PlacesError, match="77 is not known"):
        places.connect(place, 77, 1.0, (0, 0, 0), traversed=True)
    with pytest.raises(PlacesError, match="no edge"):
        places.tried(place, place, True)


def test_an_empty_memory_answers_queries(places: Places) -> None:
    ids, distances = places.nearest(latent(0), 5)
    assert len(ids) == len(distances) == len(places.stale()) == len(places.ids) == 0


def test_a_large_index_is_exact_and_takes_changes_while_it_is_built() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(6000, SIZE)).astype(np.float16)
    index = LatentIndex(np.arange(6000, dtype=np.uint32), latents)
    index.put(6000, np.full(SIZE, 9.0))
    index.put(5, np.full(SIZE, -9.0))
    index.remove(6)
    for _ in range(2):  # while it is built (most likely), and after
        assert len(index) == 6000
        assert index.nearest(np.full(SIZE, 9.0), 1)[0] == [6000]
        assert index.nearest(np.full(SIZE, -9.0), 1)[0] == [5]
        assert index.nearest(latents[6], 1)[0] != [6]
        assert index.nearest(latents[7], 1)[0] == [7]
        index.wait()


UNCLOSED = """
import numpy as np
from foresight.memory.index import LatentIndex
index = LatentIndex(np.arange(60_000, dtype=np.uint32), np.ones((60_000, 64), np.float16))
raise SystemExit(7)
"""


def test_a_process_exits_cleanly_while_an_index_is_built() -> None:
    ran = subprocess.run([sys.executable, "-c", UNCLOSED], capture_output=True, timeout=10)
    assert (ran.returncode, ran.stderr) == (7, b"")


# ----- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "two\nlines", "\0", "\ud800"])
def test_refuses_an_invalid_name(places: Places, name: str) -> None:
    place = places.add(latent(0), picture(), (0, 0, 0))
    with pytest.raises(PlacesError, match="name"):
        places.name(name, place)
    assert not places.names


def test_a_name_means_one_place_in_every_unicode_form(places: Places) -> None:
    first, second = corridor(places, 2)
    places.name("café", first)
    places.name(" cafe\u0301 ", second)
    assert places.names == {"café": second}
    places.unname("café")
    assert not places.names and second in places
    with pytest.raises(PlacesError, match="no place is called"):
        places.unname("café")


# ----- edges and routes --------------------------------------------------------------------------


def test_a_route_takes_the_cheaper_path_and_is_none_without_one(places: Places) -> None:
    a, b, c, lonely = (places.add(latent(k), picture(), (k, 0, 0)) for k in range(4))
    places.connect(a, b, 2.0, (1, 0, 0), traversed=True)
    places.connect(b, c, 2.0, (1, 0, 0), traversed=True)
    places.connect(a, c, 9.0, (2, 0, 0), traversed=True)
    route = places.route(a, c)
    assert route and route.places == [a, b, c]
    assert route.expected_s == pytest.approx(4.0, rel=0.1)
    assert places.route(c, a) is None and places.route(lonely, c) is None
    at_goal = places.route(c, c)
    assert at_goal and at_goal.places == [c] and at_goal.expected_s == 0


def test_avoids_an_edge_that_failed_and_later_tries_it_again(places: Places) -> None:
    ids = corridor(places, 3)
    places.connect(ids[0], ids[2], 6.0, (2, 0, 0), traversed=True, now=NOW)

    def route(now: float) -> list[int]:
        found = places.route(ids[0], ids[2], now)
        assert found
        return found.places

    assert route(NOW) == ids
    for _ in range(3):
        places.tried(ids[1], ids[2], False, now=NOW)
    assert route(NOW) == [ids[0], ids[2]]
    assert route(NOW + 24 * HOUR) == ids


def test_an_edge_that_only_fails_stays_passable(places: Places) -> None:
    ids = corridor(places, 3)
    for _ in range(20):
        places.tried(ids[0], ids[1], False, now=NOW)
    route = places.route(ids[0], ids[2], NOW)
    assert route and route.places == ids


def test_a_route_from_a_belief_starts_at_the_likeliest_place(places: Places) -> None:
    ids = corridor(places, 5)
    lonely = places.add(latent(50), picture(), (0, 0, 0))
    route = places.route({ids[0]: 0.2, ids[2]: 0.5, lonely: 0.3}, ids[4], NOW)
    far, near = places.route(ids[0], ids[4], NOW), places.route(ids[2], ids[4], NOW)
    assert route and far and near and route.places == ids[2:]
    assert route.expected_s == pytest.approx((0.2 * far.expected_s + 0.5 * near.expected_s) / 0.7)


def test_costs_to_a_goal_equal_those_of_the_routes(places: Places) -> None:
    ids = corridor(places, 6)
    field = places.costs_to(ids[5], NOW)
    assert np.all(np.diff(field.costs[np.argsort(field.ids)]) < 0)
    assert field.cost(ids[5]) == 0
    assert [field.following(place) for place in ids] == [*ids[1:], None]


def test_costs_to_a_goal_are_a_snapshot(places: Places) -> None:
    ids = corridor(places, 6)
    field = places.costs_to(ids[5], NOW)
    before = field.cost(ids[0])
    places.remove(ids[2], NOW)
    new = places.add(latent(60), picture(), (0, 0, 0))  # in the slot of the forgotten one
    places.connect(new, ids[5], 1.0, (0, 0, 0), traversed=True)
    assert field.cost(ids[0]) == before and field.cost(new) == float("inf")
    assert field.route(ids[0]) is None and field.following(new) is None
    after, later = field.route(ids[3]), places.route(new, ids[5])
    assert after and after.places == ids[3:] and later and later.places == [new, ids[5]]


def test_an_inferred_edge_never_replaces_a_driven_one(places: Places) -> None:
    a, b = corridor(places, 2)
    places.connect(a, b, 50.0, (5, 0, 0), traversed=False)
    edge = places.edge(a, b)
    assert edge and edge.traversed and edge.seconds == 2.0 and edge.displacement == (1, 0, 0)


def test_an_inferred_edge_takes_its_true_time_once_driven(places: Places) -> None:
    a, b = (places.add(latent(k), picture(), (k, 0, 0)) for k in range(2))
    places.connect(a, b, 50.0, (1, 0, 0), traversed=False, now=NOW)
    places.tried(a, b, True, 3.0, NOW)
    edge = places.edge(a, b)
    assert edge and edge.traversed and edge.seconds == 3.0 and edge.successes == 1
    places.tried(a, b, True, 5.0, NOW)
    edge = places.edge(a, b)
    assert edge and edge.seconds == pytest.approx(4.0)


def test_refuses_invalid_edges(places: Places) -> None:
    a, b = corridor(places, 2)
    for seconds in (0.0, -1.0, np.nan, np.inf, 1e6):
        with pytest.raises(PlacesError, match="takes more than 0 s"):
            places.connect(a, b, seconds, (0, 0, 0), traversed=True)
    with pytest.raises(PlacesError, match="to itself"):
        places.connect(a, a, 1.0, (0, 0, 0), traversed=True)


def test_a_failure_fades_to_a_third_within_its_time_constant() -> None:
    assert costs.faded(1.0, NOW, NOW + costs.FADE_S) == pytest.approx(np.exp(-1))
    assert costs.faded(1.0, NOW, NOW - 50) == 1.0, "a clock that was set back adds nothing"


# ----- changing the encoder ---------------------------------------------------------------------


def test_re_embeds_places_of_an_older_encoder_from_their_pictures(tmp_path: Path) -> None:
    with opened(tmp_path / "places.db") as memory:
        ids = corridor(memory, 10)
        memory.name("here", ids[5])

    def encode(images: np.ndarray) -> np.ndarray:
        return np.repeat(images.mean((1, 2, 3))[:, None], 3, 1)

    with opened(tmp_path / "places.db", encoder="newer", size=3) as memory:
        assert memory.stale().tolist() == ids[::-1], "the last seen first"
        assert len(memory.nearest(np.zeros(3), 9)[0]) == 0
        assert memory.route(ids[0], ids[9], NOW), "routes need no latents"
        left = [memory.re_embed(encode, batch=4) for _ in range(3)]
        assert left == [6, 2, 0]
    with opened(tmp_path / "places.db", encoder="newer", size=3) as memory:
        assert len(memory.stale()) == 0 and memory.names == {"here": ids[5]}
        assert memory.nearest(np.full(3, 5.0), 1)[0] == [ids[5]]
        assert memory.place(ids[0]).encoder == "newer"


def test_refuses_an_encoder_with_other_outputs(tmp_path: Path) -> None:
    with opened(tmp_path / "places.db") as memory:
        corridor(memory, 2)
    with opened(tmp_path / "places.db", encoder="newer") as memory:
        with pytest.raises(PlacesError, match="shape"):
            memory.re_embed(lambda images: np.zeros((len(images), SIZE + 1)))
        with pytest.raises(PlacesError, match="1 latents came of 2 pictures"):
            memory.re_embed(lambda images: np.zeros((1, SIZE)))
        assert len(memory.stale()) == 2
    with pytest.raises(PlacesError, match=f"made latents of {SIZE}"):
        opened(tmp_path / "places.db", ENCODER, SIZE + 1)


# ----- the command line -------------------------------------------------------------------------


def test_command_shows_checks_and_exports_while_a_robot_runs(tmp_path: Path) -> None:
    path, out = tmp_path / "places.db", tmp_path / "new" / "places.json"
    with opened(path) as memory:
        ids = corridor(memory, 5)
        memory.name("Küche", ids[2])
        memory.flush()
        shown = CliRunner().invoke(app, ["memory", "show", str(path)])
        assert shown.exit_code == 0, shown.output
        assert "Küche" in shown.output and "8 driven" in shown.output
        assert (tmp_path / "places.png").stat().st_size > 10_000
        checked = CliRunner().invoke(app, ["memory", "check", str(path)])
        assert checked.exit_code == 0 and "intact, 5 places" in checked.output
        written = CliRunner().invoke(app, ["memory", "export", str(path), "--out", str(out)])
        assert written.exit_code == 0, written.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["names"] == {"Küche": ids[2]}
    assert len(found["places"]) == 5 and len(found["edges"]) == 8
    assert found["edges"][0]["seconds"] == 2.0 and found["places"][0]["encoder"] == ENCODER


def test_command_shows_an_empty_memory(tmp_path: Path) -> None:
    opened(tmp_path / "places.db").close()
    shown = CliRunner().invoke(app, ["memory", "show", str(tmp_path / "places.db")])
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("command", ["show", "check", "export"])
def test_command_reports_faults_in_one_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.db").write_bytes(b"nothing of the kind")
    out = ["--out", str(tmp_path / "out.json")] if command == "export" else []
    for name, words in (("bad.db", "no file of places"), ("none.db", "no such file")):
        result = CliRunner().invoke(app, ["memory", command, str(tmp_path / name), *out])
        assert result.exit_code == 1
        assert words in result.output and len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "none.db").exists()


def test_bench_times_every_size(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    sizes = ["--places", "100", "--places", "300"]
    result = CliRunner().invoke(app, ["bench", "--what", "memory", *sizes, "--json", str(out)])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())["memory"]
    assert set(found["by_places"]) == {"100", "300"}
    assert 0 < found["p50_ms"] <= found["p95_ms"] and found["limit_ratio"] > 0
    assert found["p50_ms"] == found["by_places"]["300"]["nearest_p50_ms"]
    assert "added a" in result.output and "300" in result.output
