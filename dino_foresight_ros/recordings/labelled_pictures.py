"""Recordings of one picture per frame with label files beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.folder import PictureRecording
from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, decode_picture
from dino_foresight_ros.recordings.label_tables import (
    Colour,
    LabelTable,
    read_class_colours,
    read_class_ids,
    read_label_picture,
    read_vectors,
)
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.recordings.picture_size import declared_size
from dino_foresight_ros.recordings.recording import LabelSpace, UnreadableFrame

ReadLabel: TypeAlias = Callable[[Path, int], NDArray[Any]]
"""(file, frame index) -> the label; picklable. Raises UnreadableFrame, with the file's name."""
OPTICAL, OPENGL = "optical", "opengl"
NORMALS_AXES = (OPTICAL, OPENGL)
"""Axes that normals in pictures may have: x right, y down, z forward; x right, y up, z backward."""
_HEAD_BYTES = 1 << 16
_LEAST_LENGTH = 0.5
_MOST_LENGTH = 1.5


@dataclass(frozen=True)
class Labels:
    """Labels of one kind.

    Attributes:
        files: index of each frame that has one -> its file.
        read: reads one.
        is_of_picture_size: whether a label of another size than the picture is an error.
    """

    files: Mapping[int, Path]
    read: ReadLabel
    is_of_picture_size: bool = True


class LabelledPictures(PictureRecording):
    """One picture file per frame, some with labels."""

    def __init__(
        self,
        root: Path,
        pictures: Sequence[Path],
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        labels: Mapping[str, Labels],
        *,
        label_space: LabelSpace | None = None,
        depth_is_metric: bool = True,
        ego: EgoMotion | None = None,
        base_from_optical: NDArray[np.float64] | None = None,
        scene: str = "",
    ) -> None:
        super().__init__(
            root,
            pictures,
            name,
            stamps_ns,
            size,
            label_space=label_space,
            labelled={kind: np.array(sorted(one.files), np.int64) for kind, one in labels.items()},
            apply_orientation=False,
            scene=scene,
        )
        self.depth_is_metric = depth_is_metric
        self._kinds = labels
        self._ego = ego
        self._base_from_optical = base_from_optical

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        return self._ego

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """How the camera is mounted, where that is known."""
        return self._base_from_optical

    def _labels(self, index: int, kinds: Collection[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, labels in self._kinds.items():
            if kind in kinds and index in labels.files:
                path = labels.files[index]
                found[kind] = labels.read(path, index)
                if labels.is_of_picture_size:
                    self._check_size(path, index, found[kind].shape[:2])
        return found

    def _check_size(self, path: Path, index: int, shape: tuple[int, ...]) -> None:
        if shape != self.size:
            got, want = f"{shape[1]}x{shape[0]}", f"{self.size[1]}x{self.size[0]}"
            raise UnreadableFrame(str(path), index, f"the label is {got}, the picture {want}")

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from super()._fingerprint_parts()
        yield repr(self.label_space)
        for kind, labels in self._kinds.items():
            yield f"{kind} {labels.read}"
            yield from files_identity((labels.files[i] for i in sorted(labels.files)), self.root)


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


@dataclass(frozen=True)
class ClassIds:
    """Reads a picture of class ids by a table."""

    table: LabelTable

    def __call__(self, path: Path, index: int) -> NDArray[np.uint8]:
        """(H, W) ids of the table's label space."""
        return read_class_ids(path, index, self.table)


@dataclass(frozen=True)
class ClassColours:
    """Reads a picture of classes as colours by a table.

    Attributes:
        table: stored id -> id.
        colours: the colour of each stored id.
    """

    table: LabelTable
    colours: tuple[Colour, ...]

    def __call__(self, path: Path, index: int) -> NDArray[np.uint8]:
        """(H, W) ids of the table's label space."""
        return read_class_colours(path, index, self.table, self.colours)


@dataclass(frozen=True)
class DisparityDepth:
    """Reads Cityscapes' disparity: 256 x pixels + 1 as 16 bits, 0 unknown.

    Attributes:
        focal_px, baseline_m: of the stereo camera.
    """

    focal_px: float
    baseline_m: float

    def __call__(self, path: Path, index: int) -> NDArray[np.float32]:
        """(H, W) metres; NaN where the disparity is unknown or 0."""
        pixels = (read_label_picture(path, index).astype(np.float32) - 1.0) / 256.0
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.float32(self.focal_px * self.baseline_m) / pixels
        return np.where(pixels > 0, depth, np.float32(np.nan)).astype(np.float32)


@dataclass(frozen=True)
class PseudoDepth:
    """Reads what a model of relative depth said: 8 bits of inverse depth, 0 unknown.

    The authors train on 256 levels of Depth Anything's inverse depth, and leave level 0 out.
    """

    def __call__(self, path: Path, index: int) -> NDArray[np.float32]:
        """(H, W) inverse depth, 1 far to 255 near; NaN unknown."""
        stored = read_label_picture(path, index)
        if stored.dtype != np.uint8:
            reason = f"{stored.dtype} values, not 8 bits of inverse depth (1 far to 255 near)"
            raise UnreadableFrame(str(path), index, reason)
        levels = stored.astype(np.float32)
        return np.where(levels > 0, levels, np.float32(np.nan))


@dataclass(frozen=True)
class NormalsPicture:
    """Reads normals kept as colours: 255 (n + 1) / 2, black unknown.

    Attributes:
        axes: one of `NORMALS_AXES`.
    """

    axes: str = OPTICAL

    def __post_init__(self) -> None:
        if self.axes not in NORMALS_AXES:
            raise UsageError(f"axes '{self.axes}' are unknown; valid: {', '.join(NORMALS_AXES)}")

    def __call__(self, path: Path, index: int) -> NDArray[np.float32]:
        """(H, W, 3) unit vectors in the optical frame; NaN unknown, or far from a unit vector."""
        normals = read_vectors(path, index).astype(np.float32) / np.float32(127.5) - 1
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        known = (length > _LEAST_LENGTH) & (length < _MOST_LENGTH)
        normals = np.where(known, normals / np.where(known, length, 1), np.float32(np.nan))
        turn = (1, -1, -1) if self.axes == OPENGL else (1, 1, 1)
        return (normals * np.array(turn, np.float32)).astype(np.float32)


@dataclass(frozen=True)
class InstanceIds:
    """Reads 16-bit ids of objects; those below `first` are classes without objects, and 0 here.

    Cityscapes keeps 1000 x label id + number of the object, and the plain label id elsewhere.
    """

    first: int = 1

    def __call__(self, path: Path, index: int) -> NDArray[np.uint16]:
        """(H, W) ids, 0 none."""
        stored = read_label_picture(path, index)
        if stored.min(initial=0) < 0 or stored.max(initial=0) > np.iinfo(np.uint16).max:
            raise UnreadableFrame(str(path), index, "ids of objects that are not 0 to 65535")
        return np.where(stored >= self.first, stored, 0).astype(np.uint16)


def picture_size(pictures: Sequence[Path]) -> tuple[int, int]:
    """Read the (height, width) that the first readable picture declares.

    Raises:
        InputError: none of the first few is a picture.
    """
    for path in pictures[:20]:
        try:
            height, width = (
                _declared_size(path)
                or decode_picture(path.read_bytes(), apply_orientation=False).shape[:2]
            )
        except (OSError, ImageDecodeError):
            continue
        if height and width:
            return height, width
    raise InputError(f"{pictures[0]} and those after it are no pictures that can be read")


def _declared_size(path: Path) -> tuple[int, int] | None:
    """The (height, width) in the file's head, which spares reading the pictures of a data set."""
    with path.open("rb") as file:
        return declared_size(file.read(_HEAD_BYTES))
