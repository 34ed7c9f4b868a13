"""Driving without a goal: maps, frontiers, and policies that collect experience."""
