from std_msgs.msg import String

from foresight_node.messages import LATCHED
from foresight_node.testing import installed, started


def test_manager_fails_when_its_nodes_do_not_come() -> None:
    options = {"node_names": ["nobody"], "startup_timeout_s": 1.0}
    with started(installed("foresight_lifecycle", "lifecycle_manager", **options)) as manager:
        states = manager.collect(String, "system_state", LATCHED)
        manager.wait_for(lambda: String(data="failed") in states)
        assert "nobody" in manager.output
        assert manager.interrupt() == 0
