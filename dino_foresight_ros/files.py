"""Results on disk: whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dino_foresight_ros.errors import ForesightError


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes `target`, replacing it, when the block ends well.

    Raises:
        ForesightError: the folder cannot be written (no permission, a full disk).
    """
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        yield scratch
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    except OSError as error:
        raise ForesightError(f"{target} cannot be written: {error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
