"""From the checkpoint of a DINO-world predictor to a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.encoder import VIT, AbsentEncoder, Encoder
from dino_foresight_ros.model.forecasters import WorldForecaster
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.reference.conversion import build_heads, build_pca
from dino_foresight_ros.model.reference.pickles import read_pickle
from dino_foresight_ros.model.reference.world_tensors import ROPE, is_world, world_from_reference
from dino_foresight_ros.model.weights import empty, load_strict, read_tensors

FRAME_INTERVAL_S = 0.2
"""The paper's short term, at whose multiples a bundle's steps lie."""


def convert_world(
    path: Path,
    predictor_heads: int | None = None,
    rope: tuple[int, int, int] = ROPE,
    encoder: Encoder | None = None,
    pca: Path | None = None,
    heads: Mapping[str, Path] | None = None,
    name: str | None = None,
    frame_interval_s: float = FRAME_INTERVAL_S,
) -> Bundle:
    """Read a predictor with the tensor names of the public reimplementation.

    Args:
        path: safetensors, or a PyTorch checkpoint.
        predictor_heads: its attention heads; of 64 values each when None.
        rope: values of a head that rotate by time, column and row.
        encoder: what gives the features; without one the bundle forecasts features that are given.
            Its layers are chosen by how many values the predictor, or the PCA, takes.
        pca: pickled PCA file of DINO-Foresight; none where the predictor takes the features.
        heads: name -> head checkpoint of DINO-Foresight.
        name: of the bundle; the file's stem when None.
        frame_interval_s: seconds between a bundle's steps; the predictor answers any instants.

    Raises:
        InputError: a file that is missing, damaged, or would run code; heads without an encoder.
        BundleError: a tensor that is missing, left over, or does not fit; named.
    """
    config, tensors = world_from_reference(_tensors(path), predictor_heads, rope)
    model = empty(lambda: WorldForecaster(config))
    load_strict(model, tensors, path.name)
    if heads and encoder is None:
        raise InputError("heads read an encoder's features: give --encoder")
    compression: PCA | IdentityPCA = IdentityPCA(config.channels)
    if pca is not None:
        compression = build_pca({}, pca)
    if encoder is None:
        encoder = AbsentEncoder(compression.features)
    else:
        encoder = _with_layers(encoder, compression.features)
    modules, tasks = build_heads(heads or {}, encoder)
    files: dict[str, Path | None] = {"forecaster": path, "pca": pca, **(heads or {})}
    info: dict[str, Any] = {
        "source": {part: file.name for part, file in files.items() if file is not None},
        "ignored_tensors": [],
        "method": "DINO-world, Baldassarre et al. 2025, arXiv 2507.19468",
    }
    return Bundle(
        name=name or path.stem,
        encoder=encoder,
        pca=compression,
        forecaster=model,
        heads=modules,
        tasks=tasks,
        frame_interval_s=frame_interval_s,
        info=info,
    ).to("cpu")  # in float32, whatever the files hold


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
    else:
        content = read_pickle(path)
        inner = next((content[k] for k in ("state_dict", "model") if k in content), content)
        tensors = dict(inner) if isinstance(inner, Mapping) else {}
        if not tensors or not all(isinstance(t, Tensor) for t in tensors.values()):
            raise InputError(f"{path} has no state_dict of tensors")
    if not is_world(tensors):
        raise InputError(f"{path} holds no predictor.blocks.*; is it a DINO-world predictor?")
    return tensors


def _with_layers(encoder: Encoder, features: int) -> Encoder:
    """The encoder with the layers that give so many values: its own, or the last one alone.

    Raises:
        BundleError: neither does.
    """
    if encoder.feature_size == features:
        return encoder
    if encoder.config.kind == VIT and encoder.embed_dim == features:
        last = len(encoder.vit.blocks) - 1
        return Encoder(replace(encoder.config, layers=(last,)), encoder.vit)
    raise BundleError(
        f"the predictor takes {features} values per patch; {encoder.config.model} gives "
        f"{encoder.embed_dim} by its last layer and {encoder.feature_size} by layers "
        f"{list(encoder.config.layers)}; give the encoder that it was trained with, or its --pca"
    )
