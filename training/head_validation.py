"""How good a head is on held-out labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dino_foresight_ros.errors import InputError

from .head_inputs import HeadInputs
from .head_samples import KeptFeatures, LabelledImages, batches_of
from .head_tasks import TaskTraining
from .objective import Evaluation


class HeadValidation:
    """Runs a head over held-out pictures and scores it; a run's `evaluate`."""

    def __init__(
        self,
        inputs: HeadInputs,
        dataset: LabelledImages | KeptFeatures,
        indices: Sequence[int],
        training: TaskTraining[Any],
        device: torch.device,
        workers: int = 0,
        oracle: bool = False,
        batch: int = 8,
    ) -> None:
        """Remember what to score on; arguments as `head_samples` has them."""
        self.inputs, self.dataset, self.indices = inputs, dataset, list(indices)
        self.training, self.device, self.batch = training, device, batch
        self.workers = 0 if isinstance(dataset, KeptFeatures) else workers
        self.oracle = oracle

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Evaluation:
        """Score.

        Raises:
            InputError: no held-out pixel has a label, or the head gives NaN.
        """
        task = self.training.task
        metrics = self.training.metrics()
        scored = False
        for item in batches_of(self.dataset, self.indices, self.workers, self.batch):
            label = item["label"].to(self.device)
            if "compact" in item:
                compact = item["compact"].to(self.device)
            else:
                images = item["images"].to(self.device)
                compact = self.inputs.compact(images, self.oracle, item.get("motion"))
            raw = model(self.inputs.expand(compact))
            predicted = self.training.predicted(raw, (label.shape[1], label.shape[2]))
            true, has_labels = self.training.truth(label)
            if has_labels:
                metrics.update(predicted, true)
                scored = True
        if not scored:
            raise InputError(f"no held-out picture has a pixel of known {task.name}")
        return self.training.evaluation(metrics.compute())
