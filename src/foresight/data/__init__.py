"""Recorded drives: how they are collected, imported, stored and read."""
