"""How each task of heads is trained and scored: labels, loss and metrics, a class per task.

A new task is a class here and a row in `TRAINING`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.compare.instance_metrics import InstanceMetrics
from dino_foresight_ros.compare.label_metrics import (
    DepthMetrics,
    NormalsMetrics,
    SegmentationMetrics,
)
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.model.tasks import (
    DepthTask,
    InstancesTask,
    NormalsTask,
    SegmentationTask,
    Task,
)
from dino_foresight_ros.outputs import (
    DEPTH,
    DETECTIONS,
    HEADS,
    INSTANCES,
    METRIC,
    NORMALS,
    SEGMENTATION,
)
from dino_foresight_ros.plugins import installed_heads, resolve
from dino_foresight_ros.recordings import Recording

from .centres_loss import centres_loss
from .data import common_label_space
from .head_losses import (
    level_bins,
    metric_depth_loss,
    normals_loss,
    relative_depth_loss,
    relative_inverse,
    segmentation_loss,
)
from .instances_loss import instances_loss, pack_instances, unpack_instances
from .objective import Evaluation, Loss
from .recipes import HeadRecipe

T = TypeVar("T", bound=Task)


@dataclass
class TaskTraining(ABC, Generic[T]):
    """How heads of one task are trained and scored.

    Attributes:
        label: the kind of a recording's labels that they learn from.
        beside: other kinds that they need of the same picture.
        by_request: whether `foresight train all` trains one only where `--tasks` names it.
        task: what the head's output means.
    """

    label: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    by_request: ClassVar[bool] = False
    task: T

    @classmethod
    @abstractmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> T:
        """What the output of a head that learns from these recordings will mean.

        Raises:
            InputError: the recordings do not tell.
        """

    @classmethod
    def together(cls, labels: Mapping[str, Tensor]) -> Tensor:
        """One label (H, W[, ...]) of a picture, of those of `label` and `beside`."""
        return labels[cls.label]

    @classmethod
    def beside_of(cls, recipe: HeadRecipe) -> tuple[str, ...]:
        """Other kinds of labels that a run needs of the same picture."""
        return cls.beside

    @abstractmethod
    def loss(self, raw: Any, label: Tensor) -> Loss:
        """Mean over the labelled pixels.

        Args:
            raw: (B, K, 8h, 8w), the head's output, or `QueryOutput`.
            label: (B, H, W[, 3]) of any size; raw output is upsampled to it.
        """

    def predicted(self, raw: Any, size: tuple[int, int]) -> Any:
        """The head's output as the metrics take it, at a size (H, W)."""
        return self.task.decode(raw, size)[self.task.name]

    @abstractmethod
    def truth(self, label: Tensor) -> tuple[Any, bool]:
        """Labels as the metrics take them, and whether any pixel is known."""

    @abstractmethod
    def metrics(self) -> Any:
        """New ones: `update(predicted, true)` for each batch, then `compute()`."""

    @abstractmethod
    def evaluation(self, scores: Any) -> Evaluation:
        """What the metrics computed, for logs and for choosing the best weights."""


@dataclass
class SegmentationTraining(TaskTraining[SegmentationTask]):
    """Cross-entropy, and mIoU.

    Attributes:
        class_weights: (K,) of the classes in the loss; equal when None.
    """

    label: ClassVar[str] = SEGMENTATION
    class_weights: Tensor | None = None

    @classmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> SegmentationTask:
        """The recordings' classes."""
        space = common_label_space(recordings)
        if space is None:
            names = ", ".join(recording.name for recording in recordings[:5])
            raise InputError(f"no segmentation labels in {names}")
        return SegmentationTask(space.class_names, space.palette, space.moving)

    def loss(self, raw: Tensor, label: Tensor) -> Loss:
        """Cross-entropy."""
        return segmentation_loss(raw, label, self.class_weights)

    def truth(self, label: Tensor) -> tuple[Tensor, bool]:
        """Class ids."""
        return label.long(), bool((label != UNLABELLED).any())

    def metrics(self) -> SegmentationMetrics:
        """Intersection over union."""
        return SegmentationMetrics(len(self.task.class_names), self.task.moving)

    def evaluation(self, scores: Any) -> Evaluation:
        """By the mIoU of the classes that occur."""
        present = [i for i, there in enumerate(scores.present) if there]
        seen = sum(scores.per_class[i] for i in present) / len(present)
        values = {"miou": scores.miou, "miou_of_present_classes": seen}
        if scores.moving_miou is not None:
            values["moving_miou"] = scores.moving_miou
        names = self.task.class_names
        values |= {f"iou/{names[i]}": scores.per_class[i] for i in present}
        return Evaluation(seen, values, f"mIoU {100 * seen:.1f} %")


@dataclass
class DepthTraining(TaskTraining[DepthTask]):
    """Metric or relative depth.

    Attributes:
        levels: whether labels are levels of relative depth; see `Recording.depth_is_metric`.
        complete: whether NaN labels are where no depth is; see `Recording.depth_is_complete`.
        class_weights: (256,) of the pixels by their class in the loss of metric depth, whose labels
            then are (H, W, 2), metres and class ids; equal when None.
    """

    label: ClassVar[str] = DEPTH
    levels: bool = False
    complete: bool = False
    class_weights: Tensor | None = None

    @classmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> DepthTask:
        """The recipe's kind, bins and range.

        Raises:
            UsageError: a metric head, and labels without a scale.
        """
        if labels_are_levels(recordings) and recipe.depth == METRIC:
            raise UsageError(
                "the depth labels are levels of relative depth, in no metres; train the head with "
                "--depth relative, or give labels in metres"
            )
        if recipe.depth == METRIC:
            return DepthTask(
                METRIC,
                recipe.bins,
                recipe.min_m,
                recipe.max_m,
                recipe.validity,
                recipe.quantile,
                recipe.focal,
            )
        if recipe.focal is not None:
            raise UsageError("focal is for --depth metric")
        if recipe.class_weights != "none":
            raise UsageError("class_weights of depth are for --depth metric")
        return DepthTask(recipe.depth, recipe.bins)

    @classmethod
    def beside_of(cls, recipe: HeadRecipe) -> tuple[str, ...]:
        """The classes, where pixels are weighed by them."""
        return () if recipe.class_weights == "none" else (SEGMENTATION,)

    @classmethod
    def together(cls, labels: Mapping[str, Tensor]) -> Tensor:
        """Metres (H, W), with classes (H, W, 2) float32."""
        if SEGMENTATION not in labels:
            return labels[DEPTH]
        return torch.stack([labels[DEPTH].float(), labels[SEGMENTATION].float()], dim=-1)

    def loss(self, raw: Tensor, label: Tensor) -> Loss:
        """The loss of the kind."""
        if self.class_weights is not None:
            weights = self.class_weights.to(label.device)[label[..., 1].long()]
            return metric_depth_loss(raw, label[..., 0], self.task, self.complete, weights)
        if self.task.is_metric:
            return metric_depth_loss(raw, label, self.task, self.complete)
        return relative_depth_loss(raw, label, self.task, self.levels)

    def truth(self, label: Tensor) -> tuple[Tensor, bool]:
        """Metres within the range, or bins above 0; NaN elsewhere."""
        task = self.task
        if self.class_weights is not None:
            label = label[..., 0]
        if task.is_metric:
            assert task.min_m is not None
            assert task.max_m is not None
            inside = (label >= task.min_m) & (label <= task.max_m)
            metres = torch.where(inside, label.float(), torch.nan)
            return metres, bool(inside.any())
        to_bins = level_bins if self.levels else relative_inverse
        bins, known = to_bins(label.float(), task.bins)
        # The authors score relative depth where it is above 0.
        return torch.where(known, bins.float(), torch.nan), bool((known & (bins > 0)).any())

    def metrics(self) -> DepthMetrics:
        """The usual errors of depth."""
        return DepthMetrics()

    def evaluation(self, scores: Any) -> Evaluation:
        """By the relative error."""
        said = f"AbsRel {scores.abs_rel:.3f}, {100 * scores.known:.0f} % known"
        # Pixels that are called unknown must not be worth more than depths that are off.
        worth = -scores.abs_rel - (1 - scores.known)
        return Evaluation(worth, asdict(scores), said)


def labels_are_complete(recordings: Sequence[Recording]) -> bool:
    """Whether a depth label that is NaN means, in all of them, that there is no depth."""
    labelled = [one for one in recordings if one.labelled(DEPTH).size]
    return bool(labelled) and all(one.depth_is_complete for one in labelled)


def labels_are_levels(recordings: Sequence[Recording]) -> bool:
    """Whether depth labels are levels of relative depth.

    Raises:
        InputError: some are, and some are metres; names one of each.
    """
    labelled = [one for one in recordings if one.labelled(DEPTH).size]
    levels = [one for one in labelled if not one.depth_is_metric]
    metres = [one for one in labelled if one.depth_is_metric]
    if levels and metres:
        raise InputError(
            f"depth is in metres in {metres[0].name} and in levels without a scale in "
            f"{levels[0].name}; train on one kind"
        )
    return bool(levels)


@dataclass
class NormalsTraining(TaskTraining[NormalsTask]):
    """Cosine and distance, and the angle."""

    label: ClassVar[str] = NORMALS

    @classmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> NormalsTask:
        """There is one kind."""
        return NormalsTask()

    def loss(self, raw: Tensor, label: Tensor) -> Loss:
        """Cosine and distance."""
        return normals_loss(raw, label)

    def truth(self, label: Tensor) -> tuple[Tensor, bool]:
        """The vectors."""
        return label.float(), bool(torch.isfinite(label).all(dim=-1).any())

    def metrics(self) -> NormalsMetrics:
        """The angle."""
        return NormalsMetrics()

    def evaluation(self, scores: Any) -> Evaluation:
        """By the mean angle."""
        mean = f"mean error {scores.mean_deg:.1f} deg"
        return Evaluation(-scores.mean_deg, asdict(scores), mean)


@dataclass
class InstancesTraining(TaskTraining[InstancesTask]):
    """The losses of the head's kind, and AP50.

    Attributes:
        points: pixels that the loss reads of each mask.
        least_pixels: of an object, in the labels as the loss reads them.
    """

    label: ClassVar[str] = INSTANCES
    beside: ClassVar[tuple[str, ...]] = (SEGMENTATION,)
    by_request: ClassVar[bool] = True
    points: int = 12544
    least_pixels: int = 1

    @classmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> InstancesTask:
        """The recordings' classes; objects of those that can move are told apart.

        Raises:
            InputError: no segmentation says what the objects are, or no class can move.
        """
        space = common_label_space(recordings)
        if space is None or not space.moving:
            names = ", ".join(recording.name for recording in recordings[:5])
            raise InputError(
                f"no classes of objects in {names}: instances need segmentation labels beside them"
            )
        return InstancesTask(space.class_names, space.palette, space.moving, has_stuff=recipe.stuff)

    @classmethod
    def together(cls, labels: Mapping[str, Tensor]) -> Tensor:
        """(H, W) int32: 256 x id + class id."""
        return pack_instances(labels[INSTANCES], labels[SEGMENTATION])

    def loss(self, raw: QueryOutput, label: Tensor) -> Loss:
        """Those of centres; else class, mask and dice losses of the best assignment, of every
        decoder layer."""
        if raw.pixels is not None:
            return centres_loss(raw.pixels, label, self.task, self.least_pixels)
        return instances_loss(raw, label, self.task, self.points, self.least_pixels)

    def predicted(self, raw: QueryOutput, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Ids (B, H, W), and (B, Q, 3) id, class id and score."""
        found = self.task.scored().decode(raw, size)
        return found[INSTANCES], found[DETECTIONS]

    def truth(self, label: Tensor) -> tuple[tuple[Tensor, Tensor], bool]:
        """Ids and classes; a picture without objects counts, for what is found in it."""
        return unpack_instances(label), True

    def metrics(self) -> InstanceMetrics:
        """Average precision."""
        return InstanceMetrics(self.task.things)

    def evaluation(self, scores: Any) -> Evaluation:
        """By AP50, the mean over the classes that have objects.

        Raises:
            InputError: there are none.
        """
        if not scores.true_objects:
            raise InputError("no held-out picture has an object to find")
        names = self.task.class_names
        values = {"ap50": scores.ap50, "ap": scores.ap, "pq": scores.pq}
        values |= {f"ap50/{names[i]}": value for i, value in scores.ap50_of.items()}
        return Evaluation(scores.ap50, values, f"AP50 {100 * scores.ap50:.1f} %")


TRAINING: dict[str, type[TaskTraining[Any]]] = {
    SegmentationTask.name: SegmentationTraining,
    DepthTask.name: DepthTraining,
    NormalsTask.name: NormalsTraining,
    InstancesTask.name: InstancesTraining,
}
"""Name of a task -> how its heads are trained; `training_class` knows other packages' too."""


def training_class(name: str) -> type[TaskTraining[Any]]:
    """How heads of a task are trained, a task of this package or of another one.

    Raises:
        UsageError: there is no such task, or it cannot be loaded.
    """
    if name in TRAINING:
        return TRAINING[name]
    plugin = installed_heads().get(name)
    if plugin is None:
        raise UsageError(f"head '{name}' is unknown; valid: {', '.join(HEADS)}")
    try:
        found: type[TaskTraining[Any]] = resolve(plugin.training)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"head '{name}': its training cannot be loaded: {error}") from error
    return found


def training_of(task: Task) -> TaskTraining[Any]:
    """How heads of this task are trained."""
    return training_class(task.name)(task)
