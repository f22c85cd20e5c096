"""Scores heads on the true features of single labelled frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dino_foresight_ros.compare import ORACLE
from dino_foresight_ros.compare.bootstrap import Clips, Resampling
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.training.data import scene_numbers
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace, ObjectSpace
from dino_foresight_ros.training.evaluation.clip_batches import ClipBatch
from dino_foresight_ros.training.evaluation.clip_plan import Clip
from dino_foresight_ros.training.evaluation.label_intervals import (
    row_with_intervals,
)
from dino_foresight_ros.training.evaluation.label_scores import (
    LabelScorer,
    sizes_of,
)
from dino_foresight_ros.training.evaluation.results import (
    LabelResult,
)
from dino_foresight_ros.training.evaluation.scoring import places_of


class StillScorer:
    """Scores heads on the true features of single frames."""

    def __init__(
        self,
        bundle: Bundle,
        decoder: Decoder,
        recordings: Sequence[Recording],
        classes: ClassSpace | None,
        objects: ObjectSpace | None = None,
    ) -> None:
        self._objects = objects
        self._bundle, self._decoder, self._classes = bundle, decoder, classes
        self._recordings, self._clips = recordings, list[Clip]()
        self._scorer: LabelScorer | None = None

    @torch.inference_mode()
    def update(self, batch: ClipBatch) -> None:
        """Score a batch of stills."""
        for row, clip in enumerate(batch.clips):
            labels = batch.window.labels[clip.targets[0]]
            sizes = sizes_of(labels, self._bundle.heads)
            focal = self._recordings[clip.recording].focal
            maps = self._decoder.maps(sizes, batch.targets[row], focal=focal)
            if self._scorer is None:
                self._scorer = LabelScorer(self._bundle, self._classes, self._objects)
            number = len(self._clips)
            self._clips.append(clip)
            self._scorer.update({head: one[0] for head, one in maps.items()}, labels, number)

    def result(self, resampling: Resampling) -> LabelResult | None:
        """The scores; None where nothing was scored."""
        if self._scorer is None or not self._scorer.frames:
            return None
        scenes = scene_numbers(self._recordings)

        def places(numbers: list[int]) -> Clips:
            clips = [self._clips[number] for number in numbers]
            return places_of(clips, self._recordings, scenes, 0.0)

        row = row_with_intervals(
            self._scorer.row(ORACLE), self._scorer, self._classes, places, resampling
        )
        return LabelResult(None, self._scorer.frames, {ORACLE: row})
