"""The result of an evaluation, as small frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from dino_foresight_ros.compare.bootstrap import Estimate, Improvement
from dino_foresight_ros.compare.feature_errors import MeanErrors
from dino_foresight_ros.compare.label_metrics import DepthScores
from dino_foresight_ros.model import Bundle, DepthTask, SegmentationTask
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.recordings import LABEL_KINDS, Recording
from dino_foresight_ros.scene import ComparedForecast
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.fitted_predictors import FitFacts
from dino_foresight_ros.training.evaluation.label_scores import ClosedFraction, LabelRow
from dino_foresight_ros.training.evaluation.lidar.truth import LidarFacts
from dino_foresight_ros.training.evaluation.object_motion import ObjectMotion
from dino_foresight_ros.training.evaluation.series import Series
from dino_foresight_ros.training.evaluation.similarity import SimilarityResult

PCA_SPACE, RAW_SPACE = "pca", "raw"


@dataclass(frozen=True)
class FeatureRow:
    """Feature errors of one predictor.

    Attributes:
        predictor: its name.
        errors: means over the clips.
        improvements: metric -> over copy-last, in percent; None where copy-last has no error.
    """

    predictor: str
    errors: MeanErrors
    improvements: Mapping[str, Improvement | None]


@dataclass(frozen=True)
class Lead:
    """How far ahead: one step of one series.

    Attributes:
        kind: "horizons", "one step", "rollout" or "instants"; see `series`.
        spacing_s: seconds between context frames and from step to step.
        step: of the forecaster.
        gap_s: the time gap of the series; None by horizon.
        measured_s: mean of what the time stamps say.
        ahead_s: seconds asked for by instant; None for multiples of the spacing.
    """

    kind: str
    spacing_s: float
    step: int
    gap_s: float | None
    measured_s: float
    ahead_s: float | None = None

    @property
    def nominal_s(self) -> float:
        """Seconds from the newest context frame to the target."""
        if self.ahead_s is not None:
            return self.ahead_s
        return self.step * self.spacing_s


@dataclass(frozen=True)
class FeatureResult:
    """Feature errors of every predictor at one lead, in one space.

    Attributes:
        lead: how far ahead.
        space: "pca"; or "raw", predictions taken back by the PCA against what the encoder gave.
        clips, recordings: how many were scored, from how many recordings.
        rows: predictor -> its errors.
    """

    lead: Lead
    space: str
    clips: int
    recordings: int
    rows: Mapping[str, FeatureRow]


@dataclass(frozen=True)
class LabelResult:
    """Scores of heads on predicted features at one lead.

    Attributes:
        lead: how far ahead; None for heads on the true features of single frames.
        frames: kind of label -> frames scored.
        rows: predictor -> its scores.
        closed: fraction of the gap between copy-last and oracle that each predictor closes.
        objects: how single objects were followed through the forecast; None where they were not.
    """

    lead: Lead | None
    frames: Mapping[str, int]
    rows: Mapping[str, LabelRow]
    closed: tuple[ClosedFraction, ...] = ()
    objects: ObjectMotion | None = None


@dataclass(frozen=True)
class LidarResult:
    """Forecast depth against lidar at one lead.

    Attributes:
        lead: how far ahead.
        scaling: how depth was put to scale; see `lidar_scale`.
        frames, points: that were scored, the same of every predictor.
        rows: predictor -> its scores, means over the frames.
    """

    lead: Lead
    scaling: str
    frames: int
    points: int
    rows: Mapping[str, DepthScores]


@dataclass(frozen=True)
class ScaleFacts:
    """The scales that one way of scaling found, over the clips.

    Attributes:
        method: the way.
        median, low, high: scale, its 10th and its 90th percentile; None without any clip.
        shift: median shift in 1/m.
        clips, left_out: clips that have a scale, and those that have none and are not scored.
        camera_height_m: that was given.
    """

    method: str
    median: float | None
    low: float | None
    high: float | None
    shift: float | None
    clips: int
    left_out: int
    camera_height_m: float | None = None


@dataclass(frozen=True)
class LidarReport:
    """Forecast depth against lidar.

    Attributes:
        sources: per recording how its true depth came about.
        results: by scaling and lead.
        scales: of every scaling that is one.
        min_m, max_m: depths that were scored.
        cells: (H, W) of the maps that were compared.
    """

    sources: tuple[LidarFacts, ...]
    results: tuple[LidarResult, ...]
    scales: tuple[ScaleFacts, ...]
    min_m: float
    max_m: float
    cells: tuple[int, int]


@dataclass(frozen=True)
class SheetSample:
    """One clip of the sheets.

    Attributes:
        recording: where it is from.
        forecast: beside what came. What the heads say of the newest frame is copy-last, what they
            say of the frames that came is the oracle, and the truth is the labels.
    """

    recording: str
    forecast: ComparedForecast


@dataclass(frozen=True)
class BundleFacts:
    """What was evaluated.

    Attributes:
        trained: False with random weights in any part.
        forecaster_trained: False where these are not known to be in the encoder alone.
    """

    name: str
    trained: bool
    encoder: str
    layers: tuple[int, ...]
    image_size: tuple[int, int]
    grid: tuple[int, int]
    channels: int
    context_frames: int
    frame_interval_s: float
    heads: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    depth_is_metric: bool = True
    forecaster_trained: bool = True

    @property
    def doubt(self) -> str:
        """What random weights make of the figures, as "is ..." goes on; empty without any."""
        if self.trained:
            return ""
        if not self.forecaster_trained:
            return "UNTRAINED: these numbers mean nothing."
        return (
            "trained on an UNTRAINED ENCODER: these numbers say how well the features of random "
            "weights can be forecast, nothing about a real model."
        )


@dataclass(frozen=True)
class DataFacts:
    """One recording that was scored or fitted on.

    Attributes:
        split: of the data set that it is from; empty where that has none.
    """

    name: str
    frames: int
    duration_s: float
    fingerprint: str
    labels: Mapping[str, int]
    split: str = ""


@dataclass(frozen=True)
class ProtocolFigure:
    """One published figure and ours.

    Attributes:
        lead, predictor, head, score: which; see `protocols.Published`.
        ours: in the published one's unit; None where it was not measured.
        model, published, source: what was published, of which model, and where.
    """

    lead: str
    predictor: str
    head: str
    score: str
    ours: float | None
    model: str
    published: float
    source: str


@dataclass(frozen=True)
class ProtocolReport:
    """A protocol's name, what it is, and its figures."""

    name: str
    about: str
    figures: tuple[ProtocolFigure, ...]


@dataclass(frozen=True)
class Report:
    """Everything that an evaluation found.

    Attributes:
        bundle, config, data, fit_data: what was evaluated, how and on what.
        features: by horizon and by gap, PCA space first.
        labels: with labels, by lead.
        stills: heads on the true features of single labelled frames; None without labels.
        similarity: patch similarity by time gap.
        fits: series name -> how its linear and MLP predictors came about.
        notes: what was left out and why; what a reader has to know.
        device, dtype, version, seconds: of the run.
        lidar: depth against lidar; None without lidar.
        protocol: the figures of a protocol that was asked for by name; None without one.
        samples: for the qualitative sheet; not part of report.json.
    """

    bundle: BundleFacts
    config: EvaluationConfig
    data: tuple[DataFacts, ...]
    fit_data: tuple[DataFacts, ...]
    series: tuple[Series, ...]
    features: tuple[FeatureResult, ...]
    labels: tuple[LabelResult, ...]
    stills: LabelResult | None
    similarity: tuple[SimilarityResult, ...]
    fits: Mapping[str, FitFacts]
    notes: tuple[str, ...]
    device: str
    dtype: str
    version: str
    seconds: float
    lidar: LidarReport | None = None
    protocol: ProtocolReport | None = None
    samples: tuple[SheetSample, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, pictures aside; infinite numbers become None."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "samples"}
        return {name: _plain(value) for name, value in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Improvement | Estimate):
        return _plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(item) for name, item in _shallow(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # Strict JSON knows no infinity (a relative depth head's log errors).
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _shallow(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """What the report says about a bundle."""
    segmentation, depth = bundle.tasks.get(SEGMENTATION), bundle.tasks.get(DEPTH)
    is_segmentation = isinstance(segmentation, SegmentationTask)
    return BundleFacts(
        name=bundle.name,
        trained=bundle.trained,
        encoder=bundle.encoder.config.model,
        layers=bundle.encoder.config.layers,
        image_size=bundle.image_size,
        grid=bundle.grid,
        channels=bundle.pca.channels,
        context_frames=bundle.context_frames,
        frame_interval_s=bundle.frame_interval_s,
        heads=tuple(bundle.heads),
        class_names=segmentation.class_names if is_segmentation else (),  # type: ignore[union-attr]
        palette=segmentation.palette if is_segmentation else (),  # type: ignore[union-attr]
        depth_is_metric=depth.is_metric if isinstance(depth, DepthTask) else True,
        forecaster_trained=_has_trained_forecaster(bundle),
    )


def _has_trained_forecaster(bundle: Bundle) -> bool:
    """Whether no weights but the encoder's can be random; False where nothing tells.

    What is put together from trained parts says where each comes from.
    """
    if bundle.trained:
        return True
    match bundle.info:
        case {"provenance": {"forecaster": {"recipe": dict(recipe)}}}:
            return bool(recipe.get("trained", True))
    return False


def data_facts(recording: Recording) -> DataFacts:
    """What the report says about a recording."""
    labels: Mapping[str, int] = {
        kind: int(recording.labelled(kind).size)
        for kind in LABEL_KINDS
        if recording.labelled(kind).size
    }
    return DataFacts(
        recording.name, len(recording), recording.duration_s, recording.fingerprint, labels,
        recording.split,
    )  # fmt: skip
