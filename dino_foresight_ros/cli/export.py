"""`foresight export`: a bundle's parts for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export", help="write a bundle's parts as ONNX files, each compared with torch"
    )
    parser.add_argument("bundle", help="folder, or the name of one")
    parser.add_argument("--format", choices=("onnx",), default="onnx")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--parts", nargs="+", default=[], metavar="PART",
        help="only these: encoder, remember, forecast, head_TASK (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=3, help="horizons of a world forecaster (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="write into a folder that has files")
    return parser


def run(args: argparse.Namespace) -> int:
    """Export."""
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.model.onnx_export import export_bundle
    from dino_foresight_ros.outputs import MAX_STEPS

    if not 1 <= args.steps <= MAX_STEPS:
        raise UsageError(f"--steps is {args.steps}; it must be 1 to {MAX_STEPS}")
    if args.out.is_dir() and any(args.out.iterdir()) and not args.force:
        raise UsageError(f"{args.out} has files; use --force to write into it")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"{args.out} is a file; --out is a folder")
    export_bundle(Bundle.load(args.bundle), args.out, args.steps, args.parts)
    return 0
