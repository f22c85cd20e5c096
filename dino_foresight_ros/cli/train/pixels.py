"""`foresight train pixels`: decode or render recordings once, at the size that training wants."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import image_size


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pixels",
        help="decode or render recordings once, for stages that read them many times",
        description="Writes a store that --data pixels:DIR reads, frame by frame in any order. "
        "Worth it where decoding or rendering costs more than training: the synthetic world, "
        "videos, pictures far larger than the model's input. Run again, it goes on where it was.",
    )
    parser.add_argument("--data", nargs="+", required=True, metavar="SPEC", help="what to read")
    parser.add_argument(
        "--image-size", type=image_size, required=True, metavar="HxW", help="pixels to keep"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes at work (default: %(default)s)"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the store."""
    from dino_foresight_ros.training.data.pixel_writer import keep_pixels

    recordings, frames = keep_pixels(args.data, args.image_size, args.out, args.jobs)
    print(f"{args.out}: {recordings} recordings, {frames} frames")
    return 0
