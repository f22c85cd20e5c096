"""Specs that name data: a path, or `KIND:PATH?key=value&key=value`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.plugins import installed_datasets

COMMON_KEYS = ("start", "end", "part", "times", "rig")
# What each kind understands besides; "auto" is a path without a kind.
KIND_KEYS: Mapping[str, tuple[str, ...]] = {
    "auto": (),
    "video": (),
    "folder": ("rate",),
    "bag": ("topic",),
    "camvid": ("split", "classes", "unknown"),
    "cityscapes": ("split", "classes", "unknown", "depth", "normals", "normals_axes"),
    "comma10k": ("split", "classes", "unknown"),
    "coco": ("pictures", "classes"),
    "youtube-vis": ("pictures", "classes", "rate"),
    "nuscenes": ("version", "split", "cameras", "scenes", "sweeps", "lidar", "classes", "boxes"),
    "pixels": (),
    "synthetic": ("seeds", "frames", "interval", "size", "scene", "weather", "driver"),
}
"""Kinds of data of this package, and the options of each."""
_OPTIONS = re.compile(r"[A-Za-z_]\w*=[^&]*(&[A-Za-z_]\w*=[^&]*)*")


def kinds() -> tuple[str, ...]:
    """Names of all kinds of data, those of other packages last."""
    own = [kind for kind in KIND_KEYS if kind != "auto"]
    return tuple(dict.fromkeys([*own, *installed_datasets()]))


def kind_keys(kind: str) -> tuple[str, ...]:
    """Options that a kind of data has besides the common ones; of "auto" all that any has."""
    if kind == "auto":
        return tuple(dict.fromkeys(key for one in kinds() for key in kind_keys(one)))
    return KIND_KEYS[kind] if kind in KIND_KEYS else installed_datasets()[kind].keys


@dataclass(frozen=True)
class Spec:
    """One description of data: its `kind` ("auto": by what the path is), path and options.

    `measures`: of a data set with splits, the one for measuring is meant where none is named.
    """

    text: str
    kind: str
    path: Path
    options: Mapping[str, str]
    measures: bool = False

    def error(self, key: str, wanted: str) -> UsageError:
        """Return the error for an option with a bad value."""
        return UsageError(f"{self.text}: {key}={self.options.get(key, '')} is wrong; give {wanted}")

    def choice(self, key: str, valid: tuple[str, ...], default: str) -> str:
        """Return an option that has a few valid values."""
        value = self.options.get(key, default)
        if value not in valid:
            raise self.error(key, f"one of {', '.join(valid)}")
        return value

    def number(self, key: str, default: float | None, low: float = 0.0) -> float | None:
        """Return an option above `low`, or the default."""
        if key not in self.options:
            return default
        try:
            value = float(self.options[key])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > low):
            raise self.error(key, f"a number above {low:g}")
        return value

    def whole(self, key: str, default: int) -> int:
        """Return an option that is a whole number from 1."""
        text = self.options.get(key, str(default))
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
            raise self.error(key, "a whole number from 1")
        return int(text)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list separated by commas; empty when it is not given."""
        parts = tuple(part.strip() for part in self.options.get(key, "").split(","))
        if key in self.options and not all(parts):
            raise self.error(key, "names separated by commas")
        return tuple(part for part in parts if part)


def parse_spec(text: str) -> Spec:
    """Read a description of data.

    What exists as a path is that path, with whatever colons and question marks are in it. Of
    `KIND:PATH?options` the options begin at the last question mark that has `key=value` behind it
    and does not belong to an existing path.

    Raises:
        UsageError: an unknown kind or key, with the valid ones.
    """
    if not text.strip():
        raise UsageError("an empty text names no data; give a path or KIND:PATH?key=value")
    if _exists(text):
        return Spec(text, "auto", Path(text).expanduser(), {})
    kind, rest = "auto", text
    head, colon, tail = text.partition(":")
    if colon and head in kinds():
        kind, rest = head, tail
    path, options = _split_options(rest)
    if kind == "auto" and not _exists(path) and re.fullmatch(r"[A-Za-z]\w+", head) and colon:
        raise UsageError(
            f"{text}: '{head}' is no kind of data and no such path exists; "
            f"valid kinds: {', '.join(kinds())}"
        )
    spec = Spec(text, kind, Path(path).expanduser(), options)
    check_keys(spec)
    return spec


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, an unknown ~user
        return False


def _split_options(rest: str) -> tuple[str, dict[str, str]]:
    if _exists(rest) or "?" not in rest:
        return rest, {}
    path, _, query = rest.rpartition("?")
    if not query:
        return path, {}
    if not _OPTIONS.fullmatch(query):
        raise UsageError(f"{rest}: '{query}' is no list of options; write key=value&key=value")
    options: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key in options:
            raise UsageError(f"{rest}: {key} is given twice")
        options[key] = value
    return path, options


def check_keys(spec: Spec) -> None:
    """Raise UsageError for an option that the kind does not know, with those it knows."""
    # Of "auto" they are checked again once it is known what the path is.
    valid = (*kind_keys(spec.kind), *COMMON_KEYS)
    for key in spec.options:
        if key not in valid:
            raise UsageError(
                f"{spec.text}: unknown option {key}; valid for {spec.kind}: {', '.join(valid)}"
            )


@dataclass(frozen=True)
class Part:
    """Which part of a recording is wanted: seconds from its start, or fractions of its length."""

    low: float = 0.0
    high: float = math.inf
    is_fraction: bool = False

    @property
    def label(self) -> str:
        """Suffix for the recording's name; empty for all of it."""
        if self == Part():
            return ""
        unit = "" if self.is_fraction else "s"
        high = "" if math.isinf(self.high) else f"{self.high:g}{unit}"
        return f"@{self.low:g}{unit}-{high}"


def part_of(spec: Spec) -> Part:
    """Read `part=0-0.7`, or `start=` and `end=` in seconds."""
    if "part" in spec.options:
        if "start" in spec.options or "end" in spec.options:
            raise UsageError(f"{spec.text}: give part, or start and end, not both")
        found = re.fullmatch(r"(\d*\.?\d+)-(\d*\.?\d+)", spec.options["part"])
        if not found or not 0 <= float(found[1]) < float(found[2]) <= 1:
            raise spec.error("part", "two fractions from 0 to 1, such as 0-0.7")
        return Part(float(found[1]), float(found[2]), True)
    low = spec.number("start", 0.0, low=-1e-9) or 0.0
    high = spec.number("end", math.inf)
    assert high is not None
    if high <= low:
        raise spec.error("end", f"seconds after start, which is {low:g}")
    return Part(low, high)
