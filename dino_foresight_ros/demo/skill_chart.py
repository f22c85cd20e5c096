"""skill.png, a chart of the errors of forecast and copy-last by horizon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.demo.skill_scorer import (
    DEPTH_ERROR,
    FEATURE_ERROR,
    HIGHER_IS_BETTER,
    NORMALS_ERROR_DEG,
    SEGMENTATION_AGREEMENT,
    TRUE_DEPTH_ERROR,
    TRUE_SEGMENTATION_MIOU,
)
from dino_foresight_ros.render import style
from dino_foresight_ros.render.chart import COLORS, chart_file, hex_color, say_empty

_ROW_HEIGHT = 400
_NAMES = {
    COPY_LAST: "copy-last (nothing changes)",
    ORACLE: "the heads on the frame that came",
    FORECAST: "forecast",
}
"""Predictors for people, the one on top last."""
# Measure -> title, and how much of the shown unit makes one.
_TITLES: dict[str, tuple[str, float]] = {
    FEATURE_ERROR: ("Feature error (MSE in PCA space)", 1.0),
    TRUE_SEGMENTATION_MIOU: ("Segmentation: mIoU with the true labels, %", 100.0),
    SEGMENTATION_AGREEMENT: ("Segmentation: pixels of the class seen later, %", 100.0),
    TRUE_DEPTH_ERROR: ("Depth: off from the true one, %", 100.0),
    DEPTH_ERROR: ("Depth: off from the one seen later, %", 100.0),
    NORMALS_ERROR_DEG: ("Normals: off from those seen later, degrees", 1.0),
}
_NOTE = (
    "Copy-last takes what the model says of the newest frame for what will come: a forecast is "
    "worth something where it is better. At the top of each chart: how far it is from copy-last."
)
_MOST_NOTES = 8
# Of a chart's height above its lines, for a row of numbers.
_NOTES_SHARE = 0.25


def write_skill_chart(
    path: Path, skill: Mapping[str, Any], title: str, facts: Sequence[str], trained: bool
) -> None:
    """Draw every measure that there is, two charts in a row.

    Args:
        path: PNG file to write.
        skill: as `SkillScorer.numbers` gives it.
        title, facts: above the charts.
        trained: False puts a warning across the picture.

    Raises:
        ForesightError: it cannot be written.
    """
    names = [name for name in _TITLES if name in skill]
    rows = max(1, math.ceil(len(names) / 2))
    with chart_file(path, title, facts, _NOTE, trained, height=rows * _ROW_HEIGHT) as figure:
        every = list(figure.subplots(rows, 2, squeeze=False).flat)
        for axes, name in zip(every, names, strict=False):
            _draw(axes, name, skill)
        for axes in every[len(names) :]:
            axes.set_visible(False)
        if not names:
            axes = figure.add_subplot()
            say_empty(axes, "Nothing to compare: no frame came at a predicted instant")


def _draw(axes: Axes, name: str, skill: Mapping[str, Any]) -> None:
    title, unit = _TITLES[name]
    is_higher_better = name in HIGHER_IS_BETTER
    measured, horizons_ms = skill[name], skill["horizons_ms"]
    axes.set_title(title)
    axes.set_xlabel("ms ahead")
    axes.set_ylabel("higher is better" if is_higher_better else "lower is better")
    axes.set_xticks(horizons_ms, [f"{ms:.0f}" for ms in horizons_ms])
    axes.margins(x=0.1)
    for predictor, label in _NAMES.items():
        values = measured.get(predictor)
        if values is not None:
            shown = [math.nan if v is None else unit * v for v in values]
            axes.plot(horizons_ms, shown, marker="o", color=COLORS[predictor], label=label)
    # Errors begin at 0; percentages lie close together.
    low, high = (axes.dataLim.y0, axes.dataLim.y1) if is_higher_better else (0.0, axes.dataLim.y1)
    room = (high - low) or 1.0
    bottom = max(0.0, low - 0.1 * room) if is_higher_better else 0.0
    axes.set_ylim(bottom, high + _NOTES_SHARE * room)
    _annotate(axes, horizons_ms, measured, is_higher_better)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=3)


def _annotate(
    axes: Axes, horizons_ms: Sequence[float], measured: Mapping[str, Any], is_higher_better: bool
) -> None:
    """By how much the forecast lies above or below copy-last, in a row where no line comes."""
    stride = math.ceil(len(horizons_ms) / _MOST_NOTES)
    points = list(zip(horizons_ms, measured[FORECAST], measured[COPY_LAST], strict=True))
    for ms, ours, copied in points[::stride]:
        if ours is None or not copied:
            continue
        text = (
            f"{_percent(ours - copied):+.1f} points"
            if is_higher_better
            else f"{_percent(ours / copied - 1.0):+.1f} %"
        )
        axes.text(
            ms, 0.93, text, transform=axes.get_xaxis_transform(), fontsize=9.5,
            color=COLORS[FORECAST], ha="center", va="center",
            bbox={"facecolor": hex_color(style.PANEL), "edgecolor": "none", "pad": 2.0},
        )  # fmt: skip


def _percent(fraction: float) -> float:
    """A fraction in percent; 0 without a sign of its own."""
    return round(100.0 * fraction, 1) + 0.0
