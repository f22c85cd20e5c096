"""Published protocols by name: what they score, on which data, and the figures to stand beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.cityscapes import (
    CITYSCAPES_SPACE,
    FRAME_RATE_HZ,
    is_cityscapes,
    labelled_clip_files,
)
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.spec import parse_spec
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.label_scores import LabelRow
from dino_foresight_ros.training.evaluation.predictors import LINEAR_1, MLP_1
from dino_foresight_ros.training.evaluation.results import (
    PCA_SPACE,
    FeatureResult,
    LabelResult,
    ProtocolFigure,
    ProtocolReport,
    Report,
)
from dino_foresight_ros.training.evaluation.series import HORIZONS, ONE_STEP, ROLLOUT, Series
from dino_foresight_ros.training.reading import pick_frames

DINO_FORESIGHT, DINO_WORLD, SEED_STUDY = "dino-foresight", "dino-world", "seed-study"
SHORT, MID = "short", "mid"
_STEP_FRAMES = 3
_SNIPPETS_OF_VAL = 500
_SEED_RATE_HZ = 8.0
_SEED_GAPS = (1, 2, 4, 8, 12)

_FORESIGHT_PAPER = "DINO-Foresight, arXiv 2412.11673"
_FORESIGHT_HEADS = "its authors' code, Downstream/README.md"
_WORLD_PAPER = "DINO-world, arXiv 2507.19468"
_STUDY = "a small study with DINOv2-S, feature error below copy-last's"


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        lead: SHORT or MID; of the seed study the gap in frames.
        model: that was measured, as the source calls it.
        predictor: of ours that it stands beside.
        head, score: which figure; head "" is the feature error below copy-last's.
        value: percent, degrees for normals' mean, a fraction for AbsRel.
        source: where it is from.
    """

    lead: str
    model: str
    predictor: str
    head: str
    score: str
    value: float
    source: str


def _both(model: str, head: str, score: str, value: float) -> tuple[Published, ...]:
    return tuple(
        Published(lead, model, ORACLE, head, score, value, _FORESIGHT_HEADS)
        for lead in (SHORT, MID)
    )


@dataclass(frozen=True)
class Protocol:
    """What a name stands for.

    Attributes:
        about: one sentence for the report.
        on_cityscapes: whether it is of Cityscapes' val, 20th frame of every snippet.
        linear_heads: whether its heads are linear.
        published: figures, in the order in which they are shown.
    """

    about: str
    on_cityscapes: bool
    linear_heads: bool
    published: tuple[Published, ...]


PROTOCOLS: Mapping[str, Protocol] = {
    DINO_FORESIGHT: Protocol(
        "Cityscapes val: the 20th of the 30 frames of every snippet, context of every third frame; "
        "short term one step (0.18 s), mid term three (0.53 s); all labels. mIoU is the mean over "
        "the 19 classes, of a class that nothing has 0; moving: the classes person to bicycle.",
        True,
        False,
        (
            Published(SHORT, "copy-last", COPY_LAST, SEGMENTATION, "miou", 54.7, _FORESIGHT_PAPER),
            Published(
                SHORT, "DINO-Foresight", FORECAST, SEGMENTATION, "miou", 71.8, _FORESIGHT_PAPER
            ),
            Published(
                SHORT,
                "DINO-Foresight",
                FORECAST,
                SEGMENTATION,
                "moving_miou",
                71.7,
                _FORESIGHT_PAPER,
            ),
            Published(
                MID, "DINO-Foresight", FORECAST, SEGMENTATION, "miou", 59.8, _FORESIGHT_PAPER
            ),
            *_both("oracle", SEGMENTATION, "miou", 77.0),
            *_both("oracle", SEGMENTATION, "moving_miou", 77.4),
            *_both("oracle", DEPTH, "delta1", 89.1),
            *_both("oracle", DEPTH, "abs_rel", 0.108),
            *_both("oracle", NORMALS, "mean_deg", 3.24),
            *_both("oracle", NORMALS, "within_11_25_deg", 94.4),
        ),
    ),
    DINO_WORLD: Protocol(
        "Cityscapes val with linear heads, about 0.2 and 0.5 s ahead: at 17 frames/s these are 3 "
        "and 9 frames (0.18 and 0.53 s); the 20th frame of every snippet, context of every third. "
        "The paper does not state its context's spacing in the figures that are quoted here.",
        True,
        True,
        tuple(
            Published(lead, model, predictor, SEGMENTATION, "miou", value, _WORLD_PAPER)
            for lead, values in ((SHORT, (53.2, 64.5, 64.7)), (MID, (39.7, 57.2, 55.1)))
            for model, predictor, value in zip(
                ("copy-last", "DINO-Foresight", "DINO-world"),
                (COPY_LAST, FORECAST, FORECAST),
                values,
                strict=True,
            )
        ),
    ),
    SEED_STUDY: Protocol(
        "8 frames/s, gaps of 1, 2, 4, 8 and 12 frames; similarity in the encoder's own space and "
        "in PCA space; linear and MLP from the whole context and from the newest frame alone.",
        False,
        False,
        tuple(
            Published(str(gap), "the study's", predictor, "", "mse", value, _STUDY)
            for gap, value in ((2, -0.3), (4, 5.9), (8, 9.9), (12, 11.8))
            for predictor in (LINEAR_1, MLP_1, FORECAST)
        ),
    ),
}


def protocol_config(name: str, base: EvaluationConfig, frame_interval_s: float) -> EvaluationConfig:
    """What a protocol fixes, upon the settings that it leaves open.

    None tells a forecaster the true motion: what was published knows nothing of the future.

    Args:
        name: of the protocol.
        base: the settings.
        frame_interval_s: the bundle's; rollouts of the seed study take steps near it.
    """
    if PROTOCOLS[name].on_cityscapes:
        spacing_s = _STEP_FRAMES / FRAME_RATE_HZ
        series = tuple(Series(HORIZONS, spacing_s, (step,), (step,)) for step in (1, 3))
        return replace(
            base, series=series, horizons=(), gaps_s=(), max_clips=None, max_label_clips=None,
            fitted=False, only_labelled=True, half=False, motion=False,
        )  # fmt: skip
    series = tuple(one for gap in _SEED_GAPS for one in _seed_series(gap, frame_interval_s))
    return replace(
        base, series=series, horizons=(), gaps_s=(), fitted=True, single_frame=True, raw=True,
        motion=False,
    )  # fmt: skip


def _seed_series(gap: int, interval_s: float) -> list[Series]:
    """The ways to a gap in frames: one step, and whole frames a step near the bundle's interval."""
    gap_s = gap / _SEED_RATE_HZ
    count = min(
        (n for n in range(1, gap + 1) if gap % n == 0), key=lambda n: abs(gap_s / n - interval_s)
    )
    found = [Series(ONE_STEP, gap_s, (1,), (1,) if count == 1 else (), gap_s)]
    if count > 1:
        found.append(Series(ROLLOUT, gap_s / count, (count,), (count,), gap_s))
    return found


def check_protocol(name: str, bundle: Bundle, specs: Sequence[str]) -> list[str]:
    """Make sure that a bundle and data can be measured by a protocol, before anything is computed.

    Returns:
        Notes for the report.

    Raises:
        InputError: data that are not whole; names the first missing file and how many.
        UsageError: data of another kind or split, or heads of another kind.
    """
    protocol = PROTOCOLS[name]
    if not protocol.on_cityscapes:
        return []
    notes, snippets = [], 0
    for text in specs:
        spec = parse_spec(text)
        if spec.kind != "cityscapes" and not (spec.kind == "auto" and is_cityscapes(spec.path)):
            raise UsageError(f"{text}: --protocol {name} is of Cityscapes; give cityscapes:DIR")
        if spec.options.get("split", "val") != "val":
            raise UsageError(f"{text}: --protocol {name} is of the split val; leave split out")
        if set(spec.options) & {"part", "start", "end"}:
            raise UsageError(f"{text}: --protocol {name} is of whole snippets; leave the part out")
        snippets += _check_files(name, spec.path)
    if snippets != _SNIPPETS_OF_VAL:
        notes.append(f"{snippets} of the {_SNIPPETS_OF_VAL} snippets of Cityscapes' val")
    head = bundle.heads.get(SEGMENTATION)
    if protocol.linear_heads and (head is None or head.config.kind != "linear"):
        raise UsageError(
            f"--protocol {name} is of linear heads, and the segmentation of {bundle.name} is "
            f"{'missing' if head is None else head.config.kind}; train one with "
            "foresight train head --preset linear"
        )
    return notes


def _check_files(name: str, root: Path) -> int:
    """Number of the snippets of val, each of them whole."""
    snippets = labelled_clip_files(root, "val", _STEP_FRAMES, frames=7)
    if not snippets:
        raise InputError(f"{root}: --protocol {name} finds no snippet of the split val")
    missing = [path for files in snippets for path in files if not path.is_file()]
    if missing:
        raise InputError(
            f"{root} is not whole: {len(missing)} of the {sum(map(len, snippets))} files that "
            f"--protocol {name} reads are missing, the first {min(missing)}"
        )
    return len(snippets)


def protocol_recordings(name: str | None, recordings: Sequence[Recording]) -> list[Recording]:
    """The frames that a protocol sees; of the seed study eight a second, else all."""
    if name != SEED_STUDY:
        return list(recordings)
    found: list[Recording] = []
    for recording in recordings:
        frames = pick_frames(recording.stamps_ns, 1.0 / _SEED_RATE_HZ)
        found.append(PartOfRecording(recording, np.asarray(frames), f"{recording.name}@8Hz"))
    return found


def protocol_report(name: str, report: Report, notes: Sequence[str]) -> Report:
    """The report with the protocol's figures, ours beside the published ones."""
    protocol, found = PROTOCOLS[name], list(notes)
    names = set(CITYSCAPES_SPACE.class_names)
    if protocol.on_cityscapes and set(report.bundle.class_names) != names:
        found.append(
            "the head has not Cityscapes' 19 classes: its mIoU is of fewer, merged ones and not to "
            "be compared"
        )
    elif protocol.on_cityscapes:
        found += _absent(report)
    figures = tuple(
        ProtocolFigure(
            one.lead, one.predictor, one.head, one.score, _ours(one, report), one.model, one.value,
            one.source,
        )
        for one in protocol.published
    )  # fmt: skip
    result = ProtocolReport(name, protocol.about, figures)
    return replace(report, protocol=result, notes=(*report.notes, *found))


def _absent(report: Report) -> list[str]:
    """A note where the labels lack classes."""
    classes = len(report.bundle.class_names)
    rows = [result.rows[FORECAST].segmentation for result in report.labels]
    found = {len(row.per_class) for row in rows if row is not None}
    if not found or min(found) == classes:
        return []
    return [
        f"{classes - min(found)} of the {classes} classes do not occur in the labels; the "
        "protocol's mean counts each as 0, the tables below leave them out"
    ]


def _ours(published: Published, report: Report) -> float | None:
    """Our figure in the published one's unit; None where it was not measured."""
    if not published.head:
        row = next(
            (
                result.rows.get(published.predictor)
                for result in report.features
                if result.space == PCA_SPACE and _is_gap(result, int(published.lead))
            ),
            None,
        )
        gain = None if row is None else row.improvements.get(published.score)
        return None if gain is None else gain.percent
    step = 1 if published.lead == SHORT else 3
    results = [one for one in report.labels if one.lead is not None and one.lead.step == step]
    if not results or published.predictor not in results[0].rows:
        return None
    return _label_figure(published, results[0], len(report.bundle.class_names))


def _is_gap(result: FeatureResult, frames: int) -> bool:
    gap_s = result.lead.gap_s
    return gap_s is not None and round(gap_s * _SEED_RATE_HZ) == frames


def _label_figure(published: Published, result: LabelResult, classes: int) -> float | None:
    row = result.rows[published.predictor]
    if published.head == SEGMENTATION:
        return _mean_iou(row, published.score, classes)
    scores = getattr(row, published.head)
    if scores is None:
        return None
    value = float(getattr(scores, published.score))
    return 100.0 * value if published.score == "delta1" else value


def _mean_iou(row: LabelRow, score: str, classes: int) -> float | None:
    """In percent, over all classes, 0 for one that does not occur, as torchmetrics gives it."""
    if row.segmentation is None:
        return None
    per_class = row.segmentation.per_class
    if score == "miou":
        return 100.0 * sum(per_class.values()) / max(classes, len(per_class))
    moving = [CITYSCAPES_SPACE.class_names[i] for i in CITYSCAPES_SPACE.moving]
    return 100.0 * sum(per_class.get(name, 0.0) for name in moving) / len(moving)
