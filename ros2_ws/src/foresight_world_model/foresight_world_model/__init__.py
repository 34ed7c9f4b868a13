"""The world model node."""
