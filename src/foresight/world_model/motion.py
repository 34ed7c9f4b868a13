"""How bodies move, as PyTorch computes it: where actions lead, and how long a way takes.

What distances are taught in, and what plans are judged by, on free floor. A new kind of body brings
a `Motion` of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from foresight.bodies import AnyBody
from foresight.bodies.differential_drive import TravelSpeeds

_SLACK_M = 0.12  # below this, turning towards a point makes no sense
# 2 atan(t) for |t| <= 1 to 4e-6: odd powers from the first on, least largest error.
_TWICE_ATAN = (1.9999513, -0.6651704, 0.3865874, -0.2315639, 0.1038470, -0.022855073)


class Motion(Protocol):
    """The kinematics of a body. Poses are x m, y m and heading rad in the robot's frame at the
    start, axes of REP-103."""

    def path(self, horizon: int, action_s: float) -> nn.Module:
        """A module that takes actions (N, H, A), each held for `action_s`, and gives the poses on
        the way: x, y, heading, each (2H, N), halfway through each action and at its end."""
        ...

    def seconds(self, offset: Tensor) -> Tensor:
        """Time (...) to a displacement (..., 4): x m, y m, sin and cos of yaw."""
        ...

    def seconds_from(self, x: Tensor, y: Tensor, heading: Tensor, goal: Tensor) -> Tensor:
        """Time (H, N) from poses, each (H, N), to the pose `goal` (3,)."""
        ...


def motion_of(body: AnyBody) -> Motion:
    """How a body of any kind moves."""
    return DifferentialMotion(body.travel)


@dataclass(frozen=True)
class DifferentialMotion:
    """Of a differential drive: it turns, drives straight on, and turns again."""

    speeds: TravelSpeeds

    def path(self, horizon: int, action_s: float) -> nn.Module:
        """See `Motion`."""
        return Unicycle(horizon, action_s)

    def seconds(self, offset: Tensor) -> Tensor:
        """See `Motion`."""
        x, y, sin, cos = offset.unbind(-1)
        first, last = angle(x, y), angle(x * cos + y * sin, x * sin - y * cos)
        gap = (x.square() + y.square()).sqrt()
        return self._turn_drive_turn(gap, first, last, angle(cos, sin))

    def seconds_from(self, x: Tensor, y: Tensor, heading: Tensor, goal: Tensor) -> Tensor:
        """See `Motion`. The same as `seconds`, but one call for all angles."""
        goal_x, goal_y, goal_yaw = goal.unbind()
        way_x, way_y = goal_x - x, goal_y - y
        now_x, now_y = heading.cos(), heading.sin()
        then_x, then_y = goal_yaw.cos().expand_as(x), goal_yaw.sin().expand_as(x)
        # Angles from the heading to the way, from the way to the goal's heading, from first to last
        from_x, from_y = torch.cat([now_x, way_x, now_x]), torch.cat([now_y, way_y, now_y])
        to_x, to_y = torch.cat([way_x, then_x, then_x]), torch.cat([way_y, then_y, then_y])
        turns = angle(from_x * to_x + from_y * to_y, from_x * to_y - from_y * to_x)
        gap = (way_x.square() + way_y.square()).sqrt()
        return self._turn_drive_turn(gap, *turns.chunk(3))

    def _turn_drive_turn(self, gap: Tensor, first: Tensor, last: Tensor, yaw: Tensor) -> Tensor:
        """Seconds (...) to a pose `gap` m away, forwards or in reverse, whichever is quicker.

        first, last, yaw: angles (...) from 0 to pi, between the robot's heading and the way there,
        the way and the heading at the end, and the two headings.
        """
        cruise_mps, reverse_mps = self.speeds.cruise_mps, self.speeds.reverse_mps
        turn_radps = self.speeds.turn_radps
        squared = gap.square()
        share = squared / (squared + _SLACK_M**2)
        turns = share * (first + last)
        quickest = gap / cruise_mps + turns / turn_radps
        if reverse_mps > 0:
            reverse = gap / reverse_mps + (2 * math.pi * share - turns) / turn_radps
            quickest = torch.minimum(quickest, reverse)
        return quickest + (1 - share) * (yaw / turn_radps)


class Unicycle(nn.Module):
    """Actions (N, H, 2) m/s, rad/s -> x, y, heading, see `Motion.path`."""

    turned: Tensor
    driven: Tensor

    def __init__(self, horizon: int, action_s: float) -> None:
        super().__init__()
        # Halves of actions: the turn up to the middle of each, then up to its end; the stride.
        half = torch.eye(horizon).repeat_interleave(2, 0) * (action_s / 2)
        after = half.cumsum(0)
        self.register_buffer("turned", torch.cat([after - half / 2, after]))
        self.register_buffer("driven", half)

    def forward(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        speed, rate = actions.permute(2, 1, 0)
        middle, heading = (self.turned @ rate).chunk(2)
        stride = self.driven @ speed
        x, y = (stride * middle.cos()).cumsum(0), (stride * middle.sin()).cumsum(0)
        return x, y, heading


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
