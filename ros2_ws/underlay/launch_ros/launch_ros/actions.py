"""Actions that start ROS nodes, and that set what nodes started later have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launch import Action, LaunchContext, SomeSubstitutionsType
from launch.actions import ExecuteProcess
from launch.logging import get_logger
from launch.substitutions import SubstitutionFailure
from launch.unsupported import refuse_names
from launch.utilities import normalize_to_list_of_substitutions, perform

from .parameter_descriptions import (
    ParameterFile,
    ParameterValue,
    evaluate_parameters,
    to_yaml,
    write_parameters,
)
from .substitutions import ExecutableInPackage

__getattr__ = refuse_names(
    __name__,
    {
        "ComposableNodeContainer",
        "LifecycleTransition",
        "LoadComposableNodes",
        "RosTimer",
        "SetParametersFromFile",
        "SetROSLogDir",
        "SetUseSimTime",
    },
)

# the launch configurations that carry what the Set and Push actions set, so that groups scope it
_NAMESPACE, _PARAMETERS, _REMAPS = "ros_namespace", "global_params", "ros_remaps"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Node(ExecuteProcess):
    """Run a ROS node.

    `parameters` is a list of dictionaries, paths of YAML files and ParameterFiles, of which later
    ones win; `remappings` a list of (from, to); `executable` a path if there is no `package`.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: Sequence[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs,
    ) -> None:
        if parameters is not None and not isinstance(parameters, list | tuple):
            raise TypeError(f"Node: parameters must be a list, got {parameters!r}")
        for rule in remappings or ():
            if not isinstance(rule, tuple) or len(rule) != 2:
                raise TypeError(f"Node: a remapping must be a tuple (from, to), got {rule!r}")
        start = executable if package is None else ExecutableInPackage(executable, package)
        ros = ["--ros-args", *ros_arguments] if ros_arguments else []
        super().__init__(cmd=[start, *(arguments or ()), *ros], name=exec_name, **kwargs)
        self._node_name = name
        self._node_namespace = namespace
        self._parameters = list(parameters or ())
        self._remappings = list(remappings or ())
        self._full_name: str | None = None

    @property
    def node_name(self) -> str:
        """The node's name with its namespace; RuntimeError before execution."""
        if self._full_name is None:
            raise RuntimeError("a node's name is known once it is executed")
        return self._full_name

    def execute(self, context: LaunchContext) -> None:
        """Start the node with its ROS arguments."""
        words = ["--ros-args", *self._name_words(context)]
        words += self._parameter_words(context) + self._remapping_words(context)
        self._cmd += [normalize_to_list_of_substitutions(word) for word in words]
        super().execute(context)

    def _name_words(self, context: LaunchContext) -> list[str]:
        """Return the arguments for name and namespace, and remember the full name."""
        name = None if self._node_name is None else perform(context, self._node_name)
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not a valid node name: letters, digits and _ only")
        own = None if self._node_namespace is None else perform(context, self._node_namespace)
        namespace = join_namespaces(context.launch_configurations.get(_NAMESPACE), own)
        prefix = "<node_namespace_unspecified>" if namespace is None else namespace.rstrip("/")
        self._full_name = f"{prefix}/{name or '<node_name_unspecified>'}"
        words = [] if name is None else ["-r", f"__node:={name}"]
        return words + ([] if namespace is None else ["-r", f"__ns:={namespace}"])

    def _parameter_words(self, context: LaunchContext) -> list[str]:
        """Return the arguments for parameters: what SetParameter set, then the node's own."""
        words = []
        for name, value in context.launch_configurations.get(_PARAMETERS, ()):
            words += ["-p", f"{name}:={to_yaml(value)}"]
        for parameters in self._parameters:
            if isinstance(parameters, Mapping):
                known = "unspecified>" not in self._full_name
                values = evaluate_parameters(context, parameters)
                key = self._full_name if known else "/**"
                path = write_parameters(to_yaml({key: {"ros__parameters": values}}))
            elif isinstance(parameters, ParameterValue):
                raise TypeError("Node: a ParameterValue must be a value in a parameter dictionary")
            else:
                if not isinstance(parameters, ParameterFile):
                    parameters = ParameterFile(parameters)
                path = parameters.evaluate(context)
            if path.is_file():
                words += ["--params-file", str(path)]
            else:
                get_logger("launch_ros").warning(
                    f"{self._full_name}: left out the parameter file {path}, which does not exist"
                )
        return words

    def _remapping_words(self, context: LaunchContext) -> list[str]:
        """Return the arguments for remappings: what SetRemap set, then the node's own."""
        rules = list(context.launch_configurations.get(_REMAPS, ()))
        rules += [(perform(context, old), perform(context, new)) for old, new in self._remappings]
        return [word for old, new in rules for word in ("-r", f"{old}:={new}")]


class LifecycleNode(Node):
    """Run a lifecycle node; here its transitions are the business of other nodes."""

    def __init__(
        self, *, name: SomeSubstitutionsType, namespace: SomeSubstitutionsType, **kwargs
    ) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)


class PushROSNamespace(Action):
    """Put the nodes that follow in this scope into a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.namespace = normalize_to_list_of_substitutions(namespace)

    def execute(self, context: LaunchContext) -> None:
        before = context.launch_configurations.get(_NAMESPACE)
        pushed = perform(context, self.namespace)
        try:
            context.launch_configurations[_NAMESPACE] = join_namespaces(before, pushed)
        except ValueError as error:
            raise SubstitutionFailure(f"PushRosNamespace: {error}") from error


PushRosNamespace = PushROSNamespace


class SetParameter(Action):
    """Give the nodes that follow in this scope a parameter, which their own ones override."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        values = evaluate_parameters(context, {perform(context, self.name): self.value})
        before = context.launch_configurations.get(_PARAMETERS, [])
        context.launch_configurations[_PARAMETERS] = [*before, *values.items()]


class SetRemap(Action):
    """Give the nodes that follow in this scope a remapping, which comes before their own ones."""

    def __init__(self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.src = normalize_to_list_of_substitutions(src)
        self.dst = normalize_to_list_of_substitutions(dst)

    def execute(self, context: LaunchContext) -> None:
        before = context.launch_configurations.get(_REMAPS, [])
        rule = (perform(context, self.src), perform(context, self.dst))
        context.launch_configurations[_REMAPS] = [*before, rule]


def join_namespaces(base: str | None, own: str | None) -> str | None:
    """Return `own` below `base`, or `own` alone if it begins with /; None without either.

    Raises ValueError for what is not a namespace.
    """
    if base is None and own is None:
        return None
    joined = own if own and own.startswith("/") else f"{base or ''}/{own or ''}"
    joined = "/" + joined.strip("/")
    names = joined.strip("/").split("/") if joined != "/" else []
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"'{joined}' is not a valid namespace: names of letters, digits, _ and /")
    return joined
