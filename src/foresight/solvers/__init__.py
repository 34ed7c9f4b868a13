"""Searches for the best action sequence. The exported planner is one of them, fused with a learned
dynamics and an objective."""
