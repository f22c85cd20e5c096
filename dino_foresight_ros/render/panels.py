"""Panels beside the tiles: keys to the colours of classes, depth and normals, and small tables."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import (
    UNLABELLED_COLOR,
    ClassPalette,
    Color,
    DepthScale,
    Picture,
    colorize_normals,
)
from dino_foresight_ros.render.text import draw_text, shortened, text_size

_LARGEST_TEXT, _SMALLEST_TEXT = 17, 9


def empty_panel(height: int, width: int, text: str = "") -> Picture:
    """(height, width, 3) uint8: a plain panel, a dim line of text in its middle."""
    panel = np.empty((height, width, 3), np.uint8)
    panel[:] = style.PANEL
    if text:
        size = max(10, height // 14)
        draw_text(panel, (width // 2, height // 2), text, size, style.DIM, anchor="mm")
    return panel


def legend_entries(
    palette: ClassPalette, ids: Iterable[int] | None = None
) -> tuple[tuple[str, Color], ...]:
    """Names and colours of the given class ids in their order; None means every class.

    An id without a class is listed once, as "unlabelled".
    """
    wanted = set(range(len(palette.names))) if ids is None else set(ids)
    known = tuple(
        (name.replace("_", " "), color)
        for index, (name, color) in enumerate(zip(palette.names, palette.colors, strict=True))
        if index in wanted and index != palette.unlabelled
    )
    has_unlabelled = any(i >= len(palette.names) or i == palette.unlabelled for i in wanted)
    return (*known, ("unlabelled", UNLABELLED_COLOR)) if has_unlabelled else known


@lru_cache(maxsize=64)
def legend_panel(entries: tuple[tuple[str, Color], ...], height: int, width: int) -> Picture:
    """(height, width, 3) uint8: a coloured square and a name per class, in columns.

    Letters are as large as fits; where even the smallest do not, the last place tells how many
    classes are left out.
    """
    panel = empty_panel(height, width)
    pad = max(6, round(min(height, width) * 0.06))
    size, columns = _legend_layout(entries, height - 2 * pad, width - 2 * pad)
    pitch = round(size * 1.5)
    rows = max(1, (height - 2 * pad) // pitch)
    shown = list(entries[: rows * columns])
    if len(shown) < len(entries):
        shown[-1] = (f"and {len(entries) - len(shown) + 1} more", style.PANEL)
    rows = min(rows, -(-len(shown) // columns)) if shown else 1
    top = (height - rows * pitch) // 2
    column_width = (width - 2 * pad) // columns
    for place, (name, color) in enumerate(shown):
        column, row = divmod(place, rows)
        x, y = pad + column * column_width, top + row * pitch
        panel[y + (pitch - size) // 2 : y + (pitch + size) // 2, x : x + size] = color
        room = column_width - size - round(size * 0.9)
        text_at = (x + size + round(size * 0.45), y + pitch // 2)
        draw_text(panel, text_at, shortened(name, room, size), size, style.TEXT, anchor="lm")
    panel.setflags(write=False)
    return panel


def _legend_layout(
    entries: tuple[tuple[str, Color], ...], height: int, width: int
) -> tuple[int, int]:
    """(font size, columns) with which all entries fit, the largest letters first."""
    for size in range(_LARGEST_TEXT, _SMALLEST_TEXT - 1, -1):
        widest = max((text_size(name, size)[0] for name, _ in entries), default=0)
        rows = max(1, height // round(size * 1.5))
        columns = max(1, -(-len(entries) // rows))
        if columns * (widest + round(size * 2.35)) <= width or columns == 1:
            return size, columns
    return _SMALLEST_TEXT, max(1, width // (10 * _SMALLEST_TEXT))


@lru_cache(maxsize=64)
def scale_panel(scale: DepthScale, height: int, width: int) -> Picture:
    """(height, width, 3) uint8: a bar of the scale's colours with depths written beneath."""
    panel = empty_panel(height, width)
    pad = max(10, width // 18)
    size = min(_LARGEST_TEXT, max(9, width // 24))
    bar_height = max(6, height // 8)
    bar_width = width - 2 * pad
    top = height // 2 - bar_height
    title = "depth in metres" if scale.is_metric else "relative inverse depth"
    draw_text(panel, (pad, top - round(size * 0.5)), title, size, style.TEXT, anchor="lb")
    panel[top : top + bar_height, pad : pad + bar_width] = scale.bar(bar_height, bar_width)
    taken = -1
    for tick in scale.ticks():
        position = float(scale.positions(np.array([tick], np.float32))[0])
        x = pad + round((1.0 - position) * (bar_width - 1))
        text = f"{tick:g}"
        left = min(max(x - text_size(text, size)[0] // 2, 2), width - text_size(text, size)[0] - 2)
        if left <= taken:
            continue
        panel[top + bar_height : top + bar_height + max(3, size // 3), x] = style.DIM
        at = (left, top + bar_height + round(size * 0.5))
        _, _, taken, bottom = draw_text(panel, at, text, size, style.TEXT)
        taken += size // 2
    note_at = (pad, bottom + round(size * 0.5))
    draw_text(panel, note_at, "near is bright, unknown is black", round(size * 0.85), style.DIM)
    panel.setflags(write=False)
    return panel


@lru_cache(maxsize=64)
def normals_panel(height: int, width: int) -> Picture:
    """(height, width, 3) uint8: a sphere whose every point has the colour of its normal."""
    panel = empty_panel(height, width)
    radius = max(4, round(min(height * 0.36, width * 0.2)))
    center = max(10, width // 18) + radius
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
    inside = x**2 + y**2 <= 1.0
    towards = np.sqrt(np.maximum(1.0 - x**2 - y**2, 0.0))
    # In the optical frame z points away from the camera.
    colors = colorize_normals(np.stack([x, y, -towards], axis=-1).astype(np.float32))
    top = height // 2 - radius
    corner = panel[top : top + 2 * radius + 1, center - radius : center + radius + 1]
    corner[inside] = colors[inside]
    size = min(_LARGEST_TEXT, max(9, width // 24))
    at = (center + radius + size, height // 2)
    room = width - at[0] - 2
    lines = [("surface normals", style.TEXT), ("as on this ball", style.DIM)]
    for place, (text, color) in enumerate(lines):
        draw_text(
            panel, (at[0], at[1] + (place * 2 - 1) * size * 3 // 4), shortened(text, room, size),
            size, color, anchor="lm",
        )  # fmt: skip
    panel.setflags(write=False)
    return panel


@lru_cache(maxsize=64)
def objects_panel(height: int, width: int) -> Picture:
    """(height, width, 3) uint8: what outlines, numbers and arrows mean."""
    panel = empty_panel(height, width)
    size = min(_LARGEST_TEXT, max(9, width // 24))
    left, middle = max(10, width // 18), height // 2
    lines = (
        ("single objects", style.TEXT),
        ("a colour and a number each, kept over time", style.DIM),
        ("arrows: from where it is now", style.DIM),
    )
    room = width - left - 2
    for place, (text, color) in enumerate(lines):
        at = (left, middle + (place - 1) * round(size * 1.5))
        draw_text(panel, at, shortened(text, room, size), size, color, anchor="lm")
    panel.setflags(write=False)
    return panel


def table_panel(rows: tuple[tuple[str, ...], ...], height: int, width: int) -> Picture:
    """(height, width, 3) uint8: a small table, its first row the heading; empty without rows."""
    panel = empty_panel(height, width)
    if not rows:
        return panel
    columns = max(map(len, rows))
    pad = max(6, width // 24)
    # The first column holds names and takes what the numbers leave.
    size = min(_LARGEST_TEXT, max(8, round(height * 0.7 / (1.6 * len(rows)))))
    while size > 8 and _table_width(rows, size) > width - 2 * pad:
        size -= 1
    pitch = round(size * 1.6)
    y = (height - pitch * len(rows)) // 2 + pitch // 2
    wide = [max(text_size(row[c], size)[0] for row in rows if c < len(row)) for c in range(columns)]
    for place, row in enumerate(rows):
        right = width - pad
        for column in range(len(row) - 1, 0, -1):
            color = style.DIM if place == 0 else style.TEXT
            draw_text(panel, (right, y), row[column], size, color, anchor="rm")
            right -= wide[column] + size
        draw_text(panel, (pad, y), row[0], size, style.DIM, anchor="lm")
        y += pitch
    return panel


def _table_width(rows: tuple[tuple[str, ...], ...], size: int) -> int:
    columns = max(map(len, rows))
    widest = [max(text_size(r[c], size)[0] for r in rows if c < len(r)) for c in range(columns)]
    return sum(widest) + size * (columns - 1)
