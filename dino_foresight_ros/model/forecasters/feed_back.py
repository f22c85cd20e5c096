"""Which horizons are asked from which newest frame, where far ones are reached by feeding back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dino_foresight_ros.model.forecasters.world_checks import SAME_INSTANT_S


class Stage(NamedTuple):
    """What is asked at once. Times are seconds from the newest frame of this stage.

    Attributes:
        asked_s: rising instants to predict.
        wanted: so many of them, the first, are horizons; one more may be fed back only.
        until_s: these horizons and all later ones.
        is_last: nothing is fed back.
    """

    asked_s: list[float]
    wanted: int
    until_s: list[float]
    is_last: bool


def stages(ahead_s: Sequence[float], reach_s: float) -> Iterator[Stage]:
    """Split horizons into stages: each starts from the last prediction of the one before.

    Args:
        ahead_s: rising, seconds from the newest frame of the context.
        reach_s: how far ahead is asked directly; what is fed back lies there.
    """
    done_s, left = 0.0, list(ahead_s)
    while left:
        until_s = [horizon_s - done_s for horizon_s in left]
        near = [s for s in until_s if s <= reach_s + SAME_INSTANT_S]
        left = left[len(near) :]
        is_between = bool(left) and (not near or reach_s - near[-1] > SAME_INSTANT_S)
        yield Stage([*near, reach_s] if is_between else near, len(near), until_s, not left)
        done_s += reach_s
