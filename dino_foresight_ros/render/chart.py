"""Small line charts in the look of the other pictures, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Color, Picture
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.text import draw_text, shortened, text_size

_SHIFT = 3  # sub-pixel positions, in bits
_GRID: Color = (52, 57, 66)


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        values: one per place on the x axis; None where there is no value.
        color: of the line.
        notes: a short text beside each value, or empty.
    """

    name: str
    values: tuple[float | None, ...]
    color: Color
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: what is drawn, with its unit.
        hint: small beside it, such as "lower is better".
        ticks: texts beneath the x axis, evenly spread.
        lines: what is drawn, the first one on top.
        span: ends of the y axis; from 0 to what the values need when None.
    """

    title: str
    hint: str
    ticks: tuple[str, ...]
    lines: tuple[Line, ...]
    span: tuple[float, float] | None = None


def nice_top(value: float) -> tuple[float, int]:
    """The upper end of an axis that holds a value, and how many equal parts it divides into."""
    if not value > 0:
        return 1.0, 4
    power = 10.0 ** math.floor(math.log10(value))
    for step, parts in ((1.0, 4), (1.5, 3), (2.0, 4), (3.0, 3), (4.0, 4), (5.0, 5), (8.0, 4)):
        if value <= step * power * 1.0001:
            return step * power, parts
    return 10.0 * power, 5


def draw_chart(chart: Chart, height: int, width: int) -> Picture:
    """(height, width, 3) uint8."""
    panel = empty_panel(height, width)
    size = max(10, round(height / 24))
    pad = round(size * 1.2)
    _, top, right, _ = draw_text(panel, (pad, pad), chart.title, round(size * 1.15), bold=True)
    hint = shortened(chart.hint, width - right - 2 * pad, size)
    draw_text(panel, (right + size, top + 1), hint, size, theme.DIM)
    _legend(panel, chart.lines, pad, pad + round(size * 2.1), size)
    known = [v for line in chart.lines for v in line.values if v is not None]
    if not known:
        middle = (width // 2, height // 2)
        draw_text(panel, middle, "nothing could be measured", size, theme.DIM, anchor="mm")
        return panel
    parts, span = 4, chart.span
    if span is None:
        end, parts = nice_top(max(known))
        span = (0.0, end)
    left, bottom = pad + round(size * 3.2), height - pad - round(size * 1.6)
    box = (left, pad + round(size * 4.2), width - pad - round(size * 1.5), bottom)
    _axes(panel, chart, box, (*span, parts), size)
    for line in reversed(chart.lines):
        _draw_line(panel, line, box, span, size)
    return panel


def _legend(panel: Picture, lines: Sequence[Line], x: int, y: int, size: int) -> None:
    for line in lines:
        middle = y + size * 5 // 8
        cv2.line(panel, (x, middle), (x + 2 * size, middle), line.color, max(2, size // 5))
        x = draw_text(panel, (x + round(2.5 * size), y), line.name, size, theme.TEXT)[2] + 2 * size


def _axes(
    panel: Picture,
    chart: Chart,
    box: tuple[int, int, int, int],
    scale: tuple[float, float, int],
    size: int,
) -> None:
    left, top, right, bottom = box
    start, end, parts = scale
    for part in range(parts + 1):
        value = start + (end - start) * part / parts
        y = round(bottom - (bottom - top) * part / parts)
        cv2.line(panel, (left, y), (right, y), _GRID, 1)
        draw_text(panel, (left - size // 2, y), f"{value:.4g}", size, theme.DIM, anchor="rm")
    for place, text in enumerate(chart.ticks):
        x = round(_x(place, len(chart.ticks), left, right))
        draw_text(panel, (x, bottom + size // 2), text, size, theme.DIM, anchor="mt")


def _x(place: int, count: int, left: int, right: int) -> float:
    margin = (right - left) * 0.08
    if count == 1:
        return (left + right) / 2
    return left + margin + (right - left - 2 * margin) * place / (count - 1)


def _draw_line(
    panel: Picture,
    line: Line,
    box: tuple[int, int, int, int],
    span: tuple[float, float],
    size: int,
) -> None:
    left, top, right, bottom = box
    start, end = span
    fixed = 1 << _SHIFT
    before: tuple[int, int] | None = None
    for place, value in enumerate(line.values):
        if value is None:
            before = None
            continue
        x = _x(place, len(line.values), left, right)
        y = bottom - (bottom - top) * min(max((value - start) / (end - start), 0.0), 1.0)
        at = round(x * fixed), round(y * fixed)
        if before is not None:
            thick = max(2, size // 5)
            cv2.line(panel, before, at, line.color, thick, cv2.LINE_AA, _SHIFT)
        radius = round(size * 0.38 * fixed)
        cv2.circle(panel, at, radius, line.color, -1, cv2.LINE_AA, _SHIFT)
        before = at
        note = line.notes[place] if place < len(line.notes) else ""
        if note:
            wide = text_size(note, size)[0]
            text_x = min(max(round(x), left + wide // 2), right + size - wide // 2)
            # Beneath, where the other lines are not: a good forecast is the lowest.
            low = min(round(y + size * 1.2), bottom - size // 2)
            draw_text(
                panel, (text_x, low), note, size, line.color, anchor="mm", outline=theme.PANEL
            )
