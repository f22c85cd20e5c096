"""Heads and kinds of data of other packages, found by entry points (docs/plugins.md).

A package that has an entry point in one of the groups here is used without a change to this one.
What fails to load is left out, with a line in the log that says why.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from dino_foresight_ros.output_row import Output

HEADS_GROUP = "dino_foresight_ros.heads"
DATASETS_GROUP = "dino_foresight_ros.datasets"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadPlugin:
    """A head of another package; its entry point's name is its task's name.

    Attributes:
        outputs: what it gives: rows of the table of outputs, each with this head's name.
        task: "module:name" of the class that says what its output means (`model/tasks.py`).
        training: "module:name" of the class that trains it (`training/head_tasks.py`).
    """

    outputs: tuple[Output, ...]
    task: str
    training: str


@dataclass(frozen=True)
class DatasetPlugin:
    """A kind of data of another package; its entry point's name is the kind: `NAME:PATH?...`.

    Attributes:
        open: "module:name" of a function (spec, warn) -> list of recordings; `spec` is a
            `recordings.spec.Spec`, `warn` is told in a line of what is left out.
        keys: options that it knows besides start, end, part and times.
        matches: "module:name" of a function (folder) -> bool that tells the kind by a folder's
            layout, where the user names none; None: the kind has to be named.
    """

    open: str
    keys: tuple[str, ...] = ()
    matches: str | None = None


P = TypeVar("P", HeadPlugin, DatasetPlugin)


@lru_cache
def installed_heads() -> Mapping[str, HeadPlugin]:
    """Head -> plug-in, by name."""
    return _installed(HEADS_GROUP, HeadPlugin, _check_head)


@lru_cache
def installed_datasets() -> Mapping[str, DatasetPlugin]:
    """Kind of data -> plug-in, by name."""
    return _installed(DATASETS_GROUP, DatasetPlugin, lambda name, plugin: None)


def resolve(reference: str) -> Any:
    """What a "module:name" stands for.

    Raises:
        ImportError, AttributeError, ValueError: there is no such thing.
    """
    return pkgutil.resolve_name(reference)


def _installed(group: str, kind: type[P], check: Callable[[str, P], None]) -> Mapping[str, P]:
    found: dict[str, P] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            if entry.name in found:
                raise ValueError(f"{entry.name} is there twice")
            plugin = entry.load()
            if not isinstance(plugin, kind):
                raise TypeError(f"{entry.value} is no {kind.__name__}")
            check(entry.name, plugin)
        except Exception as error:  # noqa: BLE001 - of somebody else's code: anything may be wrong with it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            logger.warning("entry point %s of %s left out: %s", entry.name, group, reason)
            continue
        found[entry.name] = plugin
    return found


def _check_head(name: str, plugin: HeadPlugin) -> None:
    """Refuse rows that the table cannot hold.

    Raises:
        ValueError: says which.
    """
    if not plugin.outputs:
        raise ValueError("it gives no output")
    for output in plugin.outputs:
        if output.head != name:
            raise ValueError(f"output {output.name} is of head {output.head}, not of {name}")
        if not output.name.isidentifier() or output.encoding is None:
            raise ValueError(
                f"output {output.name} needs a name like a variable's, and an encoding"
            )
        if output.message_field is not None:
            raise ValueError(f"output {output.name} has a message_field, which no message has")
