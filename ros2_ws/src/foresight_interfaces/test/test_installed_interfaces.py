from importlib import import_module
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message

SOURCES = [
    path
    for kind in ("msg", "srv", "action")
    for path in sorted(Path(__file__).resolve().parent.joinpath("..", kind).glob(f"*.{kind}"))
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_interface_is_built_and_survives_the_wire(source: Path) -> None:
    kind = source.suffix.removeprefix(".")
    interface = getattr(import_module(f"foresight_interfaces.{kind}"), source.stem)
    parts = {
        "msg": [interface],
        "srv": [getattr(interface, part, None) for part in ("Request", "Response")],
        "action": [getattr(interface, part, None) for part in ("Goal", "Result", "Feedback")],
    }[kind]
    for part in parts:
        message = part()
        assert deserialize_message(serialize_message(message), part) == message
