"""A differential-drive robot in MuJoCo: its sensors and wheels, and the truth about it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import cv2
import mujoco
import numpy as np

from foresight.bodies.profile import RobotProfile, Scan, ScannerMount
from foresight.geometry import Pose
from foresight.interfaces import FloorPlan, Observation, OdometryReading, World
from foresight.worlds.floor_plan import free_space
from foresight.worlds.variation import NO_VARIATION, TIMESTEP_S, Variation

SCAN_HEIGHT_M = 0.16
"""Of a scanner whose profile says nothing of its mount."""
_BASE_HEIGHT_M = 0.12
# It touches things with a sphere: MuJoCo finds a cylinder centimetres deep in a box's edge and
# throws it out at metres per second. Low, so that pushing does not tip it.
_BUMPER_HEIGHT_M = 0.06
_WINDOW_S = 0.1  # over which the wheels' speed is measured
_RESET_CLEARANCE_M = 0.15  # between the footprint and the nearest obstacle


class Scene(FloorPlan, Protocol):
    """What the robot can be put into."""

    def to_mjcf(self) -> tuple[str, str, dict[str, bytes]]:
        """Elements of MJCF's `asset` and `worldbody`, and the files that they name."""
        ...


def simulate(
    scene: Scene,
    profile: RobotProfile,
    seed: int = 0,
    variation: Variation = NO_VARIATION,
    mounted_scan: bool = False,
) -> World:
    """A robot in a scene.

    Args:
        seed: draws the noise of its sensors.
        variation: how the robot and its evening differ from the profile; the scene's looks are
            those of the scene.
        mounted_scan: see `foresight.worlds.make`.

    Raises:
        ValueError: the scene has no room for the robot.
    """
    robot = _Robot(scene, variation.applied_to(profile), seed, variation, mounted_scan)
    return World(robot, _Truth(robot, scene))


class _Robot:
    """The environment: it obeys velocity commands as its driver would."""

    def __init__(
        self,
        scene: Scene,
        profile: RobotProfile,
        seed: int,
        variation: Variation,
        mounted_scan: bool,
    ) -> None:
        self._scene, self._profile = scene, profile
        self._noise, self._conditions = variation.noise, variation.conditions
        self._rng = np.random.default_rng([31, seed])
        xml, files = _mjcf(scene, profile)
        self._model = mujoco.MjModel.from_xml_string(xml, files)
        for lamps in (
            self._model.light_diffuse,
            self._model.vis.headlight.ambient,
            self._model.vis.headlight.diffuse,
        ):
            lamps *= self._conditions.light
        self._data = mujoco.MjData(self._model)
        self._renderer: mujoco.Renderer | None = None
        spread = self._noise.wheel_scale, self._noise.wheel_mismatch
        common, mismatch = self._rng.standard_normal(2) * spread
        self._wheel_scale = 1.0 + common + np.array([-mismatch, mismatch])
        self._chassis = self._model.geom("chassis").id
        self._base = self._model.body("base").id
        wheels = [self._model.joint(name) for name in ("left", "right")]
        self._wheel_angle = np.array([int(joint.qposadr[0]) for joint in wheels])
        self._scanner, self._beams = _scanner(profile.scan, mounted_scan)
        self._moment = 0  # observations of an earlier one can't be measured any more
        self.reset(0)

    @property
    def hfov_deg(self) -> float:
        """Horizontal field of view of the camera."""
        return self._profile.camera.hfov_deg

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # ----- motion ---------------------------------------------------------------------------

    def reset(self, seed: int) -> Observation:
        """Put the robot down at rest, at a free place that the seed draws."""
        margin = self._profile.footprint_radius_m + _RESET_CLEARANCE_M
        free = free_space(self._scene.occupied(), margin)
        rows, columns = np.nonzero(free.cells)
        if not len(rows):
            raise ValueError(f"world {self._scene.name} has no room for {self._profile.name}")
        rng = np.random.default_rng([17, seed])
        k = int(rng.integers(len(rows)))
        x, y = free.point(rows[k] + 0.5, columns[k] + 0.5)
        self._place((x, y, float(rng.uniform(-np.pi, np.pi))))
        return self.observe()

    def step(self, action: Sequence[float], duration_s: float) -> Observation:
        """Drive at (m/s, rad/s) for a multiple of TIMESTEP_S seconds."""
        linear, angular = action
        half = self._profile.drive.wheel_separation_m / 2
        radius = self._profile.drive.wheel_radius_m
        wheels = [(linear - angular * half) / radius, (linear + angular * half) / radius]
        self._moment += 1
        self._commands.append((float(self._data.time) + self._conditions.latency_s, wheels))
        self._simulate(max(1, round(duration_s / TIMESTEP_S)))
        self._bumper = self._touches()
        self._advance_odometry(duration_s)
        return self.observe()

    def _place(self, pose: Pose) -> None:
        self._moment += 1
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:7] = _free_joint(pose)
        mujoco.mj_forward(self._model, self._data)
        self._odometry = np.zeros(3)
        self._last_angles = self._data.qpos[self._wheel_angle].copy()
        self._measured = np.zeros(2)
        self._travels: deque[tuple[float, float, float]] = deque()  # s, m, rad of the last steps
        self._commands: deque[tuple[float, list[float]]] = deque()  # due s, rad/s of the wheels
        self._bumper = False

    def _simulate(self, steps: int) -> None:
        """Physics, each command taking effect when it is due."""
        while steps:
            pause = steps
            while self._commands:
                due = round((self._commands[0][0] - float(self._data.time)) / TIMESTEP_S)
                if due > 0:
                    pause = min(steps, due)
                    break
                self._data.ctrl[:] = self._commands.popleft()[1]
            mujoco.mj_step(self._model, self._data, pause)
            steps -= pause

    def _touches(self) -> bool:
        return bool(np.any(self._data.contact.geom[: self._data.ncon] == self._chassis))

    def _advance_odometry(self, duration_s: float) -> None:
        """Wheel odometry with scale errors and noise; its twist is the mean of the last 0.1 s."""
        angles = self._data.qpos[self._wheel_angle]
        turned = (angles - self._last_angles) * self._wheel_scale
        self._last_angles = angles.copy()
        spread = self._noise.wheel_step * math.sqrt(_WINDOW_S / duration_s)
        turned *= 1.0 + spread * self._rng.standard_normal(2)
        left, right = turned * self._profile.drive.wheel_radius_m
        forward, turn = (left + right) / 2, (right - left) / self._profile.drive.wheel_separation_m
        yaw = self._odometry[2] + turn / 2
        self._odometry += [forward * math.cos(yaw), forward * math.sin(yaw), turn]
        self._travels.append((duration_s, forward, turn))
        seconds, forward, turn = np.sum(self._travels, axis=0)
        if seconds >= _WINDOW_S - TIMESTEP_S / 2:
            self._travels.popleft()
        self._measured = np.array([forward, turn]) / seconds

    # ----- sensors --------------------------------------------------------------------------

    def observe(self) -> Observation:
        """What is sensed now; scan and image are measured when they are asked for."""
        return Observation(
            float(self._data.time),
            OdometryReading(*map(float, self._odometry), *map(float, self._measured)),
            self._bumper,
            partial(self._scan, self._moment),
            partial(self._expose, self._moment),
        )

    def _scan(self, moment: int) -> np.ndarray:
        self._check_still(moment)
        x, y, yaw = _true_pose(self._data)
        c, s = math.cos(yaw), math.sin(yaw)
        ahead, left, height = self._scanner
        eye = np.array([x + c * ahead - s * left, y + s * ahead + c * left, height])
        directions = np.zeros((len(self._beams), 3))
        directions[:, 0] = c * self._beams[:, 0] - s * self._beams[:, 1]
        directions[:, 1] = s * self._beams[:, 0] + c * self._beams[:, 1]
        hits = np.full(len(directions), -1, np.int32)
        distance = np.empty(len(directions))
        mujoco.mj_multiRay(
            self._model,
            self._data,
            eye,
            directions.ravel(),
            np.array([1, 0, 0, 0, 0, 0], np.uint8),
            1,
            self._base,
            hits,
            distance,
            None,
            len(directions),
            self._profile.scan.range_max_m,
        )
        seen = (hits >= 0) & (distance < self._profile.scan.range_max_m)
        noisy = distance + self._noise.scan_m * self._rng.standard_normal(len(distance))
        return np.where(seen, np.maximum(noisy, 0.0), np.inf)

    def _expose(self, moment: int) -> Callable[[], np.ndarray]:
        self._check_still(moment)
        if self._renderer is None:
            camera = self._profile.camera
            self._renderer = mujoco.Renderer(self._model, camera.height, camera.width)
        renderer = self._renderer
        renderer.update_scene(self._data, "camera")
        gain = 1.0 + self._noise.image_gain * self._rng.standard_normal()
        gain *= self._conditions.exposure
        table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
        return lambda: cv2.LUT(renderer.render(), table)

    def _check_still(self, moment: int) -> None:
        if moment != self._moment:
            raise RuntimeError(
                "an observation was asked for its scan or image after the robot had moved on; "
                "read them before the next step, or observe again"
            )


class _Truth:
    """The ground truth about the robot."""

    def __init__(self, robot: _Robot, scene: Scene) -> None:
        self._robot, self._model, self._data = robot, robot._model, robot._data
        self.floor_plan: FloorPlan = scene

    @property
    def pose(self) -> Pose:
        """The robot's true pose."""
        return _true_pose(self._data)

    @property
    def velocity(self) -> tuple[float, float]:
        """The robot's true velocity, forward (m/s) and counter-clockwise (rad/s)."""
        yaw = self.pose[2]
        vx, vy = self._data.qvel[:2]
        return float(vx * math.cos(yaw) + vy * math.sin(yaw)), float(self._data.qvel[5])

    def place(self, pose: Pose) -> None:
        """Put the robot down at rest; its odometry and time start at zero there."""
        self._robot._place(pose)

    def render_at(self, pose: Pose) -> np.ndarray:
        """What the robot's camera would see from a pose; the robot stays where it is."""
        qpos, qvel = self._data.qpos.copy(), self._data.qvel.copy()
        self._data.qpos[:7] = _free_joint(pose)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        image = self._robot.observe().image
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self._model, self._data)
        return image


def _scanner(scan: Scan, mounted: bool) -> tuple[tuple[float, float, float], np.ndarray]:
    """Where the scanner sits (m, m, m), and unit vectors (beams, 2) of its beams, in base_link."""
    at = scan.mount or ScannerMount(z_m=SCAN_HEIGHT_M)
    angles = 2 * np.pi * np.arange(scan.beams) / scan.beams
    position = (0.0, 0.0, at.z_m)
    if mounted:
        angles = math.radians(at.yaw_deg) + (-angles if at.upside_down else angles)
        position = (at.x_m, at.y_m, at.z_m)
    return position, np.stack([np.cos(angles), np.sin(angles)], 1)


def _true_pose(data: mujoco.MjData) -> Pose:
    x, y = data.qpos[:2]
    w, _, _, z = data.qpos[3:7]
    return float(x), float(y), 2.0 * math.atan2(float(z), float(w))


def _free_joint(pose: Pose) -> list[float]:
    """Position and quaternion of the base's joint."""
    x, y, yaw = pose
    return [x, y, 0.0, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


def _mjcf(scene: Scene, profile: RobotProfile) -> tuple[str, dict[str, bytes]]:
    assets, bodies, files = scene.to_mjcf()
    radius, drive, camera = profile.footprint_radius_m, profile.drive, profile.camera
    fovy = 2 * math.degrees(
        math.atan(math.tan(math.radians(camera.hfov_deg) / 2) * camera.height / camera.width)
    )
    pitch = math.radians(camera.pitch_deg)
    up = f"{math.sin(pitch):.5f} 0 {math.cos(pitch):.5f}"
    wheel, half = drive.wheel_radius_m, drive.wheel_separation_m / 2
    wheels = "".join(
        f'<body name="{name}" pos="0 {side * half} {wheel}"><joint name="{name}" axis="0 1 0" '
        f'damping="0.001" armature="0.002"/><geom type="cylinder" size="{wheel} 0.01" '
        f'euler="90 0 0" mass="0.1" friction="1.0 0.005 0.0001" group="2" contype="2" '
        f'conaffinity="4"/></body>'
        for name, side in (("left", 1), ("right", -1))
    )
    casters = "".join(
        f'<geom type="sphere" size="0.015" pos="{x} 0 0.016" friction="0.001 0 0" mass="0.05" '
        f'group="2" contype="2" conaffinity="4"/>'
        for x in (-0.11, 0.11)  # a millimetre up: the wheels carry the load
    )
    xml = f"""
<mujoco>
  <compiler angle="degree"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="5"/>
  <visual>
    <global offwidth="{camera.width}" offheight="{camera.height}"/>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.2 0.2 0.2" specular="0 0 0"/>
    <map znear="0.005" zfar="20"/>
    <quality shadowsize="0" offsamples="4"/>
  </visual>
  <asset>
    <material name="ceiling" rgba="0.85 0.85 0.82 1" specular="0"/>
    {assets}
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="10 10 0.1" contype="5" conaffinity="6" group="3"
          friction="0.001 0 0"/>
    {bodies}
    <body name="base">
      <freejoint/>
      <geom type="cylinder" size="{radius} 0.05" pos="0 0 {_BASE_HEIGHT_M}" mass="3" group="2"
            contype="0" conaffinity="0" rgba="0.2 0.2 0.2 1"/>
      <geom name="chassis" type="sphere" size="{radius}" pos="0 0 {_BUMPER_HEIGHT_M}" mass="0"
            group="3" friction="0.2 0 0" priority="1" contype="1" conaffinity="0"/>
      <geom type="cylinder" size="0.1 0.01" pos="0 0 0.03" mass="2" group="2" contype="0"
            conaffinity="0"/>
      <camera name="camera" pos="{camera.x_m} 0 {camera.z_m}" fovy="{fovy:.4f}"
              xyaxes="0 -1 0 {up}"/>
      {wheels}{casters}
    </body>
  </worldbody>
  <actuator>
    <velocity joint="left" kv="1.0" forcerange="-1.2 1.2"/>
    <velocity joint="right" kv="1.0" forcerange="-1.2 1.2"/>
  </actuator>
</mujoco>"""
    return xml, files
