"""`foresight train features`: encode recordings once and keep what the encoder gave."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import add_data, add_encoder, add_reading


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "features",
        help="encode recordings once and keep the features on disk",
        description="Training then never runs the encoder. Run again, after whatever stopped it, "
        "it goes on where it was; with more --data it adds to the store.",
    )
    add_data(parser)
    add_encoder(parser)
    parser.add_argument(
        "--pca", metavar="DIR", help="keep PCA channels: a fitted PCA or a bundle (default: raw)"
    )
    parser.add_argument(
        "--stride-s", type=float, metavar="S", help="seconds between frames (default: every frame)"
    )
    add_reading(parser)
    parser.add_argument(
        "--rank", type=int, metavar="R", help="of several processes that share the work"
    )
    parser.add_argument(
        "--world", type=int, metavar="W",
        help="how many processes (default for both: as torchrun sets them, else one)",
    )  # fmt: skip
    parser.add_argument(
        "--shard-mb", type=float, default=64.0, metavar="MB",
        help="size of a new store's files, which is also what a killed run does again "
        "(default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the store")
    parser.add_argument("--force", action="store_true", help="begin an existing store anew")
    return parser


def run(args: argparse.Namespace) -> int:
    """Encode what is missing."""
    from dino_foresight_ros.cli.train.arguments import open_encoder, warn
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model.devices import resolve_device
    from dino_foresight_ros.progress import Progress
    from dino_foresight_ros.recordings import BadFiles, open_recordings
    from dino_foresight_ros.training.distributed import processes_from_environment
    from dino_foresight_ros.training.encoders import encoder_origin
    from dino_foresight_ros.training.feature_plan import FeatureRecipe, plan_store
    from dino_foresight_ros.training.feature_writer import remove_store, write_features
    from dino_foresight_ros.training.model_parts import load_pca

    if (args.rank is None) != (args.world is None):
        raise UsageError("give --rank and --world together")
    rank, world, local = processes_from_environment()
    if args.rank is not None:
        rank, world = args.rank, args.world
    shard_bytes = int(args.shard_mb * 2**20)
    recipe = FeatureRecipe(args.stride_s, args.batch, args.workers, rank, world, shard_bytes)
    if args.force and world > 1:
        raise UsageError("--force with several processes: they would remove each other's work")
    device = resolve_device(args.device)
    if args.device == "auto" and device.type == "cuda" and world > 1:
        device = resolve_device(f"cuda:{local}")
    recordings = open_recordings(args.data, warn)
    encoder = open_encoder(args, device)
    pca = None
    if args.pca is not None:
        module, part = load_pca(args.pca)
        part.check_made_with("encoder", encoder_origin(encoder))
        pca = (module.to(device), part.origin)
    if args.force:
        remove_store(args.out)
    plan = plan_store(recordings, encoder, pca, recipe, args.out)
    print(plan.size(), flush=True)
    if rank == 0 and (warning := plan.warning()) is not None:
        warn(warning)
    bad = BadFiles(plan.frames, on_warning=warn)
    with Progress("features", "frame") as progress:
        missing = write_features(plan, encoder, pca and pca[0], recipe, bad, progress.show)
    share = f"rank {rank} of {world}: " if world > 1 else ""
    if missing:
        print(f"{share}done; {missing} shards of other processes are missing in {args.out}")
    else:
        print(f"{share}{args.out} is complete")
    return 0
