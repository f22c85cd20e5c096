"""Train a forecaster by a recipe: the paper's, or a smaller one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster

from .budget import Budget, Schedule
from .checkpoint import RunState
from .data import ClipAugmentation, ClipDataset
from .distributed import Processes
from .forecaster_data import ForecasterData
from .forecaster_objective import ForecasterObjective
from .forecaster_validation import Validation, validation_clips
from .intervals import middle, nearest_intervals_s
from .loop import run_training
from .loop_config import Evaluation, LoopConfig, Publish, RunResult
from .model_parts import load_forecaster
from .parts import write_part
from .recipes import ForecasterRecipe
from .sampling import Epochs
from .stepping import StepConfig


def resolve_intervals(recipe: ForecasterRecipe, data: ForecasterData) -> ForecasterRecipe:
    """State the intervals that a recipe leaves to the recordings.

    Raises:
        InputError: recordings of single frames.
    """
    intervals = recipe.intervals_s or nearest_intervals_s(data.train)
    return replace(
        recipe,
        intervals_s=intervals,
        frame_interval_s=recipe.frame_interval_s or middle(intervals),
    )


def loop_config(recipe: ForecasterRecipe) -> LoopConfig:
    """The loop's share of a recipe.

    Raises:
        UsageError: values that make no sense.
    """
    betas = recipe.betas
    return LoopConfig(
        budget=Budget(recipe.steps, recipe.minutes),
        schedule=Schedule(recipe.lr, recipe.schedule, recipe.warmup),
        stepping=StepConfig(
            accumulate=recipe.accumulate,
            clip=recipe.clip,
            betas=betas,  # type: ignore[arg-type]  # checked there
            weight_decay=recipe.weight_decay,
            precision=recipe.precision,
            ema=recipe.ema,
        ),
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        evaluations=recipe.evaluations,
        checkpoint_every_s=recipe.checkpoint_every_s,
        log_every=recipe.log_every,
        seed=recipe.seed,
    )


def make_forecaster(
    recipe: ForecasterRecipe,
    data: ForecasterData,
    start: str | Path | None = None,
    saved: Mapping[str, Any] | None = None,
) -> MaskedForecaster:
    """Build the forecaster: with fresh weights of the recipe's seed, or another run's.

    Args:
        recipe: its shape, unless there is a start.
        data: its grid and channels.
        start: a run, a part or a bundle to start from; another patch grid stretches its position
            embeddings (the paper's second stage, sec. 3.3).
        saved: config.yaml of a run that is gone on with; its checkpoint will bring the weights.

    Raises:
        BundleError: a start of another encoder or PCA, or another number of context frames.
    """
    if saved is not None:
        _check_same_data(saved, data)
    if start is None or saved is not None:
        config = _shape(recipe, data)
        if saved is not None:
            config = MaskedConfig.from_dict(saved["model"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return MaskedForecaster(config)
    forecaster, part = load_forecaster(start)
    for kind, origin in data.made_with.items():
        part.check_made_with(kind, origin)
    config = forecaster.config
    for name, wanted in (
        ("channels", data.channels),
        ("context_frames", recipe.context_frames),
    ):
        if getattr(config, name) != wanted:
            raise BundleError(
                f"{start} has {name} {getattr(config, name)}, this run {wanted}; they must be equal"
            )
    forecaster.requires_grad_(True)
    _set_dropout(forecaster, recipe.dropout)
    if config.grid != data.grid:
        forecaster.resize_grid(*data.grid)
    return forecaster


def _check_same_data(saved: Mapping[str, Any], data: ForecasterData) -> None:
    now = {kind: str(origin) for kind, origin in data.made_with.items()}
    for kind in sorted({*now, *saved["made_with"]}):
        before, given = saved["made_with"].get(kind), now.get(kind)
        if before != given:
            raise BundleError(
                f"the run was started with features of the {kind} {before or 'none'}; those given "
                f"now are of {given or 'none'}"
            )
    grid = tuple(saved["model"]["grid"])
    if grid != data.grid:
        raise BundleError(f"the run was started on a patch grid of {grid}, not {data.grid}")


def _shape(recipe: ForecasterRecipe, data: ForecasterData) -> MaskedConfig:
    return MaskedConfig(
        channels=data.channels,
        grid=data.grid,
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        context_frames=recipe.context_frames,
        attention=recipe.attention,
        window=recipe.window,
        mlp_ratio=recipe.mlp_ratio,
        dropout=recipe.dropout,
        predict=recipe.predict,
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
    assert recipe.intervals_s is not None
    augmentation = ClipAugmentation(
        crop_scale=(recipe.crop_scale if data.has_pixels else 1.0, 1.0),
        horizontal_flip=recipe.horizontal_flip if data.has_pixels else recipe.grid_flip,
        time_flip=recipe.time_flip,
    )
    return data.make_clips(
        data.train, recipe.intervals_s, recipe.context_frames, 1, augmentation, recipe.seed,
        recipe.tolerance,
    )  # fmt: skip


def make_validation(
    recipe: ForecasterRecipe, data: ForecasterData, processes: Processes
) -> Validation:
    """Validation on the nominal interval.

    Raises:
        InputError: no held-out recording is long enough for a clip.
    """
    assert recipe.frame_interval_s is not None
    interval_s = recipe.frame_interval_s

    def make(targets: int) -> ClipDataset:
        return data.make_clips(
            data.validation, (interval_s,), recipe.context_frames, targets, ClipAugmentation(),
            recipe.seed, recipe.tolerance,
        )  # fmt: skip

    try:
        clips = validation_clips(make)
    except InputError as error:
        raise InputError(
            f"nothing to validate on: {error}; or give --validation or a larger --validation-share"
        ) from error
    return Validation(
        clips,
        data.to_features,
        recipe.context_frames,
        processes,
        recipe.validation_clips,
        metric="mse" if recipe.loss == "mse" else "smooth_l1",
    )


def train_forecaster(
    model: MaskedForecaster,
    data: ForecasterData,
    recipe: ForecasterRecipe,
    folder: Path,
    processes: Processes,
    *,
    resume: bool = False,
    on_ready: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Train.

    Args:
        model: from `make_forecaster`.
        data: from `data_from_store` or `data_from_pictures`.
        recipe: with intervals resolved (`resolve_intervals`).
        folder: of the run; the best forecaster becomes the part in it.
        processes: from `distributed.joined`.
        resume: go on from the folder's checkpoint.
        on_ready: called in every process once the data is found good, before anything is written.
        say: is told in a line what is trained on what.

    Raises:
        ForesightError: data too short for a clip, or as `run_training`.
    """
    clips, validation = processes.agree(
        lambda: (make_clips(recipe, data), make_validation(recipe, data, processes))
    )
    processes.agree(on_ready)
    parameters = sum(p.numel() for p in model.parameters())
    say(
        f"{parameters / 1e6:.1f} M parameters; {len(clips)} clips of {len(data.train)} recordings, "
        f"{len(validation.indices)} clips of {len(data.validation)} to validate on"
    )
    objective = ForecasterObjective(
        model, data.to_features, recipe.loss, recipe.beta, recipe.mask_schedule
    )
    return run_training(
        objective,
        Epochs(clips, recipe.seed),
        loop_config(recipe),
        folder,
        processes,
        evaluate=validation,
        publish=_publisher(model, data, recipe, folder),
        resume=resume,
        name="forecaster",
    )


def _publisher(
    model: MaskedForecaster, data: ForecasterData, recipe: ForecasterRecipe, folder: Path
) -> Publish:
    def publish(
        weights: Mapping[str, Tensor], state: RunState, evaluation: Evaluation | None
    ) -> None:
        scores: dict[str, Any] = {"step": state.step}
        if evaluation is not None:
            scores |= evaluation.values
        write_part(
            folder,
            "forecaster",
            folder.name,
            model.config.to_dict(),
            weights,
            made_with=data.made_with,
            recipe=recipe.to_dict(),
            seed=recipe.seed,
            scores=scores,
            frame_interval_s=recipe.frame_interval_s,
        )

    return publish
