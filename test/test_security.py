"""Nothing in the package runs text as code, neither its own nor a file's."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_model
from forked import ForkedProcess

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


def qualified(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{qualified(node.value)}.{node.attr}"
    return ""


def problems(source: str) -> Iterator[str]:
    """What in a module's source may run text as code."""
    for node in ast.walk(ast.parse(source)):
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


def sources(root: Path) -> list[Path]:
    folders = ("dino_foresight_ros", "training", "benchmark", "launch", "scripts")
    found = [path for folder in folders for path in (root / folder).rglob("*.py")]
    found += [p for p in (root / "scripts").iterdir() if p.name.endswith(("_node", "foresight"))]
    return sorted(path.relative_to(root) for path in found)


def test_no_module_runs_text_as_code(project_root: Path) -> None:
    files = sources(project_root)
    assert len(files) > 100
    found = [
        f"{file} {problem}"
        for file in files
        if file != PICKLE_READER
        for problem in problems((project_root / file).read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_reader_of_pickles_uses_the_restricted_unpickler(project_root: Path) -> None:
    tree = ast.parse((project_root / PICKLE_READER).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    loads = [call for call in calls if qualified(call.func).endswith((".load", ".loads"))]
    assert [qualified(call.func) for call in loads] == ["torch.load"]
    restricted = {k.arg: getattr(k.value, "value", None) for k in loads[0].keywords}
    assert restricted["weights_only"] is True


@pytest.mark.process
def test_running_a_model_does_not_come_near_the_reader_of_pickles(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = ForkedProcess(run_model.main, ["untrained-tiny"], os.environ, output)
    assert process.wait(120) == 0, output.read_text()
    modules = output.read_text().split()
    assert "dino_foresight_ros.model.bundle" in modules
    assert "dino_foresight_ros.model.reference.pickles" not in modules


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
    assert problem in list(problems(source))
    assert list(problems("re.compile('x'); model.eval(); subprocess.run([], shell=False)")) == []
