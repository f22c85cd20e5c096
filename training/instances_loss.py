"""What a head for instances is trained to lower: Mask2Former's losses, of the package transformers.

Queries are matched to objects one to one, at the least cost (Hungarian); a matched query answers
for the object's class and mask, every other one for "no object" (Cheng et al. 2022, section 3.3).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.model.instance_head import (
    InstanceHeadConfig,
    QueryOutput,
    mask2former,
    mask2former_config,
)
from dino_foresight_ros.model.tasks import InstancesTask

from .objective import Loss

_CLASSES = 256


def pack_instances(instances: Tensor, segmentation: Tensor) -> Tensor:
    """Ids (H, W) and class ids (H, W) -> (H, W) int32, 256 x id + class id."""
    return instances.int() * _CLASSES + segmentation.int()


def unpack_instances(label: Tensor) -> tuple[Tensor, Tensor]:
    """What `pack_instances` gave -> ids and class ids, int32."""
    return label // _CLASSES, label % _CLASSES


def objects_of(label: Tensor, task: InstancesTask, least_pixels: int = 1) -> tuple[Tensor, Tensor]:
    """What a picture's queries should find.

    An object is what has one id; its class is that of most of its pixels. Where the head knows all
    classes, those that are no things are one region each.

    Args:
        label: (H, W) as `pack_instances` gives it.
        task: which classes count.
        least_pixels: of an object; smaller ones are left out.

    Returns:
        (n, H, W) bool masks, and (n,) int64 classes.
    """
    ids, classes = unpack_instances(label)
    things = torch.tensor(task.things, device=label.device)
    values, counts = torch.unique(label[ids > 0], return_counts=True)
    numbers, of_values = unpack_instances(values)
    # By id, the most frequent class first.
    order = torch.argsort(numbers.long() * (label.numel() + 1) - counts)
    numbers, of_values = numbers[order], of_values[order]
    is_first = torch.ones_like(numbers, dtype=torch.bool)
    is_first[1:] = numbers[1:] != numbers[:-1]
    areas = (ids[ids > 0][None] == numbers[:, None]).sum(dim=1)
    is_object = is_first & torch.isin(of_values, things) & (areas >= least_pixels)
    masks = [ids[None] == numbers[is_object][:, None, None]]
    found = [of_values[is_object].long()]
    if task.has_stuff:
        present = torch.unique(classes)
        stuff = present[(present != UNLABELLED) & ~torch.isin(present, things)]
        masks.append(classes[None] == stuff[:, None, None])
        found.append(stuff.long())
    return torch.cat(masks), torch.cat(found)


def instances_loss(
    raw: QueryOutput, label: Tensor, task: InstancesTask, points: int, least_pixels: int = 1
) -> Loss:
    """The weighted sum of class, mask and dice losses, over the output and all earlier layers.

    Args:
        raw: of B pictures.
        label: (B, H, W) as `pack_instances` gives it; one without objects teaches "no object".
        task: which classes count.
        points: pixels that are read of each mask.
        least_pixels: of an object; smaller ones are not asked for.
    """
    criterion = _criterion(task.outputs, points).to(label.device)
    targets = [objects_of(one, task, least_pixels) for one in label]
    # Half precision is for the products: costs and logarithms of small shares need more.
    with torch.autocast(label.device.type, enabled=False):
        earlier = [
            {"masks_queries_logits": masks.float(), "class_queries_logits": classes.float()}
            for classes, masks in raw.earlier
        ]
        terms = criterion(
            raw.masks.float(),
            raw.classes.float(),
            [masks.float() for masks, _ in targets],
            [classes for _, classes in targets],
            earlier,
        )
    weighted = [
        weight * term
        for kind, weight in criterion.weight_dict.items()
        for name, term in terms.items()
        if name.startswith(kind)
    ]
    return Loss(torch.stack(weighted).sum())


@lru_cache(maxsize=4)
def _criterion(classes: int, points: int) -> Any:
    settings = mask2former_config(InstanceHeadConfig(classes), points)
    weights = {
        "loss_cross_entropy": settings.class_weight,
        "loss_mask": settings.mask_weight,
        "loss_dice": settings.dice_weight,
    }
    return mask2former().Mask2FormerLoss(settings, weights)
