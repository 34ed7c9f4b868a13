"""Poses of fixed sensors on the robot, composed from static transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class FrameError(ValueError):
    """Static transforms are contradictory or invalid; the message is one sentence."""


def bare(frame: str) -> str:
    """The name of a frame without ROS 1's leading slashes."""
    return frame.lstrip("/")


def rigid(translation_m: Sequence[float], quaternion: Sequence[float]) -> np.ndarray:
    """The transform (4, 4) of a translation (3,) m and a rotation (x, y, z, w) of any length.

    Raises:
        FrameError: a number is not finite, or the rotation has the length zero.
    """
    q = np.array(quaternion, float)
    length = float(np.linalg.norm(q))
    if not (np.isfinite(translation_m).all() and 1e-6 < length < np.inf):
        raise FrameError(f"translation {list(translation_m)} and rotation {q.tolist()} are no pose")
    x, y, z, w = q / length
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = translation_m
    return pose


class FrameTree:
    """Published static transforms; of each parent and child the newest counts.

    Attributes:
        version: changes with every transform that is new or different.
    """

    def __init__(self) -> None:
        self.version = 0
        self._parents: dict[str, dict[str, np.ndarray]] = {}

    def add(self, parent: str, child: str, pose: np.ndarray) -> None:
        """Add the pose (4, 4) of a child frame in its parent.

        Raises:
            FrameError: a frame has no name, or is its own parent.
        """
        parent, child = bare(parent), bare(child)
        if not parent or not child or parent == child:
            raise FrameError(f"a frame {child!r} in {parent!r} is none; correct its publisher")
        parents = self._parents.setdefault(child, {})
        if parent not in parents or not np.array_equal(parents[parent], pose):
            parents[parent] = pose.copy()
            self.version += 1

    def pose(self, frame: str, base: str) -> np.ndarray | None:
        """Pose (4, 4) of `frame` in `base`; None if no transforms connect them.

        Raises:
            FrameError: on the path between them, a frame has two parents or is its own ancestor.
        """
        below, fault = self._ancestors(bare(frame))
        above, other_fault = self._ancestors(bare(base))
        shared = next((name for name in below if name in above), None)
        if shared is not None:
            return np.linalg.inv(above[shared]) @ below[shared]
        if fault or other_fault:
            raise FrameError(fault or other_fault)
        return None

    def _ancestors(self, frame: str) -> tuple[dict[str, np.ndarray], str]:
        """Poses (4, 4) of a frame in itself, its parent and so on; and a fault that ends it."""
        poses, pose = {frame: np.eye(4)}, np.eye(4)
        while parents := self._parents.get(frame):
            if len(parents) > 1:
                names = " and ".join(repr(name) for name in sorted(parents))
                return poses, (
                    f"frame {frame!r} has more than one parent on tf_static, {names}; let only one "
                    f"node publish it"
                )
            ((parent, step),) = parents.items()
            if parent in poses:
                circle = " -> ".join([*poses, parent])
                raise FrameError(
                    f"frames run in a circle on tf_static: {circle}; remove one of the transforms"
                )
            pose = step @ pose
            poses[parent], frame = pose, parent
        return poses, ""
