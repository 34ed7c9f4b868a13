"""What every Foresight node shares."""

from foresight_node.health import ERROR, OK, WARN, Health
from foresight_node.node import ForesightNode, Runnable, run
from foresight_node.parameters import ParameterError, parameter
from foresight_node.worker import Worker

__all__ = [
    "ERROR",
    "OK",
    "WARN",
    "ForesightNode",
    "Health",
    "ParameterError",
    "Runnable",
    "Worker",
    "parameter",
    "run",
]
