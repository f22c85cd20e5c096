"""`foresight train head`: what turns features into segmentation, depth or normals."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import add_data, add_encoder, layer_list
from dino_foresight_ros.errors import InputError, UsageError

_FLAGS: dict[str, tuple[type, str]] = {
    "class_weights": (str, "none, median-frequency or inverse-sqrt"),
    "depth": (str, "metric (metres) or relative (inverse depth 0 to 255, the authors')"),
    "bins": (int, "depth classes"),
    "min_m": (float, "least depth of a metric head"),
    "max_m": (float, "most depth of a metric head"),
    "loss_size": (str, "image or output: the size at which loss and labels meet"),
    "crop_scale": (float, "a random crop keeps at least this share of height and width"),
    "horizontal_flip": (float, "probability of mirroring; 0, with crop_scale 1: encode once"),
    "steps": (int, "optimiser steps"),
    "minutes": (float, "instead: wall-clock minutes"),
    "batch_size": (int, "pictures per step, over all processes"),
    "accumulate": (int, "parts that a process's pictures of a step are computed in"),
    "lr": (float, "highest learning rate"),
    "weight_decay": (float, "decoupled, as AdamW's"),
    "precision": (str, "auto, float32, bfloat16 or float16"),
    "ema": (float, "decay of averaged weights; 0: none"),
    "evaluations": (int, "validations over the budget"),
    "validation_images": (int, "held-out pictures at most"),
    "cache_gb": (float, "memory for features that are encoded once"),
    "workers": (int, "reading processes"),
    "seed": (int, "of everything random"),
}
_FREE_ON_RESUME = (
    "steps", "minutes", "accumulate", "precision", "evaluations", "validation_images", "cache_gb",
    "workers",
)  # fmt: skip
_INPUTS: dict[str, Any] = {
    "task": None, "data": None, "validation": None, "validation_share": 0.1, "encoder": None,
    "image_size": None, "layers": None, "dtype": "auto", "pca": None, "forecaster": None,
    "forecaster_layers": None, "steps_ahead": 1, "interval": None,
}  # fmt: skip
"""What a run is made from -> default. None on the command line: not given, the run's own."""
_PRESET = "paper"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    from dino_foresight_ros.training.head_recipe import PRESETS, TASKS

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "head",
        help="train a segmentation, depth or normals head on frozen features",
        description="From single labelled pictures, on features that went through the PCA and "
        "back. With --forecaster on forecast features instead, from labelled clips. The run folder "
        "then holds the best head (for `foresight bundle assemble --head TASK=RUN`). A run is gone "
        "on with by `--resume --out RUN` alone.",
        epilog="Ctrl-C ends a run after the step it is in, with a checkpoint (exit code 130).",
    )
    parser.add_argument("--task", choices=TASKS, help="what the head predicts")
    add_data(parser, required=False)
    parser.add_argument(
        "--validation", nargs="+", metavar="SPEC", help="held-out data (default: a share of --data)"
    )
    parser.add_argument(
        "--validation-share", type=float, metavar="X",
        help="of --data, held out without --validation (default: 0.1)",
    )  # fmt: skip
    add_encoder(parser, required=False)
    parser.set_defaults(dtype=None)
    parser.add_argument(
        "--pca", metavar="DIR", help="a fitted PCA or a bundle (default: features as they are)"
    )
    forecast = parser.add_argument_group("forecast features")
    forecast.add_argument(
        "--forecaster", metavar="DIR", help="train on what this one forecasts: a run or a bundle"
    )
    forecast.add_argument(
        "--forecaster-layers", type=layer_list, metavar="N,N,N,N",
        help="read the forecaster's tokens after these blocks (4 for a DPT head, or 1), counted "
        "from 0, instead of the features that it forecasts (the paper's appendix)",
    )  # fmt: skip
    forecast.add_argument(
        "--steps-ahead", type=int, metavar="K", help="how far to forecast (default: 1)"
    )
    forecast.add_argument(
        "--interval", type=float, metavar="S",
        help="seconds between frames (default: the forecaster's)",
    )  # fmt: skip
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"(default: {_PRESET})")
    group = parser.add_argument_group("recipe (defaults: the preset's)")
    for name, (kind, text) in _FLAGS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", dest=name, type=kind, default=argparse.SUPPRESS,
            metavar="X", help=text,
        )  # fmt: skip
    parser.add_argument("--name", help="of the head (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train."""
    from dino_foresight_ros.training.distributed import joined
    from dino_foresight_ros.training.run_folder import has_checkpoint, write_config
    from dino_foresight_ros.training.train_head import HeadTraining, make_model, make_task

    with joined(args.device) as processes:

        def say(text: str) -> None:
            if processes.is_main:
                print(text, file=sys.stderr, flush=True)

        config, recipe = processes.agree(lambda: _settings(args))
        inputs, data = processes.agree(lambda: _open(args, recipe, processes.device, say))
        task = processes.agree(lambda: make_task(args.task, data.train, recipe))
        model = processes.agree(lambda: make_model(inputs, task, recipe))
        training = processes.agree(lambda: HeadTraining(inputs, data, task, recipe, processes, say))
        processes.agree(lambda: write_config(args.out, config) if processes.is_main else None)
        resume = args.resume and has_checkpoint(args.out)
        result = training.run(model, args.out, config["name"], resume)
        if processes.is_main:
            _report(args.out, training, result)
    return 0


def _settings(args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Return what config.yaml says, and the recipe; fill in what was not given.

    Raises:
        ForesightError: the folder does not fit, or settings make no sense or another run.
    """
    from dino_foresight_ros.training.head_recipe import head_recipe
    from dino_foresight_ros.training.run_folder import check_folder, check_unchanged, read_config

    check_folder(args.out, args.resume)
    flags = {name: getattr(args, name) for name in _FLAGS if hasattr(args, name)}
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name in _INPUTS
        if (value := getattr(args, name)) is not None
    }
    inputs, name = {**_INPUTS, **given}, args.name or args.out.name
    if args.resume:
        saved = read_config(args.out)
        inputs, old = _run_of(saved, args.out)
        check_unchanged(inputs, given)
        recipe = head_recipe(args.preset, flags) if args.preset else _changed(old, flags)
        check_unchanged(old.to_dict(), recipe.to_dict(), _FREE_ON_RESUME)
        name = args.name or str(saved.get("name", name))
    else:
        missing = [name for name in ("task", "data", "encoder") if name not in given]
        if missing:
            raise UsageError(f"give --{missing[0]}, or --resume to go on with a run")
        recipe = head_recipe(args.preset or _PRESET, flags)
    for key, value in inputs.items():
        is_shape = key in ("image_size", "layers", "forecaster_layers") and value is not None
        setattr(args, key, tuple(value) if is_shape else value)
    _check(args)
    return {"kind": "head", "name": name, "inputs": inputs, "recipe": recipe.to_dict()}, recipe


def _run_of(saved: dict[str, Any], out: Path) -> tuple[dict[str, Any], Any]:
    """Inputs and recipe of the run in a folder."""
    from dino_foresight_ros.training.head_recipe import HeadRecipe

    try:
        if saved["kind"] != "head":
            raise InputError(f"{out} holds a run of a {saved['kind']}, not of a head")
        recipe: dict[str, Any] = {
            k: tuple(v) if k == "channels" else v for k, v in saved["recipe"].items()
        }
        return {name: saved["inputs"][name] for name in _INPUTS}, HeadRecipe(**recipe)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out} holds no head's run: config.yaml lacks {error}") from error


def _changed(recipe: Any, flags: dict[str, Any]) -> Any:
    """The recipe with other values; a budget replaces the recipe's as a whole."""
    budget = {"steps": None, "minutes": None} if flags.keys() & {"steps", "minutes"} else {}
    return replace(recipe, **{**budget, **flags})


def _report(out: Path, training: Any, result: Any) -> None:
    from dino_foresight_ros.training.model_parts import load_head

    best = "no evaluation in this part of the run"
    if result.best is not None:
        best = f"best {result.best.summary} after step {result.best_step}"
    print(
        f"{out}: {training.task.name} head, {result.steps} steps in "
        f"{result.elapsed_s / 60:.1f} min; on {training.features}: {best}"
    )
    true = training.score_on_true_features(load_head(out)[0].head)
    if true is not None:
        print(f"the same head on the labelled picture's own features: {true.summary}")


def _check(args: argparse.Namespace) -> None:
    for name in ("forecaster_layers", "interval"):
        if getattr(args, name) is not None and args.forecaster is None:
            raise UsageError(f"--{name.replace('_', '-')} needs --forecaster")
    if args.steps_ahead != 1 and args.forecaster is None:
        raise UsageError("--steps-ahead needs --forecaster")
    if not 1 <= args.steps_ahead <= 16:
        raise UsageError(f"--steps-ahead is {args.steps_ahead}; it must be 1 to 16")
    if args.interval is not None and not args.interval > 0:
        raise UsageError(f"--interval is {args.interval}; it must be positive")


def _open(args: argparse.Namespace, recipe: Any, device: Any, say: Any) -> Any:
    """Open data and parts, and check that these were made with one another."""
    from dino_foresight_ros.cli.train.arguments import open_encoder
    from dino_foresight_ros.model import HeadInput, IdentityPCA
    from dino_foresight_ros.recordings import open_recordings
    from dino_foresight_ros.training.data import check_disjoint, split_recordings
    from dino_foresight_ros.training.encoders import encoder_origin
    from dino_foresight_ros.training.head_inputs import HeadInputs
    from dino_foresight_ros.training.model_parts import load_forecaster, load_pca
    from dino_foresight_ros.training.pca_fit import pca_origin
    from dino_foresight_ros.training.train_head import HeadData

    recordings = open_recordings(args.data, say)
    forecaster, forecaster_part = None, None
    if args.forecaster is not None:
        forecaster, forecaster_part = load_forecaster(args.forecaster)
    if args.image_size is None and forecaster is not None:
        args.image_size = _size_for(args, forecaster)
    encoder = open_encoder(args, device)
    made_with = {"encoder": encoder_origin(encoder)}
    pca: Any = IdentityPCA(encoder.feature_size)
    made_with["pca"] = pca_origin(pca, "")
    if args.pca is not None:
        pca, part = load_pca(args.pca)
        part.check_made_with("encoder", made_with["encoder"])
        made_with["pca"] = part.origin
    interval_s = args.interval
    if forecaster_part is not None:
        for kind in ("encoder", "pca"):
            forecaster_part.check_made_with(kind, made_with[kind])
        made_with["forecaster"] = forecaster_part.origin
        interval_s = interval_s or forecaster_part.frame_interval_s
        if interval_s is None:
            raise UsageError(
                f"{args.forecaster} does not state its frame interval; give --interval"
            )
    reads = HeadInput()
    if args.forecaster_layers is not None:
        reads = HeadInput("forecaster_layers", args.forecaster_layers)
    inputs = HeadInputs(encoder, pca, forecaster, reads, args.steps_ahead)
    if args.validation is not None:
        train, held_out = recordings, open_recordings(args.validation, say)
        check_disjoint(train, held_out, "trained on and validated on")
    else:
        gap_s = (inputs.steps + 4) * (interval_s or 0.4)
        train, held_out = split_recordings(recordings, args.validation_share, recipe.seed, gap_s)
    return inputs, HeadData(train, held_out, interval_s, made_with)


def _size_for(args: argparse.Namespace, forecaster: Any) -> tuple[int, int]:
    """The image size that gives the forecaster's patch grid."""
    from dino_foresight_ros.training.encoders import load_encoder

    patch = load_encoder(args.encoder).config.patch_size
    height, width = forecaster.config.grid
    return height * patch, width * patch
