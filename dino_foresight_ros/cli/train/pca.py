"""`foresight train pca`: the compression that a forecaster works in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import add_data, add_encoder, add_reading


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the stage."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pca",
        help="fit the PCA of the encoder's features",
        description="One pass over the frames; mean and covariance are exact, in float64, and "
        "memory does not grow with the data. Writes a folder for --pca, with a scree plot.",
    )
    add_data(parser)
    add_encoder(parser)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--channels", type=int, metavar="N", help="components to keep")
    size.add_argument(
        "--keep", type=float, default=0.98, metavar="SHARE",
        help="instead: share of the standardised variance to keep (default: %(default)s, what the "
        "paper's 1152 of 3072 keep)",
    )  # fmt: skip
    parser.add_argument(
        "--stride-s", type=float, metavar="S", help="seconds between frames (default: every frame)"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=1_000_000, metavar="N",
        help="patches to fit on at most, from frames spread evenly (default: %(default)s)",
    )  # fmt: skip
    add_reading(parser)
    parser.add_argument("--name", help="of the PCA (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace an existing folder")
    return parser


def run(args: argparse.Namespace) -> int:
    """Fit and write."""
    from dino_foresight_ros.cli.train.arguments import open_encoder, refuse_existing, warn
    from dino_foresight_ros.files import whole_folder
    from dino_foresight_ros.progress import Progress
    from dino_foresight_ros.recordings import BadFiles, open_recordings
    from dino_foresight_ros.training.encoders import encoder_origin
    from dino_foresight_ros.training.fit_pca import PCARecipe, draw_scree, fit_pca
    from dino_foresight_ros.training.model_parts import write_pca

    refuse_existing(args.out, args.force)
    recipe = PCARecipe(
        args.channels, args.keep, args.stride_s, args.max_tokens, args.batch, args.workers
    )
    recordings = open_recordings(args.data, warn)
    encoder = open_encoder(args)
    bad = BadFiles(sum(map(len, recordings)), on_warning=warn)
    with Progress("pca", "frame") as progress:
        pca, spectrum = fit_pca(recordings, encoder, recipe, bad, progress.show)
    name = args.name or args.out.name
    kept = spectrum.kept(pca.channels)
    constant = int(spectrum.constant.sum())
    with whole_folder(args.out) as folder:
        write_pca(
            folder,
            name,
            pca,
            made_with={"encoder": encoder_origin(encoder)},
            recipe={
                **vars(recipe),
                "data": args.data,
                "encoder": args.encoder,
                "image_size": encoder.config.image_size,
                "layers": encoder.config.layers,
                "dtype": args.dtype,
            },
            scores={
                "variance_kept": round(kept, 6),
                "tokens": spectrum.tokens,
                "constant_values": constant,
                "unreadable_frames": len(bad),
            },
        )
        draw_scree(spectrum, pca.channels, f"{name}: {spectrum.tokens:,} tokens", folder / SCREE)
    if constant:
        warn(
            f"{constant} of {pca.features} feature values never vary in these frames; they take "
            "no part in the PCA"
        )
    print(
        f"{args.out}: {pca.features} -> {pca.channels} channels keep {100 * kept:.2f} % of the "
        f"standardised variance of {spectrum.tokens:,} tokens; {SCREE} shows it"
    )
    return 0


SCREE = "scree.png"
