"""Importing recordings: every frame gets the data that was recorded at its time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner, Result

from foresight.apps.cli import app
from foresight.bodies.profile import RobotProfile
from foresight.data import bags
from foresight.data.bags import Resampler, Tally
from foresight.data.dataset import Episode, load_episode

STORE = get_typestore(Stores.ROS2_JAZZY)
T0_NS = 1_700_000_000_000_000_000
LINEAR, ANGULAR = 0.2, 0.4  # m/s, rad/s of every drive


def ros(name: str, **fields: Any) -> Any:
    return STORE.types[name](**fields)


def header(time_s: float | None) -> Any:
    """Stamped `time_s` after the bag's epoch; None: not stamped."""
    ns = 0 if time_s is None else T0_NS + round(time_s * 1e9)
    stamp = ros("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)
    return ros("std_msgs/msg/Header", stamp=stamp, frame_id="")


def xyz(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
    return ros("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def twist(linear: float, angular: float) -> Any:
    return ros("geometry_msgs/msg/Twist", linear=xyz(linear), angular=xyz(z=angular))


def stamped(time_s: float, linear: float, angular: float) -> Any:
    message = twist(linear, angular)
    return ros("geometry_msgs/msg/TwistStamped", header=header(time_s), twist=message)


def pose(time_s: float) -> np.ndarray:
    """(x, y, yaw, v, w) of a drive round a circle, which passes half a turn after 7.9 s."""
    yaw, radius = ANGULAR * time_s, LINEAR / ANGULAR
    return np.array([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), yaw, LINEAR, ANGULAR])


def odometry(time_s: float, stamp_s: float | None, shift_m: float = 0.0) -> Any:
    x, y, yaw, linear, angular = pose(time_s)
    at = ros("geometry_msgs/msg/Point", x=x + shift_m, y=y, z=0.0)
    half = yaw / 2
    turned = ros("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=np.sin(half), w=np.cos(half))
    placed = ros("geometry_msgs/msg/Pose", position=at, orientation=turned)
    no = np.zeros(36)
    return ros(
        "nav_msgs/msg/Odometry",
        header=header(stamp_s),
        child_frame_id="base_link",
        pose=ros("geometry_msgs/msg/PoseWithCovariance", pose=placed, covariance=no),
        twist=ros(
            "geometry_msgs/msg/TwistWithCovariance", twist=twist(linear, angular), covariance=no
        ),
    )


def shade(number: int) -> np.ndarray:
    """(60, 80, 3) RGB, a colour that encodes the number of the picture."""
    colour = (number % 200 + 20, 255 - number % 200, 10 * (number % 20))
    return np.full((60, 80, 3), colour, np.uint8)


def raw(rgb: np.ndarray, stamp_s: float | None, encoding: str = "rgb8") -> Any:
    turn = {
        "rgb8": lambda x: x,
        "bgr8": lambda x: x[..., ::-1],
        "mono8": lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None],
    }
    data = turn[encoding](rgb)
    height, width, channels = data.shape
    return ros(
        "sensor_msgs/msg/Image",
        header=header(stamp_s),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * channels,
        data=np.ascontiguousarray(data).ravel(),
    )


def compressed(rgb: np.ndarray, stamp_s: float | None, kind: str) -> Any:
    _, data = cv2.imencode(f".{kind}", rgb[..., ::-1])
    return ros(
        "sensor_msgs/msg/CompressedImage", header=header(stamp_s), format=kind, data=data.ravel()
    )


def camera_info(hfov_deg: float) -> Any:
    focal = 40 / np.tan(np.radians(hfov_deg) / 2)
    region = ros(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )
    return ros(
        "sensor_msgs/msg/CameraInfo",
        header=header(0.0),
        height=60,
        width=80,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([focal, 0, 39.5, 0, focal, 29.5, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


@dataclass
class Recording:
    """Messages to write into a bag: (received s, topic, message)."""

    messages: list[tuple[float, str, Any]] = field(default_factory=list)

    def add(self, time_s: float, topic: str, message: Any) -> None:
        self.messages.append((time_s, topic, message))

    def write(
        self,
        folder: Path,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
        extra: Sequence[tuple[str, str]] = (),
    ) -> Path:
        """`extra` are topics (name, type) without messages."""
        writer = Writer(folder, version=9, storage_plugin=storage)
        writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            known = {
                (topic, type_): writer.add_connection(topic, type_, typestore=STORE)
                for topic, type_ in {(t, m.__msgtype__) for _, t, m in self.messages} | {*extra}
            }
            for time_s, topic, message in sorted(self.messages, key=lambda m: m[0]):
                type_ = message.__msgtype__
                ns = T0_NS + round(time_s * 1e9)
                writer.write(known[topic, type_], ns, STORE.serialize_cdr(message, type_))
        return folder


def drive(
    duration_s: float = 8.0,
    picture: Callable[[np.ndarray, float], Any] = raw,
    image: str = "/image",
    odom: str = "/odom",
    without_pictures: Iterable[int] = (),
    without_odometry: tuple[float, float] = (1e9, 1e9),
    shift_from_s: float = 1e9,
) -> Recording:
    """Pictures at 10 Hz (number k at k / 10 s), odometry at 50 Hz; without commands.

    Odometry is received 5 ms after its stamp, a picture 40 ms after.
    """
    recording = Recording()
    for k in range(round(duration_s * 10)):
        if k not in without_pictures:
            recording.add(k / 10 + 0.04, image, picture(shade(k), k / 10))
    for k in range(-5, round(duration_s * 50) + 5):
        time_s = k / 50
        if not without_odometry[0] < time_s < without_odometry[1]:
            message = odometry(time_s, time_s, 1.0 * (time_s > shift_from_s))
            recording.add(time_s + 0.005, odom, message)
    return recording


def commanded(recording: Recording, topic: str = "/cmd_vel") -> Recording:
    """Commands at 20 Hz that match the drive."""
    for k in range(round(recording.messages[-1][0] * 20)):
        recording.add(k / 20, topic, twist(LINEAR, ANGULAR))
    return recording


@pytest.fixture
def import_bag(homebot: Path, tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        out = ["--out", str(tmp_path / "data"), "--robot", str(homebot)]
        return CliRunner().invoke(app, ["import-bag", *map(str, arguments), *out])

    return run


@pytest.fixture
def episodes(tmp_path: Path) -> Callable[[], list[Episode]]:
    return lambda: [load_episode(file) for file in sorted((tmp_path / "data").glob("*.h5"))]


def number(image: np.ndarray) -> int:
    """Which picture this is, of the first 200."""
    return int(image[30, 40, 0]) - 20


def sentence(result: Result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_an_imported_drive_equals_the_recorded_one(
    storage: StoragePlugin,
    single: bool,
    import_bag: Callable[..., Result],
    episodes: Callable[[], list[Episode]],
    tmp_path: Path,
) -> None:
    bag = commanded(drive()).write(tmp_path / "kitchen", storage)
    result = import_bag(next(f for f in bag.iterdir() if f.suffix != ".yaml") if single else bag)
    assert result.exit_code == 0, result.output
    assert "80 frames in 1 episodes" in result.output
    (episode,) = episodes()
    assert [number(i) for i in episode.image] == list(range(80))
    assert np.array_equal(episode.image[17], shade(17))
    expected = np.array([pose(k / 10) for k in range(80)])
    np.testing.assert_allclose(episode.odometry, expected, atol=1e-4)  # yaw goes on past pi
    np.testing.assert_allclose(episode.command, [[LINEAR, ANGULAR]] * 80, atol=1e-5)
    assert not episode.bump.any()


def test_imported_drives_make_training_windows(
    import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    from foresight.data.dataset import episode_files
    from foresight.data.windows import Drives

    assert import_bag(commanded(drive()).write(tmp_path / "kitchen")).exit_code == 0
    drives = Drives(episode_files(tmp_path / "data"))
    assert len(drives) == 80 and len(drives.starts) == 40
    np.testing.assert_allclose(drives.action[0], [LINEAR, ANGULAR], atol=1e-5)


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_reads_compressed_recordings(
    mode: CompressionMode,
    storage: StoragePlugin,
    import_bag: Callable[..., Result],
    episodes: Callable[[], list[Episode]],
    tmp_path: Path,
) -> None:
    bag = commanded(drive()).write(tmp_path / "kitchen", storage, mode)
    assert import_bag(bag).exit_code == 0
    assert [number(i) for i in episodes()[0].image] == list(range(80))


@pytest.mark.parametrize(
    ("picture", "topic", "tolerance"),
    [
        (lambda rgb, s: raw(rgb, s, "bgr8"), "/image", 0),
        (lambda rgb, s: compressed(rgb, s, "png"), "/image/compressed", 0),
        (lambda rgb, s: compressed(rgb, s, "jpg"), "/robot/image/compressed", 6),
        (lambda rgb, s: compressed(rgb, s, "png"), "/image", 0),
        (lambda rgb, s: raw(rgb.repeat(4, 0).repeat(4, 1), s), "/image", 0),
    ],
    ids=["bgr8", "png", "jpeg", "compressed under a plain name", "320x240"],
)
def test_converts_every_image_encoding_to_the_models_image(
    picture: Callable[[np.ndarray, float], Any],
    topic: str,
    tolerance: int,
    import_bag: Callable[..., Result],
    episodes: Callable[[], list[Episode]],
    tmp_path: Path,
) -> None:
    bag = commanded(drive(picture=picture, image=topic)).write(tmp_path / "kitchen")
    assert import_bag(bag).exit_code == 0
    for k, image in enumerate(episodes()[0].image):
        assert np.abs(image.astype(int) - shade(k)).max() <= tolerance


def test_grey_pictures_stay_grey(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive(picture=lambda rgb, s: raw(rgb, s, "mono8")))
    assert import_bag(recording.write(tmp_path / "kitchen")).exit_code == 0
    grey = cv2.cvtColor(shade(33), cv2.COLOR_RGB2GRAY)
    assert np.array_equal(episodes()[0].image[33], np.stack([grey] * 3, 2))


def test_undistorts_calibrated_pictures_to_the_models_pinhole(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    """A camera of 120 degrees sees more than the model of 90: of a bright middle that spans the
    model's view, nothing else is left."""
    reach = round(40 * np.tan(np.radians(45)) / np.tan(np.radians(60)))

    def picture(_: np.ndarray, stamp_s: float) -> Any:
        rgb = np.zeros((60, 80, 3), np.uint8)
        rgb[:, 40 - reach - 1 : 40 + reach + 1] = 200
        return raw(rgb, stamp_s)

    recording = commanded(drive(picture=picture, image="/front/image"))
    recording.add(0.2, "/front/camera_info", camera_info(120))  # after two pictures
    recording.add(0.0, "/rear/camera_info", camera_info(90))
    bag = recording.write(tmp_path / "kitchen")
    assert import_bag(bag).exit_code == 0
    assert (episodes()[0].image > 190).all()
    shutil.rmtree(tmp_path / "data")
    result = import_bag(bag, "--camera-info", "none")
    assert "the profile's pinhole is used" in result.output
    assert episodes()[0].image[:, :, :10].max() == 0


def test_options_select_topics_of_any_name(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = drive(image="/cam/colour", odom="/base/wheels")
    for k in range(160):
        recording.add(k / 20 + 0.02, "/base/orders", stamped(k / 20, 0.1, -0.3))
    recording.add(3.05, "/base/skirt", ros("std_msgs/msg/Bool", data=True))
    recording.add(3.06, "/base/skirt", ros("std_msgs/msg/Bool", data=False))
    bag = recording.write(tmp_path / "kitchen")
    names = ["--image", "/cam/colour", "--odom", "base/wheels", "--cmd-vel", "/base/orders"]
    assert import_bag(bag, *names, "--bumper", "/base/skirt").exit_code == 0
    (episode,) = episodes()
    np.testing.assert_allclose(episode.command[:79], [[0.1, -0.3]] * 79, atol=1e-5)
    assert np.flatnonzero(episode.bump).tolist() == [31]  # pressed and released since frame 30


def test_finds_default_topics_in_the_only_namespace(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive(image="/r2/image", odom="/r2/odom"), "/r2/cmd_vel")
    assert import_bag(recording.write(tmp_path / "one")).exit_code == 0
    assert len(episodes()) == 1
    recording.add(0.0, "/r3/odom", odometry(0.0, 0.0))
    message = sentence(import_bag(recording.write(tmp_path / "two")))
    assert "several topics could be odom (/r2/odom, /r3/odom); choose one with --odom" in message


def test_command_is_the_mean_in_force_and_zero_after_silence(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    """By its receive time, corrected by the 5 ms lag of this bag's odometry."""
    recording = drive()
    recording.add(1.005, "/cmd_vel", twist(0.4, 0.0))
    recording.add(1.335, "/cmd_vel", twist(0.2, 1.0))  # falls silent; 0.5 s later the driver stops
    recording.add(4.005, "/cmd_vel", twist(0.1, 0.0))
    assert import_bag(recording.write(tmp_path / "kitchen")).exit_code == 0
    command = episodes()[0].command
    assert not command[:10].any()
    np.testing.assert_allclose(command[10:13], [[0.4, 0.0]] * 3, atol=1e-5)
    np.testing.assert_allclose(command[13], [0.3 * 0.4 + 0.7 * 0.2, 0.7], atol=1e-5)
    np.testing.assert_allclose(command[14:18], [[0.2, 1.0]] * 4, atol=1e-5)
    np.testing.assert_allclose(command[18], [0.3 * 0.2, 0.3], atol=1e-5)
    assert not command[19:40].any() and not command[45:].any()
    np.testing.assert_allclose(command[40:45], [[0.1, 0.0]] * 5, atol=1e-5)


def test_bump_includes_presses_since_the_previous_frame(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive())
    for time_s, pressed in [(0.0, False), (2.03, True), (2.25, False), (5.01, True), (5.02, False)]:
        recording.add(time_s, "/bumper", ros("std_msgs/msg/Bool", data=pressed))
    assert import_bag(recording.write(tmp_path / "kitchen")).exit_code == 0
    assert np.flatnonzero(episodes()[0].bump).tolist() == [21, 22, 51]


def test_uses_the_receive_time_of_messages_without_stamps(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = Recording()
    for k in range(80):
        recording.add(k / 10, "/image", raw(shade(k), None))
    for k in range(400):
        recording.add(k / 50, "/odom", odometry(k / 50, None))
    assert import_bag(commanded(recording).write(tmp_path / "kitchen")).exit_code == 0
    (episode,) = episodes()
    expected = np.array([pose(k / 10) for k in range(len(episode))])
    assert [number(i) for i in episode.image] == list(range(80))
    np.testing.assert_allclose(episode.odometry, expected, atol=1e-4)


def test_commands_stay_aligned_under_simulated_time(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    """Simulated time, at half the speed of the recorder's clock."""
    recording = drive()
    recording.add(1.005, "/cmd_vel", twist(0.4, 0.0))
    slow = [(1000 + 2 * time_s, topic, message) for time_s, topic, message in recording.messages]
    assert import_bag(Recording(slow).write(tmp_path / "kitchen")).exit_code == 0
    command = episodes()[0].command
    assert not command[:9].any() and not command[16:].any()
    np.testing.assert_allclose(command[11:15], [[0.4, 0.0]] * 4, atol=1e-5)


@pytest.mark.parametrize(
    ("recording", "lengths", "why"),
    [
        (drive(14, without_pictures=range(60, 63)), [60, 77], "pictures were missing"),
        (drive(14, without_odometry=(5.99, 6.51)), [60, 74], "odometry was missing"),
        (drive(14, shift_from_s=6.99), [70, 70], "odometry jumped"),
        (drive(14, without_pictures=range(30, 33)), [107], "pictures were missing"),
        (drive(14, without_pictures=[50, 51]), [140], ""),
        (drive(14, without_odometry=(6.01, 6.29)), [140], ""),
        (drive(110), [1000, 100], ""),
    ],
    ids=[
        "no pictures for 0.4 s",
        "no odometry for over 0.3 s",
        "odometry jumps",
        "too short before the gap",
        "two pictures missing",
        "odometry missing for under 0.3 s",
        "long",
    ],
)
def test_gaps_end_episodes(
    recording: Recording,
    lengths: list[int],
    why: str,
    import_bag: Callable[..., Result],
    episodes: Callable[[], list[Episode]],
    tmp_path: Path,
) -> None:
    result = import_bag(commanded(recording).write(tmp_path / "kitchen"))
    assert result.exit_code == 0, result.output
    assert [len(episode) for episode in episodes()] == lengths
    assert (f"episodes ended early: 1, {why}" in result.output) == bool(why)
    if lengths == [107]:
        assert "dropped: 30 frames in stretches of less than 5 s" in result.output
    if lengths == [1000, 100]:  # nothing is lost at the cut
        np.testing.assert_allclose(episodes()[0].odometry[-1], pose(99.9), atol=1e-4)
        np.testing.assert_allclose(episodes()[1].odometry[0, :2], pose(100)[:2], atol=1e-4)
        np.testing.assert_allclose(episodes()[0].command[-1], [LINEAR, ANGULAR], atol=1e-5)


def test_replaces_a_missing_picture_by_its_neighbour_with_its_odometry(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive(without_pictures=[50]))
    assert import_bag(recording.write(tmp_path / "kitchen")).exit_code == 0
    (episode,) = episodes()
    assert [number(i) for i in episode.image[48:53]] == [48, 49, 49, 51, 52]
    np.testing.assert_allclose(episode.odometry[50], pose(4.9), atol=1e-4)
    np.testing.assert_allclose(episode.command[47:52], [[LINEAR, ANGULAR]] * 5, atol=1e-5)


def test_a_jump_back_in_time_starts_another_episode(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    """A simulation that was restarted while the recorder kept running."""
    first, again = drive(7), drive(6)
    recording = Recording(first.messages + [(s + 7.5, t, m) for s, t, m in again.messages])
    for k in range(270):
        recording.add(k / 20, "/cmd_vel", twist(LINEAR, ANGULAR))
    result = import_bag(recording.write(tmp_path / "kitchen"))
    assert result.exit_code == 0, result.output
    assert "time jumped back" in result.output
    assert [len(episode) for episode in episodes()] == [70, 60]
    np.testing.assert_allclose(episodes()[1].odometry[0], pose(0), atol=1e-4)
    np.testing.assert_allclose(episodes()[1].command[5:], [[LINEAR, ANGULAR]] * 55, atol=1e-5)


def test_decodes_only_the_nearest_pictures_of_a_fast_camera(
    homebot: Path,
) -> None:
    saved: list[Episode] = []
    decoded: list[int] = []
    resampler = Resampler(RobotProfile.load(homebot), saved.append, Tally())

    def decode(k: int) -> np.ndarray:
        decoded.append(k)
        return shade(k)

    for k in range(180):  # 30 Hz
        resampler.odometry(k / 30, *pose(k / 30))
        resampler.picture(k / 30, lambda k=k: decode(k))
    resampler.finish()
    assert [number(i) for i in saved[0].image] == list(range(0, 178, 3))
    assert decoded == list(range(0, 178, 3))


def test_a_camera_of_7_hz_gives_10_frames_a_second(homebot: Path) -> None:
    saved: list[Episode] = []
    resampler = Resampler(RobotProfile.load(homebot), saved.append, Tally())
    for k in range(70):
        resampler.odometry(k / 7, *pose(k / 7))
        resampler.picture(k / 7, lambda k=k: shade(k))
    resampler.finish()
    shown = [number(i) for i in saved[0].image]
    for frame, k in enumerate(shown):
        assert abs(k / 7 - frame / 10) <= 1 / 14 + 1e-6
    assert len(shown) == 99


def test_waits_at_a_cut_for_odometry_that_comes_after_its_picture(homebot: Path) -> None:
    saved: list[Episode] = []
    resampler = Resampler(RobotProfile.load(homebot), saved.append, Tally())
    for k in range(1100):
        resampler.picture(k / 10, lambda: shade(0))
        if k >= 5:
            resampler.odometry((k - 5) / 10, *pose((k - 5) / 10))
    resampler.finish()
    assert [len(episode) for episode in saved] == [1000, 95]
    np.testing.assert_allclose(saved[1].odometry[0, :2], pose(100)[:2], atol=1e-4)


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_keeps_the_beginning_of_a_truncated_recording(
    storage: StoragePlugin,
    import_bag: Callable[..., Result],
    episodes: Callable[[], list[Episode]],
    tmp_path: Path,
) -> None:
    """After a power cut: no end, no index, no metadata.yaml."""
    bag = commanded(drive(40)).write(tmp_path / "kitchen", storage)
    (bag / "metadata.yaml").unlink()
    (file,) = bag.iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 4 // 5])
    for recording in (bag, file):
        message = sentence(import_bag(recording))
        assert f"{recording.name}: damaged (" in message
        assert "what could be read was imported" in message
        (episode,) = episodes()
        assert 250 < len(episode) < 330
        np.testing.assert_allclose(episode.odometry[250], pose(25), atol=1e-4)
        shutil.rmtree(tmp_path / "data")


def test_reads_a_recording_without_metadata_in_file_order(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    whole = commanded(drive(12))
    folder = tmp_path / "split"
    folder.mkdir()
    for name, begin, end in [("split_2.mcap", -1, 6), ("split_10.mcap", 6, 20)]:
        part = Recording([m for m in whole.messages if begin <= m[0] < end])
        shutil.move(part.write(tmp_path / "part") / "part.mcap", folder / name)
        shutil.rmtree(tmp_path / "part")
    assert "it has no metadata.yaml" in sentence(import_bag(folder))
    assert [number(i) for i in episodes()[0].image] == list(range(120))


@pytest.mark.parametrize("name", ["noise.mcap", "noise.db3", "noise.bag", "folder"])
def test_reports_what_is_not_a_recording_in_one_sentence(
    name: str, import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"no bag" * 100)
    message = sentence(import_bag(path))
    assert f"{name}: cannot be read as a rosbag2 recording" in message
    assert "metadata.yaml" in message


def test_suggests_topics_of_the_right_type_for_a_missing_one(
    import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    recording = commanded(drive(odom="/wheels"))
    message = sentence(import_bag(recording.write(tmp_path / "one")))
    assert "one: there is no topic odom; choose with --odom from /wheels" in message
    message = sentence(import_bag(tmp_path / "one", "--odom", "/wheel"))
    assert "there is no topic /wheel; choose with --odom from /wheels" in message
    message = sentence(import_bag(drive().write(tmp_path / "two")))
    assert "there is no topic cmd_vel; record a geometry_msgs/msg/Twist or" in message


def test_refuses_a_topic_of_another_type(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive())
    recording.add(1.0, "/bumper", ros("std_msgs/msg/Float64", data=1.0))
    bag = recording.write(tmp_path / "kitchen")
    message = sentence(import_bag(bag))
    assert "/bumper is a std_msgs/msg/Float64, but bumper must be a std_msgs/msg/Bool" in message
    assert import_bag(bag, "--bumper", "none").exit_code == 0
    assert len(episodes()) == 1


def test_reports_topics_without_messages_in_one_sentence(
    import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    topics = [
        ("/image", "sensor_msgs/msg/Image"),
        ("/odom", "nav_msgs/msg/Odometry"),
        ("/cmd_vel", "geometry_msgs/msg/Twist"),
    ]
    assert "no message on /odom" in sentence(
        import_bag(Recording().write(tmp_path / "none", extra=topics))
    )
    assert "no message on /cmd_vel" in sentence(
        import_bag(drive().write(tmp_path / "some", extra=topics))
    )


def test_refuses_pictures_of_an_absurd_size_before_allocating(
    import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    def picture(_: np.ndarray, stamp_s: float) -> Any:
        message = raw(shade(0), stamp_s)
        message.width, message.height, message.step = 10**6, 10**6, 3 * 10**6
        return message

    message = sentence(import_bag(commanded(drive(picture=picture)).write(tmp_path / "kitchen")))
    assert "1000000x1000000, but at most 50 megapixels are taken" in message
    assert "dropped: 80 unusable pictures" in message
    assert "gave no episode" in message


def test_counts_and_replaces_a_broken_picture(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    def picture(rgb: np.ndarray, stamp_s: float) -> Any:
        message = compressed(rgb, stamp_s, "png")
        if stamp_s == 2.0:
            message.data = message.data[:50]
        return message

    result = import_bag(commanded(drive(picture=picture)).write(tmp_path / "kitchen"))
    assert result.exit_code == 0
    assert "dropped: 1 unusable pictures" in result.output
    assert "truncated PNG" in result.output
    assert [number(i) for i in episodes()[0].image[19:22]] == [19, 19, 21]


def test_counts_nonsensical_messages(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    recording = commanded(drive())
    recording.add(3.001, "/odom", odometry(float("nan"), 2.99))
    recording.add(3.001, "/cmd_vel", twist(float("inf"), 0.0))
    result = import_bag(recording.write(tmp_path / "kitchen"))
    assert result.exit_code == 0, result.output
    assert "1 odometry messages with invalid numbers" in result.output
    assert "1 commands with invalid numbers" in result.output
    assert np.isfinite(episodes()[0].odometry).all() and np.isfinite(episodes()[0].command).all()


def test_reports_cameras_and_odometry_without_a_common_clock(
    import_bag: Callable[..., Result], tmp_path: Path
) -> None:
    recording = drive(picture=lambda rgb, s: raw(rgb, s + 5000))
    message = sentence(import_bag(commanded(recording).write(tmp_path / "kitchen")))
    assert "dropped: 80 frames without odometry" in message
    assert "check that camera and odometry share a clock" in message


def test_a_second_import_completes_the_first_without_duplicates(
    import_bag: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bag = commanded(drive(130)).write(tmp_path / "kitchen")
    save = bags.save_episode

    def interrupted(path: Path, *rest: Any) -> None:
        save(path, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(bags, "save_episode", interrupted)
    assert import_bag(bag).exit_code == 130
    names = ["kitchen-1699999999-0000.h5", "kitchen-1699999999-0001.h5"]
    assert [file.name for file in (tmp_path / "data").iterdir()] == names[:1]
    monkeypatch.undo()
    written = (tmp_path / "data" / names[0]).stat().st_mtime_ns
    result = import_bag(bag)
    assert result.exit_code == 0, result.output
    assert "300 frames in 1 episodes" in result.output
    assert "1 episodes existed already" in result.output
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == names
    assert (tmp_path / "data" / names[0]).stat().st_mtime_ns == written
    assert import_bag(bag).exit_code == 0


def test_imports_the_other_bags_when_one_is_damaged(
    import_bag: Callable[..., Result], episodes: Callable[[], list[Episode]], tmp_path: Path
) -> None:
    good = [commanded(drive()).write(tmp_path / name) for name in ("a", "b")]
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"nothing")
    message = sentence(import_bag(good[0], bad, good[1], good[0]))
    assert "160 frames in 2 episodes" in message
    assert "bad.mcap: cannot be read" in message
    assert "a: has the name and start of an earlier bag" in message
    assert len(episodes()) == 2


@pytest.mark.parametrize(
    "arguments",
    [[], ["--out", "x", "--robot", "y"], ["no-such-bag", "--out", "x", "--robot", "y"]],
    ids=["nothing", "no bag", "a bag that is not there"],
)
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["import-bag", *arguments]).exit_code == 2


def test_help_shows_the_options() -> None:
    result = CliRunner().invoke(app, ["import-bag", "--help"])
    assert result.exit_code == 0 and "--cmd-vel" in result.output


def test_reports_a_wrong_profile_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").touch()
    arguments = ["import-bag", "a.mcap", "--out", "x", "--robot", "none.yaml"]
    arguments[1] = str(tmp_path / "a.mcap")
    assert "none.yaml: No such file" in sentence(CliRunner().invoke(app, arguments))
