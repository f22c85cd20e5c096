"""Paths that come in as parameters, from anybody who may set them."""

from __future__ import annotations

from pathlib import Path

# Linux' limits, in bytes.
MAX_PATH = 4096
MAX_NAME = 255


def path_problem(path: str) -> str | None:
    """Why no file can have this path; None where one can (whether it exists or not)."""
    shown = repr(path if len(path) <= 80 else f"{path[:80]}...")
    if not path.strip():
        return "is empty; give a path"
    if not path.isprintable():
        return f"{shown} holds a control character; give a path"
    names = path.encode(errors="replace").split(b"/")
    if sum(len(name) + 1 for name in names) > MAX_PATH or max(map(len, names)) > MAX_NAME:
        return f"{shown} is longer than a path can be"
    try:
        Path(path).expanduser()
    except RuntimeError:
        return f"{shown}: there is no such home folder; write the whole path"
    return None
