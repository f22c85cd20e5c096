"""Puts a comparison into a folder: a page and a table of all values, and a plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.render.markdown import NONE, table
from dino_foresight_ros.training.compare.comparison import Comparison, Variant
from dino_foresight_ros.training.compare.differences import Difference, Row
from dino_foresight_ros.training.compare.scores import SKILL, Metric

MARKDOWN, CSV, PLOT = "comparison.md", "comparison.csv", "comparison.png"
_ROW_PX, _LEAST_PX = 58, 260
_BETTER, _WORSE, _OPEN = "#5cb878", "#e15759", "#9aa4b2"
Score = tuple[Metric, int]
"""A metric, so many steps ahead."""


def write_comparison(comparison: Comparison, rows: Sequence[Row], out: Path) -> list[Path]:
    """Write the page, the table and the plot into a folder of the comparison's name.

    Returns:
        The files, the page first.

    Raises:
        ForesightError: the folder cannot be written.
    """
    folder = out / comparison.name
    with whole_folder(folder, (MARKDOWN, CSV, PLOT)) as scratch:
        (scratch / MARKDOWN).write_text(markdown(comparison, rows))
        _write_csv(comparison, rows, scratch / CSV)
        draw(comparison, rows, scratch / PLOT)
    return [folder / MARKDOWN, folder / CSV, folder / PLOT]


def markdown(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Write the page."""
    scores = _scores(rows)
    of = {(row.variant.name, row.metric.name, row.step): row for row in rows}
    header = ["variant", "weights", "channels", *(_title(*score) for score in scores)]
    lines = []
    for variant in comparison.variants:
        cells = [of.get((variant.name, metric.name, step)) for metric, step in scores]
        facts = next((cell.facts for cell in cells if cell is not None), None)
        lines.append(
            [
                _label(comparison, variant),
                NONE if facts is None else f"{facts.forecaster_parameters / 1e6:.2f} M",
                NONE if facts is None else str(facts.channels),
                *(NONE if cell is None else _cell(cell) for cell in cells),
            ]
        )
    parts = [f"## {comparison.name}"]
    if comparison.about:
        parts.append(comparison.about)
    parts += [_how(comparison, rows), table(header, lines)]
    bounds = [
        [_title(*score), f"{row.copy_last:.1f}", f"{row.oracle:.1f}"]
        for score in scores
        if (row := of[comparison.baseline.name, score[0].name, score[1]]).copy_last is not None
        and row.oracle is not None
    ]
    if bounds:
        parts.append("Copy-last, and the heads on the true future frame, with the first variant:")
        parts.append(table(("score", "copy-last", "oracle"), bounds))
    parts.append(f"![differences]({PLOT})")
    return "\n\n".join(parts) + "\n"


def _how(comparison: Comparison, rows: Sequence[Row]) -> str:
    apart = [row.difference for row in rows if row.difference is not None]
    scenes = sorted({one.scenes for one in apart})
    counts = " to ".join(dict.fromkeys((str(scenes[0]), str(scenes[-1])))) if scenes else "no"
    percent = f"{100 * comparison.evaluation.confidence:g}"
    return (
        f"Means over {counts} scenes and {len(comparison.seeds)} seeds. In brackets the difference "
        f"from the first row, paired over scenes, with its {percent} % interval over scenes; it "
        "does not hold how much another seed would change."
    )


def _scores(rows: Sequence[Row]) -> list[Score]:
    return list({(row.metric.name, row.step): (row.metric, row.step) for row in rows}.values())


def _title(metric: Metric, step: int) -> str:
    return f"{metric.title}, {step} step{'s' if step > 1 else ''}"


def _label(comparison: Comparison, variant: Variant) -> str:
    """What a variant has that the baseline has not; of the baseline everything."""
    if variant is comparison.baseline:
        return f"**{variant.name}**"
    return _others(comparison, variant)


def _others(comparison: Comparison, variant: Variant) -> str:
    base = comparison.baseline.chosen
    return ", ".join(f"{axis} {v}" for axis, v in variant.chosen.items() if v != base[axis])


def _cell(row: Row) -> str:
    if row.difference is None:
        return f"{row.value:.1f}"
    return f"{row.value:.1f} ({_difference_text(row.difference)})"


def _difference_text(apart: Difference) -> str:
    if apart.low is None or apart.high is None:
        return f"{apart.mean:+.1f}"
    return f"{apart.mean:+.1f}: {apart.low:+.1f} to {apart.high:+.1f}"


def _write_csv(comparison: Comparison, rows: Sequence[Row], path: Path) -> None:
    header = [
        *comparison.axes, "score", "steps", "more_is_better", "value", "copy_last", "oracle",
        "difference", "low", "high", "scenes",
        *(f"difference_seed_{seed}" for seed in comparison.seeds),
        "forecaster_parameters", "channels", "variance_kept",
    ]  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            apart = row.difference
            seeds = apart.by_seed if apart else (None,) * len(comparison.seeds)
            values = (
                row.value, row.copy_last, row.oracle, apart.mean if apart else None,
                apart.low if apart else None, apart.high if apart else None,
            )  # fmt: skip
            facts = row.facts
            writer.writerow(
                [
                    *(row.variant.chosen[axis] for axis in comparison.axes),
                    row.metric.name, row.step, int(row.metric.sign > 0), *map(_number, values),
                    apart and apart.scenes, *map(_number, seeds), facts.forecaster_parameters,
                    facts.channels, facts.variance_kept,
                ]
            )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def draw(comparison: Comparison, rows: Sequence[Row], path: Path) -> None:
    """Draw the differences from the baseline, a panel per score."""
    # Matplotlib takes a second to import; who only wants numbers does without.
    from dino_foresight_ros.render.chart import chart_file

    apart = {
        (row.variant.name, row.metric.name, row.step): row.difference
        for row in rows
        if row.difference is not None
    }
    metrics = list({row.metric.name: row.metric for row in rows}.values()) or [SKILL]
    steps = sorted({row.step for row in rows} or set(comparison.evaluation.horizons))
    others = [variant for variant in comparison.variants if variant is not comparison.baseline]
    labels = [_others(comparison, variant) for variant in others]
    facts = [
        f"difference from {comparison.baseline.name}; mean over scenes and "
        f"{len(comparison.seeds)} seeds (dots: each seed alone)",
        f"bars: {100 * comparison.evaluation.confidence:g} % intervals over scenes; green is "
        "better, red worse, grey open",
    ]
    height = max(_LEAST_PX, 130 + _ROW_PX * len(others)) * len(steps)
    width = 300 + 330 * len(metrics)
    with chart_file(path, comparison.name, facts, width=width, height=height) as figure:
        panels = figure.subplots(len(steps), len(metrics), squeeze=False, sharey=True)
        for (row, step), (column, metric) in product(enumerate(steps), enumerate(metrics)):
            axes = panels[row, column]
            axes.axvline(0, color=_OPEN, linewidth=1)
            for place, variant in enumerate(others):
                difference = apart.get((variant.name, metric.name, step))
                if difference is not None:
                    _draw_difference(axes, place, difference, metric.sign)
            axes.set_yticks(range(len(others)), labels)
            axes.set_ylim(len(others) - 0.5, -0.5)
            axes.set_title(_title(metric, step))
            axes.set_xlabel("better to the right" if metric.sign > 0 else "better to the left")
            axes.grid(axis="x")


def _draw_difference(axes: object, place: int, apart: Difference, sign: int) -> None:
    low, high = apart.low, apart.high
    color = _OPEN
    if low is not None and high is not None and (low > 0 or high < 0):
        color = _BETTER if sign * apart.mean > 0 else _WORSE
    plot = axes.plot  # type: ignore[attr-defined]
    if low is not None and high is not None:
        plot([low, high], [place, place], color=color, linewidth=2.5, solid_capstyle="butt")
    plot([apart.mean], [place], "D", color=color, markersize=7)
    above = [place - 0.22] * len(apart.by_seed)
    plot(apart.by_seed, above, ".", color=color, markersize=6, alpha=0.8)
