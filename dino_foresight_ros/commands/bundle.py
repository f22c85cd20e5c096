"""`foresight bundle`: make or look at a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bundle", help="make the untrained bundle, or show what a bundle holds"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    tiny = actions.add_parser(
        "untrained-tiny", help="write a small bundle with random weights (predictions mean nothing)"
    )
    tiny.add_argument("--out", type=Path, required=True, help="folder to write")
    tiny.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    tiny.add_argument("--force", action="store_true", help="replace an existing folder")
    show = actions.add_parser("show", help="print a bundle's parts, sizes and provenance")
    show.add_argument("bundle", help="folder, or untrained-tiny")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    if args.action == "untrained-tiny":
        from dino_foresight_ros.model.presets import write_untrained_tiny

        out = write_untrained_tiny(args.out, seed=args.seed, overwrite=args.force)
        print(f"{out}: untrained bundle (seed {args.seed}); its predictions mean nothing")
        return 0
    return _show(args.bundle)


def _show(path: str) -> int:
    from dino_foresight_ros.model import Bundle

    bundle = Bundle.load(path)
    config, encoder = bundle.forecaster.config, bundle.encoder.config
    rows = {
        "name": bundle.name + ("" if bundle.trained else "  (UNTRAINED)"),
        "encoder": f"{encoder.model}, layers {list(encoder.layers)}, "
        f"image {encoder.image_size[0]}x{encoder.image_size[1]}",
        "pca": f"{bundle.pca.features} -> {bundle.pca.channels}",
        "forecaster": f"{config.layers} layers, width {config.width}, {config.heads} heads, "
        f"{config.attention} attention, {config.context_frames} context frames, "
        f"patch grid {config.grid[0]}x{config.grid[1]}",
        "frame interval": f"{bundle.frame_interval_s} s",
    }
    for name, head in bundle.heads.items():
        rows[name] = f"{head.config.kind} head, {head.config.outputs} outputs"
    parts = {"encoder": bundle.encoder, "forecaster": bundle.forecaster, **bundle.heads}
    for name, part in parts.items():
        rows[f"{name} parameters"] = f"{sum(p.numel() for p in part.parameters()):,}"
    for key, value in bundle.info.items():
        rows[key] = str(value)
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
    return 0
