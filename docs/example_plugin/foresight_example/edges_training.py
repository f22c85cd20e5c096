"""How the head is trained: on borders that it finds in segmentation labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.classification import BinaryF1Score

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.model.tasks import upsample
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.training.head_tasks import TaskTraining
from dino_foresight_ros.training.objective import Evaluation, Loss
from dino_foresight_ros.training.recipes import HeadRecipe

from .edges import EdgesTask


@dataclass
class EdgesTraining(TaskTraining[Any]):
    """Cross-entropy against the borders of the segmentation, and F1."""

    label: ClassVar[str] = SEGMENTATION

    @classmethod
    def make_task(cls, recordings: Sequence[Recording], recipe: HeadRecipe) -> EdgesTask:
        """There is one kind."""
        return EdgesTask()

    def loss(self, raw: Tensor, label: Tensor) -> Loss:
        """Binary cross-entropy over the known pixels."""
        true, _ = self.truth(label)
        known = true != UNLABELLED
        logits = upsample(raw, (label.shape[1], label.shape[2]))[:, 0].float()
        target = torch.where(known, true, 0).float()
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        total = torch.where(known, each, 0.0).sum()
        return Loss(total / known.sum().clamp(min=1), known.float().mean())

    def truth(self, label: Tensor) -> tuple[Tensor, bool]:
        """1 where a pixel around has another class, 255 where one is unlabelled."""
        ids = functional.pad(label[:, None].float(), (1, 1, 1, 1), mode="replicate")
        most = functional.max_pool2d(ids, 3, stride=1)[:, 0]
        least = -functional.max_pool2d(-ids, 3, stride=1)[:, 0]
        true = torch.where(most == UNLABELLED, UNLABELLED, (most > least).long())
        return true, bool((true != UNLABELLED).any())

    def metrics(self) -> BinaryF1Score:
        """F1 of the pixels above 0.5."""
        return BinaryF1Score(ignore_index=UNLABELLED)

    def evaluation(self, scores: Any) -> Evaluation:
        """By F1."""
        return Evaluation(float(scores), {"f1": float(scores)}, f"F1 {float(scores):.3f}")
