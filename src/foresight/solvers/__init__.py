"""Searches for the best action sequence; the exported planner holds one of them."""
