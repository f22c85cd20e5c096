"""`foresight convert`: the paper authors' checkpoints to a bundle, and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.files import check_replaceable
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.shipped import BUNDLE_FILES


def _head(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or name not in HEADS or not path:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=FILE with NAME one of {', '.join(HEADS)}"
        )
    return name, Path(path)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert", help="turn the paper authors' checkpoints into a bundle, or a bundle into them"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--forecaster", type=Path, metavar="CKPT", help="Lightning checkpoint")
    source.add_argument(
        "--to-reference",
        metavar="BUNDLE",
        help="write this bundle in the authors' formats",
    )
    parser.add_argument("--pca", type=Path, metavar="PTH", help="their PCA file")
    parser.add_argument(
        "--encoder",
        type=Path,
        metavar="SAFETENSORS",
        help="DINOv2 weights in their original naming, where the checkpoint holds none",
    )
    parser.add_argument(
        "--encoder-heads", type=int, metavar="N", help="attention heads (default: width / 64)"
    )
    parser.add_argument(
        "--head", type=_head, action="append", default=[], metavar="TASK=CKPT",
        help=f"a head; TASK is one of {', '.join(HEADS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--frame-interval", type=float, metavar="S",
        help="seconds between the frames it was trained on (default: 3/17, every third frame of "
        "Cityscapes)",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the bundle (default: the checkpoint's)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace an existing folder")
    return parser


def run(args: argparse.Namespace) -> int:
    """Convert."""
    from dino_foresight_ros.errors import BundleError, UsageError

    if args.out.exists() and not args.force:
        raise BundleError(f"{args.out} exists; choose another --out or add --force")
    if args.to_reference is not None:
        from dino_foresight_ros.model import Bundle
        from dino_foresight_ros.model.reference.export import REFERENCE_FILES, export_reference

        check_replaceable(args.out, REFERENCE_FILES)
        for path in export_reference(Bundle.load(args.to_reference), args.out):
            print(path)
        return 0
    check_replaceable(args.out, BUNDLE_FILES)
    heads = dict(args.head)
    if len(heads) < len(args.head):
        raise UsageError("a head is given twice; give each task once")
    if args.encoder_heads is not None and args.encoder_heads < 1:
        raise UsageError(f"--encoder-heads is {args.encoder_heads}; it must be >= 1")
    if args.frame_interval is not None and not args.frame_interval > 0:
        raise UsageError(f"--frame-interval is {args.frame_interval}; it must be positive")
    from dino_foresight_ros.model.reference.conversion import FRAME_INTERVAL_S, convert_reference

    bundle = convert_reference(
        args.forecaster,
        args.pca,
        args.encoder,
        heads,
        args.encoder_heads,
        args.name,
        args.frame_interval or FRAME_INTERVAL_S,
    )
    ignored = bundle.info["ignored_tensors"]
    bundle.save(args.out, overwrite=args.force)
    names = ", ".join(bundle.heads) or "none"
    print(f"{args.out}: bundle {bundle.name}, heads: {names}")
    if ignored:
        print(f"knowingly ignored {len(ignored)} tensors: {', '.join(ignored[:8])}")
    return 0
