"""`foresight train forecaster`: train the part that predicts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import image_size, layer_list
from dino_foresight_ros.errors import InputError, UsageError

_GROUPS = {
    "model": "width layers heads context_frames attention window mlp_ratio dropout predict",
    "clips": "intervals_s frame_interval_s tolerance time_flip horizontal_flip crop_scale "
    "grid_flip",
    "loss": "mask_schedule loss beta",
    "budget": "steps minutes",
    "optimiser": "batch_size accumulate lr schedule warmup clip betas weight_decay precision ema",
    "run": "workers evaluations validation_clips checkpoint_every_s log_every seed",
}
_FREE_ON_RESUME = (
    "steps", "minutes", "accumulate", "precision", "workers", "evaluations", "validation_clips",
    "checkpoint_every_s", "log_every",
)  # fmt: skip
_ENCODER = ("encoder", "image_size", "layers_taken")
_INPUTS = ("features", "data", "validation", "validation_share", "pca", "start", *_ENCODER)


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")


def _input_flag(name: str) -> str:
    return {"start": "--from", "layers_taken": "--encoder-layers"}.get(name, _flag(name))


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    from dino_foresight_ros.training.recipes import DEFAULT_PRESET, ForecasterRecipe, preset_names

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "forecaster",
        help="train the forecaster on features, or on pictures with the encoder in the loop",
        description="Values come from the flags, else from --config, else from --preset. The run "
        "folder then holds the best forecaster (for `foresight bundle assemble --forecaster`), "
        "checkpoints, config.yaml and TensorBoard logs. Under torchrun, or with --processes, "
        "several processes train together; --batch-size counts the clips of all of them.",
        epilog="Ctrl-C ends a run after the step it is in, with a checkpoint (exit code 130).",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--features", metavar="STORE", help="from `foresight train features`")
    source.add_argument("--data", nargs="+", metavar="SPEC", help="with --pixel-augmentation")
    add("--pixel-augmentation", action="store_true",
        help="encode in every step, so that pictures can be cropped and mirrored")  # fmt: skip
    add("--encoder", metavar="E", help="with --data: a bundle, an encoder part or a timm name")
    add("--image-size", type=image_size, metavar="HxW",
        help="with --data: size of its pictures (default: the encoder's own)")  # fmt: skip
    add("--encoder-layers", type=layer_list, dest="layers_taken", metavar="N,N,...",
        help="with --data: blocks it gives, from 0 (default: the encoder's own)")  # fmt: skip
    add("--pca", metavar="DIR", help="with --data, or for a store of raw features")
    add("--validation", nargs="+", metavar="V", help="another store, or other SPECs with --data")
    add("--validation-share", type=float, metavar="X",
        help="of the training data, held out without --validation (default: 0.1)")  # fmt: skip
    add("--from", dest="start", metavar="RUN",
        help="start from this run's forecaster, stretched to the patch grid at hand")  # fmt: skip
    add("--preset", help=f"one of {', '.join(preset_names())} (default: {DEFAULT_PRESET})")
    add("--config", type=Path, metavar="YAML", help="values of one's own, named as in config.yaml")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in --out, exactly")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--processes", type=int, default=1, metavar="N",
        help="processes on this machine, one per GPU (default: %(default)s)")  # fmt: skip
    options = {field.name: field for field in fields(ForecasterRecipe)}
    for title, names in _GROUPS.items():
        group = parser.add_argument_group(f"{title} (defaults: the preset's)")
        for name in names.split():
            text = options[name].metadata["help"].replace("%", "%%")
            group.add_argument(
                _flag(name), dest=name, default=argparse.SUPPRESS, metavar="X", help=text
            )
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, here or in several processes."""
    flags = {
        name: None if value == "none" else value
        for names in _GROUPS.values()
        for name in names.split()
        if (value := getattr(args, name, "")) != ""
    }
    if args.processes < 1:
        raise UsageError(f"--processes is {args.processes}; it must be >= 1")
    from dino_foresight_ros.training.distributed import launch, processes_from_environment

    if args.processes > 1:
        if processes_from_environment()[1] > 1:
            raise UsageError("--processes is for a command without torchrun; give one of the two")
        _settings(args, flags)  # so that what makes no sense is said once
        return launch(args.processes, _arguments(args, flags))
    return _train(args, flags)


def _train(args: argparse.Namespace, flags: dict[str, Any]) -> int:
    from dino_foresight_ros.training.distributed import Processes, joined
    from dino_foresight_ros.training.run_folder import has_checkpoint, write_config
    from dino_foresight_ros.training.train_forecaster import (
        make_forecaster,
        resolve_intervals,
        train_forecaster,
    )

    def train(processes: Processes) -> int:
        def say(text: str) -> None:
            if processes.is_main:
                print(text, file=sys.stderr, flush=True)

        inputs, recipe, saved = processes.agree(lambda: _settings(args, flags))
        data = processes.agree(lambda: _open(inputs, recipe, say))
        recipe = processes.agree(lambda: resolve_intervals(recipe, data))
        model = processes.agree(lambda: make_forecaster(recipe, data, inputs["start"], saved))
        resume = args.resume and has_checkpoint(args.out)
        if args.resume and not resume:
            say(f"{args.out} has no checkpoint yet: starting from the beginning")
        config = {
            "kind": "forecaster",
            "inputs": inputs,
            "made_with": {kind: str(origin) for kind, origin in data.made_with.items()},
            "model": model.config.to_dict(),
            "recipe": recipe.to_dict(),
        }

        def keep_config() -> None:
            if processes.is_main:
                write_config(args.out, config)

        result = train_forecaster(
            model, data, recipe, args.out, processes, resume=resume, on_ready=keep_config, say=say
        )
        if processes.is_main:
            print(_summary(args.out, result))
        return 0

    with joined(args.device) as processes:
        return train(processes)


def _summary(out: Path, result: Any) -> str:
    best = "" if result.best is None else f"; best after step {result.best_step}"
    last = "" if result.best is None else f" ({result.best.summary})"
    return (
        f"{out}: {result.steps} steps in {result.elapsed_s / 60:.1f} min, "
        f"{100 * result.wait_share:.1f} % of the steps' time spent waiting for data{best}{last}"
    )


def _settings(
    args: argparse.Namespace, flags: dict[str, Any]
) -> tuple[dict[str, Any], Any, dict[str, Any] | None]:
    """Return inputs, recipe, and what the folder says of the run that is gone on with."""
    from dino_foresight_ros.training.recipes import ForecasterRecipe, resolve_recipe
    from dino_foresight_ros.training.run_folder import check_folder, check_unchanged, read_config
    from dino_foresight_ros.training.train_forecaster import loop_config

    check_folder(args.out, args.resume)
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name in _INPUTS
        if (value := getattr(args, name)) is not None
    }
    if not args.resume:
        inputs = {"validation_share": 0.1, **given, "pixel_augmentation": args.pixel_augmentation}
        _check_inputs(inputs, flags)
        recipe = resolve_recipe(args.preset, args.config, flags)
        loop_config(recipe)  # so that a bad value is told before anything is read
        return _complete(inputs), recipe, None
    if args.preset or args.config:
        raise UsageError("--resume goes on with the run's own recipe: no --preset and no --config")
    saved = read_config(args.out)
    try:
        inputs, old, _ = saved["inputs"], ForecasterRecipe(**saved["recipe"]), saved["model"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{args.out} holds no forecaster's run: config.yaml lacks {error}"
        ) from error
    recipe = old.changed(flags)
    loop_config(recipe)
    check_unchanged(old.to_dict(), recipe.to_dict(), _FREE_ON_RESUME)
    check_unchanged(inputs, given)
    return inputs, recipe, saved


def _complete(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(_INPUTS), **inputs}


def _check_inputs(inputs: dict[str, Any], flags: dict[str, Any]) -> None:
    """Refuse inputs that do not belong together.

    Raises:
        UsageError: with what to give.
    """
    from dino_foresight_ros.training.recipes import FEATURES_ONLY, PIXELS_ONLY

    if ("features" in inputs) == ("data" in inputs):
        raise UsageError("give --features STORE, or --data SPEC --pixel-augmentation")
    if "data" in inputs:
        if not inputs["pixel_augmentation"]:
            raise UsageError(
                "--data encodes every picture in every step, which only --pixel-augmentation "
                "needs; add it, or make features once with `foresight train features`"
            )
        missing = [name for name in ("encoder", "pca") if name not in inputs]
        if missing:
            raise UsageError(f"--data needs --{missing[0]}")
        refused: tuple[str, ...] = FEATURES_ONLY
    else:
        extra = [name for name in (*_ENCODER, "pixel_augmentation") if inputs.get(name)]
        if extra:
            raise UsageError(f"{_input_flag(extra[0])} is for --data")
        if len(inputs.get("validation", [""])) != 1:
            raise UsageError("--validation takes one store with --features")
        refused = PIXELS_ONLY
    for name in refused:
        if name in flags:
            kind = "--data" if name in PIXELS_ONLY else "--features"
            raise UsageError(f"{_flag(name)} is for {kind}")


def _open(inputs: dict[str, Any], recipe: Any, say: Any) -> Any:
    from dino_foresight_ros.training.forecaster_data import data_from_pictures, data_from_store

    validation, share = inputs["validation"], inputs["validation_share"]
    pca = None if inputs["pca"] is None else Path(inputs["pca"])
    if inputs["features"] is not None:
        if recipe.crop_scale < 1 or recipe.horizontal_flip > 0:
            say("features from disk: the recipe's crops and flips need pictures, and are left out")
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


def _arguments(args: argparse.Namespace, flags: dict[str, Any]) -> list[str]:
    """Return the command line of one of several processes."""
    words = ["train", "forecaster", "--out", str(args.out), "--device", args.device]
    for name in (*_INPUTS, "preset", "config"):
        value = getattr(args, name)
        if value is None:
            continue
        if isinstance(value, tuple):
            value = ("x" if name == "image_size" else ",").join(map(str, value))
        words += [_input_flag(name), *map(str, value if isinstance(value, list) else [value])]
    for name in ("pixel_augmentation", "resume"):
        words += [_flag(name)] if getattr(args, name) else []
    for name, value in flags.items():
        words += [_flag(name), "none" if value is None else str(value)]
    return words
