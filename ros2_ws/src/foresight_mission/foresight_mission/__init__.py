"""The mission node."""
