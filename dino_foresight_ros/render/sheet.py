"""The contact sheet: a few moments of a run, each forecast beside what then came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.banner import untrained_banner
from dino_foresight_ros.render.comparison import PairGrid, Table, comparison_block
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.panels import (
    legend_entries,
    legend_panel,
    normals_panel,
    scale_panel,
)
from dino_foresight_ros.render.text import draw_text, shortened
from dino_foresight_ros.render.tiles import row_names
from dino_foresight_ros.render.views import Look, Moment, columns_of

SHEET_WIDTH = 1920
_MOST_STEPS = 3
_NOTE = (
    "What then came: the frame, and what the model's own heads say of it, or the truth where it is "
    "marked so. Classes are laid over that frame, which the forecast had not seen."
)


def contact_sheet(
    moments: Sequence[Moment],
    look: Look,
    title: str,
    facts: Sequence[str] = (),
    width: int = SHEET_WIDTH,
    tables: Sequence[Mapping[int, Table]] = (),
) -> Picture:
    """Draw the sheet.

    Args:
        moments: what to show, from top to bottom; at least one.
        look: colours shared by all of them.
        title: large, at the top.
        facts: lines in small letters beneath the title.
        width: of the sheet in pixels.
        tables: for each moment, step -> numbers to write beside it.

    Returns:
        (H, width, 3) uint8; the height follows from the number of moments.
    """
    if not moments:
        raise ValueError("a contact sheet needs at least one moment")
    margin = round(width * 0.016)
    steps = columns_of(moments, _MOST_STEPS)
    image = moments[0].image
    inner = width - 2 * margin
    grid = PairGrid.fitting(inner, len(steps), image.shape[1] / image.shape[0])
    pieces = [header(width, margin, title, facts)]
    if not look.trained:
        pieces += [untrained_banner(width, round(width * 0.024)), space(width, margin // 2)]
    shown = sorted(set().union(*(moment.class_ids() for moment in moments)))
    keys = key_strip(look, shown, inner)
    if keys is not None:
        pieces += [_indented(keys, width, margin), space(width, margin // 2)]
    for place, moment in enumerate(moments):
        table = tables[place] if place < len(tables) else None
        block = comparison_block(moment, look, grid, steps, table)
        pieces += [_indented(block, width, margin), space(width, margin)]
    pieces.append(footer(width, margin, _NOTE if len(row_names(look)) > 1 else ""))
    return np.concatenate(pieces)


def key_strip(look: Look, ids: Sequence[int], width: int) -> Picture | None:
    """(H, width, 3) uint8: the keys to all colours side by side; None where there are none.

    Args:
        look: which keys there are.
        ids: classes in the legend.
        width: in pixels.
    """
    height, gap = round(width * 0.06), max(3, width // 300)
    side = round(width * 0.24)
    keys = []
    if look.scale is not None:
        keys.append(scale_panel(look.scale, height, side))
    if look.has_normals:
        keys.append(normals_panel(height, round(side * 0.72)))
    if look.palette is not None:
        room = width - sum(key.shape[1] + gap for key in keys)
        keys.insert(0, legend_panel(legend_entries(look.palette, ids), height, room))
    if not keys:
        return None
    strip, x = space(width, height), 0
    for key in keys:
        strip[:, x : x + key.shape[1]] = key
        x += key.shape[1] + gap
    return strip


def space(width: int, height: int) -> Picture:
    """(height, width, 3) uint8 of the background."""
    empty = np.empty((height, width, 3), np.uint8)
    empty[:] = theme.BACKGROUND
    return empty


def _indented(block: Picture, width: int, margin: int) -> Picture:
    strip = space(width, block.shape[0])
    strip[:, margin : margin + block.shape[1]] = block
    return strip


def header(width: int, margin: int, title: str, facts: Sequence[str]) -> Picture:
    """(H, width, 3) uint8: a title and lines in small letters beneath it."""
    large, small = round(width * 0.019), round(width * 0.0105)
    pitch = round(small * 1.55)
    picture = space(width, margin + round(large * 1.5) + pitch * len(facts) + margin // 2)
    room = width - 2 * margin
    draw_text(picture, (margin, margin * 2 // 3), shortened(title, room, large), large, bold=True)
    y = margin * 2 // 3 + round(large * 1.6)
    for fact in facts:
        draw_text(picture, (margin, y), shortened(fact, room, small), small, theme.DIM)
        y += pitch
    return picture


def footer(width: int, margin: int, note: str) -> Picture:
    """(margin, width, 3) uint8: a note in small letters."""
    size = round(width * 0.0095)
    picture = space(width, margin)
    draw_text(picture, (margin, 0), shortened(note, width - 2 * margin, size), size, theme.DIM)
    return picture
