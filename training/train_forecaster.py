"""Train a forecaster by a recipe: the paper's, or a smaller one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model.forecasters import (
    WorldForecaster,
    describe_forecaster,
)

from .checkpoint import RunState
from .fabric_import import Fabric
from .forecaster_data import ForecasterData, data_from_pictures, data_from_store
from .forecaster_objective import ForecasterObjective
from .forecaster_setup import make_clips, make_forecaster, make_validation_clips
from .forecaster_validation import Validation
from .intervals import resolve_intervals
from .loop import run_training
from .model_parts import TrainableForecaster, load_forecaster
from .objective import Evaluation, Objective, Publish, RunResult
from .parts import write_part
from .processes import agree, joined
from .recipes import PIXELS_ONLY, VALIDATION_SHARE, ForecasterRecipe
from .run_folder import RunPlan, plan_run, write_config
from .sampling import Epochs
from .sources import sources_of
from .world_training import CRPS, BestOfManyValidation, CrpsValidation, WorldObjective


def make_validation(recipe: ForecasterRecipe, data: ForecasterData, fabric: Fabric) -> Validation:
    """Validation on the nominal interval.

    Raises:
        InputError: no held-out recording is long enough for a clip.
    """
    make = Validation
    if recipe.kind == WorldForecaster.kind and recipe.query == "noise":
        make = BestOfManyValidation
    elif recipe.futures != "none":
        make = CrpsValidation
    return make(
        make_validation_clips(recipe, data),
        data.to_features,
        recipe.context_frames,
        fabric,
        recipe.validation_clips,
        metric=_validated(recipe),
        sliding=None if recipe.feature_crop is None else data.grid,
    )


def _validated(recipe: ForecasterRecipe) -> str:
    """The error that decides which weights are best."""
    if recipe.train_only == "futures":
        return CRPS
    return "mse" if recipe.loss == "mse" else "smooth_l1"


def train_forecaster(
    model: TrainableForecaster,
    data: ForecasterData,
    recipe: ForecasterRecipe,
    folder: Path,
    fabric: Fabric,
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
        fabric: from `processes.joined`.
        resume: go on from the folder's checkpoint.
        on_ready: called in every process once the data is found good, before anything is written.
        say: is told in a line what is trained on what.

    Raises:
        ForesightError: data too short for a clip, or as `run_training`.
    """
    clips, validation = agree(
        fabric, lambda: (make_clips(recipe, data), make_validation(recipe, data, fabric))
    )
    agree(fabric, on_ready)
    parameters = sum(p.numel() for p in model.parameters())
    say(
        f"{parameters / 1e6:.1f} M parameters; {len(clips)} clips of {len(data.train)} recordings, "
        f"{len(validation.indices)} clips of {len(data.validation)} to validate on"
    )
    return run_training(
        _objective(model, data, recipe),
        Epochs(clips, recipe.seed),
        recipe,
        folder,
        fabric,
        evaluate=validation,
        publish=_publisher(model, data, recipe, folder),
        resume=resume,
        name="forecaster",
    )


def _objective(
    model: TrainableForecaster, data: ForecasterData, recipe: ForecasterRecipe
) -> Objective:
    if isinstance(model, WorldForecaster):
        return WorldObjective(model, data.to_features, recipe)
    return ForecasterObjective(
        model,
        data.to_features,
        recipe.loss,
        recipe.beta,
        recipe.mask_schedule,
        recipe.feature_crop,
    )


def _publisher(
    model: TrainableForecaster, data: ForecasterData, recipe: ForecasterRecipe, folder: Path
) -> Publish:
    trained_on = sources_of(data.train, data.earlier)

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
            describe_forecaster(model),
            weights,
            made_with=data.made_with,
            recipe=recipe.to_dict(),
            seed=recipe.seed,
            scores=scores,
            frame_interval_s=recipe.frame_interval_s,
            trained_on=trained_on,
        )

    return publish


INPUTS: dict[str, Any] = {
    "features": None, "data": None, "validation": None, "validation_share": VALIDATION_SHARE,
    "pca": None, "start": None, "encoder": None, "image_size": None, "layers_taken": None,
    "pixel_augmentation": False,
}  # fmt: skip
"""What a run is made from -> default."""


def plan_forecaster(
    folder: Path, inputs: Mapping[str, Any], flags: Mapping[str, Any], **choices: Any
) -> RunPlan[ForecasterRecipe]:
    """Put a run together; arguments as of `run_folder.plan_run`, with `INPUTS`.

    Raises:
        ForesightError: as there; inputs that do not belong together.
    """
    if not choices.get("resume"):
        given = {name: value for name, value in inputs.items() if value is not None}
        _check_inputs(given, flags)
        if flags.get("kind") == WorldForecaster.kind:
            choices["preset"] = choices.get("preset") or ForecasterRecipe.WORLD_PRESET
        elif "data" in given:
            choices["preset"] = choices.get("preset") or ForecasterRecipe.PICTURES_PRESET
    plan = plan_run(ForecasterRecipe, folder, inputs, flags, defaults=INPUTS, **choices)
    if plan.saved is None and plan.inputs["features"] is not None and plan.recipe.changes_pictures:
        raise UsageError(
            "the recipe crops or mirrors pictures, which features from disk cannot be: give --data "
            "with --pixel-augmentation, or a preset without, such as "
            f"{ForecasterRecipe.DEFAULT_PRESET}"
        )
    return plan


def _check_inputs(inputs: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    if ("features" in inputs) == ("data" in inputs):
        raise UsageError("give --features STORE, or --data SPEC --pixel-augmentation")
    if "data" in inputs:
        if not inputs.get("pixel_augmentation"):
            raise UsageError(
                "--data encodes every picture in every step, which only --pixel-augmentation "
                "needs; add it, or make features once with `foresight train features`"
            )
        missing = [name for name in ("encoder", "pca") if name not in inputs]
        if missing:
            raise UsageError(f"--data needs --{missing[0]}")
    else:
        for name, flag in (
            ("encoder", "--encoder"), ("image_size", "--image-size"),
            ("layers_taken", "--encoder-layers"), ("pixel_augmentation", "--pixel-augmentation"),
        ):  # fmt: skip
            if inputs.get(name):
                raise UsageError(f"{flag} is for --data")
        if len(inputs.get("validation", [""])) != 1:
            raise UsageError("--validation takes one store with --features")
        for name in PIXELS_ONLY:
            if name in flags:
                raise UsageError(f"--{name.replace('_', '-')} is for --data")


def run_forecaster(plan: RunPlan[ForecasterRecipe], device: str = "auto") -> None:
    """Do a whole run: open the data, train, and tell what came out.

    Raises:
        ForesightError: as `train_forecaster`; data or parts that do not fit.
    """
    with joined(device, plan.recipe.precision, plan.recipe.strategy) as fabric:

        def say(text: str) -> None:
            if fabric.is_global_zero:
                print(text, file=sys.stderr, flush=True)

        data = agree(fabric, lambda: _open(plan, say))
        if plan.inputs["start"] is not None:
            start = agree(fabric, lambda: load_forecaster(plan.inputs["start"])[1])
            data = replace(data, earlier=start.trained_on)
        recipe = agree(fabric, lambda: resolve_intervals(plan.recipe, data.train))
        model = agree(
            fabric, lambda: make_forecaster(recipe, data, plan.inputs["start"], plan.saved)
        )
        resume = plan.resumes
        if plan.saved is not None and not resume:
            say(f"{plan.folder} has no checkpoint yet: starting from the beginning")
        config = {
            "kind": "forecaster",
            "inputs": plan.inputs,
            "made_with": {kind: str(origin) for kind, origin in data.made_with.items()},
            "grid": list(data.grid),
            "model": describe_forecaster(model),
            "recipe": recipe.to_dict(),
        }

        def keep_config() -> None:
            if fabric.is_global_zero:
                write_config(plan.folder, config)

        result = train_forecaster(
            model, data, recipe, plan.folder, fabric, resume=resume, on_ready=keep_config, say=say
        )
        if fabric.is_global_zero:
            print(_summary(plan.folder, result))


def _open(plan: RunPlan[ForecasterRecipe], say: Callable[[str], None]) -> ForecasterData:
    inputs, recipe = plan.inputs, plan.recipe
    validation, share = inputs["validation"], inputs["validation_share"]
    pca = None if inputs["pca"] is None else Path(inputs["pca"])
    if inputs["features"] is not None:
        other = None if validation is None else Path(validation[0])
        return data_from_store(Path(inputs["features"]), other, share, pca, recipe)
    assert pca is not None
    size, layers = (
        None if inputs[name] is None else tuple(inputs[name])
        for name in ("image_size", "layers_taken")
    )
    return data_from_pictures(
        inputs["data"], validation, share, (inputs["encoder"], size, layers), pca, recipe, say
    )


def _summary(folder: Path, result: RunResult) -> str:
    best = "" if result.best is None else f"; best after step {result.best_step}"
    last = "" if result.best is None else f" ({result.best.summary})"
    return (
        f"{folder}: {result.steps} steps in {result.elapsed_s / 60:.1f} min, "
        f"{100 * result.wait_fraction:.1f} % of the steps' time spent waiting for data{best}{last}"
    )
