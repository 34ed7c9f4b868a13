"""From the bytes of a camera message to the image that a world model was trained on.

Pixels are uint8 RGB in arrays of shape (height, width, 3). Every unusable input raises
`ImageError` with one sentence: what is wrong, the value found, what was expected, what to do.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Bytes: TypeAlias = "bytes | bytearray | memoryview | array[int]"

MAX_PIXELS = 50_000_000
BLANK_STD = 3.0
"""Grey levels (of 255): a view whose standard deviation is below this shows no structure."""
ASPECT_TOLERANCE = 0.02
SAME_CAMERA_TOLERANCE = 0.01
"""Share of the image width up to which a camera's deviation from the model's is ignored."""
MIN_COVERAGE = 0.6
"""Share of the model's view that a camera must cover."""


class ImageError(ValueError):
    """An image, or a camera's calibration, cannot be used; the message is one sentence."""


class ImageSpec(Protocol):
    """The model's camera: a pinhole with square pixels and its axis through the centre."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def hfov_deg(self) -> float: ...


_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
_CONVERSIONS = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}
# Encodings whose neighbouring pixels share samples: (bytes per pixel, conversion, rows pair up).
_SUBSAMPLED = {
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY, False),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY, False),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2, False),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2, False),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB, True),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB, True),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB, True),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB, True),
}
ENCODINGS = tuple(sorted({*_CHANNELS, *_SUBSAMPLED}))
"""The encodings of sensor_msgs/Image that `decode` accepts."""


def decode(data: Bytes, width: int, height: int, step: int, encoding: str) -> Rgb:
    """The pixels of a raw camera message (the fields of sensor_msgs/Image).

    Args:
        data: `step * height` bytes, as bytes or array.array (what rclpy hands out).
        width: pixels in a row.
        height: rows.
        step: bytes from one row to the next; rows may be padded.
        encoding: one of `ENCODINGS`.

    Returns:
        (height, width, 3) uint8 RGB. For rgb8 this is a view of `data`, without a copy.

    Raises:
        ImageError: an unknown encoding, an impossible size, or data of another size.
    """
    if encoding in _CHANNELS:
        pixel_bytes, conversion, pairs = _CHANNELS[encoding], _CONVERSIONS.get(encoding), (1, 1)
    elif encoding in _SUBSAMPLED:
        pixel_bytes, conversion, row_pairs = _SUBSAMPLED[encoding]
        pairs = (2, 2 if row_pairs else 1)
    else:
        raise ImageError(
            f"image has the encoding {encoding!r}, which is not supported; "
            f"convert it to one of {', '.join(ENCODINGS)}"
        )
    raw = np.frombuffer(data, dtype=np.uint8)
    _check_size(raw.size, width, height, step, pixel_bytes, encoding)
    if width % pairs[0] or height % pairs[1]:
        raise ImageError(
            f"image in {encoding} is {width}x{height}, but this encoding needs an even size; "
            f"correct the driver's image size"
        )
    rows = raw.reshape(height, step)[:, : width * pixel_bytes]
    if conversion is None:
        return rows.reshape(height, width, pixel_bytes)
    pixels = rows if pixel_bytes == 1 else rows.reshape(height, width, pixel_bytes)
    return _convert(pixels, conversion)


def _check_size(
    size: int, width: int, height: int, step: int, pixel_bytes: int, encoding: str
) -> None:
    if width < 1 or height < 1:
        raise ImageError(
            f"image is {width}x{height}, but it must have at least one pixel; check its source"
        )
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(width, height))
    if step < width * pixel_bytes:
        raise ImageError(
            f"image has step {step}, but {width} pixels of {encoding} fill "
            f"{width * pixel_bytes} bytes; correct step, width or encoding at its source"
        )
    if size != step * height:
        raise ImageError(
            f"image holds {size} bytes, but {height} rows of {step} bytes are {step * height}; "
            f"correct height, step or data at its source"
        )


def _convert(pixels: npt.NDArray[np.uint8], conversion: int) -> Rgb:
    return np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)


def _too_large(width: int, height: int) -> str:
    return (
        f"image is {width}x{height}, but at most {MAX_PIXELS // 1_000_000} megapixels are taken; "
        f"scale it down"
    )


def decode_compressed(data: Bytes) -> Rgb:
    """The pixels of a JPEG or PNG file (the data of sensor_msgs/CompressedImage).

    The size is read from the header first, so that a small file cannot expand to a huge image.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: neither JPEG nor PNG, truncated, corrupt, or above `MAX_PIXELS`.
    """
    raw = bytes(memoryview(data))
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, size, whole = "PNG", _png_size(raw), b"IEND" in raw[-16:]
    elif raw.startswith(b"\xff\xd8"):
        # Some encoders pad the file; a decoder would fill missing data with grey.
        kind, size, whole = "JPEG", _jpeg_size(raw), raw.rstrip(b"\0").endswith(b"\xff\xd9")
    else:
        raise ImageError(
            f"compressed image of {len(raw)} bytes starts with {raw[:4].hex() or 'nothing'}, "
            f"but JPEG or PNG is expected; set the publisher's format to one of them"
        )
    if size is None or not whole:
        raise ImageError(
            f"compressed image of {len(raw)} bytes is a truncated {kind} file; "
            f"send the whole file in one message"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(_too_large(*size))
    try:
        bgr = cv2.imdecode(np.frombuffer(raw, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ImageError(
            f"compressed image of {len(raw)} bytes is a corrupt {kind} file; "
            f"check its source and the transport"
        )
    return _convert(np.asarray(bgr, dtype=np.uint8), cv2.COLOR_BGR2RGB)


def _png_size(raw: bytes) -> tuple[int, int] | None:
    if len(raw) < 24 or raw[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


def _jpeg_size(raw: bytes) -> tuple[int, int] | None:
    """(width, height) from the start-of-frame segment (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return None


def check_goal(rgb: Rgb, spec: ImageSpec) -> None:
    """Refuse a picture that a robot with this model cannot drive to.

    Args:
        rgb: (height, width, 3) uint8, as the robot's camera would see the goal.
        spec: the model's camera.

    Raises:
        ImageError: smaller than the model's image, another shape, or without visible structure.
    """
    height, width = rgb.shape[:2]
    if width < spec.width or height < spec.height:
        raise ImageError(
            f"goal image is {width}x{height}, but the model sees {spec.width}x{spec.height}; "
            f"give a picture of at least that size"
        )
    _check_aspect(rgb, spec, "goal image")
    contrast = float(to_model(rgb, spec).mean(axis=2).std())
    if contrast < BLANK_STD:
        raise ImageError(
            f"goal image is blank (its brightness varies by {contrast:.1f} of 255, at least "
            f"{BLANK_STD:.1f} is expected); give a picture that shows the place"
        )


def to_model(rgb: Rgb, spec: ImageSpec) -> Rgb:
    """The whole view at the model's size, area-averaged to avoid aliasing.

    Returns:
        (spec.height, spec.width, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: the aspect ratio differs, so the picture would be distorted.
    """
    _check_aspect(rgb, spec, "image")
    if rgb.shape[:2] == (spec.height, spec.width):
        return np.ascontiguousarray(rgb)
    small = cv2.resize(rgb, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _check_aspect(rgb: Rgb, spec: ImageSpec, what: str) -> None:
    height, width = rgb.shape[:2]
    if not _same_aspect(width, height, spec.width, spec.height):
        raise ImageError(
            f"{what} is {width}x{height} (aspect ratio {width / height:.2f}), but the model's is "
            f"{spec.width}x{spec.height} ({spec.width / spec.height:.2f}); "
            f"take it with the robot's camera and don't crop it"
        )


def _same_aspect(width: int, height: int, other_width: int, other_height: int) -> bool:
    # One pixel of rounding is also allowed: 106x80 is 4:3 at 80 rows.
    expected = height * other_width / other_height
    return abs(width - expected) <= max(1.0, ASPECT_TOLERANCE * expected)


def pinhole(width: int, height: int, hfov_deg: float) -> npt.NDArray[np.float64]:
    """The 3x3 camera matrix of an ideal pinhole (pixel centres at whole numbers)."""
    focal = width / 2 / np.tan(np.radians(hfov_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


class Rectifier:
    """Transforms the picture of one calibrated camera to what the model's camera would see.

    Called with (h, w, 3) uint8 RGB, it returns the same array if the two cameras agree, else an
    undistorted picture with the model's field of view and aspect ratio, at a multiple of the
    model's size that keeps the camera's detail (`to_model` then averages it down). Outside the
    camera's view, its border pixels are repeated.
    """

    def __init__(
        self,
        spec: ImageSpec,
        camera_k: npt.ArrayLike,
        distortion: Sequence[float],
        width: int,
        height: int,
        distortion_model: str = "plumb_bob",
    ) -> None:
        """Fields of sensor_msgs/CameraInfo: k (3x3, px), d, width, height, distortion_model.

        Raises:
            ImageError: no calibration, an unknown distortion model, or too narrow a view.
        """
        distortion_model = distortion_model or "plumb_bob"  # left empty by many drivers
        matrix = _checked_matrix(camera_k, width, height)
        coefficients = _checked_distortion(distortion, distortion_model)
        self.width, self.height = width, height
        detail = matrix[0, 0] / pinhole(spec.width, spec.height, spec.hfov_deg)[0, 0]
        scale = max(1, min(8, round(detail)))
        size = (spec.width * scale, spec.height * scale)
        target = pinhole(*size, spec.hfov_deg)
        if distortion_model == "equidistant":
            maps = cv2.fisheye.initUndistortRectifyMap(
                matrix, coefficients, np.eye(3), target, size, cv2.CV_32FC1
            )
        else:
            maps = cv2.initUndistortRectifyMap(
                matrix, coefficients, np.eye(3), target, size, cv2.CV_32FC1
            )
        self._map_x = np.asarray(maps[0], dtype=np.float32)
        self._map_y = np.asarray(maps[1], dtype=np.float32)
        self.coverage = self._seen()
        if self.coverage < MIN_COVERAGE:
            raise ImageError(
                f"the camera sees {self.coverage:.0%} of the model's view ({spec.hfov_deg:.0f} "
                f"degrees wide), but {MIN_COVERAGE:.0%} are needed; use a wider lens or a bundle "
                f"trained with a narrower view"
            )
        self.identity = self._misses_by() < SAME_CAMERA_TOLERANCE * width

    def __call__(self, rgb: Rgb) -> Rgb:
        """Raises ImageError if the aspect ratio is not the calibrated camera's."""
        height, width = rgb.shape[:2]
        if not _same_aspect(width, height, self.width, self.height):
            raise ImageError(
                f"image is {width}x{height}, but its camera is calibrated for "
                f"{self.width}x{self.height}; publish the camera_info that belongs to it"
            )
        if self.identity:
            return rgb
        if (width, height) != (self.width, self.height):  # binned, or a scaled goal picture
            rgb = _resized(rgb, self.width, self.height)
        turned = cv2.remap(
            rgb, self._map_x, self._map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(turned, dtype=np.uint8)

    def _seen(self) -> float:
        inside_x = (self._map_x > -0.5) & (self._map_x < self.width - 0.5)
        inside_y = (self._map_y > -0.5) & (self._map_y < self.height - 0.5)
        return float((inside_x & inside_y).mean())

    def _misses_by(self) -> float:
        """The largest distance (px of the camera) between the map and a plain resize."""
        rows, columns = self._map_x.shape
        if not _same_aspect(self.width, self.height, columns, rows):
            return float("inf")
        plain_x = (np.arange(columns) + 0.5) * self.width / columns - 0.5
        plain_y = (np.arange(rows) + 0.5) * self.height / rows - 0.5
        off_x = np.abs(self._map_x - plain_x[None, :]).max()
        off_y = np.abs(self._map_y - plain_y[:, None]).max()
        return float(max(off_x, off_y))


def _resized(rgb: Rgb, width: int, height: int) -> Rgb:
    shrink = rgb.shape[1] > width
    mode = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=mode), dtype=np.uint8)


def _checked_matrix(camera_k: npt.ArrayLike, width: int, height: int) -> npt.NDArray[np.float64]:
    matrix = np.asarray(camera_k, dtype=np.float64)
    if matrix.size != 9 or width < 1 or height < 1:
        raise ImageError(
            f"camera_info has a matrix k of {matrix.size} numbers for {width}x{height} pixels, but "
            f"9 numbers and a positive size are expected; calibrate the camera"
        )
    matrix = matrix.reshape(3, 3)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ImageError(
            f"camera_info has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g} px, but "
            f"positive numbers are expected; calibrate the camera"
        )
    return matrix


_COEFFICIENTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}


def _checked_distortion(distortion: Sequence[float], model: str) -> npt.NDArray[np.float64]:
    coefficients = np.asarray(distortion, dtype=np.float64).ravel()
    allowed = _COEFFICIENTS.get(model)
    if allowed is None:
        raise ImageError(
            f"camera_info has the distortion_model {model!r}, which is not supported; "
            f"calibrate with one of {', '.join(_COEFFICIENTS)}"
        )
    if coefficients.size not in allowed or not np.isfinite(coefficients).all():
        raise ImageError(
            f"camera_info has the distortion coefficients {coefficients.tolist()}, but {model} "
            f"takes {' or '.join(map(str, allowed))} finite numbers; calibrate the camera"
        )
    return coefficients if coefficients.size else np.zeros(5)
