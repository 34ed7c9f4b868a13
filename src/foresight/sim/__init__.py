"""A simulated home: apartments drawn from a seed, and a robot that lives in MuJoCo."""
