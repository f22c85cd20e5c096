"""`foresight train features`: encode recordings once and keep what the encoder gave."""

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
    open_encoder_of,
    recipe_flags,
)
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import FeatureRecipe


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "features",
        help="encode recordings once and keep the features on disk",
        description="Training then never runs the encoder. Run again, after whatever stopped it, "
        "it goes on where it was; with more --data it adds to the store. Several processes share "
        "the work by --rank and --world, or under torchrun.",
    )
    add_data(parser)
    add_encoder(parser)
    add_placement(parser)
    parser.add_argument(
        "--pca", metavar="DIR", help="keep PCA channels: a fitted PCA or a bundle (default: raw)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument("--force", action="store_true", help="begin an existing store anew")
    add_recipe(parser, FeatureRecipe)
    return parser


def run(args: argparse.Namespace) -> int:
    """Encode what is missing."""
    keep_features(vars(args))
    return 0


def keep_features(options: Options) -> None:
    """Keep the features of recordings by the command's options; goes on with a store that is there.

    Raises:
        ForesightError: as `training.feature_writer.make_features`; options that contradict each
            other.
    """
    from dino_foresight_ros.model.devices import resolve_device
    from dino_foresight_ros.training.feature_writer import make_features, remove_store
    from dino_foresight_ros.training.launch import processes_from_environment
    from dino_foresight_ros.training.run_folder import alone_in

    flags = recipe_flags(options, FeatureRecipe)
    if ("rank" in flags) != ("world" in flags):
        raise UsageError("give --rank and --world together")
    rank, world, local = processes_from_environment()
    flags = {"rank": rank, "world": world, **flags}
    recipe = resolve_recipe(FeatureRecipe, None, options.get("config"), flags)
    anew = bool(options.get("force"))
    if anew and recipe.world > 1:
        raise UsageError("--force with several processes: they would remove each other's work")
    device = resolve_device(options["device"])
    if options["device"] == "auto" and device.type == "cuda" and recipe.world > 1:
        device = resolve_device(f"cuda:{local}")
    with alone_in(options["out"], recipe.rank, recipe.world):
        encoder = open_encoder_of(options, device)
        if anew:
            remove_store(options["out"])
        make_features(options["out"], options["data"], encoder, options["pca"], recipe)
