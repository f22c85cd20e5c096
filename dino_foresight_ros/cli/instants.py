"""`foresight instants`: feature errors by continuous horizon, however a context lies."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FIRST_SEED = 70_000
"""Of the worlds that are driven otherwise, beyond those that anybody trains on."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "instants",
        help="measure forecasters of any kind by continuous horizon, jitter and missing frames",
        description="Feature errors in percent below copying the newest frame, at horizons of 0.05 "
        "to 3 s. Forecasters of kind world are also asked for fed-back predictions, and from "
        "contexts with jitter, with missing frames, and of 2 to 16 frames; those that take the "
        "vehicle's motion with the true one, without, and with that of another clip.",
    )
    add = parser.add_argument
    add("--forecaster", nargs="+", required=True, metavar="F",
        help="runs of `foresight train forecaster`, or bundles")  # fmt: skip
    add("--features", type=Path, metavar="STORE",
        help="from `foresight train features`, with the PCA that they were trained on")  # fmt: skip
    add("--clips", type=int, default=64, help="contexts for each row (default: %(default)s)")
    add("--samples", type=int, default=8,
        help="futures of forecasters that draw them (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="of where contexts lie (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: %(default)s)")
    ways = parser.add_argument_group(
        "what if it had been driven otherwise",
        "Synthetic worlds are driven up to an instant, and on from there in eight ways: the share "
        "of ways whose forecast is nearest to what that way showed; chance is 12.5 %.",
    )
    ways.add_argument("--counterfactual", type=int, metavar="N", help="number of worlds")
    ways.add_argument("--encoder", metavar="E", help="that the features were made with")
    ways.add_argument("--pca", metavar="DIR", help="likewise")
    add("--out", type=Path, metavar="JSON", help="file to write the numbers to")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure."""
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model.devices import resolve_device
    from dino_foresight_ros.outputs import MAX_SAMPLES
    from dino_foresight_ros.training.evaluation.instants import compare_instants, instants_table

    if args.clips < 1:
        raise UsageError(f"--clips is {args.clips}; it must be >= 1")
    if not 1 <= args.samples <= MAX_SAMPLES:
        raise UsageError(f"--samples is {args.samples}; it must be 1 to {MAX_SAMPLES}")
    if args.counterfactual is None and args.features is None:
        raise UsageError("give --features, --counterfactual, or both")
    found: list[Any] = []
    if args.features is not None:
        device = resolve_device(args.device)
        found = compare_instants(
            args.forecaster, args.features, args.clips, args.seed, args.samples, device
        )
        print(instants_table(found))
    if args.counterfactual is not None:
        found += _drive_otherwise(args)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1))
    return 0


def _drive_otherwise(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the counterfactuals, and print a table."""
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.training.evaluation.counterfactual import (
        compare_counterfactuals,
        counterfactual_table,
    )

    if args.counterfactual < 1:
        raise UsageError(f"--counterfactual is {args.counterfactual}; it must be >= 1")
    for name in ("encoder", "pca"):
        if getattr(args, name) is None:
            raise UsageError(f"--counterfactual needs --{name}")
    seeds = range(FIRST_SEED + args.seed, FIRST_SEED + args.seed + args.counterfactual)
    rows = compare_counterfactuals(args.forecaster, args.encoder, args.pca, seeds)
    print(counterfactual_table(rows))
    return rows
