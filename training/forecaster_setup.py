"""What a forecaster's training begins with: the forecaster, fresh or an earlier one, and clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model.forecasters import (
    MaskedConfig,
    MaskedForecaster,
    WorldForecaster,
    build_forecaster,
)
from dino_foresight_ros.model.forecasters.masked import CODES

from .codebook import fit_codebook
from .data import ClipAugmentation, ClipDataset
from .forecaster_data import ForecasterData, clip_timing
from .forecaster_validation import validation_clips
from .intervals import resolve_intervals
from .model_parts import TrainableForecaster, load_forecaster
from .recipes import ForecasterRecipe
from .world_training import freeze, fresh_world, with_parts


def make_forecaster(
    recipe: ForecasterRecipe,
    data: ForecasterData,
    start: str | Path | None = None,
    saved: Mapping[str, Any] | None = None,
) -> TrainableForecaster:
    """Build the forecaster: with fresh weights of the recipe's seed, or another run's.

    Args:
        recipe: its shape, unless there is a start.
        data: its grid and channels.
        start: a run, a part or a bundle to start from; another patch grid stretches a masked
            forecaster's position embeddings (the paper's second stage, sec. 3.3).
        saved: config.yaml of a run that is gone on with; its checkpoint will bring the weights.

    Raises:
        BundleError: a start of another kind, encoder or PCA, another number of context frames, or
            that takes motion or draws futures in another way.
        InputError: motion is wanted, and of no recording it is known.
        UsageError: a part alone is to be trained, without a start.
    """
    if saved is not None:
        _check_same_data(saved, data)
    if start is None and saved is None and recipe.train_only != "all":
        raise UsageError(
            f"train_only {recipe.train_only} needs a forecaster to start from: give --from RUN"
        )
    if start is None or saved is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = _fresh(recipe, data) if saved is None else build_forecaster(saved["model"])
        model.frame_interval_s = recipe.frame_interval_s or model.frame_interval_s
        assert isinstance(model, TrainableForecaster)
        return freeze(model, recipe) if isinstance(model, WorldForecaster) else model
    forecaster, part = load_forecaster(start)
    grid = patch_grid(recipe, data)
    for kind, origin in data.made_with.items():
        part.check_made_with(kind, origin)
    if forecaster.kind != recipe.kind:
        raise BundleError(f"{start} is of kind {forecaster.kind}, this run of kind {recipe.kind}")
    shape = {"channels": data.channels}
    if isinstance(forecaster, MaskedForecaster):
        shape |= {"context_frames": recipe.context_frames, "masked_frames": recipe.masked_frames}
    for name, wanted in shape.items():
        found = getattr(forecaster.config, name)
        if found != wanted:
            raise BundleError(f"{start} has {name} {found}, this run {wanted}; they must be equal")
    forecaster.requires_grad_(True)
    forecaster.frame_interval_s = recipe.frame_interval_s or forecaster.frame_interval_s
    if isinstance(forecaster, WorldForecaster):
        # Of any grid, without dropout.
        return freeze(with_parts(forecaster, recipe, data.train, start), recipe)
    _set_dropout(forecaster, recipe.dropout)
    if forecaster.config.grid != grid:
        forecaster.resize_grid(*grid)
    return forecaster


def patch_grid(recipe: ForecasterRecipe, data: ForecasterData) -> tuple[int, int]:
    """(h, w) patches that the forecaster sees: the data's, or a window of them.

    Raises:
        UsageError: a window larger than the data's grid.
    """
    if recipe.feature_crop is None:
        return data.grid
    rows, columns = recipe.feature_crop
    if rows > data.grid[0] or columns > data.grid[1]:
        raise UsageError(
            f"feature_crop {rows}x{columns} is larger than the patch grid of "
            f"{data.grid[0]}x{data.grid[1]}; choose a smaller window or a larger image"
        )
    return recipe.feature_crop


def _check_same_data(saved: Mapping[str, Any], data: ForecasterData) -> None:
    now = {kind: str(origin) for kind, origin in data.made_with.items()}
    for kind in sorted({*now, *saved["made_with"]}):
        before, given = saved["made_with"].get(kind), now.get(kind)
        if before != given:
            raise BundleError(
                f"the run was started with features of the {kind} {before or 'none'}; those given "
                f"now are of {given or 'none'}"
            )
    grid = tuple(saved.get("grid") or saved["model"]["grid"])
    if grid != data.grid:
        raise BundleError(f"the run was started on a patch grid of {grid}, not {data.grid}")


def _fresh(recipe: ForecasterRecipe, data: ForecasterData) -> TrainableForecaster:
    """A forecaster of the recipe's shape with random weights."""
    if recipe.kind == WorldForecaster.kind:
        return fresh_world(recipe, data.channels, data.train)
    model = MaskedForecaster(_shape(recipe, data))
    if model.config.codes:
        clips = make_clips(resolve_intervals(recipe, data.train), data)
        model.codebook.copy_(fit_codebook(clips, data.to_features, recipe.codes, recipe.seed))
    return model


def _shape(recipe: ForecasterRecipe, data: ForecasterData) -> MaskedConfig:
    return MaskedConfig(
        channels=data.channels,
        grid=patch_grid(recipe, data),
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        context_frames=recipe.context_frames,
        masked_frames=recipe.masked_frames,
        attention=recipe.attention,
        window=recipe.window,
        mlp_ratio=recipe.mlp_ratio,
        dropout=recipe.dropout,
        predict=recipe.predict,
        codes=recipe.codes if recipe.predict == CODES else 0,
    )


def _set_dropout(forecaster: MaskedForecaster, dropout: float) -> None:
    forecaster.config = replace(forecaster.config, dropout=dropout)
    for module in forecaster.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout  # type: ignore[assignment]


def make_clips(recipe: ForecasterRecipe, data: ForecasterData) -> ClipDataset:
    """Clips to train on.

    Raises:
        InputError: no recording is long enough for one.
    """
    augmentation = ClipAugmentation(
        crop_scale=(recipe.crop_scale if data.has_pixels else 1.0, 1.0),
        horizontal_flip=recipe.horizontal_flip if data.has_pixels else 0.0,
        time_flip=recipe.time_flip,
    )
    if recipe.kind == WorldForecaster.kind:
        clips = data.make_timed_clips(
            data.train, clip_timing(recipe), augmentation=augmentation, seed=recipe.seed
        )
        clips.gives_motion = recipe.motion != "none"
        return clips
    assert recipe.intervals_s is not None
    return data.make_clips(
        data.train, recipe.intervals_s, recipe.context_frames, recipe.masked_frames,
        augmentation=augmentation, seed=recipe.seed, tolerance=recipe.tolerance,
    )  # fmt: skip


def make_validation_clips(recipe: ForecasterRecipe, data: ForecasterData) -> ClipDataset:
    """Clips to validate on, at the nominal interval.

    Raises:
        InputError: no held-out recording is long enough for a clip.
    """
    assert recipe.frame_interval_s is not None
    interval_s = recipe.frame_interval_s

    def make(targets: int) -> ClipDataset:
        clips = data.make_clips(
            data.validation, (interval_s,), recipe.context_frames, targets,
            augmentation=ClipAugmentation(), seed=recipe.seed, tolerance=recipe.tolerance,
        )  # fmt: skip
        clips.gives_motion = recipe.motion != "none"
        return clips

    try:
        return validation_clips(make)
    except InputError as error:
        raise InputError(
            f"nothing to validate on: {error}; or give --validation or a larger --validation-share"
        ) from error
