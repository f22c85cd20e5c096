"""Train a head on frozen features, by a recipe: what the run is made from, and the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model.heads import HeadInput
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.recordings import open_recordings

from .data import check_disjoint, split_recordings
from .encoder_loading import encoder_origin, load_encoder, open_encoder
from .head_inputs import HeadInputs
from .head_setup import make_model, make_task, start_from
from .head_training import HeadData, HeadTraining
from .model_parts import load_forecaster, load_head, load_pca
from .objective import RunResult
from .pca_fit import pca_origin
from .processes import agree, joined
from .recipes import VALIDATION_SHARE, HeadRecipe
from .run_folder import RunPlan, plan_run, write_config

INPUTS: dict[str, Any] = {
    "task": None, "data": None, "validation": None, "validation_share": VALIDATION_SHARE,
    "encoder": None, "image_size": None, "layers": None, "dtype": "auto", "pca": None,
    "forecaster": None, "forecaster_layers": None, "steps_ahead": 1, "interval": None,
    "start": None,
}  # fmt: skip
"""What a run is made from -> default."""


def plan_head(
    folder: Path, inputs: Mapping[str, Any], flags: Mapping[str, Any], **choices: Any
) -> RunPlan[HeadRecipe]:
    """Put a run together; arguments as of `run_folder.plan_run`, with `INPUTS`.

    Raises:
        ForesightError: as there; inputs that do not belong together.
    """
    if not choices.get("resume"):
        missing = [name for name in ("task", "data", "encoder") if inputs.get(name) is None]
        if missing:
            raise UsageError(f"give --{missing[0]}, or --resume to go on with a run")
    task = inputs.get("task")
    plan = plan_run(HeadRecipe, folder, inputs, flags, defaults=INPUTS, variant=task, **choices)
    found = plan.inputs
    for name in ("forecaster_layers", "interval"):
        if found[name] is not None and found["forecaster"] is None:
            raise UsageError(f"--{name.replace('_', '-')} needs --forecaster")
    if found["steps_ahead"] != 1 and found["forecaster"] is None:
        raise UsageError("--steps-ahead needs --forecaster")
    steps = _steps(found["steps_ahead"])
    if not all(0 <= step <= MAX_STEPS for step in steps) or not any(steps):
        raise UsageError(
            f"--steps-ahead is {', '.join(map(str, steps))}; it must be 1 to {MAX_STEPS}, or "
            "several of 0 (the picture's own features) and these"
        )
    if 0 in steps and found["forecaster_layers"] is not None:
        raise UsageError("--forecaster-layers has nothing to read 0 steps ahead; leave 0 out")
    if found["interval"] is not None and not found["interval"] > 0:
        raise UsageError(f"--interval is {found['interval']}; it must be positive")
    return plan


def run_head(plan: RunPlan[HeadRecipe], device: str = "auto", name: str | None = None) -> None:
    """Do a whole run: open data and parts, train, and tell what came out.

    Args:
        plan: from `plan_head`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        name: of the head; the folder's, or what the run that is gone on with calls it.

    Raises:
        ForesightError: as `run_training`; data or parts that do not fit.
    """
    recipe, folder = plan.recipe, plan.folder
    name = name or str((plan.saved or {}).get("name", folder.name))
    with joined(device, recipe.precision, recipe.strategy) as fabric:

        def say(text: str) -> None:
            if fabric.is_global_zero:
                print(text, file=sys.stderr, flush=True)

        inputs, data = agree(fabric, lambda: _open(plan, fabric.device, say))
        task = agree(fabric, lambda: make_task(plan.inputs["task"], data.train, recipe))
        model = agree(fabric, lambda: make_model(inputs, task, recipe))
        if (start := plan.inputs["start"]) is not None:  # a resumed run loads its own weights later
            made_with = data.made_with
            earlier = agree(fabric, lambda: start_from(model, task, inputs.reads, start, made_with))
            data = replace(data, earlier=earlier)
        training = agree(fabric, lambda: HeadTraining(inputs, data, task, recipe, fabric, say))
        resume = plan.resumes
        config = {
            "kind": "head", "name": name, "inputs": plan.inputs, "recipe": recipe.to_dict()
        }  # fmt: skip
        agree(fabric, lambda: write_config(folder, config) if fabric.is_global_zero else None)
        result = training.run(model, folder, name, resume)
        if fabric.is_global_zero:
            _report(folder, training, result)


def _open(
    plan: RunPlan[HeadRecipe], device: torch.device, say: Callable[[str], None]
) -> tuple[HeadInputs, HeadData]:
    """Open data and parts, and check that these were made with one another."""
    inputs = plan.inputs
    size, layers, reads_layers = (
        None if inputs[name] is None else tuple(inputs[name])
        for name in ("image_size", "layers", "forecaster_layers")
    )
    recordings = open_recordings(inputs["data"], say)
    forecaster, forecaster_part = None, None
    if inputs["forecaster"] is not None:
        forecaster, forecaster_part = load_forecaster(inputs["forecaster"])
        if (
            size is None and forecaster.grid is not None
        ):  # the one that gives the forecaster's patch grid
            patch = load_encoder(inputs["encoder"]).config.patch_size
            size = tuple(side * patch for side in forecaster.grid)
    encoder = open_encoder(inputs["encoder"], size, layers, device, inputs["dtype"])
    made_with = {"encoder": encoder_origin(encoder)}
    pca: PCA | IdentityPCA = IdentityPCA(encoder.feature_size)
    made_with["pca"] = pca_origin(pca, "")
    if inputs["pca"] is not None:
        pca, part = load_pca(inputs["pca"])
        part.check_made_with("encoder", made_with["encoder"])
        made_with["pca"] = part.origin
    interval_s = inputs["interval"]
    if forecaster_part is not None:
        for kind in ("encoder", "pca"):
            forecaster_part.check_made_with(kind, made_with[kind])
        made_with["forecaster"] = forecaster_part.origin
        interval_s = interval_s or forecaster_part.frame_interval_s
        if interval_s is None:
            raise UsageError(
                f"{inputs['forecaster']} does not state its frame interval; give --interval"
            )
    reads = HeadInput()
    if reads_layers is not None:
        reads = HeadInput("forecaster_layers", reads_layers)
    read = HeadInputs(encoder, pca, forecaster, reads, _steps(inputs["steps_ahead"]))
    if inputs["validation"] is not None:
        train, held_out = recordings, open_recordings(inputs["validation"], say)
        check_disjoint(train, held_out, "trained on and validated on")
    else:
        gap_s = head_gap_s(max(read.steps), interval_s)
        share = inputs["validation_share"]
        train, held_out = split_recordings(recordings, share, plan.recipe.seed, gap_s)
    return read, HeadData(train, held_out, interval_s, made_with)


def _steps(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def head_gap_s(steps: int = 1, interval_s: float | None = None) -> float:
    """Seconds between what a head is trained on and what it is validated on: a clip and more."""
    return (steps + 4) * (interval_s or 0.4)


def _report(folder: Path, training: HeadTraining, result: RunResult) -> None:
    best = "no evaluation in this part of the run"
    if result.best is not None:
        best = f"best {result.best.summary} after step {result.best_step}"
    print(
        f"{folder}: {training.task.name} head, {result.steps} steps in "
        f"{result.elapsed_s / 60:.1f} min; on {training.features}: {best}"
    )
    true = training.score_on_true_features(load_head(folder)[0].head)
    if true is not None:
        print(f"the same head on the labelled picture's own features: {true.summary}")
