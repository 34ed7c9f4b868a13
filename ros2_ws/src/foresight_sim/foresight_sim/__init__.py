"""A simulated robot as its drivers would appear in the graph."""
