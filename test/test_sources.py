"""What all sources are searched for: imports by room and library, text that is run as code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from distributions import DISTRIBUTIONS, manifest, required_distributions

PACKAGE = "dino_foresight_ros"
INSTALLED = (PACKAGE, "training", "benchmark", "launch")
MADE = {"msg", "srv"}  # by the build
ANY = "everything above"
# The one reader of pickles: it has an allow-list, and only `foresight convert` comes there.
PICKLE_READER = Path("dino_foresight_ros/model/reference/pickles.py")
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "os.spawnl",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "runpy.run_path",
}


Sources = dict[Path, list[ast.AST]]


def parsed(source: str) -> list[ast.AST]:
    """The imports and calls in a module's source."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


@pytest.fixture(scope="module")
def sources(project_root: Path) -> Sources:
    """Of each file, relative to the checkout: its imports and calls."""
    files = [p for folder in (*INSTALLED, "scripts") for p in (project_root / folder).rglob("*.py")]
    programs = (project_root / "scripts").iterdir()
    files += [path for path in programs if path.name.endswith(("_node", "foresight"))]
    return {p.relative_to(project_root): parsed(p.read_text(encoding="utf-8")) for p in files}


def imported_rooms(nodes: Iterable[ast.AST], rooms: set[str]) -> set[str]:
    modules: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [module.split(".") for module in modules]
    return {p[1] for p in parts if p[0] == PACKAGE and len(p) > 1 and p[1] in rooms}


def test_each_room_imports_what_the_table_says(project_root: Path, sources: Sources) -> None:
    # training and benchmark are links to folders at the root
    inside = [path for path in (project_root / PACKAGE).iterdir() if path.is_dir()]
    rooms = {path.name for path in inside} - MADE - {"__pycache__"}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for file, nodes in sources.items():
        room = file.parts[1] if file.parts[0] == PACKAGE else file.parts[0]
        if room in rooms:
            found[room] |= imported_rooms(nodes, rooms) - {room}
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


def test_an_import_is_seen_wherever_it_stands() -> None:
    nodes = parsed(
        "from dino_foresight_ros import model\n"
        "def f():\n    import dino_foresight_ros.view.server\n"
        "    from dino_foresight_ros.errors import InputError\n"
    )
    assert imported_rooms(nodes, {"model", "view", "ros"}) == {"model", "view"}


def imported_libraries(sources: Sources) -> dict[str, Path]:
    """Return every top-level module that the Python installed imports, and a file that does."""
    found: dict[str, Path] = {}
    for path, nodes in sources.items():
        for node in nodes if path.parts[0] in INSTALLED else []:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found.update({name.split(".")[0]: path for name in names})
    known = {PACKAGE, *sys.stdlib_module_names}
    return {name: path for name, path in found.items() if name not in known}


def test_every_import_is_a_named_dependency(project_root: Path, sources: Sources) -> None:
    ros = {dependency.name for dependency in manifest(project_root).exec_depends}
    pip = required_distributions(project_root)
    missing = {
        name: str(path)
        for name, path in imported_libraries(sources).items()
        if name not in ros and DISTRIBUTIONS.get(name, name).replace("_", "-") not in pip
    }
    assert missing == {}


def qualified(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{qualified(node.value)}.{node.attr}"
    return ""


def problems(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What in a module's source may run text as code."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (f"imports {n}" for n in names if n.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Call):
            name = qualified(node.func)
            if name in FORBIDDEN_CALLS:
                yield f"calls {name}"
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", True)
                if keyword.arg in ("shell", "allow_pickle") and value is not False:
                    yield f"{keyword.arg}={value}"


def test_no_module_runs_text_as_code(sources: Sources) -> None:
    assert len(sources) > 100
    found = [
        f"{file} {problem}"
        for file, nodes in sources.items()
        if file != PICKLE_READER
        for problem in problems(nodes)
    ]
    assert found == []


def test_the_reader_of_pickles_uses_the_restricted_unpickler(sources: Sources) -> None:
    calls = [node for node in sources[PICKLE_READER] if isinstance(node, ast.Call)]
    loads = [call for call in calls if qualified(call.func).endswith((".load", ".loads"))]
    assert [qualified(call.func) for call in loads] == ["torch.load"]
    restricted = {k.arg: getattr(k.value, "value", None) for k in loads[0].keywords}
    assert restricted["weights_only"] is True


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("import os\nos.system('x')", "calls os.system"),
        ("eval('1')", "calls eval"),
        ("subprocess.run('x', shell=True)", "shell=True"),
        ("subprocess.run('x', shell=wish)", "shell=True"),
        ("np.load(f, allow_pickle=True)", "allow_pickle=True"),
        ("yaml.load(f, Loader=L)", "calls yaml.load"),
    ],
)
def test_each_way_is_noticed(source: str, problem: str) -> None:
    assert problem in list(problems(parsed(source)))
    harmless = "re.compile('x'); model.eval(); subprocess.run([], shell=False)"
    assert list(problems(parsed(harmless))) == []
