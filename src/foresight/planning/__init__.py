"""Choosing actions by imagining what they would cause."""

from foresight.planning.belief import Belief, BeliefTracker
from foresight.planning.navigator import NavigationStep, Navigator, Status, scan_points
from foresight.planning.world_model import Imagined, WorldModel

__all__ = [
    "Belief",
    "BeliefTracker",
    "Imagined",
    "NavigationStep",
    "Navigator",
    "Status",
    "WorldModel",
    "scan_points",
]
