"""Records what a simulated robot sees, measures and does, tick by tick."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from foresight.bundle.manifest import ImageSpec
from foresight.control.limits import VelocityLimiter
from foresight.exploration.collection_policy import CollectionPolicy
from foresight.interfaces import Environment, Observation
from foresight.perception.image import to_model


def record(
    environment: Environment,
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
    view = ImageSpec(hfov_deg=environment.hfov_deg)
    images, odometry, commands, bumps = [], [], [], []

    def drive_on(seen: Observation) -> Observation:
        reading = seen.odometry
        odometry.append((*reading.pose, reading.linear, reading.angular))
        bumps.append(seen.bumper)
        wish = driver.act(seen.scan, seen.bumper, np.array(reading.pose), period_s)
        commands.append(limiter.step(*wish, period_s))
        return environment.step(commands[-1], period_s)

    seen = environment.observe()
    # Rendering and physics release the GIL: the robot drives while its picture is rendered.
    with ThreadPoolExecutor(1) as other_thread:
        for _ in range(frames):
            develop = seen.expose()
            driving = other_thread.submit(drive_on, seen)
            images.append(to_model(develop(), view))
            seen = driving.result()
    return (
        np.stack(images),
        np.array(odometry, np.float32),
        np.array(commands, np.float32),
        np.array(bumps, np.uint8),
    )
