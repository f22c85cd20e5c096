"""`foresight train pixels`: decode or render recordings once, at the size that training wants."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import Options, image_size


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
    add = parser.add_argument
    add("--stride-s", type=float, metavar="S", help="seconds between frames (default: all frames)")
    add(
        "--pseudo-labels", metavar="BUNDLE",
        help="label every picture by the heads of this bundle (tiny, a folder, ...) in place of "
        "the data's own labels; the store, and heads trained on it, say so",
    )  # fmt: skip
    add("--device", default="auto", help="where that bundle runs: auto, cpu, cuda, cuda:N")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the store."""
    keep_pixels(vars(args))
    return 0


def keep_pixels(options: Options) -> None:
    """Write the store by the command's options; goes on with one that is there.

    Raises:
        ForesightError: as `training.pixel_writer.keep_pixels`.
    """
    from dino_foresight_ros.training import pixel_writer

    recordings, frames = pixel_writer.keep_pixels(
        options["data"],
        options["image_size"],
        options["out"],
        options.get("jobs") or 1,
        stride_s=options["stride_s"],
        pseudo_labels=options["pseudo_labels"],
        device=options["device"],
    )
    print(f"{options['out']}: {recordings} recordings, {frames} frames")
