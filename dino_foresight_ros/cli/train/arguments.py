"""Arguments that several stages share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def image_size(text: str) -> tuple[int, int]:
    """Parse "HxW"."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, such as 224x448")
    return int(height), int(width)


def layer_list(text: str) -> tuple[int, ...]:
    """Parse "2,5,8,11"."""
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of layers, such as 2,5,8,11")
    return tuple(int(part) for part in parts)


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --data."""
    parser.add_argument(
        "--data", nargs="+", required=required, metavar="SPEC",
        help="what to read: a video, folder of pictures, bag, folder of several, or KIND:PATH?... "
        "(synthetic, cityscapes, nuscenes, camvid, ...)",
    )  # fmt: skip


def add_encoder(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --encoder and what belongs to it."""
    parser.add_argument(
        "--encoder", required=required, metavar="E",
        help="a bundle or untrained-tiny (its encoder), an encoder part, or a family such as "
        "dinov2-base-reg (weights fetched by timm)",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", type=image_size, metavar="HxW",
        help="pixels that frames are resized to (default: the bundle's, else 224x448)",
    )  # fmt: skip
    parser.add_argument(
        "--layers", type=layer_list, metavar="N,N,...",
        help="blocks whose outputs are taken, counted from 0 (default: the encoder's own)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"),
        help="number format of the encoder; auto: float32 on a CPU, float16 on a GPU",
    )  # fmt: skip


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how frames are read."""
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="frames encoded together (default: 8)"
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that read (default: 2)"
    )


def refuse_existing(out: Path, force: bool) -> None:
    """Refuse an output folder that exists, unless --force is given.

    Raises:
        ForesightError: it exists.
    """
    from dino_foresight_ros.errors import ForesightError

    if out.exists() and not force:
        raise ForesightError(f"{out} exists; choose another --out or add --force")


def open_encoder(args: argparse.Namespace, device: Any = None) -> Any:
    """Load the encoder that the arguments name.

    Raises:
        ForesightError: there is none, or it cannot be had.
    """
    import torch

    from dino_foresight_ros.model.devices import DTYPES, resolve_device
    from dino_foresight_ros.training.encoders import load_encoder

    device = resolve_device(args.device) if device is None else device
    # Not bfloat16: some values have means many times their deviation, which eight bits would drown.
    on_gpu = torch.float16 if device.type == "cuda" else torch.float32
    dtype = DTYPES.get(args.dtype, on_gpu)
    return load_encoder(args.encoder, args.image_size, args.layers, device, dtype)


def warn(text: str) -> None:
    """Print a warning of one line."""
    import sys

    print(f"foresight: {text}", file=sys.stderr)
