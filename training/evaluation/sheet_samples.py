"""Keeps a few clips with pictures and maps for the sheets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.detections import scene_fields, true_detections
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene
from dino_foresight_ros.spread import spread
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace
from dino_foresight_ros.training.evaluation.clip_batches import ClipBatch
from dino_foresight_ros.training.evaluation.clip_plan import Clip
from dino_foresight_ros.training.evaluation.results import SheetSample
from dino_foresight_ros.training.evaluation.series import HORIZONS, Series

SAMPLES = 3
COLUMNS = 3
_MAP_SIDE = 8
"""Pixels of a map per patch side: what the heads give."""


class SheetCollector:
    """Chooses clips beforehand and keeps what the sheet shows of them."""

    def __init__(
        self,
        bundle: Bundle,
        decoder: Decoder,
        recordings: Sequence[Recording],
        series: Sequence[Series],
        clips: Sequence[Clip],
        classes: ClassSpace | None,
    ) -> None:
        """Choose.

        Args:
            bundle: what is measured.
            decoder: of its heads, which read the predictions.
            recordings, series: what the clips' numbers refer to.
            clips: all that are scored.
            classes: how labels are scored, which are shown in the head's colours.
        """
        self._bundle, self._recordings, self._series = bundle, recordings, series
        self._decoder = decoder
        scored = [clip for clip in clips if clip.scored]
        shown = next((n for n, one in enumerate(series) if one.kind == HORIZONS), 0)
        usable = [clip for clip in scored if clip.series == shown] or scored
        # The middle of each third rather than the ends, where recordings often stand still.
        places = [(2 * i + 1) * len(usable) // (2 * SAMPLES) for i in range(SAMPLES)]
        self._clips = list(dict.fromkeys(usable[i] for i in places)) if usable else []
        self._samples: dict[Clip, SheetSample] = {}
        self._to_head = None if classes is None else _to_head(classes)

    def _columns(self, clip: Clip) -> list[int]:
        return spread(len(self._series[clip.series].steps), COLUMNS)

    def frames_of(self, recording: int) -> Collection[int]:
        """Frames of a recording whose pictures are needed."""
        return {
            frame
            for clip in self._clips
            if clip.recording == recording
            for frame in (clip.context[-1], *(clip.targets[i] for i in self._columns(clip)))
        }

    @torch.inference_mode()
    def add(
        self, batch: ClipBatch, predicted: Mapping[str, Tensor], hidden: Mapping[int, Tensor]
    ) -> None:
        """Keep the chosen ones among a batch's clips; arguments as `SeriesScorer.update` gives."""
        for row, clip in enumerate(batch.clips):
            if clip not in self._clips:
                continue
            recording = self._recordings[clip.recording]
            columns = self._columns(clip)
            newest = self._scene(batch, clip, clip.context[-1])
            self._samples[clip] = SheetSample(
                recording.name,
                ComparedForecast(
                    self._described(
                        newest, predicted[COPY_LAST][row, columns[0]], focal=recording.focal
                    ),
                    tuple(
                        self._step(
                            batch,
                            clip,
                            i,
                            predicted[FORECAST][row, i],
                            predicted[ORACLE][row, i],
                            {layer: tokens[row : row + 1, i] for layer, tokens in hidden.items()},
                        )
                        for i in columns
                    ),
                ),
            )

    def _step(
        self,
        batch: ClipBatch,
        clip: Clip,
        position: int,
        forecast: Tensor,
        oracle: Tensor,
        hidden: Mapping[int, Tensor],
    ) -> ComparedStep:
        target = clip.targets[position]
        came = self._scene(batch, clip, target, self._series[clip.series].steps[position])
        labels = batch.window.labels.get(target)
        focal = self._recordings[clip.recording].focal
        return ComparedStep(
            self._described(replace(came, image=None), forecast, hidden, focal),
            self._described(came, oracle, focal=focal),
            None if labels is None else self._in_head_classes(labels),
        )

    def _scene(self, batch: ClipBatch, clip: Clip, frame: int, step: int = 0) -> Scene:
        """A frame's picture, and how far ahead of the clip's newest frame it lies."""
        stamps = self._recordings[clip.recording].stamps_ns
        return Scene(
            int(stamps[frame]),
            step=step,
            horizon_s=float(stamps[frame] - stamps[clip.context[-1]]) / 1e9,
            image=batch.window.images[frame],
        )

    def _described(
        self,
        scene: Scene,
        z: Tensor,
        hidden: Mapping[int, Tensor] | None = None,
        focal: float | None = None,
    ) -> Scene:
        """What the heads say of features (h, w, C), and of the forecaster's layers (1, h, w, D)."""
        height, width = self._bundle.grid
        sizes = dict.fromkeys(self._bundle.heads, (_MAP_SIDE * height, _MAP_SIDE * width))
        maps = self._decoder.maps(sizes, z[None], hidden, focal)
        arrays: dict[str, Any] = {head: one[0].cpu().numpy() for head, one in maps.items()}
        return replace(scene, features=z[..., :3].float().cpu().numpy(), **scene_fields(arrays))

    def _in_head_classes(self, labels: Scene) -> Scene:
        """Labels with the class ids of the head, where they go together, and their objects."""
        labels = replace(labels, detections=true_detections(labels))
        if labels.segmentation is None:
            return labels
        ids = None if self._to_head is None else self._to_head[labels.segmentation]
        return replace(labels, segmentation=ids)

    def samples(self) -> tuple[SheetSample, ...]:
        """What was kept, in the order of the clips."""
        return tuple(self._samples[clip] for clip in self._clips if clip in self._samples)


def _to_head(classes: ClassSpace) -> NDArray[np.uint8]:
    """The label's id -> the first id of the head that is scored as the same class."""
    table = np.full(256, UNLABELLED, np.uint8)
    for label_id, scored in enumerate(classes.from_labels):
        same = np.flatnonzero(classes.from_head == scored)
        if scored != UNLABELLED and same.size:
            table[label_id] = same[0]
    return table
