"""The documentation: every link, path and module that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "foresight"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("docker", "benchmarks", "ros2_ws/underlay")),
]
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FOLDERS = "src|config|launch|docs|tests|docker|benchmarks|ros2_ws/src|ros2_ws/underlay"
_PATH = re.compile(rf"(?<![\w./~$-])(?:{_FOLDERS})/[\w./-]*\w")
_CORE_FILE = re.compile(r"(?<![\w./-])[a-z_]+(?:/[a-z_]+)+\.py\b")
_MODULE = re.compile(r"`(foresight(?!\.launch\b)(?:\.\w+)+)")
_TO_BE_MADE = {"docker/.env", "docker/NAME.whl"}  # by the user, as docker/README.md explains


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def exists(path: str) -> bool:
    """In the checkout, in the core, or in a checkout at src/foresight of a colcon workspace."""
    inside = path.removeprefix("src/foresight/")
    return any((folder / name).exists() for folder in (ROOT, CORE) for name in (path, inside))


def is_defined(name: str) -> bool:
    """Whether `foresight.room.module`, or a name that it defines or re-exports, exists."""
    parts = name.split(".")[1:]
    for count in range(len(parts), -1, -1):
        place = CORE.joinpath(*parts[:count])
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.is_file():
            rest = parts[count:]
            return not rest or re.search(rf"\b{rest[0]}\b", source.read_text()) is not None
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    broken = []
    for target in _LINK.findall(document.read_text()):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (document.parent / file).resolve() if file else document
        found = linked.exists() and (not anchor or anchor in anchors(linked))
        broken += [] if found else [target]
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_named_paths_and_modules_exist(document: Path) -> None:
    text = re.sub(r"\w+://\S+", "", document.read_text())
    paths = {*_PATH.findall(text), *_CORE_FILE.findall(text)} - _TO_BE_MADE
    missing = sorted(path for path in paths if not exists(path))
    missing += sorted(name for name in set(_MODULE.findall(text)) if not is_defined(name))
    assert not missing
