"""The package as it is described, built and installed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import manifest, required_distributions

import dino_foresight_ros

PACKAGE = "dino_foresight_ros"


@pytest.mark.process
def test_version_is_the_same_everywhere(project_root: Path) -> None:
    version = str(manifest(project_root).version)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert dino_foresight_ros.__version__ == version
    assert importlib.metadata.version(PACKAGE) == version
    setup = [sys.executable, "setup.py", "--version"]
    printed = subprocess.run(setup, cwd=project_root, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-1] == version
    command = [shutil.which("foresight") or "foresight", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["foresight", version]


@pytest.mark.process
@pytest.mark.parametrize("installed_as", ["copied tree", "ament prefix"])
def test_installed_copy_knows_its_version(
    project_root: Path, tmp_path: Path, installed_as: str
) -> None:
    root = tmp_path if installed_as == "copied tree" else tmp_path / "lib" / "site-packages"
    (root / PACKAGE).mkdir(parents=True)
    for name in ("__init__.py", "version.py"):
        shutil.copyfile(project_root / PACKAGE / name, root / PACKAGE / name)
    text = (project_root / "package.xml").read_text(encoding="utf-8")
    share = tmp_path if installed_as == "copied tree" else tmp_path / "share" / PACKAGE
    share.mkdir(parents=True, exist_ok=True)
    changed = re.sub(r"<version>.*</version>", "<version>7.8.9</version>", text)
    (share / "package.xml").write_text(changed)
    prefixes = f"/nowhere:{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}"
    said = subprocess.run(
        [sys.executable, "-c", f"import {PACKAGE} as p; print(p.__version__)"],
        env={**os.environ, "PYTHONPATH": str(root), "AMENT_PREFIX_PATH": prefixes},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "7.8.9"


def test_pip_requirements_are_in_the_locked_environment(project_root: Path) -> None:
    locked = (project_root / "scripts" / "requirements.txt").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in locked.splitlines() if "==" in line}
    # wandb is a service's client, which no test needs; those of diffusers' one class and of video
    # in messages are skipped.
    without = ["wandb", "diffusers", "video"]
    assert required_distributions(project_root, without) <= names


def test_every_message_is_built(project_root: Path) -> None:
    listed = set(re.findall(r'"msg/(\w+)\.msg"', (project_root / "CMakeLists.txt").read_text()))
    assert listed == {path.stem for path in (project_root / "msg").glob("*.msg")}
    messages = pytest.importorskip(f"{PACKAGE}.msg")
    assert all(hasattr(messages, name) for name in listed)


def executables(root: Path) -> list[str]:
    """Return the names of the scripts that start a Python program of the package."""
    return sorted(
        path.name
        for path in (root / "scripts").iterdir()
        if path.is_file()
        and os.access(path, os.X_OK)
        and path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3")
    )


def test_every_executable_is_installed_where_ros2_run_looks(project_root: Path) -> None:
    index = pytest.importorskip("ament_index_python.packages")
    prefix = Path(index.get_package_prefix(PACKAGE))
    names = executables(project_root)
    assert {"foresight", "forecast_node", "replay_node", "synthetic_camera_node"} <= set(names)
    for name in names:
        installed = prefix / "lib" / PACKAGE / name
        assert os.access(installed, os.X_OK), name
        assert Path(shutil.which(name) or "").resolve() == installed.resolve()


def test_every_launch_and_config_file_is_installed(project_root: Path) -> None:
    index = pytest.importorskip("ament_index_python.packages")
    share = Path(index.get_package_share_directory(PACKAGE))
    for folder in ("launch", "config"):
        for path in (project_root / folder).iterdir():
            if path.is_file():
                assert (share / folder / path.name).read_bytes() == path.read_bytes()


def test_every_python_file_is_installed_beside_the_messages(project_root: Path) -> None:
    messages = pytest.importorskip(f"{PACKAGE}.msg")
    installed = Path(messages.__file__).parents[1]
    parts = {PACKAGE: "", "training": "training", "benchmark": "benchmark"}
    for folder, part in parts.items():
        for path in (project_root / folder).rglob("*.py"):
            assert (installed / part / path.relative_to(project_root / folder)).exists(), path


@pytest.mark.process
def test_training_is_a_part_of_the_package() -> None:
    code = f"import {PACKAGE}.training as t, {PACKAGE}.msg; print(t.__name__)"
    # From a folder without the sources: the installed package alone.
    said = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == f"{PACKAGE}.training"


def tracked_files(root: Path) -> dict[str, bytes]:
    """Return the contents of every file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    return {name: (root / name).read_bytes() for name in names}


@pytest.mark.process
def test_nothing_names_a_place_of_this_machine(project_root: Path) -> None:
    here = str(project_root).encode()
    assert [name for name, text in tracked_files(project_root).items() if here in text] == []


@pytest.mark.process
def test_no_merge_conflict_is_left(project_root: Path) -> None:
    marker = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    assert [name for name, text in tracked_files(project_root).items() if marker.search(text)] == []
