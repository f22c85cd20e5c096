"""The version number, whose only home is package.xml."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path

PACKAGE = "dino_foresight_ros"


def read_package_xml(path: Path) -> str | None:
    """Return the version that this package's manifest at ``path`` states, None if it is not ours.

    A pattern instead of an XML parser: this runs at every import.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    if not re.search(rf"<name>\s*{PACKAGE}\s*</name>", text):
        return None
    match = re.search(r"<version[^>]*>\s*([^<\s]+)\s*</version>", text)
    return match.group(1) if match else None


def find_version() -> str:
    """Return the version of the package that was imported, "0.0.0" when nothing states it."""
    # A source tree (also through colcon's symbolic links) states its own version, whatever else
    # is installed.
    source = read_package_xml(Path(__file__).resolve().parents[1] / "package.xml")
    if source:
        return source
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        manifest = Path(prefix, "share", PACKAGE, "package.xml")
        if prefix and Path(prefix) in Path(__file__).parents:
            installed = read_package_xml(manifest)
            if installed:
                return installed
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "0.0.0"


__version__ = find_version()
