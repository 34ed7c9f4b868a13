"""What the robot remembers: places, the edges between them, their names; on disk, for good."""

from foresight.memory.places import CAPACITY, Places
from foresight.memory.records import Edge, Place, PlacesError
from foresight.memory.routes import Field, Route

__all__ = ["CAPACITY", "Edge", "Field", "Place", "Places", "PlacesError", "Route"]
