"""What package.xml and setup.py say that the package needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

# Distributions whose modules have another name.
DISTRIBUTIONS = {
    "google": "protobuf",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "rerun": "rerun-sdk",
    "sklearn": "scikit-learn",
}


def manifest(root: Path) -> Any:
    """Return the parsed package.xml, checked as catkin_pkg checks it."""
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    package = catkin_pkg.parse_package(str(root / "package.xml"), warnings=warnings)
    assert warnings == []
    return package


def required_distributions(root: Path, without: Collection[str] = ()) -> set[str]:
    """Return the names that setup.py requires, with all extras but some."""
    text = (root / "setup.py").read_text(encoding="utf-8")
    keywords = {
        keyword.arg: keyword.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    lines = ast.literal_eval(keywords["install_requires"])
    for name, extra in ast.literal_eval(keywords["extras_require"]).items():
        lines += [] if name in without else extra
    return {re.split(r"[<>=]", line)[0].replace("_", "-") for line in lines}
