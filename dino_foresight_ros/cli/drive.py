"""`foresight drive`: policies drive through the synthetic world by what they see or foresee."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.choices import PRECISIONS


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "drive",
        help="drive through the synthetic world by forecasts, and count collisions",
        description="Closed loop: the world is rendered as it is driven, 5 times a second, with "
        "crossing pedestrians, braking and cutting-in cars. Every policy drives the same seeds: "
        "constant (keeps its speed), sensor (brakes for the true depth of the present), present "
        "and forecast (brake for what --bundle sees or foresees), imagine (chooses among ways that "
        "--bundle imagines: on, left, right, brake), oracle (chooses by the world's truth). "
        "A seed that was driven with the same settings is not driven again.",
    )
    add = parser.add_argument
    add("--seeds", default="0-9", help="worlds, such as 0-19,42 (default: %(default)s)")
    add("--policies", nargs="+", metavar="P",
        help="constant, sensor, present, forecast, imagine, oracle (default: all)")  # fmt: skip
    add("--bundle", default="", help="folder or name of a bundle with metric depth")
    add("--device", default="cpu", help="cpu, cuda, cuda:N (default: %(default)s)")
    add("--dtype", default="auto", choices=PRECISIONS,
        help="of the bundle (default: as forecast_node has it on this machine)")  # fmt: skip
    add("--horizons", nargs="+", type=float, default=[0.2, 0.4, 0.6, 0.8, 1.0], metavar="S",
        help="of the bundle's forecasts, in seconds (default: 0.2 to 1.0)")  # fmt: skip
    add("--seconds", type=float, default=30.0, help="of each drive (default: %(default)s)")
    add("--scene", help="urban, suburban, rural or highway (default: as each seed draws it)")
    add("--hazards", nargs="*", metavar="H", help="crossing, braking, cut_in (default: all)")
    add("--workers", type=int, default=1, help="processes (default: %(default)s)")
    add("--video", type=int, metavar="SEED", help="write this seed's drives side by side as MP4")
    add("--out", type=Path, required=True, metavar="DIR",
        help="folder for seed_N.json, drive.json, drive.md and drive_SEED.mp4")  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> int:
    """Drive, and print the table."""
    from dino_foresight_ros.process.cpu import set_up_cpu

    set_up_cpu()
    import json
    import sys

    from dino_foresight_ros.driving.policies import POLICIES
    from dino_foresight_ros.driving.runs import (
        NEEDS_BUNDLE,
        DriveSettings,
        drive_seeds,
        film_seed,
        read_seeds,
    )
    from dino_foresight_ros.driving.scores import table, totals
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.synthetic import HAZARDS

    usable = [name for name in POLICIES if args.bundle or name not in NEEDS_BUNDLE]
    names = args.policies or usable
    if unknown := [name for name in names if name not in POLICIES]:
        raise UsageError(f"policy {unknown[0]} is unknown; valid: {', '.join(POLICIES)}")
    if not 1.0 <= args.seconds <= 600.0:
        raise UsageError(f"--seconds is {args.seconds:g}; it must be 1 to 600")
    if not 1 <= args.workers <= 256:
        raise UsageError(f"--workers is {args.workers}; it must be 1 to 256")
    hazards = HAZARDS if args.hazards is None else tuple(args.hazards)
    if unknown := [name for name in hazards if name not in HAZARDS]:
        raise UsageError(f"hazard {unknown[0]} is unknown; valid: {', '.join(HAZARDS)}")
    settings = DriveSettings(
        args.seconds, hazards, args.scene, args.bundle, args.device, args.dtype,
        tuple(args.horizons),
    )  # fmt: skip
    settings = settings.fitted()
    settings.world(0)  # refuses a scene that there is not

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    found = drive_seeds(read_seeds(args.seeds), names, settings, args.out, args.workers, say)
    rows = {name: totals(episodes) for name, episodes in found.items()}
    (args.out / "drive.json").write_text(json.dumps(rows, indent=1))
    (args.out / "drive.md").write_text(table(rows) + "\n")
    print(table(rows))
    if args.video is not None:
        path = args.out / f"drive_{args.video}.mp4"
        film_seed(args.video, names, settings, path)
        print(path)
    return 0
