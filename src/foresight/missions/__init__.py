"""Missions: a short YAML file of goals, executed by a behaviour tree."""

from foresight.missions.robot import Job, Outcome, Robot
from foresight.missions.run import Progress, Run, State
from foresight.missions.schema import Mission, MissionError
from foresight.missions.tree import build, outline

__all__ = [
    "Job",
    "Mission",
    "MissionError",
    "Outcome",
    "Progress",
    "Robot",
    "Run",
    "State",
    "build",
    "outline",
]
