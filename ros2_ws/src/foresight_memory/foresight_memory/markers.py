"""The remembered places as markers, for viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from foresight.memory import Places
from foresight_node import ForesightNode, Worker
from foresight_node.messages import LATCHED

PERIOD_S = 2.0
MOST_EDGES = 5000
"""More would keep the node from its work; the newest places' edges are shown."""
_PLACE_M, _LINE_M, _NAME_M, _NAME_ABOVE_M = 0.08, 0.015, 0.2, 0.3
_PLACE = ColorRGBA(r=0.2, g=0.6, b=1.0, a=1.0)
_DRIVEN = ColorRGBA(r=0.2, g=0.6, b=1.0, a=0.6)
_INFERRED = ColorRGBA(r=0.7, g=0.7, b=0.7, a=0.3)
_NAME = ColorRGBA(r=1.0, g=0.9, b=0.3, a=1.0)


class PlaceMarkers:
    """Publishes `places` while somebody listens; made in a memory node's `configure`."""

    def __init__(
        self, node: ForesightNode[Any], worker: Worker, places: Places, frame: Callable[[], str]
    ) -> None:
        """
        Args:
            worker: the only one that touches `places`.
            frame: the odometry frame, as it is called now.
        """
        self._worker, self._places, self._frame = worker, places, frame
        self._publisher = node.advertise(MarkerArray, "places", LATCHED)
        node.every(PERIOD_S, self._publish)

    def _publish(self) -> None:
        if self._publisher.get_subscription_count():
            places, frame = self._places, self._frame()
            markers = self._worker.call(
                lambda: place_markers(
                    places.table(), places.edge_table(), places.names, places.session, frame
                )
            )
            self._publisher.publish(markers)


def place_markers(
    places: np.ndarray, edges: np.ndarray, names: Mapping[str, int], session: int, frame: str
) -> MarkerArray:
    """Places, the edges between them and their names, where odometry has put them.

    Odometry of other sessions had another origin: their places are shown once the robot has been
    there in this one.

    Args:
        places, edges: rows of `records.PLACE` and `records.EDGE`.
        frame: of odometry.
    """
    here = places[places["session"] == session]
    at = {int(row["id"]): Point(x=float(row["x"]), y=float(row["y"])) for row in here}
    markers = [
        Marker(action=Marker.DELETEALL),  # names that were taken away
        _lines(Marker.SPHERE_LIST, 0, list(at.values()), _PLACE, _PLACE_M),
    ]
    known = np.isin(edges["a"], here["id"]) & np.isin(edges["b"], here["id"])
    shown = edges[known]
    shown = shown[np.argsort(-np.maximum(shown["a"], shown["b"]).astype(int))][:MOST_EDGES]
    for number, traversed, colour in ((1, 1, _DRIVEN), (2, 0, _INFERRED)):
        some = shown[shown["traversed"] == traversed]
        ends = [at[int(end)] for a, b in zip(some["a"], some["b"], strict=True) for end in (a, b)]
        markers.append(_lines(Marker.LINE_LIST, number, ends, colour, _LINE_M))
    for number, (name, place) in enumerate(sorted(names.items()), start=3):
        if place in at:
            text = Marker(type=Marker.TEXT_VIEW_FACING, id=number, text=name, color=_NAME)
            text.scale.z = _NAME_M
            text.pose.position = Point(x=at[place].x, y=at[place].y, z=_NAME_ABOVE_M)
            markers.append(text)
    for marker in markers:
        marker.header.frame_id, marker.ns = frame, "places"
        marker.pose.orientation.w = 1.0
    return MarkerArray(markers=markers)


def _lines(kind: int, number: int, points: list[Point], colour: ColorRGBA, size_m: float) -> Marker:
    marker = Marker(type=kind, id=number, points=points, color=colour)
    marker.scale.x = marker.scale.y = marker.scale.z = size_m
    return marker
