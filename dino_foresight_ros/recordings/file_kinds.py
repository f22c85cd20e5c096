"""Tells what kind of input a path is, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dino_foresight_ros.errors import InputError

NETPBM_SUFFIXES = (".pbm", ".pgm", ".ppm", ".pnm", ".pam")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", *NETPBM_SUFFIXES)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv")
BAG_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIXES = (".zstd", ".zst", ".lz4")
"""Behind those of bags: the file as a whole is compressed."""


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture; a hidden one is none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_bag(path: Path) -> bool:
    """Tell whether a path is a rosbag2: a folder of one, or a storage file."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(map(is_storage_file, path.iterdir()))
    return is_storage_file(path)


def is_storage_file(path: Path) -> bool:
    """Tell by its name whether a file holds a rosbag2's messages, compressed or not."""
    return unpacked_name(path).endswith(BAG_SUFFIXES)


def unpacked_name(path: Path) -> str:
    """The file's name without the suffix of a compression."""
    return path.stem if path.suffix in PACKED_SUFFIXES else path.name


def without_copies(entries: Iterable[Path]) -> list[Path]:
    """List the storage files among the entries of a folder, in the order of recording.

    Of a file and its compressed copy, which a killed recorder had not finished, it is the file.
    """
    files: dict[str, Path] = {}
    for entry in filter(is_storage_file, entries):
        name = unpacked_name(entry)
        if name == entry.name or name not in files:
            files[name] = entry
    return [files[name] for name in sorted(files, key=natural_key)]


def check_exists(path: Path) -> None:
    """Raise InputError unless the path exists, is readable and is not empty."""
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a video, a folder of pictures or a bag")
        if path.is_dir():
            next(path.iterdir(), None)
            return
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder")
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes)")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Order digits by value and the rest by letter: img2 before img10, 1533151603.51 before .6."""
    # Unix seconds are one number with a fraction, the only such in common use.
    name = re.sub(
        r"(?<!\d)(\d{10}\.)(\d{1,9})(?!\d)", lambda found: found[1] + found[2].ljust(9, "0"), name
    )
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(p), p) if p.isdigit() else (1, 0, p) for p in parts if p] + [(2, 0, name)]
