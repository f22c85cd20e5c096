"""The DPT head (Ranftl et al. 2021): project, resize, fuse, and give a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.pyramid import Pyramid

HEAD_KINDS = ("dpt", "linear")
UPSCALE = 8
"""Head output pixels per patch side."""
STRIDES = (1, UPSCALE // 2, UPSCALE)
"""A head may give every first, fourth or eighth pixel of each row and column alone."""


@dataclass(frozen=True)
class HeadConfig:
    """Shape of a head that gives maps.

    Attributes:
        outputs: K channels out (classes, depth bins, or 3 for normals).
        kind: "dpt" or "linear".
        channels: four DPT pyramid widths, finest first.
        width: channels of the DPT fusion path.
        batch_norm: batch norm in the DPT residual units.
    """

    outputs: int
    kind: str = "dpt"
    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    width: int = 256
    batch_norm: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.kind not in HEAD_KINDS:
            raise BundleError(f"head kind '{self.kind}' is unknown; valid: {', '.join(HEAD_KINDS)}")
        if len(self.channels) != 4:
            raise BundleError(f"head channels {list(self.channels)} must be four widths")
        if self.outputs < 1:
            raise BundleError(f"head outputs is {self.outputs}; it must be >= 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "head")


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with a skip."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1: nn.Module = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
        self.bn2: nn.Module = nn.BatchNorm2d(width) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) -> the same shape."""
        out = self.bn1(self.conv1(functional.relu(x)))
        out = self.bn2(self.conv2(functional.relu_(out)))  # in place: half of the time is memory's
        out += x
        return out


class Fusion(nn.Module):
    """Add a finer level, refine, and go up to the next level's size."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        # The coarsest block has no finer input; the reference carries the unused unit all the
        # same, and so do converted bundles.
        self.unit1 = ResidualUnit(width, batch_norm)
        self.unit2 = ResidualUnit(width, batch_norm)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, W, h, w) and its skip of the same shape -> (B, W, *size)."""
        return functional.interpolate(
            self.refined(x, skip), size=size, mode="bilinear", align_corners=True
        )

    def refined(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(B, W, h, w) and its skip of the same shape -> (B, W, h, w)."""
        if skip is not None:
            added = self.unit1(skip)
            added += x
            x = added
        # A 1x1 convolution commutes with bilinear interpolation (its weights sum to one), so it
        # runs before, on a quarter of the pixels.
        out: Tensor = self.out(self.unit2(x))
        return out


class DPTHead(Pyramid):
    """Dense prediction transformer decoder (Ranftl et al. 2021) in the reference's layout."""

    def __init__(self, config: HeadConfig, embed_dim: int, layers: int) -> None:
        super().__init__(config.channels, embed_dim, layers)
        self.config = config
        self.adapts = nn.ModuleList(
            nn.Conv2d(c, config.width, 3, padding=1, bias=False) for c in config.channels
        )
        self.fusions = nn.ModuleList(Fusion(config.width, config.batch_norm) for _ in range(4))
        self.output = output_layers(config.width, config.outputs)

    def forward(self, features: Tensor, stride: int = 1) -> Tensor:
        """Decode.

        Args:
            features: (B, h, w, L*D) reconstructed features, layers concatenated.
            stride: one of `STRIDES`; of pixels that are left out, the last layers are not computed.

        Returns:
            (B, K, 8h, 8w), or those of its pixels that `strided` picks.
        """
        levels = [
            adapt(level) for adapt, level in zip(self.adapts, self.levels(features), strict=True)
        ]
        height, width = levels[0].shape[-2:]
        sizes = [(2 * height, 2 * width)] + [tuple(level.shape[-2:]) for level in levels[:3]]
        path = self.fusions[3](levels[3], None, sizes[3])
        for i in (2, 1):
            path = self.fusions[i](path, levels[i], sizes[i])
        if stride == 1:
            out: Tensor = self.output(self.fusions[0](path, levels[0], sizes[0]))
            return out
        first, *rest = self.output
        finest = self.fusions[0]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(finest, Fusion)
        # Of the whole size, only the windows around the pixels that are picked, side by side.
        path = _windows(finest.refined(path, levels[0]), sizes[0], stride)
        out = functional.conv2d(path, first.weight, first.bias, 3)
        for layer in rest:
            out = layer(out)
        return out


def _windows(x: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Interpolate x (B, C, h, w) to `size`, but only 3 x 3 windows around every `stride`-th pixel.

    As the bilinear interpolation with aligned corners, by two matrix products: on a CPU that takes
    a third of the time of the whole size.

    Returns:
        (B, C, 3 H, 3 W) for H x W windows.
    """
    of_rows, of_columns = (_between(x.shape[2 + axis], size[axis], stride, x) for axis in (0, 1))
    batch, channels, height, width = x.shape
    lines = x.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
    wide = (of_columns @ lines).reshape(batch, height, len(of_columns) * channels)
    out = (of_rows @ wide).reshape(batch, len(of_rows), len(of_columns), channels)
    return out.permute(0, 3, 1, 2)


def _between(given: int, wanted: int, stride: int, like: Tensor) -> Tensor:
    """(3 N, given): what each pixel of the windows along a side of `wanted` takes of `given`."""
    middles = torch.arange(wanted)[strided(stride)[-1]]
    pixels = (middles[:, None] + torch.arange(-1, 2)).flatten()
    place = pixels * (given - 1) / (wanted - 1)
    every = torch.arange(given)
    return (1 - (place[:, None] - every).abs()).clamp(min=0).to(like)


def output_layers(width: int, outputs: int) -> nn.Sequential:
    """What turns fused maps into an output."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(0.1),
        nn.Conv2d(width, outputs, 1),
    )


def strided(stride: int) -> tuple[Any, ...]:
    """Index of the pixels (..., H, W) that a head gives with a stride: those in the middle."""
    pixels = slice(stride // 2, None, stride)
    return (..., pixels, pixels)
