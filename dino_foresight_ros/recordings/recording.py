"""A recording: one continuous sequence of one camera, read at any place or in order.

It opens its files when it is first read, in each process by itself, so it can be handed to the
worker processes of a DataLoader.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.planar_motion import Motion, seen_by
from dino_foresight_ros.recordings.camera import CameraModel, same_shape
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.stamps import NS_PER_S

LABEL_KINDS = (SEGMENTATION, DEPTH, NORMALS, INSTANCES)
YEAR_2000_NS = 946_684_800 * NS_PER_S
YEAR_2100_NS = 4_102_444_800 * NS_PER_S
"""Stamps between these are Unix times; a simulator's begin near 0."""
MAX_BAD_FRAMES = 20
_NAMED_BAD_FRAMES = 3
"""So many damaged frames are left out where a recording is read in order."""
_PROBED_PICTURES = 16
Warn = Callable[[str], None]


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame(Scene):
    """One frame: its picture, and the labels that were asked for and are there.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        segmentation: (H, W) class ids of the recording's `label_space`.
        depth: (H, W) metres along the optical axis; of pseudo-depth, which is not metric, inverse
            depth from 1 (far) to 255 (near), as a relative head gives it.
        index: its place in the recording, damaged frames counted.
        frame_id: the camera's optical frame as it was recorded, empty where it is not.
    """

    image: NDArray[np.uint8]
    depth_is_metric: bool = True
    index: int = 0
    frame_id: str = ""

    @property
    def labels(self) -> Scene:
        """The labels without the picture, which takes more memory."""
        kinds = {kind: getattr(self, kind) for kind in LABEL_KINDS}
        return Scene(self.stamp_ns, depth_is_metric=self.depth_is_metric, **kinds)


@dataclass(frozen=True)
class Window:
    """Part of a file: seconds from its beginning, `start_s` included, `end_s` not."""

    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0.0):
            raise UsageError(f"start {self.start_s:g} s: give a time from 0 on")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise UsageError(f"end {self.end_s:g} s is not after start {self.start_s:g} s")

    @property
    def start_ns(self) -> int:
        """Start after the file's beginning, in nanoseconds."""
        return round(self.start_s * NS_PER_S)

    @property
    def end_ns(self) -> int:
        """End after the file's beginning, in nanoseconds; beyond any file when open."""
        if self.end_s is None or math.isinf(self.end_s):
            return 2**62
        return round(self.end_s * NS_PER_S)


class Recording(Closeable, ABC):
    """One continuous sequence of one camera, with labels where it has them. Picklable.

    `read` gives frames at any place, `frames` all of them in order, which needs no look through a
    whole video or bag beforehand.

    Attributes:
        name: unique among the recordings opened together, the same from run to run.
        kind: of the data, as `open_recordings` calls it.
        window: the part that `frames` gives.
        size: (height, width) of every frame.
        frame_count: of `frames`, damaged ones among them; None when unknown.
        frame_rate_hz: nominal; None when unknown.
        has_absolute_stamps: True: stamps are Unix time as recorded; False: they count from 0, or
            from wherever the data set's own numbers do.
        camera: intrinsics, where they were recorded.
        label_space: what segmentation ids mean; None without segmentation.
        labelled_by: the bundle whose heads made the labels (pseudo-labels); empty where they are
            the data's own.
        split: of the data set that it is from, such as val; empty where that has none.
        depth_is_metric: whether its depth labels are metres. False: levels of a network's inverse
            depth without a scale, 1 (far) to 255 (near); 0 or NaN unknown.
        depth_is_complete: whether depth is NaN only where there is none, as in the sky; otherwise
            also where none was measured, as between a lidar's points.
        times: how often each of its frames or clips occurs in an epoch, so that little data of one
            kind is not lost in much of another.
        truncated: after `frames`, whether the file ends before its content does.
        warnings: one line each of what was assumed or left out.
    """

    kind = "data"

    @property
    def focal(self) -> float | None:
        """Of the camera, as `CameraView.focal` has it; None where it is not known, and where the
        camera's pictures have another shape than these."""
        camera = self.camera
        if camera is None or not same_shape((camera.height, camera.width), self.size):
            return None
        return camera.focal

    def __init__(
        self,
        name: str,
        stamps_ns: NDArray[np.int64] | None,
        size: tuple[int, int],
        *,
        label_space: LabelSpace | None = None,
        labelled: Mapping[str, NDArray[np.int64]] | None = None,
        window: Window | None = None,
        on_warning: Warn | None = None,
        scene: str = "",
    ) -> None:
        """Take what is known; stamps that are None are found by `_find_stamps` when needed."""
        self.name = name
        self._scene = scene
        self.window = window or Window()
        self.size = (int(size[0]), int(size[1]))
        self.frame_count: int | None = None
        self.frame_rate_hz: float | None = None
        self.has_absolute_stamps = False
        self.camera: CameraModel | None = None
        self.label_space = label_space
        self.labelled_by = ""
        self.split = ""
        self.depth_is_metric = True
        self.depth_is_complete = False
        self.times = 1
        self.truncated = False
        self.warnings: list[str] = []
        self._on_warning = on_warning
        self._bad: set[int] = set()
        self._labelled = {
            kind: np.ascontiguousarray(indices, np.int64)
            for kind, indices in (labelled or {}).items()
        }
        self._fingerprint: str | None = None
        self._stamps_ns: NDArray[np.int64] | None = None
        if stamps_ns is not None:
            self._stamps_ns = _rising(name, stamps_ns)
            self.frame_count = len(self._in_window())

    def __getstate__(self) -> dict[str, object]:
        # A callback is seldom picklable.
        return {**self.__dict__, "_on_warning": None}

    @property
    def stamps_ns(self) -> NDArray[np.int64]:
        """(N,) int64, strictly rising."""
        if self._stamps_ns is None:
            self._stamps_ns = _rising(self.name, self._find_stamps())
        return self._stamps_ns

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
    def scene(self) -> str:
        """What was recorded, and the clock of its stamps.

        Recordings of one scene whose times overlap saw the same moment: parts of one recording,
        cameras of one rig, a copy in another size. Stamps of Unix time are taken for one rig's,
        unless `rig` of the spec tells rigs apart. The fingerprint where nothing tells more.
        """
        if not self._scene and self.has_absolute_stamps:
            first, last = self.stamps_ns[0], self.stamps_ns[-1]
            if first >= YEAR_2000_NS and last < YEAR_2100_NS:
                return "unix time"
        return self._scene or self._own_scene()

    def _own_scene(self) -> str:
        """The scene of a recording that no other is known to have seen."""
        return self.fingerprint

    def set_rig(self, name: str) -> None:
        """Take it for one camera of a rig: others of the same name share its clock."""
        self._scene = f"rig {name}"

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        return None

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """(4, 4) pose of the camera's optical frame in base_link, where it is known."""
        return None

    def moved(self, i: ArrayLike, j: ArrayLike) -> Motion:
        """The motion (..., 3) from frames i to frames j as the camera sees it; NaN where unknown.

        That of base_link, in its axes turned to where the camera looks (`planar_motion.seen_by`),
        which is what forecasters are told.
        """
        if self.ego is None:
            shape = np.broadcast_shapes(np.shape(i), np.shape(j))
            return np.full((*shape, 3), np.nan)
        return seen_by(self.ego.between(i, j), self.base_from_optical)

    def labelled(self, kind: str) -> NDArray[np.int64]:
        """Return the rising indices of the frames that have a label of that kind."""
        check_kinds((kind,))
        return self._labelled.get(kind, np.empty(0, np.int64))

    def read(
        self, indices: Sequence[int] | NDArray[np.int64], labels: Collection[str] = ()
    ) -> list[Frame]:
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

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, from the start; damaged ones are left out and told of.

        Raises:
            InputError: there is no frame, or more than `MAX_BAD_FRAMES` are damaged.
        """
        empty = True
        for frame in self._in_order():
            empty = False
            yield frame
        if empty:
            end = "its end" if self.window.end_s is None else f"{self.window.end_s:g} s"
            raise InputError(f"{self.name}: no frame from {self.window.start_s:g} s to {end}")

    def _in_order(self) -> Iterator[Frame]:
        indices, others = self._in_window(), 0
        for index in indices:
            try:
                frame = self._read(index, ())
            except UnreadableFrame as error:
                self._leave_out(index, error.reason)
                continue
            if frame.image.shape[:2] != self.size:
                got, want = frame.image.shape, self.size
                others += 1
                if others == 1:
                    self.warn(
                        f"{self.name}: picture sizes differ; {self._title(index)} is "
                        f"{got[1]}x{got[0]}, the first one {want[1]}x{want[0]}; all are taken as "
                        "they are"
                    )
            yield frame
        if others > 1:
            size = f"{self.size[1]}x{self.size[0]}"
            self.warn(f"{self.name}: {others} of {len(indices)} pictures are not {size}")
        if len(self._bad) > _NAMED_BAD_FRAMES:
            self.warn(f"{self.name}: {len(self._bad)} of {len(indices)} pictures skipped in all")

    def _in_window(self) -> range:
        since_ns = self.stamps_ns - self.stamps_ns[0]
        bounds = (self.window.start_ns, self.window.end_ns)
        start, stop = (int(place) for place in np.searchsorted(since_ns, bounds))
        return range(start, stop)

    def _leave_out(self, index: int, reason: str) -> None:
        self._bad.add(index)
        if len(self._bad) > MAX_BAD_FRAMES:
            raise InputError(
                f"{self.name}: more than {MAX_BAD_FRAMES} pictures cannot be read, such as "
                f"{self._title(index)} ({reason})"
            )
        if len(self._bad) <= _NAMED_BAD_FRAMES:
            self.warn(f"{self._title(index)} skipped: {reason}")

    def _title(self, index: int) -> str:
        """Name a frame in a warning."""
        return f"{self.name}: frame {index}"

    def warn(self, text: str) -> None:
        """Keep a line for the user and pass it on, each only once."""
        if text not in self.warnings:
            self.warnings.append(text)
            if self._on_warning is not None:
                self._on_warning(text)

    def _tell(self, text: str) -> None:
        self.warn(f"{self.name}: {text}")

    def _bit_depth_of(self, decode: Callable[[int, ImageDecoder], object]) -> int:
        """Find how many bits 16-bit pictures use, from some that are spread over the recording."""
        decoder = ImageDecoder()
        count = min(len(self), _PROBED_PICTURES)
        for index in np.linspace(0, len(self) - 1, count).round().astype(int):
            with suppress(UnreadableFrame):
                decode(int(index), decoder)
        return decoder.bit_depth.bits

    def _find_stamps(self) -> NDArray[np.int64]:
        """Look through the files for the stamps of all frames."""
        raise NotImplementedError

    def _checked(self, index: int, labels: Collection[str]) -> Frame:
        frame = self._read(index, labels)
        if frame.image.shape[:2] != self.size:
            got, want = frame.image.shape, self.size
            raise UnreadableFrame(
                self.frame_file(index),
                index,
                f"it is {got[1]}x{got[0]}, the recording {want[1]}x{want[0]}",
            )
        if frame.depth_is_metric != self.depth_is_metric:
            return replace(frame, depth_is_metric=self.depth_is_metric)
        return frame

    @abstractmethod
    def _read(self, index: int, labels: Collection[str]) -> Frame:
        """Read one frame; raise UnreadableFrame where that fails."""

    @abstractmethod
    def _fingerprint_parts(self) -> Iterable[str]:
        """Yield all that the content depends on, as text."""

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return self.name


def _rising(name: str, stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    stamps_ns = np.ascontiguousarray(stamps_ns, np.int64)
    if stamps_ns.size == 0:
        raise InputError(f"{name}: no frames")
    if np.any(np.diff(stamps_ns) <= 0):
        raise InputError(f"{name}: time stamps do not rise from frame to frame")
    return stamps_ns


def check_kinds(kinds: Collection[str]) -> None:
    """Raise UsageError for a kind of label that does not exist."""
    unknown = [kind for kind in kinds if kind not in LABEL_KINDS]
    if unknown:
        raise UsageError(f"label '{unknown[0]}' is unknown; valid: {', '.join(LABEL_KINDS)}")
