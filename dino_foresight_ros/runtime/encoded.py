"""What the engine has encoded and not forecast yet."""

from __future__ import annotations

from typing import NamedTuple

from dino_foresight_ros.runtime.frame import CameraResult
from dino_foresight_ros.runtime.request import OutputRequest


class Encoded(NamedTuple):
    """Frames of several cameras on their way through the engine.

    Attributes:
        results: camera -> what became of its frame; forecasts are to follow.
        requests: camera -> what is wanted of it, of those that are to be forecast.
        spent_s: seconds of work so far.
    """

    results: dict[str, CameraResult]
    requests: dict[str, OutputRequest]
    spent_s: float
