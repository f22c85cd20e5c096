"""`foresight compare`: variants of a model trained and measured on the same scenes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="train variants of a model and set them apart, scene by scene",
        description="Trains every variant that a YAML file describes with every seed, measures "
        "each on the same scenes, and writes a page, a table and a plot of the differences. Run "
        "again, it does what is missing; what several variants share is made once. "
        "docs/training.md describes the file.",
        epilog="Ctrl-C ends a training after the step it is in, with a checkpoint (exit code 130).",
    )
    add = parser.add_argument
    add(
        "file", nargs="?", metavar="FILE.yaml",
        help="what to compare: a file, or the name of one that comes with the package",
    )  # fmt: skip
    add("--list", action="store_true", help="list those that come with the package, and end")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: %(default)s)")
    add(
        "--out", type=Path, metavar="DIR",
        help="folder of all work and results; several comparisons may share it",
    )  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what is missing, and tell what came out and where it is."""
    from dino_foresight_ros.process.cpu import set_up_cpu

    set_up_cpu()
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.training.compare import (
        compare,
        preset_names,
        read_comparison,
        run_comparison,
        write_comparison,
    )

    if args.list:
        for name in preset_names():
            print(f"{name}: {read_comparison(name).about}")
        return 0
    if args.file is None or args.out is None:
        raise UsageError("give a FILE.yaml and --out, or --list")
    comparison = read_comparison(args.file)
    out = args.out.expanduser()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = compare(comparison, run_comparison(comparison, out, args.device, say))
    paths = write_comparison(comparison, rows, out)
    print(paths[0].read_text())
    for path in paths:
        print(f"  {path}")
    return 0
