"""The other head for instances: Panoptic-DeepLab (Cheng et al. 2020) on the stages of a DPT head.

Every pixel says its class and where the centre of its object is; a map per class of objects has
peaks at centres (scored as in CenterNet, Zhou et al. 2019). Peaks become queries, whose masks are
the pixels that point to them, so that what follows needs not know which head it was. Learned is
pixel by pixel, without assignment: it takes a small part of the steps that Mask2Former takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.dpt import DPTHead, Fusion, HeadConfig, output_layers
from dino_foresight_ros.model.instance_head import PixelMaps, QueryOutput
from dino_foresight_ros.model.pyramid import Pyramid

OFFSET_SCALE = 4.0
"""Output pixels of an offset of 1: the side of a patch."""
_PEAK = 3
"""Side of the window in whose middle a centre is the highest."""
_NEAR = 1.0
"""Deviation in pixels of where offsets lead to from the centre that they mean."""
_FAR = 6.0
"""Pixels from the nearest centre at which a pixel belongs to none."""
_SHARE = 0.35
"""Probability of belonging to an object from which on a pixel does. From a half on, masks of thin
objects, whose class is unsure at their edges, come out too small (docs/instances.md)."""
_RARE = 0.01
"""Probability of a centre before training, as focal losses start (Lin et al. 2017)."""


@dataclass(frozen=True)
class CentreHeadConfig:
    """Shape of a head that finds objects by their centres.

    Attributes:
        outputs: K classes.
        things: ids of those whose objects are told apart.
        kind: "centres".
        channels: four DPT pyramid widths, finest first.
        width: channels of the DPT fusion path.
        batch_norm: batch norm in the DPT residual units.
        queries: most objects of a picture.
    """

    outputs: int
    things: tuple[int, ...]
    kind: str = "centres"
    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    width: int = 256
    batch_norm: bool = True
    queries: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "things", tuple(self.things))
        if self.kind != CentreHeadConfig.kind:
            raise BundleError(
                f"instance head kind '{self.kind}' is unknown; valid: {CentreHeadConfig.kind}"
            )
        if not self.things or any(not 0 <= i < self.outputs for i in self.things):
            raise BundleError(
                f"head things is {list(self.things)}; give ids of 0 to {self.outputs - 1}"
            )
        if not 1 <= self.queries <= 65535:
            raise BundleError(
                f"head queries is {self.queries}; it must be 1 to 65535, the ids of a mono16 image"
            )
        HeadConfig(self.outputs, "dpt", self.channels, self.width, self.batch_norm)  # checks

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CentreHeadConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "head")


class CentreHead(Pyramid):
    """The stages of a DPT head but the last, and two outputs: classes, and centres with offsets.

    It ends at four times the patch grid's size, where a DPT head has half of its work before it.
    """

    def __init__(self, config: CentreHeadConfig, embed_dim: int, layers: int) -> None:
        super().__init__(config.channels, embed_dim, layers)
        self.config = config
        width = config.width
        self.adapts = nn.ModuleList(
            nn.Conv2d(c, width, 3, padding=1, bias=False) for c in config.channels
        )
        self.fusions = nn.ModuleList(Fusion(width, config.batch_norm) for _ in range(3))
        self.classify = output_layers(width, config.outputs)
        self.centres = output_layers(width, len(config.things) + 2)
        bias = self.centres[-1].bias
        assert isinstance(bias, Tensor)
        nn.init.zeros_(bias)
        nn.init.constant_(bias[: len(config.things)], math.log(_RARE / (1 - _RARE)))

    @torch.no_grad()
    def start_from(self, head: DPTHead) -> None:
        """Take the stages and the classes of a head for segmentation.

        Raises:
            BundleError: it has another shape.
        """
        try:
            for name in ("projects", "resizes", "adapts"):
                getattr(self, name).load_state_dict(getattr(head, name).state_dict())
            self.fusions.load_state_dict(head.fusions[1:].state_dict())
            self.classify.load_state_dict(head.output.state_dict())
        except RuntimeError as error:
            raise BundleError(
                "the head to start from has another shape; it takes the same channels, width, "
                f"layers and classes ({str(error).splitlines()[-1].strip()})"
            ) from error

    def forward(self, features: Tensor) -> QueryOutput:
        """(B, h, w, L*D) reconstructed features -> masks of 4h x 4w."""
        levels = [
            adapt(level) for adapt, level in zip(self.adapts, self.levels(features), strict=True)
        ]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        path = self.fusions[2](levels[3], None, sizes[2])
        for i in (1, 0):
            path = self.fusions[i](path, levels[i + 1], sizes[i])
        path = path + levels[0]
        maps = PixelMaps(self.classify(path), self.centres(path))
        with torch.no_grad():
            classes, masks = self.group(maps)
        return QueryOutput(classes, masks, pixels=maps)

    def group(self, maps: PixelMaps) -> tuple[Tensor, Tensor]:
        """Turn peaks into queries: (B, Q, K + 1) and (B, Q, H, W), as logits."""
        config, things = self.config, len(self.config.things)
        batch, _, height, width = maps.centres.shape
        logits = maps.centres[:, :things].float()
        best = logits.amax(dim=1, keepdim=True)
        # By logits, which are compared exactly; probabilities near 1 are rounded to the same.
        is_peak = best == functional.max_pool2d(best, _PEAK, stride=1, padding=_PEAK // 2)
        count = min(config.queries, height * width)
        heights, places = best.masked_fill(~is_peak, -math.inf).flatten(1).topk(count)  # (B, Q)
        at_peak = logits.flatten(2).gather(2, places[:, None].expand(-1, things, -1)).sigmoid()
        # Where there are fewer peaks, what is left over is no object.
        highest = at_peak.amax(dim=1, keepdim=True) * heights.isfinite()[:, None]
        shares = highest * at_peak / at_peak.sum(dim=1, keepdim=True)
        classes = maps.classes.new_zeros(batch, count, config.outputs + 1, dtype=torch.float32)
        index = torch.tensor(config.things, device=places.device)
        classes = classes.index_copy(2, index, shares.transpose(1, 2))
        classes[..., -1] = 1 - highest[:, 0]

        rows = torch.arange(height, device=places.device).float()
        columns = torch.arange(width, device=places.device).float()
        to = OFFSET_SCALE * maps.centres[:, things:].float()
        y = (to[:, 0] + rows[:, None]).flatten(1)
        x = (to[:, 1] + columns).flatten(1)
        of_y = torch.div(places, width, rounding_mode="floor").float()[..., None]
        of_x = (places % width).float()[..., None]
        # (B, Q, H*W), in place from here: half of the time is memory's.
        away = (y[:, None] - of_y).square_().add_((x[:, None] - of_x).square_())
        # Places without a peak to speak of own nothing. Farther, exp() would underflow, which takes
        # a CPU sixty times as long.
        away.add_(1e4 * (highest.transpose(1, 2) < _RARE)).clamp_(max=4 * _FAR**2)
        near = away.mul_(-1 / (2 * _NEAR**2)).exp_()
        all_near = near.sum(dim=1) + math.exp(-(_FAR**2) / (2 * _NEAR**2))  # the last: no centre's
        inside = maps.classes.float().softmax(dim=1)[:, list(config.things)].sum(dim=1)
        masks = near.mul_((inside.flatten(1) / all_near)[:, None]).clamp_(1e-4, 1 - 1e-4)
        masks = masks.logit_().sub_(math.log(_SHARE / (1 - _SHARE)))
        return classes.clamp(min=1e-6).log(), masks.unflatten(2, (height, width))
