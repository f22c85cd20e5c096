"""Clips and single labelled images for training, each a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.recording import (
    Frame,
    Recording,
)

from .augmentation import (
    ClipAugmentation,
    Size,
    draw_view,
    stack_labels,
    view_focal,
    view_images,
)
from .clips import TOLERANCE, clip_rows, clip_tolerance_s
from .seeded_dataset import SeededDataset


class ClipDataset(SeededDataset):
    """Clips of `context_frames` + `target_frames` frames at a random interval.

    There is one item per frame that can end a clip, or as many as the recording's `times`. An item
    belongs to a recording. Its direction is drawn from `augmentation.time_flip` first, then its
    interval, each of `intervals_s` that the recording is long enough for as often as the others,
    then where it starts (the paper's code draws a stride of 2, 3 or 4 frames at 17 Hz, then the
    start), then its crop and flip. With one interval and one direction every clip is there once.

    An item is a dict:
        frames: (T, H, W, 3) uint8 RGB, oldest first; of a clip played backwards the newest first.
        stamps_ns: (T,) int64, rising (mirrored about the last frame when played backwards).
        interval_s: float, the interval that was drawn.
        source: name of the recording and the indices of the frames.
        focal: float, focal length of the camera as `CameraView.focal` has it, longer by what is cut
            off; NaN where it is not known.
        motion: (T - 1, 3) float32 that the vehicle moved from each frame to the next: m forward,
            m to the left, rad to the left; a NaN where it is not known. Only with `gives_motion`.
        segmentation (T, H, W) uint8, depth (T, H, W) float32, normals (T, H, W, 3) float32: those
            asked for by `labels`. The last frame of every clip has them; other frames have 255 or
            NaN where they have no label.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        intervals_s: Sequence[float],
        context_frames: int,
        target_frames: int,
        size: Size,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
        *,
        labels: Sequence[str] = (),
        tolerance: float = TOLERANCE,
        bad: BadFiles | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        """Find the clips.

        Args:
            recordings: from `open_recordings`.
            intervals_s: seconds between frames, of which one is drawn per clip.
            context_frames, target_frames: their number; both kinds stand in one row.
            size: (H, W) of the frames that are given.
            augmentation: none by default.
            seed: of all random choices.
            labels: kinds of labels that are wanted.
            tolerance: fraction of the interval that a frame may lie off its instant, under 0.5; see
                `clip_tolerance_s`.
            bad: counts damaged frames; a new one by default.
            on_warning: is told of recordings that hold no clip.

        Raises:
            InputError: no recording holds a clip.
            UsageError: values that make no sense.
        """
        super().__init__(recordings, size, augmentation, seed, labels, bad)
        if not intervals_s or not all(np.isfinite(s) and s > 0 for s in intervals_s):
            raise UsageError(f"intervals {list(intervals_s)} s: give positive times")
        if context_frames < 1 or target_frames < 0:
            raise UsageError(
                f"{context_frames} context and {target_frames} target frames: give at least 1 and 0"
            )
        if not 0 <= tolerance < 0.5:
            raise UsageError(f"tolerance {tolerance:g}: give a fraction of the interval, 0 to 0.5")
        self.intervals_s = tuple(float(interval) for interval in intervals_s)
        self.frames = context_frames + target_frames
        self.tolerance = tolerance
        # Recording -> variant -> last frames of the clips that there are.
        self._clips = [self._clips_of(recording, on_warning) for recording in self.recordings]
        counts = [
            len(np.unique(np.concatenate(clips))) * recording.times
            for clips, recording in zip(self._clips, self.recordings, strict=True)
        ]
        self._ends = np.cumsum(counts, dtype=np.int64)
        if not sum(counts):
            raise InputError(self._nothing())

    gives_motion = False

    def __len__(self) -> int:
        return int(self._ends[-1])

    def offsets_s(self, variant: int) -> NDArray[np.float64]:
        """Return seconds from the last frame of a clip.

        A variant is an interval and a direction: first all intervals forwards, then backwards.
        """
        backwards, interval = divmod(variant, len(self.intervals_s))
        steps = np.arange(self.frames - 1, -1, -1, dtype=np.float64) * self.intervals_s[interval]
        return steps if backwards else -steps

    def _rows(
        self, recording: Recording, anchors: NDArray[np.int64], variant: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        interval_s = self.intervals_s[variant % len(self.intervals_s)]
        tolerance_s = clip_tolerance_s(recording.stamps_ns, interval_s, self.tolerance)
        return clip_rows(recording.stamps_ns, anchors, self.offsets_s(variant), tolerance_s)

    def _variants(self) -> list[int]:
        count = len(self.intervals_s)
        forward = range(count if self.augmentation.time_flip < 1 else 0)
        backward = range(count, 2 * count if self.augmentation.time_flip > 0 else count)
        return [*forward, *backward]

    def _clips_of(
        self, recording: Recording, on_warning: Callable[[str], None] | None
    ) -> list[NDArray[np.int64]]:
        anchors = np.arange(len(recording), dtype=np.int64)
        for kind in self.labels:
            anchors = anchors[np.isin(anchors, recording.labelled(kind))]
        clips = [np.empty(0, np.int64)] * (2 * len(self.intervals_s))
        for variant in self._variants():
            clips[variant] = anchors[self._rows(recording, anchors, variant)[1]]
        if not any(map(len, clips)) and on_warning is not None:
            on_warning(f"{recording.name} left out: {self._why_none(recording, len(anchors))}")
        return clips

    def _why_none(self, recording: Recording, labelled: int) -> str:
        if not labelled:
            return f"no frame has {' and '.join(self.labels)}"
        return (
            f"no clip of {self.frames} frames, {self._intervals()} apart ({self._least_s():.3g} s "
            f"or more), among its {len(recording)} frames in {recording.duration_s:.3g} s"
        )

    def _intervals(self) -> str:
        return f"{' or '.join(f'{interval:.3g}' for interval in self.intervals_s)} s"

    def _nothing(self) -> str:
        if not self.recordings:
            return "no recordings to take clips from"
        names = ", ".join(recording.name for recording in self.recordings[:5])
        more = f" and {len(self.recordings) - 5} more" if len(self.recordings) > 5 else ""
        with_labels = f" whose last has {' and '.join(self.labels)}" if self.labels else ""
        return (
            f"no clip of {self.frames} frames, {self._intervals()} apart{with_labels}, in {names}"
            f"{more}; give recordings of {self._least_s():.3g} s or more, or a shorter interval"
        )

    def _least_s(self) -> float:
        """Seconds of the shortest clip."""
        return (self.frames - 1) * min(self.intervals_s)

    def _item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        recording, row, interval_s = self._draw_clip(index, rng)
        view = draw_view(self.augmentation, rng)
        frames = recording.read(row, self.labels)
        stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
        return {
            "frames": view_images([frame.image for frame in frames], view, self.size),
            "stamps_ns": torch.from_numpy(stamps[-1] - np.abs(stamps[-1] - stamps)),
            "interval_s": interval_s,
            "source": f"{recording.name} frames {', '.join(str(i) for i in row)}",
            "focal": view_focal(recording.focal, view),
            **stack_labels(frames, self.labels, view, self.size),
            **self._motion(recording, row, view.mirrored),
        }

    def _motion(
        self, recording: Recording, row: NDArray[np.int64], mirrored: bool = False
    ) -> dict[str, torch.Tensor]:
        """The item's `motion`; of a clip played backwards, that back in time."""
        if not self.gives_motion:
            return {}
        moved = recording.moved(row[:-1], row[1:])
        if mirrored:
            moved = moved * np.array([1.0, -1.0, -1.0])
        return {"motion": torch.from_numpy(moved.astype(np.float32))}

    def _draw_clip(
        self, index: int, rng: np.random.Generator
    ) -> tuple[Recording, NDArray[np.int64], float]:
        """Draw a clip of an item's recording; return that, the frames (T,) and the interval."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        recording, clips = self.recordings[number], self._clips[number]
        first = int(self._ends[number - 1]) if number else 0
        items = (int(self._ends[number]) - first) // recording.times
        backwards, interval, start = rng.random(3)
        variant = self._draw_variant(clips, backwards, interval)
        # The place among the recording's items, and where in it: uniform over the clips of every
        # interval, and every clip once where there are as many as items.
        place = (index - first) // recording.times
        found = clips[variant]
        anchor = found[min(int((place + start) * len(found) / items), len(found) - 1)]
        row = self._rows(recording, np.array([anchor]), variant)[0][0]
        return recording, row, self.intervals_s[variant % len(self.intervals_s)]

    def _draw_variant(
        self, clips: Sequence[NDArray[np.int64]], backwards: float, interval: float
    ) -> int:
        """Draw the direction first; clips that exist only the other way round are played so."""
        count = len(self.intervals_s)
        forward = [variant for variant in range(count) if len(clips[variant])]
        backward = [variant for variant in range(count, 2 * count) if len(clips[variant])]
        wanted, other = forward, backward
        if backwards < self.augmentation.time_flip:
            wanted, other = backward, forward
        valid = wanted or other
        return valid[int(interval * len(valid))]


class ImageDataset(SeededDataset):
    """Single labelled images, for training heads.

    An item is a dict: `image` (H, W, 3) uint8 RGB, `stamp_ns`, `source`, `focal`, and each kind of
    `labels` as in ClipDataset without the time. Only frames that have all the kinds are used.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: str | Sequence[str],
        size: Size,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
        *,
        bad: BadFiles | None = None,
    ) -> None:
        """Find the labelled frames; arguments as ClipDataset has them.

        Raises:
            InputError: no frame has the labels.
        """
        kinds = (labels,) if isinstance(labels, str) else tuple(labels)
        super().__init__(recordings, size, augmentation, seed, kinds, bad)
        tables = []
        for number, recording in enumerate(self.recordings):
            frames = np.arange(len(recording), dtype=np.int64)
            for kind in kinds:
                frames = frames[np.isin(frames, recording.labelled(kind))]
            frames = np.repeat(frames, recording.times)
            tables.append(np.stack([np.full_like(frames, number), frames], axis=1))
        self._items = np.concatenate(tables) if tables else np.empty((0, 2), np.int64)
        if not len(self._items):
            names = ", ".join(recording.name for recording in self.recordings[:5]) or "no recording"
            raise InputError(f"no frame has {' and '.join(kinds) or 'a label'} in {names}")

    def __len__(self) -> int:
        return len(self._items)

    def _item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        number, frame_index = (int(value) for value in self._items[index])
        recording = self.recordings[number]
        frame: Frame = recording.read([frame_index], self.labels)[0]
        view = draw_view(self.augmentation, rng)
        labels = stack_labels([frame], self.labels, view, self.size)
        return {
            "image": view_images([frame.image], view, self.size)[0],
            "stamp_ns": frame.stamp_ns,
            "source": f"{recording.name} frame {frame_index}",
            "focal": view_focal(recording.focal, view),
            **{kind: label[0] for kind, label in labels.items()},
        }
