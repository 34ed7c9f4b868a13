"""Images from cameras: decoding, rectification, refusals."""

from __future__ import annotations

import array
import struct
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.perception import image
from foresight.perception.image import ImageError, Rectifier


@dataclass(frozen=True)
class Spec:
    width: int = 64
    height: int = 48
    hfov_deg: float = 90.0


def scene(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth coloured structure that survives resizing and chroma subsampling."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def one_sentence(error: pytest.ExceptionInfo[ImageError]) -> str:
    text = str(error.value)
    assert "\n" not in text and 30 < len(text) < 400
    return text


# --- raw images


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
@pytest.mark.parametrize("padding", [0, 5])
def test_colour_encodings_give_rgb(encoding: str, channels: list[int], padding: int) -> None:
    rgb = scene()
    stored = np.ascontiguousarray(rgb[..., channels])
    rows = stored.reshape(48, -1)
    step = rows.shape[1] + padding
    padded = np.full((48, step), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    decoded = image.decode(padded.tobytes(), 64, 48, step, encoding)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, rgb)


def test_grey_gives_three_equal_channels() -> None:
    grey = scene()[..., 0].copy()
    decoded = image.decode(grey.tobytes(), 64, 48, 64, "mono8")
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("wrap", [bytes, lambda b: array.array("B", b), bytearray, memoryview])
def test_accepts_any_byte_buffer(wrap) -> None:
    rgb = scene()
    decoded = image.decode(wrap(rgb.tobytes()), 64, 48, 192, "rgb8")
    np.testing.assert_array_equal(decoded, rgb)


def test_rgb8_is_not_copied() -> None:
    data = bytearray(48 * 200)
    decoded = image.decode(data, 64, 48, 200, "rgb8")
    data[200] = 9
    assert decoded[1, 0, 0] == 9


@pytest.mark.parametrize(
    ("encoding", "luma", "chroma"),
    [
        ("yuv422", (1, 3), (0, 2)),
        ("uyvy", (1, 3), (0, 2)),
        ("yuv422_yuy2", (0, 2), (1, 3)),
        ("yuyv", (0, 2), (1, 3)),
    ],
)
def test_decodes_yuv422(encoding: str, luma: tuple[int, int], chroma: tuple[int, int]) -> None:
    # A uniform orange, by the equations of BT.601 (limited range).
    r, g, b = 200.0, 120.0, 40.0
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    packed = np.zeros((4, 4, 4), np.uint8)
    packed[..., list(luma)] = round(y)
    packed[..., chroma[0]], packed[..., chroma[1]] = round(u), round(v)
    decoded = image.decode(packed.tobytes(), 8, 4, 16, encoding)
    assert decoded.shape == (4, 8, 3)
    assert np.abs(decoded.astype(int) - [200, 120, 40]).max() <= 3


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_decodes_bayer(pattern: str) -> None:
    colour = {"r": 210, "g": 120, "b": 30}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (8, 8))
    decoded = image.decode(mosaic.tobytes(), 16, 16, 16, f"bayer_{pattern}8")
    np.testing.assert_array_equal(decoded[4:12, 4:12], np.broadcast_to([210, 120, 30], (8, 8, 3)))


@pytest.mark.parametrize(
    ("size", "width", "height", "step", "encoding", "says"),
    [
        (9216, 64, 48, 192, "32FC1", "'32FC1'"),
        (9216, 64, 48, 192, "", "''"),
        (9215, 64, 48, 192, "rgb8", "9215 bytes"),
        (9217, 64, 48, 192, "rgb8", "9217 bytes"),
        (0, 64, 48, 192, "rgb8", "0 bytes"),
        (9216, 65, 48, 192, "rgb8", "step 192"),
        (0, 0, 48, 0, "rgb8", "0x48"),
        (0, 64, 0, 192, "rgb8", "64x0"),
        (0, 100_000, 100_000, 300_000, "rgb8", "50 megapixels"),
        (15, 5, 3, 5, "bayer_rggb8", "even"),
        (30, 5, 3, 10, "yuyv", "even"),
    ],
)
def test_refuses_invalid_raw_images(
    size: int, width: int, height: int, step: int, encoding: str, says: str
) -> None:
    with pytest.raises(ImageError) as error:
        image.decode(bytes(size), width, height, step, encoding)
    assert says in one_sentence(error)


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=600),
    width=st.integers(0, 40),
    height=st.integers(0, 40),
    step=st.integers(0, 130),
    encoding=st.one_of(st.sampled_from(image.ENCODINGS), st.text(max_size=8)),
)
def test_decode_gives_an_image_or_an_image_error(
    data: bytes, width: int, height: int, step: int, encoding: str
) -> None:
    try:
        decoded = image.decode(data, width, height, step, encoding)
    except ImageError:
        return
    assert decoded.shape == (height, width, 3)


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 20).map(lambda n: 2 * n),
    height=st.integers(1, 20).map(lambda n: 2 * n),
    padding=st.integers(0, 9),
    encoding=st.sampled_from(image.ENCODINGS),
    fill=st.integers(0, 255),
)
def test_decode_accepts_every_consistent_message(
    width: int, height: int, padding: int, encoding: str, fill: int
) -> None:
    step = width * 4 + padding
    decoded = image.decode(bytes([fill]) * (step * height), width, height, step, encoding)
    assert decoded.shape == (height, width, 3)
    assert decoded.dtype == np.uint8


# --- compressed images


def compressed(extension: str, rgb: np.ndarray) -> bytes:
    ok, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert ok
    return data.tobytes()


def test_png_is_exact_and_jpeg_is_close() -> None:
    rgb = scene()
    np.testing.assert_array_equal(image.decode_compressed(compressed(".png", rgb)), rgb)
    jpeg = image.decode_compressed(compressed(".jpg", rgb))
    assert np.abs(jpeg.astype(int) - rgb).mean() < 4


def test_accepts_a_padded_jpeg() -> None:
    jpeg = compressed(".jpg", scene()) + bytes(40)
    assert image.decode_compressed(array.array("B", jpeg)).shape == (48, 64, 3)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
def test_refuses_truncated_files(extension: str, keep: float) -> None:
    whole = compressed(extension, scene())
    with pytest.raises(ImageError) as error:
        image.decode_compressed(whole[: max(9, int(len(whole) * keep))])
    assert "truncated" in one_sentence(error)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(20), b"<html>not here</html>"])
def test_refuses_other_formats(data: bytes) -> None:
    with pytest.raises(ImageError) as error:
        image.decode_compressed(data)
    assert "JPEG or PNG" in one_sentence(error)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_refuses_a_huge_declared_size_before_decoding(
    extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(compressed(extension, scene()))
    if extension == ".png":
        data[16:24] = struct.pack(">II", 60_000, 60_000)
    else:
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)

    def no_decoding(*_: object) -> None:
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(cv2, "imdecode", no_decoding)
    with pytest.raises(ImageError) as error:
        image.decode_compressed(bytes(data))
    assert "60000x60000" in one_sentence(error)


def test_refuses_a_corrupt_png() -> None:
    data = bytearray(compressed(".png", scene()))
    data[40:-20] = bytes(len(data) - 60)
    with pytest.raises(ImageError) as error:
        image.decode_compressed(bytes(data))
    assert "corrupt" in one_sentence(error)


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x0b", b"\x89PNG\r\n\x1a\n"]),
    rest=st.binary(max_size=200),
    end=st.sampled_from([b"", b"\xff\xd9", b"IEND\xaeB`\x82"]),
)
def test_decode_compressed_raises_only_image_errors(start: bytes, rest: bytes, end: bytes) -> None:
    try:
        decoded = image.decode_compressed(start + rest + end)
    except ImageError:
        return
    assert decoded.ndim == 3 and decoded.shape[2] == 3


# --- goals


def test_accepts_a_goal_from_the_robots_camera() -> None:
    image.check_goal(scene(), Spec())
    image.check_goal(scene(320, 240), Spec())


@pytest.mark.parametrize(
    ("rgb", "says"),
    [
        (np.full((240, 320, 3), 128, np.uint8), "blank"),
        (np.zeros((240, 320, 3), np.uint8), "blank"),
        (scene(32, 24), "32x24"),
        (scene(240, 240), "240x240"),
        (scene(240, 320), "240x320"),
    ],
)
def test_refuses_unusable_goals(rgb: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError) as error:
        image.check_goal(rgb, Spec())
    assert says in one_sentence(error)


def test_noise_on_a_blank_wall_is_still_blank() -> None:
    noise = np.random.default_rng(1).integers(120, 136, (240, 320, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match="blank"):
        image.check_goal(noise, Spec())


# --- to the model's camera


def test_to_model_averages_areas() -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255  # one pixel wide: any sampling would alias to black or white
    small = image.to_model(stripes, Spec())
    assert small.shape == (48, 64, 3) and small.flags.c_contiguous
    assert np.abs(small.astype(int) - 127.5).max() <= 1


def test_to_model_refuses_to_distort() -> None:
    with pytest.raises(ImageError) as error:
        image.to_model(scene(320, 180), Spec())
    assert "320x180" in one_sentence(error)


def test_leaves_pictures_of_the_models_own_camera_untouched() -> None:
    spec = Spec()
    rectify = Rectifier(spec, image.pinhole(320, 240, 90.0), [], 320, 240)
    rgb = scene(320, 240)
    assert rectify.identity
    assert rectify(rgb) is rgb


def render(k: np.ndarray, d: np.ndarray, width: int, height: int, model: str) -> np.ndarray:
    """What a camera sees of a wall of smooth waves at z = 1, by its own forward model."""
    u, v = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    pixels = np.stack([u.ravel(), v.ravel()], 1)[:, None]
    if model == "equidistant":
        rays = cv2.fisheye.undistortPoints(pixels, k, d)
    else:
        rays = cv2.undistortPoints(pixels, k, d if d.size else np.zeros(5))
    x, y = rays[:, 0, 0], rays[:, 0, 1]
    waves = [np.sin(4 * x + 2 * y), np.sin(5 * y - x), np.cos(3 * x - 4 * y)]
    wall = np.stack([128 + 100 * w for w in waves], 1)
    return wall.reshape(height, width, 3).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "hfov", "distortion", "model"),
    [
        (320, 240, 100.0, [], "plumb_bob"),
        (640, 360, 105.0, [-0.05, 0.01, 0.001, -0.001, 0.0], "plumb_bob"),
        (640, 480, 100.0, [-0.05, 0.01, 0, 0, 0, 0.02, 0, 0], "rational_polynomial"),
        (640, 480, 100.0, [0.01, -0.005, 0.0, 0.0], "equidistant"),
    ],
)
def test_rectifies_other_cameras_to_the_models_view(
    width: int, height: int, hfov: float, distortion: list[float], model: str
) -> None:
    spec = Spec(hfov_deg=80.0)
    k = image.pinhole(width, height, hfov)
    k[0, 2] += 7  # an off-centre axis
    rectify = Rectifier(spec, k, distortion, width, height, model)
    seen = render(k, np.array(distortion, dtype=float), width, height, model)
    wanted = render(image.pinhole(64, 48, 80.0), np.array([]), 64, 48, "plumb_bob")
    got = image.to_model(rectify(seen), spec)
    assert not rectify.identity
    assert rectify.coverage > 0.95
    error = np.abs(got.astype(int) - wanted)[4:-4, 4:-4]
    assert error.mean() < 2.5
    unrectified = cv2.resize(seen, (64, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(unrectified.astype(int) - wanted)[4:-4, 4:-4].mean() > 8


def test_rectifies_a_scaled_picture_alike() -> None:
    spec = Spec(hfov_deg=80.0)
    k = image.pinhole(320, 240, 100.0)
    rectify = Rectifier(spec, k, [], 320, 240)
    seen = render(k, np.array([]), 320, 240, "plumb_bob")
    twice = cv2.resize(seen, (640, 480), interpolation=cv2.INTER_LINEAR)
    same = image.to_model(rectify(twice), spec).astype(int) - image.to_model(rectify(seen), spec)
    assert np.abs(same).max() <= 4


def test_refuses_a_picture_of_another_shape() -> None:
    rectify = Rectifier(Spec(), image.pinhole(320, 240, 90.0), [], 320, 240)
    with pytest.raises(ImageError) as error:
        rectify(scene(320, 200))
    assert "320x200" in one_sentence(error)


@pytest.mark.parametrize(
    ("k", "d", "model", "says"),
    [
        (np.zeros(9), [], "plumb_bob", "calibrate"),
        (np.full(9, np.nan), [], "plumb_bob", "calibrate"),
        (np.ones(4), [], "plumb_bob", "4 numbers"),
        (image.pinhole(320, 240, 90.0), [], "thin_prism", "'thin_prism'"),
        (image.pinhole(320, 240, 90.0), [0.1, 0.2], "plumb_bob", "[0.1, 0.2]"),
        (image.pinhole(320, 240, 90.0), [0, 0, np.inf, 0, 0], "plumb_bob", "inf"),
        (image.pinhole(320, 240, 30.0), [], "plumb_bob", "wider lens"),
    ],
)
def test_refuses_unusable_calibrations(
    k: np.ndarray, d: list[float], model: str, says: str
) -> None:
    with pytest.raises(ImageError) as error:
        Rectifier(Spec(), k, d, 320, 240, model)
    assert says in one_sentence(error)


def test_an_empty_distortion_model_means_no_distortion() -> None:
    assert Rectifier(Spec(), image.pinhole(320, 240, 90.0), [], 320, 240, "").identity
