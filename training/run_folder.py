"""The folder of a run: new, or gone on from; never two runs in one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import yaml

from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.files import sole_run
from dino_foresight_ros.progress import warn

from .checkpoint import LAST
from .launch import processes_from_environment
from .parts import code_version
from .recipe_base import R, changed, resolve_recipe, saved_recipe

CONFIG = "config.yaml"


@contextmanager
def alone_in(folder: Path, rank: int | None = None, world: int = 1) -> Iterator[None]:
    """Keep every other training out of a folder, from before it is looked at until it is whole.

    The lock lies beside the folder, which may be replaced as a whole. Of processes that torchrun
    started the first holds it for all.

    Args:
        folder: that the training writes.
        rank, world: of a process that shares a folder and its work with others; it holds a lock
            of its own.

    Raises:
        InputError: another one is in it; its process is named.
        ForesightError: the lock cannot be written.
    """
    if rank is None and processes_from_environment()[0] > 0:
        yield
        return
    real = folder.resolve()
    share = f".{rank}-of-{world}" if rank is not None and world > 1 else ""
    if real.parent.is_dir() and not os.access(real.parent, os.W_OK):
        warn(f"{real.parent} cannot be written: nothing keeps a second run out of {folder}")
        yield
        return
    with sole_run(folder, real.parent / f".{real.name}{share}.lock"):
        yield


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that does not fit what is asked.

    Raises:
        InputError: a run (or something else) is there already, or nothing to go on from is.
    """
    if resume:
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder} holds no run to go on with (no {CONFIG}); drop --resume")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a run" if (folder / CONFIG).is_file() else "exists and is not empty"
        raise InputError(f"{folder} {what}; go on with --resume, or choose another --out")


@dataclass(frozen=True)
class RunPlan(Generic[R]):
    """What a run is made from.

    Attributes:
        folder: of the run.
        inputs: what it reads, by name.
        recipe: how it goes.
        saved: config.yaml of the run that is gone on with; None for a new one.
    """

    folder: Path
    inputs: dict[str, Any]
    recipe: R
    saved: dict[str, Any] | None = None

    @property
    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on from; a run that died early has none."""
        return self.saved is not None and has_checkpoint(self.folder)


def plan_run(
    kind: type[R],
    folder: Path,
    inputs: Mapping[str, Any],
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    file: Path | None = None,
    resume: bool = False,
    defaults: Mapping[str, Any] | None = None,
    variant: str | None = None,
) -> RunPlan[R]:
    """Put a run together, or find out how the one in the folder was.

    Args:
        kind: of recipe.
        folder: of the run.
        inputs: those that were given.
        flags: values of the recipe that were given.
        preset, file, variant: see `resolve_recipe`.
        resume: go on with the run in the folder, which has to stay the same run.
        defaults: every input, with its value where it is not given.

    Raises:
        ForesightError: the folder does not fit, or what is given makes no sense or another run.
    """
    check_folder(folder, resume)
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in inputs.items()
        if value is not None
    }
    whole = dict(defaults or {})
    if not resume:
        return RunPlan(
            folder, {**whole, **given}, resolve_recipe(kind, preset, file, flags, variant)
        )
    saved = read_config(folder)
    try:
        if saved["kind"] != kind.KIND:
            raise InputError(f"{folder} holds a run of {_a(saved['kind'])}, not of {_a(kind.KIND)}")
        old, before = saved_recipe(kind, saved["recipe"]), {**whole, **saved["inputs"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} holds no {kind.KIND}'s run: config.yaml lacks {error}"
        ) from error
    is_whole = preset is not None or file is not None
    recipe = resolve_recipe(kind, preset, file, flags, variant) if is_whole else changed(old, flags)
    check_unchanged(old.to_dict(), recipe.to_dict(), kind.free_on_resume())
    check_unchanged(before, given)
    return RunPlan(folder, before, recipe, saved)


def _a(kind: object) -> str:
    return f"an {kind}" if str(kind)[:1] in "aeiou" else f"a {kind}"


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint; a run that died early has none and starts anew."""
    return (folder / LAST).is_file()


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml, with the version of the code.

    Raises:
        ForesightError: the folder cannot be written.
    """
    values = {**config, "code_version": code_version()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{CONFIG}"
        scratch.write_text(yaml.safe_dump(values, sort_keys=False, width=100))
        scratch.replace(folder / CONFIG)
    except OSError as error:
        raise ForesightError(f"{folder} cannot be written: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.yaml.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CONFIG
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged: it is no mapping")
    return values


def check_unchanged(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> None:
    """Refuse to go on with settings that would make another run of it.

    Raises:
        UsageError: a value differs that is not among the free ones.
    """
    for name, value in now.items():
        if name not in free and name in before and before[name] != value:
            raise UsageError(
                f"the run was started with {name} {before[name]}, not {value}; go on with that, or "
                "start another run"
            )
