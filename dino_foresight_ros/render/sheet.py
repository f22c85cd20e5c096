"""The contact sheet: a few moments of a run, one block each, under a common title."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.banner import untrained_banner
from dino_foresight_ros.render.block import Grid, moment_block, row_names
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.text import draw_text, shortened
from dino_foresight_ros.render.views import Look, Moment, columns_of

SHEET_WIDTH = 1600
_NOTE = (
    "Classes are drawn over the frame that really came at that instant, which the forecast had "
    "not seen, or over the newest frame that it had where none came."
)


def contact_sheet(
    moments: Sequence[Moment],
    look: Look,
    title: str,
    facts: Sequence[str] = (),
    width: int = SHEET_WIDTH,
) -> Picture:
    """Draw the sheet.

    Args:
        moments: what to show, from top to bottom; at least one.
        look: colours shared by all of them.
        title: large, at the top.
        facts: lines in small letters beneath the title.
        width: of the sheet in pixels.

    Returns:
        (H, width, 3) uint8; the height follows from the number of moments.
    """
    if not moments:
        raise ValueError("a contact sheet needs at least one moment")
    margin = round(width * 0.02)
    steps = columns_of(moments)
    image = moments[0].image
    grid = Grid.fitting(width - 2 * margin, 1 + len(steps), image.shape[1] / image.shape[0])
    shown = sorted(set().union(*(moment.class_ids() for moment in moments)))
    pieces = [_header(width, margin, title, facts)]
    if not look.trained:
        pieces += [untrained_banner(width, round(width * 0.026)), _space(width, margin // 2)]
    for moment in moments:
        block = moment_block(moment, look, grid, steps, shown)
        pieces += [_indented(block, width, margin), _space(width, margin)]
    pieces.append(_footer(width, margin, _NOTE if len(row_names(look)) > 1 else ""))
    return np.concatenate(pieces)


def _space(width: int, height: int) -> Picture:
    space = np.empty((height, width, 3), np.uint8)
    space[:] = theme.BACKGROUND
    return space


def _indented(block: Picture, width: int, margin: int) -> Picture:
    strip = _space(width, block.shape[0])
    strip[:, margin : margin + block.shape[1]] = block
    return strip


def _header(width: int, margin: int, title: str, facts: Sequence[str]) -> Picture:
    large, small = round(width * 0.021), round(width * 0.0115)
    pitch = round(small * 1.55)
    header = _space(width, margin + round(large * 1.5) + pitch * len(facts) + margin // 2)
    room = width - 2 * margin
    draw_text(header, (margin, margin * 2 // 3), shortened(title, room, large), large, bold=True)
    y = margin * 2 // 3 + round(large * 1.6)
    for fact in facts:
        draw_text(header, (margin, y), shortened(fact, room, small), small, theme.DIM)
        y += pitch
    return header


def _footer(width: int, margin: int, note: str) -> Picture:
    size = round(width * 0.0105)
    footer = _space(width, margin)
    draw_text(footer, (margin, 0), shortened(note, width - 2 * margin, size), size, theme.DIM)
    return footer
