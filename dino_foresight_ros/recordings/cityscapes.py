"""Cityscapes sequences: snippets of 30 frames at 17 Hz, the 20th with labels.

    DIR/leftImg8bit_sequence/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png
    DIR/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png (or _labelTrainIds.png)
    DIR/gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_instanceIds.png
    DIR/disparity/SPLIT/CITY/CITY_SEQUENCE_FRAME_disparity.png
    DIR/camera/SPLIT/CITY/CITY_SEQUENCE_FRAME_camera.json (depth of the disparity, and `camera`)

What a model of one's own said of the same pictures is read from

    DIR/normals/SPLIT/CITY/CITY_SEQUENCE_FRAME_normals.png
    DIR/pseudo_depth/SPLIT/CITY/CITY_SEQUENCE_FRAME_depth.png

as colours 255 (n + 1) / 2, black unknown, and as 8 bits of inverse depth, 1 far to 255 near, 0
unknown.

Without leftImg8bit_sequence the single pictures of leftImg8bit are taken. Class ids are the 19
training classes.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dino_foresight_ros.classes import CITYSCAPES_CLASSES, CITYSCAPES_TO_WORLD
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.label_tables import LabelTable, table_of
from dino_foresight_ros.recordings.labelled_pictures import (
    NORMALS_AXES,
    OPTICAL,
    ClassIds,
    DisparityDepth,
    InstanceIds,
    LabelledPictures,
    Labels,
    NormalsPicture,
    PseudoDepth,
    picture_size,
    tell_unmatched,
)
from dino_foresight_ros.recordings.recording import LabelSpace, Recording
from dino_foresight_ros.recordings.spec import Spec
from dino_foresight_ros.stamps import NS_PER_S

FRAME_RATE_HZ = 17.0
PAPER_INTERVALS_S = (2 / FRAME_RATE_HZ, 3 / FRAME_RATE_HZ, 4 / FRAME_RATE_HZ)
"""The strides of 2, 3 and 4 frames that the paper draws from, in seconds."""

_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each of the 19 training classes."""
_LAST_LABEL_ID = 33
_FIRST_INSTANCE_ID = 1000
"""Ids of objects are 1000 x label id + a number; below are label ids of pixels without one."""
PSEUDO = "pseudo"
_CALIBRATION = ("fx", "fy", "u0", "v0", "baseline")
"""Fields of the camera files that are used, in pixels, and metres between the cameras."""
_CALIBRATED_SIZE = (2048, 1024)
"""(width, height) of the pictures that the camera files are of."""
# Frames within a sequence that are further apart than this belong to different snippets.
_SNIPPET_GAP = 10
_TRAIN_IDS_SUFFIX, _LABEL_IDS_SUFFIX = "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"
_INSTANCE_IDS_SUFFIX = "_gtFine_instanceIds.png"
_NAME = re.compile(r"((.+)_\d{6})_(\d{6})_leftImg8bit\.(?:png|jpg)")


CITYSCAPES_SPACE = LabelSpace(
    class_names=tuple(info.name for info in CITYSCAPES_CLASSES),
    palette=tuple(info.color for info in CITYSCAPES_CLASSES),
    moving=tuple(index for index, info in enumerate(CITYSCAPES_CLASSES) if info.is_moving),
)
"""The 19 training classes."""


def is_cityscapes(path: Path) -> bool:
    """Tell whether a folder has Cityscapes' layout."""
    return _pictures_folder(path) is not None


def open_cityscapes(spec: Spec, on_warning: Callable[[str], None]) -> list[Recording]:
    """Open the snippets of a split (default: train, and val for measuring)."""
    pictures = _pictures_folder(spec.path)
    if pictures is None:
        raise InputError(
            f"{spec.path} has not Cityscapes' layout: {spec.path}/leftImg8bit_sequence is missing"
        )
    splits = tuple(sorted(entry.name for entry in pictures.iterdir() if entry.is_dir()))
    if not splits:
        raise InputError(f"{pictures} holds no split such as train")
    preferred = "val" if spec.measures else "train"
    default = preferred if preferred in splits else splits[0]
    wanted = spec.choice("split", (*splits, "all"), default)
    reader = _Reader(spec, on_warning)
    found: list[Recording] = []
    for split in splits if wanted == "all" else (wanted,):
        for city in sorted(entry for entry in (pictures / split).iterdir() if entry.is_dir()):
            snippets = list(reader.city(split, city))
            for snippet in snippets:
                snippet.split = split
            found += snippets
    if not found:
        raise InputError(
            f"{pictures}/{wanted} holds no pictures CITY_SEQUENCE_FRAME_leftImg8bit.png"
        )
    reader.warn()
    if spec.options.get("depth") == PSEUDO and not any(len(r.labelled(DEPTH)) for r in found):
        raise InputError(
            f"{spec.path}/pseudo_depth/{wanted} holds no CITY_SEQUENCE_FRAME_depth.png of these "
            "pictures; make them with a model of relative depth, or leave out depth=pseudo"
        )
    return found


def labelled_clip_files(
    root: Path, split: str, every: int, frames: int, place: int = 19
) -> list[tuple[Path, ...]]:
    """Files that the labelled frame of each snippet takes, whether they are there or not.

    Args:
        root: of the data set.
        split: such as val.
        every: stride of the frames, ending with the labelled one.
        frames: how many of them.
        place: of the labelled frame in a snippet of 30, counted from 0.

    Returns:
        Per snippet its pictures, oldest first, and its label file.
    """
    pictures, labels = root / "leftImg8bit_sequence" / split, root / "gtFine" / split
    found: list[tuple[Path, ...]] = []
    cities = {entry.name for folder in (pictures, labels) for entry in folder.glob("*/")}
    for city in sorted(cities):
        numbers: dict[str, set[int]] = defaultdict(set)
        for path in (pictures / city).glob("*"):
            if name := _NAME.fullmatch(path.name):
                numbers[name[1]].add(int(name[3]))
        labelled: dict[tuple[str, int], Path] = {}
        for kind in ("labelIds", "labelTrainIds"):
            for path in (labels / city).glob(f"*_gtFine_{kind}.png"):
                sequence, _, number = path.name.removesuffix(f"_gtFine_{kind}.png").rpartition("_")
                labelled[sequence, int(number)] = path
        for sequence in numbers:
            for snippet in _snippets(sorted(numbers[sequence])):
                within = range(snippet[0], snippet[0] + 30)
                if not any((sequence, frame) in labelled for frame in within):
                    last = snippet[0] + place
                    file = f"{sequence}_{last:06d}_gtFine_labelIds.png"
                    labelled[sequence, last] = labels / city / file
        for (sequence, last), label in sorted(labelled.items()):
            taken = [last - every * back for back in reversed(range(frames))]
            stems = [f"{sequence}_{frame:06d}_leftImg8bit.png" for frame in taken]
            found.append((*(pictures / city / stem for stem in stems), label))
    return found


def _pictures_folder(path: Path) -> Path | None:
    for name in ("leftImg8bit_sequence", "leftImg8bit"):
        if (path / name).is_dir():
            return path / name
    return None


def _tables(spec: Spec) -> tuple[LabelTable, LabelTable]:
    """Return the tables for label ids and for training ids."""
    by_id = {label: index for index, label in enumerate(_TRAIN_IDS)}
    # The labels' own list has further ids, such as the ego vehicle, that are not trained on.
    others = [label for label in range(_LAST_LABEL_ID + 1) if label not in by_id]
    train_ids = {index: index for index in range(19)}
    return (
        table_of(spec, CITYSCAPES_SPACE, by_id, CITYSCAPES_TO_WORLD, others),
        table_of(spec, CITYSCAPES_SPACE, train_ids, CITYSCAPES_TO_WORLD),
    )


class _Snippet(LabelledPictures):
    """Pictures whose camera a file beside them tells, which may come later than they."""

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from super()._fingerprint_parts()
        if self.camera is not None:
            yield repr(self.camera)


class _Reader:
    """Finds the snippets of a city and what belongs to them."""

    def __init__(self, spec: Spec, on_warning: Callable[[str], None]) -> None:
        self.root = spec.path
        self.label_ids, self.train_ids = _tables(spec)
        self._depth_kind = spec.choice("depth", ("yes", "no", PSEUDO), "yes")
        self._with_normals = spec.choice("normals", ("yes", "no"), "yes") == "yes"
        self._normals = NormalsPicture(spec.choice("normals_axes", NORMALS_AXES, OPTICAL))
        self._on_warning = on_warning
        self._unexpected: list[str] = []
        self._without_camera: list[str] = []

    def warn(self) -> None:
        """Tell what was left out."""
        if self._unexpected:
            self._on_warning(
                f"{self.root}: {len(self._unexpected)} pictures left out whose names are not "
                f"CITY_SEQUENCE_FRAME_leftImg8bit.png, such as {self._unexpected[0]}"
            )
        if self._without_camera:
            self._on_warning(
                f"{self.root}: {len(self._without_camera)} disparities without a readable "
                f"camera file give no depth, such as {self._without_camera[0]}"
            )

    def city(self, split: str, folder: Path) -> Iterator[LabelledPictures]:
        """Yield the snippets of one city."""
        sequences: dict[str, dict[int, Path]] = defaultdict(dict)
        for picture in sorted(folder.iterdir()):
            name = _NAME.fullmatch(picture.name)
            if name is None:
                if picture.suffix.lower() in (".png", ".jpg"):
                    self._unexpected.append(picture.name)
                continue
            sequences[name[1]][int(name[3])] = picture
        place = Path(split, folder.name)
        labels = self._files(self.root / "gtFine" / place)
        suffixes = (_TRAIN_IDS_SUFFIX, _LABEL_IDS_SUFFIX, _INSTANCE_IDS_SUFFIX)
        if sequences and not any(name.endswith(suffixes) for name in labels):
            stem = min(min(frames.values()) for frames in sequences.values()).name
            expected = stem.rpartition("_")[0] + _LABEL_IDS_SUFFIX
            tell_unmatched(self.root / "gtFine" / place, labels, expected, self._on_warning)
        files = dict(labels)
        for kind in ("disparity", "camera", "normals", "pseudo_depth"):
            files |= self._files(self.root / kind / place)
        for sequence, frames in sequences.items():
            for numbers in _snippets(sorted(frames)):
                pictures = [frames[number] for number in numbers]
                stems = [f"{sequence}_{number:06d}" for number in numbers]
                yield self._snippet(pictures, numbers, stems, files)

    def _files(self, folder: Path) -> dict[str, Path]:
        return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}

    def _snippet(
        self,
        pictures: list[Path],
        numbers: list[int],
        stems: list[str],
        files: dict[str, Path],
    ) -> LabelledPictures:
        calibration = _calibration(stems, files)
        stamps_ns = np.round(np.array(numbers) * (NS_PER_S / FRAME_RATE_HZ)).astype(np.int64)
        found = _Snippet(
            self.root,
            pictures,
            stems[0],
            stamps_ns,
            picture_size(pictures),
            {
                SEGMENTATION: self._segmentation(stems, files),
                DEPTH: self._depth(stems, files, calibration),
                NORMALS: self._of_normals(stems, files),
                INSTANCES: Labels(
                    _beside(stems, files, _INSTANCE_IDS_SUFFIX),
                    InstanceIds(_FIRST_INSTANCE_ID),
                ),
            },
            label_space=self.label_ids.space,
            depth_is_metric=self._depth_kind != PSEUDO,
            scene=f"cityscapes {stems[0].rpartition('_')[0]}",
        )
        found.camera = _camera_model(calibration)
        return found

    def _segmentation(self, stems: list[str], files: dict[str, Path]) -> Labels:
        train_ids = _beside(stems, files, _TRAIN_IDS_SUFFIX)
        label_ids = _beside(stems, files, _LABEL_IDS_SUFFIX)
        # Of the two the one that has more; it is the same information.
        if len(train_ids) > len(label_ids):
            return Labels(train_ids, ClassIds(self.train_ids))
        return Labels(label_ids, ClassIds(self.label_ids))

    def _of_normals(self, stems: list[str], files: dict[str, Path]) -> Labels:
        found = _beside(stems, files, "_normals.png") if self._with_normals else {}
        return Labels(found, self._normals)

    def _depth(
        self, stems: list[str], files: dict[str, Path], calibration: dict[str, float]
    ) -> Labels:
        if self._depth_kind == PSEUDO:
            return Labels(_beside(stems, files, "_depth.png"), PseudoDepth())
        found = _beside(stems, files, "_disparity.png") if self._depth_kind == "yes" else {}
        if found and not {"fx", "baseline"} <= calibration.keys():
            self._without_camera.append(next(iter(found.values())).name)
            found = {}
        if not found:
            return Labels({}, DisparityDepth(1.0, 1.0))
        return Labels(found, DisparityDepth(calibration["fx"], calibration["baseline"]))


def _calibration(stems: list[str], files: dict[str, Path]) -> dict[str, float]:
    """Those of `_CALIBRATION` that a snippet's camera file has as numbers, by name."""
    for path in _beside(stems, files, "_camera.json").values():
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            fields: dict[str, Any] = {**content["intrinsic"], **content.get("extrinsic", {})}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        used = {name: fields.get(name) for name in _CALIBRATION}
        return {k: float(value) for k, value in used.items() if isinstance(value, int | float)}
    return {}


def _camera_model(calibration: dict[str, float]) -> CameraModel | None:
    """Of rectified pictures; None where the calibration does not tell."""
    try:
        fx, fy, cx, cy = (calibration[name] for name in ("fx", "fy", "u0", "v0"))
    except KeyError:
        return None
    return CameraModel(*_CALIBRATED_SIZE, (fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0), (0.0,) * 5)


def _beside(stems: Iterable[str], files: dict[str, Path], suffix: str) -> dict[int, Path]:
    return {
        index: files[stem + suffix] for index, stem in enumerate(stems) if stem + suffix in files
    }


def _snippets(numbers: list[int]) -> Iterator[list[int]]:
    """Cut rising frame numbers where many are missing."""
    start = 0
    for place, (before, after) in enumerate(pairwise(numbers), 1):
        if after - before >= _SNIPPET_GAP:
            yield numbers[start:place]
            start = place
    if numbers:
        yield numbers[start:]
