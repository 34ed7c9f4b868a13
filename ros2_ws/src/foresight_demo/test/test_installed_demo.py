from foresight_node.testing import installed, started


def test_watcher_gives_up_when_there_is_no_stack() -> None:
    with started(installed("foresight_demo", "soak_watch", startup_timeout_s=1.0)) as watcher:
        assert watcher.end() == 1
        assert "the stack is not active but silent within 1 s" in watcher.output
