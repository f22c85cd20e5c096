"""A bundle back in the authors' file formats, so that their code can load it."""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.dpt import DPTHead
from dino_foresight_ros.model.forecasters.masked import MaskedForecaster
from dino_foresight_ros.model.forecasters.sliding import SlidingForecaster
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.model.reference.tensors import (
    encoder_to_reference,
    forecaster_to_reference,
    head_to_reference,
)
from dino_foresight_ros.outputs import SEGMENTATION

_MODALITY = {SEGMENTATION: "segm"}


def reference_state_dict(bundle: Bundle) -> dict[str, Tensor]:
    """Encoder, PCA and forecaster under the reference's tensor names.

    Raises:
        BundleError: the encoder is not a DINOv2 model, which the reference's names cover.
    """
    forecaster = _inner(bundle)
    config = forecaster.config
    if config.predict != "features":
        raise BundleError(
            f"the forecaster predicts {config.predict}; the reference's predicts features only"
        )
    tensors = forecaster_to_reference(forecaster.state_dict(), config.layers, config.attention)
    if isinstance(bundle.pca, PCA):
        tensors |= {
            "mean": bundle.pca.mean,
            "std": bundle.pca.std,
            "pca_mean": bundle.pca.centre,
            "pca_components": bundle.pca.components.float(),
        }
    return {**tensors, **{f"dino_v2.{n}": t for n, t in _encoder(bundle).items()}}


def _inner(bundle: Bundle) -> MaskedForecaster:
    model = bundle.forecaster.part
    if not isinstance(model, MaskedForecaster):
        raise BundleError(
            f"the forecaster's kind is {bundle.forecaster.kind}; the reference has masked only"
        )
    return model


def _encoder(bundle: Bundle) -> dict[str, Tensor]:
    if "dinov2" not in bundle.encoder.config.model:
        raise BundleError(
            f"encoder {bundle.encoder.config.model} is not a DINOv2 model; the reference format "
            "has no names for it"
        )
    tensors = bundle.encoder.native_state_dict()
    return encoder_to_reference(
        tensors,
        registers="reg_token" in tensors,
        gated_mlp="giant" in bundle.encoder.config.model,
    )


def _arguments(bundle: Bundle) -> dict[str, Any]:
    config = _inner(bundle).config
    return {
        "sequence_length": config.frames,
        "hidden_dim": config.width,
        "heads": config.heads,
        "layers": config.layers,
        "dropout": config.dropout,
        "loss_type": "SmoothL1",
        "beta_smoothl1": 0.1,
        "img_size": bundle.image_size,
        "d_layers": list(bundle.encoder.config.layers),
        "feature_extractor": "dino",
        "masking": "simple_replace",
        "train_mask_frames": config.masked_frames,
        "train_mask_mode": "full_mask",
        "use_fc_bias": True,
        "use_first_last": False,
        "seperable_attention": config.attention == "factorised",
        "seperable_window_size": config.window,
        "sliding_window_inference": isinstance(bundle.forecaster, SlidingForecaster),
        "crop_feats": False,
        "output_activation": "none",
        "pca_ckpt": "pca.pth" if isinstance(bundle.pca, PCA) else None,
        "single_step_sample_train": True,
        "vis_attn": False,
        "step": 1,
    }


# What the export writes, and may replace.
REFERENCE_FILES = ("forecaster.ckpt", "pca.pth", "head_*.ckpt")


def export_reference(bundle: Bundle, out: Path) -> list[Path]:
    """Write forecaster.ckpt (with the encoder), pca.pth, head_*.ckpt, whole or not at all.

    Returns:
        The files written.

    Raises:
        BundleError: the encoder is not a DINOv2 model.
    """
    with whole_folder(out, REFERENCE_FILES) as scratch:
        _save(scratch / "forecaster.ckpt", reference_state_dict(bundle), _arguments(bundle))
        if isinstance(bundle.pca, PCA):
            _save_pca(scratch / "pca.pth", bundle.pca)
        for name, head in bundle.heads.items():
            if not isinstance(head, DPTHead):
                raise BundleError(
                    f"head '{name}' is {head.config.kind}; the reference has DPT only"
                )
            if name in bundle.inputs and bundle.inputs[name].layers:
                raise BundleError(
                    f"head '{name}' reads the forecaster's layers; the reference's read features"
                )
            if head.stacked > 1:
                raise BundleError(
                    f"head '{name}' stacks {head.layers} layers; the reference's reads four"
                )
            arguments = {
                "modality": _MODALITY.get(name, name),
                "num_classes": head.config.outputs,
                "nfeats": head.config.width,
                "use_bn": head.config.batch_norm,
                "dpt_out_channels": list(head.config.channels),
            }
            _save(scratch / f"head_{name}.ckpt", head_to_reference(head.state_dict()), arguments)
    return sorted(out.iterdir())


def _save(path: Path, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> None:
    content = {
        "state_dict": {n: t.detach().cpu().contiguous() for n, t in tensors.items()},
        "hyper_parameters": {"args": argparse.Namespace(**arguments)},
    }
    torch.save(content, path)


def _save_pca(path: Path, pca: PCA) -> None:
    """Pickle a scikit-learn PCA, which the authors' code unpickles."""
    attributes = {
        "n_components": pca.channels,
        "n_components_": pca.channels,
        "n_features_in_": pca.features,
        "whiten": False,
        "mean_": pca.centre.cpu().numpy(),
        "components_": pca.components.float().cpu().numpy(),
        "explained_variance_ratio_": pca.explained_variance_ratio.cpu().numpy(),
    }
    with _SklearnName() as kind:
        model: Any = object.__new__(kind)
        model.__dict__.update(attributes)
        mean, std = pca.mean.cpu().numpy(), pca.std.cpu().numpy()
        torch.save({"pca_model": model, "mean": mean, "std": std}, path)


class _SklearnName:
    """Gives scikit-learn's PCA class, or a stand-in of that name while it is not installed.

    A pickle stores a class by its name alone, so that a file written with the stand-in loads with
    the real one.
    """

    def __enter__(self) -> type:
        self._added: list[str] = []
        try:
            kind: type = importlib.import_module("sklearn.decomposition").PCA
            return kind
        except ImportError:
            for name in ("sklearn", "sklearn.decomposition", "sklearn.decomposition._pca"):
                sys.modules[name] = types.ModuleType(name)
                self._added.append(name)
            stand_in = type("PCA", (), {"__module__": "sklearn.decomposition._pca"})
            sys.modules["sklearn.decomposition._pca"].PCA = stand_in  # type: ignore[attr-defined]
            return stand_in

    def __exit__(self, *exc: object) -> None:
        for name in self._added:
            sys.modules.pop(name, None)
