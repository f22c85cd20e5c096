"""A checkout in small whose tools (uv, colcon, the compilers) are stand-ins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The Python that this environment was made from, not its own.
BASE_PYTHON = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
CORE_TOOLS = (
    *("bash", "cat", "dirname", "env", "find", "mv", "readlink", "rm", "sh", "sha256sum"),
    *("sleep", "sort", "stat", "true"),
)
STAGES = ("installer (uv)", "virtual environment", "Python packages", "messages")


def write_program(path: Path, text: str) -> None:
    """Write an executable script."""
    path.write_text(text)
    path.chmod(0o755)


@dataclass
class Checkout:
    """A small checkout, and how to run its scripts/with_env."""

    root: Path
    tools: Path
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def env_dir(self) -> Path:
        """Return where its environment lies."""
        return self.root / ".env"

    @property
    def site_packages(self) -> Path:
        """Return the environment's folder of packages."""
        (folder,) = (self.env_dir / "venv" / "lib").glob("python3*/site-packages")
        return folder

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start with_env in a process group of its own."""
        return subprocess.Popen(
            [str(self.root / "scripts" / "with_env"), *command],
            env={**self.env, **env},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run with_env to its end."""
        process = self.start(*command, **env)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def calls(self) -> list[dict[str, Any]]:
        """Return what the stand-ins were called for since the last time, and forget it."""
        log = Path(self.env["FAKE_LOG"])
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def stages(stderr: str) -> list[str]:
    """Return the names of the stages that with_env said were done."""
    done = [line for line in stderr.splitlines() if ": done in " in line]
    return [name for name in STAGES if any(name in line for line in done)]


@pytest.fixture
def done_stages() -> Callable[[str], list[str]]:
    """Return the function that reads the stages done from with_env's progress lines."""
    return stages


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a small checkout that is not prepared yet."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a small checkout that is prepared, and that tests leave prepared."""
    checkout = make_checkout(tmp_path_factory.mktemp("prepared"))
    assert checkout.run("true").returncode == 0
    return checkout


def make_checkout(tmp_path: Path) -> Checkout:
    """Lay out a small checkout under a path with spaces; its PATH holds stand-ins only."""
    root, tools, home = tmp_path / "a b" / "c d", tmp_path / "tools", tmp_path / "home"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pyc*"))
    for name in ("msg", "srv"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("package.xml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, root)
    for name in ("dino_foresight_ros", "training", "launch", "config"):
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("")
    tools.mkdir()
    home.mkdir()
    for name in CORE_TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    for name in ("cc", "c++", "make", "cmake"):
        write_program(tools / name, "#!/bin/sh\n")
    write_program(tools / "python3", f'#!/bin/sh\nexec "{BASE_PYTHON}" "$@"\n')
    write_program(tools / "uv", f'#!/bin/sh\nexec "{BASE_PYTHON}" "{HERE / "fake_uv.py"}" "$@"\n')
    env = {"PATH": str(tools), "HOME": str(home), "FAKE_LOG": str(tmp_path / "calls")}
    if "LANG" in os.environ:
        env["LANG"] = os.environ["LANG"]
    return Checkout(root, tools, home, env)
