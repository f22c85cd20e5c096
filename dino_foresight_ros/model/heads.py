"""Decoders from reconstructed multi-layer features to pixels.

The DPT head (`dpt.py`) and the linear head, which is DINO-world's evaluation protocol, give maps;
the heads for instances (`instance_head.py`, `centre_head.py`) give queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.centre_head import CentreHead, CentreHeadConfig
from dino_foresight_ros.model.dpt import UPSCALE, DPTHead, HeadConfig, ResidualUnit, strided
from dino_foresight_ros.model.instance_head import InstanceHead, InstanceHeadConfig
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.model.pyramid import Pyramid

INPUT_KINDS = ("pca_inverse", "forecaster_layers")


@dataclass(frozen=True)
class HeadInput:
    """What a head reads.

    Attributes:
        kind: "pca_inverse": features reconstructed from PCA channels, as the paper's heads;
            "forecaster_layers": the tokens of the predicted frame inside the forecaster (the
            paper's appendix).
        layers: blocks of the forecaster, counted from 0, after which they are taken.
    """

    kind: str = "pca_inverse"
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.kind not in INPUT_KINDS:
            raise BundleError(
                f"head input '{self.kind}' is unknown; valid: {', '.join(INPUT_KINDS)}"
            )
        if (self.kind == "forecaster_layers") != bool(self.layers):
            raise BundleError(
                f"head input {self.kind} with layers {list(self.layers)}: forecaster_layers needs "
                "layers, pca_inverse has none"
            )
        if list(self.layers) != sorted(set(self.layers)) or min(self.layers, default=0) < 0:
            raise BundleError(
                f"head input layers {list(self.layers)} must rise and not repeat, counted from 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {"kind": self.kind, **({"layers": list(self.layers)} if self.layers else {})}


class LinearHead(nn.Module):
    """One 1x1 convolution per patch, upsampled to the size that DPT gives."""

    def __init__(self, config: HeadConfig, embed_dim: int, layers: int) -> None:
        super().__init__()
        self.config = config
        self.classify = nn.Conv2d(embed_dim * layers, config.outputs, 1)

    def forward(self, features: Tensor, stride: int = 1) -> Tensor:
        """(B, h, w, L*D) -> (B, K, 8h, 8w), or those of its pixels that `strided` picks."""
        logits = self.classify(rearrange(features, "b h w c -> b c h w"))
        out = functional.interpolate(
            logits, scale_factor=float(UPSCALE), mode="bilinear", align_corners=False
        )
        return out[strided(stride)]


Head = DPTHead | LinearHead | InstanceHead | CentreHead
AnyHeadConfig = HeadConfig | InstanceHeadConfig | CentreHeadConfig


def head_config(values: Mapping[str, Any]) -> AnyHeadConfig:
    """The configuration of a head of any kind, of YAML values.

    Raises:
        BundleError: an unknown or missing key, or a value out of range.
    """
    if values.get("kind") == InstanceHeadConfig.kind:
        return InstanceHeadConfig.from_dict(values)
    if values.get("kind") == CentreHeadConfig.kind:
        return CentreHeadConfig.from_dict(values)
    return HeadConfig.from_dict(values)


def build_head(config: AnyHeadConfig, embed_dim: int, layers: int) -> Head:
    """The head of a configuration, with fresh weights.

    Raises:
        BundleError: it does not fit the features, or the package that it needs is missing.
    """
    if isinstance(config, InstanceHeadConfig):
        return InstanceHead(config, embed_dim, layers)
    if isinstance(config, CentreHeadConfig):
        return CentreHead(config, embed_dim, layers)
    kind: type[DPTHead | LinearHead] = DPTHead if config.kind == "dpt" else LinearHead
    return kind(config, embed_dim, layers)


def _fused(convolution: Any, norm: Any) -> tuple[Any, nn.Identity]:
    """The pair as one convolution and nothing; already folded pairs stay as they are."""
    if isinstance(norm, nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, norm)
    return convolution, nn.Identity()


@torch.no_grad()
def fuse_batch_norm(head: Head) -> Head:
    """Fold every batch norm into the convolution before it, for inference; in place.

    The result equals the head in evaluation mode up to rounding. The head for instances has none.
    """
    head.eval()
    for module in list(head.modules()):
        if isinstance(module, ResidualUnit):
            module.conv1, module.bn1 = _fused(module.conv1, module.bn1)
            module.conv2, module.bn2 = _fused(module.conv2, module.bn2)
    if isinstance(head, DPTHead):
        head.output[0], head.output[1] = _fused(head.output[0], head.output[1])
    if isinstance(head, CentreHead):
        for last in (head.classify, head.centres):
            last[0], last[1] = _fused(last[0], last[1])
    return head


@torch.no_grad()
def fold_pca(head: Head, pca: PCA) -> None:
    """Let a head read PCA features, not those reconstructed from them; in place.

    Both the reconstruction and what DPT and the heads for instances do first are linear, so the
    result equals the head on reconstructed features up to rounding.

    Raises:
        TypeError: such a head does not begin so.
    """
    if not isinstance(head, Pyramid):
        raise TypeError(f"{type(head).__name__} cannot read PCA features")
    basis = pca.components.double() * pca.std.double()  # (C, F)
    shift = pca.centre.double() * pca.std.double() + pca.mean.double()
    width = head.stacked * head.embed_dim
    for level, project in enumerate(cast("list[nn.Conv2d]", list(head.projects))):
        first = 0 if head.layers == 1 else level * width
        read = slice(first, first + width)
        weight = project.weight[:, :, 0, 0].double()  # (K, F of the layers that it reads)
        folded = nn.Conv2d(pca.channels, len(weight), 1).to(project.weight)
        folded.weight.copy_((weight @ basis[:, read].T)[:, :, None, None])
        assert folded.bias is not None
        folded.bias.copy_(weight @ shift[read])
        if project.bias is not None:
            folded.bias += project.bias
        head.projects[level] = folded.requires_grad_(False)
    head.embed_dim, head.layers, head.stacked = pca.channels, 1, 1
