"""A robot's description takes every length from its profile, and its frames are the simulator's."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import xacro
import yaml
from builtin_interfaces.msg import Time

from foresight.bodies.profile import RobotProfile
from foresight.perception.camera_mount import CameraMount
from foresight.perception.frames import FrameTree, rigid
from foresight.perception.scan import ScanMount
from foresight_sim.sim_node import CAMERA_FRAME, SCAN_FRAME, static_transforms

DESCRIPTION = Path(__file__).parents[2] / "ros2_ws/src/foresight_description/urdf/robot.urdf.xacro"
PUBLISHER = """#!{python}
import json, pathlib, rclpy
rclpy.init()
options = {{"automatically_declare_parameters_from_overrides": True}}
node = rclpy.create_node("robot_state_publisher", **options)
told = {{
    "robot": node.get_parameter("robot_description").value,
    "sim": node.get_parameter("use_sim_time").value,
    "tf_static": node.resolve_topic_name("/tf_static"),
}}
pathlib.Path("{told}").write_text(json.dumps(told))
"""
"""Stands in for robot_state_publisher, which the wheels lack: tells what it was started with."""
OTHERS: dict[str, dict[str, Any]] = {
    "homebot": {},
    "turned": {"scan": {"mount": {"x_m": 0.1, "y_m": -0.05, "z_m": 0.3, "yaw_deg": 90.0}}},
    "upside down": {"scan": {"mount": {"z_m": 0.2, "yaw_deg": -30.0, "upside_down": True}}},
    "looking down": {"camera": {"x_m": 0.2, "z_m": 0.5, "pitch_deg": 25.0}},
    "large": {
        "footprint_radius_m": 0.4,
        "drive": {"wheel_radius_m": 0.1, "wheel_separation_m": 0.6},
    },
}
"""What differs from the shipped profile."""


@pytest.fixture(params=OTHERS)
def profile(request: pytest.FixtureRequest, homebot: Path, tmp_path: Path) -> Path:
    content = yaml.safe_load(homebot.read_text())
    for key, value in OTHERS[request.param].items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def described(profile: Path, **arguments: str) -> ElementTree.Element:
    """The URDF of the robot of a profile."""
    mappings = {"profile": str(profile), **arguments}
    return ElementTree.fromstring(xacro.process_file(str(DESCRIPTION), mappings=mappings).toxml())


def turned(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """A rotation (4, 4) by URDF's angles about fixed axes, rad: x first, z last."""
    pose = np.eye(4)
    for axis, angle in ((2, yaw), (1, pitch), (0, roll)):
        q = math.sin(angle / 2) * np.eye(3)[axis]
        pose = pose @ rigid((0.0, 0.0, 0.0), (*q, math.cos(angle / 2)))
    return pose


def frames(robot: ElementTree.Element) -> FrameTree:
    tree = FrameTree()
    for joint in robot.iter("joint"):
        origin = joint.find("origin")
        pose = turned(*map(float, origin.get("rpy", "0 0 0").split()))
        pose[:3, 3] = [float(number) for number in origin.get("xyz").split()]
        tree.add(joint.find("parent").get("link"), joint.find("child").get("link"), pose)
    return tree


def test_camera_and_scanner_are_where_the_profile_mounts_them(profile: Path) -> None:
    tree, robot = frames(described(profile)), RobotProfile.load(profile)
    camera = CameraMount.of_pose(tree.pose("camera_optical_frame", "base_link"))
    wanted = CameraMount.of_profile(robot.camera)
    assert vars(camera) == pytest.approx(vars(wanted), abs=1e-9)
    pose = tree.pose("laser", "base_link")
    assert vars(ScanMount.of_pose(pose)) == pytest.approx(vars(ScanMount.of_profile(robot.scan)))
    assert pose[2, 3] == robot.scan.mount.z_m


def test_wheels_and_footprint_are_as_large_as_the_profile_says(profile: Path) -> None:
    described_robot, robot = described(profile), RobotProfile.load(profile)
    tree = frames(described_robot)
    for side, sign in (("left", 1), ("right", -1)):
        place = tree.pose(f"{side}_wheel", "base_link")[:3, 3]
        half, radius = robot.drive.wheel_separation_m / 2, robot.drive.wheel_radius_m
        assert place == pytest.approx([0.0, sign * half, radius])
    links = {link.get("name"): link for link in described_robot.iter("link")}
    sizes = {
        name: {float(shape.get("radius")) for shape in links[name].iter("cylinder")}
        for name in ("chassis", "left_wheel", "right_wheel")
    }
    assert sizes["chassis"] == {robot.footprint_radius_m}
    assert sizes["left_wheel"] == sizes["right_wheel"] == {robot.drive.wheel_radius_m}


def test_its_frames_are_those_that_the_simulated_robot_publishes(profile: Path) -> None:
    """Both may run at once: no frame gets two parents, nor another pose."""
    robot = described(profile)
    joints = {
        joint.find("child").get("link"): joint.find("parent").get("link")
        for joint in robot.iter("joint")
    }
    tree = frames(robot)
    published = static_transforms(RobotProfile.load(profile), Time()).transforms
    assert {each.child_frame_id for each in published} == {CAMERA_FRAME, SCAN_FRAME}
    for each in published:
        assert joints[each.child_frame_id] == each.header.frame_id
        at, q = each.transform.translation, each.transform.rotation
        pose = rigid((at.x, at.y, at.z), (q.x, q.y, q.z, q.w))
        found = tree.pose(each.child_frame_id, each.header.frame_id)
        np.testing.assert_allclose(found, pose, atol=1e-9)


@pytest.mark.parametrize("wheels", ["fixed", "continuous"])
def test_it_is_one_tree_of_links(homebot: Path, wheels: str) -> None:
    robot = described(homebot, wheels=wheels)
    links = [link.get("name") for link in robot.iter("link")]
    children = [joint.find("child").get("link") for joint in robot.iter("joint")]
    parents = {joint.find("parent").get("link") for joint in robot.iter("joint")}
    assert len(links) == len(set(links)) and len(children) == len(set(children))
    assert set(links) - set(children) == {"base_link"} and parents <= set(links)
    kinds = {joint.get("name"): joint.get("type") for joint in robot.iter("joint")}
    assert kinds["left_wheel_joint"] == kinds["right_wheel_joint"] == wheels


def test_a_scanner_of_unknown_mount_is_left_out(homebot: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(homebot.read_text())
    del content["scan"]["mount"]
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    assert "laser" not in {link.get("name") for link in described(file).iter("link")}


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A robot_state_publisher; the file that it writes what it was told to."""
    program = tmp_path / "ros/lib/robot_state_publisher/robot_state_publisher"
    program.parent.mkdir(parents=True)
    told = tmp_path / "told.json"
    program.write_text(PUBLISHER.format(python=sys.executable, told=told))
    program.chmod(0o755)
    marker = tmp_path / "ros/share/ament_index/resource_index/packages/robot_state_publisher"
    marker.parent.mkdir(parents=True)
    marker.touch()
    prefixes = os.environ["AMENT_PREFIX_PATH"]
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'ros'}:{prefixes}")
    return told


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    file = Path(__file__).parents[2] / "launch" / "description.launch.py"
    command = [str(Path(sys.executable).parent / "foresight"), "launch", str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_launch_gives_robot_state_publisher_the_robot_of_the_profile(
    domain: int, publisher: Path, homebot: Path
) -> None:
    launched = launch(f"robot:={homebot}", "namespace:=robot1", "use_sim_time:=true")
    assert launched.returncode == 0, launched.stdout + launched.stderr
    told = json.loads(publisher.read_text())
    assert told["sim"] is True and told["tf_static"] == "/robot1/tf_static"
    tree = frames(ElementTree.fromstring(told["robot"]))
    wanted = CameraMount.of_profile(RobotProfile.load(homebot).camera)
    found = CameraMount.of_pose(tree.pose("camera_optical_frame", "base_link"))
    assert vars(found) == pytest.approx(vars(wanted), abs=1e-9)


@pytest.mark.skipif(
    any(
        Path(p, "lib/robot_state_publisher").exists()
        for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    ),
    reason="robot_state_publisher is installed here",
)
def test_launch_says_what_is_missing(domain: int) -> None:
    launched = launch()
    assert launched.returncode != 0
    said = launched.stdout + launched.stderr
    assert "apt install ros-jazzy-xacro ros-jazzy-robot-state-publisher" in said
    assert "Traceback" not in said
