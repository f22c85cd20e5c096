"""Bundle: encoder, PCA, forecaster and heads that belong together, loaded and saved as one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.model.bundle_files import BundleParts, read_parts, write_parts
from dino_foresight_ros.model.catalog import find_bundle
from dino_foresight_ros.model.devices import resolve_device
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.forecasters import Forecaster
from dino_foresight_ros.model.heads import Head, HeadInput
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import Task
from dino_foresight_ros.model.untrained import untrained_parts
from dino_foresight_ros.shipped import BUNDLE_FILES


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
        return self.encoder.config.grid

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
        has_heads: bool = True,
    ) -> Bundle:
        """Load a bundle.

        Args:
            path: a folder with bundle.yaml, or a name, as a text: "tiny", which comes with the
                package; "untrained-tiny", which is made in memory; "hub:owner/name[@revision]",
                which is downloaded unless huggingface_hub's cache has it. A folder that is called
                like a name is "./tiny".
            device: where the weights go; "auto", "cpu", "cuda" or "cuda:N".
            dtype: number format of weights and activations.
            has_heads: False leaves the heads out: of who needs the other parts alone.

        Raises:
            UsageError: an unknown device, or one that this machine does not have.
            BundleError: no such folder, a damaged file, or parts that do not fit one another; the
                text names the part, the tensor and both shapes.
            HubError: a model hub does not give the bundle.
        """
        if isinstance(device, str):
            device = resolve_device(device)
        folder = find_bundle(path)
        parts = (
            untrained_parts(has_heads=has_heads)
            if folder is None
            else read_parts(folder, has_heads)
        )
        return cls(**parts).to(device, dtype)

    @classmethod
    def untrained(cls, seed: int = 0) -> Bundle:
        """Make "untrained-tiny": the paper's shapes at a small size, with random weights."""
        return cls(**untrained_parts(seed))

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
        parts = cast("BundleParts", {f.name: getattr(self, f.name) for f in fields(self)})
        with whole_folder(target, BUNDLE_FILES) as scratch:
            write_parts(parts, scratch, dtype)
        return target


def _check_fit(bundle: Bundle) -> None:
    """Check that each part takes what the part before it gives."""
    encoder, pca, forecaster = bundle.encoder, bundle.pca, bundle.forecaster
    if encoder.feature_size != pca.features:
        raise BundleError(
            f"the encoder gives {encoder.feature_size} values per patch "
            f"({encoder.layers} layers of {encoder.embed_dim}), the PCA takes "
            f"{pca.features}"
        )
    if pca.channels != forecaster.channels:
        raise BundleError(
            f"the PCA gives {pca.channels} channels, the forecaster takes {forecaster.channels}"
        )
    if forecaster.grid is not None and forecaster.grid != encoder.config.grid:
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
