"""The skill of the demo's forecasts: their errors beside those of copy-last."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.compare.measures import compare, depth_difference, skill_of
from dino_foresight_ros.render.contact_sheet import Table
from dino_foresight_ros.scene import ComparedForecast, Scene

if TYPE_CHECKING:
    from dino_foresight_ros.compare.label_metrics import SegmentationMetrics

# Those of `compare.measures.Difference`, and two against the truth.
FEATURE_ERROR = "feature_error"
SEGMENTATION_AGREEMENT = "segmentation_agreement"
DEPTH_ERROR = "depth_error"
NORMALS_ERROR_DEG = "normals_error_deg"
TRUE_SEGMENTATION_MIOU = "true_segmentation_miou"
TRUE_DEPTH_ERROR = "true_depth_error"
MEASURES: dict[str, str] = {
    FEATURE_ERROR: "mean squared error in PCA space, against the features of the frame that came",
    SEGMENTATION_AGREEMENT: (
        "fraction of pixels with the class that the model's own head sees in the frame that came"
    ),
    DEPTH_ERROR: "mean absolute difference, relative to the depth that the head sees in that frame",
    NORMALS_ERROR_DEG: "mean angle to the normals that the head sees in that frame, degrees",
    TRUE_SEGMENTATION_MIOU: (
        "mean intersection over union with the true labels, over the classes there are"
    ),
    TRUE_DEPTH_ERROR: "mean absolute difference, relative to the true depth",
}
"""What each number in metrics.json is."""
HIGHER_IS_BETTER = frozenset({SEGMENTATION_AGREEMENT, TRUE_SEGMENTATION_MIOU})


def resized(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(h, w) values at another (height, width): the nearest pixel's."""
    if values.shape[:2] == size:
        return values
    return np.asarray(cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))


@dataclass(frozen=True)
class Model:
    """What the maps of a model mean.

    Attributes:
        classes: number of classes; 0 without a segmentation head.
        depth_is_metric: whether depth is metres.
    """

    classes: int = 0
    depth_is_metric: bool = False


def measure(scene: Scene, oracle: Scene | None) -> dict[str, float]:
    """Compare a prediction with what the model says of the frame that came; name -> number."""
    if oracle is None:
        return {}
    difference, _ = compare(scene, oracle)
    return {name: value for name, value in difference._asdict().items() if math.isfinite(value)}


def true_depth(scene: Scene, truth: Scene | None, model: Model) -> float:
    """Relative error against true depth; NaN where either is not known in metres."""
    if truth is None or truth.depth is None or scene.depth is None or not model.depth_is_metric:
        return math.nan
    size = (scene.depth.shape[0], scene.depth.shape[1])
    return depth_difference(scene.depth, resized(truth.depth, size), True)


@dataclass
class _Step:
    """What was gathered of one step; lists by (measure, predictor)."""

    horizon_s: float
    values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, SegmentationMetrics] = field(default_factory=dict)


class SkillScorer:
    """Averages forecast, copy-last and (against truth) oracle over forecasts, by step."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._steps: dict[int, _Step] = {}
        self.forecasts = 0

    def add(self, forecast: ComparedForecast) -> None:
        """Score a described forecast; one that was not described counts for nothing."""
        newest = forecast.newest
        if newest.features is None:
            return
        scored = False
        for compared in forecast.steps:
            predicted, arrived = compared.predicted, compared.arrived
            if arrived is None or arrived.features is None:
                continue
            step = self._steps.setdefault(predicted.step, _Step(predicted.horizon_s))
            # Only where both are known: the same forecasts for each, or they do not compare.
            pair = [measure(scene, arrived) for scene in (predicted, newest)]
            for name in pair[0].keys() & pair[1].keys():
                step.values[name, FORECAST].append(pair[0][name])
                step.values[name, COPY_LAST].append(pair[1][name])
            scenes = {FORECAST: predicted, COPY_LAST: newest, ORACLE: arrived}
            self._add_true(step, scenes, compared.truth)
            scored = True
        self.forecasts += scored

    def _add_true(self, step: _Step, scenes: Mapping[str, Scene], truth: Scene | None) -> None:
        depths = {name: true_depth(scene, truth, self._model) for name, scene in scenes.items()}
        if all(map(math.isfinite, depths.values())):
            for name, error in depths.items():
                step.values[TRUE_DEPTH_ERROR, name].append(error)
        if truth is None or truth.segmentation is None:
            return
        if any(scene.segmentation is None for scene in scenes.values()):
            return
        for name, scene in scenes.items():
            assert scene.segmentation is not None
            true = resized(truth.segmentation, scene.segmentation.shape[:2])
            self._add_labels(step, name, scene.segmentation, true)

    def _add_labels(
        self, step: _Step, name: str, ids: NDArray[np.uint8], true: NDArray[np.uint8]
    ) -> None:
        """Score class ids against labels; ids beyond the model's classes are left out."""
        import torch

        from dino_foresight_ros.compare.label_metrics import SegmentationMetrics

        classes = max(2, self._model.classes)
        known = (true < classes) & (ids < classes)
        if not known.any():
            return
        metrics = step.labels.setdefault(name, SegmentationMetrics(classes))
        metrics.update(*(torch.as_tensor(values[known][None, None]) for values in (ids, true)))

    def numbers(self) -> dict[str, Any]:
        """For metrics.json: each measure with one value per horizon, None where there is none."""
        order = sorted(self._steps)
        steps = [self._steps[k] for k in order]
        found: dict[str, Any] = {
            "moments": self.forecasts,
            "steps": order,
            "horizons_ms": [round(step.horizon_s * 1000.0, 3) for step in steps],
        }
        for name, meaning in MEASURES.items():
            by_predictor = {
                predictor: [_mean(step, name, predictor) for step in steps]
                for predictor in (FORECAST, COPY_LAST, ORACLE)
            }
            by_predictor = {p: v for p, v in by_predictor.items() if any(x is not None for x in v)}
            if by_predictor:
                found[name] = {"meaning": meaning, **by_predictor}
        if FEATURE_ERROR in found:
            found[FEATURE_ERROR]["skill"] = _skill(found[FEATURE_ERROR])
        return found


def _mean(step: _Step, name: str, predictor: str) -> float | None:
    if name == TRUE_SEGMENTATION_MIOU:
        labels = step.labels.get(predictor)
        value = None if labels is None else labels.compute().mean_over(range(labels.classes))
    else:
        values = step.values.get((name, predictor))
        value = float(np.mean(values)) if values else None
    return None if value is None else round(value, 6)


def _skill(errors: Mapping[str, Any]) -> list[float | None]:
    """1 - forecast / copy-last by horizon: above 0 is better than copy-last."""
    pairs = zip(errors[FORECAST], errors[COPY_LAST], strict=True)
    return [None if a is None or not b else round(skill_of(a, b), 6) for a, b in pairs]


def tables(forecast: ComparedForecast) -> dict[int, Table]:
    """Step -> a small table of one forecast's numbers, for its sheet."""
    if forecast.newest.features is None:
        return {}
    found: dict[int, Table] = {}
    for step in forecast.steps:
        ours = measure(step.predicted, step.arrived)
        copied = measure(forecast.newest, step.arrived)
        rows = [
            (title, style(ours[name]), style(copied[name]))
            for name, title, style in _TABLE
            if name in ours and name in copied
        ]
        if rows:
            found[step.predicted.step] = [("", "forecast", "copy-last"), *rows]
    return found


def _percent(value: float) -> str:
    return f"{100.0 * value:.1f} %"


_TABLE: Sequence[tuple[str, str, Any]] = (
    (FEATURE_ERROR, "feature error", lambda value: f"{value:.3g}"),
    (SEGMENTATION_AGREEMENT, "same class", _percent),
    (DEPTH_ERROR, "depth off by", _percent),
    (NORMALS_ERROR_DEG, "normals off by", lambda value: f"{value:.1f}\N{DEGREE SIGN}"),
)
