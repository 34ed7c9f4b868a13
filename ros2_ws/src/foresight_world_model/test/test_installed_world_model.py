from foresight_node.testing import installed, started


def test_node_runs_names_what_it_lacks_and_ends_on_ctrl_c() -> None:
    with started(installed("foresight_world_model", "world_model")) as node:
        node.wait_for_heartbeat()
        assert not node.configure("world_model")
        assert "parameter 'bundle'" in node.output
        assert node.interrupt() == 0
