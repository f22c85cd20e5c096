"""training/ and benchmark/ at the root are rooms of the package, however it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
WANTED = (
    "training/loop.py",
    "training/data/datasets.py",
    "training/presets/forecaster/small.yaml",
    "training/presets/head/light.yaml",
    "benchmark/training_step.py",
    "model/bundle.py",
    "outputs.py",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own, with what git would check out and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = REPOSITORY / name, tmp_path / "checkout" / name
        if source.exists() and not name.startswith("test/"):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return tmp_path / "checkout"


def test_a_checkout_has_them_under_the_package_s_name(checkout: Path) -> None:
    paths = [str(checkout), *sys.path]
    words = f"import sys; sys.path[:] = {paths}\n"
    words += "import dino_foresight_ros.training.recipe_base as r; print(r.PRESETS_DIR)"
    ended = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd="/")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert Path(ended.stdout.strip()) == checkout / "dino_foresight_ros/training/presets"


def test_a_wheel_has_them(checkout: Path, tmp_path: Path) -> None:
    words = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", words], cwd=checkout, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in WANTED:
        assert names.count(f"dino_foresight_ros/{name}") == 1
    assert not any(name.startswith(("training/", "benchmark/")) for name in names)


def test_colcon_installs_them(checkout: Path, tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not here")
    # Only the part that installs Python: generating the messages takes minutes.
    lists = checkout / "CMakeLists.txt"
    found = re.search(r"^file\(GLOB rooms .*?^endforeach\(\)\n", lists.read_text(), re.S | re.M)
    assert found is not None
    lists.write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(dino_foresight_ros NONE)\n"
        f"set(python_install_dir python)\n{found[0]}"
    )
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    for words in (["-S", checkout, "-B", build], ["--install", build, "--prefix", prefix]):
        subprocess.run([cmake, *map(str, words)], capture_output=True, check=True)
    for name in WANTED:
        path = prefix / "python" / "dino_foresight_ros" / name
        assert path.is_file()
        assert not any(parent.is_symlink() for parent in path.parents)
