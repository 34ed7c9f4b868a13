"""A lifecycle node that does nothing, as a process; its name comes from a remapping."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from foresight_node import ForesightNode, run


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


if __name__ == "__main__":
    sys.exit(run(lambda: ForesightNode("idle", Nothing)))
