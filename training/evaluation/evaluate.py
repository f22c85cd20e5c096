"""Measures a bundle on recordings, with labels or without."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from dino_foresight_ros.compare import COPY_LAST
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle, DepthTask, InstancesTask, SegmentationTask
from dino_foresight_ros.outputs import DEPTH, HEADS, INSTANCES, SEGMENTATION
from dino_foresight_ros.progress import Progress
from dino_foresight_ros.recordings import LABEL_KINDS, BadFiles, Recording, UnreadableFrame
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.training.data import check_disjoint, common_label_space, split_recordings
from dino_foresight_ros.training.evaluation.class_spaces import (
    ClassSpace,
    ObjectSpace,
    common_classes,
    common_objects,
)
from dino_foresight_ros.training.evaluation.clip_batches import stream_clips
from dino_foresight_ros.training.evaluation.clip_plan import (
    Clip,
    fitting,
    plan_clips,
    plan_stills,
)
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.contexts import Setting
from dino_foresight_ros.training.evaluation.fitted_predictors import Fitted, start_fits
from dino_foresight_ros.training.evaluation.lidar.scorer import LidarDepth, LidarScorer
from dino_foresight_ros.training.evaluation.predictors import CopyLast, Predictor
from dino_foresight_ros.training.evaluation.results import (
    Report,
    bundle_facts,
    data_facts,
)
from dino_foresight_ros.training.evaluation.scoring import SeriesScorer
from dino_foresight_ros.training.evaluation.series import INSTANTS, Series, make_series
from dino_foresight_ros.training.evaluation.sheet_samples import SheetCollector
from dino_foresight_ros.training.evaluation.still_scoring import StillScorer
from dino_foresight_ros.training.sources import overlap_notes
from dino_foresight_ros.version import __version__

_log = logging.getLogger(__name__)


def evaluate(
    bundle: Bundle,
    recordings: Sequence[Recording],
    config: EvaluationConfig | None = None,
    fit_recordings: Sequence[Recording] = (),
    on_warning: Callable[[str], None] = _log.warning,
    progress: bool = False,
    lidar: LidarDepth | None = None,
) -> Report:
    """Measure a bundle.

    What is compared, and at which times, is defined in `series`; errors in `feature_errors`.
    Features are kept as float16, as in the feature store, unless `config.half` is off. The same
    call gives the same numbers on a CPU.

    Args:
        bundle: what is measured; on the device where the work is done.
        recordings: what it is measured on.
        config: choices; the defaults when None.
        fit_recordings: what the linear and the MLP predictor are fitted on. None given: a share
            of `recordings`, which is then not scored: whole ones from five on, else the first
            part of each.
        on_warning: told of unreadable frames.
        progress: show a bar with the time left on stderr.
        lidar: true depth of some of `recordings`, scored by horizon.

    Raises:
        InputError: no clip fits and nothing is labelled; fitted and scored frames overlap; class
            lists that do not go together; too many unreadable frames; no depth to score.
    """
    return _Evaluation(
        bundle,
        recordings,
        config or EvaluationConfig(),
        fit_recordings,
        on_warning,
        progress,
        lidar,
    ).run()


def _beyond(shorter: Series) -> str:
    if shorter.ahead_s:
        return f"instants above {shorter.ahead_s[-1]:g} s"
    return f"steps above {shorter.steps[-1]} of {shorter.spacing_s:g} s"


class _Evaluation:
    """One run; what its phases share."""

    def __init__(
        self,
        bundle: Bundle,
        recordings: Sequence[Recording],
        config: EvaluationConfig,
        fit_recordings: Sequence[Recording],
        on_warning: Callable[[str], None],
        progress: bool,
        lidar: LidarDepth | None,
    ) -> None:
        if not recordings:
            raise InputError("no recordings to evaluate on")
        self._bundle, self._config, self._progress = bundle, config, progress
        self._recordings, self._fit_recordings = list(recordings), list(fit_recordings)
        self._decoder = Decoder(_finding_more(bundle))
        self._notes: list[str] = []
        self._on_warning = on_warning
        self._bad = BadFiles(sum(map(len, recordings)), on_warning=on_warning)
        self._series = list(config.series) or make_series(
            bundle.frame_interval_s,
            config.horizons,
            config.gaps_s,
            config.label_horizons,
            config.instants_s,
            config.context or Setting(bundle.context_frames, bundle.frame_interval_s),
        )
        if not bundle.forecaster.takes_any_instants:
            self._refuse_instants()
        self._leave_out_long_contexts()
        self._note_motion()
        self._note_cameras()
        self._kinds = self._label_kinds()
        self._classes = self._class_space()
        self._objects = self._object_space()
        self._fits: dict[int, Fitted] = {}
        self._lidar = lidar

    def _refuse_instants(self) -> None:
        if any(one.kind == INSTANTS for one in self._series):
            bundle = self._bundle
            raise UsageError(
                f"the forecaster of {bundle.name} (kind {bundle.forecaster.kind}) takes frames "
                f"{bundle.frame_interval_s:g} s apart and answers multiples of that; instants are "
                "for kind world, give --horizons"
            )

    def _leave_out_long_contexts(self) -> None:
        """Leave out the series whose context frames would be older than the forecaster takes."""
        oldest_s = self._bundle.forecaster.max_context_age_s

        def age_s(one: Series) -> float:
            frames = one.context_frames(self._bundle.context_frames)
            off_s = max(one.tolerance_s(frames, each.stamps_ns) for each in self._recordings)
            return one.spacing_s * (frames - 1) + 2 * off_s

        left_out = [one for one in self._series if age_s(one) > oldest_s]
        if not left_out:
            return
        names = ", ".join(one.name for one in left_out)
        self._series = [one for one in self._series if one not in left_out]
        what = f"{names}: context frames would be more than {oldest_s:g} s older than the newest"
        if not self._series:
            raise UsageError(f"{what} (max_context_age_s of {self._bundle.name}); nothing is left")
        self._notes.append(f"left out: {what} (max_context_age_s)")

    def _note_motion(self) -> None:
        if not self._bundle.forecaster.takes_motion:
            return
        known, of = sum(one.ego is not None for one in self._recordings), len(self._recordings)
        if not self._config.motion:
            text = "is told no motion"
        elif not known:
            text = "is told no motion, which no recording knows"
        else:
            text = "is told the true motion until each target"
            text += "" if known == of else f"; {known} of {of} recordings know it"
        self._notes.append(f"the forecaster takes the vehicle's motion, and {text}")

    def _note_cameras(self) -> None:
        depth = self._bundle.tasks.get(DEPTH)
        unknown = sum(one.focal is None for one in self._recordings)
        if isinstance(depth, DepthTask) and depth.focal is not None and unknown:
            self._notes.append(
                f"the focal length of {unknown} of {len(self._recordings)} recordings is not "
                "known; their metric depth is that of the bundle's canonical camera"
            )

    def run(self) -> Report:
        """Plan, fit, score."""
        started = time.monotonic()
        clips = self._split_and_plan()
        stills = plan_stills(
            self._recordings, len(self._series), self._kinds, self._config.max_label_clips
        ) if self._kinds else []  # fmt: skip
        if not clips and not stills:
            raise InputError(self._why_no_clips())
        lidar = None if self._lidar is None else LidarScorer(
            self._decoder, self._recordings, self._series, clips, self._lidar,
            self._config.max_label_clips,
        )  # fmt: skip
        if self._fit_recordings and any(clip.scored for clip in clips):
            self._fit(clips)
        sheet = SheetCollector(
            self._bundle, self._decoder, self._recordings, self._series, clips, self._classes
        )
        scorers, still_scorer = self._score(clips, stills, sheet, lidar)
        if len(self._bad):
            self._notes.append(f"{len(self._bad)} frames cannot be read: {self._bad.summary()}")
        self._note_scales(scorers)
        if lidar is not None and lidar.without_depth:
            self._notes.append(
                f"depth against lidar: {lidar.without_depth} frames are left out, of which a head "
                "gives no depth at any point of the lidar"
            )
        for note in overlap_notes(self._bundle.info, self._recordings):
            self._notes.append(note)
            self._on_warning(note)
        names = self._classes.names if self._classes else ()
        config = self._config
        return Report(
            bundle=bundle_facts(self._bundle),
            config=config,
            data=tuple(map(data_facts, self._recordings)),
            fit_data=tuple(map(data_facts, self._fit_recordings)),
            series=tuple(self._series),
            features=tuple(r for one in scorers for r in one.feature_results(config)),
            labels=tuple(r for one in scorers for r in one.label_results(config.resampling)),
            stills=still_scorer.result(config.resampling),
            similarity=tuple(r for one in scorers for r in one.similarity_results(names)),
            fits={self._series[n].name: fitted.facts for n, fitted in self._fits.items()},
            notes=tuple(self._notes),
            device=str(self._bundle.device),
            dtype=str(self._bundle.dtype).removeprefix("torch."),
            version=__version__,
            seconds=time.monotonic() - started,
            lidar=None if lidar is None else lidar.report(),
            samples=sheet.samples(),
        )

    def _label_kinds(self) -> tuple[str, ...]:
        """The kinds of label for which there is a head."""
        if not self._config.labels:
            return ()
        have = {k for k in LABEL_KINDS for r in self._recordings if r.labelled(k).size}
        for kind in sorted(have & set(HEADS) - set(self._bundle.heads)):
            self._notes.append(f"labels of {kind} are not used: the bundle has no head for them")
        return tuple(k for k in LABEL_KINDS if k in have and k in self._bundle.heads)

    def _has_relative_depth(self) -> bool:
        task = self._bundle.tasks.get(DEPTH)
        return DEPTH in self._kinds and isinstance(task, DepthTask) and not task.is_metric

    def _class_space(self) -> ClassSpace | None:
        if SEGMENTATION not in self._kinds:
            return None
        labelled = [r for r in self._recordings if r.labelled(SEGMENTATION).size]
        space = common_label_space(labelled)
        task = self._bundle.tasks[SEGMENTATION]
        assert isinstance(task, SegmentationTask)
        return None if space is None else common_classes(task, space)

    def _object_space(self) -> ObjectSpace | None:
        if INSTANCES not in self._kinds:
            return None
        labelled = [r for r in self._recordings if r.labelled(INSTANCES).size]
        space, task = common_label_space(labelled), self._bundle.tasks[INSTANCES]
        assert isinstance(task, InstancesTask)
        found = None if space is None else common_objects(task, space)
        if found is None:
            has = "no classes" if space is None else f"classes {', '.join(space.class_names)}"
            things = ", ".join(task.class_names[i] for i in task.things)
            self._notes.append(
                f"labels of instances are not used: they have {has}, the head finds {things}"
            )
        return found

    @property
    def _read_kinds(self) -> tuple[str, ...]:
        """Kinds of labels to read: segmentation says what objects are."""
        more = (SEGMENTATION,) if self._objects is not None else ()
        return tuple(dict.fromkeys((*self._kinds, *more)))

    def _plan(self, recordings: Sequence[Recording], labels: bool) -> list[Clip]:
        """Clips of all series; without labels those alone whose feature errors are scored."""
        return plan_clips(
            recordings,
            self._series,
            self._bundle.context_frames,
            self._config.max_clips,
            self._kinds if labels else (),
            self._config.max_label_clips,
            self._config.only_labelled,
        )

    def _split_and_plan(self) -> list[Clip]:
        """Set fitting data aside where none was given; choose the clips to score."""
        if self._fit_recordings:
            check_disjoint(self._fit_recordings, self._recordings, "fitted on and scored")
        elif self._config.fitted:
            self._set_aside()
        shortened = [
            fitting(self._recordings, one, self._bundle.context_frames) for one in self._series
        ]
        for one, shorter in zip(self._series, shortened, strict=True):
            if shorter.steps != one.steps:
                self._notes.append(f"{_beyond(shorter)}: left out, no recording is long enough")
        self._series = shortened
        clips = self._plan(self._recordings, labels=True)
        for number, series in enumerate(self._series):
            if not any(clip.scored for clip in clips if clip.series == number):
                self._notes.append(f"{series.name}: left out, no clip has frames at these times")
        return clips

    def _set_aside(self) -> None:
        """Split the recordings, where both parts then have clips."""
        if not self._plan(self._recordings, labels=False):
            return
        try:
            fit, scored = split_recordings(
                self._recordings, 1 - self._config.fit_share, self._config.seed, self._span_s()
            )
        except InputError:
            fit, scored = [], []
        if self._plan(fit, labels=False) and self._plan(scored, labels=False):
            self._fit_recordings, self._recordings = fit, scored
            return
        self._notes.append(
            "no linear and no MLP predictor: the recordings are too short to set clips aside for "
            "fitting them; give fitting data of its own"
        )

    def _span_s(self) -> float:
        """Seconds of the shortest clip."""
        return min(
            series.span_s(series.context_frames(self._bundle.context_frames), 0)
            for series in self._series
        )

    def _why_no_clips(self) -> str:
        longest = max(self._recordings, key=lambda recording: recording.duration_s)
        return (
            f"no clip of {self._bundle.context_frames} context frames and what follows fits "
            f"(the shortest takes {self._span_s():.2f} s; the longest recording, {longest.name}, "
            f"has {len(longest)} frames in {longest.duration_s:.2f} s) and no frame has a label "
            "that the bundle has a head for; give longer recordings, fewer --horizons or other "
            "--gaps"
        )

    def _fit(self, scored: Sequence[Clip]) -> None:
        clips = self._plan(self._fit_recordings, labels=False)
        gathered = start_fits(
            clips, len(self._series), self._config.seed, self._config.single_frame
        )
        with self._bar("reading to fit", len(clips), "clip") as bar:
            for batch in stream_clips(
                self._bundle, self._fit_recordings, clips, batch=self._config.batch,
                on_clips=bar.add, on_bad=self._note_bad, half=self._config.half,
            ):  # fmt: skip
                for one in gathered[batch.clips[0].series]:
                    one.add(batch)
        for number in sorted({clip.series for clip in scored} - gathered.keys()):
            name = self._series[number].name
            self._notes.append(f"{name}: the fitting data has no clips for linear and MLP")
        fits = sum(map(len, gathered.values()))
        with self._bar("fitting", fits * self._config.mlp_steps, "step") as bar:
            for number in sorted(gathered):
                found = [one.fit(self._config, lambda: bar.add()) for one in gathered.pop(number)]
                fitted = [one for one in found if one is not None]
                if fitted:
                    predictors = {k: v for one in fitted for k, v in one.predictors.items()}
                    self._fits[number] = Fitted(predictors, fitted[0].facts)

    def _predictors(self, number: int) -> dict[str, Predictor]:
        series = self._series[number]
        predictors: dict[str, Predictor] = {
            COPY_LAST: CopyLast(len(series.steps)),
        }
        if number in self._fits:
            predictors.update(self._fits[number].predictors)
        return predictors

    def _score(
        self,
        clips: Sequence[Clip],
        stills: Sequence[Clip],
        sheet: SheetCollector,
        lidar: LidarScorer | None,
    ) -> tuple[list[SeriesScorer], StillScorer]:
        scorers = [
            SeriesScorer(
                self._bundle,
                self._decoder,
                self._recordings,
                series,
                self._predictors(number),
                self._classes,
                self._objects,
                self._config.motion,
            )
            for number, series in enumerate(self._series)
        ]
        still_scorer = StillScorer(
            self._bundle, self._decoder, self._recordings, self._classes, self._objects
        )
        together = sorted([*clips, *stills], key=lambda c: (c.recording, c.first, c.series))
        with self._bar("scoring", len(together), "clip") as bar:
            for batch in stream_clips(
                self._bundle, self._recordings, together, batch=self._config.batch,
                label_kinds=self._read_kinds, raw=self._config.raw,
                past_depth=self._has_relative_depth(),
                past_instances=self._objects is not None, keep_images=sheet.frames_of,
                on_clips=bar.add, on_bad=self._note_bad, half=self._config.half,
            ):  # fmt: skip
                number = batch.clips[0].series
                if number == len(self._series):
                    still_scorer.update(batch)
                    continue
                predicted, hidden = scorers[number].update(batch)
                sheet.add(batch, predicted, hidden)
                if lidar is not None:
                    lidar.add(batch, predicted, hidden)
        return scorers, still_scorer

    def _note_scales(self, scorers: Sequence[SeriesScorer]) -> None:
        counts = [one.without_scale for one in scorers]
        without, frames = sum(c[0] for c in counts), sum(c[1] for c in counts)
        if without:
            self._notes.append(
                f"relative depth: {without} of {frames} frames have no scale and are not scored: "
                "no frame of the context has true depth, or the line through it falls (near and "
                "far are swapped)"
            )

    def _note_bad(self, error: UnreadableFrame) -> None:
        self._bad.add(f"{error.file}: frame {error.index}", str(error))

    def _bar(self, title: str, total: int, unit: str) -> Progress:
        return Progress(title, unit, total, shown=self._progress)


def _finding_more(bundle: Bundle) -> Bundle:
    """The bundle, with objects of low scores: average precision asks how they rank."""
    task = bundle.tasks.get(INSTANCES)
    if not isinstance(task, InstancesTask):
        return bundle
    tasks = {**bundle.tasks, INSTANCES: task.scored()}
    return replace(bundle, tasks=tasks)
