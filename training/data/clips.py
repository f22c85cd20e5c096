"""Clips: which frames of a recording lie at wanted distances in time from one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.stamps import NS_PER_S

TOLERANCE = 0.45
_SPACING_FRACTION = 0.75


def clip_indices(
    stamps_ns: NDArray[np.int64],
    offsets_s: Sequence[float] | NDArray[np.float64],
    tolerance_s: float,
) -> NDArray[np.int64]:
    """Find every clip of a recording.

    Each frame serves as the anchor of at most one clip: for every offset the frame nearest to
    anchor + offset is taken (of two equally near ones the newer, as the live node does), which
    must lie within the tolerance. Anchors where a frame is missing, or where one frame would serve
    two offsets, are left out.

    Args:
        stamps_ns: (N,) strictly rising nanoseconds, with jitter and gaps as they come.
        offsets_s: seconds from the anchor, negative ones before it, in any order.
        tolerance_s: how far a frame may lie from its instant, inclusive.

    Returns:
        (M, len(offsets_s)) int64 indices into `stamps_ns`, by rising anchor.
    """
    rows, valid = clip_rows(stamps_ns, np.arange(len(stamps_ns)), offsets_s, tolerance_s)
    return rows[valid]


def clip_tolerance_s(
    stamps_ns: NDArray[np.int64], interval_s: float, fraction: float = TOLERANCE
) -> float:
    """Return how far a frame of a clip may lie off its instant, in seconds.

    A fraction of the interval, as the live node's context has it, but less than the usual spacing
    of the recording's frames: there is always a frame within half of that, except beside a gap and
    at the ends, where the next one would be a clip with uneven steps.
    """
    if len(stamps_ns) < 2:
        return fraction * interval_s
    spacing_s = float(np.median(np.diff(stamps_ns))) / NS_PER_S
    return min(fraction * interval_s, _SPACING_FRACTION * spacing_s)


def clip_rows(
    stamps_ns: NDArray[np.int64],
    anchors: NDArray[np.int64],
    offsets_s: Sequence[float] | NDArray[np.float64],
    tolerance_s: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return per anchor (A,) the nearest frames (A, K), and whether they make a clip (A,).

    Raises:
        UsageError: no offsets, or values that are no finite times.
    """
    offsets = np.asarray(offsets_s, np.float64)
    if offsets.ndim != 1 or offsets.size == 0 or not np.isfinite(offsets).all():
        raise UsageError(f"offsets {list(offsets_s)} s: give at least one finite time")
    if not (np.isfinite(tolerance_s) and tolerance_s >= 0):
        raise UsageError(f"tolerance {tolerance_s} s: give a time from 0")
    stamps = np.asarray(stamps_ns, np.int64)
    if stamps.size == 0:
        return np.empty((0, offsets.size), np.int64), np.empty(0, np.bool_)
    targets = stamps[anchors][:, None] + np.round(offsets * NS_PER_S).astype(np.int64)
    rows = nearest_frames(stamps, targets)
    near = np.abs(stamps[rows] - targets) <= round(tolerance_s * NS_PER_S)
    ordered = np.sort(rows, axis=1)
    distinct = (np.diff(ordered, axis=1) > 0).all(axis=1)
    return rows, near.all(axis=1) & distinct
