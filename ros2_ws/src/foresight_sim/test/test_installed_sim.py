import pytest

from foresight_node.testing import installed, started

pytest.importorskip("mujoco")


def test_robot_that_does_not_exist_is_refused_in_one_sentence() -> None:
    """Whether it drives is tested where the shipped robot is: in foresight_bringup."""
    with started(installed("foresight_sim", "sim", robot="none.yaml")) as sim:
        assert sim.end() == 1
        assert "none.yaml: No such file or directory; give a file such as" in sim.output
        assert "Traceback" not in sim.output
