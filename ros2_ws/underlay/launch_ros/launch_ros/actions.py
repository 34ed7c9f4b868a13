"""Actions that start ROS nodes, and that set what nodes started later have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from launch import Action, LaunchContext, SomeSubstitutionsType
from launch.actions import ExecuteProcess
from launch.logging import get_logger
from launch.substitutions import SubstitutionFailure
from launch.unsupported import refuse_names
from launch.utilities import normalize_to_list_of_substitutions, perform, perform_substitutions

from .names import check_name, check_namespace, join, join_namespaces
from .parameter_descriptions import (
    ParameterFile,
    evaluate_parameters,
    normalize_parameters,
    write_parameters,
)
from .substitutions import ExecutableInPackage

__getattr__ = refuse_names(
    __name__,
    {
        "ComposableNodeContainer",
        "LifecycleTransition",
        "LoadComposableNodes",
        "ROSTimer",
        "RosTimer",
        "SetParametersFromFile",
        "SetROSLogDir",
        "SetUseSimTime",
    },
)
__all__ = [
    "LifecycleNode",
    "Node",
    "PushROSNamespace",
    "PushRosNamespace",
    "SetParameter",
    "SetRemap",
]

# the launch configurations that carry what the Set and Push actions set, so that groups scope it
_NAMESPACE, _PARAMETERS, _REMAPS = "ros_namespace", "global_params", "ros_remaps"


class Node(ExecuteProcess):
    """Run a ROS node.

    `parameters` is a list of dictionaries, paths of YAML files and ParameterFiles, of which later
    ones win; `remappings` a list of tuples (from, to); `ros_arguments` a list; `executable` a path
    if there is no `package`. TypeError at once for what cannot be one of these.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: list[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: list[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs,
    ) -> None:
        for what, value in (("parameters", parameters), ("ros_arguments", ros_arguments)):
            if not isinstance(value, list | None):
                raise TypeError(f"Node: {what} must be a list, got {value!r}")
        start = executable if package is None else ExecutableInPackage(executable, package)
        own = () if arguments is None else arguments
        ros = [] if ros_arguments is None else ["--ros-args", *ros_arguments]
        self._parameters = [_normalize(item) for item in parameters or []]
        super().__init__(cmd=[start, *own, *ros], name=exec_name, **kwargs)
        self._node_name = name
        self._node_namespace = namespace
        self._remappings = [_remapping(rule) for rule in remappings or []]
        self._full_name: str | None = None

    @property
    def node_name(self) -> str:
        """The node's name with its namespace; RuntimeError before execution."""
        if self._full_name is None:
            raise RuntimeError("a node's name is known once it is executed")
        return self._full_name

    def execute(self, context: LaunchContext) -> None:
        """Start the node with its ROS arguments."""
        if self._full_name is None:
            words = ["--ros-args", *self._name_words(context)]
            words += self._parameter_words(context) + self._remapping_words(context)
            self._cmd += [normalize_to_list_of_substitutions(word) for word in words]
        super().execute(context)

    def _name_words(self, context: LaunchContext) -> list[str]:
        """Return the arguments for name and namespace, and remember the full name."""
        name, namespace = "<node_name_unspecified>", "<node_namespace_unspecified>"
        words = []
        if self._node_name is not None:
            name = perform(context, self._node_name)
            check_name(name)
            words += ["-r", f"__node:={name}"]
        own = None if self._node_namespace is None else perform(context, self._node_namespace)
        joined = join_namespaces(context.launch_configurations.get(_NAMESPACE), own)
        if joined is not None:
            check_namespace(joined)
            namespace = joined
            words += ["-r", f"__ns:={namespace}"]
        self._full_name = join(namespace, name)
        return words

    def _parameter_words(self, context: LaunchContext) -> list[str]:
        """Return the arguments for parameters: what SetParameter set, then the node's own."""
        words = []
        for name, value in context.launch_configurations.get(_PARAMETERS, ()):
            words += ["-p", f"{name}:={value}"]
        for parameters in self._parameters:
            if isinstance(parameters, Mapping):
                key = "/**" if "unspecified>" in self._full_name else self._full_name
                values = evaluate_parameters(context, parameters)
                path = write_parameters({key: {"ros__parameters": values}})
            else:
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
        rules += [
            (perform_substitutions(context, old), perform_substitutions(context, new))
            for old, new in self._remappings
        ]
        return [word for old, new in rules for word in ("-r", f"{old}:={new}")]


def _normalize(parameters: Any) -> ParameterFile | Mapping[Any, Any]:
    if isinstance(parameters, Mapping):
        return normalize_parameters(parameters)
    return parameters if isinstance(parameters, ParameterFile) else ParameterFile(parameters)


def _remapping(rule: tuple[SomeSubstitutionsType, SomeSubstitutionsType]) -> tuple[list, list]:
    if not isinstance(rule, tuple) or len(rule) != 2:
        raise TypeError(f"Node: a remapping must be a tuple (from, to), got {rule!r}")
    old, new = map(normalize_to_list_of_substitutions, rule)
    return old, new


class LifecycleNode(Node):
    """Run a lifecycle node; here its transitions are the business of other nodes."""

    def __init__(
        self, *, name: SomeSubstitutionsType, namespace: SomeSubstitutionsType, **kwargs
    ) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)

    def execute(self, context: LaunchContext) -> None:
        """Start the node; RuntimeError if it has no name."""
        if self._node_name is None:
            raise RuntimeError("LifecycleNode: name must not be None")
        super().execute(context)


class PushROSNamespace(Action):
    """Put the nodes that follow in this scope into a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.namespace = normalize_to_list_of_substitutions(namespace)

    def execute(self, context: LaunchContext) -> None:
        """Set the namespace; SubstitutionFailure if it cannot be one."""
        before = context.launch_configurations.get(_NAMESPACE)
        namespace = join_namespaces(before, perform_substitutions(context, self.namespace))
        try:
            check_namespace(namespace)
        except Exception as error:
            raise SubstitutionFailure(f"PushRosNamespace: {error}") from error
        context.launch_configurations[_NAMESPACE] = namespace


PushRosNamespace = PushROSNamespace


class SetParameter(Action):
    """Give the nodes that follow in this scope a parameter, which their own ones override.

    Two traps of ROS 2's launch: what is set within a group also holds after it if anything was
    set before it; and a node reads the value from its command line as YAML, so that there a
    list is a text like (1, 2), and a text like true a boolean.
    """

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs) -> None:
        super().__init__(**kwargs)
        self._parameters = normalize_parameters(
            {tuple(normalize_to_list_of_substitutions(name)): value}
        )

    def execute(self, context: LaunchContext) -> None:
        values = evaluate_parameters(context, self._parameters)
        context.launch_configurations.setdefault(_PARAMETERS, []).extend(values.items())


class SetRemap(Action):
    """Give the nodes that follow in this scope a remapping, which comes before their own ones.

    As with SetParameter, it outlives its group if there was one before the group.
    """

    def __init__(self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.src = normalize_to_list_of_substitutions(src)
        self.dst = normalize_to_list_of_substitutions(dst)

    def execute(self, context: LaunchContext) -> None:
        rule = (
            perform_substitutions(context, self.src),
            perform_substitutions(context, self.dst),
        )
        context.launch_configurations.setdefault(_REMAPS, []).append(rule)
