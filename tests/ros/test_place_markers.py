"""A viewer sees the places that the robot has been to, the edges between them, and their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import Bench
from visualization_msgs.msg import Marker, MarkerArray

from foresight.memory import Places
from foresight_memory.markers import MOST_EDGES, PlaceMarkers, place_markers
from foresight_node import ForesightNode
from foresight_node.messages import LATCHED
from memories import NOW, corridor, latent, opened, picture

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with opened(tmp_path / "places.db") as memory:
        yield memory


def drawn(places: Places) -> list[Marker]:
    rows = places.table(), places.edge_table()
    return list(place_markers(*rows, places.names, places.session, "odom").markers)


def test_places_lie_where_odometry_put_them_and_edges_join_them(places: Places) -> None:
    ids = corridor(places, 4)
    places.connect(ids[0], ids[3], 9.0, (3, 0, 0), traversed=False, now=NOW)
    cleared, spheres, driven, inferred = drawn(places)
    assert cleared.action == Marker.DELETEALL and spheres.type == Marker.SPHERE_LIST
    assert sorted((p.x, p.y) for p in spheres.points) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert driven.type == inferred.type == Marker.LINE_LIST
    assert len(driven.points) == 2 * 6 and [p.x for p in inferred.points] == [0.0, 3.0]
    assert {marker.header.frame_id for marker in (spheres, driven, inferred)} == {"odom"}
    assert len({marker.id for marker in (spheres, driven, inferred)}) == 3


def test_names_stand_over_their_places_and_go_when_they_are_taken_away(places: Places) -> None:
    ids = corridor(places, 3)
    places.name("kitchen", ids[2])
    (name,) = [marker for marker in drawn(places) if marker.type == Marker.TEXT_VIEW_FACING]
    assert (name.text, name.pose.position.x) == ("kitchen", 2.0)
    places.unname("kitchen")
    assert not [marker for marker in drawn(places) if marker.text]


def test_places_of_another_session_are_not_mixed_in(places: Places) -> None:
    ids = corridor(places, 3)
    places.begin_session()
    assert not drawn(places)[1].points
    places.visit(ids[1], (5.0, 6.0, 0.0), NOW + 9)
    assert [(p.x, p.y) for p in drawn(places)[1].points] == [(5.0, 6.0)]
    assert not drawn(places)[2].points  # the other ends are not where they were


def test_of_very_many_edges_the_newest_are_shown(places: Places) -> None:
    ids = corridor(places, 80)
    for a in ids:
        for b in ids:
            if a != b:
                places.connect(a, b, 2.0, (1, 0, 0), traversed=True, now=NOW)
    shown = drawn(places)[2].points
    assert len(shown) == 2 * MOST_EDGES
    assert max(point.x for point in shown) == 79.0


@dataclass(frozen=True)
class NoParameters:
    pass


class Memory(ForesightNode[NoParameters]):
    """As much of a memory node as the markers need."""

    def __init__(self, places: Places, **options: Any) -> None:
        super().__init__("memory", NoParameters, **options)
        self._remembered = places

    def configure(self) -> None:
        self.markers = PlaceMarkers(self, self.start_worker(), self._remembered, lambda: "odom")


def test_a_viewer_that_comes_sees_them_while_the_robot_drives_on(
    bench: Bench, places: Places
) -> None:
    corridor(places, 3)
    bench.bring_up(lambda **options: Memory(places, **options))
    seen = bench.collect(MarkerArray, "places", LATCHED)
    bench.wait_for(lambda: seen)
    places.add(latent(9), picture(9), (9.0, 0.0, 0.0), NOW + 9)
    bench.wait_for(lambda: len(seen[-1].markers[1].points) == 4)
