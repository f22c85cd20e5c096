"""The demo's chart: forecast beside copy-last, by how far ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dino_foresight_ros.demo.skill import (
    CLASSES,
    COPY_LAST,
    DEPTH,
    FEATURES,
    FORECAST,
    HIGHER_IS_BETTER,
    NORMALS,
    ORACLE,
    TRUE_CLASSES,
    TRUE_DEPTH,
)
from dino_foresight_ros.render.banner import untrained_banner
from dino_foresight_ros.render.chart import Chart, Line, draw_chart
from dino_foresight_ros.render.palette import Color, Picture
from dino_foresight_ros.render.sheet import footer, header, space

_WIDTH, _HEIGHT = 1600, 400
_COLORS: dict[str, Color] = {
    FORECAST: (255, 139, 61),
    COPY_LAST: (139, 149, 163),
    ORACLE: (92, 184, 120),
}
_NAMES = {
    FORECAST: "forecast",
    COPY_LAST: "copy-last (nothing changes)",
    ORACLE: "the heads on the frame that came",
}
# Measure -> title, unit in which it is drawn, and how many of it make one.
_TITLES: dict[str, tuple[str, float]] = {
    FEATURES: ("Feature error (MSE in PCA space)", 1.0),
    TRUE_CLASSES: ("Segmentation, mIoU with the true labels, %", 100.0),
    CLASSES: ("Segmentation, pixels of the class seen later, %", 100.0),
    TRUE_DEPTH: ("Depth, off from the true one by, %", 100.0),
    DEPTH: ("Depth, off from the one seen later by, %", 100.0),
    NORMALS: ("Normals, off from those seen later by, degrees", 1.0),
}
_NOTE = (
    "Copy-last takes what the model says of the newest frame for what will come: a forecast is "
    "worth something where it is better."
)


def skill_picture(skill: Mapping[str, Any], trained: bool, title: str, facts: list[str]) -> Picture:
    """Draw every measure that there is, two charts in a row.

    Args:
        skill: as `SkillScorer.numbers` gives it.
        trained: False puts a warning across the picture.
        title, facts: above the charts.

    Returns:
        (H, 1600, 3) uint8 RGB.
    """
    margin = round(_WIDTH * 0.016)
    pieces = [header(_WIDTH, margin, title, facts)]
    if not trained:
        pieces += [untrained_banner(_WIDTH, round(_WIDTH * 0.024)), space(_WIDTH, margin // 2)]
    charts = [_chart(name, skill) for name in _TITLES if name in skill]
    gap = margin // 2
    wide = (_WIDTH - 2 * margin - gap) // 2
    empty = Chart("Nothing to compare", "no frame came at a predicted instant", (), ())
    for place in range(0, max(len(charts), 1), 2):
        row = space(_WIDTH, _HEIGHT + gap)
        for column, chart in enumerate(charts[place : place + 2] or [empty]):
            x = margin + column * (wide + gap)
            row[:_HEIGHT, x : x + wide] = draw_chart(chart, _HEIGHT, wide)
        pieces.append(row)
    pieces.append(footer(_WIDTH, margin, _NOTE))
    return np.concatenate(pieces)


def _chart(name: str, skill: Mapping[str, Any]) -> Chart:
    title, unit = _TITLES[name]
    higher = name in HIGHER_IS_BETTER
    measured = skill[name]
    lines = []
    for predictor, color in _COLORS.items():
        if predictor in measured:
            values = tuple(None if v is None else unit * v for v in measured[predictor])
            notes = _leads(measured, higher) if predictor == FORECAST else ()
            lines.append(Line(_NAMES[predictor], values, color, notes))
    ticks = tuple(f"{ms:.0f} ms" for ms in skill["horizons_ms"])
    hint = f"{'higher' if higher else 'lower'} is better; written: against copy-last"
    return Chart(title, hint, ticks, tuple(lines), _percent_span(lines) if higher else None)


def _percent_span(lines: Sequence[Line]) -> tuple[float, float]:
    """Ends of an axis of percent: near the values, which may lie close together."""
    known = [v for line in lines for v in line.values if v is not None]
    low, high = min(known, default=0.0), max(known, default=100.0)
    # A fifth beneath for what is written there.
    start = 10.0 * math.floor((low - 0.2 * max(high - low, 10.0)) / 10.0)
    return max(0.0, start), min(100.0, 10.0 * math.ceil((high + 1.0) / 10.0))


def _leads(measured: Mapping[str, Any], higher: bool) -> tuple[str, ...]:
    """By how much the forecast lies above or below copy-last."""
    notes = []
    for ours, copied in zip(measured[FORECAST], measured[COPY_LAST], strict=True):
        if ours is None or not copied:
            notes.append("")
        elif higher:
            notes.append(f"{_rounded(ours - copied):+.1f} points")
        else:
            notes.append(f"{_rounded(ours / copied - 1.0):+.1f} %")
    return tuple(notes)


def _rounded(share: float) -> float:
    """A share in percent; 0 without a sign of its own."""
    return round(100.0 * share, 1) + 0.0
