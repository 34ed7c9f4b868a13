"""Names and namespaces of nodes, joined as ROS 2's launch does and checked by rclpy."""

from __future__ import annotations


def join(base: str | None, name: str | None) -> str | None:
    """Return `name` below `base`, or alone if it begins with /; None without either."""
    if name is None:
        joined = base
    elif not base or name.startswith("/"):
        joined = name
    else:
        joined = f"{'' if base == '/' else base}/{name}"
    return joined if joined in (None, "/") else joined.rstrip("/")


def join_namespaces(base: str | None, own: str | None) -> str | None:
    """Return the absolute namespace of `own` below `base`; None without either."""
    joined = join(base, own)
    return joined if joined is None or joined.startswith("/") else f"/{joined}"


def check_name(name: str) -> None:
    """Raise rclpy.exceptions.InvalidNodeNameException if `name` cannot be a node's."""
    from rclpy.validate_node_name import validate_node_name  # takes a while to import

    validate_node_name(name)


def check_namespace(namespace: str) -> None:
    """Raise rclpy.exceptions.InvalidNamespaceException if `namespace` cannot be one."""
    from rclpy.validate_namespace import validate_namespace

    validate_namespace(namespace)
