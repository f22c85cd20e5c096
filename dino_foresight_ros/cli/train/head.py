"""`foresight train head`: what turns features into segmentation, depth or normals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import (
    Options,
    add_data,
    add_encoder,
    add_placement,
    add_recipe,
    layer_list,
    steps_list,
    train,
)
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.training.recipes import HeadRecipe


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "head",
        help="train a segmentation, depth or normals head on frozen features",
        description="From single labelled pictures, on features that went through the PCA and "
        "back. With --forecaster on forecast features instead, from labelled clips. The run folder "
        "then holds the best head (for `foresight bundle assemble --head TASK=RUN`). A run is gone "
        "on with by `--resume --out RUN` alone.",
        epilog="Ctrl-C ends a run after the step it is in, with a checkpoint (exit code 130).",
    )
    parser.add_argument("--task", choices=HEADS, help="what the head predicts")
    add_data(parser, required=False)
    parser.add_argument(
        "--validation", nargs="+", metavar="SPEC", help="held-out data (default: a share of --data)"
    )
    parser.add_argument(
        "--validation-share", type=float, metavar="X",
        help="of --data, held out without --validation (default: 0.1)",
    )  # fmt: skip
    add_encoder(parser, required=False)
    add_placement(parser)
    parser.set_defaults(dtype=None)
    parser.add_argument(
        "--pca", metavar="DIR", help="a fitted PCA or a bundle (default: features as they are)"
    )
    parser.add_argument(
        "--from", dest="start", metavar="RUN",
        help="start from this head, of the same shape: a run, or a bundle. Kind centres also "
        "starts from a head for segmentation",
    )  # fmt: skip
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
        "--steps-ahead",
        type=steps_list,
        metavar="K,...",
        help="how far to forecast (default: 1); of several the batch's pictures take turns, 0 is "
        "the picture's own features",
    )
    forecast.add_argument(
        "--interval", type=float, metavar="S",
        help="seconds between frames (default: the forecaster's)",
    )  # fmt: skip
    parser.add_argument("--name", help="of the head (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="processes on this machine, one per GPU (default: %(default)s)",
    )  # fmt: skip
    add_recipe(parser, HeadRecipe)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, here or in several processes."""
    train_head(vars(args))
    return 0


def train_head(options: Options) -> None:
    """Train a head by the command's options.

    Raises:
        ForesightError: as `training.train_head.plan_head` and `run_head`.
    """
    from dino_foresight_ros.training.train_head import INPUTS, plan_head, run_head

    train(options, HeadRecipe, plan_head, run_head, options.get("name"), inputs=INPUTS)
