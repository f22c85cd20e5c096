"""comma10k: single pictures of roads by day and night, with masks of colours (MIT licence).

DIR/imgs (without it images) holds pictures named NUMBER_DEVICE_DRIVE_SEGMENT_FRAME, DIR/masks
pictures of the same names and .png whose colours are the classes. DIR/imgs2 and masks2 are a second
set, with the wide (e) and the narrow camera (f) of each moment: NUMBER_e_... and NUMBER_f_... The
pictures of the driver, imgsd, are not read. As the data set's README has it, names that end in 9
are for validation: https://github.com/commaai/comma10k.

Pictures are of different drives, so each is a recording of one frame. What `classes=world` makes of
the classes is in `classes.COMMA10K_TRAINS_WORLD`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dino_foresight_ros.classes import COMMA10K_CLASSES, COMMA10K_TRAINS_WORLD
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.file_kinds import is_picture
from dino_foresight_ros.recordings.label_tables import table_of
from dino_foresight_ros.recordings.labelled_pictures import (
    ClassColours,
    LabelledPictures,
    Labels,
    picture_size,
    tell_unmatched,
)
from dino_foresight_ros.recordings.recording import LabelSpace, Recording
from dino_foresight_ros.recordings.spec import Spec

TRAIN, VAL = "train", "val"
COMMA10K_SPACE = LabelSpace(
    class_names=tuple(info.name for info in COMMA10K_CLASSES),
    palette=tuple(info.color for info in COMMA10K_CLASSES),
    moving=tuple(i for i, info in enumerate(COMMA10K_CLASSES) if info.is_moving),
)
_FOLDERS = ((("imgs", "images"), "masks"), (("imgs2",), "masks2"))
"""Per set the names that its folder of pictures may have, the usual one first, and its masks'."""
_NAME = re.compile(r"\d+_([ef]_)?(?P<moment>[0-9a-f]{16}_\d{4}-\d\d-\d\d--\d\d-\d\d-\d\d_\d+_\d+)")


def is_comma10k(path: Path) -> bool:
    """Tell whether a folder has comma10k's layout and names."""
    return any(
        _NAME.fullmatch(entry.stem)
        for pictures, _ in _folders(path)
        for entry in pictures.iterdir()
    )


def open_comma10k(spec: Spec, on_warning: Callable[[str], None], bad: BadFiles) -> list[Recording]:
    """Open the pictures of one split, or of all; `classes` are comma10k's 5 or the world's 14.

    Raises:
        InputError: another layout, or no pictures of that split.
        UsageError: a bad option.
    """
    folders = _folders(spec.path)
    if not folders:
        raise InputError(
            f"{spec.path} has not comma10k's layout: {spec.path}/imgs with {spec.path}/masks is "
            "missing"
        )
    found = [
        (path, masks)
        for pictures, masks in folders
        for path in sorted(pictures.iterdir())
        if is_picture(path)
    ]
    if not found:
        raise InputError(f"{folders[0][0]} holds no pictures")
    splits = {_split(path) for path, _ in found}
    preferred, other = (VAL, TRAIN) if spec.measures else (TRAIN, VAL)
    wanted = spec.choice("split", (TRAIN, VAL, "all"), preferred if preferred in splits else other)
    chosen = [one for one in found if wanted in ("all", _split(one[0]))]
    if not chosen:
        raise InputError(
            f"{spec.path} holds no pictures of split={wanted}; the names of val end in 9"
        )
    # Stored ids are places in the list of colours.
    ids = {index: index for index in range(len(COMMA10K_CLASSES))}
    table = table_of(spec, COMMA10K_SPACE, ids, COMMA10K_TRAINS_WORLD)
    read = ClassColours(table, COMMA10K_SPACE.palette)
    recordings: list[Recording] = []
    for picture, masks in chosen:
        try:
            recordings.append(_recording(picture, masks / f"{picture.stem}.png", read))
        except InputError:
            bad.add(str(picture), f"{picture} is no picture that can be read")
    _tell_unmatched(found, on_warning)
    return recordings


def _folders(path: Path) -> list[tuple[Path, Path]]:
    """Folders of pictures, and of the masks of each."""
    found: list[tuple[Path, Path]] = []
    for names, masks in _FOLDERS:
        pictures = next((path / name for name in names if (path / name).is_dir()), None)
        if pictures is not None and (path / masks).is_dir():
            found.append((pictures, path / masks))
    return found


def _split(picture: Path) -> str:
    return VAL if picture.stem.endswith("9") else TRAIN


def _recording(picture: Path, mask: Path, read: ClassColours) -> LabelledPictures:
    found = LabelledPictures(
        picture.parent.parent,
        [picture],
        f"comma10k-{picture.stem}",
        np.zeros(1, np.int64),
        picture_size([picture]),
        {SEGMENTATION: Labels({0: mask} if mask.is_file() else {}, read)},
        label_space=read.table.space,
        scene=_moment(picture.stem),
    )
    found.split = _split(picture)
    return found


def _moment(stem: str) -> str:
    """Device, drive, segment and frame, which both pictures of imgs2 share; empty when not told."""
    named = _NAME.fullmatch(stem)
    return f"comma10k {named['moment']}" if named else ""


def _tell_unmatched(found: list[tuple[Path, Path]], on_warning: Callable[[str], None]) -> None:
    """Tell of folders of masks that fit none of their pictures."""
    expected: dict[Path, list[str]] = defaultdict(list)
    for picture, masks in found:
        expected[masks].append(f"{picture.stem}.png")
    for masks, wanted in expected.items():
        names = {path.name for path in masks.iterdir()}
        if names.isdisjoint(wanted):
            tell_unmatched(masks, names, wanted[0], on_warning)
