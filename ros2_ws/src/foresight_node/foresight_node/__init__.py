"""What every Foresight node shares."""

from foresight_node.health import ERROR, OK, WARN, Health
from foresight_node.node import ForesightNode, Runnable, run
from foresight_node.parameters import (
    BundleParameters,
    ParameterError,
    RobotParameters,
    parameter,
)
from foresight_node.worker import Worker

__all__ = [
    "ERROR",
    "OK",
    "WARN",
    "BundleParameters",
    "ForesightNode",
    "Health",
    "ParameterError",
    "RobotParameters",
    "Runnable",
    "Worker",
    "parameter",
    "run",
]
