"""The descriptions under the names that launch files import."""

from launch.unsupported import refuse_names

from .parameter_descriptions import ParameterFile, ParameterValue

__getattr__ = refuse_names(__name__, {"ComposableNode", "Parameter"})
__all__ = ["ParameterFile", "ParameterValue"]
