"""Labels of objects in a small picture, and a head that has to learn them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dino_foresight_ros.model import InstancesTask
from dino_foresight_ros.training.instances_loss import pack_instances, unpack_instances

TASK = InstancesTask(("road", "car", "person"), ((0, 0, 0),) * 3, things=(1, 2))


def label(objects: list[tuple[int, int, tuple[slice, slice]]]) -> Tensor:
    """(16, 24) packed labels of objects: number, class, rows and columns."""
    ids, classes = torch.zeros(16, 24, dtype=torch.int32), torch.zeros(16, 24, dtype=torch.uint8)
    for number, class_id, where in objects:
        ids[where], classes[where] = number, class_id
    return pack_instances(ids, classes)


def check_that_it_learns(
    head: nn.Module, loss: Callable[[Any], Tensor], truth: Tensor, rate: float
) -> None:
    """A few steps on one picture: each object is found, with its class and mask."""
    features = torch.randn(1, 4, 6, 32)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate)
    head.train()
    for _ in range(60):
        optimiser.zero_grad()
        loss(head(features)).backward()
        optimiser.step()
    with torch.inference_mode():
        found = TASK.decode(head.eval()(features), (16, 24))
    ids, classes = unpack_instances(truth)
    for number in ids.unique().tolist()[1:]:
        mask = ids == number
        best = int(found["instances"][0][mask].mode().values)
        assert best > 0
        ours = found["instances"][0] == best
        assert (ours & mask).sum() / (ours | mask).sum() > 0.5
        (row,) = [row for row in found["detections"][0].tolist() if row[0] == best]
        assert row[1] == int(classes[mask][0])
