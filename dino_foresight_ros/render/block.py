"""One moment as a block of tiles: columns now, t+1, ...; rows camera, segmentation, depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Picture, overlay
from dino_foresight_ros.render.panels import (
    empty_panel,
    legend_entries,
    legend_panel,
    scale_panel,
)
from dino_foresight_ros.render.text import draw_tag, draw_text, text_size
from dino_foresight_ros.render.views import Look, Moment, StepView


@dataclass(frozen=True)
class Grid:
    """Where the tiles of a block lie; all lengths in pixels.

    Attributes:
        width: of the whole block.
        gutter: at the left, for the names of the rows.
        heading: above the tiles, for the names of the columns.
        gap: between tiles.
        columns: number of tiles in a row.
        tile_height, tile_width: of one tile.
    """

    width: int
    gutter: int
    heading: int
    gap: int
    columns: int
    tile_height: int
    tile_width: int

    @staticmethod
    def fitting(width: int, columns: int, aspect: float) -> Grid:
        """The grid of a block of this width, for pictures of width / height `aspect`."""
        gutter, heading, gap = round(width * 0.02), round(width * 0.024), max(3, width // 150)
        tile_width = (width - gutter - gap * (columns - 1)) // columns
        return Grid(width, gutter, heading, gap, columns, round(tile_width / aspect), tile_width)

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of a tile."""
        return self.tile_height, self.tile_width

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """(x, y) of a tile's top left pixel."""
        x = self.gutter + column * (self.tile_width + self.gap)
        return x, self.heading + row * (self.tile_height + self.gap)

    def height(self, rows: int) -> int:
        """Of a block with so many rows."""
        return self.heading + rows * (self.tile_height + self.gap) - self.gap


def fit(image: Picture, size: tuple[int, int]) -> Picture:
    """Resize a picture to (height, width)."""
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] > height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _enlarge(colors: Picture, size: tuple[int, int]) -> Picture:
    """Resize colours that stand for something, without inventing ones between them."""
    nearest = cv2.resize(colors, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(nearest, np.uint8)


def row_names(look: Look) -> list[str]:
    """The rows that a look has: the camera always, the others where there is a head."""
    names = ["camera"]
    if look.palette is not None:
        names.append("segmentation")
    if look.scale is not None:
        names.append("depth")
    return names


def moment_block(
    moment: Moment,
    look: Look,
    grid: Grid,
    steps: Sequence[int],
    legend_ids: Iterable[int] | None = None,
) -> Picture:
    """Draw one moment.

    The first column holds the newest frame that the forecast knew, and beneath it the keys to
    the colours. In the others the camera row shows the frame that really came, and classes are
    laid over that frame (over the newest known one where it is not known).

    Args:
        moment: what to draw.
        look: colours shared by all pictures.
        grid: where tiles lie; it needs 1 + len(steps) columns.
        steps: the steps that have a column.
        legend_ids: classes in the legend; None for all.

    Returns:
        (grid.height(rows), grid.width, 3) uint8.
    """
    rows = row_names(look)
    block = np.empty((grid.height(len(rows)), grid.width, 3), np.uint8)
    block[:] = theme.BACKGROUND
    _draw_row_names(block, grid, rows)
    _draw_headings(block, grid, moment, look, steps)
    by_step = {view.step: view for view in moment.steps}
    columns = [_first_column(rows, moment, look, grid.tile_size, legend_ids)]
    for step in steps:
        view = by_step.get(step)
        columns.append(
            [empty_panel(*grid.tile_size, "no forecast")] * len(rows)
            if view is None
            else _step_column(rows, moment, view, look, grid.tile_size)
        )
    for column, tiles in enumerate(columns):
        for row, tile in enumerate(tiles):
            x, y = grid.corner(row, column)
            block[y : y + grid.tile_height, x : x + grid.tile_width] = tile
    return block


def _first_column(
    rows: Sequence[str],
    moment: Moment,
    look: Look,
    size: tuple[int, int],
    legend_ids: Iterable[int] | None,
) -> list[Picture]:
    tiles = [fit(moment.image, size)]
    if "segmentation" in rows and look.palette is not None:
        tiles.append(legend_panel(legend_entries(look.palette, legend_ids), *size))
    if "depth" in rows and look.scale is not None:
        tiles.append(scale_panel(look.scale, *size))
    return tiles


def _step_column(
    rows: Sequence[str], moment: Moment, view: StepView, look: Look, size: tuple[int, int]
) -> list[Picture]:
    beneath = fit(moment.image if view.arrived is None else view.arrived, size)
    tag_size = max(9, size[1] // 28)
    tiles = []
    for name in rows:
        if name == "camera":
            tiles.append(_arrived_tile(beneath, view, tag_size))
            continue
        tile = (
            _segmentation_tile(beneath, view, look)
            if name == "segmentation"
            else _depth_tile(view, look, size)
        )
        if not look.trained:
            at = (size[1], size[0])
            draw_tag(tile, at, theme.UNTRAINED_TAG, tag_size, theme.WARNING, anchor="rb")
        tiles.append(tile)
    return tiles


def _arrived_tile(beneath: Picture, view: StepView, tag_size: int) -> Picture:
    if view.arrived is None:
        return empty_panel(beneath.shape[0], beneath.shape[1], "this frame was not seen")
    tile = beneath.copy()
    draw_tag(tile, (0, len(tile)), "what really came", tag_size, theme.TEXT, anchor="lb")
    return tile


def _segmentation_tile(beneath: Picture, view: StepView, look: Look) -> Picture:
    size = (beneath.shape[0], beneath.shape[1])
    if view.segmentation is None or look.palette is None:
        return empty_panel(*size, "no segmentation")
    return overlay(beneath, _enlarge(look.palette.colorize(view.segmentation), size), look.alpha)


def _depth_tile(view: StepView, look: Look, size: tuple[int, int]) -> Picture:
    if view.depth is None or look.scale is None:
        return empty_panel(*size, "no depth")
    return _enlarge(look.scale.colorize(view.depth), size)


def _draw_row_names(block: Picture, grid: Grid, rows: Sequence[str]) -> None:
    size = max(10, round(grid.gutter * 0.56))
    for row, name in enumerate(rows):
        _, y = grid.corner(row, 0)
        # Written along the row's left edge, bottom to top.
        strip = np.empty((grid.gutter, grid.tile_height, 3), np.uint8)
        strip[:] = theme.BACKGROUND
        center = (grid.tile_height // 2, grid.gutter // 2 - 2)
        draw_text(strip, center, name, size, theme.DIM, anchor="mm")
        block[y : y + grid.tile_height, : grid.gutter] = np.rot90(strip)


def _draw_headings(
    block: Picture, grid: Grid, moment: Moment, look: Look, steps: Sequence[int]
) -> None:
    by_step = {view.step: view for view in moment.steps}
    stamp = look.time_text(moment.stamp_ns)
    made = "" if moment.latency_ms is None else f"forecast in {moment.latency_ms:.0f} ms"
    _draw_heading(block, grid, 0, "now", made, stamp)
    for column, step in enumerate(steps, 1):
        view = by_step.get(step)
        if view is not None:
            ahead = f"in {view.horizon_s:.2f} s"
            stamp = look.time_text(view.target_stamp_ns)
            _draw_heading(block, grid, column, f"t+{step}", ahead, stamp)


def _draw_heading(block: Picture, grid: Grid, column: int, *texts: str) -> None:
    """Name at the left (bold), remark after it, time stamp at the right (dim)."""
    name, remark, stamp = texts
    size = max(10, round(grid.heading * 0.56))
    small = max(9, round(size * 0.82))
    x, _ = grid.corner(0, column)
    baseline = round(grid.heading * 0.7)
    stamp_left = x + grid.tile_width - text_size(stamp, small)[0] - 1
    _, _, right, _ = draw_text(block, (x, baseline), name, size, theme.TEXT, anchor="ls", bold=True)
    remark_at = (right + size // 2, baseline)
    if remark_at[0] + text_size(remark, small)[0] + size // 2 <= stamp_left:
        draw_text(block, remark_at, remark, small, theme.TEXT, anchor="ls")
    draw_text(block, (stamp_left, baseline), stamp, small, theme.DIM, anchor="ls")
