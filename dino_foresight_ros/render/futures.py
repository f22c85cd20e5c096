"""Several futures side by side: what may come, what came, and how far the futures differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_foresight_ros.outputs import DEPTH, SEGMENTATION, SPREAD
from dino_foresight_ros.render.colors import Picture, colorize_surprise
from dino_foresight_ros.render.contact_sheet import header, indented, key_strip
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.style import TEXT, Style
from dino_foresight_ros.render.text import draw_text, shortened
from dino_foresight_ros.render.tile_grid import Grid, background
from dino_foresight_ros.render.tiles import enlarge, fit, map_tile, predicted_tile
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

UNCERTAINTY = SPREAD
_WIDTH = 1920


def futures_sheet(
    forecast: ComparedForecast,
    style: Style,
    title: str,
    facts: Sequence[str] = (),
    width: int = _WIDTH,
) -> Picture:
    """Draw the futures of one moment, a block for each horizon.

    Columns are the newest frame, what then came, the mean of the futures, and each future. The last
    row has how far the futures differ (`Scene.spread`) under the mean, and under what came how far
    the mean was off, in the same unit and colours.

    Args:
        forecast: whose newest frame has its picture, and whose steps have `samples`.
        style: shared by all tiles.
        title, facts: above it.
        width: of the sheet in pixels.

    Returns:
        (H, width, 3) uint8.

    Raises:
        ValueError: no step, no picture, or a step without several futures.
    """
    newest, steps = forecast.newest, forecast.steps
    if newest.image is None or not steps or not all(step.predicted.samples for step in steps):
        raise ValueError("a sheet of futures needs a picture, and steps with several futures each")
    margin = round(width * 0.016)
    count = max(len(step.predicted.samples) for step in steps)
    inner = width - 2 * margin
    grid = Grid.even(inner, 3 + count, newest.image.shape[1] / newest.image.shape[0])
    rows = [name for name in (SEGMENTATION, DEPTH) if getattr(newest, name) is not None]
    pieces = [header(width, margin, title, facts)]
    keys = key_strip(style, sorted(forecast.class_ids()), inner)
    if keys is not None:
        pieces += [indented(keys, width, margin), background(margin // 2, width)]
    for step in steps:
        block = _block(newest, step, style, grid, rows)
        pieces += [indented(block, width, margin), background(margin, width)]
    return np.concatenate(pieces)


def _block(
    newest: Scene, step: ComparedStep, style: Style, grid: Grid, rows: Sequence[str]
) -> Picture:
    assert newest.image is not None
    size = grid.tile_size
    now = fit(newest.image, size)
    arrived, predicted = step.arrived, step.predicted
    came = now if arrived is None or arrived.image is None else fit(arrived.image, size)
    block = grid.blank(["camera", *rows, UNCERTAINTY])
    blank = empty_panel(*size)
    columns = [
        ("now", [now, *(map_tile(name, newest, now, style) for name in rows), blank]),
        (
            f"{predicted.horizon_s:g} s later",
            [came, *(map_tile(name, arrived, came, style) for name in rows), _error(step, size)],
        ),
        (
            f"mean of {len(predicted.samples)}",
            [
                empty_panel(*size, "forecast"),
                *(predicted_tile(name, predicted, now, style) for name in rows),
                _map(predicted.spread, size),
            ],
        ),
    ]
    for number, sample in enumerate(predicted.samples, 1):
        tiles = [predicted_tile(name, sample, now, style) for name in rows]
        columns.append((f"future {number}", [blank, *tiles, blank]))
    letters = max(9, round(grid.heading * 0.5))
    for place, (name, column) in enumerate(columns):
        at = (grid.lefts[place], grid.heading - letters // 2)
        draw_text(block, at, shortened(name, grid.tile_width, letters), letters, TEXT, anchor="ls")
        grid.put(block, place, column)
    return block


def _error(step: ComparedStep, size: tuple[int, int]) -> Picture:
    """Root mean square over channels of what the mean is off by."""
    arrived = step.arrived
    if arrived is None or arrived.features is None or step.predicted.features is None:
        return empty_panel(*size)
    apart = arrived.features.astype(np.float32) - step.predicted.features.astype(np.float32)
    return _map(np.sqrt(np.square(apart).mean(axis=-1)), size)


def _map(values: np.ndarray | None, size: tuple[int, int]) -> Picture:
    if values is None:
        return empty_panel(*size)
    return enlarge(colorize_surprise(np.square(values)), size)
