"""`foresight train encoder`: a small ViT from nothing, on dense labels."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import add_recipe, train
from dino_foresight_ros.training.recipes import EncoderRecipe


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "encoder",
        help="train a small encoder on labels, where no foundation model is at hand",
        description="A ViT of DINOv2's shape, trained on segmentation, depth and normals at once. "
        "Everybody who can should take DINOv2's weights instead (--encoder dinov2-base-reg in the "
        "other stages): an encoder from nothing knows only what it was shown.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the run and the part")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--processes", type=int, default=1, metavar="N",
        help="processes on this machine, one per GPU (default: %(default)s)")  # fmt: skip
    add("--resume", action="store_true", help="go on where the run was stopped")
    add_recipe(parser, EncoderRecipe)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, here or in several processes."""
    from dino_foresight_ros.training.run_folder import plan_run
    from dino_foresight_ros.training.train_encoder import run_encoder

    train(vars(args), EncoderRecipe, partial(plan_run, EncoderRecipe), run_encoder)
    return 0
