"""The table of rooms in docs/architecture.md, against what the code imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "dino_foresight_ros"
MADE = {"msg", "srv"}  # by the build
ANY = "everything above"


def code_of(root: Path) -> Iterator[tuple[str, Path]]:
    """Each room and one of its files."""
    for folder in sorted((root / PACKAGE).iterdir()):
        if folder.is_dir() and folder.name not in MADE:
            # training and benchmark are links to folders at the root
            yield from ((folder.name, file) for file in folder.resolve().rglob("*.py"))


def imported_rooms(file: Path, rooms: set[str]) -> set[str]:
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [module.split(".") for module in modules]
    return {p[1] for p in parts if p[0] == PACKAGE and len(p) > 1 and p[1] in rooms}


def test_each_room_imports_what_the_table_says(project_root: Path) -> None:
    files = list(code_of(project_root))
    rooms = {room for room, _ in files}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room, file in files:
        found[room] |= imported_rooms(file, rooms) - {room}
    text = (project_root / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \|.*\|(.*)\|$", text, re.MULTILINE)
    told: dict[str, set[str]] = {}
    for room, imports in rows:
        named = set(re.findall(r"\w+", imports.partition(";")[0])) & rooms
        told[room] = set(told) if ANY in imports else named
    assert told == found
    # One way: a room may import those above it in the table.
    order = [room for room, _ in rows]
    for room in order:
        assert not told[room] & set(order[order.index(room) :]), room


def test_an_import_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "from dino_foresight_ros import model\n"
        "def f():\n    import dino_foresight_ros.view.server\n"
        "    from dino_foresight_ros.errors import InputError\n"
    )
    assert imported_rooms(file, {"model", "view", "ros"}) == {"model", "view"}
