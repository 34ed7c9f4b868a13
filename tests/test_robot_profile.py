"""Robot profiles: the shipped one loads, and a wrong one is answered in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from foresight import bundle
from foresight.bodies import body_of
from foresight.bodies.body import ActionBounds, Body
from foresight.bodies.profile import MAX_PROFILE_BYTES, ProfileError, RobotProfile


def refusal(path: Path) -> str:
    """Why the profile is refused: one line that names the file."""
    with pytest.raises(ProfileError) as caught:
        RobotProfile.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def edited(homebot: Path, tmp_path: Path) -> Callable[..., Path]:
    """A profile like the shipped one, but for one key."""

    def edit(key: str, value: Any) -> Path:
        content = yaml.safe_load(homebot.read_text())
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return edit


def test_every_shipped_profile_says_when_its_driver_stops(homebot: Path) -> None:
    profiles = [RobotProfile.load(path) for path in sorted(homebot.parent.glob("*.yaml"))]
    assert profiles and all(0 < profile.driver_timeout_s <= 0.5 for profile in profiles)


def test_shipped_profile_loads(homebot: Path) -> None:
    profile = RobotProfile.load(str(homebot))
    assert profile.name == "homebot"
    assert profile.limits.linear_max_mps == 0.5
    assert profile.camera.width == 320


def test_what_a_profile_leaves_out_has_a_default(edited: Callable[..., Path]) -> None:
    assert RobotProfile.load(edited("stamped_cmd_vel", ...)).stamped_cmd_vel is False
    assert RobotProfile.load(edited("camera.pitch_deg", ...)).camera.pitch_deg == 0.0


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("limits.linear_max_mps", "fast", "'fast'"),
        ("limits.linear_max_mps", -0.5, "-0.5"),
        ("limits.linear_max_mps", float("inf"), "inf"),
        ("limits.linear_min_mps", 0.1, "0.1"),
        ("limits.angular_max_radps", float("nan"), "nan"),
        ("camera.width", 0, "0"),
        ("camera.width", 320.5, "320.5"),
        ("camera.hfov_deg", 180, "180"),
        ("scan.beams", 1_000_000, "1000000"),
        ("stamped_cmd_vel", "maybe", "'maybe'"),
        ("footprint_radius_m", [0.17], "[0.17]"),
        ("name", "", "''"),
        ("limits", None, "None"),
    ],
)
def test_wrong_value_is_told_with_file_key_and_value(
    edited: Callable[..., Path], key: str, value: object, shown: str
) -> None:
    message = refusal(edited(key, value))
    assert f"'{key}'" in message and shown in message


@pytest.mark.parametrize("key", ["linear_jerk_mps3", "angular_jerk_radps3"])
def test_a_jerk_too_low_for_a_timely_stop_is_refused(edited: Callable[..., Path], key: str) -> None:
    message = refusal(edited(f"limits.{key}", 5.0))
    assert f"limits.{key} is 5, which makes a stop more than 0.2 s longer" in message
    assert "or more" in message


@pytest.mark.parametrize(
    ("key", "value"), [("cruise_mps", 0.6), ("reverse_mps", 0.21), ("turn_radps", 2.0)]
)
def test_a_usual_speed_above_the_limit_is_refused(
    edited: Callable[..., Path], key: str, value: float
) -> None:
    message = refusal(edited(f"travel.{key}", value))
    assert f": travel.{key} is {value:g}, above the limit of" in message


@pytest.mark.parametrize(
    "key",
    ["limits", "limits.linear_jerk_mps3", "name", "odometry.rate_hz", "driver_timeout_s"],
)
def test_missing_key_is_told_with_a_remedy(edited: Callable[..., Path], key: str) -> None:
    message = refusal(edited(key, ...))
    assert f"'{key}' is missing" in message and "add it" in message


@pytest.mark.parametrize("key", ["colour", "limits.linear_max_kmh"])
def test_misspelt_key_is_told(edited: Callable[..., Path], key: str) -> None:
    assert f"'{key}' is unknown" in refusal(edited(key, 1))


def test_enormous_value_is_not_repeated_in_full(edited: Callable[..., Path]) -> None:
    assert len(refusal(edited("name", "x" * 10_000))) < 500


def test_missing_file_is_told_with_an_example(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.yaml")
    assert "No such file" in message and "homebot.yaml" in message


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "expected keys and values"),
        (b"- homebot", "expected keys and values"),
        (b"name: [homebot", "not valid YAML"),
        (b"name: *nobody", "not valid YAML"),
        (b"name: 2020-13-45", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "not valid YAML"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"[" * 20_000, "nested too deeply"),
        (b"#" * (MAX_PROFILE_BYTES + 1), str(MAX_PROFILE_BYTES)),
    ],
    ids=["empty", "list", "syntax", "alias", "date", "binary", "code", "deep", "large"],
)
def test_what_is_no_profile(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "robot.yaml"
    path.write_bytes(text)
    assert reason in refusal(path)


# ----- the body, which a world model is made for


def test_the_body_is_what_the_profile_says(homebot: Path) -> None:
    body = body_of(RobotProfile.load(homebot))
    assert body.robot == "homebot" and body.kinematics == "differential_drive"
    assert body.footprint_radius_m == 0.17
    assert body.action.names == ("linear_mps", "angular_radps")
    assert body.action.low == (-0.2, -1.4) and body.action.high == (0.5, 1.4)
    assert body.proprioception == ("linear_mps", "angular_radps", "bump")


def test_the_shipped_body_is_the_one_that_the_shipped_weights_know(homebot: Path) -> None:
    """These numbers are in the weights: another one would change what they mean."""
    body = body_of(RobotProfile.load(homebot))
    travel = body.travel
    assert (travel.cruise_mps, travel.reverse_mps, travel.turn_radps) == (0.4, 0.18, 1.1)
    assert body.typical_action == (0.3, 0.8)
    shipped = bundle.load(homebot.parents[2] / "models" / "apartment")
    assert shipped.manifest.body == body


def test_usual_speeds_are_shares_of_the_limits_unless_given(edited: Callable[..., Path]) -> None:
    travel = body_of(RobotProfile.load(edited("travel", ...))).travel
    assert (travel.cruise_mps, travel.reverse_mps, travel.turn_radps) == pytest.approx(
        (0.8 * 0.5, 0.9 * 0.2, 0.8 * 1.4)
    )
    travel = body_of(RobotProfile.load(edited("travel", {"cruise_mps": 0.2}))).travel
    assert travel.cruise_mps == 0.2 and travel.reverse_mps == pytest.approx(0.18)


def test_a_robot_that_cannot_reverse_has_a_body(edited: Callable[..., Path]) -> None:
    path = edited("limits.linear_min_mps", 0.0)
    content = yaml.safe_load(path.read_text())
    del content["travel"]
    path.write_text(yaml.safe_dump(content))
    body = body_of(RobotProfile.load(path))
    assert body.travel.reverse_mps == 0 and body.action.low[0] == 0


class Omnidirectional(Body):
    """A base that also drives sideways, as a later kind would be written."""

    kinematics: Literal["omnidirectional"] = "omnidirectional"


def test_another_kind_of_base_has_its_own_actions_and_does_not_fit(homebot: Path) -> None:
    names = ("linear_mps", "lateral_mps", "angular_radps")
    bounds = ActionBounds(names=names, low=(-0.2, -0.2, -1.4), high=(0.5, 0.2, 1.4))
    body = Omnidirectional(robot="slider", footprint_radius_m=0.2, action=bounds)
    assert body.proprioception == (*names, "bump")
    assert body.typical_action == (0.3, 0.1, 0.8)
    assert body.misfit(body) == ""
    reason = body.misfit(body_of(RobotProfile.load(homebot)))
    assert "lateral_mps" in reason and "'differential_drive'" in reason


def test_profile_cannot_be_changed_after_loading(homebot: Path) -> None:
    profile = RobotProfile.load(homebot)
    with pytest.raises(ValueError, match="frozen"):
        profile.limits.linear_max_mps = 2.0  # type: ignore[misc]
