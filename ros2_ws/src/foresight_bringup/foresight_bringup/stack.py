"""The lifecycle nodes of a robot and their manager, in one process.

stack [--without memory] --ros-args ...
"""

import argparse

from foresight_actuation.node import ActuationNode
from foresight_lifecycle.manager import LifecycleManager
from foresight_memory.node import MemoryNode
from foresight_node import run
from foresight_perception.node import PerceptionNode
from foresight_planning.node import PlanningNode
from foresight_world_model.node import WorldModelNode


def main() -> int:
    # Ended backwards: the manager first, which takes the others down, then actuation.
    memory = [] if _options().without else [MemoryNode]
    nodes = [PerceptionNode, WorldModelNode, *memory, PlanningNode, ActuationNode]
    return run(*nodes, LifecycleManager)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack")
    parser.add_argument("--without", choices=["memory"], help="a node that is left out")
    return parser.parse_known_args()[0]  # the rest is for ROS
