import sys
from dataclasses import dataclass

from lifecycle_msgs.msg import State

from foresight_node import ForesightNode, parameter, run
from foresight_node.testing import started


@dataclass(frozen=True)
class Parameters:
    word: str = parameter("", "What to say.", required=True)


class Smallest(ForesightNode[Parameters]):
    def __init__(self) -> None:
        super().__init__("smallest", Parameters)

    def configure(self) -> None:
        self.get_logger().info(self.values.word)


def test_smallest_node_checks_its_parameters_and_lives_by_its_heartbeat() -> None:
    with started([sys.executable, __file__]) as node:
        node.wait_for_heartbeat()
        assert not node.configure("smallest")
        assert "parameter 'word'" in node.output
        assert node.interrupt() == 0
    with started([sys.executable, __file__, "--ros-args", "-p", "word:=hello"]) as node:
        node.wait_for_heartbeat()
        assert node.configure("smallest")
        node.wait_for_heartbeat(State.PRIMARY_STATE_INACTIVE)
        assert node.interrupt() == 0


if __name__ == "__main__":
    sys.exit(run(Smallest))
