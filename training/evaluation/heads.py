"""A bundle's heads on predicted features, as the live node runs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from dino_foresight_ros.model import Bundle, Prediction
from dino_foresight_ros.recordings import FrameLabels

Size = tuple[int, int]


def layers_read(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Heads that read the forecaster's layers -> which.

    They see what a forecaster thinks of the frame it predicts, so they score the forecast alone:
    copy-last, the fitted predictors and the oracle have no such layers.
    """
    return {name: read.layers for name, read in bundle.inputs.items() if read.layers}


def rollout_layers(bundle: Bundle, context: Tensor, steps: Sequence[int]) -> dict[int, Tensor]:
    """The layers that heads read: layer -> (B, S, h, w, D) at the wanted steps."""
    layers = sorted(set().union(*layers_read(bundle).values()))
    if not layers:
        return {}
    asked = bundle.forecaster.evenly_spaced(context, max(steps))
    hidden = Prediction.join(bundle.forecaster.stream(*asked, layers=layers)).hidden
    return {layer: tokens[:, 0, [step - 1 for step in steps]] for layer, tokens in hidden.items()}


@torch.inference_mode()
def decode(bundle: Bundle, z: Tensor, sizes: Mapping[str, Size]) -> dict[str, Tensor]:
    """Run heads on PCA features: reconstruct, head, meaning. Heads that read layers are left out.

    Args:
        bundle: whose PCA, heads and tasks are used.
        z: (B, h, w, C).
        sizes: head -> (H, W) of its maps.

    Returns:
        Head -> maps: ids (B, H, W), depth (B, H, W) or normals (B, H, W, 3).
    """
    layered = layers_read(bundle)
    features = bundle.pca.inverse(z)
    maps = {}
    for name, size in sizes.items():
        if name not in layered:
            raw = bundle.heads[name](features)
            # One by one: logits at the size of Cityscapes' labels take 160 MB a picture.
            decoded = [bundle.tasks[name].decode(one[None], size)[name] for one in raw]
            maps[name] = torch.cat(decoded)
    return maps


@torch.inference_mode()
def decode_layers(
    bundle: Bundle, hidden: Mapping[int, Tensor], sizes: Mapping[str, Size]
) -> dict[str, Tensor]:
    """Run the heads that read the forecaster's layers: hidden is layer -> (B, h, w, D)."""
    maps = {}
    for name, layers in layers_read(bundle).items():
        if name in sizes:
            tokens = torch.cat([hidden[layer] for layer in layers], dim=-1)
            raw = bundle.heads[name](tokens)
            maps[name] = bundle.tasks[name].decode(raw, sizes[name])[name]
    return maps


def sizes_of(labels: FrameLabels, heads: Collection[str]) -> dict[str, Size]:
    """Head -> size of its label, for the heads that this frame has labels for."""
    sizes: dict[str, Size] = {}
    for head in heads:
        label = getattr(labels, head, None)
        if label is not None:
            sizes[head] = (label.shape[0], label.shape[1])
    return sizes
