"""What every kind of training data gives: recordings, and frames with their labels.

A recording is one continuous sequence of one camera. It knows its time stamps when it is opened and
opens its files when it is first read, in each process by itself, so it can be handed to the worker
processes of a DataLoader.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError

LABEL_KINDS = ("segmentation", "depth", "normals")
NS_PER_S = 1_000_000_000


class UnreadableFrame(InputError):  # noqa: N818 (what it is, not that it failed)
    """One frame, or one of its labels, that cannot be read.

    Attributes: `file` (as the user knows it), `index` of the frame in its recording, `reason`.
    """

    def __init__(self, file: str, index: int = -1, reason: str = "") -> None:
        super().__init__(f"{file}: frame {index} cannot be read: {reason}" if reason else file)
        self.file = file
        self.index = index
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableFrame], tuple[str, int, str]]:
        return (type(self), (self.file, self.index, self.reason))


@dataclass(frozen=True)
class FrameLabels:
    """The labels of one frame; None: this frame has none of that kind, or it was not asked for.

    Attributes:
        segmentation: (H, W) uint8 class ids of the recording's `label_space`, 255 unlabelled.
        depth: (H, W) float32 metres along the optical axis, NaN unknown.
        normals: (H, W, 3) float32 unit vectors in the optical frame (x right, y down, z forward)
            that face the camera, NaN unknown.
    """

    segmentation: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LabelSpace:
    """What segmentation ids mean: position in `class_names`.

    Attributes:
        class_names: names, index = class id.
        palette: (r, g, b) per class.
        moving: ids of the classes whose objects can move.
    """

    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    moving: tuple[int, ...]


@dataclass(frozen=True)
class LabelledFrame:
    """One frame: `image` (H, W, 3) uint8 RGB, `stamp_ns`, `labels`."""

    image: NDArray[np.uint8]
    stamp_ns: int
    labels: FrameLabels = field(default_factory=FrameLabels)


@dataclass(frozen=True)
class EgoMotion:
    """How the vehicle moves, one row per frame of the recording; NaN where unknown.

    Attributes:
        speed_mps: (N,) float64 forward speed in m/s.
        steering_rad: (N,) float64 steering-wheel angle, left positive.
        world_from_ego: (N, 4, 4) float64, takes points of the vehicle's frame (x forward, y left,
            z up) to a fixed frame.
    """

    speed_mps: NDArray[np.float64]
    steering_rad: NDArray[np.float64]
    world_from_ego: NDArray[np.float64]

    def at(self, indices: NDArray[np.int64]) -> EgoMotion:
        """Return the rows of some frames."""
        return EgoMotion(
            self.speed_mps[indices], self.steering_rad[indices], self.world_from_ego[indices]
        )


class Recording(ABC):
    """One continuous sequence of one camera, with labels where it has them. Picklable.

    Attributes:
        name: unique among the recordings opened together, the same from run to run.
        stamps_ns: (N,) int64, strictly rising.
        size: (height, width) of every frame.
        label_space: what segmentation ids mean; None without segmentation.
        times: how often each of its frames or clips occurs in an epoch, so that little data of one
            kind is not lost in much of another.
    """

    def __init__(
        self,
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        *,
        label_space: LabelSpace | None = None,
        labelled: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        stamps_ns = np.ascontiguousarray(stamps_ns, np.int64)
        if stamps_ns.size == 0:
            raise InputError(f"{name}: no frames")
        if np.any(np.diff(stamps_ns) <= 0):
            raise InputError(f"{name}: time stamps do not rise from frame to frame")
        self.name = name
        self.stamps_ns = stamps_ns
        self.size = (int(size[0]), int(size[1]))
        self.label_space = label_space
        self._labelled = {
            kind: np.ascontiguousarray(indices, np.int64)
            for kind, indices in (labelled or {}).items()
        }
        self.times = 1
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __repr__(self) -> str:
        height, width = self.size
        return f"<{type(self).__name__} {self.name}: {len(self)} frames, {width}x{height}>"

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.stamps_ns[-1] - self.stamps_ns[0]) / NS_PER_S

    @property
    def fingerprint(self) -> str:
        """32 hex digits that change when what is read here may have changed.

        Made of names, sizes and times of the files and of the options, not of where the files lie:
        a data set that was moved keeps it.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for part in self._fingerprint_parts():
                digest.update(part.encode() + b"\0")
            self._fingerprint = digest.hexdigest()[:32]
        return self._fingerprint

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        return None

    def labelled(self, kind: str) -> NDArray[np.int64]:
        """Return the rising indices of the frames that have a label of that kind."""
        check_kinds((kind,))
        return self._labelled.get(kind, np.empty(0, np.int64))

    def read(
        self, indices: Sequence[int] | NDArray[np.int64], labels: Collection[str] = ()
    ) -> list[LabelledFrame]:
        """Read frames, in the order of `indices`, with the kinds of `labels` that they have.

        Raises:
            UnreadableFrame: a frame or label is damaged; names file and frame.
            IndexError: there is no such frame.
        """
        check_kinds(labels)
        wanted = sorted({int(index) for index in indices})
        if wanted and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"{self.name} has frames 0 to {len(self) - 1}, not {wanted}")
        # In rising order, which is what videos and bags are quick at.
        frames = {index: self._checked(index, labels) for index in wanted}
        return [frames[int(index)] for index in indices]

    def _checked(self, index: int, labels: Collection[str]) -> LabelledFrame:
        frame = self._read(index, labels)
        if frame.image.shape[:2] != self.size:
            got, want = frame.image.shape, self.size
            raise UnreadableFrame(
                self.frame_file(index),
                index,
                f"it is {got[1]}x{got[0]}, the recording {want[1]}x{want[0]}",
            )
        return frame

    @abstractmethod
    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        """Read one frame; raise UnreadableFrame where that fails."""

    @abstractmethod
    def _fingerprint_parts(self) -> Iterable[str]:
        """Yield all that the content depends on, as text."""

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return self.name


class PartOfRecording(Recording):
    """Some frames of another recording, such as its first half."""

    def __init__(self, whole: Recording, indices: NDArray[np.int64], name: str) -> None:
        indices = np.ascontiguousarray(indices, np.int64)
        if indices.size == 0:
            raise InputError(f"{name}: no frame of the {len(whole)} lies in that part")
        times = whole.times
        if isinstance(whole, PartOfRecording):
            indices, whole = whole.indices[indices], whole.whole
        self.whole: Recording = whole
        self.indices: NDArray[np.int64] = indices
        labelled = {
            kind: np.flatnonzero(np.isin(indices, whole.labelled(kind))) for kind in LABEL_KINDS
        }
        super().__init__(
            name,
            whole.stamps_ns[indices],
            whole.size,
            label_space=whole.label_space,
            labelled=labelled,
        )
        self.times = times

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        ego = self.whole.ego
        return None if ego is None else ego.at(self.indices)

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return self.whole.frame_file(int(self.indices[index]))

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        return self.whole._checked(int(self.indices[index]), labels)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.whole.fingerprint
        yield self.indices.tobytes().hex()


def check_kinds(kinds: Collection[str]) -> None:
    """Raise UsageError for a kind of label that does not exist."""
    unknown = [kind for kind in kinds if kind not in LABEL_KINDS]
    if unknown:
        raise UsageError(f"label '{unknown[0]}' is unknown; valid: {', '.join(LABEL_KINDS)}")
