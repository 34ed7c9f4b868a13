"""Writes what the code declares into the documentation: parameters of the nodes, launch arguments.

The declarations are the one source. This writes the tables of docs/ros.md, between the comments
`<!-- generated: NAME -->` and `<!-- end -->`, and config/foresight.yaml. With --check it writes
nothing and ends with 1 where something is out of date. Needs the sourced workspace.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import PythonLaunchDescriptionSource

from foresight.apps.launching import description_of
from foresight_actuation.node import Parameters as Actuation
from foresight_bringup.arguments import SHARE, TRUE
from foresight_lifecycle.manager import Parameters as LifecycleManager
from foresight_memory.node import Parameters as Memory
from foresight_mission.node import Parameters as Mission
from foresight_node.parameters import Rule, rules_of
from foresight_perception.node import Parameters as Perception
from foresight_planning.parameters import Parameters as Planning
from foresight_sim.sim_node import Parameters as Sim
from foresight_world_model.node import Parameters as WorldModel

STACK = {
    "perception": Perception,
    "world_model": WorldModel,
    "memory": Memory,
    "planning": Planning,
    "actuation": Actuation,
    "lifecycle_manager": LifecycleManager,
}
BESIDE = {"mission": Mission, "sim": Sim}
LAUNCH_FILES = ("foresight", "simulation", "demo", "mission", "soak", "description")
FROM_LAUNCH = {"robot", "bundle", "file", "node_names", "autostart", "respawn", "respawned"}
"""Launch arguments set these, not the parameter file."""
HEAD = """\
# Parameters of the stack, by node: the defaults, as the nodes declare them. Written by
# docs/reference.py; for a robot of your own copy it, keep what differs, and name the copy with
# params_file:=... A launch argument sets what is missing here: robot, bundle, memory_file.
"""


def _table(rows: list[list[str]]) -> str:
    """In Markdown; the first row is the head."""
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def arguments_of(file: str) -> str:
    """What one launch file takes."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / f"{file}.launch.py"))
    rows = [["argument", "default", "meaning"]]
    for entity in source.get_launch_description(LaunchContext()).entities:
        if not isinstance(entity, DeclareLaunchArgument):
            continue
        choices = entity.choices or []
        is_flag = TRUE[0] in choices
        meaning = description_of(entity)
        if is_flag:
            meaning += " true or false."
        elif choices:
            meaning += f" One of {', '.join(choices)}."
        rows.append([f"`{entity.name}`", _argument_default(entity), meaning])
    return _table(rows)


def _argument_default(argument: DeclareLaunchArgument) -> str:
    if argument.default_value is None:
        return "required"
    text = "".join(part.perform(LaunchContext()) for part in argument.default_value)
    return f"`{text.removeprefix(f'{SHARE}/')}`" if text else "empty"


def parameters_of(rules: dict[str, Rule]) -> str:
    """The parameters of one node."""
    live = any(rule.live for rule in rules.values())
    head = ["parameter", "default", "range", *(["live"] if live else []), "meaning"]
    rows = [head]
    for name, rule in rules.items():
        changes = [("yes" if rule.live else "")] if live else []
        rows.append([f"`{name}`", _default(rule), _range(rule), *changes, rule.description])
    return _table(rows)


def _default(rule: Rule) -> str:
    if rule.required and not rule.default:
        return "required"
    return f"`{_yaml(rule.default)}`" if rule.default != "" else "empty"


def _range(rule: Rule) -> str:
    if rule.choices:
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    if isinstance(rule.default, bool):
        return "true, false"
    if rule.required:
        return "different names" if isinstance(rule.default, tuple) else "not empty"
    if rule.minimum is None:
        return ""
    low, high = _number(rule.minimum), rule.maximum
    return f"from {low}" if high is None else f"{low} to {_number(high)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parameter_file() -> str:
    """config/foresight.yaml."""
    lines = [HEAD.rstrip()]
    for node, kind in STACK.items():
        lines += ["", f"/**/{node}:", "  ros__parameters:"]
        for name, rule in rules_of(kind).items():
            if name in FROM_LAUNCH:
                continue
            about = rule.description
            about += f" One of {', '.join(rule.choices)}." if rule.choices else ""
            lines += [f"    # {line}" for line in textwrap.wrap(about, 94)]
            value = _yaml(rule.default) if rule.default != "" else '""'
            lines.append(f"    {name}: {value}")
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """The text with each marked part written anew."""
    parts = {f"parameters of {n}": parameters_of(rules_of(k)) for n, k in (STACK | BESIDE).items()}
    parts |= {f"arguments of {file}.launch.py": arguments_of(file) for file in LAUNCH_FILES}

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}\n{parts.pop(match[2])}\n{match[3]}"

    text = re.sub(r"(<!-- generated: ([^\n]*) -->)\n.*?(<!-- end -->)", part, text, flags=re.DOTALL)
    if parts:
        raise ValueError(f"docs/ros.md has no place for: {', '.join(parts)}")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    check = parser.parse_args().check
    reference, parameters = Path("docs/ros.md"), Path("config/foresight.yaml")
    wanted = {reference: filled(reference.read_text()), parameters: parameter_file()}
    stale = [file for file, text in wanted.items() if file.read_text() != text]
    for file in stale:
        print(f"{file} is out of date: run make reference" if check else f"wrote {file}")
        if not check:
            file.write_text(wanted[file])
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
