"""Stands in for uv: lays out a virtual environment whose packages are empty modules.

It writes one line per call into $FAKE_LOG, and where $FAKE_HANG names what it is doing, it stops
halfway for good, as a download would whose machine is switched off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODULES = ("torchvision", "timm", "cv2", "rosbags", "rclpy", "sensor_msgs", "colcon")
SHOWN = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "PYTHONPATH")
FAKE_COLCON = Path(__file__).with_name("fake_colcon.py")


def option(name: str) -> str:
    """Return the word after an option."""
    return sys.argv[sys.argv.index(name) + 1]


def hang(what: str) -> None:
    """Stop here for good when the test asks for it, and let it know."""
    if os.environ.get("FAKE_HANG") == what:
        Path(f"{os.environ['FAKE_LOG']}.hangs").touch()
    while os.environ.get("FAKE_HANG") == what:
        time.sleep(0.02)


def create_venv() -> None:
    """Create a virtual environment without pip; halfway, it has no interpreter yet."""
    folder = Path(next(word for word in sys.argv[2:] if word.endswith("/venv")))
    (folder / "lib").mkdir(parents=True)
    hang("venv")
    command = [option("--python"), "-m", "venv", "--without-pip", folder]
    if "--system-site-packages" in sys.argv:
        command.append("--system-site-packages")
    subprocess.run(command, check=True)


def install_module(site_packages: Path, name: str) -> None:
    """Install one module, its record last, unless it is recorded already."""
    information = site_packages / f"{name}-1.0.dist-info"
    if information.exists():
        return
    information.mkdir()
    package = site_packages / name
    (package / "msg").mkdir(parents=True, exist_ok=True)
    names = ["__init__.py", "msg/__init__.py"]
    for file in names:
        (package / file).write_text("")
    if name == "colcon":
        names.append("__main__.py")
        (package / names[-1]).write_text(FAKE_COLCON.read_text())
    if name == MODULES[2]:
        hang("packages")
    sizes = {f"{name}/{file}": (package / file).stat().st_size for file in names}
    rows = [f"{path},sha256=x,{size}\n" for path, size in sizes.items()]
    (information / "RECORD").write_text("".join(rows) + f"{information.name}/RECORD,,\n")


def main() -> int:
    """Do what the command line says."""
    if sys.argv[1:] == ["--version"]:
        print("uv 0.9.0")
        return 0
    words = [word for word in sys.argv[1:3] if not word.startswith("-")]
    entry = {"call": words, "env": {name: os.environ.get(name) for name in SHOWN}}
    if "--requirement" in sys.argv:
        entry["requirements"] = Path(option("--requirement")).read_text()
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(json.dumps(entry) + "\n")
    if failure := os.environ.get("FAKE_FAILURE"):
        print(failure)
        return 2
    if words[0] == "venv":
        create_venv()
    else:
        python = Path(option("--python"))
        (site_packages,) = python.parents[1].glob("lib/python3*/site-packages")
        for name in MODULES:
            install_module(site_packages, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
