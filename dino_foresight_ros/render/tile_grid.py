"""The layout of a picture's tiles: rows of maps, columns of instants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.render.text import draw_text

_PAIR_GAP = 2


@dataclass(frozen=True)
class Grid:
    """The layout of a block of tiles; all lengths in pixels.

    Attributes:
        width: of the whole block.
        heading: above the tiles, for the names of the columns.
        row_gap: between rows.
        tile_height, tile_width: of one tile.
        lefts: x of each column; left of the first is the gutter, for the names of the rows.
    """

    width: int
    heading: int
    row_gap: int
    tile_height: int
    tile_width: int
    lefts: tuple[int, ...]

    @staticmethod
    def even(width: int, columns: int, aspect: float) -> Grid:
        """Columns evenly apart.

        Args:
            width: of the block.
            columns: how many.
            aspect: width / height of the pictures.
        """
        gutter, heading, gap = round(width * 0.02), round(width * 0.024), max(3, width // 150)
        tile = (width - gutter - gap * (columns - 1)) // columns
        lefts = tuple(gutter + i * (tile + gap) for i in range(columns))
        return Grid(width, heading, gap, round(tile / aspect), tile, lefts)

    @staticmethod
    def pairs(width: int, steps: int, aspect: float) -> Grid:
        """One column, then a pair of columns for each step; headings have two lines.

        Args:
            width: of the block.
            steps: how many pairs.
            aspect: width / height of the pictures.
        """
        gutter, heading = round(width * 0.015), round(width * 0.027)
        gap = max(6, width // 110)
        tile = (width - gutter - steps * (gap + _PAIR_GAP)) // (1 + 2 * steps)
        pairs = [gutter + tile + gap + i * (2 * tile + _PAIR_GAP + gap) for i in range(steps)]
        lefts = (gutter, *(x for left in pairs for x in (left, left + tile + _PAIR_GAP)))
        return Grid(width, heading, 2 * _PAIR_GAP, round(tile / aspect), tile, lefts)

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of a tile."""
        return self.tile_height, self.tile_width

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """(x, y) of a tile's top left pixel."""
        return self.lefts[column], self.heading + row * (self.tile_height + self.row_gap)

    def height(self, rows: int) -> int:
        """Of a block with so many rows."""
        return self.heading + rows * (self.tile_height + self.row_gap) - self.row_gap

    def blank(self, rows: Sequence[str]) -> Picture:
        """(height, width, 3) uint8: the block without tiles, the rows' names at its left."""
        block = background(self.height(len(rows)), self.width)
        gutter = self.lefts[0]
        for row, name in enumerate(rows):
            _, y = self.corner(row, 0)
            # Written along the row's left edge, bottom to top.
            strip = background(gutter, self.tile_height)
            center = (self.tile_height // 2, gutter // 2 - 2)
            size = max(9, round(gutter * 0.6))
            draw_text(strip, center, name, size, style.DIM, anchor="mm")
            block[y : y + self.tile_height, :gutter] = np.rot90(strip)
        return block

    def put(self, block: Picture, column: int, tiles: Sequence[Picture]) -> None:
        """Paste tiles beneath each other, in place."""
        for row, tile in enumerate(tiles):
            x, y = self.corner(row, column)
            block[y : y + self.tile_height, x : x + self.tile_width] = tile


def background(height: int, width: int) -> Picture:
    """(height, width, 3) uint8 of the background."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = style.BACKGROUND
    return picture
