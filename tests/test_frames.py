"""Static transforms are put together to where a sensor sits, and what contradicts is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foresight.perception.frames import FrameError, FrameTree, rigid

LEVEL = (0.0, 0.0, 0.0, 1.0)


def turned(yaw_rad: float) -> tuple[float, float, float, float]:
    return 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)


def test_a_sensor_on_a_mast_sits_where_the_chain_of_frames_puts_it() -> None:
    tree = FrameTree()
    tree.add("base_link", "mast", rigid((0.1, 0.0, 0.5), turned(math.pi / 2)))
    tree.add("mast", "laser", rigid((0.2, 0.0, 0.1), turned(math.pi / 2)))
    pose = tree.pose("laser", "base_link")
    assert pose is not None
    assert pose[:3, 3] == pytest.approx([0.1, 0.2, 0.6])
    assert pose[:3, 0] == pytest.approx([-1.0, 0.0, 0.0], abs=1e-12)  # x looks back


def test_frames_are_followed_against_their_direction_too() -> None:
    """base_link may hang below another frame, as base_footprint, from which the sensor hangs."""
    tree = FrameTree()
    tree.add("base_footprint", "base_link", rigid((0.0, 0.0, 0.1), turned(0.3)))
    tree.add("base_footprint", "laser", rigid((0.2, 0.0, 0.3), turned(0.3)))
    pose = tree.pose("laser", "base_link")
    assert pose is not None
    assert pose[:3, 3] == pytest.approx([0.2 * math.cos(0.3), -0.2 * math.sin(0.3), 0.2])
    assert pose[:3, :3] == pytest.approx(np.eye(3))


def test_a_frame_that_nothing_connects_is_unknown() -> None:
    tree = FrameTree()
    tree.add("base_link", "camera", rigid((0.1, 0.0, 0.2), LEVEL))
    tree.add("other_base", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    assert tree.pose("laser", "base_link") is None
    assert tree.pose("nowhere", "base_link") is None
    assert tree.pose("base_link", "base_link") == pytest.approx(np.eye(4))


def test_leading_slashes_make_no_difference() -> None:
    tree = FrameTree()
    tree.add("/base_link", "/laser", rigid((0.1, 0.0, 0.2), LEVEL))
    assert tree.pose("/laser", "base_link") == pytest.approx(tree.pose("laser", "/base_link"))


def test_a_transform_that_is_sent_again_replaces_the_old_one() -> None:
    tree = FrameTree()
    tree.add("base_link", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    before = tree.version
    tree.add("base_link", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    assert tree.version == before
    tree.add("base_link", "laser", rigid((0.3, 0.0, 0.2), LEVEL))
    assert tree.version > before
    pose = tree.pose("laser", "base_link")
    assert pose is not None and pose[0, 3] == pytest.approx(0.3)


def test_two_parents_of_a_sensor_are_told() -> None:
    tree = FrameTree()
    tree.add("base_link", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    tree.add("base_footprint", "base_link", rigid((0.0, 0.0, 0.1), LEVEL))
    tree.add("mast", "laser", rigid((0.0, 0.0, 0.2), LEVEL))
    with pytest.raises(FrameError, match="'laser' has more than one parent.*'base_link' and 'mast"):
        tree.pose("laser", "base_link")


def test_two_parents_of_the_robot_do_not_matter_to_a_sensor_below_it() -> None:
    tree = FrameTree()
    tree.add("base_link", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    tree.add("odom", "base_link", rigid((0.0, 0.0, 0.0), LEVEL))
    tree.add("map", "base_link", rigid((1.0, 0.0, 0.0), LEVEL))
    pose = tree.pose("laser", "base_link")
    assert pose is not None and pose[0, 3] == pytest.approx(0.1)


def test_a_circle_of_frames_is_told() -> None:
    tree = FrameTree()
    tree.add("base_link", "mast", rigid((0.1, 0.0, 0.2), LEVEL))
    tree.add("mast", "laser", rigid((0.1, 0.0, 0.2), LEVEL))
    tree.add("laser", "base_link", rigid((0.1, 0.0, 0.2), LEVEL))
    with pytest.raises(FrameError, match="circle"):
        tree.pose("laser", "base_link")


@pytest.mark.parametrize(("parent", "child"), [("", "laser"), ("base_link", "/"), ("a", "/a")])
def test_a_frame_without_a_name_or_within_itself_is_refused(parent: str, child: str) -> None:
    with pytest.raises(FrameError, match="correct its publisher"):
        FrameTree().add(parent, child, np.eye(4))


@pytest.mark.parametrize(
    ("translation", "rotation"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        ((math.nan, 0.0, 0.0), LEVEL),
        ((0.0, 0.0, 0.0), (0.0, 0.0, math.inf, 1.0)),
    ],
)
def test_numbers_that_are_no_pose_are_refused(
    translation: tuple[float, ...], rotation: tuple[float, ...]
) -> None:
    with pytest.raises(FrameError, match="are no pose"):
        rigid(translation, rotation)


def test_a_rotation_of_any_length_is_the_same_rotation() -> None:
    doubled = tuple(2.0 * part for part in turned(0.7))
    assert rigid((0.0, 0.0, 0.0), doubled) == pytest.approx(rigid((0.0, 0.0, 0.0), turned(0.7)))
