"""Puts a report into a folder: report.md for people, report.json, and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from dino_foresight_ros.compare import COPY_LAST, ORACLE
from dino_foresight_ros.compare.bootstrap import LEAST_BLOCKS, Estimate, Improvement
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.files import check_replaceable, whole_folder
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.render.markdown import NONE, table
from dino_foresight_ros.training.evaluation.label_scores import ClosedFraction, LabelRow
from dino_foresight_ros.training.evaluation.lidar.page import lidar_section
from dino_foresight_ros.training.evaluation.results import (
    PCA_SPACE,
    RAW_SPACE,
    DataFacts,
    FeatureResult,
    LabelResult,
    ProtocolFigure,
    ProtocolReport,
    Report,
)
from dino_foresight_ros.training.evaluation.series import HORIZONS, ONE_STEP, ROLLOUT
from dino_foresight_ros.training.evaluation.similarity import Similarity
from dino_foresight_ros.training.evaluation.tables import ORDER, lead_text, predictor_title

MARKDOWN, JSON = "report.md", "report.json"
_FILES = (MARKDOWN, JSON, "*.png")


def check_output(out: Path, overwrite: bool) -> None:
    """Refuse a folder that exists, before anything is computed.

    Raises:
        ForesightError: it exists and may not be replaced, or holds something else than a report.
    """
    if not out.exists():
        return
    if not overwrite:
        raise ForesightError(f"{out} exists; choose another --out or add --force")
    if not out.is_dir() or (any(out.iterdir()) and not (out / JSON).is_file()):
        raise ForesightError(
            f"{out} is no earlier report and is not replaced; choose another --out"
        )
    check_replaceable(out, _FILES)


def write_report(report: Report, out: Path, overwrite: bool = False) -> list[Path]:
    """Write everything, whole or not at all.

    Returns:
        The files, report.md first.

    Raises:
        ForesightError: the folder exists and may not be replaced, or cannot be written.
    """
    # Matplotlib takes a second to import; who only wants numbers does without.
    from dino_foresight_ros.training.evaluation.plots import draw_plots
    from dino_foresight_ros.training.evaluation.sheet import draw_sheet

    check_output(out, overwrite)
    with whole_folder(out, _FILES) as scratch:
        pictures = draw_plots(report, scratch) + draw_sheet(report, scratch)
        (scratch / MARKDOWN).write_text(markdown(report, [p.name for p in pictures]))
        text = json.dumps(report.to_dict(), indent=1, allow_nan=False)
        (scratch / JSON).write_text(text + "\n")
    return [out / MARKDOWN, out / JSON, *(out / picture.name for picture in pictures)]


def markdown(report: Report, pictures: Sequence[str]) -> str:
    """Write report.md; `pictures` are file names beside it."""
    parts = [
        *_head(report),
        *_protocol(report.protocol),
        *_features(report),
        *_labels(report),
        *lidar_section(report.lidar),
        *_similarity(report),
        *_how(report),
    ]
    if pictures:
        parts += ["## Pictures", "\n\n".join(f"![{_alt(name)}]({name})" for name in pictures)]
    return "\n\n".join(parts) + "\n"


def _alt(name: str) -> str:
    return name.rsplit(".", 1)[0].replace("_", " ")


def _head(report: Report) -> list[str]:
    bundle = report.bundle
    warning = [f"**{bundle.name} is {bundle.doubt}**"] if bundle.doubt else []
    height, width = bundle.image_size
    facts = (
        f"Bundle **{bundle.name}**: {bundle.encoder}, layers {list(bundle.layers)}, {width}x"
        f"{height} pixels, {bundle.channels} channels, {bundle.context_frames} context frames "
        f"{bundle.frame_interval_s:g} s apart, heads: {', '.join(bundle.heads) or 'none'}."
    )
    data = f"Scored on {_data(report.data)}."
    if report.fit_data:
        data += f" Linear and MLP predictors fitted on {_data(report.fit_data)}."
    notes = "\n".join(f"- {note}" for note in report.notes)
    return [f"# Evaluation of {bundle.name}", *warning, facts, data, *([notes] if notes else [])]


_LISTED = 6
"""Recordings that are named; of the others the number is told."""


def _data(recordings: Sequence[DataFacts]) -> str:
    seconds = sum(one.duration_s for one in recordings)
    frames = sum(one.frames for one in recordings)
    names = ", ".join(one.name for one in recordings[:_LISTED])
    splits = sorted({one.split for one in recordings if one.split})
    of = f"split {', '.join(splits)}, " if splits else ""
    more = f" and {len(recordings) - _LISTED} more" if len(recordings) > _LISTED else ""
    count = "1 recording" if len(recordings) == 1 else f"{len(recordings)} recordings"
    return f"{count} ({of}{frames} frames, {seconds:.1f} s: {names}{more})"


_FIGURES = {
    (SEGMENTATION, "miou"): ("mIoU", "{:.1f} %"),
    (SEGMENTATION, "moving_miou"): ("moving mIoU", "{:.1f} %"),
    (DEPTH, "delta1"): ("depth delta1", "{:.1f} %"),
    (DEPTH, "abs_rel"): ("depth AbsRel", "{:.3f}"),
    (NORMALS, "mean_deg"): ("normals mean", "{:.2f}°"),
    (NORMALS, "within_11_25_deg"): ("normals within 11.25°", "{:.1f} %"),
    ("", "mse"): ("MSE below copy-last", "{:+.1f} %"),
}


def figure_cells(one: ProtocolFigure) -> tuple[str, ...]:
    """What, of which predictor, ours, theirs, of which model, and where from."""
    title, form = _FIGURES[one.head, one.score]
    ours = NONE if one.ours is None else form.format(one.ours)
    lead = f"gap of {one.lead} frames" if one.lead.isdigit() else f"{one.lead} term"
    return (
        f"{lead}, {title}", predictor_title(one.predictor), ours, form.format(one.published),
        one.model, one.source,
    )  # fmt: skip


def _protocol(protocol: ProtocolReport | None) -> list[str]:
    if protocol is None:
        return []
    header = ("figure", "predictor", "here", "published", "of", "source")
    return [
        f"## Protocol {protocol.name}, beside the published figures",
        protocol.about,
        table(header, map(figure_cells, protocol.figures)),
    ]


def _features(report: Report) -> list[str]:
    parts: list[str] = []
    for space, title in ((PCA_SPACE, "PCA space"), (RAW_SPACE, "the encoder's own space")):
        results = [r for r in report.features if r.space == space]
        if not results:
            continue
        parts.append(f"## Feature error in {title}")
        if space == PCA_SPACE:
            percent = f"{100 * report.config.confidence:g}"
            parts.append(
                "Lower is better. Improvement over copy-last is of the MSE, in percent; in "
                f"brackets its {percent} % confidence interval: whole scenes are resampled, of one "
                "scene alone pieces longer than its errors are correlated, and then it speaks of "
                f"that scene. With fewer than {LEAST_BLOCKS} of these blocks their number instead."
            )
        else:
            parts.append(
                "Predictions taken back by the PCA, against what the encoder gave for the true "
                "frame: the oracle's error is what the PCA loses."
            )
        parts += _feature_tables(results)
    return parts


def _feature_tables(results: Sequence[FeatureResult]) -> list[str]:
    parts = []
    for kind, title in (
        (HORIZONS, "By horizon, at the bundle's frame interval"),
        (ONE_STEP, "By time gap, one step (context frames one gap apart)"),
        (ROLLOUT, "By time gap, rollout (steps near the bundle's frame interval)"),
    ):
        of_kind = [r for r in results if r.lead.kind == kind]
        if not of_kind:
            continue
        header = ("target", "predictor", "SmoothL1", "MSE", "1 - cosine", "improvement", "clips")
        rows = [row for result in of_kind for row in _feature_rows(result)]
        parts += [f"### {title}", table(header, rows)]
    return parts


def _feature_rows(result: FeatureResult) -> Iterable[tuple[str, ...]]:
    for name in ORDER:
        row = result.rows.get(name)
        if row is None or (name == ORACLE and result.space == PCA_SPACE):
            continue
        errors = row.errors
        gain = NONE if name == COPY_LAST else improvement_text(row.improvements["mse"])
        yield (
            lead_text(result.lead),
            predictor_title(name),
            f"{errors.smooth_l1:.4f}",
            f"{errors.mse:.4f}",
            f"{errors.cosine:.4f}",
            gain,
            str(result.clips),
        )


def improvement_text(gain: Improvement | None) -> str:
    """Such as "+12.3 % (10.1 to 14.5)"; "+12.3 % (3 blocks)" where there is no interval."""
    if gain is None:
        return "undefined: nothing moved"
    if gain.low is None or gain.high is None:
        return f"{gain.percent:+.1f} % ({gain.blocks} block{'s' if gain.blocks > 1 else ''})"
    return f"{gain.percent:+.1f} % ({gain.low:.1f} to {gain.high:.1f})"


def _labels(report: Report) -> list[str]:
    if not report.labels and report.stills is None:
        return []
    parts = [
        "## Against labels",
        "The oracle is the head on the true future frame's features. mIoU is the mean over the "
        "classes that occur in the labels; depth and normals are means over frames. *Closed* is "
        "the share of the gap between copy-last and oracle that a predictor closes; it is left "
        f"out ({NONE}) where that gap is about 0. In brackets confidence intervals, as above. "
        "Relative depth is put to scale on the newest past frame with true depth. *Depth known* is "
        "the share of the pixels of true depth for which the head gives one; the scores of depth "
        "are of these. AP, AP50 and PQ "
        "are of single objects, means over the classes that have any; the interval of AP50 is of "
        "scores in steps of 0.01.",
    ]
    if report.stills is not None:
        parts += [
            f"### Heads on true features of single frames ({_frames(report.stills)})",
            _label_table(report.stills),
        ]
    for result in report.labels:
        assert result.lead is not None
        title = f"### {lead_text(result.lead)}"
        title += f", {result.lead.kind}" if result.lead.gap_s is not None else ""
        parts += [f"{title} ({_frames(result)})", _label_table(result)]
    return [*parts, *_objects(report.labels)]


def _objects(results: Sequence[LabelResult]) -> list[str]:
    """Objects followed through forecasts, a line per lead."""
    rows = [
        (
            lead_text(result.lead), str(one.followed), str(one.kept), *(
                NONE if value is None else f"{value:.1f}"
                for value in (one.forecast_px, one.constant_velocity_px, one.copy_last_px)
            ), *(
                NONE if value is None else f"{value:.2f}"
                for value in (one.forecast_m, one.constant_velocity_m, one.copy_last_m)
            ),
            f"{one.switched} of {one.found}", f"{one.query_switched} of {one.found}",
        )
        for result in results
        if result.lead is not None and (one := result.objects) is not None
    ]  # fmt: skip
    if not rows:
        return []
    header = (
        "target", "objects", "kept", "forecast, px", "constant velocity, px", "copy-last, px",
        "forecast, m", "constant velocity, m", "copy-last, m", "switched ids", "switched queries",
    )  # fmt: skip
    return [
        "### Objects through the forecast",
        "True objects that the head finds in the newest frame and in the one before. Of those the "
        "forecast keeps, how far the centroid is from the true one, in pixels of the labels, and, "
        "with metric depth and a calibrated camera, how far its place is, in metres in the "
        "camera's frame then: means. The constant velocity is that of the present's detections, "
        "relative to the camera. "
        "Ids are switched where an object that is found now and then has another one: by matching "
        "masks, and by the number of the query alone.",
        table(header, rows),
    ]


def _frames(result: LabelResult) -> str:
    counts = set(result.frames.values())
    text = f"{counts.pop()} frames" if len(counts) == 1 else ", ".join(
        f"{count} frames with {kind}" for kind, count in result.frames.items()
    )  # fmt: skip
    estimates = [one for row in result.rows.values() for one in row.intervals.values()]
    if not estimates:
        return text
    fewest = min(one.blocks for one in estimates)
    too_few = "" if fewest >= LEAST_BLOCKS else ", too few for intervals"
    return f"{text}, {fewest} independent block{'s' if fewest > 1 else ''}{too_few}"


def _label_table(result: LabelResult) -> str:
    closed = {(c.predictor, c.head, c.score): c for c in result.closed}
    rows = [result.rows[name] for name in ORDER if name in result.rows]
    columns = [column for column in _COLUMNS if any(_value(r, column) is not None for r in rows)]
    header = ["predictor"]
    for head, score, title, _ in columns:
        header.append(title)
        if any(key[1:] == (head, score) for key in closed):
            header.append("closed")
    lines = []
    for row in rows:
        line = [predictor_title(row.predictor)]
        for column in columns:
            value = _value(row, column)
            interval = row.intervals.get(column[1])
            line.append(NONE if value is None else _with_interval(value, interval, column[3]))
            if any(key[1:] == column[:2] for key in closed):
                line.append(_fraction_text(closed.get((row.predictor, *column[:2]))))
        lines.append(line)
    return table(header, lines)


_COLUMNS = (
    (SEGMENTATION, "miou", "mIoU", "{:.3f}"),
    (SEGMENTATION, "moving_miou", "moving mIoU", "{:.3f}"),
    (DEPTH, "delta1", "delta1", "{:.3f}"),
    (DEPTH, "abs_rel", "AbsRel", "{:.3f}"),
    (DEPTH, "rmse", "RMSE", "{:.2f}"),
    (DEPTH, "known", "depth known", "{:.3f}"),
    (NORMALS, "mean_deg", "normals mean", "{:.1f}°"),
    (NORMALS, "within_11_25_deg", "within 11.25°", "{:.1f} %"),
    (INSTANCES, "ap50", "AP50", "{:.3f}"),
    (INSTANCES, "ap", "AP", "{:.3f}"),
    (INSTANCES, "pq", "PQ", "{:.3f}"),
)


def _value(row: LabelRow, column: tuple[str, str, str, str]) -> float | None:
    value: float | None = getattr(getattr(row, column[0]), column[1], None)
    return value


def _fraction_text(closed: ClosedFraction | None) -> str:
    if closed is None or closed.share is None:
        return NONE
    return _with_interval(closed.share, closed.interval, "{:.2f}")


def _with_interval(value: float, interval: Estimate | None, form: str) -> str:
    """Such as "0.549 (0.531 to 0.566)"; the value alone where there is no interval."""
    if interval is None or interval.low is None or interval.high is None:
        return form.format(value)
    low, high = (form.format(end).rstrip("°") for end in (interval.low, interval.high))
    return f"{form.format(value)} ({low} to {high})"


def _similarity(report: Report) -> list[str]:
    if not report.similarity:
        return []
    parts = [
        "## Patch similarity by time gap",
        "The same patch at t and t + gap, without any forecast; by thirds of the picture and, "
        "where labels are, by the class that covers most of the patch at t + gap.",
    ]
    for space, title in ((PCA_SPACE, "In PCA space"), (RAW_SPACE, "In the encoder's own space")):
        rows = []
        for result in report.similarity:
            if result.space != space:
                continue
            gap = f"{result.gap_s:g} s (measured {result.measured_gap_s:.3f} s)"
            rows.append((gap, "all", *_similar(result.overall)))
            groups = list(result.regions.items()) + list(result.classes.items())
            rows += [("", name.replace("_", " "), *_similar(one)) for name, one in groups]
        if rows:
            parts += [f"{title}:", table(("gap", "patches", "cosine", "MSE", "pairs"), rows)]
    return parts


def _similar(one: Similarity) -> tuple[str, str, str]:
    return f"{one.cosine:.3f}", f"{one.mse:.4f}", str(one.patches)


def _how(report: Report) -> list[str]:
    config = report.config
    limit = "all clips" if config.max_clips is None else f"at most {config.max_clips} clips"
    text = (
        f"Each series on {limit}, evenly spread over the recordings; every frame within 30 % of "
        "the spacing of its nominal instant. Horizon k: the "
        f"context {report.bundle.frame_interval_s:g} s apart, the forecaster fed its own output k "
        "times. Time gap g, one step: the context g apart, one step. Time gap g, rollout: n "
        "steps of g / n, n such that a step lies nearest to the bundle's interval. The linear "
        "predictor is a ridge regression and the MLP a network with two hidden layers of "
        f"{config.mlp_width}, both from the same patch in all context frames to its change, one "
        "of each per series and step, penalty and best state chosen on the last fifth of the "
        f"fitting clips. Seed {config.seed}. Features kept as "
        f"{'float16' if config.half else 'computed'}. Device {report.device}, "
        f"{report.dtype}, version {report.version}, {report.seconds:.0f} s."
    )
    return ["## How it was measured", text]
