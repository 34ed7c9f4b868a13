"""How long a differential drive needs over free floor: what distances are taught and planned in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CRUISE_MPS, _REVERSE_MPS, _TURN_RADPS = 0.4, 0.18, 1.1
_SLACK_M = 0.12  # below this, turning towards a point makes no sense
# 2 atan(t) for |t| <= 1 to 4e-6: odd powers from the first on, least largest error.
_TWICE_ATAN = (1.9999513, -0.6651704, 0.3865874, -0.2315639, 0.1038470, -0.022855073)


def travel_seconds(offset: Tensor) -> Tensor:
    """Time to reach a displacement over free floor: (..., 4: x m, y m, sin and cos of yaw) -> s."""
    x, y, sin, cos = offset.unbind(-1)
    first, last = angle(x, y), angle(x * cos + y * sin, x * sin - y * cos)
    return turn_drive_turn((x.square() + y.square()).sqrt(), first, last, angle(cos, sin))


def turn_drive_turn(gap: Tensor, first: Tensor, last: Tensor, yaw: Tensor) -> Tensor:
    """Seconds (...) to a pose that lies `gap` m away, forwards or in reverse, whichever is quicker.

    first, last, yaw: angles (...) from 0 to pi, between the robot's heading and the way there, the
    way and the heading at the end, and the two headings.
    """
    squared = gap.square()
    share = squared / (squared + _SLACK_M**2)
    turns = share * (first + last)
    forwards = gap / _CRUISE_MPS + turns / _TURN_RADPS
    reverse = gap / _REVERSE_MPS + (2 * math.pi * share - turns) / _TURN_RADPS
    return torch.minimum(forwards, reverse) + (1 - share) * (yaw / _TURN_RADPS)


def angle(ahead: Tensor, aside: Tensor) -> Tensor:
    """Between the direction (ahead, aside) and straight ahead, 0 to pi: |atan2(aside, ahead)|.

    By a polynomial, because ONNX Runtime has no arcus tangent on GPUs. Without a direction, pi / 2.
    """
    aside = aside.abs()
    length = (ahead.square() + aside.square()).sqrt()
    half = ahead / (length + aside + 1e-12)  # tangent of half of what is missing to pi / 2
    squared = half.square()
    series = torch.full_like(squared, _TWICE_ATAN[-1])
    for factor in _TWICE_ATAN[-2::-1]:
        series = series * squared + factor
    return math.pi / 2 - half * series
