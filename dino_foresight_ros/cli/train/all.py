"""`foresight train all`: from recordings to a finished, measured bundle."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import add_data, add_encoder, add_placement
from dino_foresight_ros.cli.train.stages import Stages, say
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import ForecasterRecipe, HeadRecipe

_HEAD_PRESET = "light"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "all",
        help="every stage, from recordings to a measured bundle",
        description="Fits the PCA, keeps features, trains the forecaster and (with --labels or "
        "--pseudo-labels) heads, assembles the bundle and evaluates it, each into a folder below "
        "--out. Run again, a stage is skipped when its output is there and its inputs are "
        "unchanged, gone on with when it was interrupted, and done anew when they changed. Each "
        "stage is one command, which is printed and then run.",
    )
    add_data(parser)
    add = parser.add_argument
    add(
        "--labels", nargs="+", default=[], metavar="SPEC",
        help="labelled data: trains a head for every kind of label in it",
    )  # fmt: skip
    add(
        "--pseudo-labels", metavar="BUNDLE",
        help="for data without labels: train heads on what the heads of this bundle (tiny, a "
        "folder, hub:owner/name) see in the pictures of --data; the new bundle says so",
    )  # fmt: skip
    add("--tasks", nargs="+", choices=HEADS, help="only these heads")
    add(
        "--test", nargs="+", metavar="SPEC",
        help="what to measure on (default: the last fifth of every recording of --data and "
        "--labels, which is then not trained on)",
    )  # fmt: skip
    add(
        "--validation-share", type=float, metavar="X",
        help="of the rest, held out while training (default: 0.1)",
    )  # fmt: skip
    add_encoder(parser)
    add_placement(parser)
    add("--channels", type=int, metavar="N", help="of the PCA (default: 98 %% of the variance)")
    add("--stride-s", type=float, metavar="S", help="seconds between frames that are encoded")
    add("--interval", type=float, metavar="S", help="seconds between the bundle's frames")
    add("--preset", default="small", help="of the forecaster (default: %(default)s)")
    add("--head-preset", help=f"of the heads (default: {_HEAD_PRESET})")
    add("--minutes", type=float, metavar="N", help="of training the forecaster")
    add("--steps", type=int, metavar="N", help="instead: optimiser steps")
    add("--head-minutes", type=float, metavar="N", help="of training each head")
    add("--head-steps", type=int, metavar="N", help="instead: optimiser steps")
    add("--processes", type=int, default=1, metavar="N", help="that train the forecaster")
    add("--workers", type=int, default=2, metavar="N", help="processes that read (default: 2)")
    add("--max-clips", type=int, metavar="N", help="of the evaluation, per series")
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--name", help="of the bundle (default: the folder's)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of all stages")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run what is not done yet."""
    from dino_foresight_ros.training.stages import StageRunner

    _check(args)
    args.head_preset = args.head_preset or _HEAD_PRESET
    args.out = args.out.expanduser()
    runner = StageRunner(args.out, say)
    with runner.locked():
        Stages(args, runner).run()
    return 0


def _check(args: argparse.Namespace) -> None:
    for one, other in (("minutes", "steps"), ("head_minutes", "head_steps")):
        if getattr(args, one) is not None and getattr(args, other) is not None:
            flags = [f"--{name.replace('_', '-')}" for name in (one, other)]
            raise UsageError(f"{flags[0]} and {flags[1]} are both budgets; give one")
    for name in ("tasks", "head_preset", "head_minutes", "head_steps"):
        if getattr(args, name) is not None and not (args.labels or args.pseudo_labels):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for heads, which need --labels or --pseudo-labels; give both or neither"
            )
    if args.labels and args.pseudo_labels:
        raise UsageError("--labels and --pseudo-labels both say what heads learn from; give one")
    for name, least in (("channels", 1), ("processes", 1), ("max_clips", 1), ("workers", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be >= {least}")
    share = args.validation_share
    if share is not None and not 0 < share < 1:
        raise UsageError(f"--validation-share is {share}; it must be between 0 and 1")
    for name in ("stride_s", "interval"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be positive")
    # What makes no sense is said before hours are spent.
    given = _given(args, minutes="minutes", steps="steps", seed="seed")
    resolve_recipe(ForecasterRecipe, args.preset, None, given)
    given = _given(args, minutes="head_minutes", steps="head_steps", seed="seed")
    resolve_recipe(HeadRecipe, args.head_preset or _HEAD_PRESET, None, given)


def _given(args: argparse.Namespace, **names: str) -> dict[str, Any]:
    return {name: value for name, of in names.items() if (value := getattr(args, of)) is not None}
