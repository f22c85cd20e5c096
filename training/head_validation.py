"""How good a head is on held-out labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.compare.label_metrics import (
    DepthMetrics,
    NormalsMetrics,
    SegmentationMetrics,
)
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.tasks import DepthTask, NormalsTask, SegmentationTask, Task

from .head_inputs import HeadInputs
from .head_losses import relative_inverse
from .head_samples import KeptFeatures, LabelledImages, batches_of
from .objective import Evaluation


class HeadValidation:
    """Runs a head over held-out pictures and scores it; a run's `evaluate`."""

    def __init__(
        self,
        inputs: HeadInputs,
        dataset: LabelledImages | KeptFeatures,
        indices: Sequence[int],
        task: Task,
        device: torch.device,
        workers: int = 0,
        oracle: bool = False,
        batch: int = 8,
    ) -> None:
        """Remember what to score on; arguments as `head_samples` has them."""
        self.inputs, self.dataset, self.indices = inputs, dataset, list(indices)
        self.task, self.device, self.batch = task, device, batch
        self.workers = 0 if isinstance(dataset, KeptFeatures) else workers
        self.oracle = oracle

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Evaluation:
        """Score.

        Raises:
            InputError: no held-out pixel has a label, or the head gives NaN.
        """
        metrics = _metrics(self.task)
        scored = False
        for item in batches_of(self.dataset, self.indices, self.workers, self.batch):
            label = item["label"].to(self.device)
            if "compact" in item:
                compact = item["compact"].to(self.device)
            else:
                compact = self.inputs.compact(item["images"].to(self.device), self.oracle)
            raw = model(self.inputs.expand(compact))
            predicted = self.task.decode(raw, tuple(label.shape[1:3]))[self.task.name]
            true, has_labels = truth(self.task, label)
            if has_labels:
                metrics.update(predicted, true)
                scored = True
        if not scored:
            raise InputError(f"no held-out picture has a pixel of known {self.task.name}")
        return _evaluation(self.task, metrics.compute())


def truth(task: Task, label: Tensor) -> tuple[Tensor, bool]:
    """Labels as the metrics take them, and whether any pixel is known."""
    if isinstance(task, SegmentationTask):
        return label.long(), bool((label != UNLABELLED).any())
    if isinstance(task, NormalsTask):
        return label.float(), bool(torch.isfinite(label).all(dim=-1).any())
    if task.is_metric:
        assert task.min_m is not None
        assert task.max_m is not None
        inside = (label >= task.min_m) & (label <= task.max_m)
        metres = torch.where(inside, label.float(), torch.nan)
        return metres, bool(inside.any())
    bins, known = relative_inverse(label.float(), task.bins)
    # The authors score relative depth where it is above 0.
    return torch.where(known, bins.float(), torch.nan), bool((known & (bins > 0)).any())


def _metrics(task: Task) -> Any:
    if isinstance(task, SegmentationTask):
        return SegmentationMetrics(len(task.class_names), task.moving)
    return DepthMetrics() if isinstance(task, DepthTask) else NormalsMetrics()


def _evaluation(task: Task, scores: Any) -> Evaluation:
    if isinstance(task, SegmentationTask):
        present = [i for i, there in enumerate(scores.present) if there]
        seen = sum(scores.per_class[i] for i in present) / len(present)
        values = {"miou": scores.miou, "miou_of_present_classes": seen}
        if scores.moving_miou is not None:
            values["moving_miou"] = scores.moving_miou
        names = task.class_names
        values |= {f"iou/{names[i]}": scores.per_class[i] for i in present}
        return Evaluation(seen, values, f"mIoU {100 * seen:.1f} %")
    values = asdict(scores)
    if isinstance(task, NormalsTask):
        return Evaluation(-scores.mean_deg, values, f"mean error {scores.mean_deg:.1f} deg")
    return Evaluation(-scores.abs_rel, values, f"AbsRel {scores.abs_rel:.3f}")
