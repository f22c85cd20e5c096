"""Plots of a report: skill by horizon and by gap, IoU per class, patch similarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.render import theme
from dino_foresight_ros.training.evaluation.predictors import LINEAR, MLP, TITLES
from dino_foresight_ros.training.evaluation.results import PCA_SPACE, FeatureResult, Report
from dino_foresight_ros.training.evaluation.series import HORIZONS, ONE_STEP, ROLLOUT
from dino_foresight_ros.training.evaluation.tables import lead_text

DPI = 130
COLORS = {
    FORECAST: "#d1495b",
    LINEAR: "#30638e",
    MLP: "#edae49",
    COPY_LAST: "#8d99a6",
    ORACLE: "#3a7d44",
}


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Draw what the report has numbers for; return the files."""
    paths = [
        _skill(report, folder / "skill.png"),
        _per_class(report, folder / "iou_per_class.png"),
        _similarity(report, folder / "patch_similarity.png"),
    ]
    return [path for path in paths if path is not None]


def _figure(report: Report, title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    if not report.bundle.trained:
        figure.supxlabel(
            theme.UNTRAINED_TEXTS[0],
            fontsize=12,
            fontweight="bold",
            color=_hex(theme.ON_WARNING),
            backgroundcolor=_hex(theme.WARNING),
        )
    return figure


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def _skill(report: Report, path: Path) -> Path | None:
    results = [r for r in report.features if r.space == PCA_SPACE]
    panels = [
        (kinds, title, [r for r in results if r.lead.kind in kinds])
        for kinds, title in (
            ((HORIZONS,), f"by horizon ({report.bundle.frame_interval_s:g} s a step)"),
            ((ONE_STEP, ROLLOUT), "by time gap"),
        )
    ]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    figure = _figure(
        report, f"{report.bundle.name}: improvement over copy-last", 6.4 * len(panels), 4.6
    )
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (kinds, title, of_panel) in zip(all_axes, panels, strict=True):
        for kind in kinds:
            of_kind = [r for r in of_panel if r.lead.kind == kind]
            for name in (FORECAST, MLP, LINEAR):
                _skill_line(axes, of_kind, name, kind)
        axes.axhline(0, color=COLORS[COPY_LAST], linewidth=1.5, label="copy-last")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("seconds ahead (measured)")
        axes.set_ylabel("MSE below copy-last, %")
        axes.set_xlim(left=0)
        _plain(axes)
        axes.legend(fontsize=8, frameon=False)
    return _save(figure, path)


def _skill_line(axes: Axes, results: Sequence[FeatureResult], name: str, kind: str) -> None:
    points = [
        (result.lead.measured_s, gain)
        for result in results
        if name in result.rows and (gain := result.rows[name].improvements["mse"]) is not None
    ]
    if not points:
        return
    points.sort(key=lambda point: point[0])
    label = TITLES[name] if kind == HORIZONS else f"{TITLES[name]}, {kind}"
    style: dict[str, Any] = {"color": COLORS[name], "linestyle": "--" if kind == ONE_STEP else "-"}
    x = [seconds for seconds, _ in points]
    axes.plot(
        x, [gain.percent for _, gain in points], marker="o", markersize=4, label=label, **style
    )
    lows = [gain.percent if gain.low is None else gain.low for _, gain in points]
    highs = [gain.percent if gain.high is None else gain.high for _, gain in points]
    axes.fill_between(x, lows, highs, color=COLORS[name], alpha=0.15, linewidth=0)


def _per_class(report: Report, path: Path) -> Path | None:
    scored = [
        result
        for result in report.labels
        if result.lead is not None and result.rows[FORECAST].segmentation is not None
    ]
    by_horizon = [r for r in scored if r.lead is not None and r.lead.kind == HORIZONS]
    shown = (by_horizon or scored)[:2]
    if not shown:
        return None
    most = max(len(r.rows[FORECAST].segmentation.per_class) for r in shown)  # type: ignore[union-attr]
    figure = _figure(
        report,
        f"{report.bundle.name}: IoU per class",
        max(6.4, 1.6 + 0.62 * most),
        3.6 * len(shown),
    )
    for axes, result in zip(
        figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True
    ):
        assert result.lead is not None
        names = [n for n in (COPY_LAST, LINEAR, MLP, FORECAST, ORACLE) if n in result.rows]
        names = [n for n in names if result.rows[n].segmentation is not None]
        width = 0.84 / len(names)
        for place, name in enumerate(names):
            segmentation = result.rows[name].segmentation
            assert segmentation is not None
            classes = list(segmentation.per_class)
            x = [i + (place - (len(names) - 1) / 2) * width for i in range(len(classes))]
            axes.bar(x, list(segmentation.per_class.values()), width, color=COLORS[name],
                     label=f"{TITLES[name]} (mIoU {segmentation.miou:.3f})")  # fmt: skip
        axes.set_xticks(range(len(classes)))
        labels = [one.replace("_", " ") for one in classes]
        axes.set_xticklabels(labels, rotation=35, ha="right", fontsize=8)
        axes.set_ylim(0, 1)
        axes.set_ylabel("IoU")
        axes.set_title(lead_text(result.lead), fontsize=10)
        _plain(axes)
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, path)


def _similarity(report: Report, path: Path) -> Path | None:
    results = sorted(report.similarity, key=lambda r: r.measured_gap_s)
    if not results:
        return None
    panels = [("regions", "by region")]
    if any(result.classes for result in results):
        panels.append(("classes", "by class of the patch at t + gap"))
    title = f"{report.bundle.name}: how alike a patch is to itself later"
    figure = _figure(report, title, 6.4 * len(panels), 4.6)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    x = [result.measured_gap_s for result in results]
    for axes, (groups, title) in zip(all_axes, panels, strict=True):
        names = list(dict.fromkeys(name for r in results for name in getattr(r, groups)))
        for place, name in enumerate(names):
            points = [(s, getattr(r, groups).get(name)) for s, r in zip(x, results, strict=True)]
            known = [(s, one.cosine) for s, one in points if one is not None]
            color = _class_color(report, name) if groups == "classes" else f"C{place}"
            axes.plot(*zip(*known, strict=True), marker="o", markersize=3, linewidth=1.2,
                      color=color, label=name.replace("_", " "))  # fmt: skip
        overall = [r.overall.cosine for r in results]
        axes.plot(x, overall, color="black", linewidth=2.2, marker="o", markersize=4, label="all")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("time gap in seconds (measured)")
        axes.set_ylabel("cosine similarity, PCA space")
        axes.set_xlim(left=0)
        _plain(axes)
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, path)


def _class_color(report: Report, name: str) -> str | None:
    """The class's own colour, darkened where it would vanish on white."""
    names = report.bundle.class_names
    if name not in names:
        return None
    color = report.bundle.palette[names.index(name)]
    return _hex([int(value * 0.75) for value in color] if sum(color) > 540 else color)
