"""A model on disk: a folder with bundle.yaml and one safetensors file per part."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.model.devices import resolve_device
from dino_foresight_ros.model.encoder import Encoder, EncoderConfig, build_vit
from dino_foresight_ros.model.forecasters import (
    Forecaster,
    build_forecaster,
    describe_forecaster,
)
from dino_foresight_ros.model.heads import Head, HeadConfig, HeadInput, build_head
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import Task, task_from_dict, task_to_dict
from dino_foresight_ros.model.weights import empty, load_strict, read_tensors, write_tensors
from dino_foresight_ros.shipped import MANIFEST, TINY, UNTRAINED_TINY, shipped_bundle

SCHEMA = 1
PRETRAINED = "timm"
"""Value of `encoder.weights` for an encoder whose weights timm fetches by name."""


@dataclass
class Bundle:
    """Encoder, PCA, forecaster and heads that belong together.

    Attributes:
        name: what diagnostics and messages call the model.
        encoder, pca, forecaster: the parts.
        heads: task name -> module, (B,h,w,L*D) -> (B,K,8h,8w).
        tasks: task name -> what that output means.
        frame_interval_s: nominal seconds between context frames and between predicted steps.
        trained: False when the weights are random.
        info: provenance, licences, scores and the like, as written in bundle.yaml.
        inputs: task name -> what its head reads, where that is not the reconstructed features.
    """

    name: str
    encoder: Encoder
    pca: PCA | IdentityPCA
    forecaster: Forecaster
    heads: dict[str, Head]
    tasks: dict[str, Task]
    frame_interval_s: float
    trained: bool = True
    info: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, HeadInput] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fit(self)
        self.forecaster.frame_interval_s = self.frame_interval_s
        for part in (self.encoder, self.pca, self.forecaster, *self.heads.values()):
            part.eval().requires_grad_(False)

    @property
    def context_frames(self) -> int:
        """N_c, frames that a forecast needs."""
        return self.forecaster.context_frames

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) pixels that images are resized to."""
        return self.encoder.config.image_size

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) rows and columns of the patch grid."""
        return self.forecaster.grid

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.forecaster.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of weights and activations."""
        return next(self.forecaster.parameters()).dtype

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Bundle:
        """Move and convert every part, in place.

        Returns:
            self.
        """
        for part in (self.encoder, self.forecaster, *self.heads.values()):
            part.to(device=device, dtype=dtype)
        self.pca.to(device)
        self.pca.set_dtype(dtype)
        return self

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Bundle:
        """Load a bundle.

        Args:
            path: a folder with bundle.yaml; "hub:owner/name[@revision]", which is downloaded unless
                huggingface_hub's cache has it; "tiny", which comes with the package (a bundle of
                that name in the working directory goes first); or "untrained-tiny", which is made
                in memory.
            device: where the weights go; "auto", "cpu", "cuda" or "cuda:N".
            dtype: number format of weights and activations.

        Raises:
            UsageError: an unknown device, or one that this machine does not have.
            BundleError: no such folder, a damaged file, or parts that do not fit one another; the
                text names the part, the tensor and both shapes.
            HubError: a model hub does not give the bundle.
        """
        if isinstance(device, str):
            device = resolve_device(device)
        if str(path).startswith("hub:"):
            from dino_foresight_ros.model.hub import resolve_hub

            path = resolve_hub(str(path))
        if str(path) == TINY and not (Path(path) / MANIFEST).is_file():
            path = shipped_bundle(TINY)
        if str(path) == UNTRAINED_TINY:
            from dino_foresight_ros.model.presets import untrained_tiny

            return untrained_tiny().to(device, dtype)
        return _read(Path(path)).to(device, dtype)

    def save(
        self, path: str | Path, overwrite: bool = False, dtype: torch.dtype = torch.float32
    ) -> Path:
        """Write the bundle to a folder, whole or not at all.

        Args:
            path: the folder.
            overwrite: whether to replace one that exists.
            dtype: number format of the weights on disk, float32 or float16; loading gives float32
                unless asked otherwise. What standardises features stays in float32.

        Raises:
            BundleError: the folder exists and `overwrite` is False, or a weight does not fit.
            ForesightError: the folder cannot be written.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise BundleError(f"{target} exists; choose another folder or pass overwrite")
        with whole_folder(target) as scratch:
            self._write(scratch, dtype)
        return target

    def _write(self, folder: Path, dtype: torch.dtype) -> None:
        parts: dict[str, dict[str, Tensor]] = {
            "encoder": self.encoder.native_state_dict(),
            "forecaster": self.forecaster.part.state_dict(),
        }
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "trained": self.trained,
            "frame_interval_s": self.frame_interval_s,
            "encoder": {**self.encoder.config.to_dict(), "weights": "encoder.safetensors"},
            "pca": {"kind": "identity"},
            "forecaster": {
                **describe_forecaster(self.forecaster),
                "weights": "forecaster.safetensors",
            },
            "heads": {},
            "info": self.info,
        }
        if isinstance(self.pca, PCA):
            parts["pca"] = self.pca.state_dict()
            manifest["pca"] = {
                "kind": "pca",
                "channels": self.pca.channels,
                "weights": "pca.safetensors",
            }
        for name, head in self.heads.items():
            part = f"head_{name}"
            parts[part] = head.state_dict()
            manifest["heads"][name] = {
                "head": head.config.to_dict(),
                "task": task_to_dict(self.tasks[name]),
                "weights": f"{part}.safetensors",
            }
            if name in self.inputs:
                manifest["heads"][name]["input"] = self.inputs[name].to_dict()
        for part, tensors in parts.items():
            write_tensors(folder / f"{part}.safetensors", _rounded(part, tensors, dtype))
        with (folder / MANIFEST).open("w") as file:
            yaml.safe_dump(manifest, file, sort_keys=False, width=100, default_flow_style=None)


_STANDARDISATION = ("mean", "std", "centre", "explained_variance_ratio")
"""Of a PCA; see `PCA.set_dtype`."""


def _rounded(part: str, tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating-point weights in another format."""
    rounded = dict(tensors)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or (part == "pca" and name in _STANDARDISATION):
            continue
        rounded[name] = tensor.to(dtype)
        if not bool(torch.isfinite(rounded[name]).all()):
            raise BundleError(
                f"{part} tensor {name} does not fit into {dtype}; write the bundle in float32"
            )
    return rounded


def _check_fit(bundle: Bundle) -> None:
    """Check that each part takes what the part before it gives."""
    encoder, pca, forecaster = bundle.encoder, bundle.pca, bundle.forecaster
    if encoder.feature_size != pca.features:
        raise BundleError(
            f"the encoder gives {encoder.feature_size} values per patch "
            f"({len(encoder.config.layers)} layers of {encoder.embed_dim}), the PCA takes "
            f"{pca.features}"
        )
    if pca.channels != forecaster.channels:
        raise BundleError(
            f"the PCA gives {pca.channels} channels, the forecaster takes {forecaster.channels}"
        )
    if encoder.config.grid != forecaster.grid:
        raise BundleError(
            f"the encoder's patch grid is {encoder.config.grid}, the forecaster's {forecaster.grid}"
        )
    for name, head in bundle.heads.items():
        if head.config.outputs != bundle.tasks[name].outputs:
            raise BundleError(
                f"head '{name}' gives {head.config.outputs} channels, its task means "
                f"{bundle.tasks[name].outputs}"
            )
    for name, read in bundle.inputs.items():
        if read.layers and read.layers[-1] >= forecaster.layers:
            raise BundleError(
                f"head '{name}' reads forecaster layer {read.layers[-1]}; it has "
                f"{forecaster.layers}, counted from 0"
            )
    if not 0 < bundle.frame_interval_s < math.inf:
        raise BundleError(f"frame_interval_s is {bundle.frame_interval_s}; it must be positive")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read bundle.yaml.

    Raises:
        BundleError: no such folder or file, not YAML, or another schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; make one with 'foresight convert' "
            f"or use the word {TINY} or {UNTRAINED_TINY}"
        )
    try:
        manifest = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path} is not a mapping")
    if manifest.get("schema") != SCHEMA:
        raise BundleError(
            f"{path} has schema {manifest.get('schema')}, this version reads {SCHEMA}"
        )
    missing = [
        k for k in ("name", "frame_interval_s", "encoder", "pca", "forecaster") if k not in manifest
    ]
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}")
    return manifest


def _weights_of(section: dict[str, Any], folder: Path) -> Path:
    """The section's weights file, taken out of it; never outside the folder."""
    name = section.pop("weights", None)
    if not isinstance(name, str) or Path(name).name != name:
        raise BundleError(
            f"{folder / MANIFEST}: weights must name a file in the bundle, not {name!r}"
        )
    return folder / name


_UNFITTING = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""What a value of the wrong kind or size raises where it is first used."""


def _read(folder: Path) -> Bundle:
    manifest = read_manifest(folder)
    try:
        encoder = _read_encoder(dict(manifest["encoder"]), folder)
        sections = manifest.get("heads") or {}
        inputs = {n: HeadInput(**s["input"]) for n, s in sections.items() if "input" in s}
        forecaster = _read_forecaster(dict(manifest["forecaster"]), folder)
        heads, tasks = _read_heads(sections, folder, encoder, inputs, forecaster.width)
        return Bundle(
            name=str(manifest["name"]),
            encoder=encoder,
            pca=_read_pca(dict(manifest["pca"]), folder, encoder.feature_size),
            forecaster=forecaster,
            heads=heads,
            tasks=tasks,
            frame_interval_s=float(manifest["frame_interval_s"]),
            trained=bool(manifest.get("trained", True)),
            info=dict(manifest.get("info") or {}),
            inputs=inputs,
        )
    except _UNFITTING as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{folder / MANIFEST} has a value that does not fit: {reason}") from error


def _read_encoder(section: dict[str, Any], folder: Path) -> Encoder:
    if section.get("weights") == PRETRAINED:
        section.pop("weights")
        config = EncoderConfig.from_dict(section)
        return Encoder(config, build_vit(config, pretrained=True))
    path = _weights_of(section, folder)
    config = EncoderConfig.from_dict(section)
    vit = build_vit(config)
    load_strict(vit, read_tensors(path), f"{folder.name}/encoder")
    return Encoder(config, vit)


def _read_pca(section: dict[str, Any], folder: Path, features: int) -> PCA | IdentityPCA:
    kind = section.get("kind")
    if kind == "identity":
        return IdentityPCA(features)
    if kind != "pca":
        raise BundleError(f"pca kind '{kind}' is unknown; valid: pca, identity")
    pca = PCA(features, int(section["channels"]))
    load_strict(pca, read_tensors(_weights_of(section, folder)), f"{folder.name}/pca")
    return pca


def _read_forecaster(section: dict[str, Any], folder: Path) -> Forecaster:
    path = _weights_of(section, folder)
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
        tasks[name] = task_from_dict(name, dict(section["task"]))
        config = HeadConfig.from_dict(dict(section["head"]))
        shape = encoder.embed_dim, len(encoder.config.layers)
        if name in inputs and inputs[name].layers:
            shape = width, len(inputs[name].layers)
        heads[name] = empty(partial(build_head, config, *shape))
        path = _weights_of(dict(section), folder)
        load_strict(heads[name], read_tensors(path), f"{folder.name}/head_{name}")
    return heads, tasks
