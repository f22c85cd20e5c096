"""A bundle's folder: bundle.yaml and one safetensors file per part, read and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.encoder import (
    AbsentEncoder,
    Encoder,
    EncoderConfig,
    build_backbone,
)
from dino_foresight_ros.model.forecasters import (
    Forecaster,
    build_forecaster,
    describe_forecaster,
)
from dino_foresight_ros.model.heads import Head, HeadInput, build_head, head_config
from dino_foresight_ros.model.manifest import PRETRAINED, SCHEMA, read_manifest, write_manifest
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import Task, task_from_dict, task_to_dict
from dino_foresight_ros.model.weights import (
    all_finite,
    empty,
    load_strict,
    read_tensors,
    write_tensors,
)
from dino_foresight_ros.shipped import MANIFEST


class BundleParts(TypedDict, total=False):
    """What a `Bundle` is made of; see its attributes."""

    name: str
    encoder: Encoder
    pca: PCA | IdentityPCA
    forecaster: Forecaster
    heads: dict[str, Head]
    tasks: dict[str, Task]
    frame_interval_s: float
    trained: bool
    info: dict[str, Any]
    inputs: dict[str, HeadInput]


def read_parts(folder: Path, has_heads: bool = True) -> BundleParts:
    """Read a bundle's folder, with its heads or without; weights lie on the CPU.

    Raises:
        BundleError: no such folder, a damaged file, or a value that does not fit.
    """
    manifest = read_manifest(folder)
    with _checked(folder):
        sections = dict(manifest.get("heads") or {}) if has_heads else {}
        inputs = {n: HeadInput(**s["input"]) for n, s in sections.items() if "input" in s}
        encoder_section = dict(manifest["encoder"])
        pca_section, forecaster_section = dict(manifest["pca"]), dict(manifest["forecaster"])
        about: BundleParts = {
            "name": str(manifest["name"]),
            "frame_interval_s": float(manifest["frame_interval_s"]),
            "trained": bool(manifest.get("trained", True)),
            "info": dict(manifest.get("info") or {}),
        }
    encoder = _read_encoder(encoder_section, folder)
    forecaster = _read_forecaster(forecaster_section, folder)
    heads, tasks = _read_heads(sections, folder, encoder, inputs, forecaster.width)
    return {
        **about,
        "encoder": encoder,
        "pca": _read_pca(pca_section, folder, encoder.feature_size),
        "forecaster": forecaster,
        "heads": heads,
        "tasks": tasks,
        "inputs": inputs,
    }


def write_parts(parts: BundleParts, folder: Path, dtype: torch.dtype) -> None:
    """Write a bundle's folder, which is there and empty; weights in a number format."""
    encoder, pca, forecaster = parts["encoder"], parts["pca"], parts["forecaster"]
    tensors: dict[str, dict[str, Tensor]] = {"forecaster": forecaster.part.state_dict()}
    if isinstance(encoder, AbsentEncoder):
        encoder_section = {"kind": "none", "features": encoder.feature_size}
    else:
        tensors["encoder"] = encoder.native_state_dict()
        encoder_section = {**encoder.config.to_dict(), "weights": "encoder.safetensors"}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "name": parts["name"],
        "trained": parts["trained"],
        "frame_interval_s": parts["frame_interval_s"],
        "encoder": encoder_section,
        "pca": {"kind": "identity"},
        "forecaster": {**describe_forecaster(forecaster), "weights": "forecaster.safetensors"},
        "heads": {},
        "info": parts["info"],
    }
    if isinstance(pca, PCA):
        tensors["pca"] = pca.state_dict()
        manifest["pca"] = {"kind": "pca", "channels": pca.channels, "weights": "pca.safetensors"}
    for name, head in parts["heads"].items():
        part = f"head_{name}"
        tensors[part] = head.state_dict()
        manifest["heads"][name] = {
            "head": head.config.to_dict(),
            "task": task_to_dict(parts["tasks"][name]),
            "weights": f"{part}.safetensors",
        }
        if name in parts["inputs"]:
            manifest["heads"][name]["input"] = parts["inputs"][name].to_dict()
    for part, values in tensors.items():
        write_tensors(folder / f"{part}.safetensors", _rounded(part, values, dtype))
    write_manifest(folder, manifest)


_STANDARDISATION = ("mean", "std", "centre", "explained_variance_ratio")
"""Of a PCA; see `PCA.set_dtype`."""


def _rounded(part: str, tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating-point weights in another format."""
    rounded = dict(tensors)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or (part == "pca" and name in _STANDARDISATION):
            continue
        rounded[name] = tensor.to(dtype)
        if not all_finite(rounded[name]):
            raise BundleError(
                f"{part} tensor {name} does not fit into {dtype}; write the bundle in float32"
            )
    return rounded


def _weights_of(section: dict[str, Any], folder: Path) -> Path:
    """The section's weights file, taken out of it; never outside the folder."""
    name = section.pop("weights", None)
    if not isinstance(name, str) or Path(name).name != name:
        raise BundleError(
            f"{folder / MANIFEST}: weights must name a file in the bundle, not {name!r}"
        )
    return folder / name


@contextmanager
def _checked(folder: Path) -> Iterator[None]:
    """Report values of a wrong kind or size, where modules are built of them without memory."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as e:
        reason = " ".join(str(e).split())
        raise BundleError(f"{folder / MANIFEST} has a value that does not fit: {reason}") from e


def _read_encoder(section: dict[str, Any], folder: Path) -> Encoder:
    if section.get("kind") == "none":
        with _checked(folder):
            return AbsentEncoder(int(section["features"]))
    if section.get("weights") == PRETRAINED:
        section.pop("weights")
        with _checked(folder):
            config = EncoderConfig.from_dict(section)
        return Encoder(config, build_backbone(config, pretrained=True))
    path = _weights_of(section, folder)
    with _checked(folder):
        config = EncoderConfig.from_dict(section)
        backbone = empty(lambda: build_backbone(config))
    load_strict(backbone, read_tensors(path), f"{folder.name}/encoder")
    with _checked(folder):
        return Encoder(config, backbone)


def _read_pca(section: dict[str, Any], folder: Path, features: int) -> PCA | IdentityPCA:
    kind = section.get("kind")
    if kind == "identity":
        return IdentityPCA(features)
    if kind != "pca":
        raise BundleError(f"pca kind '{kind}' is unknown; valid: pca, identity")
    path = _weights_of(section, folder)
    with _checked(folder):
        pca = empty(lambda: PCA(features, int(section["channels"])))
    load_strict(pca, read_tensors(path), f"{folder.name}/pca")
    return pca


def _read_forecaster(section: dict[str, Any], folder: Path) -> Forecaster:
    path = _weights_of(section, folder)
    with _checked(folder):
        forecaster = empty(lambda: build_forecaster(section))
    load_strict(forecaster.part, read_tensors(path), f"{folder.name}/forecaster")
    return forecaster


def _read_heads(
    sections: dict[str, Any],
    folder: Path,
    encoder: Encoder,
    inputs: dict[str, HeadInput],
    width: int,
) -> tuple[dict[str, Head], dict[str, Task]]:
    heads: dict[str, Head] = {}
    tasks: dict[str, Task] = {}
    for name, section in sections.items():
        with _checked(folder):
            tasks[name] = task_from_dict(name, dict(section["task"]))
            config = head_config(dict(section["head"]))
            shape = encoder.embed_dim, encoder.layers
            if name in inputs and inputs[name].layers:
                shape = width, len(inputs[name].layers)
            heads[name] = empty(partial(build_head, config, *shape))
        path = _weights_of(dict(section), folder)
        load_strict(heads[name], read_tensors(path), f"{folder.name}/head_{name}")
    return heads, tasks
