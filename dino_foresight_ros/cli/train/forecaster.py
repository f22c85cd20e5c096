"""`foresight train forecaster`: train the part that predicts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import (
    Options,
    add_recipe,
    image_size,
    layer_list,
    train,
)
from dino_foresight_ros.training.recipes import ForecasterRecipe


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "forecaster",
        help="train the forecaster on features, or on pictures with the encoder in the loop",
        description="Values come from the flags, else from --config, else from --preset "
        f"({ForecasterRecipe.DEFAULT_PRESET} with --features, {ForecasterRecipe.PICTURES_PRESET} "
        "with --data). The run folder then holds the best forecaster (for `foresight bundle "
        "assemble --forecaster`), checkpoints, config.yaml and TensorBoard logs. Under torchrun, "
        "or with --processes, several processes train together; --batch-size "
        "counts the clips of all of them.",
        epilog="Ctrl-C ends a run after the step it is in, with a checkpoint (exit code 130).",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--features", metavar="STORE", help="from `foresight train features`")
    source.add_argument("--data", nargs="+", metavar="SPEC", help="with --pixel-augmentation")
    add("--pixel-augmentation", action="store_true", default=None,
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
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in --out, exactly")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--processes", type=int, default=1, metavar="N",
        help="processes on this machine, one per GPU (default: %(default)s)")  # fmt: skip
    add_recipe(parser, ForecasterRecipe)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, here or in several processes."""
    train_forecaster(vars(args))
    return 0


def train_forecaster(options: Options) -> None:
    """Train a forecaster by the command's options.

    Raises:
        ForesightError: as `training.train_forecaster.plan_forecaster` and `run_forecaster`.
    """
    from dino_foresight_ros.training.train_forecaster import (
        INPUTS,
        plan_forecaster,
        run_forecaster,
    )

    train(options, ForecasterRecipe, plan_forecaster, run_forecaster, inputs=INPUTS)
