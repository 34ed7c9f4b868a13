"""The navigator, and what it must be told besides where to drive."""

from __future__ import annotations

import time

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from foresight.bodies.profile import RobotProfile
from foresight.bundle import Bundle
from foresight.perception import image
from foresight.perception.camera import CameraView
from foresight.perception.encoder import Encoder
from foresight.planning import NavigationStep, Navigator

FIRST_DELAY_S, DELAY_SMOOTHING = 0.1, 0.2
"""From a belief's stamp to its plan; what the robot does until then is imagined as part of it."""


class GoalPlanner:
    """Encodes goal pictures and plans. `encode` and `steer` are for the worker's thread only.

    Attributes:
        digest: of the bundle.
        latent_size: D of its latents.
        navigator: what plans.
    """

    def __init__(self, bundle: Bundle, profile: RobotProfile, navigator: Navigator) -> None:
        manifest = bundle.manifest
        self.digest, self.latent_size = bundle.digest, manifest.latent_size
        self.navigator = navigator
        self._view = CameraView(manifest.image, profile.camera)
        self._encoder = Encoder(bundle)
        self._longest_s = manifest.action_s
        self._delay_s = FIRST_DELAY_S

    def calibrate(self, info: CameraInfo) -> None:
        """Raises ImageError when the calibration cannot be used."""
        self._view.calibrate(info)

    def encode(self, picture: Image) -> np.ndarray:
        """A goal picture's latent (D,); raises ImageError when it cannot be used."""
        rgb = image.decode(
            picture.data, picture.width, picture.height, picture.step, picture.encoding
        )
        return self._encoder(self._view.goal(rgb))

    def steer(
        self,
        goal: np.ndarray,
        final: bool,
        afresh: bool,
        stamp_s: float,
        latent: np.ndarray,
        proprioception: np.ndarray,
        obstacles: np.ndarray | None,
    ) -> tuple[NavigationStep, float]:
        """Plan to a goal (D,), at which the robot is to arrive if it is `final`.

        Args:
            afresh: nothing that was planned before is still being driven.
            stamp_s, latent, proprioception, obstacles: see `Navigator.update`.

        Returns:
            The plan, and how long it took, s.
        """
        start_s = time.perf_counter()
        if afresh:
            self.navigator.clear_goal()
        self.navigator.redirect(goal, final)
        step = self.navigator.update(stamp_s, latent, proprioception, obstacles, self._delay_s)
        return step, time.perf_counter() - start_s

    def took(self, image_to_plan_s: float) -> None:
        """How long it took from a belief's stamp to its plan; from the executor's thread."""
        usual_s = min(max(image_to_plan_s, 0.0), self._longest_s)  # whatever a set clock says
        self._delay_s += DELAY_SMOOTHING * (usual_s - self._delay_s)
