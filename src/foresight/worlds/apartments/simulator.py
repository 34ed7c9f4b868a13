"""A differential-drive robot in an apartment, in MuJoCo: camera, wheel odometry, scan, bumper."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.perception.scan import CENTRED, ScanMount, beam_directions
from foresight.worlds.apartments.apartment import Apartment

TIMESTEP_S = 0.004
SCAN_HEIGHT_M = 0.16
"""Of a scanner whose profile says nothing of its mount."""
_BASE_HEIGHT_M = 0.12
# It touches things with a sphere: MuJoCo finds a cylinder centimetres deep in a box's edge and
# throws it out at metres per second. Low, so that pushing does not tip it.
_BUMPER_HEIGHT_M = 0.06
_WINDOW_S = 0.1  # over which the wheels' speed is measured


@dataclass(frozen=True)
class Noise:
    """What real sensors add, as standard deviations; the first two are drawn once per robot."""

    wheel_scale: float = 0.02  # both wheels alike: wear, tyre pressure
    wheel_mismatch: float = 0.003  # one against the other: makes odometry curve
    wheel_step: float = 0.02
    scan_m: float = 0.01
    image_gain: float = 0.02


@dataclass(frozen=True)
class Conditions:
    """What else differs from one robot and evening to another."""

    light: tuple[float, float, float] = (1.0, 1.0, 1.0)  # strength of every lamp, by colour
    exposure: float = 1.0  # gain of the camera
    latency_s: float = 0.0  # from a command to the wheels; a multiple of TIMESTEP_S


@dataclass(frozen=True)
class OdometryReading:
    """Pose (m, m, rad) in the odometry frame, which starts at the robot; twist (m/s, rad/s)."""

    x: float
    y: float
    yaw: float
    linear: float
    angular: float

    @property
    def pose(self) -> tuple[float, float, float]:
        """x m, y m, yaw rad."""
        return self.x, self.y, self.yaw


class Simulator:
    """One robot in one apartment.

    The robot obeys velocity commands as its driver would; the true pose serves scoring only.
    Poses are (x m, y m, yaw rad) in the world frame of the apartment.
    """

    def __init__(
        self,
        apartment: Apartment,
        profile: RobotProfile,
        seed: int = 0,
        noise: Noise = Noise(),
        conditions: Conditions = Conditions(),
    ) -> None:
        self.apartment = apartment
        self.profile = profile
        self._noise = noise
        self._conditions = conditions
        self._rng = np.random.default_rng([31, seed])
        xml, files = _mjcf(apartment, profile)
        self._model = mujoco.MjModel.from_xml_string(xml, files)
        for lamps in (
            self._model.light_diffuse,
            self._model.vis.headlight.ambient,
            self._model.vis.headlight.diffuse,
        ):
            lamps *= conditions.light
        self._data = mujoco.MjData(self._model)
        self._renderer: mujoco.Renderer | None = None
        common, mismatch = self._rng.standard_normal(2) * (noise.wheel_scale, noise.wheel_mismatch)
        self._wheel_scale = 1.0 + common + np.array([-mismatch, mismatch])
        self._chassis = self._model.geom("chassis").id
        self._base = self._model.body("base").id
        wheels = [self._model.joint(name) for name in ("left", "right")]
        self._wheel_velocity = np.array([int(joint.dofadr[0]) for joint in wheels])
        self._wheel_angle = np.array([int(joint.qposadr[0]) for joint in wheels])
        angles = 2 * np.pi * np.arange(profile.scan.beams) / profile.scan.beams
        self._beams = np.stack([np.cos(angles), np.sin(angles)], 1)
        at = profile.scan.mount
        self._scan_height_m = SCAN_HEIGHT_M if at is None else at.z_m
        self.reset((1.0, 1.0, 0.0))

    # ----- motion ---------------------------------------------------------------------------

    def reset(self, pose: tuple[float, float, float]) -> None:
        """Put the robot down at rest; odometry starts at zero there."""
        mujoco.mj_resetData(self._model, self._data)
        x, y, yaw = pose
        self._data.qpos[:7] = [x, y, 0.0, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        mujoco.mj_forward(self._model, self._data)
        self._odometry = np.zeros(3)
        self._last_angles = self._data.qpos[self._wheel_angle].copy()
        self._measured = np.zeros(2)
        self._travels: deque[tuple[float, float, float]] = deque()  # s, m, rad of the last steps
        self._commands: deque[tuple[float, list[float]]] = deque()  # due s, rad/s of the wheels
        self.bumper = False

    def step(self, linear: float, angular: float, duration_s: float) -> None:
        """Drive at (m/s, rad/s) for a multiple of TIMESTEP_S seconds."""
        half = self.profile.drive.wheel_separation_m / 2
        radius = self.profile.drive.wheel_radius_m
        wheels = [(linear - angular * half) / radius, (linear + angular * half) / radius]
        self._commands.append((self.time_s + self._conditions.latency_s, wheels))
        self._simulate(max(1, round(duration_s / TIMESTEP_S)))
        self.bumper = self._touches()
        self._advance_odometry(duration_s)

    def _simulate(self, steps: int) -> None:
        """Physics, each command taking effect when it is due."""
        while steps:
            pause = steps
            while self._commands:
                due = round((self._commands[0][0] - self.time_s) / TIMESTEP_S)
                if due > 0:
                    pause = min(steps, due)
                    break
                self._data.ctrl[:] = self._commands.popleft()[1]
            mujoco.mj_step(self._model, self._data, pause)
            steps -= pause

    @property
    def time_s(self) -> float:
        """Simulated seconds since the last reset."""
        return float(self._data.time)

    @property
    def pose(self) -> tuple[float, float, float]:
        """The true pose: for scoring and pictures, never for the robot."""
        x, y = self._data.qpos[:2]
        w, _, _, z = self._data.qpos[3:7]
        return float(x), float(y), 2.0 * math.atan2(float(z), float(w))

    @property
    def velocity(self) -> tuple[float, float]:
        """The true velocity, forward (m/s) and counter-clockwise (rad/s): for scoring only."""
        yaw = self.pose[2]
        vx, vy = self._data.qvel[:2]
        return float(vx * math.cos(yaw) + vy * math.sin(yaw)), float(self._data.qvel[5])

    # ----- sensors --------------------------------------------------------------------------

    def render(self) -> np.ndarray:
        """What the camera sees: (height, width, 3) uint8 RGB."""
        return self.shoot()()

    def shoot(self) -> Callable[[], np.ndarray]:
        """Open the shutter now; calling the result develops the picture (as `render` gives it).

        Develop in the thread that rendered first; the robot may drive on meanwhile in another.
        """
        if self._renderer is None:
            camera = self.profile.camera
            self._renderer = mujoco.Renderer(self._model, camera.height, camera.width)
        renderer = self._renderer
        renderer.update_scene(self._data, "camera")
        gain = 1.0 + self._noise.image_gain * self._rng.standard_normal()
        gain *= self._conditions.exposure
        table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
        return lambda: cv2.LUT(renderer.render(), table)

    def render_at(self, pose: tuple[float, float, float]) -> np.ndarray:
        """What the camera would see from a pose: (height, width, 3) uint8; the robot stays."""
        qpos, qvel = self._data.qpos.copy(), self._data.qvel.copy()
        x, y, yaw = pose
        self._data.qpos[:7] = [x, y, 0.0, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        image = self.render()
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self._model, self._data)
        return image

    def odometry(self) -> OdometryReading:
        """Wheel odometry with scale errors and noise; its twist is the mean of the last 0.1 s."""
        return OdometryReading(*map(float, self._odometry), *map(float, self._measured))

    def scan(self, mount: ScanMount = CENTRED) -> np.ndarray:
        """Ranges (beams,) in m of a scanner so mounted, at the profile's height; inf beyond the
        range. The first beam has the angle 0, the others go on counter-clockwise in its frame."""
        x, y, yaw = self.pose
        c, s = math.cos(yaw), math.sin(yaw)
        beams, count = self._beams, len(self._beams)
        if mount != CENTRED:
            beams = beam_directions(count, 0.0, 2 * math.pi / count, mount)
        directions = np.zeros((count, 3))
        directions[:, 0] = c * beams[:, 0] - s * beams[:, 1]
        directions[:, 1] = s * beams[:, 0] + c * beams[:, 1]
        eye = (x + c * mount.x_m - s * mount.y_m, y + s * mount.x_m + c * mount.y_m)
        hits = np.full(len(directions), -1, np.int32)
        distance = np.empty(len(directions))
        mujoco.mj_multiRay(
            self._model,
            self._data,
            np.array([*eye, self._scan_height_m]),
            directions.ravel(),
            np.array([1, 0, 0, 0, 0, 0], np.uint8),
            1,
            self._base,
            hits,
            distance,
            None,
            len(directions),
            self.profile.scan.range_max_m,
        )
        seen = (hits >= 0) & (distance < self.profile.scan.range_max_m)
        noisy = distance + self._noise.scan_m * self._rng.standard_normal(len(distance))
        return np.where(seen, np.maximum(noisy, 0.0), np.inf)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _touches(self) -> bool:
        return bool(np.any(self._data.contact.geom[: self._data.ncon] == self._chassis))

    def _advance_odometry(self, duration_s: float) -> None:
        angles = self._data.qpos[self._wheel_angle]
        turned = (angles - self._last_angles) * self._wheel_scale
        self._last_angles = angles.copy()
        spread = self._noise.wheel_step * math.sqrt(_WINDOW_S / duration_s)
        turned *= 1.0 + spread * self._rng.standard_normal(2)
        left, right = turned * self.profile.drive.wheel_radius_m
        forward, turn = (left + right) / 2, (right - left) / self.profile.drive.wheel_separation_m
        yaw = self._odometry[2] + turn / 2
        self._odometry += [forward * math.cos(yaw), forward * math.sin(yaw), turn]
        self._travels.append((duration_s, forward, turn))
        seconds, forward, turn = np.sum(self._travels, axis=0)
        if seconds >= _WINDOW_S - TIMESTEP_S / 2:
            self._travels.popleft()
        self._measured = np.array([forward, turn]) / seconds


def _mjcf(apartment: Apartment, profile: RobotProfile) -> tuple[str, dict[str, bytes]]:
    assets, bodies, files = apartment.to_mjcf()
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
