"""Encoder families: a line of configuration each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.encoder import FEATURE_MAPS, VAE, VIT, EncoderConfig
from dino_foresight_ros.model.timm_import import timm

_MIDDLE = (2, 5, 8, 11)
"""The paper's choice for 12 blocks: the last of each quarter."""

FAMILIES: dict[str, dict[str, Any]] = {
    "dinov2-small": {"model": "vit_small_patch14_dinov2.lvd142m", "layers": _MIDDLE},
    "dinov2-base": {"model": "vit_base_patch14_dinov2.lvd142m", "layers": _MIDDLE},
    "dinov2-large": {"model": "vit_large_patch14_dinov2.lvd142m", "layers": (5, 11, 17, 23)},
    "dinov2-giant": {"model": "vit_giant_patch14_dinov2.lvd142m", "layers": (9, 19, 29, 39)},
    "dinov2-small-reg": {"model": "vit_small_patch14_reg4_dinov2.lvd142m", "layers": _MIDDLE},
    "dinov2-base-reg": {"model": "vit_base_patch14_reg4_dinov2.lvd142m", "layers": _MIDDLE},
    "dinov2-large-reg": {
        "model": "vit_large_patch14_reg4_dinov2.lvd142m",
        "layers": (5, 11, 17, 23),
    },
    "dinov2-giant-reg": {
        "model": "vit_giant_patch14_reg4_dinov2.lvd142m",
        "layers": (9, 19, 29, 39),
    },
    "eva02-base": {"model": "eva02_base_patch14_448.mim_in22k_ft_in1k", "layers": _MIDDLE},
    # SAM's final layer is a neck to 256 channels, so its blocks' outputs are taken as they are.
    "sam-base": {
        "model": "samvit_base_patch16.sa1b",
        "layers": _MIDDLE,
        "norm": False,
        "tokens": "NCHW",
    },
    "dinov3-small": {"model": "vit_small_patch16_dinov3.lvd1689m", "layers": _MIDDLE},
    "dinov3-base": {"model": "vit_base_patch16_dinov3.lvd1689m", "layers": _MIDDLE},
    "dinov3-large": {"model": "vit_large_patch16_dinov3.lvd1689m", "layers": (5, 11, 17, 23)},
    # No ViTs: maps of strides 8, 16 and 32, on a grid of 16 pixels.
    "resnet50": {"model": "resnet50.a1_in1k", "layers": (2, 3, 4)},
    "convnext-base": {"model": "convnext_base.fb_in22k_ft_in1k", "layers": (1, 2, 3)},
    # The paper's comparison with a generative model; needs the extra `diffusers`.
    "sd-vae": {
        "model": "stabilityai/sd-vae-ft-mse",
        "kind": VAE,
        "layers": (0,),
        "patch_size": 8,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    },
}
FEATURE_MAPS_PATCH = 16
"""Pixels per patch of feature maps where nothing else is said."""


def encoder_config(family: str, image_size: tuple[int, int], **overrides: Any) -> EncoderConfig:
    """Configuration of a family, or of any timm model by its name (then `layers` must be given).

    Patch size, mean and std come from timm's record of the weights. A model whose name has a patch
    size in it is a ViT, any other one gives feature maps.

    Args:
        family: a key of FAMILIES or a timm model name.
        image_size: (H, W) pixels, multiples of the patch size.
        overrides: fields of EncoderConfig.

    Raises:
        BundleError: neither a family nor a timm model.
    """
    fields: dict[str, Any] = {**FAMILIES.get(family, {"model": family}), **overrides}
    if fields.get("kind") == VAE:
        return EncoderConfig(image_size=image_size, **fields)
    if not timm.is_model(fields["model"]):
        raise BundleError(
            f"encoder '{family}' is neither a family ({', '.join(FAMILIES)}) nor a timm model"
        )
    record = timm.get_pretrained_cfg(fields["model"])
    if record is not None:
        fields = {"mean": record.mean, "std": record.std, **fields}
    patch_size = _patch_size(fields["model"])
    fields.setdefault("kind", FEATURE_MAPS if patch_size is None else VIT)
    fields.setdefault("patch_size", patch_size or FEATURE_MAPS_PATCH)
    return EncoderConfig(image_size=image_size, **fields)


def tiny_encoder_config(image_size: tuple[int, int] = (126, 224)) -> EncoderConfig:
    """A ViT of the DINOv2 shape (14-pixel patches, 4 registers) at width 192, 12 blocks."""
    return EncoderConfig(
        model="vit_small_patch14_reg4_dinov2",
        image_size=image_size,
        layers=(2, 5, 8, 11),
        native_image_size=image_size,
        overrides={"embed_dim": 192, "depth": 12, "num_heads": 3},
    )


def _patch_size(model: str) -> int | None:
    for part in model.split(".")[0].split("_"):
        if part.startswith("patch") and part[5:].isdigit():
            return int(part[5:])
    return None


_STANDARD_SIZES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}


def dinov2_config(
    tensors: Mapping[str, Tensor],
    image_size: tuple[int, ...],
    layers: tuple[int, ...],
    heads: int | None = None,
) -> EncoderConfig:
    """Read a DINOv2 model's size off its tensors, in the original naming.

    Raises:
        BundleError: a tensor that tells the size is missing, or the width does not split into
            heads of 64 and `heads` is not given.
    """
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        positions = tensors["pos_embed"].shape[1] - 1
    except KeyError as error:
        raise BundleError(f"encoder: tensor {error} is missing") from error
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    side = round(positions**0.5)
    if side * side != positions:
        raise BundleError(f"encoder: pos_embed has {positions} patch positions, not a square")
    if heads is None and width % 64:
        raise BundleError(
            f"encoder width {width} does not split into heads of 64; give --encoder-heads"
        )
    heads = heads or width // 64
    registers = tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0
    size = _STANDARD_SIZES.get(width, "small")
    overrides: dict[str, Any] = {"embed_dim": width, "depth": depth, "num_heads": heads}
    if registers not in (0, 4):
        overrides["reg_tokens"] = registers
    native = side * patch
    return EncoderConfig(
        model=f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2",
        image_size=(image_size[0], image_size[1]),
        layers=layers,
        patch_size=patch,
        native_image_size=(native, native),
        overrides=overrides,
    )
