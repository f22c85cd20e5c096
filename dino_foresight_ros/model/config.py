"""Configuration dataclasses to and from the plain values of a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.files import plain

T = TypeVar("T")


def to_plain(config: Any) -> dict[str, Any]:
    """A dataclass as lists, mappings, numbers and texts."""
    return plain(asdict(config))


def from_plain(kind: type[T], values: Mapping[str, Any], part: str) -> T:
    """Build a dataclass from what `to_plain` gave.

    Args:
        kind: the dataclass; checks its values when it is built.
        values: field -> value.
        part: what errors call it.

    Raises:
        BundleError: an unknown or missing key, or a value that is refused.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    required = [n for n, f in known.items() if f.default is f.default_factory is MISSING]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BundleError(f"{part} has unknown keys {unknown}; valid: {', '.join(sorted(known))}")
    missing = sorted(set(required) - set(values))
    if missing:
        raise BundleError(f"{part} lacks the keys {missing}")
    return kind(**values)
