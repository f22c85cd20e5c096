"""`foresight train encoder`: a small ViT from nothing, on dense labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import image_size


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "encoder",
        help="train a small encoder on labels, where no foundation model is at hand",
        description="A ViT of DINOv2's shape, trained on segmentation, depth and normals at once. "
        "Everybody who can should take DINOv2's weights instead (--encoder dinov2-base-reg in the "
        "other stages): an encoder from nothing knows only what it was shown.",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="SPEC",
        help="labelled recordings; each text is a group, which may lack kinds of labels",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=[],
        metavar="N",
        help="how often each group is drawn, against the others (default: all alike)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run and the part")
    parser.add_argument(
        "--image-size",
        type=image_size,
        default=(154, 280),
        metavar="HxW",
        help="multiples of 14 (default: 154x280)",
    )
    whole = (
        ("--width", 256, "hidden size"),
        ("--depth", 8, "transformer blocks, a multiple of 4"),
        ("--heads", 4, "attention heads"),
        ("--batch-size", 24, "pictures per step"),
        ("--evaluations", 10, "validations over the budget"),
        ("--workers", 1, "processes that read"),
        ("--seed", 0, "of everything random"),
    )
    for name, default, text in whole:
        parser.add_argument(name, type=int, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--crop", type=float, default=0.7, help="least share that a crop keeps")
    parser.add_argument("--minutes", type=float, help="budget in minutes")
    parser.add_argument("--steps", type=int, help="budget in steps")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--resume", action="store_true", help="go on where the run was stopped")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train."""
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model.devices import resolve_device
    from dino_foresight_ros.training.checkpoint import LAST
    from dino_foresight_ros.training.distributed import Processes
    from dino_foresight_ros.training.train_encoder import EncoderRecipe, train_encoder

    has_run = (args.out / LAST).exists()
    if has_run and not args.resume:
        raise UsageError(f"{args.out} holds a run; add --resume, or choose another --out")
    if args.resume and not has_run:
        raise UsageError(f"{args.out} holds no run to resume; leave --resume out")
    recipe = EncoderRecipe(
        data=tuple(args.data),
        shares=tuple(args.shares),
        image_size=args.image_size,
        width=args.width,
        depth=args.depth,
        heads=args.heads,
        batch_size=args.batch_size,
        evaluations=args.evaluations,
        workers=args.workers,
        seed=args.seed,
        lr=args.lr,
        crop=args.crop,
        minutes=args.minutes,
        steps=args.steps,
    )
    done = train_encoder(recipe, args.out, Processes(resolve_device(args.device)), args.resume)
    best = "" if done.best is None else f"; best: {done.best.summary}"
    print(f"{args.out}: {done.steps} steps in {done.elapsed_s / 60:.1f} minutes{best}")
    return 0
