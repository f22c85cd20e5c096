"""The encoder that training runs on: found by a word, known by a fingerprint."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

import torch

from dino_foresight_ros.errors import BundleError, ForesightError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.devices import DTYPES, resolve_device
from dino_foresight_ros.model.encoder import VIT, Encoder, EncoderConfig, build_backbone
from dino_foresight_ros.model.encoders import FAMILIES, encoder_config
from dino_foresight_ros.model.weights import empty, load_strict
from dino_foresight_ros.shipped import MANIFEST, names_bundle

from .parts import Origin, Part, fingerprint, is_part, read_part
from .sources import Source, bundle_sources

IMAGE_SIZE = (224, 448)
"""(H, W) of the paper's first stage, for encoders that state none."""

_origins: WeakKeyDictionary[Encoder, Origin] = WeakKeyDictionary()
_sources: WeakKeyDictionary[Encoder, tuple[Source, ...]] = WeakKeyDictionary()
_untrained: WeakSet[Encoder] = WeakSet()


def load_encoder(
    text: str,
    image_size: tuple[int, int] | None = None,
    layers: tuple[int, ...] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Encoder:
    """Load an encoder.

    Args:
        text: a bundle (folder, hub:owner/name, tiny or untrained-tiny), whose encoder is taken; the
            folder of an encoder part; or a family (dinov2-base-reg, ...) or timm model name, whose
            pretrained weights timm fetches.
        image_size: (H, W) pixels; the bundle's or part's own, else the paper's 224x448.
        layers: blocks counted from 0; the bundle's, part's or family's own when None.
        device: where it runs; "auto", "cpu", "cuda" or "cuda:N".
        dtype: of weights and activations.

    Raises:
        UsageError: an unknown device.
        BundleError: no such encoder, or a size that is no multiple of the patch size.
        ForesightError: pretrained weights cannot be fetched.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    path, trained = Path(text), True
    sources: tuple[Source, ...] = ()
    if names_bundle(text) or (path / MANIFEST).is_file():
        bundle = Bundle.load(text, has_heads=False)
        encoder, name = bundle.encoder, f"{bundle.encoder.config.model} of {bundle.name}"
        sources = bundle_sources(bundle.info).get("encoder", ())
        trained = bundle.trained  # when in doubt, its encoder is as random as the rest
    elif is_part(path):
        encoder, part = _read(path)
        name, sources = part.name, part.trained_on
    elif path.is_dir():
        raise BundleError(f"{path} holds no encoder: neither {MANIFEST} nor part.yaml is in it")
    else:
        encoder, name = _pretrained(text, image_size or IMAGE_SIZE, layers), text
    if layers is not None:  # or an error about other layers would give twice the same name
        name += f", layers {','.join(map(str, layers))}"
    config = encoder.config
    wanted = replace(
        config, image_size=image_size or config.image_size, layers=layers or config.layers
    )
    if wanted.layers != config.layers and config.kind != VIT:
        raise BundleError(
            f"the encoder of {text} gives its layers {list(config.layers)} alone; name its model "
            "to have others"
        )
    if wanted != config:
        encoder = Encoder(wanted, encoder.vit)
    # Before it moves: the same weights in half precision are the same encoder.
    _origins[encoder] = Origin(name, _fingerprint(encoder))
    _sources[encoder] = sources
    if not trained:
        _untrained.add(encoder)
    return encoder.to(device=device, dtype=dtype)


def open_encoder(
    text: str,
    image_size: tuple[int, ...] | None = None,
    layers: tuple[int, ...] | None = None,
    device: str | torch.device = "auto",
    dtype: str = "auto",
) -> Encoder:
    """Load an encoder in a number format that suits the device: float16 on a GPU, else float32.

    Args and errors as of `load_encoder`; `dtype` is "auto" or the name of a format.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    # Not bfloat16: some values have means many times their deviation, which eight bits would drown.
    on_gpu = torch.float16 if device.type == "cuda" else torch.float32
    size = None if image_size is None else (image_size[0], image_size[1])
    return load_encoder(text, size, layers, device, DTYPES.get(dtype, on_gpu))


def encoder_origin(encoder: Encoder) -> Origin:
    """Name and fingerprint of an encoder."""
    known = _origins.get(encoder)
    return known or Origin(encoder.config.model, _fingerprint(encoder))


def encoder_sources(encoder: Encoder) -> tuple[Source, ...]:
    """What an encoder of ours was trained on; nothing where that is not known."""
    return _sources.get(encoder, ())


def is_trained(encoder: Encoder) -> bool:
    """False for an encoder of random weights: that of a bundle that says it is untrained."""
    return encoder not in _untrained


def _fingerprint(encoder: Encoder) -> str:
    """Hash of the weights, the layers and the normalisation; the image size does not count."""
    config = encoder.config.to_dict()
    for name in ("model", "image_size", "native_image_size", "overrides", "kind"):
        del config[name]  # the tensors tell the model; the others do not change features
    return fingerprint(config, encoder.native_state_dict())


def _read(folder: Path) -> tuple[Encoder, Part]:
    part, tensors = read_part(folder, "encoder")
    config = EncoderConfig.from_dict(part.config)
    backbone = empty(lambda: build_backbone(config))
    load_strict(backbone, tensors, f"{folder.name}/encoder")
    return Encoder(config, backbone.float()), part


def _pretrained(text: str, image_size: tuple[int, int], layers: tuple[int, ...] | None) -> Encoder:
    if text not in FAMILIES and layers is None and "/" in text and not text.startswith("timm/"):
        raise BundleError(f"encoder {text} is no bundle, no encoder part and no timm model")
    overrides = {} if layers is None else {"layers": layers}
    try:
        config = encoder_config(text, image_size, **overrides)
    except TypeError as error:
        raise BundleError(
            f"encoder '{text}': give its --layers, counted from 0 ({error})"
        ) from error
    # The hub client's own lines about each retry would bury the one that says what to do.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Encoder(config, build_backbone(config, pretrained=True))
    except BundleError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ForesightError(
            f"the pretrained weights of '{text}' cannot be fetched ({type(error).__name__}: "
            f"{reason}); connect to the network, or give a bundle that holds an encoder"
        ) from error
