"""Keys to the colours: the legend of classes and the scale bar of depth."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.depth import DepthScale
from dino_foresight_ros.render.palette import UNLABELLED_COLOR, ClassPalette, Color, Picture
from dino_foresight_ros.render.text import draw_text, shortened, text_size

_LARGEST_TEXT, _SMALLEST_TEXT = 17, 9


def empty_panel(height: int, width: int, text: str = "") -> Picture:
    """(height, width, 3) uint8: a plain panel, a dim line of text in its middle."""
    panel = np.empty((height, width, 3), np.uint8)
    panel[:] = theme.PANEL
    if text:
        size = max(10, height // 14)
        draw_text(panel, (width // 2, height // 2), text, size, theme.DIM, anchor="mm")
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
        shown[-1] = (f"and {len(entries) - len(shown) + 1} more", theme.PANEL)
    rows = min(rows, -(-len(shown) // columns)) if shown else 1
    top = (height - rows * pitch) // 2
    column_width = (width - 2 * pad) // columns
    for place, (name, color) in enumerate(shown):
        column, row = divmod(place, rows)
        x, y = pad + column * column_width, top + row * pitch
        panel[y + (pitch - size) // 2 : y + (pitch + size) // 2, x : x + size] = color
        room = column_width - size - round(size * 0.9)
        text_at = (x + size + round(size * 0.45), y + pitch // 2)
        draw_text(panel, text_at, shortened(name, room, size), size, theme.TEXT, anchor="lm")
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
    draw_text(panel, (pad, top - round(size * 0.5)), title, size, theme.TEXT, anchor="lb")
    panel[top : top + bar_height, pad : pad + bar_width] = scale.bar(bar_height, bar_width)
    taken = -1
    for tick in scale.ticks():
        position = float(scale.positions(np.array([tick], np.float32))[0])
        x = pad + round((1.0 - position) * (bar_width - 1))
        text = f"{tick:g}"
        left = min(max(x - text_size(text, size)[0] // 2, 2), width - text_size(text, size)[0] - 2)
        if left <= taken:
            continue
        panel[top + bar_height : top + bar_height + max(3, size // 3), x] = theme.DIM
        at = (left, top + bar_height + round(size * 0.5))
        _, _, taken, bottom = draw_text(panel, at, text, size, theme.TEXT)
        taken += size // 2
    note_at = (pad, bottom + round(size * 0.5))
    draw_text(panel, note_at, "near is bright, unknown is black", round(size * 0.85), theme.DIM)
    panel.setflags(write=False)
    return panel
