"""Results on disk: whole or not at all, and never in the place of somebody else's files."""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, InputError

_NAMED = 3


def this_process() -> str:
    """What `locked` may say of this process."""
    return f"process {os.getpid()} since {datetime.datetime.now():%H:%M:%S}"


class InUseError(ForesightError):
    """Another process holds the lock; the text is the note that it left there."""


@contextmanager
def locked(path: Path, note: str) -> Iterator[None]:
    """Hold the lock of a file, which is there for so long and says who holds it.

    The system releases the lock of a process that is killed. On a file system without locks nobody
    is kept out.

    Raises:
        InUseError: another process holds it.
        OSError: the file cannot be written.
    """
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                raise InUseError(file.read().strip()) from None
        except OSError:
            break
        # Its holder may have removed the file between our opening and locking it.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break
        file.close()
    with file:
        try:
            file.truncate(0)
            file.write(note)
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def sole_run(folder: Path, lock: Path) -> Iterator[None]:
    """Keep every other run of a command out of its folder.

    Args:
        folder: named in what is said.
        lock: the file of the lock; its folder is made.

    Raises:
        InputError: another process is in the folder.
        ForesightError: the lock cannot be written.
    """
    closing = ExitStack()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        closing.enter_context(locked(lock, this_process()))
    except InUseError as error:
        raise InputError(f"{folder} is in use by another run of this command ({error})") from error
    except OSError as error:
        raise ForesightError(f"{folder} cannot be written: {error}") from error
    with closing:
        yield


def write_whole(path: Path, text: str) -> None:
    """Write a text file, which is there whole or as it was before, whoever writes it beside.

    Raises:
        OSError: the file cannot be written; nothing stays behind.
    """
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def plain(value: object) -> Any:
    """A value as YAML and JSON know it: lists for tuples, keys and paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_apart(source: Path, target: Path) -> None:
    """Refuse an input that replacing `target` would remove.

    Raises:
        InputError: `source` is `target`, or lies in it.
    """
    inside, outside = source.expanduser().resolve(), target.expanduser().resolve()
    if inside == outside or outside in inside.parents:
        raise InputError(f"{source} would be replaced by the output {target}; choose another --out")


def check_replaceable(target: Path, own: Sequence[str]) -> None:
    """Refuse to replace a folder that holds anything but what the command writes.

    Args:
        target: the folder; it need not exist.
        own: patterns of the names that the command writes.

    Raises:
        InputError: it is no folder, or holds something else.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file and is not replaced; choose another --out")
    try:
        names = sorted(entry.name for entry in target.iterdir())
    except OSError as error:
        raise InputError(f"{target} cannot be read: {error.strerror}") from error
    others = [name for name in names if not any(fnmatch(name, pattern) for pattern in own)]
    if others:
        listed = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
        raise InputError(
            f"{target} also holds {listed} and is not replaced; move that away, or choose "
            "another --out"
        )


def swap_in(new: Path, target: Path, aside: Path) -> None:
    """Move `new` to `target`, and what was there to `aside`; on an error nothing has changed."""
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        if aside.exists():
            aside.rename(target)
        raise


@contextmanager
def whole_folder(target: Path, own: Sequence[str]) -> Iterator[Path]:
    """Give a scratch folder that becomes `target`, replacing it, when the block ends well.

    What was there before goes only when the new folder stands in its place.

    Args:
        target: the folder; of a link, the folder that it names.
        own: patterns of the names that may be replaced, as for `check_replaceable`.

    Raises:
        ForesightError: the folder cannot be written (no permission, a full disk), or holds
            something else.
    """
    target = target.resolve()
    check_replaceable(target, own)
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        new = scratch / "new"
        new.mkdir()
        yield new
        check_replaceable(target, own)
        swap_in(new, target, scratch / "old")
    except OSError as error:
        raise ForesightError(f"{target} cannot be written: {error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
