"""How long a differential drive needs over free floor: what distances are taught and planned in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CRUISE_MPS, _REVERSE_MPS, _TURN_RADPS = 0.4, 0.18, 1.1
_SLACK_M = 0.12  # below this, turning towards a point makes no sense


def travel_seconds(offset: Tensor) -> Tensor:
    """Time to reach a displacement over free floor: (..., 4: x m, y m, sin and cos of yaw) -> s."""
    x, y, sin, cos = offset.unbind(-1)
    return seconds_to_pose(x, y, torch.atan2(sin, cos))


def seconds_to_pose(x: Tensor, y: Tensor, yaw: Tensor) -> Tensor:
    """As `travel_seconds`, of (...) m, m, rad.

    Turn, drive, turn, forwards or in reverse, whichever is quicker.
    """
    yaw = _wrap(yaw)
    gap = torch.stack([x, y]).norm(dim=0)  # hypot has no ONNX counterpart
    share = gap.square() / (gap.square() + _SLACK_M**2)
    bearing = torch.atan2(y, x)

    def manoeuvre(heading: Tensor, speed: float) -> Tensor:
        turns = _wrap(heading).abs() + _wrap(yaw - heading).abs()
        return gap / speed + (share * turns + (1 - share) * yaw.abs()) / _TURN_RADPS

    forwards = manoeuvre(bearing, _CRUISE_MPS)
    return torch.minimum(forwards, manoeuvre(bearing + math.pi, _REVERSE_MPS))


def _wrap(angle: Tensor) -> Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
