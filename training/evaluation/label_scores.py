"""Scores of heads against labels, and the fraction of the gap to the oracle that is closed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.compare.bootstrap import Estimate
from dino_foresight_ros.compare.instance_metrics import InstanceMetrics
from dino_foresight_ros.compare.label_metrics import (
    DepthMetrics,
    DepthScores,
    NormalsMetrics,
    NormalsScores,
    SegmentationMetrics,
)
from dino_foresight_ros.compare.measures import closed_gap
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.outputs import (
    DEPTH,
    DETECTIONS,
    HEADS,
    INSTANCES,
    NORMALS,
    SEGMENTATION,
)
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace, ObjectSpace
from dino_foresight_ros.training.evaluation.lidar.scaling import Scale, affine_scale


@dataclass(frozen=True)
class SegmentationResult:
    """Intersection over union, 0 to 1, over all pixels of all frames.

    Attributes:
        miou: mean over the classes that occur in the labels (the same for every predictor).
        moving_miou: mean over those of them that move; None without any.
        per_class: class name -> IoU, of the classes that occur in the labels.
    """

    miou: float
    moving_miou: float | None
    per_class: Mapping[str, float]


@dataclass(frozen=True)
class InstancesResult:
    """Average precision and panoptic quality of single objects, 0 to 1.

    Attributes:
        ap, ap50: as Cityscapes defines them, mean over the classes that have true objects.
        pq: panoptic quality of the classes of objects; None where there is no object at all.
        per_class: class name -> AP50, of the classes that have true objects.
        objects: how many true objects are asked for.
    """

    ap: float
    ap50: float
    pq: float | None
    per_class: Mapping[str, float]
    objects: int


@dataclass(frozen=True)
class LabelRow:
    """Scores of one predictor; None where there is no head or no label.

    Attributes:
        intervals: name of a score of `CLOSED_METRICS` -> how well it is known.
    """

    predictor: str
    segmentation: SegmentationResult | None = None
    depth: DepthScores | None = None
    normals: NormalsScores | None = None
    instances: InstancesResult | None = None
    intervals: Mapping[str, Estimate] = field(default_factory=dict)


class ClosedMetric(NamedTuple):
    """A score whose gap may be closed: where it stands, which way is better, the least gap."""

    head: str
    score: str
    sign: int
    least_gap: float


CLOSED_METRICS = (
    ClosedMetric(SEGMENTATION, "miou", 1, 0.01),
    ClosedMetric(SEGMENTATION, "moving_miou", 1, 0.01),
    ClosedMetric(DEPTH, "delta1", 1, 0.01),
    ClosedMetric(DEPTH, "abs_rel", -1, 0.01),
    ClosedMetric(NORMALS, "mean_deg", -1, 0.5),
    ClosedMetric(INSTANCES, "ap50", 1, 0.01),
)
"""`least_gap` is in the score's own unit; below it a fraction would be noise over noise."""


@dataclass(frozen=True)
class ClosedFraction:
    """The fraction of the gap between copy-last and oracle that a predictor closes.

    Attributes:
        predictor, head, score: what it is of.
        share: (predictor - copy-last) / (oracle - copy-last): 0 is copy-last, 1 the oracle, below
            0 worse than copy-last. None where undefined.
        gap: oracle - copy-last, turned so that positive means the oracle is better.
        reason: why `share` is None.
        interval: how well `share` is known.
    """

    predictor: str
    head: str
    score: str
    share: float | None
    gap: float
    reason: str | None = None
    interval: Estimate | None = None


def closed_fraction(
    predictor: str, metric: ClosedMetric, value: float, copy_last: float, oracle: float
) -> ClosedFraction:
    """Compute one fraction; undefined where the gap is about 0 or the oracle is no better."""
    gap = metric.sign * (oracle - copy_last)
    if gap < metric.least_gap:
        why = (
            f"undefined: the oracle is better than copy-last by {gap:.3g} only "
            f"(at least {metric.least_gap:g} is needed)"
            if gap > 0
            else "undefined: the oracle is no better than copy-last"
        )
        return ClosedFraction(predictor, metric.head, metric.score, None, gap, why)
    fraction = closed_gap(value, copy_last, oracle)
    return ClosedFraction(predictor, metric.head, metric.score, fraction, gap)


def closed_fractions(
    rows: Mapping[str, LabelRow], copy_last: str, oracle: str
) -> tuple[ClosedFraction, ...]:
    """Every fraction of every predictor between the two."""
    found = []
    for name, row in rows.items():
        if name in (copy_last, oracle):
            continue
        for metric in CLOSED_METRICS:
            value, low, high = (
                getattr(getattr(one, metric.head), metric.score, None)
                for one in (row, rows[copy_last], rows[oracle])
            )
            if value is not None and low is not None and high is not None:
                found.append(closed_fraction(name, metric, value, low, high))
    return tuple(found)


class PastScale(NamedTuple):
    """What makes relative depth metres: found on a past frame, never on the one that is scored.

    Attributes:
        scale: the rising line through inverse depths.
        max_m: the largest true depth of the past frame; nothing is put farther.
    """

    scale: Scale
    max_m: float

    def metres(self, inverse: NDArray[np.float64]) -> NDArray[np.float64]:
        """(H, W) relative inverse depth -> metres."""
        return self.scale.metres(inverse, self.max_m)


def past_scale(inverse: NDArray[np.float64], metres: NDArray[np.floating[Any]]) -> PastScale | None:
    """Fit scale and shift on one past frame (least squares, Ranftl et al. 2020, sec. 5).

    Args:
        inverse: (H, W) what a relative head says of the frame, larger is nearer.
        metres: (H, W) true depth, NaN or 0 unknown.

    Returns:
        None with too few known pixels, or where no rising line fits: near and far are swapped.
    """
    true_m = np.where(metres > 0, metres, np.nan).astype(np.float64)
    scale = affine_scale(inverse, true_m)
    return None if scale is None else PastScale(scale, float(np.nanmax(true_m)))


def sizes_of(labels: Scene, heads: Collection[str]) -> dict[str, tuple[int, int]]:
    """Head -> size of its label, for the heads that this frame has labels for."""
    sizes: dict[str, tuple[int, int]] = {}
    for head in heads:
        label = getattr(labels, head, None)
        if label is not None:
            sizes[head] = (label.shape[0], label.shape[1])
    return sizes


class LabelScorer:
    """Scores one predictor's maps, frame by frame.

    Attributes:
        without_scale: frames whose relative depth has no scale, and was not scored.
    """

    def __init__(
        self, bundle: Bundle, classes: ClassSpace | None, objects: ObjectSpace | None = None
    ) -> None:
        """Start with nothing scored.

        Args:
            bundle: whose tasks say what maps mean.
            classes: in which a segmentation is scored; None: it is not.
            objects: whose objects are scored; None: they are not.
        """
        self._classes, self._objects = classes, objects
        if objects is not None:
            self._instances = InstanceMetrics(tuple(objects.names))
        self._depth_task = bundle.tasks.get(DEPTH)
        self.without_scale = 0
        self._clips: dict[str, list[int]] = {head: [] for head in HEADS}
        self._sums: dict[str, list[NDArray[np.float64]]] = {head: [] for head in HEADS}
        self._depth, self._normals = DepthMetrics(), NormalsMetrics()
        if classes is not None:
            # One class more: what the head says where no scored class stands for it.
            self._segmentation = SegmentationMetrics(len(classes.names) + 1)

    def update(
        self,
        maps: Mapping[str, Tensor],
        labels: Scene,
        clip: int = 0,
        scale: PastScale | None = None,
    ) -> None:
        """Score one frame.

        Args:
            maps: (H, W) or (H, W, 3) of the labels' size.
            labels: of the frame.
            clip: number of the clip, for the intervals.
            scale: of relative depth against metres; without it that is not scored.
        """
        if SEGMENTATION in maps and labels.segmentation is not None:
            self._update_segmentation(maps[SEGMENTATION], labels.segmentation, clip)
        if DEPTH in maps and labels.depth is not None:
            depth = maps[DEPTH].float().cpu()
            self._update_depth(depth, labels.depth, labels.depth_is_metric, clip, scale)
        if INSTANCES in maps and labels.instances is not None and labels.segmentation is not None:
            self._update_instances(maps, labels.instances, labels.segmentation, clip)
        if NORMALS in maps and labels.normals is not None:
            true = torch.as_tensor(labels.normals)
            if bool((torch.isfinite(true).all(-1) & (true != 0).any(-1)).any()):
                scores = self._normals.update(maps[NORMALS].float().cpu()[None], true[None])
                self._note(NORMALS, clip, [scores["mean_deg"]])

    def _note(self, head: str, clip: int, values: Sequence[float] | NDArray[np.float64]) -> None:
        self._clips[head].append(clip)
        self._sums[head].append(np.append(values, 1.0))

    def _update_segmentation(self, ids: Tensor, label: np.ndarray, clip: int) -> None:
        if self._classes is None:
            return
        true = self._classes.from_labels[label]
        if (true == UNLABELLED).all():
            return
        predicted = self._classes.from_head[ids.cpu().numpy()]
        predicted[predicted == UNLABELLED] = len(self._classes.names)
        counts = self._segmentation.update(
            torch.as_tensor(predicted)[None], torch.as_tensor(true)[None]
        )
        self._note(SEGMENTATION, clip, counts.numpy().ravel())

    def _update_instances(
        self,
        maps: Mapping[str, Tensor],
        ids: NDArray[np.uint16],
        segmentation: NDArray[np.uint8],
        clip: int,
    ) -> None:
        if self._objects is None:
            return
        predicted = maps[INSTANCES][None].cpu(), maps[DETECTIONS][None].float().cpu()
        classes = self._objects.from_labels[segmentation]
        counts = self._instances.update(predicted, (ids[None], classes[None]))
        self._note(INSTANCES, clip, counts.ravel())

    def _update_depth(
        self,
        depth: Tensor,
        label: NDArray[np.float32],
        label_is_metric: bool,
        clip: int,
        scale: PastScale | None,
    ) -> None:
        task, true = self._depth_task, torch.as_tensor(label)
        assert isinstance(task, DepthTask)
        if task.is_metric:
            if not label_is_metric:
                return
            assert task.min_m is not None
            assert task.max_m is not None
            # Nothing beyond its bins can be said by the head: scored is what lies within them.
            true = true.where((true >= task.min_m) & (true <= task.max_m), torch.nan)
        if not bool((true > 0).any()):
            return
        if not task.is_metric and label_is_metric:
            if scale is None:
                self.without_scale += 1
                return
            depth = torch.as_tensor(scale.metres(depth.double().numpy()))
        scores = self._depth.update(depth[None], true[None])
        if scores["known"] > 0:
            self._note(DEPTH, clip, [scores["delta1"], scores["abs_rel"]])

    def row(self, predictor: str) -> LabelRow:
        """Everything so far."""
        return LabelRow(
            predictor,
            self._segmentation_result() if self._clips[SEGMENTATION] else None,
            self._depth.compute() if self._clips[DEPTH] else None,
            self._normals.compute() if self._clips[NORMALS] else None,
            self._instances_result() if self._clips[INSTANCES] else None,
        )

    def clips(self, head: str) -> list[int]:
        """Numbers of the clips that a head was scored on, in the order of `sums`."""
        return self._clips[head]

    def sums(self, head: str) -> NDArray[np.float64]:
        """(n, K) what each of these adds to the sums that `score_of` reads."""
        return np.stack(self._sums[head])

    @property
    def frames(self) -> dict[str, int]:
        """Frames scored, by kind of label."""
        return {kind: len(clips) for kind, clips in self._clips.items() if clips}

    def _segmentation_result(self) -> SegmentationResult:
        assert self._classes is not None
        scores, names = self._segmentation.compute(), self._classes.names
        miou = scores.mean_over(range(len(names)))
        assert miou is not None
        return SegmentationResult(
            miou,
            scores.mean_over(self._classes.moving),
            {name: scores.per_class[i] for i, name in enumerate(names) if scores.labelled[i]},
        )

    def _instances_result(self) -> InstancesResult | None:
        assert self._objects is not None
        scores, names = self._instances.compute(), self._objects.names
        if not scores.true_objects:
            return None
        return InstancesResult(
            scores.ap,
            scores.ap50,
            scores.pq if scores.pq_of else None,
            {names[i]: value for i, value in scores.ap50_of.items()},
            scores.true_objects,
        )
