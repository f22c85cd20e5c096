"""Names of the paper authors' tensors, and what they are called here; both ways.

Their files: github.com/Sta8is/DINO-Foresight (Lightning checkpoints). Each function maps one
part's state dict. Every tensor is used, or knowingly ignored, or an error names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dino_foresight_ros.errors import BundleError

_FORECASTER = {
    "embed.weight": "embed.weight",
    "embed.bias": "embed.bias",
    "maskvit.pos_embd.emb.d_0": "position_time",
    "maskvit.pos_embd.emb.d_1": "position_row",
    "maskvit.pos_embd.emb.d_2": "position_column",
    "maskvit.fc_out.weight": "out.weight",
    "maskvit.fc_out.bias": "out.bias",
}
_MASK_TOKEN = "replace_vector"
_SUBLAYERS = {
    "factorised": {0: ("norm_time", "attend_time"), 1: ("norm_space", "attend_space")},
    "full": {0: ("norm_time", "attend_time")},
}
_ATTENTION = {
    "fn.mha.in_proj_weight": "qkv.weight",
    "fn.mha.in_proj_bias": "qkv.bias",
    "fn.mha.out_proj.weight": "out.weight",
    "fn.mha.out_proj.bias": "out.bias",
}
_MLP = {
    "fn.net.0.weight": "expand.weight",
    "fn.net.0.bias": "expand.bias",
    "fn.net.3.weight": "contract.weight",
    "fn.net.3.bias": "contract.bias",
}


def forecaster_names(layers: int, attention: str) -> dict[str, str]:
    """Reference name -> our name, for every forecaster tensor but the mask token."""
    names = dict(_FORECASTER)
    sublayers = _SUBLAYERS[attention]
    for layer in range(layers):
        theirs, ours = f"maskvit.transformer.layers.{layer}", f"blocks.{layer}"
        for index, (norm, attend) in sublayers.items():
            for kind in ("weight", "bias"):
                names[f"{theirs}.{index}.norm.{kind}"] = f"{ours}.{norm}.{kind}"
            names |= {
                f"{theirs}.{index}.{t}": f"{ours}.{attend}.{o}" for t, o in _ATTENTION.items()
            }
        last = len(sublayers)
        for kind in ("weight", "bias"):
            names[f"{theirs}.{last}.norm.{kind}"] = f"{ours}.norm_mlp.{kind}"
        names |= {f"{theirs}.{last}.{t}": f"{ours}.mlp.{o}" for t, o in _MLP.items()}
    return names


def forecaster_from_reference(
    tensors: Mapping[str, Tensor], layers: int, attention: str
) -> dict[str, Tensor]:
    """Rename the forecaster's tensors; an output layer without bias gets one of zeros."""
    names = forecaster_names(layers, attention)
    found = {ours: tensors[theirs] for theirs, ours in names.items() if theirs in tensors}
    if _MASK_TOKEN in tensors:
        found["mask_token"] = tensors[_MASK_TOKEN].flatten()
    if "out.bias" not in found and "out.weight" in found:
        found["out.bias"] = torch.zeros(found["out.weight"].shape[0])
    known = {*names, _MASK_TOKEN}
    _refuse_left_over("forecaster", (n for n in tensors if n not in known))
    return found


def forecaster_to_reference(
    tensors: Mapping[str, Tensor], layers: int, attention: str
) -> dict[str, Tensor]:
    """The inverse of `forecaster_from_reference`."""
    names = forecaster_names(layers, attention)
    renamed = {theirs: tensors[ours] for theirs, ours in names.items()}
    renamed[_MASK_TOKEN] = tensors["mask_token"].view(1, 1, 1, 1, -1)
    return renamed


def count_layers(tensors: Iterable[str]) -> int:
    """Number of transformer layers in a reference state dict."""
    found = (re.match(r"maskvit\.transformer\.layers\.(\d+)\.", name) for name in tensors)
    return max((int(m.group(1)) + 1 for m in found if m), default=0)


_HEAD_RULES = (
    (r"projects\.", "projects."),
    (r"resize_layers\.", "resizes."),
    (r"scratch\.output_conv\.", "output."),
)


def head_name(theirs: str) -> str | None:
    """Our name of a reference DPT tensor (without the `head.` prefix); None where unknown."""
    for pattern, ours in _HEAD_RULES:
        if re.match(pattern, theirs):
            return re.sub(pattern, ours, theirs, count=1)
    match = re.fullmatch(r"scratch\.layer([1-4])_rn\.weight", theirs)
    if match:
        return f"adapts.{int(match.group(1)) - 1}.weight"
    match = re.fullmatch(r"scratch\.refinenet([1-4])\.(.+)", theirs)
    if not match:
        return None
    level, rest = int(match.group(1)) - 1, match.group(2)
    rest = re.sub(r"^out_conv\.", "out.", rest)
    rest = re.sub(r"^resConfUnit([12])\.", r"unit\1.", rest)
    return f"fusions.{level}.{rest}"


def head_reference_name(ours: str) -> str:
    """The inverse of `head_name`."""
    parts = ours.split(".")
    if parts[0] == "adapts":
        return f"scratch.layer{int(parts[1]) + 1}_rn.weight"
    if parts[0] == "fusions":
        rest = ".".join(parts[2:])
        rest = re.sub(r"^out\.", "out_conv.", rest)
        rest = re.sub(r"^unit([12])\.", r"resConfUnit\1.", rest)
        return f"scratch.refinenet{int(parts[1]) + 1}.{rest}"
    for pattern, name in _HEAD_RULES:
        if ours.startswith(name):
            return pattern.replace("\\", "") + ours[len(name) :]
    raise KeyError(ours)


def head_from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a head file's tensors, `head.` prefix and all."""
    renamed: dict[str, Tensor] = {}
    left_over: list[str] = []
    for name, tensor in tensors.items():
        ours = head_name(name.removeprefix("head."))
        if ours is None:
            left_over.append(name)
        else:
            renamed[ours] = tensor
    _refuse_left_over("head", left_over)
    return renamed


def head_to_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `head_from_reference`."""
    return {f"head.{head_reference_name(name)}": tensor for name, tensor in tensors.items()}


_ENCODER_RULES = (
    ("register_tokens", "reg_token"),
    (".mlp.w12.", ".mlp.fc1."),
    (".mlp.w3.", ".mlp.fc2."),
)


def encoder_from_reference(
    tensors: Mapping[str, Tensor], registers: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename a DINOv2 state dict to timm's names.

    With registers, timm adds the class token's own position embedding to the token itself, so
    that the embedding covers patches only. `mask_token` serves DINOv2's own training and is not
    used here.

    Returns:
        timm's tensors, and the names knowingly ignored.
    """
    renamed: dict[str, Tensor] = {}
    ignored: list[str] = []
    for name, tensor in tensors.items():
        if name == "mask_token":
            ignored.append(name)
            continue
        for theirs, ours in _ENCODER_RULES:
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    if registers and "pos_embed" in renamed and "cls_token" in renamed:
        position = renamed["pos_embed"]
        renamed["cls_token"] = renamed["cls_token"] + position[:, :1]
        renamed["pos_embed"] = position[:, 1:].clone()
    return renamed, ignored


def encoder_to_reference(
    tensors: Mapping[str, Tensor], registers: bool, gated_mlp: bool
) -> dict[str, Tensor]:
    """timm's DINOv2 tensors under the original names.

    The class token keeps the position embedding that was added to it, and that embedding is zero:
    the same function in other numbers.
    """
    renamed: dict[str, Tensor] = {}
    rules = _ENCODER_RULES if gated_mlp else _ENCODER_RULES[:1]
    for name, tensor in tensors.items():
        for theirs, ours in rules:
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    width = renamed["cls_token"].shape[-1]
    renamed["mask_token"] = torch.zeros(1, width)
    if registers:
        renamed["pos_embed"] = torch.cat([torch.zeros(1, 1, width), renamed["pos_embed"]], dim=1)
    return renamed


def _refuse_left_over(part: str, names: Iterable[str]) -> None:
    left_over = sorted(names)
    if left_over:
        more = f" and {len(left_over) - 1} more" if len(left_over) > 1 else ""
        raise BundleError(f"{part}: tensor {left_over[0]}{more} belongs to nothing in the model")
