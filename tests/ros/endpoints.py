"""What a node offers and uses, as the words of an SROS2 policy."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from rclpy.action.graph import (
    get_action_client_names_and_types_by_node,
    get_action_server_names_and_types_by_node,
)

Rules = dict[tuple[str, str], set[str]]
"""Names by kind and right, as ("topic", "publish")."""


def rules_of(peer: Any, name: str) -> Rules:
    """The endpoints of a node as a peer sees them; those of actions count as the action's."""
    found = {
        ("topic", "publish"): peer.get_publisher_names_and_types_by_node(name, "/"),
        ("topic", "subscribe"): peer.get_subscriber_names_and_types_by_node(name, "/"),
        ("service", "reply"): peer.get_service_names_and_types_by_node(name, "/"),
        ("service", "request"): peer.get_client_names_and_types_by_node(name, "/"),
        ("action", "execute"): get_action_server_names_and_types_by_node(peer, name, "/"),
        ("action", "call"): get_action_client_names_and_types_by_node(peer, name, "/"),
    }
    return {
        rule: {full for full, _ in names if "/_action/" not in full}
        for rule, names in found.items()
    }


def rules_in(profile: ElementTree.Element) -> Rules:
    """What a <profile> of a policy allows."""
    rules: Rules = {}
    name = profile.get("node")
    for group in profile:
        for right in group.attrib:
            assert group.get(right) == "ALLOW"
            allowed = rules.setdefault((group.tag.removesuffix("s"), right), set())
            for entry in group:
                text = (entry.text or "").replace("~", f"/{name}")
                allowed.add(text if text.startswith("/") else f"/{text}")
    return rules
