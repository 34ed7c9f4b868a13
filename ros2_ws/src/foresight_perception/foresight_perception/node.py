"""Images and proprioception in, observations out; and the view that each was made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool, Header

from foresight import bundle
from foresight.bodies.profile import RobotProfile
from foresight.bundle import Runtime
from foresight.perception import image
from foresight.perception.camera import CameraView
from foresight.perception.camera_mount import CameraMount
from foresight.perception.camera_watch import CameraWatch
from foresight.perception.encoder import Encoder
from foresight.perception.image import ImageError, Rgb
from foresight_interfaces.msg import Observation
from foresight_node import BundleParameters, ForesightNode, RobotParameters, parameter, run
from foresight_node.messages import LATEST, floats, picture_message, seconds
from foresight_node.static_transforms import SensorMount, StaticTransforms
from foresight_perception.proprioception import ProprioceptionBuffer, ProprioceptionError

CLOCK_TOLERANCE_S = 0.1
"""How far an image's stamp may lie ahead of this node's clock."""

SILENCE_S = 2.0
"""A camera that sends nothing for so long is told of; no camera is as slow."""


@dataclass(frozen=True)
class Parameters(RobotParameters, BundleParameters):
    image_transport: str = parameter(
        "raw",
        "Take sensor_msgs/Image from 'image', or CompressedImage from 'image/compressed'.",
        choices=("raw", "compressed"),
    )
    image_max_age_s: float = parameter(
        0.5,
        "Older images are dropped; one that comes again counts as old while the robot moves, s.",
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    odom_max_age_s: float = parameter(
        0.5, "Largest lag of odometry behind an image, s.", minimum=0.01, maximum=10.0
    )


class PerceptionNode(ForesightNode[Parameters]):
    """Sends one observation for each usable image, with the image's stamp."""

    def __init__(self, **options: object) -> None:
        super().__init__("perception", Parameters, **options)
        self._transforms = StaticTransforms(self)

    def configure(self) -> None:
        values = self.values
        runtime = Runtime(values.provider, values.half, self.get_logger().info)
        loaded = bundle.load(values.bundle, runtime)
        profile = RobotProfile.load(self.values.robot)
        loaded.check_robot(profile)
        self._fields = _known_fields(loaded.manifest.body.proprioception)
        self._digest = loaded.digest
        self._encoder = Encoder(loaded)
        self._view = CameraView(loaded.manifest.image, profile.camera)
        self._watch = CameraWatch()
        self._profile_mount = CameraMount.of_profile(profile.camera)
        self._mount = SensorMount(
            self, self._transforms, "image", CameraMount.of_pose, self._profile_mount
        )
        self._mount_checked: CameraMount | None = None
        self._base_frame = "base_link"
        self._sensed = ProprioceptionBuffer(self.values.odom_max_age_s)
        self._last_stamp_s = float("-inf")
        self.health.fact("bundle", loaded.digest)
        self.health.fact("providers", ", ".join(self._encoder.providers))
        self._publisher = self.advertise(Observation, "observation", LATEST)
        self._views = self.advertise(Image, "model_image", qos_profile_sensor_data)
        self._worker = self.start_worker()
        self.listen(CameraInfo, "camera_info", self._on_camera_info, qos_profile_sensor_data)
        self.listen(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        self.listen(Bool, "bumper", lambda m: self._sensed.bumper(m.data), qos_profile_sensor_data)
        self._topic = self.resolve_topic_name("image")
        if self.values.image_transport == "raw":
            self.listen(Image, self._topic, self._on_image, qos_profile_sensor_data)
        else:
            self._topic += "/compressed"  # as image_transport does: it moves with the image
            self.listen(CompressedImage, self._topic, self._on_compressed, qos_profile_sensor_data)
        self.every(1.0, self._look_for_camera)

    def activate(self) -> None:
        self._image_came_s = time.monotonic()

    def _on_camera_info(self, info: CameraInfo) -> None:
        try:
            self._view.calibrate(info)
        except ImageError as error:
            self.health.problem("camera_info", str(error))

    def _on_odometry(self, odometry: Odometry) -> None:
        twist = odometry.twist.twist
        self._base_frame = odometry.child_frame_id or self._base_frame
        try:
            self._sensed.odometry(seconds(odometry.header.stamp), twist.linear.x, twist.angular.z)
        except ProprioceptionError as error:
            self.health.problem("odom", str(error))

    def _look_for_camera(self) -> None:
        if time.monotonic() - self._image_came_s < SILENCE_S:
            return
        if self.count_publishers(self._topic):
            why = "although a driver is connected: look into its log, and start it again"
        else:
            why = "for nobody publishes it: start the camera's driver, or remap the topic"
        self.health.problem("camera", f"no image comes on {self._topic}, {why}")

    def _on_image(self, message: Image) -> None:
        self._perceive(
            message.header,
            lambda: image.decode(
                message.data, message.width, message.height, message.step, message.encoding
            ),
        )

    def _on_compressed(self, message: CompressedImage) -> None:
        self._perceive(message.header, lambda: image.decode_compressed(message.data))

    def _perceive(self, header: Header, decode: Callable[[], Rgb]) -> None:
        stamp_s = seconds(header.stamp)
        self._image_came_s = time.monotonic()
        self.health.event("images")
        self._check_mount(header.frame_id)
        if not self._is_timely(stamp_s):
            self.health.count("images dropped: stamp")
            return
        try:
            body, mark = self._sensed.at(stamp_s)
        except ProprioceptionError as error:
            self.health.problem("odom", str(error))
            return
        self._last_stamp_s = stamp_s
        observation = Observation(header=header, bundle_digest=self._digest)
        observation.proprioception = floats([body[field] for field in self._fields])
        view, watch, limit_s = self._view, self._watch, self.values.image_max_age_s
        speeds = body["linear_mps"], body["angular_radps"]

        def encode() -> tuple[Rgb, float]:
            start = time.perf_counter()
            seen = decode()
            picture = view(seen)
            watch.check(seen, stamp_s, *speeds, limit_s)
            observation.latent = floats(self._encoder(picture))
            return picture, time.perf_counter() - start

        def send(seen: tuple[Rgb, float]) -> None:
            self._send(observation, mark, *seen)

        if self._worker.submit(encode, send, self._on_error):
            self.health.count("images dropped: encoder busy")

    def _check_mount(self, frame: str) -> None:
        """Tell when the camera does not sit where the model was trained for."""
        mount = self._mount.at(frame, self._base_frame)
        if mount is None or mount == self._mount_checked:
            return
        self._mount_checked = mount
        if mount.differs(self._profile_mount):
            self.health.problem(
                "camera mount",
                f"the camera sits at {mount} by tf_static, but at {self._profile_mount} by the "
                f"robot profile, for which the model was trained; correct whichever is wrong, or "
                f"train a model for this mount",
                lasting=True,
            )
        else:
            self.health.solved("camera mount")

    def _is_timely(self, stamp_s: float) -> bool:
        now_s = self.now_s()
        if self._last_stamp_s > now_s + CLOCK_TOLERANCE_S:  # the simulation began anew
            self._last_stamp_s = float("-inf")
            self._sensed.reset()
        age_s, limit_s = now_s - stamp_s, self.values.image_max_age_s
        if age_s > limit_s:
            self.health.problem(
                "image age",
                f"image is {age_s:.2f} s old, but at most {limit_s:.2f} s are allowed; check the "
                f"camera's rate, clock and network",
            )
        elif age_s < -CLOCK_TOLERANCE_S:
            self.health.problem(
                "image age",
                f"image is stamped {-age_s:.2f} s ahead of this node's clock; synchronise the "
                f"clocks, or set use_sim_time alike everywhere",
            )
        else:
            return stamp_s > self._last_stamp_s
        return False

    def _send(self, observation: Observation, mark: int, picture: Rgb, took_s: float) -> None:
        if not self.active:
            return
        if self._views.get_subscription_count():
            self._views.publish(picture_message(picture, observation.header))
        self._publisher.publish(observation)
        self._sensed.told(mark)
        self.health.event("observations")
        self.health.latency("encode", took_s)
        self.health.latency(
            "image to observation", self.now_s() - seconds(observation.header.stamp)
        )

    def _on_error(self, error: Exception) -> None:
        if not isinstance(error, ImageError):
            raise error
        self.health.problem("image", str(error))


def _known_fields(fields: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [field for field in fields if field not in ProprioceptionBuffer.FIELDS]
    if unknown:
        raise ValueError(
            f"the bundle's manifest asks for the proprioception {unknown[0]!r}, but perception "
            f"knows {', '.join(ProprioceptionBuffer.FIELDS)}; use a bundle trained for these"
        )
    return fields


def main() -> int:
    return run(PerceptionNode)
