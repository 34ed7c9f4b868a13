"""Missions: a short YAML of goals, carried out by a behaviour tree."""

from foresight.missions.robot import Job, Outcome, Robot
from foresight.missions.run import Progress, Run, State
from foresight.missions.schema import Mission, MissionError
from foresight.missions.tree import grow, outline

__all__ = [
    "Job",
    "Mission",
    "MissionError",
    "Outcome",
    "Progress",
    "Robot",
    "Run",
    "State",
    "grow",
    "outline",
]
