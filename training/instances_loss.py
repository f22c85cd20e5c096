"""What a head for instances is trained to lower: Mask2Former's losses, of the package transformers.

Queries are matched to objects one to one, at the least cost (Hungarian); a matched query answers
for the object's class and mask, every other one for "no object" (Cheng et al. 2022, section 3.3).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import adaptive_avg_pool2d

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
_OUTSIDE = -100.0
"""Logit of a mask's pixel."""


def pack_instances(instances: Tensor, segmentation: Tensor) -> Tensor:
    """Ids (H, W) and class ids (H, W) -> (H, W) int32, 256 x id + class id."""
    return instances.int() * _CLASSES + segmentation.int()


def unpack_instances(label: Tensor) -> tuple[Tensor, Tensor]:
    """What `pack_instances` gave -> ids and class ids, int32."""
    return label // _CLASSES, label % _CLASSES


def known_pixels(label: Tensor) -> Tensor:
    """Where `pack_instances` was given an object or a class: (..., H, W) bool."""
    ids, classes = unpack_instances(label)
    return (ids > 0) | (classes != UNLABELLED)


def objects_of(
    label: Tensor, task: InstancesTask, least_pixels: int = 1, stuff: bool | None = None
) -> tuple[Tensor, Tensor]:
    """What a picture's queries should find.

    An object is what has one id; its class is that of most of its pixels. Where the head knows all
    classes, those that are no things are one region each.

    Args:
        label: (H, W) as `pack_instances` gives it.
        task: which classes count.
        least_pixels: of an object; smaller ones are left out.
        stuff: whether classes that are no things are given; as the task has it when None.

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
    if task.has_stuff if stuff is None else stuff:
        present = torch.unique(classes)
        others = present[(present != UNLABELLED) & ~torch.isin(present, things)]
        masks.append(classes[None] == others[:, None, None])
        found.append(others.long())
    return torch.cat(masks), torch.cat(found)


def instances_loss(
    raw: QueryOutput, label: Tensor, task: InstancesTask, points: int, least_pixels: int = 1
) -> Loss:
    """The weighted sum of class, mask and dice losses, over the output and all earlier layers.

    Args:
        raw: of B pictures.
        label: (B, H, W) as `pack_instances` gives it; one without objects teaches "no object".
            Pixels of no known class are left out of masks.
        task: which classes count.
        points: pixels that are read of each mask; all of them where there are no more.
        least_pixels: of an object; smaller ones are not asked for.
    """
    targets = [objects_of(one, task, least_pixels) for one in label]
    size = raw.masks.shape[-2], raw.masks.shape[-1]
    # Of a pixel that nobody labelled no mask says anything: a logit of a certain "outside" has
    # neither loss nor gradient.
    known = adaptive_avg_pool2d(known_pixels(label).float(), size)
    is_void = (known == 0)[:, None]
    layers = [
        (classes, masks.masked_fill(is_void, _OUTSIDE))
        for classes, masks in [(raw.classes, raw.masks), *raw.earlier]
    ]
    # Half precision is for the products: costs and logarithms of small shares need more.
    with torch.autocast(label.device.type, enabled=False):
        if raw.masks.shape[-2] * raw.masks.shape[-1] <= points:
            return Loss(_on_all_pixels(layers, targets, known, _criterion(task.outputs, points)))
        return Loss(_on_drawn_pixels(layers, targets, _criterion(task.outputs, points)))


def _on_drawn_pixels(
    layers: list[tuple[Tensor, Tensor]], targets: list[tuple[Tensor, Tensor]], criterion: Any
) -> Tensor:
    """The library's, which draws pixels anew for each layer and picture, more of unsure ones."""
    criterion = criterion.to(layers[0][0].device)
    (classes, masks), *earlier = [(classes.float(), masks.float()) for classes, masks in layers]
    terms = criterion(
        masks,
        classes,
        [masks.float() for masks, _ in targets],
        [classes for _, classes in targets],
        [
            {"masks_queries_logits": masks, "class_queries_logits": classes}
            for classes, masks in earlier
        ],
    )
    weighted = [
        weight * term
        for kind, weight in criterion.weight_dict.items()
        for name, term in terms.items()
        if name.startswith(kind)
    ]
    return torch.stack(weighted).sum()


def _on_all_pixels(
    layers: list[tuple[Tensor, Tensor]],
    targets: list[tuple[Tensor, Tensor]],
    known: Tensor,
    criterion: Any,
) -> Tensor:
    """The same terms over every pixel of small masks, all layers and pictures at once.

    `known` (B, h, w) is the share of each mask pixel that is labelled.

    Costs of all pairs are computed with their gradients, so that the losses of the matched ones are
    picked from them.
    """
    from scipy.optimize import linear_sum_assignment  # takes half a second, also to who asks help

    weights = criterion.weight_dict
    classes = torch.stack([classes for classes, _ in layers]).float()  # (L, B, Q, K + 1)
    logits = torch.stack([masks for _, masks in layers]).float().flatten(3)  # (L, B, Q, P)
    size = layers[0][1].shape[-2], layers[0][1].shape[-1]
    most = max(1, *(len(found) for _, found in targets))
    true = logits.new_zeros(len(targets), most, logits.shape[-1])
    kinds = torch.zeros(len(targets), most, dtype=torch.long, device=logits.device)
    for row, (masks, found) in enumerate(targets):
        if len(found):
            inside = adaptive_avg_pool2d(masks.float(), size) / known[row].clamp(min=1e-6)
            true[row, : len(found)] = inside.flatten(1)
            kinds[row, : len(found)] = found
    # Cross-entropy of x with a target t is softplus(x) - x t.
    across = true.transpose(1, 2)
    mask = (functional.softplus(logits).sum(-1, keepdim=True) - logits @ across) / true.shape[-1]
    inside = logits.sigmoid()
    both = inside.sum(-1, keepdim=True) + true.sum(-1)[:, None]
    dice = 1 - (2 * (inside @ across) + 1) / (both + 1)
    shares = classes.softmax(-1).gather(3, kinds[None, :, None].expand(*classes.shape[:3], -1))
    pairs = weights["loss_mask"] * mask + weights["loss_dice"] * dice
    cost = (pairs - weights["loss_cross_entropy"] * shares).detach().cpu().numpy()
    number = max(1, sum(len(found) for _, found in targets))
    asked = torch.full(classes.shape[:3], classes.shape[-1] - 1, device=classes.device)
    total = classes.new_zeros(())
    for layer in range(len(layers)):
        for row, (_, found) in enumerate(targets):
            queries, objects = linear_sum_assignment(cost[layer, row, :, : len(found)])
            asked[layer, row, queries] = found[objects]
            total = total + pairs[layer, row, queries, objects].sum() / number
    for one, wanted in zip(classes, asked, strict=True):
        term = functional.cross_entropy(
            one.flatten(0, 1), wanted.flatten(), criterion.empty_weight.to(one.device)
        )
        total = total + weights["loss_cross_entropy"] * term
    return total


@lru_cache(maxsize=4)
def _criterion(classes: int, points: int) -> Any:
    settings = mask2former_config(InstanceHeadConfig(classes), points)
    weights = {
        "loss_cross_entropy": settings.class_weight,
        "loss_mask": settings.mask_weight,
        "loss_dice": settings.dice_weight,
    }
    return mask2former().Mask2FormerLoss(settings, weights)
