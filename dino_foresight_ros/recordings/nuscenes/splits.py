"""The official splits of nuScenes, by scene."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml


class Split(NamedTuple):
    """One split: the version whose tables hold it, and the names of its scenes."""

    version: str
    scenes: tuple[str, ...]


@lru_cache(maxsize=1)
def official_splits() -> dict[str, Split]:
    """Name -> split: train (700 scenes), val (150), test (150), mini_train (8), mini_val (2)."""
    path = Path(__file__).with_name("splits.yaml")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: Split(one["version"], tuple(_scenes(str(one["scenes"]))))
        for name, one in content.items()
    }


def _scenes(text: str) -> list[str]:
    """ "61, 103-104" -> scene-0061, scene-0103, scene-0104."""
    names: list[str] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        names += (f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return names
