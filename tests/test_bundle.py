"""Opening a bundle: what is whole runs, what is not is refused in one sentence."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import ModelProto, TensorProto

import passthrough as follow
import scripted as stories
from foresight import bundle
from foresight.bodies.profile import RobotProfile
from foresight.bundle import BundleError
from foresight.bundle.loading import MAX_MANIFEST_BYTES
from foresight.perception.encoder import Encoder

GRAPHS = ("encoder", "dynamics", "planner")


@pytest.fixture
def folder(passthrough: Path, tmp_path: Path) -> Path:
    """A whole bundle to damage."""
    return Path(shutil.copytree(passthrough, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as its reader sees it."""
    file = folder / "manifest.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


def refusal(folder: Path, graph: str | None = None) -> str:
    """Why the bundle, or one of its graphs, is refused: one line that names the file."""
    with pytest.raises(BundleError) as caught:
        loaded = bundle.load(folder)
        if graph:
            loaded.session(graph)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


# ----- whole bundles


def test_whole_bundle_says_what_it_holds(passthrough: Path) -> None:
    loaded = bundle.load(passthrough)
    assert loaded.manifest.latent_size == 3
    assert loaded.manifest.planner.horizon == follow.HORIZON
    assert loaded.digest == hashlib.sha256((passthrough / "manifest.yaml").read_bytes()).hexdigest()
    for graph in GRAPHS:
        assert loaded.session(graph).inputs


def test_bundle_may_be_named_by_text(passthrough: Path) -> None:
    assert bundle.load(str(passthrough)).digest == bundle.load(passthrough).digest


def test_digest_changes_with_any_graph(passthrough: Path, scripted: Path, tmp_path: Path) -> None:
    twin = stories.write(tmp_path / "scripted")
    other = stories.write(tmp_path / "other" / "scripted", stories.view(x=1.0))
    assert bundle.load(twin).digest == bundle.load(scripted).digest
    assert bundle.load(other).digest != bundle.load(scripted).digest


def test_what_was_verified_is_what_runs(folder: Path) -> None:
    loaded = bundle.load(folder)
    (folder / "encoder.onnx").write_bytes(b"swapped after the check")
    grey = np.full((60, 80, 3), 51, np.uint8)
    np.testing.assert_allclose(Encoder(loaded)(grey), [0.2, 0.2, 0.2], atol=1e-6)


def test_encoder_gives_one_float_latent_per_image(passthrough: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[:30, :, 0] = 255
    latent = Encoder(bundle.load(passthrough))(image)
    assert latent.dtype == np.float32
    np.testing.assert_allclose(latent, [0.5, 0.0, 0.0], atol=1e-6)


# ----- damage


def test_missing_bundle(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert "No such file" in message and "manifest.yaml" in message


def test_file_in_place_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("no folder")
    refusal(tmp_path / "bundle")


@pytest.mark.parametrize("graph", GRAPHS)
def test_missing_graph(folder: Path, graph: str) -> None:
    (folder / f"{graph}.onnx").unlink()
    assert f"{graph}.onnx" in refusal(folder)


@pytest.mark.parametrize("graph", GRAPHS)
def test_truncated_graph(folder: Path, graph: str) -> None:
    file = folder / f"{graph}.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    message = refusal(folder)
    assert f"{graph}.onnx" in message and "sha256" in message and "truncated" in message


def test_one_altered_bit(folder: Path) -> None:
    file = folder / "planner.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "altered" in refusal(folder)


def test_graph_that_is_no_graph(folder: Path) -> None:
    """Right digest, wrong content: the runtime refuses it, in our words."""
    (folder / "encoder.onnx").write_bytes(b"not a graph")
    digest = hashlib.sha256(b"not a graph").hexdigest()
    edit(folder, lambda content: content["graphs"]["encoder"].update(sha256=digest))
    message = refusal(folder, "encoder")
    assert "encoder.onnx" in message and "ONNX Runtime" in message


# ----- manifests


def test_oversized_manifest(folder: Path) -> None:
    with (folder / "manifest.yaml").open("a") as file:
        file.write("#" * MAX_MANIFEST_BYTES)
    assert str(MAX_MANIFEST_BYTES) in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"- a list", b"key: [open", b"\xff\xfe\x00", b"[" * 20_000, b"when: 2020-13-45"],
    ids=["empty", "list", "syntax", "binary", "deep", "date"],
)
def test_malformed_manifest(folder: Path, text: bytes) -> None:
    (folder / "manifest.yaml").write_bytes(text)
    assert "manifest.yaml" in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 1),
        ("latent_size", 0),
        ("latent_size", "many"),
        ("action_s", 0),
        ("calibration", {"latent_surprise": float("nan"), "arrived_gap": 0.2}),
        ("unheard_of", 1),
    ],
)
def test_wrong_value_is_named(folder: Path, key: str, value: object) -> None:
    edit(folder, lambda content: content.update({key: value}))
    assert f"'{key}" in refusal(folder)


@pytest.mark.parametrize(
    "key", ["latent_size", "graphs", "body", "action_s", "calibration", "planners"]
)
def test_missing_key_is_named(folder: Path, key: str) -> None:
    edit(folder, lambda content: content.pop(key))
    assert f"'{key}'" in refusal(folder)


def test_manifest_without_one_of_the_graphs(folder: Path) -> None:
    edit(folder, lambda content: content["graphs"].pop("planner"))
    assert "planner" in refusal(folder)


@pytest.mark.parametrize("low", [(0.6, -1.4), (-0.2,), (float("nan"), -1.4)])
def test_action_bounds_must_make_sense(folder: Path, low: tuple[float, ...]) -> None:
    edit(folder, lambda content: content["body"]["action"].update(low=list(low)))
    assert "body.action" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kinematics": "walking"}, "'body.kinematics'"),
        ({"robot": None}, "'body.robot'"),
        ({"travel": {"cruise_mps": 0}}, "'body.travel.cruise_mps'"),
        (
            {"action": {"names": ["x_mps", "y_mps"], "low": [-1, -1], "high": [1, 1]}},
            "linear_mps, angular_radps",
        ),
    ],
)
def test_a_body_that_nobody_knows_is_refused(
    folder: Path, change: dict[str, Any], told: str
) -> None:
    edit(folder, lambda content: content["body"].update(change))
    assert told in refusal(folder)


def test_each_action_has_its_usual_deviation(folder: Path) -> None:
    edit(folder, lambda content: content["calibration"].update(twist_spread=[0.1]))
    assert "twist_spread needs one number for each action" in refusal(folder)


# ----- manifests of the version before


def as_schema_3(content: dict[str, Any]) -> None:
    """Write a manifest as version 3 did, which knew no body."""
    body = content.pop("body")
    content["schema_version"] = 3
    content["robot"] = body["robot"]
    content["proprioception"] = ["linear_mps", "angular_radps", "bump"]
    content["action"] = body["action"] | {"duration_s": content.pop("action_s")}
    for spec in content["planners"].values():
        spec["radius_m"] = body["footprint_radius_m"]


def test_a_bundle_of_schema_3_means_the_same_as_before(folder: Path) -> None:
    now = bundle.load(folder).manifest
    edit(folder, as_schema_3)
    before = bundle.load(folder)
    assert before.manifest == now
    for graph in GRAPHS:
        assert before.session(graph).inputs


@pytest.mark.parametrize("key", ["robot", "action", "planners"])
def test_a_bundle_of_schema_3_that_lacks_something_is_refused(folder: Path, key: str) -> None:
    edit(folder, as_schema_3)
    edit(folder, lambda content: content.pop(key))
    assert f"schema_version 3 has it (KeyError('{key}'))" in refusal(folder)


# ----- the robot


@pytest.fixture
def profile(homebot: Path) -> RobotProfile:
    return RobotProfile.load(homebot)


def unfit(folder: Path, profile: RobotProfile, **change: Any) -> str:
    """Why the robot with that change cannot drive by the bundle."""
    with pytest.raises(BundleError) as caught:
        bundle.load(folder).check_robot(profile.model_copy(update={"name": "mine"} | change))
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    assert "made for the robot 'homebot'" in message and "the robot 'mine'" in message
    return message


def test_the_robot_that_a_bundle_was_made_for_fits(folder: Path, profile: RobotProfile) -> None:
    bundle.load(folder).check_robot(profile)


def test_a_slimmer_and_faster_robot_fits(folder: Path, profile: RobotProfile) -> None:
    limits = profile.limits.model_copy(update={"linear_max_mps": 0.8})
    slim = profile.model_copy(update={"footprint_radius_m": 0.1, "limits": limits})
    bundle.load(folder).check_robot(slim)


def test_a_wider_robot_is_refused(folder: Path, profile: RobotProfile) -> None:
    message = unfit(folder, profile, footprint_radius_m=0.3)
    assert "keep a radius of 0.17 m clear, footprint_radius_m of the robot is 0.3" in message


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("linear_max_mps", 0.3, "linear_mps from -0.2 to 0.5, beyond -0.2 to 0.3"),
        ("linear_min_mps", 0.0, "linear_mps from -0.2 to 0.5, beyond 0 to 0.5"),
        ("angular_max_radps", 1.0, "angular_radps from -1.4 to 1.4, beyond -1 to 1"),
    ],
)
def test_a_slower_robot_is_refused(
    folder: Path, profile: RobotProfile, limit: str, value: float, told: str
) -> None:
    limits = profile.limits.model_copy(update={limit: value})
    assert told in unfit(folder, profile, limits=limits)


def test_graph_outside_the_folder(folder: Path) -> None:
    """A bundle from somewhere else cannot make us read other files."""
    edit(folder, lambda content: content["graphs"]["encoder"].update(file="../encoder.onnx"))
    assert "graphs.encoder.file" in refusal(folder)


# ----- shapes


def replace_encoder(folder: Path, graph: ModelProto) -> None:
    """Put another graph in the encoder's place, with its right digest."""
    data = graph.SerializeToString()
    (folder / "encoder.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    edit(folder, lambda content: content["graphs"]["encoder"].update(sha256=digest))


@pytest.mark.parametrize(
    ("graph", "change", "name"),
    [
        ("encoder", {"image": {"width": 64}}, "image"),
        ("encoder", {"latent_size": 4}, "latent"),
        ("dynamics", {"latent_size": 4}, "latent"),
        ("planner", {"latent_size": 4}, "latent"),
        ("planner", {"planners": {"planner": {"horizon": 6}}}, "warm_start"),
        ("planner", {"planners": {"planner": {"iterations": 3}}}, "noise"),
        ("planner", {"planners": {"planner": {"samples": 9}}}, "noise"),
    ],
)
def test_graph_and_manifest_must_agree(
    folder: Path, graph: str, change: dict[str, Any], name: str
) -> None:
    def apply(content: dict[str, Any]) -> None:
        for key, value in change.items():
            if key == "planners":
                content[key]["planner"].update(value["planner"])
            elif isinstance(value, dict):
                content[key].update(value)
            else:
                content[key] = value

    edit(folder, apply)
    message = refusal(folder, graph)
    assert f"{graph}.onnx" in message and f"'{name}'" in message


def test_an_input_that_nobody_knows_is_refused_before_anything_runs(folder: Path) -> None:
    """It could ask for any amount of memory."""
    graph = follow.encoder()
    graph.graph.input.append(follow.value("extra", 2**33))
    replace_encoder(folder, graph)
    assert "'extra'" in refusal(folder, "encoder")


def test_graph_in_the_place_of_another(folder: Path) -> None:
    """An encoder cannot stand in for a planner, even with a matching digest."""

    def swap(content: dict[str, Any]) -> None:
        content["graphs"]["planner"] = content["graphs"]["encoder"]

    edit(folder, swap)
    assert "has no input 'latent'" in refusal(folder, "planner")


def test_output_that_is_missing(folder: Path) -> None:
    graph = follow.model(
        "encoder",
        follow.encoder().graph.node,
        follow.encoder().graph.input,
        [follow.value("mean", "batch", 3)],
        follow.encoder().graph.initializer,
    )
    replace_encoder(folder, graph)
    assert "has no output 'latent'" in refusal(folder, "encoder")


def test_graph_for_single_images_only(folder: Path) -> None:
    graph = follow.model(
        "encoder",
        follow.encoder().graph.node,
        [follow.value("image", 60, 80, 3, kind=TensorProto.UINT8)],
        [follow.value("latent", 3)],
        [follow.constant("axes", np.array([0, 1])), follow.constant("white", 255.0)],
    )
    replace_encoder(folder, graph)
    assert "(60, 80, 3), the manifest says (batch, 60, 80, 3)" in refusal(folder, "encoder")
