"""What a head that finds objects by their centres is trained to lower.

Cross-entropy of every pixel's class and L1 of its offset (Panoptic-DeepLab, Cheng et al. 2020), and
the focal loss of CenterNet (Zhou et al. 2019) for the maps of centres.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import adaptive_avg_pool2d

from dino_foresight_ros.model.centre_head import OFFSET_SCALE
from dino_foresight_ros.model.instance_head import PixelMaps
from dino_foresight_ros.model.tasks import InstancesTask

from .head_losses import segmentation_loss
from .instances_loss import known_pixels, objects_of, unpack_instances
from .objective import Loss

_SPREAD = 1 / 6
"""Deviation of the bump around a centre, of the root of its object's area."""
_LEAST_SPREAD = 0.6
"""In pixels of the maps."""


class CentreTargets(NamedTuple):
    """What a picture's maps should say.

    Attributes:
        heat: (T, H, W), 1 at a centre, falling around it.
        is_centre: (T, H, W) bool.
        valid: (H, W) bool; False on objects that are too small to ask for, and where nobody
            labelled anything.
        offsets: (2, H, W) rows and columns to the object's centre, in patches.
        weight: (H, W) of the offsets, 0 outside of objects; an object's sum grows as the root of
            its area, so that small ones count.
    """

    heat: Tensor
    is_centre: Tensor
    valid: Tensor
    offsets: Tensor
    weight: Tensor


def centre_targets(
    label: Tensor, task: InstancesTask, size: tuple[int, int], least_pixels: int = 1
) -> CentreTargets:
    """Make them of a label.

    Args:
        label: (H, W) as `pack_instances` gives it.
        task: which classes count.
        size: (h, w) of the maps.
        least_pixels: of an object in the label; nothing is asked of smaller ones.
    """
    height, width = size
    masks, classes = objects_of(label, task, least_pixels, stuff=False)
    device, things = label.device, torch.tensor(task.things, device=label.device)
    ids, _ = unpack_instances(label)
    small = ((ids > 0) & ~masks.any(dim=0)).float()
    known = adaptive_avg_pool2d(known_pixels(label).float()[None], size)[0]
    valid = (adaptive_avg_pool2d(small[None], size)[0] == 0) & (known > 0)
    heat = torch.zeros(len(things), height, width, device=device)
    is_centre = torch.zeros_like(heat, dtype=torch.bool)
    if not len(masks):
        nothing = torch.zeros(3, height, width, device=device)
        return CentreTargets(heat, is_centre, valid, nothing[:2], nothing[2])
    shares = adaptive_avg_pool2d(masks.float(), size) / known.clamp(min=1e-6)
    area = shares.sum(dim=(1, 2))
    rows = torch.arange(height, device=device).float()
    columns = torch.arange(width, device=device).float()
    y = ((shares.sum(dim=2) @ rows) / area).round()
    x = ((shares.sum(dim=1) @ columns) / area).round()
    spread = (_SPREAD * area.sqrt()).clamp(min=_LEAST_SPREAD)
    far = (rows - y[:, None]).square()[:, :, None] + (columns - x[:, None]).square()[:, None]
    bumps = (-far / (2 * spread.square())[:, None, None]).exp()
    channel = (classes[:, None] == things).long().argmax(dim=1)
    for one, bump in zip(channel.tolist(), bumps, strict=True):
        heat[one] = torch.maximum(heat[one], bump)
    is_centre[channel, y.long(), x.long()] = True
    down = (y[:, None] - rows)[:, :, None] * shares
    right = (x[:, None] - columns)[:, None] * shares
    covered = shares.sum(dim=0).clamp(min=1e-6)
    offsets = torch.stack([down.sum(dim=0), right.sum(dim=0)]) / covered / OFFSET_SCALE
    weight = (shares / area.clamp(min=1).sqrt()[:, None, None]).sum(dim=0)
    return CentreTargets(heat, is_centre, valid, offsets, weight)


def centres_loss(
    maps: PixelMaps, label: Tensor, task: InstancesTask, least_pixels: int = 1
) -> Loss:
    """The sum of the losses of classes, centres and offsets.

    Args:
        maps: of B pictures.
        label: (B, H, W) as `pack_instances` gives it.
        task: which classes count.
        least_pixels: of an object in the label; smaller ones are not asked for.
    """
    size = maps.centres.shape[-2], maps.centres.shape[-1]
    made = [centre_targets(one, task, size, least_pixels) for one in label]
    parts = (torch.stack(part) for part in zip(*made, strict=True))
    heat, is_centre, valid, offsets, weight = parts
    _, classes = unpack_instances(label)
    segmentation = segmentation_loss(maps.classes, classes)
    things = len(task.things)
    found = maps.centres[:, :things].float()
    p = found.sigmoid()
    at_centre = functional.logsigmoid(found) * (1 - p).square()
    around = functional.logsigmoid(-found) * p.square() * (1 - heat).pow(4)
    focal = torch.where(is_centre, at_centre, around * valid[:, None])
    centre = -focal.sum() / is_centre.sum().clamp(min=1)
    wrong = (maps.centres[:, things:].float() - offsets).abs().sum(dim=1)
    offset = (wrong * weight).sum() / weight.sum().clamp(min=1)
    return Loss(segmentation.value + centre + offset)
