"""Scores batches of clips as they come: feature errors, labels, patch similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.compare.bootstrap import Clips, Resampling, improvement
from dino_foresight_ros.compare.feature_errors import METRICS, MeanErrors, clip_errors
from dino_foresight_ros.detections import scene_fields
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.outputs import DEPTH, INSTANCES
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.training.data import scene_numbers
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace, ObjectSpace
from dino_foresight_ros.training.evaluation.clip_batches import ClipBatch
from dino_foresight_ros.training.evaluation.clip_plan import Clip
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.label_intervals import (
    closed_with_interval,
    row_with_intervals,
)
from dino_foresight_ros.training.evaluation.label_scores import (
    LabelScorer,
    PastScale,
    closed_fractions,
    past_scale,
    sizes_of,
)
from dino_foresight_ros.training.evaluation.object_motion import ObjectMotionMeter
from dino_foresight_ros.training.evaluation.predictors import Predictor, roll_out
from dino_foresight_ros.training.evaluation.results import (
    PCA_SPACE,
    RAW_SPACE,
    FeatureResult,
    FeatureRow,
    LabelResult,
    Lead,
)
from dino_foresight_ros.training.evaluation.series import Series
from dino_foresight_ros.training.evaluation.similarity import (
    SimilarityMeter,
    SimilarityResult,
    patch_classes,
)


class SeriesScorer:
    """Scores the clips of one series."""

    def __init__(
        self,
        bundle: Bundle,
        decoder: Decoder,
        recordings: Sequence[Recording],
        series: Series,
        predictors: Mapping[str, Predictor],
        classes: ClassSpace | None,
        objects: ObjectSpace | None = None,
        motion: bool = True,
    ) -> None:
        """Start with nothing scored.

        Args:
            bundle: what is measured.
            decoder: of its heads, which read the predictions.
            recordings: what the clips' numbers refer to.
            series: what is scored.
            predictors: what the forecast is compared with, without the oracle.
            classes: how segmentation labels are scored; None: they are not.
            objects: how single objects are scored; None: they are not.
            motion: tell a forecaster that takes it how the vehicle moves until each target, where
                the recording knows.
        """
        self._objects = objects
        self._bundle, self._recordings, self._series = bundle, recordings, series
        self._decoder, self._predictors, self._classes = decoder, predictors, classes
        self._tells_motion = motion and bundle.forecaster.takes_motion
        self._scenes = scene_numbers(recordings)
        self._errors: dict[tuple[str, str], list[Tensor]] = {}
        self._clips: list[Clip] = []
        self._label_scorers: dict[tuple[int, str], LabelScorer] = {}
        self._label_clips: dict[int, list[Clip]] = {}
        self._similarity = {space: SimilarityMeter(space) for space in (PCA_SPACE, RAW_SPACE)}
        self._similar_s: list[float] = []
        self._motion = ObjectMotionMeter()

    @torch.inference_mode()
    def update(self, batch: ClipBatch) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
        """Score a batch.

        Returns:
            The predictions (B, S, h, w, C) by predictor, the oracle's too, and the forecaster's
            layers (B, S, h, w, D) that heads read.
        """
        predicted = {name: predict(batch.context) for name, predict in self._predictors.items()}
        predicted[FORECAST], hidden = roll_out(
            self._bundle,
            batch.context,
            self._series.steps,
            *self._times(batch.clips),
            self._told_motion(batch.clips) if self._tells_motion else None,
        )
        predicted[ORACLE] = batch.targets
        scored = [row for row, clip in enumerate(batch.clips) if clip.scored]
        if scored:
            self._score_features(batch, predicted, scored)
        for row, clip in enumerate(batch.clips):
            for step in clip.labelled:
                self._score_labels(batch, predicted, hidden, row, step)
            if self._objects is not None and clip.labelled:
                self._follow_objects(batch, predicted[FORECAST], row, self._objects)
        self._score_similarity(batch)
        return predicted, hidden

    def _times(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Seconds of the context frames (B, N_c), and from the newest to the targets (B, S).

        A target that is not scored counts as at its nominal instant.
        """
        contexts, leads = [], []
        for clip in clips:
            stamps_ns = self._recordings[clip.recording].stamps_ns
            newest = stamps_ns[clip.context[-1]]
            contexts.append((stamps_ns[list(clip.context)] - newest) / NS_PER_S)
            nominal = self._series.target_offsets_s()
            leads.append(
                [
                    float(stamps_ns[target] - newest) / NS_PER_S if target >= 0 else ahead
                    for target, ahead in zip(clip.targets, nominal, strict=True)
                ]
            )
        return torch.from_numpy(np.array(contexts)), torch.tensor(leads, dtype=torch.float64)

    def _told_motion(self, clips: Sequence[Clip]) -> Tensor:
        """(B, S, 3) of the base from the newest context frames to the targets; NaN if unknown.

        Clips of a batch are all of one recording.
        """
        targets = np.array([clip.targets for clip in clips])
        newest = np.array([clip.context[-1] for clip in clips])
        recording = self._recordings[clips[0].recording]
        moved = recording.moved(newest[:, None], targets.clip(0))
        return torch.from_numpy(np.where((targets >= 0)[..., None], moved, np.nan))

    def _score_features(
        self, batch: ClipBatch, predicted: Mapping[str, Tensor], rows: list[int]
    ) -> None:
        self._clips += [batch.clips[row] for row in rows]
        truths = [(PCA_SPACE, batch.targets)]
        if batch.raw_targets is not None:
            truths.append((RAW_SPACE, batch.raw_targets))
        for space, truth in truths:
            for name, values in predicted.items():
                back = values if space == PCA_SPACE else self._bundle.pca.inverse(values)
                errors = clip_errors(back[rows], truth[rows])
                self._errors.setdefault((space, name), []).append(errors)

    def _score_labels(
        self,
        batch: ClipBatch,
        predicted: Mapping[str, Tensor],
        hidden: Mapping[int, Tensor],
        row: int,
        step: int,
    ) -> None:
        clip = batch.clips[row]
        labels = batch.window.labels[clip.targets[step]]
        sizes = sizes_of(labels, self._bundle.heads)
        scale = self._past_scale(batch, row)
        number = len(self._label_clips.setdefault(step, []))
        self._label_clips[step].append(clip)
        z = torch.stack([values[row, step] for values in predicted.values()])
        focal = self._recordings[clip.recording].focal
        maps = self._decoder.maps(sizes, z, focal=focal)
        of_layers = {layer: tokens[row, step][None] for layer, tokens in hidden.items()}
        layered = self._decoder.maps(sizes, hidden=of_layers, focal=focal)
        for place, name in enumerate(predicted):
            scorer = self._label_scorers.get((step, name))
            if scorer is None:
                scorer = LabelScorer(self._bundle, self._classes, self._objects)
                self._label_scorers[step, name] = scorer
            of_this = {head: one[place] for head, one in maps.items()}
            if name == FORECAST:
                of_this.update({head: one[0] for head, one in layered.items()})
            scorer.update(of_this, labels, number, scale)

    def _follow_objects(
        self, batch: ClipBatch, forecast: Tensor, row: int, objects: ObjectSpace
    ) -> None:
        """Through one clip's forecast, of a head that reads features."""
        clip = batch.clips[row]
        frames = {-1: clip.context[-1], **{step: clip.targets[step] for step in clip.labelled}}
        truth = {
            place: replace(labels, segmentation=objects.from_labels[labels.segmentation])
            for place, frame in frames.items()
            if (labels := batch.window.labels.get(frame)) is not None
            and labels.instances is not None
            and labels.segmentation is not None
        }
        if -1 not in truth or len(truth) < 2 or len(clip.context) < 2:
            return
        instances = truth[-1].instances
        assert instances is not None
        size = (instances.shape[0], instances.shape[1])
        steps = range(max(truth) + 1)
        z = torch.cat([batch.context[row, -2:], forecast[row, : len(steps)]])
        depth = self._bundle.tasks.get(DEPTH)
        is_metric = isinstance(depth, DepthTask) and depth.is_metric
        recording = self._recordings[clip.recording]
        sizes = {INSTANCES: size, **({DEPTH: size} if is_metric else {})}
        maps = self._decoder.maps(sizes, z, focal=recording.focal)
        if INSTANCES not in maps:  # its head reads layers, which a frame that came has not
            return
        stamps, camera = recording.stamps_ns, recording.camera
        newest = int(stamps[clip.context[-1]])
        leads = [round(ahead * NS_PER_S) for ahead in self._series.target_offsets_s()[: len(steps)]]
        instants = [int(stamps[clip.context[-2]]), newest, *(newest + lead for lead in leads)]
        arrays = {name: values.cpu().numpy() for name, values in maps.items()}
        before, now, *ahead = (
            Scene(
                stamp,
                **scene_fields({name: a[place] for name, a in arrays.items()}),
                depth_is_metric=DEPTH in arrays,
            )
            for place, stamp in enumerate(instants)
        )
        rays = None if camera is None else CameraView.of(camera).pixel_rays(size)
        self._motion.update(before, now, ahead, truth, rays)

    def _past_scale(self, batch: ClipBatch, row: int) -> PastScale | None:
        """Of relative depth, by the newest frame of the context that has true depth."""
        task, clip = self._bundle.tasks.get(DEPTH), batch.clips[row]
        if not isinstance(task, DepthTask) or task.is_metric:
            return None
        for place in reversed(range(len(clip.context))):
            labels = batch.window.labels.get(clip.context[place])
            if labels is not None and labels.depth is not None and labels.depth_is_metric:
                size = (labels.depth.shape[0], labels.depth.shape[1])
                maps = self._decoder.maps({DEPTH: size}, batch.context[row, place][None])
                if DEPTH not in maps:  # its head reads layers, which a frame that came has not
                    return None
                return past_scale(maps[DEPTH][0].double().cpu().numpy(), labels.depth)
        return None

    def _score_similarity(self, batch: ClipBatch) -> None:
        """Of the gap's two series the one that is labelled: every gap has exactly one."""
        if self._series.gap_s is None or not self._series.label_steps:
            return
        rows = [row for row, clip in enumerate(batch.clips) if clip.targets[0] >= 0]
        if not rows:
            return
        self._similar_s += [self._lead_s(batch.clips[row], 0) for row in rows]
        classes = [self._patch_classes(batch, batch.clips[row]) for row in rows]
        pairs = {PCA_SPACE: (batch.context[rows, -1], batch.targets[rows, 0])}
        if batch.raw_newest is not None and batch.raw_targets is not None:
            pairs[RAW_SPACE] = (batch.raw_newest[rows], batch.raw_targets[rows, 0])
        for space, (now, later) in pairs.items():
            self._similarity[space].update(now, later, classes)

    def _patch_classes(self, batch: ClipBatch, clip: Clip) -> NDArray[np.uint8]:
        labels = batch.window.labels.get(clip.targets[0])
        if labels is None or labels.segmentation is None or self._classes is None:
            return np.full(self._bundle.grid, UNLABELLED, np.uint8)
        return patch_classes(self._classes.from_labels[labels.segmentation], self._bundle.grid)

    def _lead_s(self, clip: Clip, step: int) -> float:
        stamps = self._recordings[clip.recording].stamps_ns
        return float(stamps[clip.targets[step]] - stamps[clip.context[-1]]) / NS_PER_S

    def _lead(self, step: int, measured_s: float) -> Lead:
        series = self._series
        ahead_s = series.ahead_s[step] if series.ahead_s else None
        return Lead(
            series.kind, series.spacing_s, series.steps[step], series.gap_s, measured_s, ahead_s
        )

    def feature_results(self, config: EvaluationConfig) -> list[FeatureResult]:
        """Errors of every step; none where no clip was scored."""
        if not self._clips:
            return []
        clips = self._places(self._clips)
        spaces = dict.fromkeys(space for space, _ in self._errors)
        return [
            self._feature_result(space, step, clips, config)
            for space in spaces
            for step in range(len(self._series.steps))
        ]

    def _places(self, clips: Sequence[Clip]) -> Clips:
        contexts = max((len(clip.context) for clip in clips), default=1)
        span_s = self._series.span_s(contexts)
        return places_of(clips, self._recordings, self._scenes, span_s)

    def _feature_result(
        self, space: str, step: int, clips: Clips, config: EvaluationConfig
    ) -> FeatureResult:
        errors = {
            name: torch.cat(parts)[:, step].numpy()
            for (of, name), parts in self._errors.items()
            if of == space
        }
        rows = {}
        for name, values in errors.items():
            gains = {
                metric: improvement(
                    values[:, column], errors[COPY_LAST][:, column], clips, config.resampling
                )
                for column, metric in enumerate(METRICS)
            }
            means = MeanErrors(*(float(mean) for mean in values.mean(axis=0)))
            rows[name] = FeatureRow(name, means, gains)
        measured = float(np.mean([self._lead_s(clip, step) for clip in self._clips]))
        return FeatureResult(
            self._lead(step, measured),
            space,
            len(self._clips),
            len({clip.recording for clip in self._clips}),
            rows,
        )

    def label_results(self, resampling: Resampling) -> list[LabelResult]:
        """Label scores of every labelled step, with their intervals."""
        results = []
        for step, of_step in sorted(self._label_clips.items()):
            scorers = {name: one for (of, name), one in self._label_scorers.items() if of == step}
            frames = scorers[FORECAST].frames
            if not frames:
                continue

            def places(numbers: list[int], of_step: list[Clip] = of_step) -> Clips:
                return self._places([of_step[number] for number in numbers])

            rows = {
                name: row_with_intervals(
                    scorer.row(name), scorer, self._classes, places, resampling
                )
                for name, scorer in scorers.items()
            }
            ends = (COPY_LAST, ORACLE)
            closed = tuple(
                closed_with_interval(one, scorers, ends, self._classes, places, resampling)
                for one in closed_fractions(rows, *ends)
            )
            measured_s = float(np.mean([self._lead_s(clip, step) for clip in of_step]))
            lead, objects = self._lead(step, measured_s), self._motion.result(step)
            results.append(LabelResult(lead, frames, rows, closed, objects))
        return results

    @property
    def without_scale(self) -> tuple[int, int]:
        """Labelled frames whose relative depth was not scored for want of a scale, and all."""
        counts = [one.without_scale for (_, n), one in self._label_scorers.items() if n == FORECAST]
        return sum(counts), sum(map(len, self._label_clips.values()))

    def similarity_results(self, class_names: tuple[str, ...]) -> list[SimilarityResult]:
        """Patch similarity of a gap's series, by space."""
        found = []
        for meter in self._similarity.values():
            if meter.pairs:
                assert self._series.gap_s is not None
                measured = float(np.mean(self._similar_s))
                found.append(meter.result(self._series.gap_s, measured, class_names))
        return found


def places_of(
    clips: Sequence[Clip], recordings: Sequence[Recording], scenes: Sequence[int], span_s: float
) -> Clips:
    """Scene and time of each clip; the time of its newest context frame, of a still its own.

    Args:
        clips: n of them.
        recordings: what their numbers refer to.
        scenes: number of each recording's scene.
        span_s: seconds that a clip takes.
    """
    numbers = np.array([scenes[clip.recording] for clip in clips], np.int64)
    frames = [(clip.recording, clip.context[-1] if clip.context else clip.first) for clip in clips]
    stamps = [recordings[number].stamps_ns[frame] for number, frame in frames]
    return Clips(numbers, np.array(stamps, np.float64) / NS_PER_S, span_s)
