"""Stands in for colcon: lays out the install folder that a real build would leave."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PACKAGE = "dino_foresight_ros"


def option(name: str) -> Path:
    """Return the path after an option."""
    return Path(sys.argv[sys.argv.index(name) + 1])


def link(source: Path, target: Path) -> None:
    """Link to a file, replacing an older link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source)


def main() -> None:
    """Lay out the folder; where $FAKE_HANG says so, only half of it.

    $FAKE_MOVE, such as from:to, moves a file once the Python files are linked.
    """
    source, build, install = option("--paths"), option("--build-base"), option("--install-base")
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write('{"call": ["colcon"]}\n')
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site_packages = install / "lib" / python / "site-packages"
    build.mkdir(parents=True, exist_ok=True)
    library = build / "typesupport_c.so"
    library.write_text("")
    for path in (source / PACKAGE).rglob("*.py"):
        link(path, site_packages / path.relative_to(source))
    if (move := os.environ.get("FAKE_MOVE")) and os.path.exists(move.split(":")[0]):
        os.rename(*move.split(":"))
    if os.environ.get("FAKE_HANG") == "messages":
        Path(f"{os.environ['FAKE_LOG']}.hangs").touch()
    while os.environ.get("FAKE_HANG") == "messages":
        time.sleep(0.02)
    package = site_packages / PACKAGE
    link(library, package / "x_typesupport_c.so")
    for path in [*(source / "msg").glob("*.msg"), *(source / "srv").glob("*.srv")]:
        folder, name = path.parent.name, f"_{path.stem.lower()}.py"
        (build / name).write_text("")
        link(build / name, package / folder / name)
        idl = install / "share" / PACKAGE / folder / f"{path.stem}.idl"
        idl.parent.mkdir(parents=True, exist_ok=True)
        idl.write_text("")
    (package / "msg" / "__init__.py").write_text("")
    link(source / "scripts" / "foresight", install / "lib" / PACKAGE / "foresight")


main()
