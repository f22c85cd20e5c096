"""From the authors' checkpoints to a bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.model.dpt import HeadConfig
from dino_foresight_ros.model.encoder import Encoder, EncoderConfig, build_vit
from dino_foresight_ros.model.encoders import dinov2_config
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.forecasters.sliding import SlidingForecaster
from dino_foresight_ros.model.heads import Head, build_head
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.reference.pickles import read_pickle
from dino_foresight_ros.model.reference.tensors import (
    count_layers,
    encoder_from_reference,
    forecaster_from_reference,
    head_from_reference,
)
from dino_foresight_ros.model.tasks import DepthTask, NormalsTask, SegmentationTask, Task
from dino_foresight_ros.model.weights import empty, load_strict, read_tensors
from dino_foresight_ros.outputs import DEPTH, HEADS, NORMALS, SEGMENTATION

FRAME_INTERVAL_S = 3 / 17
"""Every third frame of Cityscapes' 17 Hz, which the published model was trained on."""

_PCA_KEYS = {"mean": "mean", "std": "std", "centre": "pca_mean", "components": "pca_components"}
_ENCODER_PREFIX = "dino_v2."
_NUMPY_ATTRIBUTES = {"centre": "mean_", "components": "components_"}


def convert_reference(
    forecaster: Path,
    pca: Path | None = None,
    encoder: Path | None = None,
    heads: Mapping[str, Path] | None = None,
    encoder_heads: int | None = None,
    name: str | None = None,
    frame_interval_s: float = FRAME_INTERVAL_S,
) -> Bundle:
    """Read the authors' files.

    Args:
        forecaster: Lightning checkpoint of the forecaster; may hold the encoder and the PCA too.
        pca: pickled PCA file, which adds the explained variance; needed where the forecaster file
            holds no PCA.
        encoder: safetensors with the DINOv2 weights in their original naming; needed where the
            forecaster file holds none.
        heads: name -> head checkpoint.
        encoder_heads: attention heads of the encoder; 64 channels per head when None.
        name: of the bundle; the forecaster file's stem when None.
        frame_interval_s: seconds between the frames that the forecaster was trained on.

    Raises:
        InputError: a file that is missing, damaged, or would run code.
        BundleError: a tensor that is missing, left over, or does not fit; named.
    """
    content = read_pickle(forecaster)
    arguments = _arguments(content, forecaster)
    tensors, ignored = _split_off(_state_dict(content, forecaster), ("head.",))
    theirs = {
        n[len(_ENCODER_PREFIX) :]: t for n, t in tensors.items() if n.startswith(_ENCODER_PREFIX)
    }
    tensors = {n: t for n, t in tensors.items() if not n.startswith(_ENCODER_PREFIX)}
    if encoder is not None:
        theirs = read_tensors(encoder)
    if not theirs:
        raise InputError(
            f"{forecaster} holds no encoder (dino_v2.*); give its weights with --encoder"
        )
    vit, skipped = _build_encoder(theirs, arguments, encoder_heads)
    ignored += skipped
    compression = _compression(tensors, pca, vit.feature_size)
    tensors = {n: t for n, t in tensors.items() if n not in _PCA_KEYS.values()}
    model = _build_forecaster(tensors, arguments, vit.config)
    modules, tasks = build_heads(heads or {}, vit)
    return Bundle(
        name=name or forecaster.stem,
        encoder=vit,
        pca=compression,
        forecaster=model,
        heads=modules,
        tasks=tasks,
        frame_interval_s=frame_interval_s,
        info=_provenance(forecaster, pca, encoder, heads or {}, ignored),
    ).to("cpu")  # in float32, whatever the files hold


def _provenance(
    forecaster: Path,
    pca: Path | None,
    encoder: Path | None,
    heads: Mapping[str, Path],
    ignored: list[str],
) -> dict[str, Any]:
    files = {"forecaster": forecaster, "pca": pca, "encoder": encoder, **heads}
    return {
        "source": {part: path.name for part, path in files.items() if path is not None},
        "ignored_tensors": sorted(ignored),
        "method": "DINO-Foresight, Karypidis et al. 2025, arXiv 2412.11673",
        "licence": {
            "encoder": "Apache-2.0 (DINOv2)",
            "forecaster, pca and heads": "as published by their authors",
        },
    }


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    tensors = content.get("state_dict")
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path} has no state_dict of tensors; is it a Lightning checkpoint?")
    return dict(tensors)


def _arguments(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The training arguments that shape the model, checked for variants that are not supported."""
    parameters = content.get("hyper_parameters")
    found = _attributes(parameters.get("args")) if isinstance(parameters, dict) else {}
    if not found:
        raise InputError(f"{path} has no hyper_parameters.args; is it a DINO-Foresight checkpoint?")
    refused = {
        "masking": ("simple_replace",),
        "use_first_last": (False,),
        "output_activation": ("none",),
        "feature_extractor": ("dino",),
    }
    for key, valid in refused.items():
        if key in found and found[key] not in valid:
            raise InputError(
                f"{path} was trained with {key}={found[key]!r}, which is not supported; "
                f"supported: {', '.join(map(repr, valid))}"
            )
    missing = [key for key in ("img_size", "d_layers", "heads") if key not in found]
    if missing:
        raise InputError(f"{path}: hyper_parameters.args lacks {', '.join(missing)}")
    try:
        height, width = found["img_size"]
        layers = found["d_layers"]
        shape: dict[str, Any] = {
            "img_size": (int(height), int(width)),
            # The reference gives layers in rising order, however they are listed.
            "d_layers": layers if isinstance(layers, int) else tuple(sorted(map(int, layers))),
            "heads": int(found["heads"]),
            "train_mask_frames": int(found.get("train_mask_frames", 1)),
            "seperable_window_size": int(found.get("seperable_window_size", 1)),
            "dropout": float(found.get("dropout", 0.0)),
        }
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: hyper_parameters.args has a value that does not fit: {error}"
        ) from error
    return {**found, **shape}


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an argparse.Namespace or of a pickled PCA; none of anything else."""
    return dict(getattr(value, "__dict__", {}))


def _split_off(
    tensors: dict[str, Tensor], prefixes: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[str]]:
    """Take out tensors that the forecaster does not need: a head kept along for evaluation."""
    ignored = [name for name in tensors if name.startswith(prefixes)]
    return {n: t for n, t in tensors.items() if n not in ignored}, ignored


def _build_encoder(
    theirs: Mapping[str, Tensor], arguments: Mapping[str, Any], heads: int | None
) -> tuple[Encoder, list[str]]:
    layers = arguments["d_layers"]
    if isinstance(layers, int):
        # The reference's "last n layers".
        depth = len({n.split(".")[1] for n in theirs if n.startswith("blocks.")})
        layers = range(depth - layers, depth)
    config = dinov2_config(theirs, arguments["img_size"], tuple(layers), heads)
    tensors, ignored = encoder_from_reference(theirs, registers="register_tokens" in theirs)
    vit = empty(lambda: build_vit(config))
    load_strict(vit, tensors, "encoder")
    return Encoder(config, vit.float()), ignored


def _compression(
    tensors: Mapping[str, Tensor], path: Path | None, features: int
) -> PCA | IdentityPCA:
    """The PCA of the forecaster's file and of its own file, which must agree where both have it."""
    inside = {ours: tensors[theirs] for ours, theirs in _PCA_KEYS.items() if theirs in tensors}
    if path is None and not inside:
        return IdentityPCA(features)
    return _fitting(_pca_from(inside) if path is None else build_pca(inside, path), features)


def build_pca(inside: Mapping[str, Tensor], path: Path) -> PCA:
    """Read a PCA file.

    Args:
        inside: what the forecaster's file holds of a PCA, by our names, to be compared with.
        path: the file.

    Raises:
        InputError: not such a file.
        BundleError: it is another PCA than the forecaster's.
    """
    content = read_pickle(path)
    model = _attributes(content.get("pca_model"))
    try:
        outside = {
            **{ours: torch.as_tensor(model[name]) for ours, name in _NUMPY_ATTRIBUTES.items()},
            **{name: torch.as_tensor(content[name]).flatten() for name in ("mean", "std")},
        }
        variance = torch.as_tensor(model["explained_variance_ratio_"])
    except KeyError as error:
        raise InputError(f"{path} lacks {error}; is it a DINO-Foresight PCA file?") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} holds something else than a PCA's arrays: {error}") from error
    if model.get("whiten"):
        raise InputError(f"{path} holds a whitening PCA, which the forecaster was not trained on")
    for key, tensor in inside.items():
        # A checkpoint in half precision holds the same numbers, rounded.
        rtol = max(1e-5, torch.finfo(tensor.dtype).eps)
        if tensor.shape != outside[key].shape or not torch.allclose(
            tensor.float(), outside[key].float(), rtol=rtol, atol=1e-6
        ):
            raise BundleError(
                f"PCA {key} {tuple(outside[key].shape)} of {path.name} is not the one "
                f"{tuple(tensor.shape)} that the forecaster was trained with"
            )
    return _pca_from({**outside, "explained_variance_ratio": variance})


def _pca_from(tensors: Mapping[str, Tensor]) -> PCA:
    missing = sorted(set(_PCA_KEYS) - set(tensors))
    if missing:
        raise BundleError(f"PCA: {', '.join(_PCA_KEYS[key] for key in missing)} is missing")
    return PCA.from_arrays(**tensors)


def _fitting(pca: PCA, features: int) -> PCA:
    if pca.features != features:
        raise BundleError(
            f"the PCA takes {pca.features} values per patch, the encoder's layers give {features}"
        )
    return pca


def _build_forecaster(
    tensors: Mapping[str, Tensor], arguments: Mapping[str, Any], encoder: EncoderConfig
) -> MaskedForecaster | SlidingForecaster:
    attention = "factorised" if arguments.get("seperable_attention") else "full"
    layers = count_layers(tensors)
    renamed = forecaster_from_reference(tensors, layers, attention)
    try:
        frames, rows, columns = (
            renamed[f"position_{axis}"].shape[0] for axis in ("time", "row", "column")
        )
        width, channels = renamed["embed.weight"].shape
    except KeyError as error:
        raise BundleError(f"forecaster: tensor for {error} is missing") from error
    # Sequences of seven frames are the reference's variant with three masked ones. Others that
    # were trained with partly masked frames still predict one: the last.
    whole = arguments.get("train_mask_mode", "full_mask") == "full_mask"
    masked = arguments["train_mask_frames"] if whole else 1
    masked = 3 if frames == 7 else masked
    config = MaskedConfig(
        channels=channels,
        grid=(rows, columns),
        width=width,
        layers=layers,
        heads=arguments["heads"],
        context_frames=frames - masked,
        masked_frames=masked,
        attention=attention,
        window=arguments["seperable_window_size"] if attention == "factorised" else 1,
        dropout=arguments["dropout"],
    )
    model = empty(lambda: MaskedForecaster(config))
    load_strict(model, renamed, "forecaster")
    if config.grid == encoder.grid:
        return model
    # A model of the small grid with images of the large one: the reference's sliding windows.
    return SlidingForecaster(model, encoder.grid)


def build_heads(
    paths: Mapping[str, Path], encoder: Encoder
) -> tuple[dict[str, Head], dict[str, Task]]:
    """Read head checkpoints, name -> file; errors as `convert_reference`."""
    modules: dict[str, Head] = {}
    tasks: dict[str, Task] = {}
    for task, path in paths.items():
        renamed = head_from_reference(_state_dict(read_pickle(path), path))
        try:
            outputs = renamed["output.4.weight"].shape[0]
            c1, c2, c3, c4 = (renamed[f"projects.{i}.weight"].shape[0] for i in range(4))
            width = renamed["adapts.0.weight"].shape[0]
        except KeyError as error:
            raise BundleError(f"{path.name}: tensor for {error} is missing") from error
        config = HeadConfig(
            outputs=outputs,
            channels=(c1, c2, c3, c4),
            width=width,
            batch_norm="fusions.0.unit1.bn1.weight" in renamed,
        )
        layers = len(encoder.config.layers)
        head = empty(partial(build_head, config, encoder.embed_dim, layers))
        load_strict(head, renamed, path.name)
        modules[task], tasks[task] = head, _task(task, outputs)
    return modules, tasks


def _task(name: str, outputs: int) -> Task:
    """What a published head's output means."""
    if name == DEPTH:
        return DepthTask(kind="relative", bins=outputs)
    if name == NORMALS:
        return NormalsTask()
    if name != SEGMENTATION:
        raise InputError(f"head '{name}' is unknown; valid: {', '.join(HEADS)}")
    if outputs == 19:
        return cityscapes_segmentation()
    names = tuple(f"class {i}" for i in range(outputs))
    return SegmentationTask(class_names=names, palette=tuple(_colour(i) for i in range(outputs)))


def _colour(index: int) -> tuple[int, int, int]:
    """A distinct colour per class id (the PASCAL VOC bit pattern)."""
    bits = [[(index >> (3 * j + c)) & 1 for j in range(8)] for c in range(3)]
    r, g, b = (sum(bit << (7 - j) for j, bit in enumerate(channel)) for channel in bits)
    return r, g, b
