"""The shipped views of RViz and Foxglove show topics that the graph has, as what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RVIZ = {
    "rviz_default_plugins/Image": "sensor_msgs/Image",
    "rviz_default_plugins/LaserScan": "sensor_msgs/LaserScan",
    "rviz_default_plugins/Marker": "visualization_msgs/Marker",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/MarkerArray",
    "rviz_default_plugins/Odometry": "nav_msgs/Odometry",
    "rviz_default_plugins/Path": "nav_msgs/Path",
    "rviz_default_plugins/RobotModel": "std_msgs/String",
}
"""What each kind of display takes."""
DRAWN = {*RVIZ.values(), "tf2_msgs/TFMessage"}
"""What a three-dimensional panel of Foxglove can draw."""
LATCHED = {"Durability Policy": "Transient Local", "Reliability Policy": "Reliable"}
SENSOR = {"Durability Policy": "Volatile", "Reliability Policy": "Best Effort"}
LATEST = {"Durability Policy": "Volatile", "Reliability Policy": "Reliable"}
SHOWN = {"image", "goal_image", "imagination_path", "places", "scan"}
"""Both views show these, and the status."""


def topics() -> dict[str, tuple[str, str]]:
    """Type and quality of service of each topic, by the table of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("### Topics")[1].split("\n### ")[0]
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found[name.strip("/")] = (re.split(r"[ ,:]", cells[1])[0], cells[-1])
    return found


def displays() -> list[dict[str, Any]]:
    view = yaml.safe_load((ROOT / "config" / "rviz" / "foresight.rviz").read_text())
    return list(view["Visualization Manager"]["Displays"])


def layout() -> dict[str, Any]:
    return json.loads((ROOT / "config" / "foxglove" / "foresight.json").read_text())


def test_rviz_shows_each_topic_as_what_it_is() -> None:
    known, shown = topics(), set()
    for display in displays():
        topic = display.get("Topic") or display.get("Description Topic")
        if topic is None:
            assert display["Class"] in ("rviz_default_plugins/Grid", "rviz_default_plugins/TF")
            continue
        name = topic["Value"].strip("/")
        assert known[name][0] == RVIZ[display["Class"]], name
        shown.add(name)
    assert SHOWN | {"status_text"} <= shown


def test_rviz_asks_for_no_quality_of_service_that_is_not_offered() -> None:
    known = topics()
    for display in displays():
        topic = display.get("Topic") or display.get("Description Topic")
        if topic is None:
            continue
        offered = known[topic["Value"].strip("/")][1]
        asked = {key: topic[key] for key in LATCHED}
        kind = "sensor" if asked == SENSOR else "latched" if asked == LATCHED else "latest"
        assert asked in (SENSOR, LATCHED, LATEST)
        # who asks for less than is offered is served, too; what is latched must be asked for so
        assert (kind == "latched") == offered.startswith("latched"), topic["Value"]
        assert kind == "sensor" or not offered.startswith("sensor"), topic["Value"]


def panels() -> Iterator[tuple[str, str]]:
    """Kind of panel and topic of whatever the layout of Foxglove shows."""
    for panel, config in layout()["configById"].items():
        kind = panel.split("!")[0]
        paths = [config.get("topicPath"), config.get("topicToRender")]
        paths += [config.get("imageMode", {}).get("imageTopic")]
        paths += [path["value"] for path in config.get("paths", [])]
        paths += list(config.get("topics", {}))
        for path in filter(None, paths):
            yield kind, path.strip("/").split(".")[0]


def test_foxglove_shows_each_topic_in_a_panel_that_can() -> None:
    known, shown = topics(), set()
    for kind, name in panels():
        assert name in known, name
        if kind == "3D":
            assert known[name][0] in DRAWN, name
        if kind == "Image":
            assert known[name][0] == "sensor_msgs/Image", name
        shown.add(name)
    assert SHOWN | {"actuation_status", "status_text"} <= shown


def test_every_panel_of_foxglove_has_its_place_and_no_other() -> None:
    def placed(part: str | dict[str, Any]) -> list[str]:
        return [part] if isinstance(part, str) else placed(part["first"]) + placed(part["second"])

    whole = layout()
    assert sorted(placed(whole["layout"])) == sorted(whole["configById"])


def test_fields_that_foxglove_plots_exist() -> None:
    folder = ROOT / "ros2_ws/src/foresight_interfaces/msg"
    for panel, config in layout()["configById"].items():
        for path in config.get("paths", []) if panel.startswith("Plot") else []:
            name, field = path["value"].strip("/").split(".")[:2]
            kind = topics()[name][0]
            if "/" not in kind:
                assert re.search(rf"^\S+ {field}$", (folder / f"{kind}.msg").read_text(), re.M)
