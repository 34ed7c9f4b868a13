"""A simulated home: apartments drawn from a seed, and a robot that lives in MuJoCo."""

import os

# MuJoCo chooses its renderer when it is imported; the default needs a screen.
os.environ.setdefault("MUJOCO_GL", "egl")
