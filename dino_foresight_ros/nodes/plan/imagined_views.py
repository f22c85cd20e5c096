"""The imagined views of a chosen and of a refused candidate, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import CandidateScore
from dino_foresight_ros.outputs import IMAGES, SEGMENTATION
from dino_foresight_ros.render.colors import ClassPalette, Picture
from dino_foresight_ros.render.text import draw_tag, shortened, with_untrained_banner
from dino_foresight_ros.render.tile_grid import background
from dino_foresight_ros.render.tiles import enlarge
from dino_foresight_ros.ros.messages import read_image
from dino_foresight_ros.srv import Imagine

_TILE_WIDTH, _GAP, _SIZE = 480, 8, 15
_MOST_ROWS = 3


def draw_imagined(
    response: Imagine.Response,
    arcs: NDArray[np.float64],
    reasons: Sequence[str],
    palette: ClassPalette,
) -> Picture:
    """A column per candidate, a row per horizon.

    Args:
        response: of these candidates, with maps.
        arcs: (K, 2) m/s and rad/s.
        reasons: why each was refused, empty for the chosen one.
        palette: of the classes.

    Raises:
        InputError: no maps.
    """
    columns = [
        _column(score, arc, reason, palette)
        for score, arc, reason in zip(response.scores, arcs, reasons, strict=True)
    ]
    height = max(len(column) for column in columns)
    width = sum(column.shape[1] for column in columns) + _GAP * (len(columns) - 1)
    picture, left = background(height, width), 0
    for column in columns:
        picture[: len(column), left : left + column.shape[1]] = column
        left += column.shape[1] + _GAP
    return picture if response.trained else with_untrained_banner(picture)


def _column(
    score: CandidateScore, arc: NDArray[np.float64], reason: str, palette: ClassPalette
) -> Picture:
    output = next(output for output in IMAGES if output.name == SEGMENTATION)
    tiles = []
    rows = len(score.horizons)
    shown = sorted({round(k) for k in np.linspace(0, rows - 1, min(rows, _MOST_ROWS))})
    for k in shown:
        horizon = score.horizons[k]
        ids = read_image(horizon.segmentation, output)
        if ids is None:
            raise InputError("the answer has no maps")
        size = (round(_TILE_WIDTH * ids.shape[0] / ids.shape[1]), _TILE_WIDTH)
        tile = enlarge(palette.colorize(ids), size).copy()
        risk = f"t+{horizon.horizon:.2f} s   risk {horizon.probability_occupied:.2f}"
        draw_tag(tile, (_SIZE // 2, size[0] - 2 * _SIZE), risk, _SIZE)
        tiles.append(tile)
    arc_text = f"{arc[0]:.1f} m/s  {np.degrees(arc[1]):+.0f} deg/s"
    lines = [f"{arc_text}  refused" if reason else f"{arc_text}  chosen", *filter(None, [reason])]
    for row, text in enumerate(lines):
        place = _SIZE // 2, _SIZE // 2 + row * round(1.6 * _SIZE)
        draw_tag(tiles[0], place, shortened(text, _TILE_WIDTH - 2 * _SIZE, _SIZE), _SIZE)
    height = sum(len(tile) for tile in tiles) + _GAP * (len(tiles) - 1)
    column, top = background(height, _TILE_WIDTH), 0
    for tile in tiles:
        column[top : top + len(tile)] = tile
        top += len(tile) + _GAP
    return column
