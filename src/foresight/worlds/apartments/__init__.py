"""Apartments drawn from a seed, and a robot that lives in them, in MuJoCo."""
