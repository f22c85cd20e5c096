"""Plots of a report: skill by horizon and by gap, IoU per class, patch similarity."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.render.chart import COLORS, chart_file, hex_color
from dino_foresight_ros.training.evaluation.predictors import LINEAR, MLP, TITLES
from dino_foresight_ros.training.evaluation.results import PCA_SPACE, FeatureResult, Report
from dino_foresight_ros.training.evaluation.series import HORIZONS, INSTANTS, ONE_STEP, ROLLOUT
from dino_foresight_ros.training.evaluation.tables import lead_text

_PANEL_WIDTH, _PANEL_HEIGHT = 800, 520


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Draw what the report has numbers for; return the files."""
    paths = [
        _skill(report, folder / "skill.png"),
        _per_class(report, folder / "iou_per_class.png"),
        _objects(report, folder / "objects.png"),
        _similarity(report, folder / "patch_similarity.png"),
    ]
    return [path for path in paths if path is not None]


def _chart(
    report: Report, path: Path, title: str, width: int, height: int = _PANEL_HEIGHT
) -> AbstractContextManager[Figure]:
    bundle = report.bundle
    return chart_file(
        path, f"{bundle.name}: {title}", trained=bundle.trained, width=width, height=height
    )


def _legend_beside(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _skill(report: Report, path: Path) -> Path | None:
    results = [r for r in report.features if r.space == PCA_SPACE]
    panels = [
        (kinds, title, [r for r in results if r.lead.kind in kinds])
        for kinds, title in (
            ((HORIZONS,), f"by horizon ({report.bundle.frame_interval_s:g} s a step)"),
            ((ONE_STEP, ROLLOUT), "by time gap"),
            ((INSTANTS,), "by instant"),
        )
    ]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    title, width = "improvement over copy-last", _PANEL_WIDTH * len(panels)
    with _chart(report, path, title, width) as figure:
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (kinds, title, of_panel) in zip(every, panels, strict=True):
            axes.axhline(0, color=COLORS[COPY_LAST], label=TITLES[COPY_LAST])
            for kind in kinds:
                of_kind = [r for r in of_panel if r.lead.kind == kind]
                for name in (LINEAR, MLP, FORECAST):
                    _skill_line(axes, of_kind, name, kind)
            axes.set_title(title)
            axes.set_xlabel("seconds ahead (measured)")
            axes.set_ylabel("MSE below copy-last, %")
            axes.set_xlim(left=0)
            axes.legend()
    return path


def _skill_line(axes: Axes, results: Sequence[FeatureResult], name: str, kind: str) -> None:
    points = [
        (result.lead.measured_s, gain)
        for result in results
        if name in result.rows and (gain := result.rows[name].improvements["mse"]) is not None
    ]
    if not points:
        return
    points.sort(key=lambda point: point[0])
    label = TITLES[name] if kind in (HORIZONS, INSTANTS) else f"{TITLES[name]}, {kind}"
    line, color = "--" if kind == ONE_STEP else "-", COLORS[name]
    x = [seconds for seconds, _ in points]
    axes.plot(x, [gain.percent for _, gain in points], line, marker="o", color=color, label=label)
    lows = [gain.percent if gain.low is None else gain.low for _, gain in points]
    highs = [gain.percent if gain.high is None else gain.high for _, gain in points]
    axes.fill_between(x, lows, highs, color=color, alpha=0.15, linewidth=0)


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
    width, height = max(_PANEL_WIDTH, 440 + 75 * most), 440 * len(shown)
    with _chart(report, path, "IoU per class", width, height) as figure:
        every = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, result in zip(every, shown, strict=True):
            assert result.lead is not None
            names = [n for n in (COPY_LAST, LINEAR, MLP, FORECAST, ORACLE) if n in result.rows]
            names = [n for n in names if result.rows[n].segmentation is not None]
            bar = 0.84 / len(names)
            for place, name in enumerate(names):
                segmentation = result.rows[name].segmentation
                assert segmentation is not None
                classes = list(segmentation.per_class)
                x = [i + (place - (len(names) - 1) / 2) * bar for i in range(len(classes))]
                label = f"{TITLES[name]} (mIoU {segmentation.miou:.3f})"
                heights = list(segmentation.per_class.values())
                axes.bar(x, heights, bar, color=COLORS[name], label=label)
            labels = [one.replace("_", " ") for one in classes]
            axes.set_xticks(range(len(classes)), labels, rotation=35, ha="right")
            axes.set_ylim(0, 1)
            axes.set_ylabel("IoU")
            axes.set_title(lead_text(result.lead))
            _legend_beside(axes)
    return path


def _objects(report: Report, path: Path) -> Path | None:
    """AP50 by lead, and how far off the ends of objects' ways are."""
    scored = [
        result
        for result in report.labels
        if result.lead is not None and result.rows[FORECAST].instances is not None
    ]
    kinds = [result.lead.kind for result in scored if result.lead is not None]
    shown = [r for r in scored if r.lead is not None and r.lead.kind == kinds[0]]
    if not shown:
        return None
    shown.sort(key=lambda result: result.lead.measured_s if result.lead is not None else 0.0)
    x = [result.lead.measured_s for result in shown if result.lead is not None]
    with _chart(report, path, "single objects", 2 * _PANEL_WIDTH) as figure:
        left, right = figure.subplots(1, 2)
        for name in (COPY_LAST, LINEAR, MLP, FORECAST, ORACLE):
            found = [(s, r.rows[name]) for s, r in zip(x, shown, strict=True) if name in r.rows]
            points = [
                (s, row.instances.ap50, row.intervals.get("ap50"))
                for s, row in found
                if row.instances is not None
            ]
            if not points:
                continue
            seconds, values, intervals = zip(*points, strict=True)
            left.plot(seconds, values, marker="o", color=COLORS[name], label=TITLES[name])
            ends = [
                (value, value) if one is None or one.low is None else (one.low, one.high)
                for value, one in zip(values, intervals, strict=True)
            ]
            lows, highs = zip(*ends, strict=True)
            left.fill_between(seconds, lows, highs, color=COLORS[name], alpha=0.15, linewidth=0)
        left.set_title(f"average precision, {kinds[0]}")
        left.set_ylabel("AP50")
        left.set_ylim(0, 1)
        ways = (
            ("forecast_px", "forecast", COLORS[FORECAST]),
            ("constant_velocity_px", "constant velocity", COLORS[LINEAR]),
            ("copy_last_px", "copy-last", COLORS[COPY_LAST]),
        )
        for score, title, color in ways:
            errors = [
                (s, value)
                for s, r in zip(x, shown, strict=True)
                if r.objects is not None and (value := getattr(r.objects, score)) is not None
            ]
            if errors:
                right.plot(*zip(*errors, strict=True), marker="o", color=color, label=title)
        right.set_title("ends of objects' ways")
        right.set_ylabel("centroid off, pixels of the labels")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("seconds ahead (measured)")
            axes.set_xlim(left=0)
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
    return path


def _similarity(report: Report, path: Path) -> Path | None:
    results = sorted(
        (one for one in report.similarity if one.space == PCA_SPACE), key=lambda r: r.measured_gap_s
    )
    if not results:
        return None
    panels = [("regions", "by region")]
    if any(result.classes for result in results):
        panels.append(("classes", "by class of the patch at t + gap"))
    title, width = "how alike a patch is to itself later", _PANEL_WIDTH * len(panels)
    with _chart(report, path, title, width) as figure:
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        x = [result.measured_gap_s for result in results]
        for axes, (groups, title) in zip(every, panels, strict=True):
            names = list(dict.fromkeys(name for r in results for name in getattr(r, groups)))
            for place, name in enumerate(names):
                values = [getattr(r, groups).get(name) for r in results]
                known = [(s, v.cosine) for s, v in zip(x, values, strict=True) if v is not None]
                color = _class_color(report, name) if groups == "classes" else f"C{place}"
                axes.plot(*zip(*known, strict=True), marker="o", markersize=3, linewidth=1.2,
                          color=color, label=name.replace("_", " "))  # fmt: skip
            overall = [r.overall.cosine for r in results]
            axes.plot(x, overall, color="white", marker="o", label="all")
            axes.set_title(title)
            axes.set_xlabel("time gap in seconds (measured)")
            axes.set_ylabel("cosine similarity, PCA space")
            axes.set_xlim(left=0)
            _legend_beside(axes)
    return path


def _class_color(report: Report, name: str) -> str | None:
    """The class's own colour, lightened where it would vanish on the dark ground."""
    names = report.bundle.class_names
    if name not in names:
        return None
    color = report.bundle.palette[names.index(name)]
    red, green, blue = (value // 2 + 110 if sum(color) < 220 else value for value in color)
    return hex_color((red, green, blue))
