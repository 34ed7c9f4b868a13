from pathlib import Path

from foresight_interfaces.msg import MissionStatus
from foresight_node.messages import LATCHED
from foresight_node.testing import installed, started


def test_mission_waits_until_it_is_started(tmp_path: Path) -> None:
    file = tmp_path / "look.yaml"
    file.write_text("name: look around\nsteps:\n  - explore: 60\n")
    command = installed("foresight_mission", "mission", mission=str(file), autostart=False)
    with started(command) as node:
        statuses = node.collect(MissionStatus, "mission_status", LATCHED)
        node.wait_for(lambda: statuses)
        assert statuses[0].mission == "look around"
        assert statuses[0].state == MissionStatus.IDLE
        assert node.interrupt() == 0


def test_file_that_does_not_exist_is_refused_in_one_sentence() -> None:
    with started(installed("foresight_mission", "mission", mission="none.yaml")) as node:
        assert node.end() == 1
        assert "none.yaml" in node.output
        assert "Traceback" not in node.output
