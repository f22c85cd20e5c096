"""Recordings of one picture per frame with label files beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.folder import PictureRecording
from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, decode_picture
from dino_foresight_ros.recordings.label_tables import (
    LabelTable,
    read_class_ids,
    read_label_picture,
)
from dino_foresight_ros.recordings.picture_size import declared_size
from dino_foresight_ros.recordings.recording import EgoMotion, UnreadableFrame


@dataclass(frozen=True)
class DisparityCamera:
    """A stereo camera: metres x pixels between a disparity in pixels and a depth in metres."""

    focal_px: float
    baseline_m: float


@dataclass(frozen=True)
class LabelFiles:
    """Where the labels of a recording lie, by frame index.

    `disparity` pictures hold 256 x pixels + 1 as 16 bits, 0 unknown, as Cityscapes keeps them.
    """

    segmentation: Mapping[int, Path] = field(default_factory=dict)
    table: LabelTable | None = None
    disparity: Mapping[int, Path] = field(default_factory=dict)
    camera: DisparityCamera | None = None


class LabelledPictures(PictureRecording):
    """One picture file per frame, some with labels."""

    def __init__(
        self,
        root: Path,
        pictures: Sequence[Path],
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        files: LabelFiles,
        *,
        ego: EgoMotion | None = None,
        scene: str = "",
    ) -> None:
        labelled = {
            SEGMENTATION: np.array(sorted(files.segmentation), np.int64),
            DEPTH: np.array(sorted(files.disparity), np.int64),
        }
        space = files.table.space if files.table else None
        super().__init__(
            root,
            pictures,
            name,
            stamps_ns,
            size,
            label_space=space,
            labelled=labelled,
            apply_orientation=False,
            scene=scene,
        )
        self._files = files
        self._ego = ego

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        return self._ego

    def _labels(self, index: int, kinds: Collection[str]) -> dict[str, Any]:
        files = self._files
        found: dict[str, Any] = {}
        if SEGMENTATION in kinds and index in files.segmentation and files.table is not None:
            path = files.segmentation[index]
            found[SEGMENTATION] = read_class_ids(path, index, files.table)
            self._check_size(path, index, found[SEGMENTATION].shape)
        if DEPTH in kinds and index in files.disparity and files.camera is not None:
            path = files.disparity[index]
            found[DEPTH] = depth_from_disparity(read_label_picture(path, index), files.camera)
            self._check_size(path, index, found[DEPTH].shape)
        return found

    def _check_size(self, path: Path, index: int, shape: tuple[int, ...]) -> None:
        if shape != self.size:
            got, want = f"{shape[1]}x{shape[0]}", f"{self.size[1]}x{self.size[0]}"
            raise UnreadableFrame(str(path), index, f"the label is {got}, the picture {want}")

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from super()._fingerprint_parts()
        yield repr(self.label_space)
        for paths in (self._files.segmentation, self._files.disparity):
            yield from files_identity((paths[index] for index in sorted(paths)), self.root)


def tell_unmatched(
    folder: Path, names: Collection[str], expected: str, on_warning: Callable[[str], None]
) -> None:
    """Tell of a folder whose files are labels of no picture.

    Args:
        folder: of labels.
        names: of what lies in it.
        expected: name of the label of one of the pictures.
        on_warning: gets one line; none where the folder is empty.
    """
    if names:
        on_warning(
            f"{folder}: none of its {len(names)} files is a label of a picture; expected is a name "
            f"such as {expected}, and there is {min(names)}"
        )


def depth_from_disparity(
    stored: NDArray[np.generic], camera: DisparityCamera
) -> NDArray[np.float32]:
    """Return depth (H, W) float32 in metres; NaN where the disparity is unknown or 0."""
    pixels = (stored.astype(np.float32) - 1.0) / 256.0
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(camera.focal_px * camera.baseline_m) / pixels
    return np.where(pixels > 0, depth, np.float32(np.nan)).astype(np.float32)


def picture_size(pictures: Sequence[Path]) -> tuple[int, int]:
    """Read the (height, width) that the first readable picture declares.

    Raises:
        InputError: none of the first few is a picture.
    """
    for path in pictures[:20]:
        try:
            data = path.read_bytes()
            height, width = (
                declared_size(data) or decode_picture(data, apply_orientation=False).shape[:2]
            )
        except (OSError, ImageDecodeError):
            continue
        if height and width:
            return height, width
    raise InputError(f"{pictures[0]} and those after it are no pictures that can be read")
