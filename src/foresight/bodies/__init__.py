"""Robots as the stack knows them: their profiles, and what a world model must know of them.

Another kind of base is one more subclass of `Body` in a file of its own, named in `AnyBody` and
`body_of`, and one more class in `foresight.world_model.motion`.
"""

from foresight.bodies.differential_drive import DifferentialDrive
from foresight.bodies.profile import RobotProfile

AnyBody = DifferentialDrive
"""A body of any kind, as files hold it: a union that is told apart by `kinematics`."""


def body_of(profile: RobotProfile) -> AnyBody:
    """The body of the robot of a profile; a profile describes a differential drive so far."""
    return DifferentialDrive.of(profile)


__all__ = ["AnyBody", "body_of"]
