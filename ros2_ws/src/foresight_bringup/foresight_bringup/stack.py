"""The lifecycle nodes of a robot and their manager, in one process."""

from foresight_actuation.node import ActuationNode
from foresight_lifecycle.manager import LifecycleManager
from foresight_node import run
from foresight_perception.node import PerceptionNode
from foresight_planning.node import PlanningNode
from foresight_world_model.node import WorldModelNode


def main() -> int:
    # Ended backwards: the manager first, which takes the others down, then actuation.
    return run(PerceptionNode, WorldModelNode, PlanningNode, ActuationNode, LifecycleManager)
