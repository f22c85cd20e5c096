"""The frozen foundation model, most often a timm ViT: several layers, one vector per patch.

The paper takes DINOv2 ViT-B/14 with registers, layers 2, 5, 8, 11 counted from 0 (sec. 3.1), and
compares with EVA-02, SAM and Stable Diffusion's VAE (table 5). Every family goes through the same
contract; what differs stands in `EncoderConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.backbones import FeatureMaps, LatentMap
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.timm_import import timm

TOKEN_FORMATS = ("NLC", "NCHW")
VIT, FEATURE_MAPS, VAE = "vit", "feature_maps", "vae"
ENCODER_KINDS = (VIT, FEATURE_MAPS, VAE)


@dataclass(frozen=True)
class EncoderConfig:
    """Which timm model, and how it is used.

    Attributes:
        model: timm model name, such as "vit_base_patch14_reg4_dinov2.lvd142m", or of a VAE its name
            on the Hugging Face hub.
        image_size: (H, W) pixels that images are resized to; multiples of `patch_size`.
        layers: block indices, counted from 0, whose outputs are concatenated; of feature maps the
            stages, of a VAE 0.
        patch_size: pixels per patch side; feature maps are brought to a grid of such patches.
        mean, std: per-channel RGB normalisation in [0, 1] units.
        norm: apply the model's final layer norm to each layer's output (DINOv2, DINOv3, EVA-02);
            False where the model has none that fits (SAM's neck).
        tokens: what the model's forward_intermediates gives: "NLC" or, for SAM, "NCHW".
        native_image_size: (H, W) that the stored position embeddings are for; None: timm's own.
        overrides: further timm arguments (embed_dim, depth, num_heads, ...) for sizes of one's own.
        kind: "vit"; "feature_maps", a convolutional backbone of timm by its features_only; "vae",
            an AutoencoderKL of diffusers.
    """

    model: str
    image_size: tuple[int, int]
    layers: tuple[int, ...]
    patch_size: int = 14
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    norm: bool = True
    tokens: str = "NLC"
    native_image_size: tuple[int, int] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    kind: str = VIT

    def __post_init__(self) -> None:
        for name in ("image_size", "layers", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.native_image_size is not None:
            object.__setattr__(self, "native_image_size", tuple(self.native_image_size))
        height, width = self.image_size
        if height % self.patch_size or width % self.patch_size or min(height, width) < 1:
            raise BundleError(
                f"encoder image size {height}x{width} is not a multiple of the patch size "
                f"{self.patch_size}"
            )
        rising = list(self.layers) == sorted(set(self.layers))
        if not self.layers or not rising or self.layers[0] < 0:
            raise BundleError(
                f"encoder layers {list(self.layers)} must rise and not repeat, counted from 0"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise BundleError(
                f"encoder mean {list(self.mean)} and std {list(self.std)} must be three numbers "
                "each, std positive"
            )
        if self.kind not in ENCODER_KINDS:
            raise BundleError(
                f"encoder kind '{self.kind}' is unknown; valid: {', '.join(ENCODER_KINDS)}"
            )
        if self.tokens not in TOKEN_FORMATS:
            raise BundleError(
                f"encoder tokens '{self.tokens}' is unknown; valid: {', '.join(TOKEN_FORMATS)}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "encoder")


def build_backbone(config: EncoderConfig, pretrained: bool = False) -> Any:
    """Create the network that an encoder runs, of any kind.

    Raises:
        BundleError: as `build_vit`, `FeatureMaps` and `LatentMap`.
    """
    if config.kind == FEATURE_MAPS:
        return FeatureMaps(config, pretrained)
    if config.kind == VAE:
        return LatentMap(config, pretrained)
    return build_vit(config, pretrained)


def build_vit(config: EncoderConfig, pretrained: bool = False) -> Any:
    """Create the timm model at its native image size.

    Raises:
        BundleError: timm has no such model, or it refuses the arguments.
    """
    arguments: dict[str, Any] = {"num_classes": 0, **config.overrides}
    if config.native_image_size is not None:
        arguments["img_size"] = config.native_image_size
    name = config.model.removeprefix("timm/")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*patch{config.patch_size}*")[:8]
        raise BundleError(f"timm has no model '{config.model}'; similar ones: {', '.join(near)}")
    try:
        return timm.create_model(name, pretrained=pretrained, dynamic_img_size=True, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        if "dynamic_img_size" not in str(error):
            reason = " ".join(str(error).split())
            raise BundleError(f"timm refuses to build '{config.model}': {reason}") from error
    return timm.create_model(name, pretrained=pretrained, **arguments)


class Encoder(nn.Module):
    """Images in, concatenated layer features per patch out; frozen, without gradients."""

    vit: Any

    def __init__(self, config: EncoderConfig, vit: Any = None) -> None:
        super().__init__()
        self.config = config
        self.vit = build_backbone(config) if vit is None else vit
        self._native: dict[str, Tensor] = {}
        self._input_size: tuple[int, int] | None = None
        if config.kind == VIT:
            self._check_vit()
        self.requires_grad_(False)
        self.eval()

    def _check_vit(self) -> None:
        config, depth = self.config, len(self.vit.blocks)
        if config.layers[-1] >= depth:
            raise BundleError(
                f"encoder layer {config.layers[-1]} does not exist: {config.model} has {depth} "
                f"blocks, counted from 0 to {depth - 1}"
            )
        patch = _patch_size(self.vit)
        if patch != config.patch_size:
            raise BundleError(
                f"encoder patch size {config.patch_size} does not fit {config.model} ({patch})"
            )

    @property
    def embed_dim(self) -> int:
        """D, values per layer and patch."""
        return int(self.vit.embed_dim) if self.config.kind == VIT else sum(self.vit.channels)

    @property
    def layers(self) -> int:
        """L, layers that heads can tell apart; maps differ in width and count as one layer."""
        return len(self.config.layers) if self.config.kind == VIT else 1

    @property
    def feature_size(self) -> int:
        """L*D, values per patch over all chosen layers."""
        return self.embed_dim * self.layers

    def train(self, mode: bool = True) -> Encoder:
        """Stay in evaluation mode: the encoder is frozen."""
        super().train(False)
        return self

    def native_state_dict(self) -> dict[str, Tensor]:
        """The timm model's tensors with position embeddings at their native size."""
        return {**self.vit.state_dict(), **self._native}

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode.

        Args:
            frames: (B, 3, H, W) normalised float; H and W multiples of the patch size.

        Returns:
            (B, h, w, L*D), layers concatenated in rising order.

        Raises:
            InputError: a size that is not a multiple of the patch size.
        """
        height, width = frames.shape[-2:]
        patch = self.config.patch_size
        if height % patch or width % patch:
            raise InputError(
                f"image size {height}x{width} is not a multiple of the patch size {patch}; "
                "use encoder.preprocess(), which resizes"
            )
        if self.config.kind != VIT:
            grid = height // patch, width // patch
            return torch.cat([_on_grid(one, grid) for one in self.vit(frames)], dim=-1)
        self._use_input_size((height, width))
        layers = self.vit.forward_intermediates(
            frames,
            indices=list(self.config.layers),
            norm=self.config.norm,
            output_fmt=self.config.tokens,
            stop_early=True,
            intermediates_only=True,
        )
        if self.config.tokens == "NCHW":
            return torch.cat([rearrange(x, "b d h w -> b h w d") for x in layers], dim=-1)
        return torch.cat(list(layers), dim=-1).unflatten(1, (height // patch, width // patch))

    def _use_input_size(self, size: tuple[int, int]) -> None:
        """Resample position embeddings once per image size, not once per frame.

        timm's dynamic sizes resample at every call, 18 ms for ViT-B at 224x448 on two cores. The
        native embedding is kept, so that going from size to size does not blur it.
        """
        if size == self._input_size or not hasattr(self.vit, "set_input_size"):
            return
        for name in ("pos_embed",):
            parameter = getattr(self.vit, name, None)
            if parameter is None:
                continue
            native = self._native.setdefault(name, parameter.detach().clone())
            # The model may have been moved or converted since.
            fresh = native.to(parameter.device, parameter.dtype, copy=True)
            setattr(self.vit, name, nn.Parameter(fresh, requires_grad=False))
        if not hasattr(self, "_native_size"):
            self._native_size = tuple(self.vit.patch_embed.img_size)
        self.vit.patch_embed.set_input_size(img_size=self._native_size)
        self.vit.set_input_size(img_size=size)
        self.vit.requires_grad_(False)
        self._input_size = size

    def preprocess(self, images: Tensor | np.ndarray) -> Tensor:
        """Resize to the model's image size and normalise, on the encoder's device.

        Bilinear with antialiasing on 8-bit values, as the reference's PIL pipeline does; the
        aspect ratio is not kept.

        Args:
            images: (B, H, W, 3) uint8 RGB, any size.

        Returns:
            (B, 3, H', W') normalised, in the encoder's number format.

        Raises:
            InputError: another shape or dtype, or an empty image.
        """
        tensor = _as_tensor(images) if isinstance(images, np.ndarray) else images
        if tensor.ndim != 4 or tensor.shape[-1] != 3 or tensor.dtype != torch.uint8:
            raise InputError(
                f"images have shape {tuple(tensor.shape)} and type {tensor.dtype}, expected "
                "(B, H, W, 3) uint8 RGB"
            )
        if 0 in tensor.shape:
            raise InputError(f"images are empty: shape {tuple(tensor.shape)}")
        parameter = next(self.vit.parameters())
        pixels = tensor.to(parameter.device, non_blocking=True).permute(0, 3, 1, 2)
        pixels = _resize(pixels, self.config.image_size).to(parameter.dtype)
        scale, shift = self._normalisation(pixels)
        return pixels * scale + shift

    def _normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(x / 255 - mean) / std as one multiply and add."""
        std = torch.tensor(self.config.std, dtype=torch.float64)
        mean = torch.tensor(self.config.mean, dtype=torch.float64)
        scale = (1 / (255 * std))[:, None, None].to(like.device, like.dtype)
        return scale, (-mean / std)[:, None, None].to(like.device, like.dtype)


def _on_grid(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, *grid, C): averaged where it is finer, bilinear where it is coarser."""
    sides = tuple(feature_map.shape[-2:])
    if sides[0] >= grid[0] and sides[1] >= grid[1]:
        feature_map = functional.adaptive_avg_pool2d(feature_map, grid)
    else:
        feature_map = functional.interpolate(
            feature_map, size=grid, mode="bilinear", align_corners=False
        )
    return feature_map.permute(0, 2, 3, 1)


class AbsentEncoder(Encoder):
    """Stands where a bundle has no encoder, and forecasts features that are given."""

    def __init__(self, features: int) -> None:
        """Prepare.

        Args:
            features: L*D, values per patch that the bundle takes.
        """
        nn.Module.__init__(self)
        self._features = features

    @property
    def config(self) -> EncoderConfig:  # type: ignore[override]
        """There is none.

        Raises:
            BundleError: always.
        """
        raise BundleError(_ABSENT)

    @property
    def feature_size(self) -> int:
        """L*D, values per patch that the bundle takes."""
        return self._features

    def forward(self, frames: Tensor) -> Tensor:
        """Raises BundleError."""
        raise BundleError(_ABSENT)

    def preprocess(self, images: Tensor | np.ndarray) -> Tensor:
        """Raises BundleError."""
        raise BundleError(_ABSENT)


_ABSENT = (
    "this bundle has no encoder, so it takes no pictures; give features to its forecaster "
    "(remember and forecast), or convert it again with --encoder"
)


def _as_tensor(images: np.ndarray) -> Tensor:
    """Share the array's memory; a read-only one (a ROS message's buffer) is copied instead.

    So is one with negative strides (a flipped view), which torch does not take.
    """
    shareable = images.flags.writeable and min(images.strides, default=0) >= 0
    return torch.from_numpy(images if shareable else images.copy())


def _patch_size(vit: Any) -> int:
    size = vit.patch_embed.patch_size
    return int(size[0] if isinstance(size, tuple | list) else size)


def _resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, *size), values of 0 to 255, rounded as 8-bit images are."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if pixels.device.type == "cpu":
        return functional.interpolate(
            pixels, size=size, mode="bilinear", antialias=True, align_corners=False
        )
    resized = functional.interpolate(
        pixels.float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.round_()
