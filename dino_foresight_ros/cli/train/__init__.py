"""`foresight train`: the parts of a bundle, from recordings.

Each stage is a module of `dino_foresight_ros.cli.train` with two functions, as a
subcommand's: `add_parser(subparsers)`, which returns its parser, and `run(args) -> int`.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from dino_foresight_ros.errors import ForesightError

STAGES: tuple[str, ...] = ("pixels", "encoder", "pca", "features", "forecaster", "head", "all")
"""In the order that --help lists them."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train the parts of a bundle from your own recordings",
        description="Each stage reads what the stages before it wrote: fit a PCA, keep features "
        "on disk, train a forecaster and heads, then `foresight bundle assemble`.",
    )
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name in STAGES:
        module = importlib.import_module(f"dino_foresight_ros.cli.train.{name}")
        module.add_parser(stages).set_defaults(run_stage=module.run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the chosen stage."""
    from dino_foresight_ros.process.cpu import set_up_cpu
    from dino_foresight_ros.training.launch import (
        lost_worker,
        processes_from_environment,
        quieten_torch,
    )

    set_up_cpu()
    if processes_from_environment()[1] > 1:
        quieten_torch()
    try:
        return int(args.run_stage(args))
    except RuntimeError as error:
        told = lost_worker(error)
        if told is None:
            raise
        raise told from error
    except ModuleNotFoundError as error:
        if error.name not in ("jsonargparse", "lightning_fabric", "sklearn", "tensorboard"):
            raise
        raise ForesightError(
            f"training needs {error.name}: pip install 'dino_foresight_ros[training]'"
        ) from error
