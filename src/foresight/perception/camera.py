"""From the robot's camera to the model's."""

from __future__ import annotations

from typing import Any

from foresight.bodies.profile import Camera
from foresight.bundle.manifest import ImageSpec
from foresight.perception import image
from foresight.perception.image import Rectifier, Rgb


class CameraView:
    """Transforms camera pictures to the model's, by camera_info or else the robot profile."""

    def __init__(self, spec: ImageSpec, camera: Camera) -> None:
        """`spec` is the model's camera; `camera` the profile's, an ideal pinhole.

        Raises:
            ImageError: the profile's camera does not see enough of the model's view.
        """
        self._spec = spec
        matrix = image.pinhole(camera.width, camera.height, camera.hfov_deg)
        self._rectify = Rectifier(spec, matrix, [], camera.width, camera.height)
        self._calibration: tuple[object, ...] | None = None

    def calibrate(self, info: Any) -> None:
        """Use the calibration of a sensor_msgs/CameraInfo; an uncalibrated camera (k of zeros)
        leaves the profile's in use.

        Raises:
            ImageError: the calibration cannot be used; the previous one stays.
        """
        k = tuple(info.k)
        calibration = (k, tuple(info.d), info.width, info.height, info.distortion_model)
        if calibration == self._calibration or not any(k):
            return
        self._rectify = Rectifier(self._spec, k, *calibration[1:])
        self._calibration = calibration

    def __call__(self, rgb: Rgb) -> Rgb:
        """The model's image, (height, width, 3) uint8; raises ImageError."""
        return image.to_model(self._rectify(rgb), self._spec)

    def goal(self, rgb: Rgb) -> Rgb:
        """As `__call__`, for a goal picture, which must not be blank."""
        rectified = self._rectify(rgb)
        image.check_goal(rectified, self._spec)
        return image.to_model(rectified, self._spec)
