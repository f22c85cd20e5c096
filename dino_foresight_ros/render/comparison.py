"""One moment in pairs: each forecast beside what then came, a pair of columns per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.panels import empty_panel, table_panel
from dino_foresight_ros.render.text import draw_text, shortened, text_size
from dino_foresight_ros.render.tiles import CAMERA, fit, map_tile, mark, mark_untrained, row_names
from dino_foresight_ros.render.views import Look, Moment, SceneMaps, StepView, horizon_text

Table = Sequence[tuple[str, ...]]
"""Rows of short texts; the first row is the heading."""


@dataclass(frozen=True)
class PairGrid:
    """Where the tiles lie; all lengths in pixels.

    Attributes:
        width: of the whole block.
        gutter: at the left, for the names of the rows.
        heading: above the tiles, two lines.
        gap, pair_gap: between the pairs, and within one.
        steps: number of pairs.
        tile_height, tile_width: of one tile.
    """

    width: int
    gutter: int
    heading: int
    gap: int
    pair_gap: int
    steps: int
    tile_height: int
    tile_width: int

    @staticmethod
    def fitting(width: int, steps: int, aspect: float) -> PairGrid:
        """The grid of a block of this width, for pictures of width / height `aspect`."""
        gutter, heading = round(width * 0.015), round(width * 0.027)
        gap, pair_gap = max(6, width // 110), 2
        tile = (width - gutter - steps * (gap + pair_gap)) // (1 + 2 * steps)
        return PairGrid(width, gutter, heading, gap, pair_gap, steps, round(tile / aspect), tile)

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of a tile."""
        return self.tile_height, self.tile_width

    def left(self, place: int, came: bool = False) -> int:
        """x of a column: place 0 is now, 1 the first step; `came` is its second column."""
        if place == 0:
            return self.gutter
        pair = 2 * self.tile_width + self.pair_gap
        x = self.gutter + self.tile_width + self.gap + (place - 1) * (pair + self.gap)
        return x + came * (self.tile_width + self.pair_gap)

    def top(self, row: int) -> int:
        """y of a row of tiles."""
        return self.heading + row * (self.tile_height + 2 * self.pair_gap)

    def height(self, rows: int) -> int:
        """Of a block with so many rows."""
        return self.top(rows) - 2 * self.pair_gap


def comparison_block(
    moment: Moment,
    look: Look,
    grid: PairGrid,
    steps: Sequence[int],
    tables: Mapping[int, Table] | None = None,
) -> Picture:
    """Draw one moment.

    The first column holds the newest frame that the forecast knew, and what the model says of it.
    Of each step follow two: the forecast, and what came (the truth where it is known, else what
    the model says of the frame that came).

    Args:
        moment: what to draw.
        look: colours shared by all pictures.
        grid: where tiles lie, of len(steps) pairs.
        steps: the steps that are shown.
        tables: step -> numbers for the free place above its forecasts.

    Returns:
        (grid.height(rows), grid.width, 3) uint8.
    """
    rows = row_names(look)
    block = np.empty((grid.height(len(rows)), grid.width, 3), np.uint8)
    block[:] = theme.BACKGROUND
    _name_rows(block, grid, rows)
    _head_now(block, grid, moment, look)
    now = fit(moment.image, grid.tile_size)
    tiles = [now, *(map_tile(name, moment.now, now, look) for name in rows[1:])]
    _put(block, grid, grid.left(0), tiles)
    by_step = {view.step: view for view in moment.steps}
    for place, step in enumerate(steps, 1):
        view = by_step.get(step)
        if view is None:
            missing = [empty_panel(*grid.tile_size, "no forecast")] * len(rows)
            _put(block, grid, grid.left(place), missing)
            continue
        _head_step(block, grid, place, view, look)
        table = (tables or {}).get(step, ())
        forecast = [table_panel(tuple(table), *grid.tile_size)]
        beneath = fit(moment.image if view.arrived is None else view.arrived, grid.tile_size)
        forecast += [mark_untrained(map_tile(n, view, beneath, look), look) for n in rows[1:]]
        _put(block, grid, grid.left(place), forecast)
        came = [_came_tile(name, view, beneath, look) for name in rows]
        _put(block, grid, grid.left(place, came=True), came)
    return block


def _came_tile(name: str, view: StepView, beneath: Picture, look: Look) -> Picture:
    if view.arrived is None:
        return empty_panel(beneath.shape[0], beneath.shape[1], "this frame was not seen")
    if name == CAMERA:
        return beneath
    if view.truth is not None and getattr(view.truth, name) is not None:
        return mark(map_tile(name, view.truth, beneath, look), "truth")
    known = view.oracle if view.oracle is not None else SceneMaps()
    if getattr(known, name) is None:
        return empty_panel(beneath.shape[0], beneath.shape[1], "not known")
    return map_tile(name, known, beneath, look)


def _put(block: Picture, grid: PairGrid, x: int, tiles: Sequence[Picture]) -> None:
    for row, tile in enumerate(tiles):
        y = grid.top(row)
        block[y : y + grid.tile_height, x : x + grid.tile_width] = tile


def _name_rows(block: Picture, grid: PairGrid, rows: Sequence[str]) -> None:
    size = max(9, round(grid.gutter * 0.62))
    for row, name in enumerate(rows):
        # Written along the row's left edge, bottom to top.
        strip = np.empty((grid.gutter, grid.tile_height, 3), np.uint8)
        strip[:] = theme.BACKGROUND
        center = (grid.tile_height // 2, grid.gutter // 2 - 2)
        draw_text(strip, center, name, size, theme.DIM, anchor="mm")
        block[grid.top(row) : grid.top(row) + grid.tile_height, : grid.gutter] = np.rot90(strip)


def _sizes(grid: PairGrid) -> tuple[int, int, int, int]:
    """Font sizes of the two lines of a heading, and their baselines."""
    large, small = max(10, round(grid.heading * 0.36)), max(9, round(grid.heading * 0.29))
    return large, small, round(grid.heading * 0.4), round(grid.heading * 0.84)


def _head_now(block: Picture, grid: PairGrid, moment: Moment, look: Look) -> None:
    latency = "" if moment.latency_ms is None else f"latency {moment.latency_ms:.0f} ms"
    x, right = grid.left(0), grid.left(0) + grid.tile_width
    _first_line(block, grid, x, right, "now", "", look.time_text(moment.stamp_ns))
    _, small, _, low = _sizes(grid)
    draw_text(block, (x, low), latency, small, theme.TEXT, anchor="ls")


def _head_step(block: Picture, grid: PairGrid, place: int, view: StepView, look: Look) -> None:
    x, came = grid.left(place), grid.left(place, came=True)
    stamp = look.time_text(view.target_stamp_ns)
    _first_line(block, grid, x, came + grid.tile_width, f"t+{view.step}", horizon_text(view), stamp)
    _, small, _, low = _sizes(grid)
    for at, text in ((x, "forecast"), (came, "what then came")):
        label = shortened(text, grid.tile_width, small)
        draw_text(block, (at, low), label, small, theme.DIM, anchor="ls")


def _first_line(
    block: Picture, grid: PairGrid, x: int, right: int, name: str, remark: str, stamp: str
) -> None:
    large, small, baseline, _ = _sizes(grid)
    stamp_left = right - text_size(stamp, small)[0] - 1
    draw_text(block, (stamp_left, baseline), stamp, small, theme.DIM, anchor="ls")
    end = draw_text(block, (x, baseline), name, large, theme.TEXT, anchor="ls", bold=True)[2]
    room = stamp_left - end - large
    if remark and text_size(remark, large)[0] <= room:
        draw_text(block, (end + large // 2, baseline), remark, large, theme.TEXT, anchor="ls")
