"""CamVid: driving with labels, one frame a second.

DIR/{train,test,...}/images holds pictures named SEQUENCE_NUMBER or SEQUENCE_fNUMBER, the number
counting at 30 Hz; DIR/{train,test,...}/labels pictures of class ids of the same names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dino_foresight_ros.classes import CAMVID_TO_WORLD, WORLD_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings.file_kinds import is_picture
from dino_foresight_ros.recordings.label_tables import LabelTable, table_of
from dino_foresight_ros.recordings.labelled_pictures import (
    ClassIds,
    LabelledPictures,
    Labels,
    picture_size,
    tell_unmatched,
)
from dino_foresight_ros.recordings.recording import LabelSpace, Recording
from dino_foresight_ros.recordings.spec import Spec
from dino_foresight_ros.stamps import NS_PER_S

FRAME_RATE_HZ = 30.0
CLASS_NAMES = tuple(CAMVID_TO_WORLD)
_UNLABELLED_ID = 11
_NAME = re.compile(r"(.+)_f?(\d+)")
_COLOURS = {info.name: info.color for info in WORLD_CLASSES}

CAMVID_SPACE = LabelSpace(
    class_names=CLASS_NAMES,
    palette=tuple(_COLOURS[names[0]] for names in CAMVID_TO_WORLD.values()),
    moving=tuple(CLASS_NAMES.index(name) for name in ("Car", "Pedestrian", "Bicyclist")),
)


def is_camvid(path: Path) -> bool:
    """Tell whether a folder has CamVid's layout."""
    return bool(_splits(path))


def open_camvid(spec: Spec, on_warning: Callable[[str], None]) -> list[Recording]:
    """Open the sequences of one split, or of all; `classes` are CamVid's 11 or the world's 14."""
    splits = _splits(spec.path)
    if not splits:
        raise InputError(
            f"{spec.path} has not CamVid's layout: {spec.path}/train/images is missing"
        )
    preferred = "test" if spec.measures else "train"
    default = preferred if preferred in splits else splits[0]
    wanted = spec.choice("split", (*splits, "all"), default)
    ids = {index: index for index in range(len(CLASS_NAMES))}
    table = table_of(spec, CAMVID_SPACE, ids, CAMVID_TO_WORLD, (_UNLABELLED_ID,))
    found: list[Recording] = []
    for split in splits if wanted == "all" else (wanted,):
        found += _open_split(spec.path / split, table, on_warning)
    return found


def _splits(path: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.parent.name for entry in path.glob("*/images") if entry.is_dir()))


def _open_split(
    folder: Path, table: LabelTable, on_warning: Callable[[str], None]
) -> list[Recording]:
    sequences: dict[str, dict[int, Path]] = defaultdict(dict)
    unexpected: list[str] = []
    for picture in sorted((folder / "images").iterdir()):
        if not is_picture(picture):
            continue
        name = _NAME.fullmatch(picture.stem)
        if name is None or int(name[2]) in sequences[name[1]]:
            unexpected.append(picture.name)
            continue
        sequences[name[1]][int(name[2])] = picture
    if unexpected:
        on_warning(
            f"{folder}/images: {len(unexpected)} pictures left out whose names do not tell "
            f"sequence and frame, or tell them again, such as {unexpected[0]}"
        )
    found: list[Recording] = [
        _sequence(folder, name, frames, table) for name, frames in sequences.items() if frames
    ]
    labels = folder / "labels"
    if found and labels.is_dir() and not any(one.labelled(SEGMENTATION).size for one in found):
        first = next(min(frames.values()) for frames in sequences.values() if frames)
        names = [path.name for path in labels.iterdir()]
        tell_unmatched(labels, names, f"{first.stem}.png", on_warning)
    if not found:
        raise InputError(f"{folder}/images holds no pictures named like 0001TP_006690.png")
    return found


def _sequence(
    folder: Path, name: str, frames: dict[int, Path], table: LabelTable
) -> LabelledPictures:
    numbers = sorted(frames)
    pictures = [frames[number] for number in numbers]
    labels = [folder / "labels" / f"{picture.stem}.png" for picture in pictures]
    segmentation = {index: path for index, path in enumerate(labels) if path.is_file()}
    stamps_ns = np.round(np.array(numbers) * (NS_PER_S / FRAME_RATE_HZ)).astype(np.int64)
    found = LabelledPictures(
        folder,
        pictures,
        f"camvid-{folder.name}-{name}",
        stamps_ns,
        picture_size(pictures),
        {SEGMENTATION: Labels(segmentation, ClassIds(table))},
        label_space=table.space,
        scene=f"camvid {name}",
    )
    found.split = folder.name
    return found
