"""Whatever is in a file, its reader answers with its own error, one sentence, and little memory.

FORESIGHT_FUZZ is how many damaged files each reader gets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin

from drives import circle
from foresight import bundle
from foresight.apps.launching import UsageError, parse_arguments
from foresight.bodies.profile import ProfileError, RobotProfile
from foresight.bundle import BundleError
from foresight.data import bags
from foresight.data.dataset import DatasetError, load_episode, save_episode
from foresight.memory import PlacesError
from foresight.missions import Mission, MissionError
from fuzzing import bombard
from memories import corridor, opened
from test_bags import commanded, drive

pytestmark = pytest.mark.timeout(0 if "FORESIGHT_FUZZ" in os.environ else 60)

FILES = int(os.environ.get("FORESIGHT_FUZZ", 25))
LONGEST_SENTENCE = 1000
MISSION = """\
name: tour
repeat: 2
retries: 1
steps:
  - go: dock
  - look: kitchen
    save: kitchen.jpg
  - explore: 30
  - wait: 1
  - return: true
"""

Cut = tuple[float, int, bytes]
"""Where (as a share of the file), how many bytes go, and what comes instead."""

_TOKENS = (b"\0", b"\xff" * 8, b"\0" * 64, b"&a [*a]", b"!!python/object:os.system", b"{", b"- ")
_CUTS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from((0, 1, 4, 8, 100, 10_000, 10**9)),
        st.sampled_from(_TOKENS) | st.binary(max_size=16),
    ),
    min_size=1,
    max_size=4,
)
_VALUES = (
    st.sampled_from(
        (
            None,
            True,
            [],
            {},
            "",
            "x" * 10_000,
            -1,
            0,
            10**400,
            float("nan"),
            float("inf"),
            [[]] * 1000,
        )
    )
    | st.text(max_size=10)
    | st.integers()
    | st.floats()
)


def _cut(data: bytes, cuts: list[Cut]) -> bytes:
    for share, length, instead in cuts:
        start = int(share * len(data))
        data = data[:start] + instead + data[start + length :]
    return data


@st.composite
def _replaced(draw: Any, content: Any) -> Any:
    """YAML with a few values at any depth replaced, or their keys renamed."""
    content = yaml.safe_load(yaml.safe_dump(content))
    for _ in range(draw(st.integers(1, 3))):
        owner, key = content, None
        while isinstance(owner, dict | list) and owner:
            keys = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
            key = draw(st.sampled_from(keys))
            inner = owner[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
                owner[key] = draw(_VALUES)
                break
            owner = inner
    return content


def _texts(sample: bytes) -> st.SearchStrategy[bytes]:
    """Damaged YAML files: by bytes, by values, and no files of the kind at all."""
    content = yaml.safe_load(sample)
    by_value = _replaced(content).map(lambda c: yaml.safe_dump(c, allow_unicode=True).encode())
    by_bytes = _CUTS.map(lambda cuts: _cut(sample, cuts))
    strange = st.sampled_from((b"", b"[" * 2_000, b"x: " * 2_000, b"9" * 60_000, BOMB))
    kinds = (*[by_value] * 8, *[by_bytes] * 8, strange, st.binary(max_size=64))
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (k, k, b", ".join([b"*a%d" % (k - 1)] * 9)) for k in range(1, 12)
)
"""Some kilobytes that expand to billions of values."""


def _bombard(
    inputs: st.SearchStrategy[Any],
    read: Callable[[Any], object],
    errors: type[Exception] | tuple[type[Exception], ...],
) -> None:
    """`read` may succeed, or raise its error in one sentence; memory must not grow."""

    def take(damaged: Any) -> None:
        try:
            read(damaged)
        except errors as error:
            sentence = str(error)
            assert sentence.strip()
            assert "\n" not in sentence
            assert "Traceback" not in sentence
            assert len(sentence) <= LONGEST_SENTENCE, f"{len(sentence)} characters"

    bombard(inputs, take, FILES)


def _written(file: Path, load: Callable[[Path], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        file.write_bytes(data)
        return load(file)

    return read


def test_fuzzes_robot_profiles(homebot: Path, tmp_path: Path) -> None:
    read = _written(tmp_path / "robot.yaml", RobotProfile.load)
    _bombard(_texts(homebot.read_bytes()), read, ProfileError)


def test_fuzzes_missions(tmp_path: Path) -> None:
    file = tmp_path / "mission.yaml"
    file.write_text(MISSION)
    Mission.load(file)
    _bombard(_texts(MISSION.encode()), _written(file, Mission.load), MissionError)


def test_fuzzes_manifests(passthrough: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(passthrough, tmp_path / "bundle")
    file = folder / "manifest.yaml"
    read = _written(file, lambda _: bundle.load(folder))
    _bombard(_texts(file.read_bytes()), read, BundleError)


def test_fuzzes_graphs_with_matching_digests(passthrough: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(passthrough, tmp_path / "bundle")
    file, manifest = folder / "relation.onnx", folder / "manifest.yaml"
    text, data = manifest.read_text(), file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()

    def load(_: Path) -> None:
        altered = hashlib.sha256(file.read_bytes()).hexdigest()
        manifest.write_text(text.replace(digest, altered))
        bundle.load(folder).session("relation")

    _bombard(_CUTS.map(lambda cuts: _cut(data, cuts)), _written(file, load), BundleError)


def test_fuzzes_episodes(tmp_path: Path) -> None:
    file = tmp_path / "0.h5"
    save_episode(file, circle(0), "homebot", "a test")
    data = file.read_bytes()
    read = _written(tmp_path / "damaged.h5", load_episode)
    # Megabytes each: hypothesis would keep them, so it is given the cuts alone.
    _bombard(_CUTS, lambda cuts: read(_cut(data, cuts)), DatasetError)
    _bombard(st.binary(max_size=64), read, DatasetError)


@pytest.mark.parametrize("suffix", (".mcap", ".db3"))
def test_fuzzes_bags(suffix: str, homebot: Path, tmp_path: Path) -> None:
    kind = StoragePlugin.MCAP if suffix == ".mcap" else StoragePlugin.SQLITE3
    folder = commanded(drive(1.0)).write(tmp_path / "recording", storage=kind)
    sample = next(folder.glob(f"*{suffix}"))
    data, file, out = sample.read_bytes(), tmp_path / f"bag{suffix}", tmp_path / "out"

    def load(_: Path) -> None:
        tally = bags.Tally()
        bags.import_bags([file], out, homebot, bags.Topics(), tally)
        shutil.rmtree(out)
        for problem in tally.problems:
            raise DatasetError(problem)

    damaged = _CUTS.map(lambda cuts: _cut(data, cuts)) | st.binary(max_size=64)
    _bombard(damaged, _written(file, load), DatasetError)


def test_fuzzes_memory_files(tmp_path: Path) -> None:
    sample = tmp_path / "sample.db"
    places = opened(sample)
    corridor(places, 4)
    places.close()
    data, file = sample.read_bytes(), tmp_path / "places.db"

    def load(_: Path) -> None:
        for beside in tmp_path.glob("places.db-*"):
            beside.unlink()
        places = opened(file)
        try:
            for place in places.ids:
                places.picture(int(place))
        finally:
            places.close()

    damaged = _CUTS.map(lambda cuts: _cut(data, cuts)) | st.binary(max_size=64)
    _bombard(damaged, _written(file, load), PlacesError)


def test_fuzzes_launch_arguments() -> None:
    texts = st.text(max_size=30) | st.sampled_from((":=", "a:=", ":=b", "a:=b:=c", "x" * 5_000))
    _bombard(st.lists(texts, max_size=4), parse_arguments, UsageError)
