"""The table of docs/reliability.md, from what test_faults.py measured.

python tests/ros/fault_table.py [results/faults.json [docs/reliability.md]]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- begin: fault_table.py -->\n", "<!-- end -->\n"
STOPS = (
    "| fault | at rest within, s | counted from | took: median, most, s | from the fault: most, s "
    "| repetitions | in time | what is published | drives again | after, s |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)
DRIVES_ON = (
    "| fault | mean speed, of the highest: median, least | repetitions | what is published "
    "| full speed after it, s |\n"
    "|---|---|---|---|---|\n"
)


def table(measured: dict[str, Any]) -> str:
    """Both tables, in Markdown."""
    rows = [row for row in measured["faults"] if row["runs"]]
    stops = "".join(_stop(row) for row in rows if row["bound_s"] is not None)
    goes_on = "".join(_goes_on(row) for row in rows if row["bound_s"] is None)
    return f"{measured['machine']}\n\n{STOPS}{stops}\nThe robot drives on:\n\n{DRIVES_ON}{goes_on}"


def _stop(row: dict[str, Any]) -> str:
    runs, bound_s = row["runs"], row["bound_s"]
    took = [run["rest_s"] for run in runs]
    in_time = sum(s <= bound_s for s in took)
    clock = ", simulated" if row["simulated"] else ""
    cells = (
        row["name"],
        f"{bound_s:.2f}",
        row["since"] + clock,
        f"{median(took):.2f}, {max(took):.2f}",
        f"{max(run['after_fault_s'] for run in runs):.2f}",
        len(runs),
        "all" if in_time == len(runs) else f"**{in_time} of {len(runs)}**",
        _words(runs),
        row["returns"],
        _back(runs),
    )
    return _line(cells)


def _goes_on(row: dict[str, Any]) -> str:
    runs = row["runs"]
    speeds = [run["mean_speed"] for run in runs]
    share = f"{median(speeds):.0%}, {min(speeds):.0%}"
    return _line((row["name"], share, len(runs), _words(runs), _back(runs)))


def _words(runs: list[dict[str, Any]]) -> str:
    """What was told the first time, without the folders of this machine."""
    words = re.sub(r"/\S+/", "", runs[0]["told"])
    words = words if len(words) <= 160 else f"{words[:159]}…"
    return words.replace("|", "\\|") or "nothing"


def _back(runs: list[dict[str, Any]]) -> str:
    times = [run["back_s"] for run in runs]
    return f"{median(times):.1f}, {max(times):.1f}"


def _line(cells: tuple[object, ...]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    default = (ROOT / "results" / "faults.json", ROOT / "docs" / "reliability.md")
    measured, page = map(Path, (*sys.argv[1:], *default[len(sys.argv) - 1 :]))
    text = page.read_text()
    head, rest = text.split(BEGIN)
    content = table(json.loads(measured.read_text()))
    page.write_text(head + BEGIN + content + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
