"""The whole stack in one process, and what its launch files share."""
