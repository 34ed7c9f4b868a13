"""A simulated robot for the graph, and the demonstration that drives it."""
