"""The contact sheet: a few forecasts of a run, each beside what then came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.render.mosaic import columns_of, horizon_text, places_before
from dino_foresight_ros.render.panels import (
    empty_panel,
    legend_entries,
    legend_panel,
    normals_panel,
    objects_panel,
    scale_panel,
    table_panel,
)
from dino_foresight_ros.render.style import DIM, TEXT, Style
from dino_foresight_ros.render.text import draw_text, shortened, text_size, untrained_banner
from dino_foresight_ros.render.tile_grid import Grid, background
from dino_foresight_ros.render.tiles import (
    CAMERA,
    fit,
    map_tile,
    marked,
    picture_of,
    predicted_tile,
    row_names,
)
from dino_foresight_ros.scene import ComparedForecast, ComparedStep

Table = Sequence[tuple[str, ...]]
"""Rows of short texts; the first row is the heading."""

SHEET_WIDTH = 1920
_MOST_STEPS = 3
_NOTE = (
    "What then came: the frame, and what the model's own heads say of it, or the truth where it is "
    "marked so. Classes are laid over that frame, which the forecast had not seen."
)


def contact_sheet(
    forecasts: Sequence[ComparedForecast],
    style: Style,
    title: str,
    facts: Sequence[str] = (),
    width: int = SHEET_WIDTH,
    tables: Sequence[Mapping[int, Table]] = (),
) -> Picture:
    """Draw the sheet.

    Args:
        forecasts: what to show, from top to bottom; at least one.
        style: shared by all of them.
        title: large, at the top.
        facts: lines in small letters beneath the title.
        width: of the sheet in pixels.
        tables: for each forecast, step -> numbers to write beside it.

    Returns:
        (H, width, 3) uint8; the height follows from the number of forecasts.
    """
    image = picture_of(forecasts[0].newest) if forecasts else None
    if image is None:
        raise ValueError("a contact sheet needs at least one forecast, and its picture")
    margin = round(width * 0.016)
    steps = columns_of(forecasts, _MOST_STEPS)
    inner = width - 2 * margin
    grid = Grid.pairs(inner, len(steps), image.shape[1] / image.shape[0])
    pieces = [header(width, margin, title, facts)]
    if not style.trained:
        pieces += [untrained_banner(width, round(width * 0.024)), background(margin // 2, width)]
    shown = sorted(set().union(*(forecast.class_ids() for forecast in forecasts)))
    keys = key_strip(style, shown, inner)
    if keys is not None:
        pieces += [indented(keys, width, margin), background(margin // 2, width)]
    for place, forecast in enumerate(forecasts):
        table = tables[place] if place < len(tables) else None
        block = comparison_block(forecast, style, grid, steps, table)
        pieces += [indented(block, width, margin), background(margin, width)]
    pieces.append(footer(width, margin, _NOTE if len(row_names(style)) > 1 else ""))
    return np.concatenate(pieces)


def comparison_block(
    forecast: ComparedForecast,
    style: Style,
    grid: Grid,
    steps: Sequence[int],
    tables: Mapping[int, Table] | None = None,
) -> Picture:
    """Draw one forecast in pairs of columns.

    The first column holds the newest frame that the forecast knew, and what the model says of it.
    Of each step follow two: the forecast, and what came (the truth where it is known, else what
    the model says of the frame that came).

    Args:
        forecast: what to draw.
        style: colours.
        grid: where tiles lie, of len(steps) pairs.
        steps: the steps that are shown.
        tables: step -> numbers for the free place above its forecasts.

    Returns:
        (grid.height(rows), grid.width, 3) uint8.
    """
    rows, size, seen = row_names(style), grid.tile_size, forecast.newest
    assert seen.image is not None
    block = grid.blank(rows)
    _head_now(block, grid, forecast, style)
    now = fit(seen.image, size)
    grid.put(block, 0, [now, *(map_tile(name, seen, now, style) for name in rows[1:])])
    by_step = {step.predicted.step: step for step in forecast.steps}
    for place, number in enumerate(steps):
        left, right = 1 + 2 * place, 2 + 2 * place
        step = by_step.get(number)
        if step is None:
            grid.put(block, left, [empty_panel(*size, "no forecast")] * len(rows))
            continue
        _head_step(block, grid, left, step, style)
        came = picture_of(step.arrived)
        beneath = now if came is None else fit(came, size)
        table = table_panel(tuple((tables or {}).get(number, ())), *size)
        before = places_before(forecast, number)
        predicted = [predicted_tile(n, step.predicted, beneath, style, before) for n in rows[1:]]
        grid.put(block, left, [table, *predicted])
        grid.put(block, right, [_came_tile(name, step, beneath, style) for name in rows])
    return block


def _came_tile(name: str, step: ComparedStep, beneath: Picture, style: Style) -> Picture:
    size = (beneath.shape[0], beneath.shape[1])
    if picture_of(step.arrived) is None:
        return empty_panel(*size, "this frame was not seen")
    if name == CAMERA:
        return beneath
    if step.truth is not None and getattr(step.truth, name) is not None:
        return marked(map_tile(name, step.truth, beneath, style), "truth")
    if getattr(step.arrived, name) is None:
        return empty_panel(*size, "not known")
    return map_tile(name, step.arrived, beneath, style)


def key_strip(style: Style, ids: Sequence[int], width: int) -> Picture | None:
    """(H, width, 3) uint8: the keys to all colours side by side; None where there are none.

    Args:
        style: which keys there are.
        ids: classes in the legend.
        width: in pixels.
    """
    height, gap = round(width * 0.06), max(3, width // 300)
    side = round(width * 0.24)
    keys = []
    if style.depth_scale is not None:
        keys.append(scale_panel(style.depth_scale, height, side))
    if style.has_normals:
        keys.append(normals_panel(height, round(side * 0.72)))
    if style.has_instances:
        keys.append(objects_panel(height, side))
    if style.palette is not None:
        room = width - sum(key.shape[1] + gap for key in keys)
        keys.insert(0, legend_panel(legend_entries(style.palette, ids), height, room))
    if not keys:
        return None
    strip, x = background(height, width), 0
    for key in keys:
        strip[:, x : x + key.shape[1]] = key
        x += key.shape[1] + gap
    return strip


def indented(block: Picture, width: int, margin: int) -> Picture:
    """(h, width, 3) uint8: a block with room at its left."""
    strip = background(block.shape[0], width)
    strip[:, margin : margin + block.shape[1]] = block
    return strip


def header(width: int, margin: int, title: str, facts: Sequence[str]) -> Picture:
    """(H, width, 3) uint8: a title and lines in small letters beneath it."""
    large, small = round(width * 0.019), round(width * 0.0105)
    pitch = round(small * 1.55)
    picture = background(margin + round(large * 1.5) + pitch * len(facts) + margin // 2, width)
    room = width - 2 * margin
    draw_text(picture, (margin, margin * 2 // 3), shortened(title, room, large), large, bold=True)
    y = margin * 2 // 3 + round(large * 1.6)
    for fact in facts:
        draw_text(picture, (margin, y), shortened(fact, room, small), small, DIM)
        y += pitch
    return picture


def footer(width: int, margin: int, note: str) -> Picture:
    """(margin, width, 3) uint8: a note in small letters."""
    size = round(width * 0.0095)
    picture = background(margin, width)
    draw_text(picture, (margin, 0), shortened(note, width - 2 * margin, size), size, DIM)
    return picture


def _sizes(grid: Grid) -> tuple[int, int, int, int]:
    """Font sizes of the two lines of a heading, and their baselines."""
    large, small = max(10, round(grid.heading * 0.36)), max(9, round(grid.heading * 0.29))
    return large, small, round(grid.heading * 0.4), round(grid.heading * 0.84)


def _head_now(block: Picture, grid: Grid, forecast: ComparedForecast, style: Style) -> None:
    latency = "" if forecast.latency_ms is None else f"latency {forecast.latency_ms:.0f} ms"
    x = grid.lefts[0]
    stamp = style.time_text(forecast.newest.stamp_ns)
    _first_line(block, grid, x, x + grid.tile_width, "now", "", stamp)
    _, small, _, low = _sizes(grid)
    draw_text(block, (x, low), latency, small, TEXT, anchor="ls")


def _head_step(block: Picture, grid: Grid, left: int, step: ComparedStep, style: Style) -> None:
    x, came = grid.lefts[left], grid.lefts[left + 1]
    scene, right = step.predicted, came + grid.tile_width
    stamp = style.time_text(scene.stamp_ns)
    _first_line(block, grid, x, right, f"t+{scene.step}", horizon_text(scene), stamp)
    _, small, _, low = _sizes(grid)
    for at, text in ((x, "forecast"), (came, "what then came")):
        label = shortened(text, grid.tile_width, small)
        draw_text(block, (at, low), label, small, DIM, anchor="ls")


def _first_line(
    block: Picture, grid: Grid, x: int, right: int, name: str, remark: str, stamp: str
) -> None:
    large, small, baseline, _ = _sizes(grid)
    stamp_left = right - text_size(stamp, small)[0] - 1
    draw_text(block, (stamp_left, baseline), stamp, small, DIM, anchor="ls")
    end = draw_text(block, (x, baseline), name, large, TEXT, anchor="ls", bold=True)[2]
    room = stamp_left - end - large
    if remark and text_size(remark, large)[0] <= room:
        draw_text(block, (end + large // 2, baseline), remark, large, TEXT, anchor="ls")
