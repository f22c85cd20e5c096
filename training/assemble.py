"""Put trained parts together to a bundle, after checking that they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.forecasters import Forecaster, SlidingForecaster, WorldForecaster
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.progress import warn

from .encoder_loading import encoder_origin, encoder_sources, is_trained, load_encoder
from .model_parts import TrainableForecaster, TrainedHead, load_forecaster, load_head, load_pca
from .parts import Part, code_version
from .pca_fit import pca_origin

NO_HEADS = (
    "the bundle has no heads: forecast_node can publish nothing of it but features "
    "(publish_features:=true); `foresight train all` trains heads by --labels SPEC or "
    "--pseudo-labels tiny"
)


def assemble(
    encoder: str,
    pca: str | None,
    forecaster: str,
    heads: Mapping[str, str],
    *,
    name: str,
    image_size: tuple[int, int] | None = None,
    layers: tuple[int, ...] | None = None,
    frame_interval_s: float | None = None,
    licence: str | None = None,
    resize_grid: bool = False,
    slide_windows: bool = False,
    window_stride: tuple[int, int] | None = None,
    hindcast: bool | None = None,
) -> Bundle:
    """Load parts and put them together; random weights in any make an untrained bundle.

    Args:
        encoder: as `load_encoder` takes it.
        pca, forecaster: folders of parts, or bundles; no PCA when None.
        heads: task -> folder of its head, or a bundle that has one for it.
        name: of the bundle.
        image_size: (H, W) of the encoder; what gives the forecaster's patch grid when None.
        layers: of the encoder; those that the PCA was fitted on when None.
        frame_interval_s: seconds between frames; what the forecaster was trained on when None.
        licence: what the user says about the weights.
        resize_grid: stretch the forecaster's position embeddings to the patch grid of `image_size`
            (the paper's position interpolation, sec. 3.3).
        slide_windows: or run it window by window over that grid.
        window_stride: (rows, columns) of patches from window to window; no overlap when None.
        hindcast: of a world forecaster, as `WorldConfig` says; its own when None.

    Raises:
        BundleError: a part that was made with another one (both are named), or that is missing.
        UsageError: nobody states the frame interval; ways to a larger grid that do not go together.
    """
    if resize_grid and slide_windows:
        raise UsageError("--resize-grid and --slide-windows are two ways; give one")
    if (resize_grid or slide_windows) and image_size is None:
        raise UsageError("give --image-size, which the forecaster shall be run at")
    if window_stride is not None and not slide_windows:
        raise UsageError("--window-stride is for --slide-windows")
    model, forecaster_part = load_forecaster(forecaster)
    interval_s = frame_interval_s or forecaster_part.frame_interval_s
    if interval_s is None:
        raise UsageError(f"{forecaster} states no frame interval; give --interval")
    compression, pca_part = (None, None) if pca is None else load_pca(pca)
    fitted_on = pca_part.recipe.get("layers") if pca_part is not None else None
    given = layers or (tuple(fitted_on) if fitted_on else None)
    if image_size is None and model.grid is not None:
        module = _encoder(encoder, model.grid, given)
    else:
        module = load_encoder(encoder, image_size, given)
    if compression is None:
        compression = IdentityPCA(module.feature_size)
    trained, head_parts = _heads(heads)
    _check(module, compression, pca_part, forecaster_part, trained, head_parts)
    at_grid = _at_grid(model, module.config.grid, resize_grid, slide_windows, window_stride)
    if hindcast is not None:
        if not isinstance(at_grid, WorldForecaster):
            raise UsageError(f"--hindcast is for kind world; the forecaster is {at_grid.kind}")
        at_grid = at_grid.with_options(hindcast=hindcast)
    return Bundle(
        name=name,
        encoder=module,
        pca=compression,
        forecaster=at_grid,
        heads={task: head.head for task, head in trained.items()},
        tasks={task: head.task for task, head in trained.items()},
        frame_interval_s=interval_s,
        trained=is_trained(module)
        and all(
            bool(part.recipe.get("trained", True))
            for part in (forecaster_part, *head_parts.values())
        ),
        info=_info(module, pca_part, forecaster_part, head_parts, licence),
        inputs={task: head.reads for task, head in trained.items() if head.reads.layers},
    )


def _at_grid(
    model: TrainableForecaster,
    grid: tuple[int, int],
    resize_grid: bool,
    slide_windows: bool,
    stride: tuple[int, int] | None,
) -> Forecaster:
    """The forecaster for the encoder's patch grid.

    Raises:
        BundleError: another grid than the forecaster's, and no way to it was chosen.
    """
    if isinstance(model, WorldForecaster):
        if resize_grid or slide_windows:
            raise UsageError(
                "--resize-grid and --slide-windows are for forecasters of kind masked; kind world "
                "runs on any patch grid"
            )
        return model
    own = model.config.grid
    if slide_windows:
        return SlidingForecaster(model, grid, stride=stride)
    if own != grid and not resize_grid:
        raise BundleError(
            f"the forecaster was trained on a patch grid of {own[0]}x{own[1]}, the image size "
            f"gives {grid[0]}x{grid[1]}; add --resize-grid or --slide-windows, or leave out "
            "--image-size"
        )
    return model if own == grid else model.resize_grid(*grid)


def _encoder(text: str, grid: tuple[int, int], layers: tuple[int, ...] | None) -> Encoder:
    """The encoder at the image size that gives the forecaster's patch grid."""
    found = load_encoder(text, layers=layers)
    patch = found.config.patch_size
    size = grid[0] * patch, grid[1] * patch
    return found if found.config.image_size == size else load_encoder(text, size, layers)


def _heads(paths: Mapping[str, str]) -> tuple[dict[str, TrainedHead], dict[str, Part]]:
    trained: dict[str, TrainedHead] = {}
    parts: dict[str, Part] = {}
    for task, path in paths.items():
        trained[task], parts[task] = load_head(path, task)
        if trained[task].task.name != task:
            raise BundleError(f"{path} is a head for {trained[task].task.name}, not for {task}")
    return trained, parts


def _check(
    encoder: Encoder,
    pca: PCA | IdentityPCA,
    pca_part: Part | None,
    forecaster_part: Part,
    heads: Mapping[str, TrainedHead],
    head_parts: Mapping[str, Part],
) -> None:
    """Refuse parts that were not made with one another."""
    given = {
        "encoder": encoder_origin(encoder),
        "pca": pca_part.origin if pca_part is not None else pca_origin(pca, ""),
    }
    if pca_part is not None:
        pca_part.check_made_with("encoder", given["encoder"])
    for kind, origin in given.items():
        forecaster_part.check_made_with(kind, origin)
        for part in head_parts.values():
            part.check_made_with(kind, origin)
    for task, part in head_parts.items():
        # Forecast features are features whoever forecasts them; its layers are nobody else's.
        if heads[task].reads.layers:
            part.check_made_with("forecaster", forecaster_part.origin)


def _info(
    encoder: Encoder,
    pca_part: Part | None,
    forecaster_part: Part,
    head_parts: Mapping[str, Part],
    licence: str | None,
) -> dict[str, Any]:
    """Where everything comes from, as bundle.yaml keeps it."""
    origin = encoder_origin(encoder)
    parts: dict[str, Any] = {"encoder": {"name": origin.name, "fingerprint": origin.fingerprint}}
    named = {"pca": pca_part, "forecaster": forecaster_part}
    named |= {f"{task} head": part for task, part in head_parts.items()}
    for kind, part in named.items():
        if part is not None:
            parts[kind] = {
                "name": part.name,
                "fingerprint": part.fingerprint,
                "seed": part.seed,
                "code_version": part.code_version,
                "scores": part.scores,
                "recipe": part.recipe,
            }
    sources = [("encoder", encoder_sources(encoder))]
    sources += [(kind, part.trained_on) for kind, part in named.items() if part is not None]
    taught = {
        task: part.scores["labels"] for task, part in head_parts.items() if "labels" in part.scores
    }
    return {
        "method": "DINO-Foresight, Karypidis et al. 2025, arXiv 2412.11673",
        **({"pseudo_labels": taught} if taught else {}),
        "trained_on": {
            part: "\n".join(source.to_line() for source in found)
            for part, found in sources
            if found
        },
        "provenance": parts,
        "licence": licence or "not stated",
        "assembled_with": code_version(),
    }


def write_bundle(
    out: Path,
    *parts: Any,
    overwrite: bool = False,
    dtype: torch.dtype = torch.float32,
    **choices: Any,
) -> None:
    """Assemble a bundle, write it, and tell what it holds; more arguments as of `assemble`.

    Raises:
        ForesightError: as there; the folder cannot be written.
    """
    bundle = assemble(*parts, **choices)
    bundle.save(out, overwrite=overwrite, dtype=dtype)
    taught = bundle.info.get("pseudo_labels", {})
    heads = [f"{task} ({taught[task]})" if task in taught else task for task in bundle.heads]
    print(
        f"{out}: bundle {bundle.name}, frame interval {bundle.frame_interval_s:g} s, "
        f"heads: {', '.join(heads) or 'none'}" + ("" if bundle.trained else "  (UNTRAINED)")
    )
    if not bundle.heads:
        warn(NO_HEADS)
