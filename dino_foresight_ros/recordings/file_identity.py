"""Identity of files, for fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_SAMPLE_BYTES = 1 << 16


def file_identity(path: Path, root: Path) -> str:
    """Name below `root`, size and time of change of a file; also when it is missing."""
    try:
        name = path.relative_to(root).as_posix()
    except ValueError:
        name = path.name
    try:
        found = path.stat()
    except OSError:
        return f"{name} missing"
    return f"{name} {found.st_size} {found.st_mtime_ns}"


def files_identity(paths: Iterable[Path], root: Path) -> Iterator[str]:
    """Identity of each file, and a sample of the first and last one's content.

    The sample tells apart files of equal size whose times were set alike, as archives do.
    """
    last: Path | None = None
    for path in paths:
        if last is None:
            yield _sample(path)
        yield file_identity(path, root)
        last = path
    if last is not None:
        yield _sample(last)


def _sample(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, path.stat().st_size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    except OSError:
        return "unreadable"
    return digest.hexdigest()
