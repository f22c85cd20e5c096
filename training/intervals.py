"""Seconds between the frames of training clips, as recordings allow them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording

from .recipes import ForecasterRecipe

PAPER_INTERVALS_S = (2 / 17, 3 / 17, 4 / 17)
"""Strides of 2, 3 and 4 frames of Cityscapes, which has 17 per second (paper sec. 4.1)."""


def frame_spacing_s(recordings: Sequence[Recording]) -> float:
    """Median seconds from frame to frame.

    Raises:
        InputError: no recording has two frames.
    """
    gaps = [np.diff(r.stamps_ns) for r in recordings if len(r.stamps_ns) > 1]
    if not gaps:
        raise InputError("no recording has two frames; a clip needs several, one after another")
    return float(np.median(np.concatenate(gaps))) / 1e9


def nearest_intervals_s(recordings: Sequence[Recording]) -> tuple[float, ...]:
    """Return the paper's intervals, moved to whole numbers of the recordings' own frames."""
    spacing = frame_spacing_s(recordings)
    frames = sorted({max(1, round(interval / spacing)) for interval in PAPER_INTERVALS_S})
    return tuple(count * spacing for count in frames)


def middle(intervals_s: Sequence[float]) -> float:
    """Return the interval that stands for all of them: the median, of two the longer one."""
    return float(statistics.median_high(intervals_s))


def resolve_intervals(
    recipe: ForecasterRecipe, recordings: Sequence[Recording]
) -> ForecasterRecipe:
    """State the intervals that a recipe leaves to the recordings that are trained on.

    Raises:
        InputError: recordings of single frames.
    """
    if recipe.kind == "world":
        return recipe  # its clips lie at random distances
    intervals = recipe.intervals_s or nearest_intervals_s(recordings)
    return replace(
        recipe,
        intervals_s=intervals,
        frame_interval_s=recipe.frame_interval_s or middle(intervals),
    )
