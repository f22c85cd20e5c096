"""One moment as a block of tiles: columns now, t+1, ...; rows camera and a row per head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.panels import (
    empty_panel,
    legend_entries,
    legend_panel,
    normals_panel,
    scale_panel,
)
from dino_foresight_ros.render.text import draw_text, text_size
from dino_foresight_ros.render.tiles import (
    CAMERA,
    DEPTH,
    NORMALS,
    SEGMENTATION,
    fit,
    map_tile,
    mark,
    mark_untrained,
    row_names,
)
from dino_foresight_ros.render.views import Look, Moment, StepView, horizon_text


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
    keys = {CAMERA: fit(moment.image, size)}
    if look.palette is not None:
        keys[SEGMENTATION] = legend_panel(legend_entries(look.palette, legend_ids), *size)
    if look.scale is not None:
        keys[DEPTH] = scale_panel(look.scale, *size)
    if look.has_normals:
        keys[NORMALS] = normals_panel(*size)
    return [keys[name] for name in rows]


def _step_column(
    rows: Sequence[str], moment: Moment, view: StepView, look: Look, size: tuple[int, int]
) -> list[Picture]:
    beneath = fit(moment.image if view.arrived is None else view.arrived, size)
    tiles = [_arrived_tile(beneath, view)]
    tiles += [mark_untrained(map_tile(name, view, beneath, look), look) for name in rows[1:]]
    return tiles


def _arrived_tile(beneath: Picture, view: StepView) -> Picture:
    if view.arrived is None:
        return empty_panel(beneath.shape[0], beneath.shape[1], "no frame of this instant")
    return mark(beneath.copy(), "what really came")


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
            stamp = look.time_text(view.target_stamp_ns)
            _draw_heading(block, grid, column, f"t+{step}", horizon_text(view), stamp)


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
