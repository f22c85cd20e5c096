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
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.runtime.decoder import decode_maps
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.spread import spread
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace
from dino_foresight_ros.training.evaluation.clips import Clip
from dino_foresight_ros.training.evaluation.predictors import rollout_layers
from dino_foresight_ros.training.evaluation.results import SheetSample, SheetStep
from dino_foresight_ros.training.evaluation.series import HORIZONS, Series
from dino_foresight_ros.training.evaluation.stream import ClipBatch

SAMPLES = 3
COLUMNS = 3
LABELS = "labels"
SHOWN = (FORECAST, ORACLE, COPY_LAST)
_MAP_SIDE = 8
"""Pixels of a map per patch side: what the heads give."""


class SheetCollector:
    """Chooses clips beforehand and keeps what the sheet shows of them."""

    def __init__(
        self,
        bundle: Bundle,
        recordings: Sequence[Recording],
        series: Sequence[Series],
        clips: Sequence[Clip],
        classes: ClassSpace | None,
    ) -> None:
        """Choose.

        Args:
            bundle: whose heads read the predictions.
            recordings, series: what the clips' numbers refer to.
            clips: all that are scored.
            classes: how labels are scored, which are shown in the head's colours.
        """
        self._bundle, self._recordings, self._series = bundle, recordings, series
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
    def add(self, batch: ClipBatch, predicted: Mapping[str, Tensor]) -> None:
        """Keep the chosen ones among a batch's clips."""
        for row, clip in enumerate(batch.clips):
            if clip not in self._clips:
                continue
            recording = self._recordings[clip.recording]
            steps = self._series[clip.series].steps
            hidden = rollout_layers(self._bundle, batch.context[row : row + 1], steps)
            newest = clip.context[-1]
            self._samples[clip] = SheetSample(
                recording.name,
                Scene(int(recording.stamps_ns[newest]), image=batch.window.images[newest]),
                tuple(
                    self._step(
                        batch,
                        {name: predicted[name][row, i] for name in SHOWN},
                        {layer: tokens[:, i] for layer, tokens in hidden.items()},
                        clip,
                        i,
                    )
                    for i in self._columns(clip)
                ),
            )

    def _step(
        self,
        batch: ClipBatch,
        z: Mapping[str, Tensor],
        hidden: Mapping[int, Tensor],
        clip: Clip,
        position: int,
    ) -> SheetStep:
        stamps = self._recordings[clip.recording].stamps_ns
        target = clip.targets[position]
        empty = Scene(
            int(stamps[target]),
            step=self._series[clip.series].steps[position],
            horizon_s=float(stamps[target] - stamps[clip.context[-1]]) / 1e9,
        )
        height, width = self._bundle.grid
        size = (_MAP_SIDE * height, _MAP_SIDE * width)
        sizes = dict.fromkeys(self._bundle.heads, size)
        maps = decode_maps(self._bundle, sizes, torch.stack(list(z.values())))
        layered = decode_maps(self._bundle, sizes, hidden=hidden)
        scenes = {}
        for place, (name, features) in enumerate(z.items()):
            found: dict[str, Any] = {head: one[place] for head, one in maps.items()}
            if name == FORECAST:
                found |= {head: one[0] for head, one in layered.items()}
            arrays = {head: one.cpu().numpy() for head, one in found.items()}
            scenes[name] = replace(
                empty, features=features[..., :3].float().cpu().numpy(), **arrays
            )
        labels = batch.window.labels.get(target)
        if labels is not None:
            scenes[LABELS] = self._in_head_classes(labels)
        return SheetStep(replace(empty, image=batch.window.images[target]), scenes)

    def _in_head_classes(self, labels: Scene) -> Scene:
        """Labels with the class ids of the head, where they go together."""
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
