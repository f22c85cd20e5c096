"""`foresight fetch`: bundles from a model hub."""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.files import check_replaceable, whole_folder
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.shipped import BUNDLE_FILES

PUBLISHED = "dino-foresight"
REPOSITORY = "Sta8is/DINO-Foresight"
FORECASTERS = {"lowres": "dinof_lowres.ckpt", "highres": "dinof_highres.ckpt"}
"""Trained on images of 224x448 and 448x896 pixels."""
PCA_FILE = "dinov2_pca_448_l[2_5_8_11]_1152.pth"
HEADS = {
    SEGMENTATION: "head_segm_pca1152.ckpt",
    DEPTH: "head_depth_pca1152.ckpt",
    NORMALS: "head_normals_pca1152.ckpt",
}
BUNDLES = Path("bundles")
_OPTIONS_OF_PUBLISHED = {"variant": "--variant", "encoder_heads": "--encoder-heads"}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fetch",
        help="download the paper's published model, or another bundle, from a model hub",
        description="Downloads into the cache of huggingface_hub (HF_HOME) what it lacks of the "
        "files; HF_ENDPOINT and HF_HUB_OFFLINE are honoured.",
    )
    add = parser.add_argument
    add(
        "what",
        metavar="WHAT",
        help=f"{PUBLISHED}: the files of {REPOSITORY}, made into bundles; "
        "hub:owner/name[@revision]: a bundle that lies on the hub",
    )
    add(
        "--out", type=Path, metavar="DIR",
        help=f"{PUBLISHED}: where to put the bundles' folders {PUBLISHED}-lowres and -highres "
        f"(default: {BUNDLES}); hub:owner/name: the folder to write (default: {BUNDLES}/name)",
    )  # fmt: skip
    add(
        "--variant", choices=(*FORECASTERS, "both"),
        help=f"of {PUBLISHED}: 224x448 pixels, 448x896 pixels, or both (default: both)",
    )  # fmt: skip
    add(
        "--encoder-heads", type=int, metavar="N",
        help=f"of {PUBLISHED}: attention heads of the encoder (default: width / 64)",
    )  # fmt: skip
    add("--force", action="store_true", help="replace existing folders")
    return parser


def run(args: argparse.Namespace) -> int:
    """Fetch."""
    if args.what == PUBLISHED:
        return _fetch_published(args)
    if not args.what.startswith("hub:"):
        raise UsageError(f"'{args.what}' is unknown; give {PUBLISHED} or hub:owner/name")
    for attribute, option in _OPTIONS_OF_PUBLISHED.items():
        if getattr(args, attribute) is not None:
            raise UsageError(f"{option} goes with {PUBLISHED} only")
    return _fetch_bundle(args)


def _refuse_existing(folder: Path, args: argparse.Namespace, hint: str = "") -> None:
    if folder.exists() and not args.force:
        raise ForesightError(f"{folder} exists; choose another --out{hint} or add --force")
    check_replaceable(folder, BUNDLE_FILES)


def _fetch_published(args: argparse.Namespace) -> int:
    if args.encoder_heads is not None and args.encoder_heads < 1:
        raise UsageError(f"--encoder-heads is {args.encoder_heads}; it must be >= 1")
    variants = [v for v in FORECASTERS if args.variant in (v, "both", None)]
    targets = {v: (args.out or BUNDLES) / f"{PUBLISHED}-{v}" for v in variants}
    for target in targets.values():
        _refuse_existing(target, args, ", a --variant" if len(targets) > 1 else "")
    from dino_foresight_ros.model.hub import HubError

    try:
        folder = _download_published([FORECASTERS[v] for v in variants])
    except HubError as error:
        raise HubError(f"{error}; {_by_hand(targets, args.encoder_heads)}") from error
    for variant, target in targets.items():
        _convert(folder, variant, target, args)
    print(f"the downloaded files stay in {folder}; the bundles do not need them")
    return 0


def _download_published(forecasters: list[str]) -> Path:
    """Download the files, the size told first; return their folder."""
    from dino_foresight_ros.model.hub import HubRepo, download_sizes, fetch_files

    repo = HubRepo(REPOSITORY)
    names = [*forecasters, PCA_FILE, *HEADS.values()]
    if (sizes := download_sizes(repo, names)) is not None:
        total, missing = map(_readable_size, sizes)
        rest = f"{missing} to download" if sizes[1] else "all in the cache"
        print(f"{REPOSITORY}: {len(names)} files, {total}; {rest}", flush=True)
    return fetch_files(repo, names)


def _readable_size(size: int) -> str:
    """A number of bytes as people write it: "1.27 GB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _convert(folder: Path, variant: str, target: Path, args: argparse.Namespace) -> None:
    from safetensors import SafetensorError

    from dino_foresight_ros.model.reference.conversion import convert_reference

    bundle = convert_reference(
        folder / FORECASTERS[variant],
        folder / PCA_FILE,
        heads={task: folder / name for task, name in HEADS.items()},
        encoder_heads=args.encoder_heads,
        name=f"{PUBLISHED}-{variant}",
    )
    try:
        bundle.save(target, overwrite=args.force)
    except (OSError, SafetensorError) as error:
        raise ForesightError(f"{target} cannot be written: {error}") from error
    height, width = bundle.image_size
    print(f"{target}: bundle {bundle.name}, images {height}x{width}, {', '.join(bundle.heads)}")


def _by_hand(targets: dict[str, Path], encoder_heads: int | None) -> str:
    """Say what to download with a browser, and how to go on from there."""
    files = [*(FORECASTERS[v] for v in targets), PCA_FILE, *HEADS.values()]
    commands = []
    for variant, target in targets.items():
        words = ["foresight", "convert", "--forecaster", f"FILES/{FORECASTERS[variant]}"]
        words += ["--pca", f"FILES/{PCA_FILE}"]
        for task, name in HEADS.items():
            words += ["--head", f"{task}=FILES/{name}"]
        if encoder_heads is not None:
            words += ["--encoder-heads", str(encoder_heads)]
        words += ["--name", f"{PUBLISHED}-{variant}", "--out", str(target)]
        commands.append(shlex.join(words))
    return (
        f"by hand: put {', '.join(files)} from https://huggingface.co/{REPOSITORY} into a folder "
        f"FILES and run: {' && '.join(commands)}"
    )


def _fetch_bundle(args: argparse.Namespace) -> int:
    from dino_foresight_ros.model.hub import HubRepo, fetch_bundle

    repo = HubRepo.parse(args.what)
    target = args.out or BUNDLES / repo.id.partition("/")[2]
    _refuse_existing(target, args)
    source = fetch_bundle(args.what, documents=True)
    _copy(source, target)
    print(f"{target}: bundle of {repo.id}, revision {repo.revision}, commit {source.name}")
    return 0


def _copy(source: Path, target: Path) -> None:
    """Copy a bundle's files out of the cache, all of them or none."""
    with whole_folder(target, BUNDLE_FILES) as scratch:
        for path in source.iterdir():
            if path.suffix in (".yaml", ".safetensors", ".md") or path.name == "LICENSE":
                shutil.copyfile(path, scratch / path.name)
