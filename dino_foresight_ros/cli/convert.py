"""`foresight convert`: the paper authors' checkpoints to a bundle, and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.files import check_replaceable
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.shipped import BUNDLE_FILES

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle


def _head(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or name not in HEADS or not path:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=FILE with NAME one of {', '.join(HEADS)}"
        )
    return name, Path(path)


def _rope(text: str) -> tuple[int, int, int]:
    try:
        time, column, row = (int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not T,X,Y, three whole numbers such as 20,20,20"
        ) from error
    return time, column, row


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert", help="turn the paper authors' checkpoints into a bundle, or a bundle into them"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--forecaster", type=Path, metavar="CKPT", help="Lightning checkpoint")
    source.add_argument(
        "--world", type=Path, metavar="F", help="a DINO-world predictor, safetensors or checkpoint"
    )
    source.add_argument(
        "--to-reference",
        metavar="BUNDLE",
        help="write this bundle in the authors' formats",
    )
    parser.add_argument("--pca", type=Path, metavar="PTH", help="their PCA file")
    parser.add_argument(
        "--encoder", metavar="E",
        help="DINOv2 weights in their original naming (safetensors), where the checkpoint holds "
        "none; with --world a bundle, an encoder part or the name of one (dinov3-base)",
    )  # fmt: skip
    parser.add_argument(
        "--predictor-heads", type=int, metavar="N",
        help="attention heads of --world (default: width / 64)",
    )  # fmt: skip
    parser.add_argument(
        "--rope", type=_rope, metavar="T,X,Y",
        help="values of a head of --world that rotate by time, column and row (default: 20,20,20)",
    )  # fmt: skip
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
        "Cityscapes; with --world 0.2, the distance of steps)",
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
    for name in ("predictor_heads", "rope"):
        if getattr(args, name) is not None and args.world is None:
            raise UsageError(f"--{name.replace('_', '-')} is for --world")
    if args.predictor_heads is not None and args.predictor_heads < 1:
        raise UsageError(f"--predictor-heads is {args.predictor_heads}; it must be >= 1")
    bundle = _world(args, heads) if args.world is not None else _reference(args, heads)
    ignored = bundle.info["ignored_tensors"]
    bundle.save(args.out, overwrite=args.force)
    names = ", ".join(bundle.heads) or "none"
    print(f"{args.out}: bundle {bundle.name}, heads: {names}")
    if ignored:
        print(f"knowingly ignored {len(ignored)} tensors: {', '.join(ignored[:8])}")
    return 0


def _reference(args: argparse.Namespace, heads: dict[str, Path]) -> Bundle:
    from dino_foresight_ros.model.reference.conversion import FRAME_INTERVAL_S, convert_reference

    return convert_reference(
        args.forecaster,
        args.pca,
        None if args.encoder is None else Path(args.encoder),
        heads,
        args.encoder_heads,
        args.name,
        args.frame_interval or FRAME_INTERVAL_S,
    )


def _world(args: argparse.Namespace, heads: dict[str, Path]) -> Bundle:
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model.reference.world_conversion import FRAME_INTERVAL_S, convert_world
    from dino_foresight_ros.model.reference.world_tensors import ROPE
    from dino_foresight_ros.training.encoder_loading import load_encoder

    if args.encoder_heads is not None:
        raise UsageError("--encoder-heads is for --forecaster; with --world --encoder is a name")
    return convert_world(
        args.world,
        args.predictor_heads,
        args.rope or ROPE,
        None if args.encoder is None else load_encoder(args.encoder),
        args.pca,
        heads,
        args.name,
        args.frame_interval or FRAME_INTERVAL_S,
    )
