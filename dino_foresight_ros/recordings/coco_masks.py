"""Outlines of objects as COCO's json keeps them: polygons and run lengths, to masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Outline: TypeAlias = "list[NDArray[np.float64]] | tuple[tuple[int, int], str | NDArray[np.int64]]"
"""Polygons (n, 2) of x, y in pixels; or the (height, width) and the runs, compressed as text."""


def parse_outline(stored: Any) -> Outline:
    """Check and pack the `segmentation` of an annotation.

    Raises:
        ValueError: it is neither polygons nor run lengths.
    """
    if isinstance(stored, dict):
        return _parse_runs(stored)
    if not isinstance(stored, list) or not all(isinstance(one, list) for one in stored):
        raise ValueError("its segmentation is neither a list of polygons nor run lengths")
    polygons = []
    for one in stored:
        try:
            points = np.array(one, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError("a polygon holds something else than numbers") from error
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon is not x, y of at least three points")
        polygons.append(points.reshape(-1, 2))
    return polygons


def _parse_runs(stored: dict[str, Any]) -> Outline:
    size, counts = stored.get("size"), stored.get("counts")
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(one, int) and one > 0 for one in size)
    ):
        raise ValueError("its run lengths have no size [height, width]")
    if isinstance(counts, str):
        return (size[0], size[1]), counts
    if not isinstance(counts, list) or not all(isinstance(one, int) for one in counts):
        raise ValueError("its run lengths have no counts")
    return (size[0], size[1]), np.array(counts, np.int64)


def mask_of(outline: Outline, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw an outline.

    Args:
        outline: as `parse_outline` gives it.
        size: (height, width) of the picture.

    Returns:
        (H, W) True inside; of polygons the pixels whose centres lie inside, their union.

    Raises:
        ValueError: run lengths that do not fill the picture.
    """
    if isinstance(outline, tuple):
        stored_size, counts = outline
        if stored_size != size:
            raise ValueError(
                f"run lengths of {stored_size[1]}x{stored_size[0]}, the picture is "
                f"{size[1]}x{size[0]}"
            )
        runs = decode_runs(counts) if isinstance(counts, str) else counts
        return fill_runs(runs, size)
    mask = np.zeros(size, np.bool_)
    for polygon in outline:
        mask |= _fill_polygon(polygon, size)
    return mask


def decode_runs(text: str) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed text (maskApi.c, rleFrString).

    Each number is written in groups of 5 bits, the lowest first, each as the character 48 + group,
    + 32 where another group follows; bit 16 of the last one is the sign. From the fourth number
    on it is the difference from the run two before.

    Raises:
        ValueError: a character outside the alphabet, or an end in the middle of a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"'{character}' is no character of compressed run lengths")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end in the middle of a number")
    if any(not 0 <= run < 2**40 for run in runs):
        raise ValueError("compressed run lengths hold an impossible number")
    return np.array(runs, np.int64)


def fill_runs(runs: Sequence[int] | NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Runs of outside, inside, outside, ... down the columns, left to right -> (H, W) mask.

    Raises:
        ValueError: they do not fill the picture.
    """
    runs = np.asarray(runs, np.int64)
    pixels = size[0] * size[1]
    if np.any((runs < 0) | (runs > pixels)) or int(runs.sum()) != pixels:
        raise ValueError(f"run lengths do not fill {size[1]}x{size[0]} pixels")
    inside = np.arange(runs.size) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(size[1], size[0]).T)


def _fill_polygon(polygon: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centres (x + 0.5, y + 0.5) lie inside, by the even-odd rule."""
    height, width = size
    crossings = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, end = np.clip(np.ceil(np.array([y0, y1]) - 0.5), 0, height).astype(np.int64)
        rows = np.arange(first, end)
        if rows.size:
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)] += 1
    return np.cumsum(crossings[:, :width], axis=1) % 2 == 1
