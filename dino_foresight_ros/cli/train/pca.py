"""`foresight train pca`: the compression that a forecaster works in."""

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
    refuse_existing,
)
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import PCARecipe


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pca",
        help="fit the PCA of the encoder's features",
        description="One pass over the frames; mean and covariance are exact, in float64, and "
        "memory does not grow with the data. Writes a folder for --pca, with a scree plot.",
    )
    add_data(parser)
    add_encoder(parser)
    add_placement(parser)
    parser.add_argument("--name", help="of the PCA (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace an existing folder")
    add_recipe(parser, PCARecipe)
    return parser


def run(args: argparse.Namespace) -> int:
    """Fit and write."""
    fit_pca(vars(args))
    return 0


def fit_pca(options: Options) -> None:
    """Fit a PCA by the command's options, and write it.

    Raises:
        ForesightError: as `training.fit_pca.make_pca`; options that contradict each other.
    """
    flags = recipe_flags(options, PCARecipe)
    if flags.get("channels") is not None and "keep" in flags:
        raise UsageError("--channels and --keep both say how much to keep; give one")
    recipe = resolve_recipe(PCARecipe, None, options.get("config"), flags)
    from dino_foresight_ros.training.fit_pca import PCA_FILES, make_pca
    from dino_foresight_ros.training.run_folder import alone_in

    with alone_in(options["out"]):
        refuse_existing(options["out"], bool(options.get("force")), PCA_FILES)
        about = {"encoder": options["encoder"], "dtype": options["dtype"]}
        encoder = open_encoder_of(options)
        make_pca(options["out"], options["data"], encoder, recipe, options.get("name"), about)
