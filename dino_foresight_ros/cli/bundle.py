"""`foresight bundle`: make, put together or look at a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.cli.train.arguments import (
    Options,
    add_encoder,
    image_size,
    refuse_existing,
)
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.shipped import BUNDLE_FILES

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle

_DTYPE = "float32"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bundle", help="make the untrained bundle, assemble trained parts, show what a bundle holds"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    tiny = actions.add_parser(
        "untrained-tiny", help="write a small bundle with random weights (predictions mean nothing)"
    )
    tiny.add_argument("--out", type=Path, required=True, help="folder to write")
    tiny.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    tiny.add_argument("--force", action="store_true", help="replace an existing folder")
    _add_assemble(actions)
    show = actions.add_parser("show", help="print a bundle's parts, sizes and provenance")
    show.add_argument("bundle", help="folder, or untrained-tiny")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    if args.action == "untrained-tiny":
        from dino_foresight_ros.model import Bundle

        out = Bundle.untrained(args.seed).save(args.out, args.force)
        print(f"{out}: untrained bundle (seed {args.seed}); its predictions mean nothing")
        return 0
    if args.action == "assemble":
        assemble_bundle(vars(args))
        return 0
    return _show(args.bundle)


def _head(text: str) -> tuple[str, str]:
    task, separator, path = text.partition("=")
    if not separator or task not in HEADS or not path:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not TASK=DIR with TASK one of {', '.join(HEADS)}"
        )
    return task, path


def _add_assemble(actions: Any) -> None:
    parser = actions.add_parser(
        "assemble",
        help="put trained parts together",
        description="Parts that were made with other parts than those given are refused.",
    )
    add_encoder(
        parser,
        image_size_default="what gives the forecaster's patch grid",
        layers_default="those that the PCA was fitted on",
    )
    parser.add_argument(
        "--resize-grid", action="store_true",
        help="stretch the forecaster's position embeddings to the patch grid of --image-size",
    )  # fmt: skip
    parser.add_argument(
        "--slide-windows", action="store_true",
        help="run the forecaster window by window over the patch grid of --image-size",
    )  # fmt: skip
    parser.add_argument(
        "--window-stride", type=image_size, metavar="HxW",
        help="patches from window to window; overlaps are averaged (default: no overlap)",
    )  # fmt: skip
    parser.add_argument(
        "--hindcast", action=argparse.BooleanOptionalAction, default=None,
        help="kind world: predict as much of a change as came true of the context's newest frame "
        "(default: as the forecaster says)",
    )  # fmt: skip
    parser.add_argument("--pca", metavar="DIR", help="a fitted PCA or a bundle (default: none)")
    parser.add_argument("--forecaster", required=True, metavar="DIR", help="a run or a bundle")
    parser.add_argument(
        "--head", type=_head, action="append", default=[], metavar="TASK=DIR",
        help=f"a trained head, or a bundle that has one; TASK is one of {', '.join(HEADS)}; "
        "may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--interval", type=float, metavar="S",
        help="seconds between frames (default: what the forecaster was trained on)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default=_DTYPE,
        help="number format of the weights on disk (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--licence", metavar="TEXT", help="what to say about using the weights")
    parser.add_argument("--name", help="of the bundle (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace an existing folder")


def assemble_bundle(options: Options) -> None:
    """Put parts together by the command's options.

    Raises:
        ForesightError: as `training.assemble.write_bundle`; options that make no sense.
    """
    import torch

    from dino_foresight_ros.training.assemble import write_bundle

    heads, out, interval_s = dict(options["head"]), options["out"], options["interval"]
    if len(heads) < len(options["head"]):
        raise UsageError("a head is given twice; give each task once")
    if interval_s is not None and not interval_s > 0:
        raise UsageError(f"--interval is {interval_s}; it must be positive")
    refuse_existing(out, bool(options.get("force")), BUNDLE_FILES)
    write_bundle(
        out,
        options["encoder"],
        options["pca"],
        options["forecaster"],
        heads,
        overwrite=bool(options.get("force")),
        dtype=getattr(torch, options.get("dtype") or _DTYPE),
        name=options["name"] or out.name,
        image_size=options["image_size"],
        layers=options["layers"],
        frame_interval_s=interval_s,
        licence=options.get("licence"),
        resize_grid=bool(options.get("resize_grid")),
        slide_windows=bool(options.get("slide_windows")),
        window_stride=options.get("window_stride"),
        hindcast=options.get("hindcast"),
    )


def _encoder(bundle: Bundle) -> str:
    from dino_foresight_ros.model.encoder import AbsentEncoder

    if isinstance(bundle.encoder, AbsentEncoder):
        return f"none; takes features of {bundle.encoder.feature_size} values per patch"
    config = bundle.encoder.config
    return (
        f"{config.model}, layers {list(config.layers)}, image {config.image_size[0]}x"
        f"{config.image_size[1]}, patch grid {config.grid[0]}x{config.grid[1]}"
    )


def _show(path: str) -> int:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.training.sources import bundle_sources

    bundle = Bundle.load(path)
    forecaster = bundle.forecaster
    rows = {
        "name": bundle.name + ("" if bundle.trained else "  (UNTRAINED)"),
        "encoder": _encoder(bundle),
        "pca": f"{bundle.pca.features} -> {bundle.pca.channels}",
        "forecaster": f"{forecaster.kind}, {forecaster.layers} layers, width {forecaster.width}, "
        f"{forecaster.context_frames} context frames",
        "frame interval": f"{bundle.frame_interval_s} s",
    }
    for name, head in bundle.heads.items():
        rows[name] = f"{head.config.kind} head, {head.config.outputs} outputs"
    parts = {"encoder": bundle.encoder, "forecaster": bundle.forecaster, **bundle.heads}
    for name, part in parts.items():
        rows[f"{name} parameters"] = f"{sum(p.numel() for p in part.parameters()):,}"
    for key, value in bundle.info.items():
        if key == "provenance" and isinstance(value, dict):
            rows |= {f"{kind} is": _origin(part) for kind, part in value.items()}
        elif key == "trained_on" and isinstance(value, dict):
            for of_part, sources in bundle_sources(bundle.info).items():
                more = f", and {len(sources) - 1} more" if len(sources) > 1 else ""
                rows[f"{of_part} trained on"] = sources[0].name + more
        else:
            rows[key] = str(value)
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
    return 0


def _origin(part: Any) -> str:
    """Which part it is and how it came about, in a line; bundle.yaml has recipe and scores."""
    if not isinstance(part, dict):
        return str(part)
    name, print_ = part.get("name"), str(part.get("fingerprint"))[:8]
    more = {"seed": part.get("seed"), "code": part.get("code_version")}
    known = "".join(f", {key} {value}" for key, value in more.items() if value is not None)
    return f"'{name}' ({print_}){known}"
