"""Runs a model once and prints the names of all modules that are loaded then."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight


def main(arguments: Sequence[str]) -> int:
    engine = Foresight(Bundle.load(arguments[0], device="cpu"), steps=1)
    for number in range(4):
        forecast = engine.update(np.zeros((90, 160, 3), np.uint8), number * 200_000_000)
    assert forecast is not None
    print(*sys.modules)
    return 0
