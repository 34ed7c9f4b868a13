"""Records what a simulated robot sees, measures and does, tick by tick."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from foresight.bodies.profile import RobotProfile
from foresight.bundle.manifest import ImageSpec
from foresight.control.limits import VelocityLimiter
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.perception.image import to_model
from foresight.worlds.apartments.apartment import Apartment, free_space
from foresight.worlds.apartments.simulator import Simulator


def record(
    simulator: Simulator,
    driver: CollectionPolicy,
    limiter: VelocityLimiter,
    period_s: float,
    frames: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Drive on for `frames` frames and record them.

    Returns:
        image (frames, h, w, 3) uint8 at the model's size, odometry (frames, 5) float32 (x m, y m,
        yaw rad, m/s, rad/s), command (frames, 2) float32 (m/s, rad/s), bump (frames,) uint8.
    """
    view = ImageSpec(hfov_deg=simulator.profile.camera.hfov_deg)
    images, odometry, commands, bumps = [], [], [], []

    def drive_on() -> None:
        reading = simulator.odometry()
        odometry.append((*reading.pose, reading.linear, reading.angular))
        bumps.append(simulator.bumper)
        pose = np.array(reading.pose)
        wish = driver.act(simulator.scan(), simulator.bumper, pose, period_s)
        commands.append(limiter.step(*wish, period_s))
        simulator.step(*commands[-1], period_s)

    # Rendering and physics release the GIL: the robot drives while its picture is rendered.
    with ThreadPoolExecutor(1) as other_thread:
        for _ in range(frames):
            develop = simulator.shoot()
            driving = other_thread.submit(drive_on)
            images.append(to_model(develop(), view))
            driving.result()
    return (
        np.stack(images),
        np.array(odometry, np.float32),
        np.array(commands, np.float32),
        np.array(bumps, np.uint8),
    )


def put_down(apartment: Apartment, profile: RobotProfile, seed: int) -> tuple[float, float, float]:
    """A pose (m, m, rad) on the free floor, drawn from the seed."""
    free = free_space(apartment.occupied(), profile.footprint_radius_m + 0.15)
    rows, columns = np.nonzero(free)
    rng = np.random.default_rng([17, seed])
    k = int(rng.integers(len(rows)))
    return (columns[k] + 0.5) * 0.05, (rows[k] + 0.5) * 0.05, float(rng.uniform(-np.pi, np.pi))
